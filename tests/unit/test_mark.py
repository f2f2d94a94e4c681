"""ci.mark: values, kinds, attachment and the caps."""

import json
import math

import numpy as np
import pytest
from support import flushed_marks, flushed_spans, spool_batches

import cirron as ci


@pytest.fixture
def session():
    with ci.profile() as profiler:
        yield profiler


def last_mark():
    return flushed_marks()[-1]


@pytest.mark.parametrize(
    ("value", "value_type", "stored"),
    [
        (0.5, "float", 0.5),
        (1.0, "float", 1.0),
        (7, "int", 7),
        (-(2**63), "int", -(2**63)),
        (2**63, "float", float(2**63)),
        (10**400, "float", "Infinity"),
        (-(10**400), "float", "-Infinity"),
        (True, "bool", True),
        (False, "bool", False),
        ("text", "string", "text"),
        (math.nan, "float", "NaN"),
        (math.inf, "float", "Infinity"),
        (-math.inf, "float", "-Infinity"),
        (np.float32(0.5), "float", 0.5),
        (np.float16(0.5), "float", 0.5),
        (np.float64(0.25), "float", 0.25),
        (np.longdouble(0.25), "float", 0.25),
        (np.int8(-3), "int", -3),
        (np.uint64(2**64 - 1), "float", float(2**64)),
        (np.bool_(True), "bool", True),
        (np.str_("s"), "string", "s"),
        ("nul\0inside", "string", "nul\0inside"),
        ("lone \ud800 surrogate", "string", "lone \ufffd surrogate"),
        ("", "string", ""),
    ],
)
def test_value_is_stored_with_its_type(session, value, value_type, stored):
    ci.mark("x", value)
    mark = last_mark()
    assert (mark["value_type"], mark["value"]) == (value_type, stored)
    assert type(mark["value"]) is type(stored)


@pytest.mark.parametrize("text", ["a" * 1000, "ü" * 1000, "a" + "ü" * 1000, "€" * 90, "😀" * 100])
def test_string_is_cut_at_256_bytes_between_characters(session, text):
    ci.mark("x", text)
    value = last_mark()["value"]
    assert text.startswith(value)
    assert 252 < len(value.encode()) <= 256


def test_hundred_megabytes_of_string_cost_256_bytes(session):
    ci.mark("x", "ü" * 100_000_000)
    assert last_mark()["value"] == "ü" * 128


@pytest.mark.parametrize(
    "value", [None, [1.0], (1,), {}, b"bytes", 1j, np.zeros(3), np.array(1.0), object()]
)
def test_what_is_no_scalar_is_a_type_error_that_says_what_to_do(session, value):
    with pytest.raises(TypeError, match=r"\.item\(\)") as error:
        ci.mark("x", value)
    assert type(value).__name__ in str(error.value)
    assert "snapshots" in str(error.value)


@pytest.mark.parametrize("kind", ["Point", "", None, 1, "summary "])
def test_unknown_kind_is_a_value_error(session, kind):
    with pytest.raises(ValueError, match="point"):
        ci.mark("x", 1, kind=kind)


def test_name_that_is_no_str_is_a_type_error(session):
    with pytest.raises(TypeError, match="name must be a str"):
        ci.mark(1, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ci.mark(),
        lambda: ci.mark("x"),
        lambda: ci.mark("x", 1, "point"),
        lambda: ci.mark("x", 1, value=2),
    ],
)
def test_wrong_arguments_are_type_errors(session, call):
    with pytest.raises(TypeError, match="mark"):
        call()


def test_kind_and_attributes_are_stored(session):
    ci.mark("loss", 0.5, kind="summary", step=3, phase="warmup")
    mark = last_mark()
    assert mark["kind"] == "summary"
    assert mark["attrs"] == {"step": 3, "phase": "warmup"}


def test_name_and_value_may_be_keywords(session):
    ci.mark(name="loss", value=0.5)
    assert last_mark()["name"] == "loss"


def test_mark_attaches_to_the_innermost_open_scope(session):
    with ci.scope("a") as a:
        ci.mark("in_a", 1)
        with ci.scope("b") as b:
            ci.mark("in_b", 1)
        ci.mark("in_a_again", 1)
    ci.mark("outside", 1)
    marks = {m["name"]: m for m in flushed_marks()}
    root = next(s for s in flushed_spans() if s["name"] == "cirron.session")
    assert marks["in_a"]["span_id"] == marks["in_a_again"]["span_id"] == a.id
    assert marks["in_b"]["span_id"] == b.id
    assert marks["outside"]["span_id"] == root["id"]


def test_mark_time_lies_within_its_span(session):
    with ci.scope("a") as a:
        ci.mark("x", 1)
    assert a.start_ns <= last_mark()["ts_ns"] <= a.end_ns


def test_mark_without_a_session_goes_to_root(tmp_path):
    ci.mark("before", 1)
    with ci.profile():
        marks = flushed_marks()
    assert [(m["name"], m["span_id"]) for m in marks] == [("before", "root")]


def test_span_lists_the_marks_of_its_own_file(session):
    with ci.scope("a"):
        for i in range(3):
            ci.mark("x", i)
    batch = next(b for b in flushed_batches() if any(s["name"] == "a" for s in b["spans"]))
    span = next(s for s in batch["spans"] if s["name"] == "a")
    assert span["mark_ids"] == [m["id"] for m in batch["marks"] if m["span_id"] == span["id"]]
    assert len(span["mark_ids"]) == 3


def flushed_batches():
    ci.flush()
    return spool_batches()


def test_mark_ids_differ(session):
    for i in range(5000):
        ci.mark("x", i)
    ids = [m["id"] for m in flushed_marks()]
    assert len(ids) == len(set(ids)) == 5000
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in ids)


def test_every_mark_is_stored_or_counted_when_the_buffer_overflows():
    produced = 300_000
    with ci.profile(flush_interval=3600) as profiler:
        mark = ci.mark
        for i in range(produced):
            mark("x", i)
        profiler.flush()
        health = ci.health()
        values = [m["value"] for m in flushed_marks()]
    assert len(values) + health["mark_drop_count"] == produced
    assert health["mark_count"] == produced
    assert values[-1] == produced - 1
    assert values == sorted(values)


@pytest.mark.parametrize("name", ["", 'with "quotes"', "\ud83d lone", "nul\0", "x" * 3000, "naïve"])
def test_odd_names_survive(session, name):
    ci.mark(name, 1)
    with ci.scope(name):
        pass
    expected = name.replace("\ud83d", "\ufffd")
    assert last_mark()["name"] == expected
    assert expected in [s["name"] for s in flushed_spans()]


def test_hundred_megabyte_name_is_cut():
    with ci.profile():
        with ci.scope("n" * 100_000_000):
            pass
        assert "n" * 4096 in [s["name"] for s in flushed_spans()]


def test_a_hundred_thousand_names_do_not_grow_without_bound(session):
    for i in range(100_000):
        with ci.scope(f"name-{i}"):
            pass
    names = {s["name"] for s in flushed_spans()}
    assert {f"name-{i}" for i in range(100_000)} <= names


def test_batches_are_strict_json(session):
    ci.mark("nan", math.nan, also=math.inf, text='\ud800"\\\n\x01')
    for batch in flushed_batches():
        json.dumps(batch, allow_nan=False)
    assert last_mark()["attrs"] == {"also": "Infinity", "text": '\ufffd"\\\n\x01'}
