"""`cirron traces export`: the traces in an open format, in a file or a directory.

Documents come out of the table in chunks of about a MiB, and a thread writes one while the
next is made. A file gets its name when it is whole.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import click

from cirron._core import Export, SpanTable
from cirron.cli import output
from cirron.cli.progress import progress
from cirron.cli.traces import sessions as traces
from cirron.errors import CirronDependencyError

_NAME = "cirron-traces"
_SUFFIXES = {"parquet": "", "csv": ".csv", "json": ".json", "otlp": ".otlp.json"}

# Receivers refuse large requests; few of them one of this size.
_REQUEST_BYTES = 4 << 20

_EXAMPLES = """\b
Examples:
  cirron traces export --format parquet --output ./exported/
  cirron traces export --format parquet --session a541b565 --output ./one/
  cirron traces export --format otel --output ./traces.otlp.json
  cirron traces export --format otel --output ./requests/
  cirron traces export --format csv --output ./spans.csv
  cirron traces export --format json --output ./traces.json
"""

_Advance = Callable[[int], None]


@click.command(epilog=_EXAMPLES)
@click.option(
    "--format",
    "name",
    type=click.Choice(["parquet", "otel", "otlp", "csv", "json"]),
    metavar="<fmt>",
    required=True,
    help="parquet, otel (or otlp), csv or json. Required.",
)
@click.option(
    "--output",
    "target",
    metavar="<path>",
    help="File to write, or - for standard output; a directory for parquet, and for otel to "
    f"split it into requests. Without it ./{_NAME} with the format's extension.",
)
@click.option("--session", "prefix", metavar="<id>", help="Export the session whose id begins so.")
@click.option(
    "--partition",
    is_flag=True,
    help="Write parquet into folders host=<hostname>/rank=<rank>.",
)
@traces.spool_option
def export(name: str, target: str | None, prefix: str | None, partition: bool, spool: Path) -> None:
    """Export the traces to an open format."""
    form = "otlp" if name == "otel" else name
    if partition and form != "parquet":
        raise click.UsageError("--partition goes with --format parquet.")
    if target == "":
        raise click.UsageError("--output is empty. Name a file or a directory.")
    if target == "-" and form == "parquet":
        raise click.UsageError("parquet is several files; name a directory with --output.")
    path, as_requests = _destination(form, target)
    found = traces.read(spool)
    session = None if prefix is None else traces.find(found.sessions, prefix).number
    table = found.table
    if len(table) == 0 and table.mark_count == 0 and table.snapshot_count == 0:
        output.write([traces.NO_TRACES])
        return
    try:
        if form == "parquet":
            _export_parquet(table, path, session, partition)
        elif target == "-":
            output.write_chunks(table.export(form, session))
            return
        elif as_requests:
            _export_requests(table, path, session)
        else:
            _export_file(table, form, path, session)
    except OSError as error:
        raise click.ClickException(
            f"Could not write {output.printable(str(path))}: {error.strerror or error}. "
            "Nothing was replaced; make room, or name another place with --output."
        ) from error
    shown = output.printable(str(path)) + (os.sep if path.is_dir() else "")
    spans = len(table) if session is None else found.sessions[session].spans
    click.echo(f"Exported {output.count(spans, 'span')} to {shown}", err=True)


def _destination(form: str, target: str | None) -> tuple[Path, bool]:
    """Returns where the export goes, and whether that is a directory of OTLP requests."""
    name = _NAME + _SUFFIXES[form]
    if target is None:
        return Path(name), False
    path = Path(target)
    is_directory = target.endswith(os.sep) or path.is_dir()
    if form == "parquet" or not is_directory:
        return path, False
    return (path, True) if form == "otlp" else (path / name, False)


# ---- formats


def _export_parquet(table: SpanTable, path: Path, session: int | None, partition: bool) -> None:
    from cirron.cli.traces.parquet import write_parquet  # pyarrow takes its time

    if session is None:
        rows = len(table) + table.mark_count + table.snapshot_count
    else:
        chosen = table.sessions()[session]
        rows = chosen["spans"] + chosen["marks"] + chosen["snapshots"]
    try:
        with _bar(rows) as show:
            write_parquet(table, path, session, show, partition)
    except CirronDependencyError as error:
        raise click.ClickException(str(error)) from error


def _export_file(table: SpanTable, form: str, path: Path, session: int | None) -> None:
    document = table.export(form, session)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _bar(document.total) as show, _replacing(path) as file:
        _write_behind(file, _shown(document, show))


def _export_requests(table: SpanTable, path: Path, session: int | None) -> None:
    """Writes one file a request. Those of an earlier export go when all are whole."""
    document = table.export("otlp", session, request_bytes=_REQUEST_BYTES)
    existed = path.exists()
    path.mkdir(parents=True, exist_ok=True)
    work = path / f".{_NAME}-{os.urandom(8).hex()}.tmp"
    work.mkdir()
    try:
        with _bar(document.total) as show:
            for number, request in enumerate(_shown(document, show), start=1):
                (work / f"traces-{number:05d}.otlp.json").write_bytes(request)
        old = set(path.glob("traces-[0-9][0-9][0-9][0-9][0-9]*.otlp.json"))
        for file in sorted(work.iterdir()):
            os.replace(file, path / file.name)
            old.discard(path / file.name)
        for file in old:
            file.unlink()
        work.rmdir()
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def _bar(total: int) -> Iterator[_Advance]:
    """Gives the function that says how many records of `total` are done."""
    done = 0
    with progress("Exporting", total) as advance:

        def show(now: int) -> None:
            nonlocal done
            advance(now - done)
            done = now

        yield show


def _shown(document: Export, show: _Advance) -> Iterator[bytes]:
    for chunk in document:
        show(document.done)
        yield chunk


# ---- files


def _write_behind(file: BinaryIO, chunks: Iterable[bytes]) -> None:
    """Writes each chunk while the next one is being made."""
    from concurrent.futures import Future, ThreadPoolExecutor  # slow to import

    with ThreadPoolExecutor(max_workers=1) as writer:
        pending: Future[int] | None = None
        for chunk in chunks:
            if pending is not None:
                pending.result()
            pending = writer.submit(file.write, chunk)
        if pending is not None:
            pending.result()


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` when the block ends well.

    It keeps the mode of the file it replaces; a symbolic link stays and its target is
    replaced. What is neither a file nor missing, such as /dev/stdout, is written to as it is.
    """
    target = Path(os.path.realpath(path))
    mode: int | None = None
    with suppress(FileNotFoundError):
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            with open(path, "wb") as file:
                yield file
            return
        mode = stat.S_IMODE(about.st_mode)
    temporary = target.with_name(f".{_NAME}-{os.urandom(8).hex()}.tmp")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
