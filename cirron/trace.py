"""Read-back: `trace` shows the spans of the running session without leaving the process.

Everything here walks rows in depth-first order; nothing recurses, whatever the depth.
"""

from __future__ import annotations

import operator
import sys

from cirron import _core
from cirron.errors import CirronDependencyError
from cirron.profiler import flush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

_FORMATS = ("tree", "dict", "json", "df")


def trace(
    format: Literal["tree", "dict", "json", "df"] = "tree",
    name: str | None = None,
    last: int | None = None,
) -> Any:
    """Shows the closed spans of the running session, or of the last one.

    Args:
        format: "tree" prints the tree, or returns something that shows itself in a
            notebook; "dict" and "json" return it nested; "df" returns a pandas DataFrame
            with a row for each span.
        name: keeps the spans of this name, with what is below them.
        last: then keeps so many of the most recently closed.

    Returns:
        None for "tree" outside of a notebook; {"roots": [...], "span_count": n} for "dict",
        with the live session under "session"; its text for "json"; a DataFrame for "df".
        `wall_us` is in microseconds, whatever ends in `_ns` in nanoseconds.

    Raises:
        ValueError: the format is unknown or `last` is negative.
        TypeError: `name` is no str or `last` no integer.
        CirronDependencyError: pandas is needed and not installed.
    """
    if format not in _FORMATS:
        raise ValueError(f"format must be one of {', '.join(_FORMATS)}, not {format!r:.80}")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {type(name)}")
    if last is not None:
        if not hasattr(last, "__index__"):
            raise TypeError(f"last must be an int or None, not {type(last)}")
        last = operator.index(last)
        if last < 0:
            raise ValueError(f"last must not be negative, it is {last}")
    flush()
    table = _core.read_trace(live_session=True, session=_core.session_number() or -1)
    live_row = table.present("end_ns").tobytes().find(0)  # the only open span, or -1
    rows, depths = _select(table, live_row, name, last)
    if format == "df":
        return _data_frame(table, rows, depths)
    if format == "dict":
        return _nested(_Nodes(table), live_row, rows, depths)
    if format == "json":
        return _json(_Nodes(table), live_row, rows, depths)
    return _tree(table, rows, depths)


# ---- which spans, in which order, how deep


def _select(
    table: _core.SpanTable, live_row: int, name: str | None, last: int | None
) -> tuple[list[int], list[int]]:
    tree_rows, tree_depths = table.tree()
    rows, depths = tree_rows.tolist(), tree_depths.tolist()
    if live_row >= 0:
        rows, depths = _without_live_session(table, live_row, rows, depths)
    if name is not None:
        rows, depths = _named(table, name, rows, depths)
    if last is not None:
        rows, depths = _newest(table, last, rows, depths)
    return rows, depths


def _without_live_session(
    table: _core.SpanTable, live_row: int, rows: list[int], depths: list[int]
) -> tuple[list[int], list[int]]:
    """Makes roots of the session's children, in order with the other roots."""
    first = rows.index(live_row)
    after = first + 1
    while after < len(rows) and depths[after] > 0:
        depths[after] -= 1
        after += 1
    del rows[first], depths[first]
    starts_ns = table.ints("start_ns")
    roots = [place for place, depth in enumerate(depths) if depth == 0]
    order = sorted(range(len(roots)), key=lambda root: starts_ns[rows[roots[root]]])
    if order == list(range(len(roots))):
        return rows, depths
    ends = [*roots[1:], len(rows)]
    places = [place for root in order for place in range(roots[root], ends[root])]
    return [rows[place] for place in places], [depths[place] for place in places]


def _named(
    table: _core.SpanTable, name: str, rows: list[int], depths: list[int]
) -> tuple[list[int], list[int]]:
    names = table.strings("name")
    kept_rows: list[int] = []
    kept_depths: list[int] = []
    top: int | None = None  # the depth of the match that we are in
    for row, depth in zip(rows, depths, strict=True):
        if top is None or depth <= top:
            top = depth if names[row] == name else None
        if top is not None:
            kept_rows.append(row)
            kept_depths.append(depth - top)
    return kept_rows, kept_depths


def _newest(
    table: _core.SpanTable, last: int, rows: list[int], depths: list[int]
) -> tuple[list[int], list[int]]:
    ends_ns = table.ints("end_ns")
    newest = sorted(rows, key=lambda row: (ends_ns[row], row), reverse=True)[:last]
    kept = set(newest)
    kept_rows: list[int] = []
    kept_depths: list[int] = []
    ancestors: list[int] = []  # the depths of those that are kept
    for row, depth in zip(rows, depths, strict=True):
        while ancestors and ancestors[-1] >= depth:
            ancestors.pop()
        if row in kept:
            kept_rows.append(row)
            kept_depths.append(len(ancestors))
            ancestors.append(depth)
    return kept_rows, kept_depths


# ---- the forms


