"""Token counts from results, stream events and SSE text."""

import json
from collections import UserDict
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import run_script

from cirron.serving.usage import EventText, merge, read_usage

CHAT = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
CHAT_COUNTS = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "input_tokens": 12,
    "output_tokens": 30,
    "total_tokens": 42,
    "cached_tokens": 8,
    "reasoning_tokens": 20,
    "source": "openai",
}
RESPONSES = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 6},
    "total_tokens": 18,
}
RESPONSES_COUNTS = {
    "input_tokens": 7,
    "output_tokens": 11,
    "total_tokens": 18,
    "cached_tokens": 4,
    "reasoning_tokens": 6,
    "source": "openai",
}
ANTHROPIC = {
    "input_tokens": 5,
    "output_tokens": 9,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 50,
    "service_tier": "standard",
}
ANTHROPIC_COUNTS = {
    "input_tokens": 5,
    "output_tokens": 9,
    "total_tokens": 14,
    "cached_tokens": 100,
    "cache_creation_tokens": 50,
    "source": "anthropic",
}
SHAPES = [(CHAT, CHAT_COUNTS), (RESPONSES, RESPONSES_COUNTS), (ANTHROPIC, ANTHROPIC_COUNTS)]


def as_object(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_object(item) for key, item in value.items()})
    return value


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


def as_model(value: Any) -> Any:
    if isinstance(value, dict):
        return Model(**{key: as_model(item) for key, item in value.items()})
    return value


def as_mixture(value: Any) -> Any:
    return SimpleNamespace(**value)  # its details stay dicts


def as_mapping(value: Any) -> Any:
    return MappingProxyType(value)


FORMS = [dict, as_object, as_model, as_mixture, as_mapping, UserDict]


