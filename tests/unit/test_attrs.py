"""Attributes of spans and marks: whatever the user gives becomes strict JSON, at any price
but the span's."""

import json
import math

import numpy as np
import pytest
from support import flushed_marks, flushed_spans

import cirron as ci


class Printable:
    def __str__(self):
        return "printed"


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


@pytest.fixture
def session():
    with ci.profile() as profiler:
        yield profiler


def stored(attrs):
    with ci.scope("s") as s:
        s.attrs.update(attrs)
    (span,) = [s for s in flushed_spans() if s["name"] == "s"]
    return span["attrs"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("nul\0 and \x1b", "nul\0 and \x1b"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        (7, 7),
        (-(2**63), -(2**63)),
        (2**63, str(2**63)),
        (-(10**30), str(-(10**30))),
        (0.5, 0.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (True, True),
        (None, None),
        ([1, (2, "x")], [1, [2, "x"]]),
        ({"a": {"b": []}}, {"a": {"b": []}}),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (Printable(), "printed"),
        (b"x", "b'x'"),
        ({1}, "{1}"),
        (1 + 2j, "(1+2j)"),
        (Unprintable(), "<unserialisable Unprintable>"),
        ([Unprintable()], ["<unserialisable Unprintable>"]),
    ],
)
def test_value_becomes_json(session, value, expected):
    result = stored({"x": value})["x"]
    assert result == expected
    assert type(result) is type(expected)


def test_keys_become_text(session):
    keys = {3: 1, None: 2, True: 3, (1, 2): 4, "\ud800": 5, "": 6}
    assert stored({**keys, Unprintable(): 7}) == {
        "3": 1,
        "None": 2,
        "True": 3,
        "(1, 2)": 4,
        "\ufffd": 5,
        "": 6,
        "<unserialisable Unprintable>": 7,
    }


def test_what_lies_deeper_than_eight_levels_becomes_text(session):
    deep = 1
    for level in range(10, 1, -1):
        deep = {str(level): deep}
    value = stored({"1": deep})
    for level in range(1, 9):
        value = value[str(level)]
    assert value == "{'9': {'10': 1}}"


def test_containers_that_hold_themselves_end(session):
    ring = []
    ring.append(ring)
    value = stored({"ring": ring})["ring"]
    levels = 1
    while isinstance(value, list):
        (value,) = value
        levels += 1
    assert (levels, value) == (8, "[[...]]")


def test_beyond_64_kib_the_first_stay_and_the_rest_is_cut(session):
    attrs = stored({"first": 1, **{f"k{i}": "v" * 1000 for i in range(100)}, "last": 2})
    assert attrs["first"] == 1
    assert attrs["cirron.attrs_truncated"] is True
    assert "last" not in attrs
    assert 60 * 1024 < len(json.dumps(attrs, separators=(",", ":"))) <= 64 * 1024


def test_one_huge_value_is_cut_and_costs_nothing_else(session):
    with ci.scope("s", before=1, huge="x" * 100_000_000):
        ci.mark("m", 1, huge="x" * 100_000_000)
    (span,) = [s for s in flushed_spans() if s["name"] == "s"]
    assert span["attrs"]["before"] == 1
    assert span["attrs"]["cirron.attrs_truncated"] is True
    (mark,) = flushed_marks()
    assert mark["attrs"]["cirron.attrs_truncated"] is True


def test_marks_have_the_same_attributes(session):
    ci.mark("m", 1, a=math.nan, b=Unprintable(), c=[1, {"d": None}], e=2**64)
    assert flushed_marks()[-1]["attrs"] == {
        "a": "NaN",
        "b": "<unserialisable Unprintable>",
        "c": [1, {"d": None}],
        "e": str(2**64),
    }


def test_bad_attribute_costs_its_neighbours_nothing(session):
    for bad in (Unprintable(), "\ud800", math.nan, 10**400):
        with ci.scope("neighbour"), ci.scope("bad", bad=bad):
            pass
    names = [s["name"] for s in flushed_spans()]
    assert (names.count("neighbour"), names.count("bad")) == (4, 4)


def test_interrupt_inside_str_reaches_the_user_and_the_span_is_kept(session):
    class Interrupts:
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ci.scope("s", x=Interrupts()):
        pass
    assert [s["name"] for s in flushed_spans() if s["name"] == "s"] == ["s"]
    assert ci.health()["scope_depth"] == 0
