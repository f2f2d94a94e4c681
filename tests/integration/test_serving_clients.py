"""The clients `openai` and `anthropic` themselves, against a server of their wire formats."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from model_server import CHAT_USAGE, MESSAGE_USAGE, RESPONSE_USAGE, WORDS, running
from support import roots

import cirron as ci
from cirron.serving.usage import merge, read_usage

CHAT = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "input_tokens": 12,
    "output_tokens": 30,
    "total_tokens": 42,
    "cached_tokens": 8,
    "reasoning_tokens": 20,
}
RESPONSES = {
    "input_tokens": 7,
    "output_tokens": 11,
    "total_tokens": 18,
    "cached_tokens": 4,
    "reasoning_tokens": 6,
}
MESSAGES = {
    "input_tokens": 5,
    "output_tokens": 9,
    "total_tokens": 14,
    "cached_tokens": 100,
    "cache_creation_tokens": 50,
}
assert (CHAT_USAGE["total_tokens"], RESPONSE_USAGE["total_tokens"]) == (42, 18)
assert MESSAGE_USAGE["output_tokens"] == 9

STREAM_TIMES = {
    "time_to_first_token_ms",
    "tokens_per_second",
    "inter_token_latency_ms",
    "request_duration_ms",
}


class Api:
    """The three interfaces of a pair of clients; the async ones return awaitables."""

    def __init__(self, of_openai: Any, of_anthropic: Any) -> None:
        self.openai = of_openai
        self.anthropic = of_anthropic
        self._asked = {"role": "user", "content": "hi"}

    def chat(self, **more: Any) -> Any:
        if more.get("stream"):
            more = {"stream_options": {"include_usage": True}, **more}
        return self.openai.chat.completions.create(model="m", messages=[self._asked], **more)

    def responses(self, **more: Any) -> Any:
        return self.openai.responses.create(model="m", input="hi", **more)

    def messages(self, **more: Any) -> Any:
        return self.anthropic.messages.create(
            model="m", max_tokens=10, messages=[self._asked], **more
        )

    def chat_helper(self) -> Any:
        return self.openai.chat.completions.stream(
            model="m", messages=[self._asked], stream_options={"include_usage": True}
        )

    def responses_helper(self) -> Any:
        return self.openai.responses.stream(model="m", input="hi")

    def messages_helper(self) -> Any:
        return self.anthropic.messages.stream(model="m", max_tokens=10, messages=[self._asked])


INTERFACES: list[tuple[Callable[..., Any], dict[str, int], str]] = [
    (Api.chat, CHAT, "openai"),
    (Api.responses, RESPONSES, "openai"),
    (Api.messages, MESSAGES, "anthropic"),
]
HELPERS: list[tuple[Callable[..., Any], dict[str, int], str]] = [
    (Api.chat_helper, CHAT, "openai"),
    (Api.responses_helper, RESPONSES, "openai"),
    (Api.messages_helper, MESSAGES, "anthropic"),
]
of_each_interface = pytest.mark.parametrize(("ask", "counts", "source"), INTERFACES)
of_each_helper = pytest.mark.parametrize(("ask", "counts", "source"), HELPERS)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running() as address:
        yield address


@pytest.fixture(scope="module")
def api(address: str) -> Iterator[Api]:
    with (
        openai.OpenAI(api_key="k", base_url=f"{address}/v1", max_retries=0) as of_openai,
        anthropic.Anthropic(api_key="k", base_url=address, max_retries=0) as of_anthropic,
    ):
        yield Api(of_openai, of_anthropic)


@contextlib.asynccontextmanager
async def async_api(address: str) -> Any:
    async with (
        openai.AsyncOpenAI(api_key="k", base_url=f"{address}/v1", max_retries=0) as of_openai,
        anthropic.AsyncAnthropic(api_key="k", base_url=address, max_retries=0) as of_anthropic,
    ):
        yield Api(of_openai, of_anthropic)


@pytest.fixture
def session() -> Iterator[None]:
    with ci.profile(output="none"):
        yield


def usage_of(items: Any) -> dict[str, int | str]:
    counts: dict[str, int | str] = {}
    for item in items:
        found = read_usage(item)
        if found is not None:
            merge(counts, found)
    return counts


def request_of(count: int = 1) -> dict[str, Any]:
    spans = [node for node in roots() if node["name"] == "request"]
    assert len(spans) == count
    return spans[-1]


def marks_of(span: dict[str, Any]) -> dict[str, Any]:
    marks = [mark for mark in span["marks"] if mark["name"] != "cirron.overhead_ns"]
    assert len({mark["name"] for mark in marks}) == len(marks)
    assert {mark["kind"] for mark in marks} <= {"summary"}
    return {mark["name"]: mark["value"] for mark in marks}


def sources_of(span: dict[str, Any]) -> set[str]:
    return {mark["attrs"]["source"] for mark in span["marks"] if mark["name"].endswith("_tokens")}


def assert_counted(counts: dict[str, int], source: str, times: set[str]) -> None:
    span = request_of()
    marks = marks_of(span)
    assert {name: marks[name] for name in counts} == counts
    assert marks.keys() == counts.keys() | times
    assert sources_of(span) == {source}
    assert "stream_completed" not in span["attrs"]
    assert "error" not in span["attrs"]


# ---- what the clients give


@of_each_interface
def test_usage_of_a_result(api: Api, ask: Any, counts: Any, source: str) -> None:
    result = ask(api)
    assert read_usage(result) == {**counts, "source": source}
    assert read_usage(result.model_dump()) == {**counts, "source": source}


@of_each_interface
def test_usage_of_a_stream(api: Api, ask: Any, counts: Any, source: str) -> None:
    items = list(ask(api, stream=True))
    assert usage_of(items) == {**counts, "source": source}
    assert usage_of(item.model_dump() for item in items) == {**counts, "source": source}


@of_each_helper
def test_usage_of_the_events_of_a_helper(api: Api, ask: Any, counts: Any, source: str) -> None:
    with ask(api) as stream:
        assert usage_of(list(stream)) == {**counts, "source": source}


def test_chat_stream_has_no_usage_unless_asked_for(api: Api) -> None:
    assert usage_of(api.chat(stream=True, stream_options={})) == {}


@of_each_interface
def test_usage_of_the_async_clients(address: str, ask: Any, counts: Any, source: str) -> None:
    async def main() -> None:
        async with async_api(address) as api:
            assert read_usage(await ask(api)) == {**counts, "source": source}
            items = [item async for item in await ask(api, stream=True)]
            assert usage_of(items) == {**counts, "source": source}

    asyncio.run(main())


# ---- through @ci.inference


@of_each_interface
def test_tokens_of_a_result_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str
) -> None:
    @ci.inference
    def serve() -> Any:
        return ask(api)

    assert type(serve()) is type(ask(api))
    assert_counted(counts, source, set())


@of_each_interface
def test_tokens_of_a_returned_stream_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str
) -> None:
    @ci.inference
    def serve() -> Any:
        return ask(api, stream=True)

    stream = serve()
    assert isinstance(stream, (openai.Stream, anthropic.Stream))
    assert stream.response.status_code == 200
    assert list(stream) == list(ask(api, stream=True))
    assert_counted(counts, source, STREAM_TIMES)


@of_each_interface
def test_tokens_of_a_stream_in_a_with_statement_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str
) -> None:
    @ci.inference
    def serve() -> Any:
        return ask(api, stream=True)

    with serve() as stream:
        for _ in stream:
            pass
    assert stream.response.is_closed
    assert_counted(counts, source, STREAM_TIMES)


@of_each_interface
def test_tokens_of_a_generator_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str
) -> None:
    @ci.inference
    def serve() -> Any:
        yield from ask(api, stream=True)

    assert list(serve()) == list(ask(api, stream=True))
    assert_counted(counts, source, STREAM_TIMES)


@of_each_interface
@pytest.mark.parametrize("size", [0, 1, 7, 100])
def test_tokens_of_events_that_are_passed_on_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str, size: int
) -> None:
    @ci.inference
    def serve() -> Iterator[str]:
        for item in ask(api, stream=True):
            event = f"data: {item.model_dump_json()}\n\n"
            for at in range(0, len(event), size or len(event)):
                yield event[at : at + (size or len(event))]
        yield "data: [DONE]\n\n"

    assert "".join(serve()).count("data: ") > len(WORDS)
    assert_counted(counts, source, STREAM_TIMES)


@of_each_interface
def test_tokens_of_raw_bytes_that_are_passed_on_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str
) -> None:
    @ci.inference
    def serve() -> Iterator[bytes]:
        yield from ask(api, stream=True).response.iter_raw()

    assert b"data: " in b"".join(serve())
    assert_counted(counts, source, STREAM_TIMES)


@of_each_helper
def test_tokens_of_a_helpers_events_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str
) -> None:
    @ci.inference
    def serve() -> Any:
        with ask(api) as stream:
            yield from stream

    assert len(list(serve())) > len(WORDS)
    assert_counted(counts, source, STREAM_TIMES)


@of_each_helper
def test_tokens_of_a_returned_helper_are_marked(
    session: None, api: Api, ask: Any, counts: Any, source: str
) -> None:
    @ci.inference
    def serve() -> Any:
        return ask(api).__enter__()

    with serve() as stream:
        assert len(list(stream)) > len(WORDS)
    assert_counted(counts, source, STREAM_TIMES)


@of_each_helper
@pytest.mark.parametrize("finish", ["until_done", "get_final"])
def test_stream_that_its_own_method_consumes_is_whole(
    session: None, api: Api, ask: Any, counts: Any, source: str, finish: str
) -> None:
    @ci.inference
    def serve() -> Any:
        return ask(api).__enter__()

    with serve() as stream:
        method = next(name for name in dir(stream) if name.startswith(finish))
        getattr(stream, method)()
    assert_counted(counts, source, STREAM_TIMES)


def test_async_stream_that_its_own_method_consumes_is_whole(session: None, address: str) -> None:
    async def main() -> None:
        async with async_api(address) as api:

            @ci.inference
            async def serve() -> Any:
                return await api.messages_helper().__aenter__()

            async with await serve() as stream:
                assert await stream.get_final_text() == "".join(WORDS)

    asyncio.run(main())
    assert_counted(MESSAGES, "anthropic", STREAM_TIMES)


def test_chunks_stand_for_tokens_where_there_is_no_usage(session: None, api: Api) -> None:
    @ci.inference
    def serve() -> Any:
        return api.chat(stream=True, stream_options={})

    chunks = len(list(serve()))
    assert_counted({"output_tokens": chunks}, "stream", STREAM_TIMES)


def test_text_stream_of_a_helper_is_recorded(session: None, api: Api) -> None:
    @ci.inference
    def serve() -> Any:
        return api.messages_helper().__enter__()

    with serve() as stream:
        assert list(stream.text_stream) == WORDS
        assert stream.get_final_message().usage.output_tokens == 9
    span = request_of()
    assert marks_of(span)["output_tokens"] == len(WORDS)
    assert "stream_completed" not in span["attrs"]


def test_stream_that_is_closed_early_says_so(session: None, api: Api) -> None:
    @ci.inference
    def serve() -> Any:
        return api.chat(stream=True)

    stream = serve()
    next(stream)
    stream.close()
    assert stream.response.is_closed
    span = request_of()
    assert span["attrs"]["stream_completed"] is False
    assert "error" not in span["attrs"]
    assert marks_of(span)["output_tokens"] == 1


def test_stream_that_is_left_early_in_a_with_statement_says_so(session: None, api: Api) -> None:
    @ci.inference
    def serve() -> Any:
        return api.messages(stream=True)

    with serve() as stream:
        for _ in stream:
            break
    assert stream.response.is_closed
    assert request_of()["attrs"]["stream_completed"] is False


def test_raw_response_is_handed_on(session: None, api: Api) -> None:
    @ci.inference
    def serve() -> Any:
        return api.openai.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": "hi"}]
        )

    assert serve().parse().usage.total_tokens == 42
    assert marks_of(request_of()) == {}


@of_each_interface
def test_tokens_of_async_functions_are_marked(
    session: None, address: str, ask: Any, counts: Any, source: str
) -> None:
    async def main() -> None:
        async with async_api(address) as api:

            @ci.inference
            async def serve() -> Any:
                return await ask(api)

            result = await serve()
            assert result.usage is not None

    asyncio.run(main())
    assert_counted(counts, source, set())


@of_each_interface
@pytest.mark.parametrize("entered", [False, True])
def test_tokens_of_async_streams_are_marked(
    session: None, address: str, ask: Any, counts: Any, source: str, entered: bool
) -> None:
    async def main() -> None:
        async with async_api(address) as api:

            @ci.inference
            async def serve() -> Any:
                return await ask(api, stream=True)

            stream = await serve()
            assert isinstance(stream, (openai.AsyncStream, anthropic.AsyncStream))
            assert stream.response.status_code == 200
            if entered:
                async with stream as same:
                    items = [item async for item in same]
            else:
                items = [item async for item in stream]
            assert items == [item async for item in await ask(api, stream=True)]

    asyncio.run(main())
    assert_counted(counts, source, STREAM_TIMES)


@of_each_interface
def test_tokens_of_async_generators_are_marked(
    session: None, address: str, ask: Any, counts: Any, source: str
) -> None:
    async def main() -> None:
        async with async_api(address) as api:

            @ci.inference
            async def serve() -> Any:
                async for item in await ask(api, stream=True):
                    yield item

            assert len([item async for item in serve()]) > len(WORDS)

    asyncio.run(main())
    assert_counted(counts, source, STREAM_TIMES)


def test_async_stream_that_is_closed_early_says_so(session: None, address: str) -> None:
    async def main() -> None:
        async with async_api(address) as api:

            @ci.inference
            async def serve() -> Any:
                return await api.chat(stream=True)

            stream = await serve()
            await anext(stream)
            await stream.close()
            assert stream.response.is_closed

    asyncio.run(main())
    assert request_of()["attrs"]["stream_completed"] is False