@pytest.mark.parametrize(("usage", "counts"), SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_usage_is_read_from_any_form(form: Any, usage: Any, counts: Any) -> None:
    assert read_usage({"usage": form(usage)}) == counts
    assert read_usage(SimpleNamespace(usage=form(usage))) == counts
    assert read_usage(Model(usage=form(usage))) == counts
    assert read_usage(form({"id": "1", "usage": usage})) == counts


@pytest.mark.parametrize("form", FORMS)
def test_usage_is_read_from_the_response_message_or_chunk_of_an_event(form: Any) -> None:
    completed = {"type": "response.completed", "response": {"usage": RESPONSES}}
    start = {"type": "message_start", "message": {"usage": ANTHROPIC}}
    chunk = {"type": "chunk", "chunk": {"usage": CHAT}}
    assert read_usage(form(completed)) == RESPONSES_COUNTS
    assert read_usage(form(start)) == ANTHROPIC_COUNTS
    assert read_usage(form(chunk)) == CHAT_COUNTS


def test_usage_that_is_null_counts_as_none() -> None:
    assert read_usage({"usage": None}) is None
    assert read_usage({"type": "response.created", "response": {"usage": None}}) is None
    assert read_usage({"type": "message_stop"}) is None


def test_attributes_of_an_object_that_is_no_event_are_left_alone() -> None:
    asked = []

    class Row:
        @property
        def message(self) -> None:
            asked.append("message")

        @property
        def response(self) -> None:
            asked.append("response")

    assert read_usage(Row()) is None
    assert asked == []


@pytest.mark.parametrize(
    ("holder", "source"),
    [
        ({"type": "message", "usage": {"input_tokens": 1, "output_tokens": 2}}, "anthropic"),
        ({"type": "message_delta", "usage": {"output_tokens": 2}}, "anthropic"),
        ({"usage": {"input_tokens": 1, "output_tokens": 2}}, "anthropic"),
        ({"usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}, "openai"),
        ({"usage": {"input_tokens": 1, "output_tokens_details": {}}}, "openai"),
        ({"usage": {"input_tokens": 1, "cache_read_input_tokens": 0}}, "anthropic"),
        ({"object": "response", "usage": {"input_tokens": 1, "output_tokens": 2}}, "openai"),
        ({"type": "response.completed", "usage": {"input_tokens": 1}}, "openai"),
        ({"usage": {"prompt_tokens": 1, "cache_read_input_tokens": 0}}, "openai"),
    ],
)
def test_source_is_told_by_what_only_one_of_them_says(holder: Any, source: str) -> None:
    for value in (holder, as_object(holder)):
        counts = read_usage(value)
        assert counts is not None
        assert counts["source"] == source


def test_source_of_bare_counts_is_told_by_their_class() -> None:
    usage = type("Usage", (), {"__module__": "openai.types", "input_tokens": 1, "output_tokens": 2})
    assert read_usage(SimpleNamespace(usage=usage())) == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "source": "openai",
    }


def test_total_is_summed_only_where_both_are_known() -> None:
    assert read_usage({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}) == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "input_tokens": 3,
        "output_tokens": 4,
        "total_tokens": 7,
        "source": "openai",
    }
    assert read_usage({"usage": {"output_tokens": 4}}) == {
        "output_tokens": 4,
        "source": "anthropic",
    }


def test_an_embedding_has_a_prompt_and_a_total() -> None:
    assert read_usage({"usage": {"prompt_tokens": 8, "total_tokens": 8}}) == {
        "prompt_tokens": 8,
        "input_tokens": 8,
        "total_tokens": 8,
        "source": "openai",
    }


@pytest.mark.parametrize(
    "value",
    [-1, "7", 1.5, True, None, float("nan"), float("inf"), 2**63, [7], Decimal(7), 1j, MagicMock()],
)
def test_what_is_no_count_is_left_out(value: object) -> None:
    usage = {"prompt_tokens": value, "completion_tokens": 3}
    counts = {"completion_tokens": 3, "output_tokens": 3, "source": "openai"}
    assert read_usage({"usage": usage}) == counts
    assert read_usage({"usage": {"prompt_tokens": value}}) is None


@pytest.mark.parametrize("value", [7, 7.0, np.int64(7), np.float64(7)])
def test_whole_numbers_of_any_type_count(value: object) -> None:
    counts = read_usage({"usage": {"input_tokens": value}})
    assert counts == {"input_tokens": 7, "source": "anthropic"}
    assert type(counts["input_tokens"]) is int


class Hostile:
    """Raises wherever it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class HostileAttributes:
    """Raises like `Hostile`, but lets hypothesis ask for its class."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class HostileMapping(UserDict):  # type: ignore[type-arg]
    def get(self, key: str, default: Any = None) -> Any:
        raise OSError(key)


class HostileNumber(int):
    def __index__(self) -> int:
        raise ValueError

    def __int__(self) -> int:
        raise ValueError

    def __eq__(self, other: object) -> bool:
        raise ValueError

    def __hash__(self) -> int:
        return 0


class Endless:
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "_")


class Slots:
    __slots__ = ("usage",)


@pytest.mark.parametrize(
    "make", [Hostile, HostileMapping, lambda: HostileNumber(3), Endless, Slots, MagicMock]
)
def test_a_hostile_value_is_no_usage(make: Any) -> None:
    value = make()
    assert read_usage(value) is None
    assert read_usage({"usage": value}) is None
    assert read_usage({"usage": {"prompt_tokens": value}}) is None
    assert read_usage({"usage": {"prompt_tokens": 1, "prompt_tokens_details": value}}) == {
        "prompt_tokens": 1,
        "input_tokens": 1,
        "source": "openai",
    }
    assert read_usage({"response": value, "message": value, "type": value}) is None


def test_an_interrupt_is_not_swallowed() -> None:
    class Interrupted:
        @property
        def usage(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_usage(Interrupted())


NAMES = st.sampled_from(
    [*CHAT, *RESPONSES, *ANTHROPIC, "cached_tokens", "usage", "response", "message", "type"]
)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["message_start", "response.completed"])
    | st.builds(HostileAttributes)
    | st.builds(Endless)
    | st.builds(HostileNumber),
    lambda inner: (
        st.dictionaries(NAMES, inner)
        | st.dictionaries(NAMES, inner).map(as_object)
        | st.dictionaries(NAMES, inner).map(MappingProxyType)
        | st.lists(inner)
    ),
)


