"""What the commands print, so that all of them print it alike.

Results go to stdout, warnings to stderr. Names, attributes and paths are data from
disk: they are shown as they are, never interpreted as markup or by the terminal.
"""

import codecs
import errno
import io
import math
import os
import re
import select
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TextIO

import click

from cirron._core import format_duration

_LINES_PER_WRITE = 512
_CHUNKS_BEFORE_A_THREAD = 4
_UNLIMITED_WIDTH = 1_000_000
_ID_DIGITS = 8
_LEAST_FOLDED = 16

_US, _MS, _S = 1_000, 1_000_000, 1_000_000_000
_MINUTE, _HOUR = 60 * _S, 3_600 * _S
_UNITS = {"ns": 1, "us": _US, "µs": _US, "μs": _US, "ms": _MS, "s": _S, "m": _MINUTE, "h": _HOUR}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h)", re.ASCII)

# Control characters, line separators, direction overrides, lone surrogates: what would
# move the cursor, break a line or fail to encode.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Look:
    """The characters and colours that stdout can show; colours are "" without colour."""

    dash: str
    ellipsis: str
    bold: str = ""
    dim: str = ""
    cyan: str = ""
    green: str = ""
    red: str = ""
    reset: str = ""

    @property
    def color(self) -> bool:
        """Whether there are colours."""
        return self.reset != ""

    @property
    def ascii(self) -> bool:
        """Whether stdout can show ASCII only."""
        return self.ellipsis == "..."


def look(*, no_color: bool = False) -> Look:
    """Returns how to print on stdout.

    In colour on a terminal, or where `FORCE_COLOR` asks for it; `NO_COLOR` and `no_color`
    refuse it before all else.
    """
    dash, ellipsis = ("—", "…") if _speaks_unicode() else ("-", "...")
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    forced = os.environ.get("FORCE_COLOR", "0") not in ("", "0")
    if no_color or os.environ.get("NO_COLOR") or not (terminal or forced):
        return Look(dash, ellipsis)
    return Look(
        dash,
        ellipsis,
        bold="\x1b[1m",
        dim="\x1b[2m",
        cyan="\x1b[36m",
        green="\x1b[32m",
        red="\x1b[31m",
        reset="\x1b[0m",
    )


def _speaks_unicode() -> bool:
    try:
        "—…┌".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write(lines: Iterable[str]) -> None:
    """Writes lines to stdout as they come. A reader that closes the pipe ends the program."""
    remaining = iter(lines)
    batches = iter(lambda: list(islice(remaining, _LINES_PER_WRITE)), [])
    write_chunks("\n".join(batch) + "\n" for batch in batches)


def write_chunks(chunks: Iterable[str | bytes]) -> None:
    """Writes text to stdout as it comes, as `write` does. Bytes are UTF-8."""
    out = sys.stdout
    binary = None
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
        if codecs.lookup(out.encoding).name == "utf-8":
            binary = out.buffer
    most = _most_bytes_at_once(out)
    try:
        for chunk in _ahead(chunks):
            if isinstance(chunk, str):
                out.write(chunk)
            elif binary is None:
                out.write(chunk.decode())
            else:
                out.flush()
                for lines in _whole_lines(chunk, most):
                    binary.write(lines)
                    binary.flush()
        out.flush()
    except OSError as error:
        # What is still buffered must not fail once more when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if error.errno == errno.EPIPE:
            sys.exit(0)
        raise click.ClickException(f"Could not write the output: {error.strerror}") from error


def _ahead(chunks: Iterable[str | bytes]) -> Iterator[str | bytes]:
    """Yields `chunks`; in long output each is made while the one before is being written."""
    remaining = iter(chunks)
    yield from islice(remaining, _CHUNKS_BEFORE_A_THREAD)
    chunk = next(remaining, None)
    if chunk is None:
        return
    from concurrent.futures import ThreadPoolExecutor  # slow to import

    with ThreadPoolExecutor(max_workers=1) as maker:
        while chunk is not None:
            pending = maker.submit(next, remaining, None)
            yield chunk
            chunk = pending.result()


def _most_bytes_at_once(out: TextIO) -> int:
    """Returns what a pipe takes whole or not at all, so that Ctrl-C leaves no half line."""
    try:
        if stat.S_ISFIFO(os.fstat(out.fileno()).st_mode):
            return select.PIPE_BUF
    except OSError:  # stdout is no file, in tests
        pass
    return sys.maxsize


