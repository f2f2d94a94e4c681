"""The C extension. Private: `cirron` is the public face."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, final

_F = TypeVar("_F", bound=Callable[..., Any])

__version__: str

# ---- recording

@final
class Scope:
    """One span, opened by `with`."""

    @property
    def id(self) -> str | None: ...
    @property
    def parent_id(self) -> str | None: ...
    @property
    def name(self) -> str: ...
    @property
    def index(self) -> int | None: ...
    @property
    def start_ns(self) -> int | None: ...
    @property
    def end_ns(self) -> int | None: ...
    @property
    def attrs(self) -> dict[str, Any]: ...
    def __enter__(self) -> Scope: ...
    def __exit__(self, exc_type: object = ..., exc: object = ..., tb: object = ..., /) -> None: ...
    def __call__(self, fn: _F, /) -> _F: ...

def scope(name: str, index: int | None = None, **attrs: Any) -> Scope: ...
def mark(
    name: str,
    value: float | int | str | bool,
    *,
    kind: Literal["point", "summary"] = "point",
    **attrs: Any,
) -> None: ...

# ---- lifecycle: one session at a time; none of these raises once its arguments are right

def start_session(
    *,
    spool_dir: str | None,
    spool_max_bytes: int,
    flush_interval: float,
    trace_buffer_max_spans: int,
    cpu_time: bool,
    rank: int,
    attrs: dict[str, Any],
) -> str:
    """Opens the root span, starts the native flusher and returns the session's id.

    `spool_dir` None keeps everything in memory. RuntimeError when one is running.
    """

def close_session() -> None:
    """Closes the root span and leaves the flusher running: for atexit. What is recorded
    later still belongs to the session; the last flush comes after the interpreter."""

def end_session(timeout: float) -> bool:
    """Closes the root span, flushes, stops the flusher. True when all was written in time."""

def session_id() -> str | None: ...
def set_enabled(enabled: bool) -> None: ...
def is_enabled() -> bool: ...
def flush(timeout: float) -> bool:
    """Drains to the trace buffer and the disk. True when done within `timeout` seconds."""

def counters() -> dict[str, int]:
    """Counts since the session started (or the process, before the first).

    span_count, mark_count, scope_drop_count, mark_drop_count, spool_drop_count,
    spool_dropped_records, spool_bytes, spool_pending, spool_errno, flush_latency_ns,
    overhead_ns, trace_evicted_count, flusher_running (0 or 1), scope_depth.
    """

def drained_sequence() -> int:
    """Closed spans that have reached the trace buffer, ever."""

def wait_drained(sequence: int, timeout: float) -> int:
    """Waits, without the interpreter's lock, until `drained_sequence()` exceeds `sequence`
    or `timeout` seconds have passed; returns the sequence."""

def catch_sigterm() -> bool:
    """Flushes on SIGTERM, natively; False when the disposition is not the default."""

# ---- reading

@final
class SpanTable:
    """Spans, marks and snapshots in columns, read-only, linked into trees.

    A row is a span's number. A span whose parent is not in the table is a root.
    """

    def __len__(self) -> int: ...
    @property
    def mark_count(self) -> int: ...
    @property
    def snapshot_count(self) -> int: ...
    @property
    def warnings(self) -> list[str]:
        """One line for each file that could not be read, naming it."""

    def ints(self, column: str) -> memoryview:
        """An int64 column: start_ns, end_ns, cpu_ns, gpu_ns, memory_peak_bytes, index,
        thread_id, pid, rank, overhead_ns, mark_count, parent_row (-1: none), session (the
        number in `sessions()`, -1: none). Absent values are 0; see `present`."""

    def present(self, column: str) -> memoryview:
        """A uint8 column of 0 and 1 that says where `ints(column)` holds a value."""

    def strings(self, column: str) -> list[str | None]:
        """A text column: id, parent_id, name."""

    def attrs(self, row: int) -> dict[str, Any]: ...
    def marks(
        self, row: int
    ) -> list[
        tuple[str, float | int | str | bool, Literal["point", "summary"], int, dict[str, Any]]
    ]:
        """(name, value, kind, ts_ns, attrs) of the span, in order of ts_ns."""

    def tree(self, session: int | None = None) -> tuple[memoryview, memoryview]:
        """Rows in depth-first order, children by start, and each row's depth: two int32
        columns. `session` restricts it to the spans of one session."""

    def sessions(self) -> list[dict[str, Any]]:
        """Newest first: id, row (of the root, -1 for the synthetic session of orphans),
        started_ns, ended_ns (None: live), spans (with the root), marks, snapshots, bytes,
        sdk_version."""

def read_trace(live_session: bool = False, since: int = 0, session: int = -1) -> SpanTable:
    """The closed spans of the trace buffer, as a table.

    Args:
        live_session: add the root span of the running session as a row, open (its end is
            absent), with its marks.
        since: only spans from this sequence number on.
        session: only spans opened under this session number; -1 means all.
    """

def session_number() -> int:
    """Sessions started in this process so far."""

def read_spool(paths: Sequence[str]) -> SpanTable:
    """Reads batch files into one table. A broken file costs itself and a line in
    `warnings`; nothing is raised but MemoryError."""
