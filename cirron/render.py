"""Spans as text: the line of one span, and the tree."""

from __future__ import annotations

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DEEPEST_INDENT = 64  # beyond it a line says its depth, so that a tree's text stays linear
_LARGEST_WITH_DECIMALS = 1e15


def duration(ns: int) -> str:
    """Renders a duration as `142us`, `1.2ms` or `1.23s`."""
    if ns < 999_500:
        return f"{ns / 1e3:.0f}us"
    if ns < 999_950_000:
        return f"{ns / 1e6:.1f}ms"
    return f"{ns / 1e9:.2f}s"


def scalar(value: float | int | str | bool) -> str:
    """Renders a mark's value: floats with 4 decimals, the rest as it is."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < _LARGEST_WITH_DECIMALS else f"{value:.4e}"
    return printable(str(value))


def printable(text: str) -> str:
    """Returns the text with what would break a line or steer a terminal escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class SpanLines:
    """The lines of a table's spans, such as `epoch[0] - 142us {loss=0.6124}`."""

    def __init__(self, table: _core.SpanTable) -> None:
        self._marks = table.marks_of
        self._names = table.strings("name")
        self._indices = table.ints("index")
        self._has_index = table.present("index")
        self._starts = table.ints("start_ns")
        self._ends = table.ints("end_ns")
        self._mark_counts = table.ints("mark_count")

    def wall_ns(self, row: int) -> int:
        """Returns how long a span was open."""
        return self._ends[row] - self._starts[row]

    def title(self, row: int) -> str:
        """Returns a span's name and index."""
        name = printable(self._names[row] or "")
        return f"{name}[{self._indices[row]}]" if self._has_index[row] else name

    def marks(self, row: int) -> str:
        """Returns the newest value of each mark's name, or "" when there are none."""
        if not self._mark_counts[row]:
            return ""
        newest = {name: value for name, value, *_ in self._marks(row)}
        return ", ".join(f"{printable(name)}={scalar(value)}" for name, value in newest.items())

    def line(self, row: int) -> str:
        """Returns the whole line."""
        line = f"{self.title(row)} - {duration(self.wall_ns(row))}"
        marks = self.marks(row)
        return f"{line} {{{marks}}}" if marks else line


def tree_lines(spans: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Indents lines by their depth.

    Args:
        spans: depth and line of each span, depth first.
    """
    for depth, line in spans:
        if depth <= _DEEPEST_INDENT:
            yield "  " * depth + line
        else:
            yield "  " * _DEEPEST_INDENT + f"[depth {depth}] {line}"
