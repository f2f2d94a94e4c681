"""Token counts, read from what clients of language models return: a result, an event, SSE text.

The counts lie in `usage`, in one of three shapes: OpenAI's chat completions
(`prompt_tokens`), OpenAI's Responses API (`input_tokens` and a total) and Anthropic's
messages (`input_tokens`, no total). Each comes as an object of its client or as plain JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LARGEST = 2**63 - 1  # what a mark of type "int" holds
_ABSENT = object()
_EVENT_PARTS = ("response", "message", "chunk")  # what events have whose type begins so

_BEGINNINGS = ("data:", "event:", "id:", "retry:", ":", "{")  # of a line of events
_KEY = '"usage"'
_LONGEST_OPENING = 16  # characters of `: {`
_LONGEST_USAGE = 4096  # characters of JSON; the servers' own take less than 1,000
_HEAD = 5  # characters that tell an event's line: `data:` or `{`


def read_usage(value: object) -> dict[str, int | str] | None:
    """Reads the token counts of a result or of one item of a stream.

    They are looked for in `value.usage` and in what an event of such a type has: the `response`
    of `response.completed`, the `message` of `message_start`, the `chunk` of `chunk`. A mapping's
    keys count as its attributes.

    Args:
        value: anything; what its properties raise is ignored.

    Returns:
        A count by the name of its mark (`input_tokens`, `output_tokens`, `total_tokens`; with
        OpenAI's chat completions also `prompt_tokens`, `completion_tokens`; where given
        `cached_tokens`, `cache_creation_tokens`, `reasoning_tokens`), and under "source"
        "openai" or "anthropic". None when there is no count.
    """
    try:
        return _find(value)
    except Exception:
        return None


def _find(value: object) -> dict[str, int | str] | None:
    usage = _get(value, "usage", _ABSENT)
    if usage is not _ABSENT:
        return _read(usage, value)
    # Only an event has its counts further inside. Asking just any object, such as a row of a
    # database, for its `message` might send a query.
    kind = _get(value, "type")
    if not isinstance(kind, str):
        return None
    name = kind.partition(".")[0].partition("_")[0]
    if name not in _EVENT_PARTS:
        return None
    part = _get(value, name)
    return _read(_get(part, "usage"), part)


def merge(into: dict[str, int | str], found: dict[str, int | str]) -> None:
    """Adds what a later item of the stream says: its counts replace the earlier ones.

    A total that it does not give is summed anew, as Anthropic's stream needs, which gives the
    input with its first event and the output with the last.
    """
    into.update(found)
    if "total_tokens" not in found:
        _sum_total(into)


class EventText:
    """Reads the token counts in a stream of text: server-sent events, or JSON line by line.

    `feed` wants every chunk, but those of whole lines without a `usage` may be left out. Only
    lines that begin with `data:` or `{` count: a model that writes about `"usage"` is not
    believed.
    At most 4 KiB are kept, whatever the size of an event: of an unfinished one only what begins
    with its `"usage"`.
    """

    __slots__ = ("_head", "_held")

    def __init__(self) -> None:
        self._head = ""  # how the line that is not finished begins
        self._held = ""  # its end, where that may be the beginning of a usage

    @staticmethod
    def begins_with(chunk: str | bytes) -> bool:
        """Whether a stream whose first chunk, not a blank one, is this may be one of events."""
        text = str(chunk[:8], "latin-1") if isinstance(chunk, bytes) else chunk[:8]
        text = text.lstrip()
        return any(text.startswith(line) or line.startswith(text) for line in _BEGINNINGS)

    @property
    def unfinished(self) -> bool:
        """Whether the last chunk ended within a line."""
        return bool(self._head)

    def feed(self, chunk: str | bytes | bytearray | memoryview) -> dict[str, int | str] | None:
        """Returns the counts that this chunk completes, or None; never raises."""
        try:
            # Latin-1, because no cut breaks it; JSON's own characters are ASCII in UTF-8.
            return self._feed(chunk if isinstance(chunk, str) else str(chunk, "latin-1"))
        except Exception:
            self._head = self._held = ""
            return None

    def _feed(self, chunk: str) -> dict[str, int | str] | None:
        first_head = (self._head + chunk[:_HEAD].partition("\n")[0])[:_HEAD]
        last_line = chunk.rfind("\n") + 1
        self._head = chunk[last_line : last_line + _HEAD] if last_line else first_head
        text = self._held + chunk
        self._held = ""
        found: dict[str, int | str] | None = None
        line = end = 0
        at = text.find(_KEY)
        while at >= 0:
            line = text.rfind("\n", end, at) + 1 or line
            end = at + len(_KEY)
            head = text[line : line + _HEAD] if line else first_head
            if head.startswith(("data:", "{")):
                usage, end = _decode_object(text, end)
                if end < 0:
                    self._held = text[at:]
                    return found
                counts = _read(usage, None)
                if counts is not None:
                    if found is None:
                        found = counts
                    else:
                        merge(found, counts)
            at = text.find(_KEY, end)
        quote = text.rfind('"', max(end, len(text) - len(_KEY) + 1))
        if quote >= 0 and _KEY.startswith(text[quote:]):
            self._held = text[quote:]
        return found


def _decode_object(text: str, start: int) -> tuple[object, int]:
    """Decodes `: {...}` at `start`; returns it and its end, -1 where the text ends before it.

    Where there is no such thing, the object is None and the end where to look on.
    """
    opening = text[start : start + _LONGEST_OPENING]
    marks = opening.replace(" ", "").replace("\t", "")
    if not marks.startswith(":{"):
        may_come = marks in ("", ":") and len(opening) < _LONGEST_OPENING
        return None, -1 if may_come else start
    import json  # here, because few streams carry text with a usage

    start += opening.index("{")
    value = text[start : start + _LONGEST_USAGE]
    try:
        usage, size = json.JSONDecoder().raw_decode(value)
        return usage, start + size
    except Exception:  # too deep, too long a number, no JSON, or not all of it yet
        newline = value.find("\n")
        if newline >= 0:
            return None, start + newline
        return None, -1 if len(value) < _LONGEST_USAGE else start + len(value)


def _read(usage: object, holder: object) -> dict[str, int | str] | None:
    if usage is None:
        return None
    prompt = _count(usage, "prompt_tokens")
    completion = _count(usage, "completion_tokens")
    of_chat = prompt is not None or completion is not None
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "input_tokens": prompt if of_chat else _count(usage, "input_tokens"),
        "output_tokens": completion if of_chat else _count(usage, "output_tokens"),
        "total_tokens": _count(usage, "total_tokens"),
    }
    if not of_chat and _is_of_anthropic(usage, holder):
        source = "anthropic"
        counts["cached_tokens"] = _count(usage, "cache_read_input_tokens")
        counts["cache_creation_tokens"] = _count(usage, "cache_creation_input_tokens")
    else:
        source = "openai"
        read, made = ("prompt", "completion") if of_chat else ("input", "output")
        counts["cached_tokens"] = _count(_get(usage, f"{read}_tokens_details"), "cached_tokens")
        counts["reasoning_tokens"] = _count(
            _get(usage, f"{made}_tokens_details"), "reasoning_tokens"
        )
    found: dict[str, int | str] = {n: c for n, c in counts.items() if c is not None}
    if not found:
        return None
    if "total_tokens" not in found:
        _sum_total(found)
    found["source"] = source
    return found


def _is_of_anthropic(usage: object, holder: object) -> bool:
    """Tells Anthropic's counts from the Responses API's, whose names are the same."""
    for cache in ("cache_read_input_tokens", "cache_creation_input_tokens"):
        if _get(usage, cache) is not None:
            return True
    for detail in ("total_tokens", "input_tokens_details", "output_tokens_details"):
        if _get(usage, detail) is not None:
            return False
    for part in (usage, holder):
        package = str(_get(type(part), "__module__")).partition(".")[0]
        if package in ("anthropic", "openai"):
            return package == "anthropic"
    kind = _get(holder, "type")
    if isinstance(kind, str) and kind.startswith("response."):
        return False
    of_openai: bool = _get(holder, "object") == "response"
    return not of_openai  # whose bare counts would have had a total


def _sum_total(counts: dict[str, int | str]) -> None:
    given, made = counts.get("input_tokens"), counts.get("output_tokens")
    if isinstance(given, int) and isinstance(made, int):
        counts["total_tokens"] = given + made


def _count(holder: object, name: str) -> int | None:
    """Returns a whole number of at least 0, None for all else."""
    value = None if holder is None else _get(holder, name)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            return None
        if not isinstance(value, (int, float)):
            from numbers import Integral  # NumPy's integers

            if not isinstance(value, Integral):
                return None
        count = int(value)
        return count if count == value and 0 <= count <= _LARGEST else None
    except Exception:
        return None


def _get(holder: object, name: str, default: object = None) -> Any:
    """Returns an attribute or a mapping's value; the default where it has none or raises."""
    try:
        if not isinstance(holder, dict):
            value = getattr(holder, name, default)
            if value is not default or not isinstance(holder, Mapping):
                return value
        return holder.get(name, default)
    except Exception:
        return default
