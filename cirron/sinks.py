"""The outputs "log" and "stdout": a line for each closed span, as soon as it was drained.

They need Python, so they have a thread of their own, which exists only when they do. It
reads the trace buffer like everybody else; recording knows nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable

from cirron import _core
from cirron.log import warn
from cirron.render import SpanLines

_LOOK_AGAIN_S = 0.1  # how late a drain is noticed that nobody waits for

OUTPUTS = ("log", "stdout")


def _log_writer() -> Callable[[list[str]], None]:
    import logging

    logger = logging.getLogger("cirron.trace")

    def write(lines: list[str]) -> None:
        for line in lines:
            logger.info("%s", line)

    return write


def _write_stdout(lines: list[str]) -> None:
    if sys.stdout is not None:
        sys.stdout.write("\n".join([*lines, ""]))  # at once: others print too
        sys.stdout.flush()


class Sink:
    """A thread that writes closed spans as lines to some of `OUTPUTS`.

    It waits in Python alone: under gevent and eventlet it is a greenlet, beside which nothing
    runs while native code waits.
    """

    def __init__(self, outputs: tuple[str, ...]) -> None:
        self.outputs = outputs
        self.pid = os.getpid()
        self._writers: dict[str, Callable[[list[str]], None]] = {}
        if "log" in outputs:
            self._writers["log"] = _log_writer()
        if "stdout" in outputs:
            self._writers["stdout"] = _write_stdout
        self._written = _core.drained_sequence()
        self._lock = threading.RLock()  # a condition's `with` breaks when a signal handler raises
        self._changed = threading.Condition(self._lock)
        self._ending = False
        self._ended = True  # there is no thread, or it won't look again
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread when there is none; without one the outputs are off."""
        with self._lock:
            self._ending = False
            if self._thread is not None and self._thread.is_alive() and not self._ended:
                return  # else there is none, or a signal came before it could run
            self._ended = False
            self._thread = threading.Thread(target=self._run, name="cirron-sink", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no threads to be had, or the interpreter is ending
            self._ended = True
            warn("outputs %s are off: %s", ", ".join(self.outputs), error)

    def wait(self, timeout: float) -> bool:
        """Waits until all that was drained so far is written; False when out of time."""
        if threading.current_thread() is self._thread:
            return True  # a handler that flushes
        target = _core.drained_sequence()
        with self._lock:
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: self._ended or self._written >= target, max(timeout, 0.0)
            )

    def stop(self, timeout: float) -> bool:
        """Writes what was drained so far and ends the thread; False when out of time."""
        self._end()
        return self._join(timeout)

    def leave_before_fork(self, timeout: float) -> None:
        """Ends this thread and the flusher's; in the parent, `start` goes on."""
        deadline = time.monotonic() + timeout
        self._end()
        _core.before_fork(timeout)
        if self._join(deadline - time.monotonic()) and self._thread is not None:
            thread_id = self._thread.native_id
            in_kernel = f"/proc/self/task/{thread_id}"
            if thread_id != threading.get_native_id():  # a greenlet's is this thread's
                while os.path.exists(in_kernel) and time.monotonic() < deadline:
                    time.sleep(0)  # Python counts threads there

    def _end(self) -> None:
        with self._lock:
            self._ending = True
            self._changed.notify_all()

    def _join(self, timeout: float) -> bool:
        thread = self._thread
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return thread is not threading.current_thread()
        thread.join(max(timeout, 0.0))
        return not thread.is_alive()

    def _run(self) -> None:
        try:
            while self._writers and self._thread is threading.current_thread():
                ending = self._ending  # before the look, so that nothing slips between
                if _core.drained_sequence() > self._written:
                    self._write_new()
                elif not ending:
                    self._wait()
                elif self._leave():
                    break
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._ended = True
                self._changed.notify_all()

    def _wait(self) -> None:
        with self._lock:
            if not self._ending and _core.drained_sequence() <= self._written:
                self._changed.wait(_LOOK_AGAIN_S)

    def _leave(self) -> bool:
        """True when it is to end; False when a `start` has called it back."""
        with self._lock:
            self._ended = self._ending
            return self._ended

    def _write_new(self) -> None:
        table, reached = self._read_new()
        spans = SpanLines(table)
        ends_ns = table.ints("end_ns").tolist()
        in_order = sorted(range(len(table)), key=ends_ns.__getitem__)  # threads come one by one
        lines = [spans.line(row) for row in in_order]
        for output, write in list(self._writers.items()):
            try:
                if lines:
                    write(lines)
            except Exception as error:
                del self._writers[output]
                _warn_switched_off(output, error)
        with self._lock:
            self._written = reached
            self._changed.notify_all()

    def _read_new(self) -> tuple[_core.SpanTable, int]:
        """Returns the spans that are not written yet and the sequence that they reach."""
        drained = _core.drained_sequence()
        table = _core.read_trace(since=self._written)
        reached = self._written + len(table)
        if reached < drained:  # we were so slow that the buffer lost some
            reached = _core.drained_sequence()
        return table, reached


def _warn_switched_off(output: str, error: Exception) -> None:
    with contextlib.suppress(Exception):  # the handler that failed may be the one that warns
        warn('output "%s" failed and is switched off: %s: %s', output, type(error).__name__, error)
