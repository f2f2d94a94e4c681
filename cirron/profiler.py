"""The life of a session: `profile` opens it, `shutdown` or the end of the process closes it.

There is one session at a time in a process, and `_core` knows whether it runs. This module
decides when it begins and ends, and gives Python's own part of it (the sinks, what a
`multiprocessing` child needs) the same life.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time

from cirron import _core
from cirron.env import session_attributes
from cirron.log import warn
from cirron.snapshots.watch import watches_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any, Literal, Self

    from cirron.config import Settings
    from cirron.hooks.registry import Registry
    from cirron.sinks import Sink
    from cirron.snapshots.capture import Snapshots

_WAIT_S = 2.0  # what flush() and shutdown() may take
_LAST_FLUSH_S = 0.5  # of it, kept for the records after the wait for files of tensors
_FORK_WAIT_S = 0.05  # what a fork waits for the flusher
_FORK_WAIT_FOR_SINK_S = 0.5  # which may hold a lock of sys.stdout

# Reentrant: a log handler, a finaliser or a signal handler may call us while we hold it.
_lock = threading.RLock()
_current: Profiler | None = None
_multiprocessing_knows = False
_celery_knows = False


class Profiler:
    """A handle on the session that `profile` opened. Works in a `with` statement."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spool_dir: str | None = None
        self._sink: Sink | None = None
        self._snapshots: Snapshots | None = None  # made when an epoch ends
        self._hooks: Registry | None = None
        self._finalizer: Any = None  # in a multiprocessing child

    @property
    def enabled(self) -> bool:
        """True while this session records."""
        return self._settings.enabled and _current is self

    def flush(self) -> bool:
        """See `cirron.flush`."""
        return flush()

    def shutdown(self) -> None:
        """Ends this session, as `cirron.shutdown`; nothing when it has ended."""
        with _lock:
            if _current is self:
                shutdown()

    def trace(
        self,
        format: Literal["tree", "dict", "json", "df"] = "tree",
        name: str | None = None,
        last: int | None = None,
    ) -> Any:
        """See `cirron.trace`."""
        from cirron.trace import trace

        return trace(format, name, last)

    def health(self) -> dict[str, Any]:
        """See `cirron.health`."""
        return health()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.shutdown()


def profile(
    config: Mapping[str, Any] | None = None,
    frameworks: str | list[str] | tuple[str, ...] | None = None,
    snapshots: Literal["stats", "sampled", "full", "none"] | None = None,
    sample_rate: float | None = None,
    flush_interval: float | None = None,
    enabled: bool | None = None,
    path: str | os.PathLike[str] | None = None,
    output: str | list[str] | tuple[str, ...] | None = None,
) -> Profiler:
    """Opens a session: from here on, what is recorded goes to the outputs.

    A setting that is not given comes from `config`, then from the environment variable
    `CIRRON_<SETTING>`, then from `~/.cirron/config.toml`. While a session runs, another
    call logs a warning and returns the running one.

    Args:
        config: a dict of settings: these here and those of `Cirron`.
        frameworks: of "torch", "transformers", "keras", "tensorflow", "sklearn",
            "lightning", "accelerate"; by default what the program imports.
        snapshots: "stats", "sampled", "full" or "none".
        sample_rate: the probability of raw tensors with snapshots "sampled", 0 to 1.
        flush_interval: seconds between two writes, 1 by default.
        enabled: False records nothing until `shutdown` or another `profile`.
        path: the directory of the spool, `./.cirron/` by default.
        output: one or a list of "spool", "log", "stdout", or "none".

    Returns:
        A handle that also works in a `with` statement.

    Raises:
        ValueError: an argument is wrong; nothing was started.
    """
    arguments = {
        "frameworks": frameworks,
        "snapshots": snapshots,
        "sample_rate": sample_rate,
        "flush_interval": flush_interval,
        "enabled": enabled,
        "path": path,
        "output": output,
    }
    with _lock:  # no fork in the middle of an import, which its child would wait for
        from cirron.config import resolve

        return start(resolve(config, arguments))


