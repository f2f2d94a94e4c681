"""A small HTTP server that speaks as OpenAI's and Anthropic's, for their own clients."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ["Hel", "lo", " you", "!"]

CHAT_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
}
RESPONSE_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 6},
    "total_tokens": 18,
}
MESSAGE_USAGE = {
    "input_tokens": 5,
    "output_tokens": 9,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 50,
}


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return _of_chat("chat.completion", [choice], usage=CHAT_USAGE)


def _of_chat(kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": kind, "created": 1, "model": "m", "choices": choices, **more}


def _chat_events(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with_usage = (body.get("stream_options") or {}).get("include_usage")
    no_usage = {"usage": None} if with_usage else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _of_chat("chat.completion.chunk", [choice], **no_usage)

    yield chunk({"role": "assistant", "content": ""})
    for word in WORDS:
        yield chunk({"content": word})
    yield chunk({}, "stop")
    if with_usage:
        yield _of_chat("chat.completion.chunk", [], usage=CHAT_USAGE)


def _response(status: str, output: list[Any], usage: Any) -> dict[str, Any]:
    return {
        "id": "r1", "object": "response", "created_at": 1, "model": "m", "status": status,
        "output": output, "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto",
        "tools": [], "error": None, "incomplete_details": None, "instructions": None,
        "metadata": {}, "temperature": 1.0, "top_p": 1.0, "text": {"format": {"type": "text"}},
    }  # fmt: skip


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _output(status: str, content: list[Any]) -> dict[str, Any]:
    return {
        "type": "message", "id": "o1", "role": "assistant", "status": status, "content": content
    }  # fmt: skip


def _plain_response(body: dict[str, Any]) -> dict[str, Any]:
    return _response("completed", [_output("completed", [_text("".join(WORDS))])], RESPONSE_USAGE)


def _response_events(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    whole = "".join(WORDS)
    done = _output("completed", [_text(whole)])
    place = {"item_id": "o1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": _response("in_progress", [], None)},
        {"type": "response.output_item.added", "output_index": 0,
         "item": _output("in_progress", [])},
        {"type": "response.content_part.added", **place, "part": _text("")},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
          for word in WORDS),
        {"type": "response.output_text.done", **place, "text": whole, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": _text(whole)},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": _plain_response(body)},
    ]  # fmt: skip
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def _message(content: list[Any], stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "m1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop, "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def _plain_message(body: dict[str, Any]) -> dict[str, Any]:
    return _message([{"type": "text", "text": "".join(WORDS)}], "end_turn", MESSAGE_USAGE)


def _message_events(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {
        "type": "message_start",
        "message": _message([], None, {**MESSAGE_USAGE, "output_tokens": 1}),
    }
    yield {
        "type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}
    }  # fmt: skip
    yield {"type": "ping"}
    for word in WORDS:
        delta = {"type": "text_delta", "text": word}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": MESSAGE_USAGE["output_tokens"]},
    }
    yield {"type": "message_stop"}


_ANSWERS = {
    "/v1/chat/completions": (_chat, _chat_events),
    "/v1/responses": (_plain_response, _response_events),
    "/v1/messages": (_plain_message, _message_events),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        plain, events = _ANSWERS[self.path.partition("?")[0]]
        self.send_response(200)
        if not body.get("stream"):
            answer = json.dumps(plain(body)).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            return
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events(body):
            name = f"event: {event['type']}\n" if "type" in event else ""
            self._write_chunk(f"{name}data: {json.dumps(event)}\n\n".encode())
        if "choices" in event:
            self._write_chunk(b"data: [DONE]\n\n")
        self._write_chunk(b"")

    def _write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a stream that was left early
            super().handle_error(request, client_address)


@contextmanager
def running() -> Iterator[str]:
    """Serves on a free port of the loopback interface; gives the address."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
