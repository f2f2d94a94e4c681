"""Parquet files from a table: spans, marks and snapshots, one file each.

Record batches come out of the table one at a time and each becomes a row group, so memory
does not grow with the spool. The files are written in a folder of their own inside the
output directory and moved into place when all of them are whole.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cirron._core import Records, SpanTable
from cirron.errors import CirronDependencyError

_KINDS = ("spans", "marks", "snapshots")

_UNKNOWN_HOST = "unknown"

# Columns whose values repeat, and integers whose differences are small.
_DICTIONARIES = {
    "session_id",
    "parent_id",
    "span_id",
    "name",
    "thread_id",
    "pid",
    "rank",
    "attrs_json",
    "value_type",
    "value_string",
    "kind",
    "tensor_name",
    "dtype",
    "shape_json",
    "mode",
}
_DIFFERENCES = {
    "index",
    "start_ns",
    "end_ns",
    "duration_ns",
    "cpu_ns",
    "gpu_ns",
    "memory_peak_bytes",
    "overhead_ns",
    "value_int",
    "ts_ns",
}

_Selection = Callable[[Records], Records]


def write_parquet(
    table: SpanTable,
    output: Path,
    session: int | None = None,
    progress: Callable[[int], object] | None = None,
    partition: bool = False,
) -> None:
    """Writes `spans.parquet`, `marks.parquet` and `snapshots.parquet` into a directory.

    Args:
        table: what to write.
        output: the directory, which is made when it is missing. Files of these names are
            replaced when all new ones are whole; everything else in it is left alone.
        session: the number in `table.sessions()` of the only session to write; None: all.
        progress: called now and then with the number of rows written so far.
        partition: write into folders `host=<hostname>/rank=<rank>` below `output`. The host
            is that of the session's root span, "unknown" where it says none; the rank is
            the span's, 0 where it has none. The spans have no column `rank` then: the
            folder says it.

    Raises:
        CirronDependencyError: pyarrow is not installed.
        OSError: the output can't be written; what was there before still is.
    """
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise CirronDependencyError(
            "export --format parquet needs pyarrow; run: pip install 'cirron-sdk[parquet]'"
        ) from error
    existed = output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".cirron-export-", dir=output) as temporary:
            work = Path(temporary)
            written = 0
            for folder, selections in _folders(table, session, partition):
                (work / folder).mkdir(parents=True, exist_ok=True)
                for kind in _KINDS:
                    records = [select(getattr(table, kind)) for select in selections]
                    readers = map(arrow.RecordBatchReader.from_stream, records)
                    path = work / folder / f"{kind}.parquet"
                    for rows in _write_file(parquet, path, readers, partition):
                        written += rows
                        if progress is not None:
                            progress(written)
            _move_files(work, output)
    except BaseException:
        if not existed:
            with suppress(OSError):
                output.rmdir()
        raise


def _write_file(parquet: Any, path: Path, readers: Iterable[Any], partition: bool) -> Iterator[int]:
    """Writes what the readers hold as one file; yields the rows of each batch."""
    writer = None
    try:
        for reader in readers:
            schema = reader.schema
            if partition and "rank" in schema.names:
                schema = schema.remove(schema.get_field_index("rank"))
            names = schema.names
            if writer is None:
                writer = parquet.ParquetWriter(
                    path,
                    schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=[name for name in names if name in _DICTIONARIES],
                    column_encoding={
                        name: "DELTA_BINARY_PACKED" for name in names if name in _DIFFERENCES
                    },
                )
            for batch in reader:
                rows = batch.num_rows
                writer.write_batch(batch.select(names))
                del batch  # before the next one is made
                yield rows
    finally:
        if writer is not None:
            writer.close()


def _folders(
    table: SpanTable, session: int | None, partition: bool
) -> Iterator[tuple[Path, list[_Selection]]]:
    """Yields each folder and the parts of the table that belong there."""
    if not partition:
        yield Path(), [lambda records: records if session is None else records.of_session(session)]
        return
    hosts = [_host(table, found["row"]) for found in table.sessions()]
    folders: dict[Path, list[_Selection]] = {}
    for number, rank in _sessions_and_ranks(table, session):
        # What belongs to no session lies in this spool, so the newest one's host has it.
        host = (hosts or [_UNKNOWN_HOST])[number or 0]
        folder = Path(f"host={quote(host, safe='')}", f"rank={rank or 0}")
        folders.setdefault(folder, []).append(_selection(number, rank))
    for folder, selections in folders.items():
        if any(len(select(getattr(table, kind))) for select in selections for kind in _KINDS):
            yield folder, selections


def _host(table: SpanTable, root: int) -> str:
    host = table.attrs(root).get("hostname") if root >= 0 else None
    return host if isinstance(host, str) and host else _UNKNOWN_HOST


def _selection(session: int | None, rank: int | None) -> _Selection:
    return lambda records: records.of_session(session).of_rank(rank)


def _sessions_and_ranks(
    table: SpanTable, session: int | None
) -> list[tuple[int | None, int | None]]:
    """Lists the pairs that spans have, and the one of records whose span is not there."""
    columns = table.ints("session"), table.ints("rank"), table.present("rank")
    found = {
        (None if number < 0 else number, rank if present else None)
        for number, rank, present in set(zip(*columns, strict=True))
        if session is None or number == session
    }
    if session is None:
        found.add((None, None))
    return sorted(found, key=lambda pair: tuple((part is None, part or 0) for part in pair))


def _move_files(work: Path, output: Path) -> None:
    for folder, _, names in os.walk(work):
        target = output / Path(folder).relative_to(work)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            os.replace(os.path.join(folder, name), target / name)