def start(settings: Settings) -> Profiler:
    """Opens a session with checked settings; see `profile`."""
    global _current
    with _lock:
        if _current is not None and _core.session_id() is not None:
            warn("profile() was called while a session runs; the running one goes on")
            return _current
        shutdown()  # of a session that is off, or whose end was interrupted
        profiler = Profiler(settings)
        # Before the session starts: a fork in between must not find one without a profiler.
        _current = profiler
        _core.set_enabled(settings.enabled)
        if not settings.enabled:
            _core.restart_counts()
        else:
            try:
                _start_session(profiler)
            except MemoryError:
                shutdown()
                warn("no session is started: the system has no memory for it")
            except BaseException:
                shutdown()
                raise
        return profiler


def _start_session(profiler: Profiler) -> None:
    from cirron import sigterm  # here, because `signal` takes a while to import

    settings = profiler._settings
    attributes = session_attributes()
    if "spool" in settings.output:
        profiler._spool_dir = _absolute(os.path.join(settings.path, "spool"))
    sink_outputs = tuple(name for name in settings.output if name in ("log", "stdout"))
    if sink_outputs:
        from cirron.sinks import Sink

        profiler._sink = Sink(sink_outputs)  # before anything can be drained
        # Runs before logging.shutdown, which is registered already, closes the handlers.
        atexit.register(flush)
    _core.start_session(
        spool_dir=profiler._spool_dir,
        spool_max_bytes=settings.spool_max_bytes,
        flush_interval=settings.flush_interval,
        trace_buffer_max_spans=settings.trace_buffer_max_spans,
        cpu_time=settings.cpu_time,
        rank=attributes["rank"],
        attrs=attributes,
    )
    sigterm.catch()
    if profiler._sink is not None:
        profiler._sink.start()
    if _is_multiprocessing_child():
        profiler._finalizer = _at_end_of_multiprocessing_child(shutdown)
    if settings.frameworks != ():
        from cirron.hooks.registry import Registry

        profiler._hooks = Registry(settings)
        profiler._hooks.install()
    generation = sys.modules.get("cirron.serving.generation")
    if generation is not None:  # something was decorated before
        hooked = hooks_framework("transformers")
        generation.install() if hooked else generation.uninstall()


def hooks_framework(name: str) -> bool:
    """Says whether a framework may be hooked: all may where no session says otherwise."""
    profiler = _current
    chosen = profiler._settings.frameworks if profiler is not None else None
    return chosen is None or name in chosen


def _absolute(path: str) -> str:
    path = os.path.expanduser(path)
    try:
        return os.path.abspath(path)
    except OSError:  # the working directory is gone
        return path


def at_epoch_end(scope: _core.Scope) -> None:
    """Takes the snapshots of an epoch, if any are wanted; call it just before it closes.

    A second call for the same epoch does nothing. Never raises.
    """
    if watches_any() and not sys.is_finalizing() and _core.is_recording(scope):
        snapshots = _running_snapshots()
        if snapshots is not None:
            snapshots.take(scope)


def _running_snapshots() -> Snapshots | None:
    profiler = _current
    if profiler is None or profiler._spool_dir is None or not profiler.enabled:
        return None
    if profiler._snapshots is None and profiler._settings.snapshots != "none":
        from cirron.snapshots.capture import Snapshots

        directory = os.path.join(os.path.dirname(profiler._spool_dir), "snapshots")
        with _lock:
            if profiler._snapshots is None and profiler.enabled:
                profiler._snapshots = Snapshots(profiler._settings, directory)
    return profiler._snapshots


