"""Snapshot records of a spool, grouped by the span that took them.

What a record says is data from disk: a field of another type than documented is as good
as absent.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from cirron._core import SpanTable
from cirron.cli import output
from cirron.cli.traces.sessions import Session, Traces
from cirron.tensor_file import dtype_name

STATS = ("mean", "std", "min", "max", "norm")
UNKNOWN = "(unknown)"

_MODES = ("stats", "sampled", "full")
_MOST_MATCHES = 10
_MOST_BUCKETS = 256
_SAFE_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a tensor's values fall between edges."""

    bins: list[float]
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Record:
    """One tensor at one time."""

    id: str
    tensor_name: str
    dtype: str
    """As safetensors calls it; "?" when it is not known."""
    shape: list[int] | None
    mode: str
    stats: dict[str, float | None]
    """Each of `STATS`."""
    histogram: Histogram | None
    blob_uri: str | None
    ts_ns: int
    attrs: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The record as in the spool; ns as strings, NaN and the infinities too."""
        stats: dict[str, Any] = {name: json_number(value) for name, value in self.stats.items()}
        stats["histogram"] = None
        if self.histogram is not None:
            bins = [json_number(edge) for edge in self.histogram.bins]
            stats["histogram"] = {"bins": bins, "counts": self.histogram.counts}
        return {
            "id": self.id,
            "tensor_name": self.tensor_name,
            "dtype": self.dtype,
            "shape": self.shape,
            "mode": self.mode,
            "stats": stats,
            "blob_uri": self.blob_uri,
            "ts_ns": str(self.ts_ns),
            "attrs": self.attrs,
        }


@dataclass(frozen=True, slots=True)
class SnapshotSpan:
    """A span that has snapshots."""

    id: str
    name: str | None
    """None when the spool has no such span any more."""
    index: int | None = None
    start_ns: int = 0
    session: Session | None = None
    raw: list[dict[str, Any]] = field(default_factory=list)
    """The records as the table has them."""

    @property
    def label(self) -> str:
        """The name as it is shown: `epoch[0]`."""
        if self.name is None:
            return UNKNOWN
        return output.printable(self.name) + ("" if self.index is None else f"[{self.index}]")

    @property
    def modes(self) -> list[str]:
        """The modes of its records, each once."""
        found = {mode for record in self.raw if (mode := record["mode"]) is not None}
        return [mode for mode in _MODES if mode in found] + sorted(found.difference(_MODES))

    @property
    def with_blob(self) -> int:
        """How many records have their values in a file."""
        return sum(record["blob_uri"] is not None for record in self.raw)

    def records(self) -> list[Record]:
        """Returns the records in the order in which they were written."""
        return [_record(raw) for raw in self.raw]

    def as_json(self) -> dict[str, Any]:
        """The span without its records."""
        return {
            "id": self.id,
            "name": self.name,
            "index": self.index,
            "session_id": None if self.session is None else self.session.id,
        }


def spans_with_records(found: Traces) -> list[SnapshotSpan]:
    """Returns the spans with records: sessions newest first, spans by start in each.

    Those that are in no session come last.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for raw in found.table.snapshot_records():
        groups.setdefault(raw["span_id"], []).append(raw)
    if not groups:
        return []
    columns = _Columns(found.table)
    last = len(found.sessions)
    spans = [
        _span(found, columns, span_id, raws[0]["row"], raws) for span_id, raws in groups.items()
    ]
    spans.sort(
        key=lambda span: (last if span.session is None else span.session.number, span.start_ns)
    )
    return spans


