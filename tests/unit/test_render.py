"""The text of spans: durations, values, lines, indentation."""

import pytest

from cirron.render import duration, printable, scalar, tree_lines


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0us"),
        (400, "0us"),
        (142_000, "142us"),
        (142_499, "142us"),
        (999_499, "999us"),
        (999_500, "1.0ms"),
        (1_000_000, "1.0ms"),
        (1_249_000, "1.2ms"),
        (999_949_999, "999.9ms"),
        (999_950_000, "1.00s"),
        (1_234_000_000, "1.23s"),
        (3_600_000_000_000, "3600.00s"),
    ],
)
def test_durations(ns, text):
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.61237, "0.6124"),
        (1.0, "1.0000"),
        (1e-9, "0.0000"),
        (-2.5, "-2.5000"),
        (1e300, "1.0000e+300"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (3, "3"),
        (-(2**63), "-9223372036854775808"),
        (True, "True"),
        ("plain", "plain"),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_scalars(value, text):
    assert scalar(value) == text


def test_text_cannot_break_a_line_or_steer_a_terminal():
    assert printable("größe ☃") == "größe ☃"
    assert printable("a\nb\x1b[31m\x00\u2028") == "a\\nb\\x1b[31m\\x00\\u2028"


def test_indentation_ends_where_a_line_says_its_depth():
    lines = list(tree_lines([(0, "a"), (2, "b"), (64, "c"), (65, "d")]))
    assert lines == ["a", "    b", "  " * 64 + "c", "  " * 64 + "[depth 65] d"]
