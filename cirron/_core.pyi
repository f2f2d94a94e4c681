"""The C extension. Private: `cirron` is the public face."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from threading import RLock
from types import FrameType
from typing import Any, Literal, TypeVar, final

from typing_extensions import disjoint_base

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
def mark_on(
    scope: Scope,
    name: str,
    value: float | int | str | bool,
    *,
    kind: Literal["point", "summary"] = "point",
    **attrs: Any,
) -> None:
    """As `mark`, on an open scope; nothing when it is not open."""

def is_recording(scope: Scope, /) -> bool:
    """Whether the scope is open and its span will be written: it is not too deep, and was
    not opened before a fork."""

def record_snapshot(record: dict[str, Any], /) -> None:
    """A record of docs/spool-format.md, whole, for the next batch. Of two with the same id
    readers take the later. One whose JSON is longer than 64 KiB is dropped."""

# ---- requests: a request is an open Scope `request` with the attribute `request_id`

def open_request() -> Scope: ...
def finish_request(request: Scope, result: Any, timed: bool, /) -> Any:
    """Closes the request, or leaves it to a stream; returns what the caller gets."""

def fail_request(request: Scope, error: BaseException, /) -> None: ...
def request_notes(request: Scope = ..., /) -> dict[str, int | str] | None:
    """The notes of a request, None when there are none; without an argument those of the
    innermost open request of this context, None outside."""

@disjoint_base
class StreamSpan:
    """The request of a stream, current only while the stream makes an item.

    A subclass has `see(item)`, `see_text(item)`, which returns 1 for plain text, 2 for
    events and 3 in the middle of one, and `end(completed, error)`, which is called once.
    """

    def __init__(self, request: Scope, timed: bool, /) -> None: ...
    def close(self) -> None:
        """The consumer closed the stream: `end(False, None)`, unless it has ended."""
    @property
    def request(self) -> Scope: ...
    @property
    def items(self) -> int: ...
    @property
    def ended(self) -> bool: ...
    @property
    def first_ms(self) -> float | None: ...
    @property
    def rest_ms(self) -> float: ...
    @property
    def longest_gap_ms(self) -> float: ...
    @property
    def open_ms(self) -> float: ...

class Stream:
    """Hands on the items of `source`, each made in a turn of `span`."""

    def __init__(self, source: Iterator[Any], span: StreamSpan, /) -> None: ...
    @property
    def cirron_source(self) -> Any: ...
    @property
    def cirron_span(self) -> StreamSpan: ...
    def __iter__(self) -> Stream: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, *args: Any) -> Any: ...
    def close(self) -> Any: ...

class AsyncStream:
    """As Stream, for `async for`."""

    def __init__(self, source: AsyncIterator[Any], span: StreamSpan, /) -> None: ...
    @property
    def cirron_source(self) -> Any: ...
    @property
    def cirron_span(self) -> StreamSpan: ...
    def __aiter__(self) -> AsyncStream: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    def asend(self, value: Any, /) -> Coroutine[Any, Any, Any]: ...
    def athrow(self, *args: Any) -> Coroutine[Any, Any, Any]: ...
    def aclose(self) -> Coroutine[Any, Any, None]: ...

# ---- hooks: what they need beyond scope()

KIND_EPOCH: int
KIND_STEP: int
KIND_BATCH: int
KIND_PHASE: int
KIND_OPTIMIZER: int

def kind_scope(kind: int, name: str, index: int | None = None, /) -> Scope:
    """A Scope, not entered, whose KIND_* bits `open_kinds` finds."""

def open_kinds() -> int:
    """The KIND_* bits of the scopes that are open in this context; with KIND_PHASE in a
    foreign thread, where hooks open nothing."""

def request_batch(iterator: Iterator[Any], /) -> Any:
    """next(iterator), with KIND_BATCH open meanwhile."""

def set_foreign_check(check: Callable[[], bool] | None, /) -> None:
    """Sets what is asked, once a thread and process, whether the thread is foreign."""

def discard(scope: Scope, /) -> bool:
    """Closes a scope as if it had never been opened. False, and nothing happened, when
    something was recorded below it."""

def hold(scope: Scope, /) -> None:
    """From here on, closing the scope leaves its record to `publish`."""

def publish(
    scope: Scope, gpu_ns: int | None = None, memory_peak_bytes: int | None = None, /
) -> None:
    """Writes the record of a closed scope that held it back."""

def end_left_optimizer_steps() -> None:
    """Ends the spans of this thread's optimizer steps that raised and are over."""

def set_optimizer_check(check: Callable[[], bool] | None, /) -> None:
    """Sets what is asked whether a step of an optimizer that is open still runs."""

