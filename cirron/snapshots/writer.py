"""Files of raw tensors, written by a thread that exists while there is something to write."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirron import _core
from cirron.log import warn

BUDGET_BYTES = 1 << 30
"""What may wait for the disk."""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    content: bytes
    records: list[dict[str, Any]]
    """Recorded once more, with their `blob_uri`, when the file is there."""


class Writer:
    """Writes one file after the other, each whole or not at all."""

    def __init__(self) -> None:
        self.skipped = 0
        """Files that were given up."""
        self._lock = threading.RLock()  # a condition's `with` breaks when a signal handler raises
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[_File] = deque()
        self._unfinished = 0  # those and the one that is being written
        self._bytes = 0  # of the unfinished
        self._thread: threading.Thread | None = None
        self._ended = False
        self._warned = False

    def has_room(self, size: int) -> bool:
        """Says whether a file of `size` bytes may be added now."""
        with self._lock:
            return self._bytes + size <= BUDGET_BYTES

    def skip(self) -> None:
        """Counts a file that is not even tried."""
        with self._lock:
            self.skipped += 1

    def add(self, path: str, content: bytes, records: list[dict[str, Any]]) -> None:
        """Has a file written.

        Args:
            path: its directory is made when missing.
            content: the whole of it.
            records: of the tensors in it, which were recorded without it.
        """
        with self._lock:
            if self._ended:
                self.skipped += 1
                return
            self._waiting.append(_File(path, content, records))
            self._unfinished += 1
            self._bytes += len(content)
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="cirron-snapshots", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no threads to be had, or the interpreter is ending
            self._thread = None
            while self._waiting:
                self._finish(self._waiting.popleft(), None, error)

    def wait(self, seconds: float) -> bool:
        """Waits until nothing is left to write; False when that took longer."""
        with self._lock:
            return self._changed.wait_for(lambda: self._unfinished == 0, max(seconds, 0.0))

    def end(self, seconds: float) -> None:
        """Waits as `wait` does, and gives up what is left then."""
        self.wait(seconds)
        with self._lock:
            self._ended = True
            self._waiting.clear()
            self.skipped += self._unfinished

    def _run(self) -> None:
        while (file := self._next()) is not None:
            try:
                _write_whole(file.path, file.content)
                uri = Path(file.path).as_uri()
            except Exception as error:
                self._finish(file, None, error)
            else:
                self._finish(file, uri, None)

    def _next(self) -> _File | None:
        with self._lock:
            if not self._waiting:
                self._thread = None
                return None
            return self._waiting.popleft()

    def _finish(self, file: _File, uri: str | None, error: Exception | None) -> None:
        with self._lock:
            if self._ended:
                return
            for record in file.records if uri is not None else ():
                _core.record_snapshot({**record, "blob_uri": uri})
            self.skipped += error is not None
            self._unfinished -= 1
            self._bytes -= len(file.content)
            self._changed.notify_all()
            if error is None or self._warned:
                return
            self._warned = True
        with contextlib.suppress(Exception):  # a log handler may raise
            warn(
                "the tensors of a snapshot can't be written (%s); statistics are recorded all "
                "the same, and files are tried again at the next epoch",
                str(error),  # the exception itself would keep the content with its frames
            )


def _write_whole(path: str, content: bytes) -> None:
    directory = os.path.dirname(path)
    temporary = f"{path}.tmp"
    os.makedirs(directory, exist_ok=True)
    try:
        with open(temporary, "xb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        with contextlib.suppress(OSError):
            os.rmdir(directory)  # unless the other file is in it
        raise