class _Nodes:
    """Makes the dict of one span."""

    def __init__(self, table: _core.SpanTable) -> None:
        self._table = table
        self._ids = table.strings("id")
        self._parent_ids = table.strings("parent_id")
        self._names = table.strings("name")
        self._indices = table.ints("index")
        self._has_index = table.present("index")
        self._starts_ns = table.ints("start_ns")
        self._ends_ns = table.ints("end_ns")
        self._has_end = table.present("end_ns")
        self._overheads_ns = table.ints("overhead_ns")
        self._has_overhead = table.present("overhead_ns")

    def make(self, row: int) -> dict[str, Any]:
        start_ns = self._starts_ns[row]
        end_ns = self._ends_ns[row] if self._has_end[row] else None
        marks = [
            {"name": name, "value": value, "kind": kind, "ts_ns": ts_ns, "attrs": attrs}
            for name, value, kind, ts_ns, attrs in self._table.marks_of(row)
        ]
        if end_ns is not None and self._has_overhead[row]:
            marks.append(
                {
                    "name": "cirron.overhead_ns",
                    "value": self._overheads_ns[row],
                    "kind": "summary",
                    "ts_ns": end_ns,
                    "attrs": {},
                }
            )
        return {
            "name": self._names[row],
            "index": self._indices[row] if self._has_index[row] else None,
            "wall_us": (end_ns - start_ns) / 1e3 if end_ns is not None else None,
            "id": self._ids[row],
            "parent_id": self._parent_ids[row],
            "start_ns": start_ns,
            "end_ns": end_ns,
            "attrs": self._table.attrs(row),
            "marks": marks,
            "children": [],
        }


def _nested(
    nodes: _Nodes, live_row: int, rows: Sequence[int], depths: Sequence[int]
) -> dict[str, Any]:
    roots: list[dict[str, Any]] = []
    siblings = [roots]  # the list that takes the nodes of each depth
    for row, depth in zip(rows, depths, strict=True):
        node = nodes.make(row)
        del siblings[depth + 1 :]
        siblings[depth].append(node)
        siblings.append(node["children"])
    result: dict[str, Any] = {"roots": roots, "span_count": len(rows)}
    if live_row >= 0:
        result["session"] = nodes.make(live_row)
    return result


def _json(nodes: _Nodes, live_row: int, rows: Sequence[int], depths: Sequence[int]) -> str:
    import json

    encode = json.JSONEncoder(allow_nan=False).encode

    def opened(row: int) -> str:
        node = nodes.make(row)
        for mark in node["marks"]:
            mark["value"] = _strict(mark["value"])
        return encode(node)[: -len("]}")]  # "children" come last

    parts = ['{"roots": [']
    previous = -1
    for row, depth in zip(rows, depths, strict=True):
        if depth <= previous:
            parts.append("]}" * (previous - depth + 1) + ", ")
        parts.append(opened(row))
        previous = depth
    parts.append("]}" * (previous + 1) + f'], "span_count": {len(rows)}')
    if live_row >= 0:
        parts.append(f', "session": {opened(live_row)}]}}')
    parts.append("}")
    return "".join(parts)


def _strict(value: Any) -> Any:
    """Returns the value as the spool writes it: JSON has no NaN and no infinities."""
    if not isinstance(value, float):
        return value
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _data_frame(table: _core.SpanTable, rows: Sequence[int], depths: Sequence[int]) -> Any:
    try:
        import numpy as np
        import pandas as pd
    except ImportError as error:
        raise CirronDependencyError(
            "trace(format='df') needs pandas; run: pip install 'cirron-sdk[pandas]'"
        ) from error
    order = np.array(rows, dtype=np.intp)

    def texts(column: str) -> Any:
        return pd.Series(np.array(table.strings(column), dtype=object)[order], dtype="str")

    def ints(column: str) -> Any:
        return np.array(table.ints(column))[order]

    def optional_ints(column: str) -> Any:
        return pd.arrays.IntegerArray(ints(column), np.array(table.present(column))[order] == 0)

    return pd.DataFrame(
        {
            "id": texts("id"),
            "parent_id": texts("parent_id"),
            "name": texts("name"),
            "index": optional_ints("index"),
            "wall_us": (ints("end_ns") - ints("start_ns")) / 1e3,
            "cpu_ns": optional_ints("cpu_ns"),
            "gpu_ns": optional_ints("gpu_ns"),
            "memory_peak_bytes": optional_ints("memory_peak_bytes"),
            "mark_count": ints("mark_count"),
            "depth": np.array(depths, dtype=np.int64),
        }
    )


def _tree(table: _core.SpanTable, rows: Sequence[int], depths: Sequence[int]) -> Any:
    from cirron.notebook import _TraceTreeRepr, in_notebook
    from cirron.render import SpanLines

    tree = _TraceTreeRepr(SpanLines(table), rows, depths)
    if in_notebook():
        return tree
    text = repr(tree)
    try:
        print(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "replace").decode(encoding))
    return None