@given(JUNK)
def test_junk_never_raises_and_gives_counts_only(value: object) -> None:
    counts = read_usage(value)
    if counts is not None:
        assert counts.pop("source") in ("openai", "anthropic")
        assert counts
        assert all(type(count) is int and 0 <= count < 2**63 for count in counts.values())
        if {"input_tokens", "output_tokens"} <= counts.keys():
            assert "total_tokens" in counts


def test_a_message_stream_adds_up_to_its_message() -> None:
    counts: dict[str, int | str] = {}
    for event in (
        {"type": "message_start", "message": {"usage": {**ANTHROPIC, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"output_tokens": 4}},
        {"type": "message_delta", "usage": {"output_tokens": 9}},
    ):
        found = read_usage(event)
        assert found is not None
        merge(counts, found)
    assert counts == ANTHROPIC_COUNTS


def test_cumulative_usage_of_each_chunk_replaces_the_one_before() -> None:
    counts: dict[str, int | str] = {}
    for made in range(1, 6):
        usage = {"prompt_tokens": 10, "completion_tokens": made, "total_tokens": 10 + made}
        found = read_usage({"usage": usage})
        assert found is not None
        merge(counts, found)
    assert counts == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "source": "openai",
    }


# ---- text


def sse(*events: object, newline: str = "\n") -> str:
    return "".join(f"data: {json.dumps(event)}{newline}{newline}" for event in events)