def flush() -> bool:
    """Waits until what was recorded so far is on disk and in the sinks, at most 2 s.

    Returns:
        True when all is written, False when time ran out.
    """
    deadline = time.monotonic() + _WAIT_S
    profiler = _current
    if profiler is not None and profiler._hooks is not None:
        profiler._hooks.flush()
    done = True
    if profiler is not None and profiler._snapshots is not None:
        done = profiler._snapshots.writer.wait(_WAIT_S - _LAST_FLUSH_S)
    done = _core.flush(deadline - time.monotonic()) and done
    if profiler is not None and profiler._sink is not None:
        done = profiler._sink.wait(deadline - time.monotonic()) and done
    return done


def shutdown() -> None:
    """Closes the session and writes what is left, at most 2 s.

    What is recorded afterwards is kept for `trace`, as before the session. Nothing happens
    when no session runs.
    """
    with _lock:
        profiler = _current
        if profiler is None:
            return
        deadline = time.monotonic() + _WAIT_S
        for name, take_out in (
            ("cirron.hooks.sklearn", "unwrap_all"),
            ("cirron.serving.generation", "uninstall"),
        ):
            module = sys.modules.get(name)
            if module is not None:
                getattr(module, take_out)()
        try:
            if profiler._hooks is not None:
                profiler._hooks.uninstall()
            if profiler._snapshots is not None:
                profiler._snapshots.writer.end(_WAIT_S - _LAST_FLUSH_S)
        finally:  # Ctrl-C ends the waiting, and the session all the same
            _end_session(profiler, deadline)


def _end_session(profiler: Profiler, deadline: float) -> None:
    global _current
    if profiler._settings.enabled:
        _core.end_session(deadline - time.monotonic())
    else:
        _core.set_enabled(True)
    sigterm = sys.modules.get("cirron.sigterm")  # not there when Python is ending
    if sigterm is not None:
        sigterm.leave()
    if profiler._finalizer is not None:
        profiler._finalizer.cancel()
    if profiler._sink is not None:
        atexit.unregister(flush)
        profiler._sink.stop(deadline - time.monotonic())
    if profiler._hooks is not None:
        profiler._hooks.uninstall()  # those that were interrupted
    _current = None  # last: what an interruption left undone, the next call does


def health() -> dict[str, Any]:
    """Tells how the recording is doing. Never raises.

    Returns:
        A dict with `enabled`, `frameworks_installed` (those that are hooked), `transport`,
        `flush_mode` ("normal", "degraded" while the disk refuses, "stopped"), `spool_dir`,
        `spool_bytes`, `flush_latency_ns`, `overhead_ns`, `scope_depth` of the caller, and
        counts since `profile`: `span_count`, `mark_count`, `scope_drop_count`,
        `mark_drop_count`, `spool_drop_count` (files), `spool_dropped_records`,
        `snapshot_count` (records), `snapshot_drop_count`, `snapshot_skip_count` (files of
        tensors), `trace_evicted_count`. `hook_errors` has what failed: name and error.
    """
    profiler = _current
    snapshots = profiler._snapshots if profiler is not None else None
    hooks = profiler._hooks if profiler is not None else None
    counters = _core.counters()
    if not counters["flusher_running"]:
        flush_mode = "stopped"
    elif counters["spool_errno"] or counters["spool_pending"]:
        flush_mode = "degraded"
    else:
        flush_mode = "normal"
    return {
        "enabled": profiler is not None and profiler.enabled,
        "frameworks_installed": list(hooks.installed) if hooks is not None else [],
        "transport": "file_only",
        "scope_depth": counters["scope_depth"],
        "scope_drop_count": counters["scope_drop_count"],
        "mark_drop_count": counters["mark_drop_count"],
        "spool_drop_count": counters["spool_drop_count"],
        "spool_dropped_records": counters["spool_dropped_records"],
        "spool_dir": profiler._spool_dir if profiler is not None else None,
        "spool_bytes": counters["spool_bytes"],
        "flush_latency_ns": counters["flush_latency_ns"],
        "flush_mode": flush_mode,
        "span_count": counters["span_count"],
        "mark_count": counters["mark_count"],
        "snapshot_count": counters["snapshot_count"],
        "snapshot_drop_count": counters["snapshot_drop_count"],
        "snapshot_skip_count": snapshots.writer.skipped if snapshots is not None else 0,
        "overhead_ns": counters["overhead_ns"],
        "hook_errors": {
            **(hooks.errors if hooks is not None else {}),
            **(snapshots.errors if snapshots is not None else {}),
        },
        "trace_evicted_count": counters["trace_evicted_count"],
    }