def open_optimizer_step(
    timer: Any, carrier: type[tuple[Any, ...]], args: tuple[Any, ...], kwargs: dict[str, Any], /
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of an optimizer's step, as a `carrier`, with its open span.

    The span is the attribute `span` and closes when it is deleted, at the latest with the
    arguments, or where `end_left_optimizer_steps` finds it. None where the step is part of
    another span.

    Args:
        timer: has begin(scope) and end(scope), or None.
        carrier: a subclass of tuple whose instances have attributes.
        args: of the step.
        kwargs: of the step.
    """

@final
class Phase:
    """A callable in front of another, whose calls are spans, unless within a phase.

    Args:
        name: the span's name.
        call: what is called.
        attribute: the name under which it stands in a class. Calls go through the Phase;
            who reads the attribute is given `call`.
        passed_over: a type; a call whose first argument is an instance is no span.
    """

    active: bool
    first: Callable[[Any], object] | None
    timer: Any
    def __new__(
        cls,
        name: str,
        call: Callable[..., Any],
        attribute: str | None = None,
        passed_over: type | None = None,
    ) -> Phase: ...
    @property
    def __func__(self) -> Callable[..., Any]: ...
    @property
    def __wrapped__(self) -> Callable[..., Any]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Any: ...

@disjoint_base
class LoopState:
    """What the passes of a loop share."""

    active: bool
    timer: Any
    steps: int

@disjoint_base
class LoaderPass:
    """An iterator in front of a loader's, which opens a `step` and its `data_load`.

    A subclass has `_decide()`, called before the first item, which sets `_trains`: whether
    the pass has steps. It is called again when that was False and an optimizer has made a
    step outside every step, and when it was set to no bool. `_find_place()` is called before
    an item of training if no epoch is open, or if an optimizer has made a step with the last
    item and the step around the pass is still the same. At the end `_end()` is called, and
    `_fail(error)` when the source raises; the step for which there was no item is still open
    then.
    """

    _loop: Any
    _source: Any
    _epoch: Scope | None
    _step: Scope | None
    _trains: Any
    def __init__(self, loop: LoopState, source: Iterator[Any], epoch: Scope | None, /) -> None: ...
    def __iter__(self) -> LoaderPass: ...
    def __next__(self) -> Any: ...

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

def close_session(timeout: float, /) -> None:
    """Closes the root span and leaves the flusher running: for atexit. What is recorded
    later still belongs to the session; the last flush comes after the interpreter and
    takes at most `timeout` seconds."""

def end_session(timeout: float) -> bool:
    """Closes the root span, flushes, stops the flusher. True when all was written in time."""

def session_id() -> str | None: ...
def set_enabled(enabled: bool) -> None: ...
def is_enabled() -> bool: ...
def restart_counts() -> None:
    """Has `counters` count from here, as a session's start does."""

def flush(timeout: float) -> bool:
    """Drains to the trace buffer and the disk. True when done within `timeout` seconds."""

def counters() -> dict[str, int]:
    """Counts since the session started (or the process, before the first).

    span_count, mark_count, snapshot_count, scope_drop_count, mark_drop_count,
    snapshot_drop_count, spool_drop_count, spool_dropped_records, spool_bytes, spool_pending,
    spool_errno, flush_latency_ns, overhead_ns, trace_evicted_count, flusher_running (0 or
    1), scope_depth.
    """

def drained_sequence() -> int:
    """Closed spans that have reached the trace buffer, ever."""

def catch_sigterm() -> bool:
    """Flushes on SIGTERM, natively; False when the disposition is not the default."""

def fork_hook(call: Callable[[], object], /) -> Callable[[], object]:
    """Returns a hook of a fork that makes the call again whenever it raises. What a signal
    handler raised in it is raised again where the process forks, once all hooks are done."""

def lock_for_fork(lock: RLock, timeout: float, /) -> None:
    """Takes a lock, unless this thread has taken it for this fork; waits for `timeout`."""

def unlock_after_fork(lock: RLock, /) -> None:
    """Gives it back, if `lock_for_fork` took it in this process."""

def before_fork(timeout: float) -> None:
    """Ends the native flusher's thread, which takes at most `timeout` seconds."""

def after_fork_in_parent() -> None:
    """Starts it again, if this thread's `before_fork` ended it."""

def call_when_back(call: Callable[[], object], frame: FrameType, /) -> bool:
    """Calls, as a `fork_hook` does, when the main thread runs code of `frame` again, or runs
    any 50 ms later. False when that can't be arranged."""

# ---- reading

@final
class Export:
    """A table as a document of another format, in chunks of about a MiB."""

    @property
    def done(self) -> int:
        """Records written so far, of `total`."""

    @property
    def total(self) -> int: ...
    def __iter__(self) -> Export: ...
    def __next__(self) -> bytes: ...

@final
class SpanTable:
    """Spans, marks and snapshots in columns, read-only, linked into trees.

    A row is a span's number. A span whose parent is not in the table is a root.

    The table speaks the Arrow PyCapsule interface for its spans, as `spans`, `marks` and
    `snapshots` do for theirs.
    """

    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    @property
    def spans(self) -> Records: ...
    @property
    def marks(self) -> Records: ...
    @property
    def snapshots(self) -> Records: ...
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
    def marks_of(
        self, row: int
    ) -> list[
        tuple[str, float | int | str | bool, Literal["point", "summary"], int, dict[str, Any]]
    ]:
        """(name, value, kind, ts_ns, attrs) of the span, in order of ts_ns."""

    def snapshot_records(self) -> list[dict[str, Any]]:
        """The snapshot records, in the order of the files: id, span_id, row (of the span, -1:
        not in the table), tensor_name, dtype, shape_json, mode, stats_json, blob_uri,
        attrs_json (str or None), ts_ns. JSON is as it stands in the file, malformed perhaps."""

    def tree(self, session: int | None = None) -> tuple[memoryview, memoryview]:
        """Rows in depth-first order, children by start, and each row's depth: two int32
        columns. `session` restricts it to the spans of one session."""

    def export(self, format: str, session: int | None = None, *, request_bytes: int = 0) -> Export:
        """The table as a document, or one session (its number in `sessions()`).

        Args:
            format: csv (spans alone), json (the shape of one spool batch) or otlp (OTLP/JSON).
            session: None exports everything.
            request_bytes: for otlp, each chunk is a request of its own of about so many
                bytes; 0 is one document in chunks.

        Raises:
            ValueError: no such format.
        """

    def render(
        self,
        session: int,
        *,
        name: str | bytes | None = None,
        min_wall_ns: float = 0.0,
        depth: int = -1,
        overhead: bool = False,
        json: bool = False,
        color: bool = False,
        ascii: bool = False,
    ) -> TreeChunks:
        """The tree of a session (its number in `sessions()`), a line a span and a mark, or as
        JSON: an object with its `children`, in ASCII.

        `name` keeps spans with this in their name and `min_wall_ns` those that took at least
        as long, with their ancestors; what lies below `depth` is collapsed (-1: nothing).
        `color` and `ascii` (dash and ellipsis of lines) are what the terminal can show."""

    def sessions(self) -> list[dict[str, Any]]:
        """Newest first: id, row (of the root, -1 for the synthetic session of orphans),
        started_ns, ended_ns (None: live), spans (with the root), marks, snapshots, bytes,
        sdk_version."""

@final
class Records:
    """The spans, marks or snapshots of a table, for whatever takes an Arrow stream.

    Batches have at most 131,072 rows. Integers are not copied; every array keeps what it
    needs of the table alive. `requested_schema` is passed over, as the interface allows.
    """

    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def of_session(self, session: int | None, /) -> Records:
        """Those of one session, by its number in `SpanTable.sessions()`; None: of none."""

    def of_rank(self, rank: int | None, /) -> Records:
        """Those whose span has this rank; None: none at all."""

@final
class TreeChunks:
    """One session's tree in chunks of whole lines, UTF-8."""

    @property
    def named(self) -> bool:
        """Whether any span has the name that was asked for."""

    def __iter__(self) -> TreeChunks: ...
    def __next__(self) -> bytes: ...

def format_duration(ns: int, /) -> str:
    """Nanoseconds as `850ns`, `66.8us`, `42.1ms`, `1.23s`, `2m05.3s` or `1h02m05.3s`."""

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

def read_safetensors(file: int, /) -> list[tuple[str, str, tuple[int, ...], int, int]]:
    """(name, dtype, shape, begin, end) of the tensors in an open safetensors file, in the
    order of their bytes, which begin and end there in the file. ValueError says what is
    wrong with a file; nothing of it is believed unchecked."""

# ---- snapshots

@final
class TensorStats:
    """Statistics of an array's finite values. A record takes it as the value of `stats`."""

    @property
    def nan_count(self) -> int: ...
    @property
    def inf_count(self) -> int: ...
    def as_dict(self) -> dict[str, Any]:
        """mean, std (of the population), min, max, norm (L2) and histogram, which is
        {"bins": 17 edges, "counts": 16} as numpy.histogram makes it. Each is None without a
        finite value."""

def tensor_stats(array: object, /) -> TensorStats:
    """Statistics of the finite values of an array, read without a copy.

    Args:
        array: anything that offers the buffer protocol or DLPack in the CPU's memory: NumPy
            arrays, PyTorch tensors (detached), memoryviews; or a DLPack capsule, which is
            consumed. Floats of 16 to 64 bits with bfloat16, integers, bool; any strides.

    Raises:
        TypeError: no such protocol, or the array is on a device.
        ValueError: complex or other elements; an array its owner does not lend, such as a
            tensor that requires grad.
    """
