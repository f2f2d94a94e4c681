"""Long output goes through a pager, as git's does: what fits the screen is just printed."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

import click

from cirron.cli import output


def write_chunks(chunks: Iterable[str | bytes], *, paged: bool = True) -> None:
    """Writes text to stdout, through a pager where that is a terminal that is too small for it.

    The pager is `PAGER`, else `less`; an empty `PAGER` or `cat` is none. It gets the text
    while that is made. Quitting it early is no failure.

    Args:
        chunks: the text; bytes are UTF-8.
        paged: False never starts a pager.
    """
    command = _command() if paged and sys.stdout.isatty() else None
    if command is None:
        output.write_chunks(chunks)
        return
    remaining = iter(chunks)
    begin: list[bytes] = []
    for chunk in remaining:
        begin.append(_encode(chunk))
        if _is_long(b"".join(begin)):
            _page(command, chain(begin, map(_encode, remaining)))
            return
    output.write_chunks(begin)


def _command() -> str | None:
    command = os.environ.get("PAGER", "less")
    try:
        program = next((word for word in shlex.split(command) if "=" not in word), "cat")
    except ValueError:
        return None
    if program == "cat" or os.environ.get("TERM") == "dumb" or shutil.which(program) is None:
        return None
    return command


def _encode(chunk: str | bytes) -> bytes:
    return chunk.encode(errors="backslashreplace") if isinstance(chunk, str) else chunk


def _is_long(text: bytes) -> bool:
    """Whether the text leaves no line of the screen for the prompt."""
    columns, rows = shutil.get_terminal_size()
    height = 0
    for line in _lines(text):
        height += max(1, -(-len(click.unstyle(line)) // columns))
        if height >= rows:
            return True
    return False


def _lines(text: bytes) -> Iterator[str]:
    begin = 0
    while begin < len(text):
        end = text.find(b"\n", begin)
        end = len(text) if end < 0 else end
        yield text[begin:end].decode(errors="replace")
        begin = end + 1


def _page(command: str, chunks: Iterable[bytes]) -> None:
    environment = {"LESS": "FRX", "LV": "-c"} | os.environ
    pager = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)
    assert pager.stdin is not None
    try:
        with suppress(BrokenPipeError):
            for chunk in chunks:
                pager.stdin.write(chunk)
    finally:
        # Ctrl-C is the pager's from here on: the terminal is its own until it ends.
        usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(BrokenPipeError):
            pager.stdin.close()
        pager.wait()
        signal.signal(signal.SIGINT, usual)