def find(
    found: Traces, spans: Sequence[SnapshotSpan], prefix: str, *, on_disk: bool = False
) -> SnapshotSpan:
    """Returns the one span with snapshots whose id begins with `prefix`.

    The ellipsis of an id copied from a table is ignored.

    Args:
        found: the spool.
        spans: those with records.
        prefix: of the id.
        on_disk: whether a span with a snapshot directory and no record counts too.

    Raises:
        click.ClickException: none or several begin so.
    """
    wanted = prefix.removesuffix("…").removesuffix("...")
    matches = {span.id: span for span in spans if span.id.startswith(wanted)}
    for name in _folders(found.directory, wanted) if on_disk else []:
        if name not in matches:
            matches[name] = _find_in_table(found, name)
    if wanted in matches:
        return matches[wanted]
    if len(matches) == 1:
        return next(iter(matches.values()))
    shown = output.printable(prefix)
    if not matches:
        others = [id_ for id_ in found.table.strings("id") if id_ and id_.startswith(wanted)]
        if len(others) == 1:
            span = _find_in_table(found, others[0])
            raise click.ClickException(
                f"Span {output.printable(span.id)} ({span.label}) has no snapshots.\n"
                "`cirron traces snapshots` lists the spans that have some."
            )
        raise click.ClickException(f"No span with snapshots found matching {shown}")
    lines = [f"{len(matches)} spans match {shown}:"]
    for span in list(matches.values())[:_MOST_MATCHES]:
        lines.append(f"  {output.printable(span.id)}  {span.label}")
    if len(matches) > _MOST_MATCHES:
        lines.append(f"  and {len(matches) - _MOST_MATCHES} more")
    raise click.ClickException("\n".join(lines))


def folder(spool: Path, span_id: str) -> Path | None:
    """Returns the directory of a span's files, None where its id is no name for one."""
    if not _SAFE_NAME.fullmatch(span_id) or span_id in (".", ".."):
        return None
    return spool.parent / "snapshots" / span_id


def json_number(value: float | None) -> float | str | None:
    """Returns `value` for strict JSON: NaN and the infinities as in the spool."""
    return value if value is None or math.isfinite(value) else output.scalar(value)


def shape_text(shape: Sequence[int] | None) -> str:
    """Returns `[32,16]`."""
    return "?" if shape is None else f"[{','.join(map(str, shape))}]"


def _folders(spool: Path, prefix: str) -> list[str]:
    try:
        with os.scandir(spool.parent / "snapshots") as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    except OSError:
        return []
    return sorted(name for name in names if _SAFE_NAME.fullmatch(name))


def _find_in_table(found: Traces, span_id: str) -> SnapshotSpan:
    try:
        row = found.table.strings("id").index(span_id)
    except ValueError:
        row = -1
    return _span(found, _Columns(found.table), span_id, row, [])


class _Columns:
    """What is shown of spans, each column fetched once."""

    def __init__(self, table: SpanTable) -> None:
        self.sessions = table.ints("session")
        self.names = table.strings("name")
        self.indices = table.ints("index")
        self.has_index = table.present("index")
        self.starts = table.ints("start_ns")


def _span(
    found: Traces, columns: _Columns, span_id: str, row: int, raws: list[dict[str, Any]]
) -> SnapshotSpan:
    if row < 0:
        return SnapshotSpan(span_id, None, raw=raws)
    session = columns.sessions[row]
    return SnapshotSpan(
        id=span_id,
        name=columns.names[row] or "",
        index=columns.indices[row] if columns.has_index[row] else None,
        start_ns=columns.starts[row],
        session=found.sessions[session] if session >= 0 else None,
        raw=raws,
    )


# ---- fields of a record


def _record(raw: dict[str, Any]) -> Record:
    shape = _load(raw["shape_json"])
    stats = _load(raw["stats_json"])
    stats = stats if isinstance(stats, dict) else {}
    attrs = _load(raw["attrs_json"])
    whole = isinstance(shape, list) and all(type(size) is int for size in shape)
    return Record(
        id=raw["id"],
        tensor_name=raw["tensor_name"] or "",
        dtype=dtype_name(raw["dtype"] or "?"),
        shape=shape if whole else None,
        mode=raw["mode"] or "?",
        stats={name: _number(stats.get(name)) for name in STATS},
        histogram=_histogram(stats.get("histogram")),
        blob_uri=raw["blob_uri"],
        ts_ns=raw["ts_ns"],
        attrs=attrs if isinstance(attrs, dict) else {},
    )


def _load(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=str, parse_float=_parse_float)
    except (ValueError, RecursionError):
        return None


def _parse_float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else output.scalar(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _histogram(value: Any) -> Histogram | None:
    if not isinstance(value, dict):
        return None
    bins, counts = value.get("bins"), value.get("counts")
    if not isinstance(bins, list) or not isinstance(counts, list):
        return None
    edges = [edge for edge in map(_number, bins) if edge is not None]
    whole = all(type(count) is int and count >= 0 for count in counts)
    if not whole or not 0 < len(counts) <= _MOST_BUCKETS or len(edges) != len(counts) + 1:
        return None
    return Histogram(edges, counts)