CHAT_EVENTS = [
    {"choices": [{"delta": {"content": 'say "usage": {"prompt_tokens": 1}'}}], "usage": None},
    {"choices": [{"delta": {"content": "é \u2028 日本"}}], "usage": None},
    {"choices": [], "usage": CHAT},
]
MESSAGE_EVENTS = [
    {"type": "message_start", "message": {"usage": {**ANTHROPIC, "output_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "usage"}},
    {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
]
STREAMS = {
    "chat": (sse(*CHAT_EVENTS) + "data: [DONE]\n\n", CHAT_COUNTS),
    "crlf": (sse(*CHAT_EVENTS, newline="\r\n") + "data: [DONE]\r\n\r\n", CHAT_COUNTS),
    "no space": (sse(*CHAT_EVENTS).replace("data: ", "data:"), CHAT_COUNTS),
    "message": (
        "".join(f"event: {e['type']}\n{sse(e)}" for e in MESSAGE_EVENTS),
        ANTHROPIC_COUNTS,
    ),
    "responses": (
        sse({"type": "response.completed", "response": {"usage": RESPONSES, "user": None}}),
        RESPONSES_COUNTS,
    ),
    "json lines": ("".join(json.dumps(e) + "\n" for e in CHAT_EVENTS), CHAT_COUNTS),
    "no newline at the end": (json.dumps(CHAT_EVENTS[-1]), CHAT_COUNTS),
    "spaces": ('data: {"usage" : \t {"input_tokens":1}}\n', {"input_tokens": 1}),
}


def read_text(*chunks: Any) -> dict[str, int | str]:
    reader = EventText()
    counts: dict[str, int | str] = {}
    for chunk in chunks:
        found = reader.feed(chunk)
        if found is not None:
            merge(counts, found)
    return counts


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_text_cut_anywhere_reads_the_same(name: str, form: Any) -> None:
    text, counts = STREAMS[name]
    counts = {"source": "anthropic", **counts}
    raw = text.encode()
    assert read_text(text) == counts
    assert read_text(*text) == counts
    assert read_text(*(form(raw[at : at + 1]) for at in range(len(raw)))) == counts
    for cut in range(len(raw) + 1):
        assert read_text(form(raw[:cut]), form(raw[cut:])) == counts


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 2000)))
def test_text_cut_into_many_chunks_reads_the_same(name: str, cuts: list[int]) -> None:
    text, counts = STREAMS[name]
    edges = [0, *sorted(cuts), len(text)]
    chunks = [text[start:end] for start, end in pairwise(edges)]
    assert read_text(*chunks) == {"source": "anthropic", **counts}


def test_an_event_larger_than_any_buffer_is_read() -> None:
    output = [{"text": "x" * 1_000_000}]
    event = {"type": "response.completed", "response": {"output": output, "usage": RESPONSES}}
    text = sse(event)
    assert read_text(*(text[at : at + 1000] for at in range(0, len(text), 1000))) == (
        RESPONSES_COUNTS
    )


def test_what_a_model_writes_about_usage_is_not_believed() -> None:
    document = json.dumps({"id": "1", "usage": CHAT}, indent=2)
    assert read_text(document[1:]) == {}  # its text, token by token: no event's lines
    assert read_text(*(f"So: {document}"[at : at + 3] for at in range(0, 300, 3))) == {}
    delta = {"choices": [{"delta": {"content": document}}]}
    assert read_text(sse(delta)) == {}
    assert read_text(sse({"arguments": json.dumps(delta)})) == {}


@pytest.mark.parametrize(
    "broken",
    [
        'data: {"usage": {"prompt_tokens": 1,,}}\n',
        'data: {"usage": {"prompt_tokens": \n',
        'data: {"usage": [1]}\n',
        'data: {"usage": "none"}\n',
        'data: {"usage"\n',
        'data: {"usage":' + " " * 10_000 + "\n",
        'data: {"usage":' + '{"a":' * 100_000 + "\n",
        'data: {"usage": {"prompt_tokens": ' + "9" * 5000 + "}}\n",
        'data: {"usage": {"a": "' + "x" * 100_000 + '", "prompt_tokens": 1}}\n',
        'data: "usage' + "\n",
        b'data: {"\xff\xfe": "\xc3", "usage": {"prompt_tokens": NaN}}\n'.decode("latin-1"),
    ],
)
def test_a_broken_event_costs_itself(broken: str) -> None:
    text = broken + sse({"usage": CHAT})
    assert read_text(text) == CHAT_COUNTS
    assert read_text(*(text[at : at + 100] for at in range(0, len(text), 100))) == CHAT_COUNTS


def test_invalid_utf8_between_is_no_obstacle() -> None:
    event = sse({"usage": CHAT}).encode()
    assert read_text(b"data: \xff\xc3(\n\n", event[:20] + b"", event[20:]) == CHAT_COUNTS


@pytest.mark.parametrize("chunk", [None, 7, object(), [b"data"], memoryview(b"a b c")[::2]])
def test_a_chunk_that_is_no_text_is_passed_over(chunk: Any) -> None:
    reader = EventText()
    assert reader.feed(chunk) is None
    assert reader.feed(sse({"usage": CHAT})) == CHAT_COUNTS


@settings(max_examples=300)
@given(
    st.lists(
        st.text(alphabet=list('data: {}[]",\\\r\n1eusg'))
        | st.sampled_from(['"usage"', '"usage": {', 'data: {"usage":{"input_tokens":1}}', "\n"])
        | st.binary(),
        max_size=30,
    )
)
def test_hostile_text_never_raises_and_little_of_it_is_kept(chunks: list[Any]) -> None:
    reader = EventText()
    for chunk in chunks:
        reader.feed(chunk)
        kept = reader.feed("")
        assert kept is None
    bulk = sum(len(getattr(reader, name)) for name in EventText.__slots__)
    assert bulk < 8192


def test_importing_the_reader_loads_no_other_module() -> None:
    script = """
        import cirron, sys
        before = set(sys.modules)
        import cirron.serving.usage
        new = set(sys.modules) - before
        assert new <= {"cirron.serving", "cirron.serving.usage"}, new
    """
    run_script(script)
