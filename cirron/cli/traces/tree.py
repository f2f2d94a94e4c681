"""The spans of one session as a tree that is filtered, cut and walked without recursion."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from cirron._core import SpanTable
from cirron.cli.traces.sessions import Session

OVERHEAD = "cirron.overhead_ns"

_END_OF_TIME = 2**63


class Columns:
    """The columns of a table, each fetched once."""

    def __init__(self, table: SpanTable) -> None:
        self.table = table
        self._ints: dict[str, Sequence[int]] = {}
        self._present: dict[str, Sequence[int]] = {}
        self._strings: dict[str, list[str | None]] = {}

    def ints(self, name: str) -> Sequence[int]:
        """Returns `SpanTable.ints(name)`."""
        if name not in self._ints:
            self._ints[name] = self.table.ints(name)
        return self._ints[name]

    def present(self, name: str) -> Sequence[int]:
        """Returns `SpanTable.present(name)`."""
        if name not in self._present:
            self._present[name] = self.table.present(name)
        return self._present[name]

    def strings(self, name: str) -> list[str | None]:
        """Returns `SpanTable.strings(name)`."""
        if name not in self._strings:
            self._strings[name] = self.table.strings(name)
        return self._strings[name]


class Tree:
    """The spans of one session in depth-first order, the root first.

    The synthetic session of orphan spans has no root; row -1 stands for it here.

    Args:
        columns: of the table that the session is in.
        session: the session.
        overhead: whether `marks` has the profiler's own time, as a last summary mark.
    """

    def __init__(self, columns: Columns, session: Session, *, overhead: bool = False) -> None:
        self.session = session
        self._overhead = overhead
        self._columns = columns
        self._names = columns.strings("name")
        self._start = columns.ints("start_ns")
        self._end = columns.ints("end_ns")
        self._closed = columns.present("end_ns")
        rows, depths = columns.table.tree(session.number)
        self._rows: Sequence[int] = rows
        self._depths: Sequence[int] = depths
        if session.row < 0:
            self._rows = [-1, *rows]
            self._depths = [0, *(depth + 1 for depth in depths)]

    def keep(self, name: str | None, min_wall_ns: float | None) -> bool:
        """Drops the spans that do not match, but for the ancestors of those that do.

        The root stays even when everything is shorter than `min_wall_ns`. Returns False
        when no name matches.
        """
        if name is None and min_wall_ns is None:
            return True
        parents = self._columns.ints("parent_row")
        kept = bytearray(len(self._columns.table))
        named = name is None
        for row in reversed(self._rows):
            if row < 0:
                continue
            if name is None or name in (self._names[row] or ""):
                named = True
                kept[row] |= min_wall_ns is None or self._wall_ns(row) >= min_wall_ns
            if kept[row] and parents[row] >= 0:
                kept[parents[row]] = 1
        pairs = [
            (row, depth)
            for row, depth in zip(self._rows, self._depths, strict=True)
            if depth == 0 or kept[row]
        ]
        self._rows = [row for row, _ in pairs]
        self._depths = [depth for _, depth in pairs]
        return named

    def walk(self, limit: int | None = None) -> Iterator[tuple[bool, int, int, Sequence[int]]]:
        """Yields (entering, row, depth, collapsed rows) as it enters and leaves each span.

        What lies below depth `limit` is not entered: those are the collapsed rows of its
        ancestor there.
        """
        rows, depths = self._rows, self._depths
        path: list[tuple[int, Sequence[int]]] = []
        position = 0
        while position < len(rows):
            row, depth = rows[position], depths[position]
            while len(path) > depth:
                left, collapsed = path.pop()
                yield False, left, len(path), collapsed
            position += 1
            below = position
            if depth == limit:
                while position < len(rows) and depths[position] > depth:
                    position += 1
            collapsed = rows[below:position]
            path.append((row, collapsed))
            yield True, row, depth, collapsed
        while path:
            left, collapsed = path.pop()
            yield False, left, len(path), collapsed

    def id(self, row: int) -> str | None:
        """Returns the span's id."""
        return self.session.id if row < 0 else self._columns.strings("id")[row]

    def parent_id(self, row: int) -> str | None:
        """Returns the parent's id."""
        return None if row < 0 else self._columns.strings("parent_id")[row]

    def name(self, row: int) -> str:
        """Returns the span's name."""
        return self.session.id if row < 0 else self._names[row] or ""

    def number(self, column: str, row: int) -> int | None:
        """Returns the value of an integer column, None where there is none."""
        if row < 0 or not self._columns.present(column)[row]:
            return None
        return self._columns.ints(column)[row]

    def interval(self, row: int) -> tuple[int, int | None]:
        """Returns start and end in ns; the end of an open span is None."""
        if row < 0:
            return self.session.started_ns, self.session.ended_ns
        return self._start[row], self._end[row] if self._closed[row] else None

    def covered_ns(self, row: int, below: Sequence[int]) -> int:
        """Returns how long, while `row` was open, at least one closed span of `below` was."""
        until, end = self.interval(row)
        last = _END_OF_TIME if end is None else end
        covered = 0
        for start, stop in sorted((self._start[r], self._end[r]) for r in below if self._closed[r]):
            start, stop = max(start, until), min(stop, last)
            if stop > start:
                covered += stop - start
                until = stop
        return covered

    def attrs(self, row: int) -> dict[str, Any]:
        """Returns the span's attributes."""
        return {} if row < 0 else self._columns.table.attrs(row)

    def marks(self, row: int) -> Iterator[tuple[str, Any, str, int | None, dict[str, Any]]]:
        """Yields (name, value, kind, ts_ns, attrs) of the span's marks."""
        if row < 0:
            return
        if self._columns.ints("mark_count")[row]:
            yield from self._columns.table.marks(row)
        overhead = self.number("overhead_ns", row) if self._overhead else None
        if overhead is not None:
            yield OVERHEAD, overhead, "summary", self.interval(row)[1], {}

    def _wall_ns(self, row: int) -> float:
        start, end = self.interval(row)
        return math.inf if end is None else end - start