# ---- the ends of processes, and forks


def _is_multiprocessing_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _at_end_of_multiprocessing_child(call: Callable[[], object]) -> Any:
    """Such a child ends in os._exit, before which only finalizers run."""
    return sys.modules["multiprocessing.util"].Finalize(None, call, exitpriority=-100)


def _at_end_of_celery_worker(**_: object) -> None:
    flush()


def _before_fork() -> None:
    """Leaves no session half begun or ended, which the child couldn't go on with.

    And no thread of ours: Python 3.12 warns of forks beside other threads. This and the
    other hooks may begin again where a signal handler raised something.
    """
    _core.lock_for_fork(_lock, _WAIT_S)
    sink = _current._sink if _current is not None else None
    if sink is not None:
        sink.leave_before_fork(_FORK_WAIT_FOR_SINK_S)
    else:
        _core.before_fork(_FORK_WAIT_S)


def _after_fork_in_parent() -> None:
    forker = sys._getframe().f_back
    if (
        sys.version_info < (3, 13)  # from then on threads are counted when the hooks are done
        or forker is None  # the fork is not Python's
        or threading.get_ident() != threading.main_thread().ident  # so there are two anyway
        or not _core.call_when_back(_go_on_after_fork, forker)
    ):
        _go_on_after_fork()
    _core.unlock_after_fork(_lock)


def _go_on_after_fork() -> None:
    _core.after_fork_in_parent()
    if _current is not None and _current._sink is not None:
        _current._sink.start()


def _after_fork_in_child() -> None:
    """Replaces what the parent's threads may have held; the native part helps itself."""
    global _lock, _multiprocessing_knows, _celery_knows
    _lock = threading.RLock()
    profiler = _current
    if profiler is None or not profiler._settings.enabled:
        return
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _multiprocessing_knows:
        # If it was multiprocessing that forked, it will now forget all finalizers and then
        # make the calls that are registered here.
        util.register_after_fork(
            sys.modules[__name__], lambda _: _at_end_of_multiprocessing_child(flush)
        )
        _multiprocessing_knows = True
    profiler._snapshots = None
    signals = sys.modules.get("celery.signals")
    if signals is not None and not _celery_knows:
        # Its worker processes end in os._exit as well.
        signals.worker_process_shutdown.connect(_at_end_of_celery_worker, weak=False)
        _celery_knows = True
    if profiler._sink is not None:
        if profiler._sink.pid != os.getpid():
            profiler._sink = type(profiler._sink)(profiler._sink.outputs)
        profiler._sink.start()


def _at_exit() -> None:
    """Closes the root span; the native flusher writes the rest when Python has ended."""
    profiler = _current
    if profiler is None:
        return
    deadline = time.monotonic() + _WAIT_S
    if profiler._hooks is not None:
        profiler._hooks.uninstall()
    if profiler._snapshots is not None:
        profiler._snapshots.writer.end(_WAIT_S - _LAST_FLUSH_S)
    _core.close_session(deadline - time.monotonic())
    if profiler._sink is not None:
        _core.flush(max(deadline - time.monotonic(), 0.0))
        profiler._sink.stop(deadline - time.monotonic())


# At import, so that it runs after the exit handlers of the program, and they are recorded.
atexit.register(_at_exit)
os.register_at_fork(
    before=_core.fork_hook(_before_fork),
    after_in_parent=_core.fork_hook(_after_fork_in_parent),
    after_in_child=_core.fork_hook(_after_fork_in_child),
)
