"""The spool on disk, read back: where the batch files lie and what is in them."""

import os
import re
from pathlib import Path

from cirron._core import SpanTable, read_spool

DEFAULT_DIRECTORY = Path(".cirron") / "spool"

_BATCH_NAME = re.compile(r"([0-9]+)-.+\.json")


def directory(path: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> Path:
    """Returns the absolute spool directory that `path` means.

    Args:
        path: a spool directory, or the directory around it, which `profile` takes as `path`.
    """
    try:
        absolute = Path(os.path.abspath(path))
    except OSError:  # the working directory is gone
        absolute = Path(path)
    inner = absolute / "spool"
    return inner if inner.is_dir() and not _has_batches(absolute) else absolute


def _has_batches(directory: Path) -> bool:
    try:
        return any(_BATCH_NAME.fullmatch(name) for name in os.listdir(directory))
    except OSError:
        return False


def batch_files(path: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> list[Path]:
    """Lists the batch files of a spool, oldest first.

    Batch files are named `<created_ns>-<batch_id>.json`; everything else is passed over,
    and so is a directory that does not exist.

    Raises:
        OSError: the directory exists and can't be listed.
    """
    found: list[tuple[int, str, Path]] = []
    try:
        with os.scandir(directory(path)) as entries:
            for entry in entries:
                match = _BATCH_NAME.fullmatch(entry.name)
                if match and entry.is_file():
                    found.append((int(match[1]), entry.name, Path(entry.path)))
    except FileNotFoundError:
        return []
    return [file for _, _, file in sorted(found)]


def read(path: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> SpanTable:
    """Reads all batches of a spool into one table of spans, marks and snapshots.

    The table's `spans`, `marks` and `snapshots`, and for its spans the table itself, speak
    the Arrow PyCapsule interface: with `t` for the table, `pyarrow.table(t.marks)`,
    `polars.DataFrame(t)` and `duckdb.sql("FROM t")` work as they are.

    A file that is no valid batch costs itself and a line in the table's `warnings`.

    Args:
        path: a spool directory, or the directory around it, which `profile` takes as `path`.

    Raises:
        OSError: the directory exists and can't be listed.
    """
    return read_spool([str(file) for file in batch_files(path)])