def _whole_lines(chunk: bytes, most: int) -> Iterator[bytes]:
    """Yields `chunk` in pieces of at most `most` bytes that end lines, where lines allow it."""
    begin = 0
    while len(chunk) - begin > most:
        end = chunk.rfind(b"\n", begin, begin + most) + 1 or begin + most
        yield chunk[begin:end]
        begin = end
    yield chunk[begin:] if begin else chunk


def warn(message: str) -> None:
    """Prints a line `Warning: ...` on stderr."""
    click.echo(f"Warning: {printable(message)}", err=True)


def printable(text: str) -> str:
    r"""Returns `text` with what a terminal would act upon as an escape, such as `\x1b`."""
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def count(number: int, noun: str) -> str:
    """Returns `1 span`, `2 spans`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def short_id(identifier: str) -> str:
    """Returns the first digits of an id, as tables show it."""
    if len(identifier) <= _ID_DIGITS:
        return printable(identifier)
    return printable(identifier[:_ID_DIGITS]) + look().ellipsis


def timestamp(ns: int, *, compact: bool = False) -> str:
    """Returns Unix-epoch nanoseconds as UTC: `2026-04-21T14:22:05.001Z`, or `04-21 14:22Z`."""
    try:
        time = datetime(1970, 1, 1) + timedelta(milliseconds=ns // _MS)
    except OverflowError:
        return f"{ns}ns"
    if compact:
        return time.strftime("%m-%d %H:%MZ")
    return time.isoformat(timespec="milliseconds") + "Z"


def duration(ns: int) -> str:
    """Returns nanoseconds as `850ns`, `66.8us`, `42.1ms`, `1.23s`, `2m05.3s` or `1h02m05.3s`."""
    return format_duration(ns)


def size(number: int, decimals: int = 1) -> str:
    """Returns bytes as `256 B`, `142.3 KB`, `1.2 MB`; a KB is 1,024 bytes."""
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in ("KB", "MB", "GB"):
        value /= 1024
        if value < 1024 - 0.5 / 10**decimals:
            return f"{value:.{decimals}f} {unit}"
    return f"{value / 1024:.{decimals}f} TB"


def scalar(value: object) -> str:
    """Returns the value of an attribute or a mark as text.

    A float has 4 decimals, or an exponent where 4 decimals would lose it. The rest reads
    as in JSON, but that text has no quotes.
    """
    if isinstance(value, str):
        return printable(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        if value == 0 or 1e-3 <= abs(value) < 1e15:
            return f"{value:.4f}"
        mantissa, exponent = f"{value:.4e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return str(value)


def parse_duration(text: str) -> float:
    """Returns the nanoseconds that an option such as `1.5ms` means.

    Raises:
        click.BadParameter: there is no number, no unit, or more than that.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(
            f"{text!r} is not a number with a unit (ns, us, ms, s, m, h), like 1.5ms."
        )
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False
    fold: bool = False
    """Whether long cells go on in the next line of a narrow terminal, in place of being cut."""


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    compact: Sequence[Sequence[str]] | None = None,
    *,
    no_color: bool = False,
) -> list[str]:
    """Draws a box around rows and returns its lines.

    On a terminal the table is fitted to it, elsewhere it has its natural width.

    Args:
        columns: the titles.
        rows: the cells, already printable.
        compact: what to draw in place of `rows` where those do not fit the terminal.
        no_color: as for `look`.
    """
    available = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED_WIDTH
    if compact is not None and _width(columns, rows) > available:
        rows = compact
    if any(column.fold for column in columns):
        available = max(available, _width(columns, [_folded(columns, row) for row in rows]))
    return _draw(columns, rows, available, look(no_color=no_color).color)


def _folded(columns: Sequence[Column], row: Sequence[str]) -> list[str]:
    """Returns the row with as little of the folded cells as there has to be in a line."""
    return [
        cell[:_LEAST_FOLDED] if column.fold else cell
        for column, cell in zip(columns, row, strict=True)
    ]


def _width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    from rich.cells import cell_len

    widths = [cell_len(column.title) for column in columns]
    for row in rows:
        widths = [max(width, cell_len(cell)) for width, cell in zip(widths, row, strict=True)]
    return sum(widths) + 3 * len(columns) + 1


def _draw(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, color: bool
) -> list[str]:
    # Rich is imported here: most of what the program prints does not need it.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SQUARE if _speaks_unicode() else box.ASCII2)
    for column in columns:
        drawn.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
        )
    for row in rows:
        drawn.add_row(*row)
    text = io.StringIO()
    Console(
        file=text,
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        force_jupyter=False,
        no_color=not color,
        markup=False,
        emoji=False,
        highlight=False,
    ).print(drawn)
    return text.getvalue().splitlines()
