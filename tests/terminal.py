"""A program on a terminal of its own."""

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Sequence
from types import TracebackType

_PATIENCE_S = 30.0
_REFUSED = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PAGER", "LESS")


class Terminal:
    """Runs a command with stdin, stdout and stderr on a pseudo-terminal; Ctrl-C works there.

    Args:
        command: the program and its arguments.
        columns: the width.
        rows: the height.
        env: variables on top of the test's own.
    """

    def __init__(
        self, command: Sequence[str], *, columns: int = 100, rows: int = 24, **env: str
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in _REFUSED}
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=inherited | {"TERM": "xterm"} | env,
        )
        os.close(theirs)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.status: int | None = None

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is not None:
                self._process.kill()
            self.status = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            os.close(self._ours)

    def write(self, text: str) -> None:
        """Types."""
        os.write(self._ours, text.encode())

    def read_until(self, text: str) -> str:
        """Returns what is shown up to and with `text`."""
        shown = ""
        while not shown.endswith(text):
            more = self._read(1)
            assert more, f"the program ended after {shown!r}"
            shown += self._decode(more)
        return shown

    def read_all(self) -> str:
        """Returns what is shown until the program ends."""
        shown = ""
        while more := self._read(4096):
            shown += self._decode(more)
        return shown

    def _decode(self, read: bytes) -> str:
        return self._decoder.decode(read).replace("\r", "")

    def _read(self, limit: int) -> bytes:
        ready, _, _ = select.select([self._ours], [], [], _PATIENCE_S)
        assert ready, "the program shows nothing"
        try:
            return os.read(self._ours, limit)
        except OSError:  # Linux reports the closed other end so.
            return b""
