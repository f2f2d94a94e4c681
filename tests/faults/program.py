"""The life of a swept program, from the import to the end: it records, flushes, reads back,
forks and shuts down. What it records is the business of recording.py and training.py, and
what they say of it, of sweep.py: each process reports in JSON what was raised and what
`health()` counted.
"""

import contextvars
import ctypes
import gc
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

KIND = os.environ["CIRRON_FAULT_KIND"]
if KIND == "python":
    ctypes.CDLL(os.environ["LD_PRELOAD"]).cirron_fault_python()

report: dict[str, Any] = {"raised": [], "sections": []}


def say() -> None:
    """Appends the report."""
    with open(sys.argv[1], "a") as file:
        print(json.dumps(report), file=file)


try:
    import cirron as ci
except (ImportError, MemoryError) as error:
    report["refused"] = type(error).__name__
    say()
    sys.exit()

from cirron import _core, profiler, spool  # noqa: E402


def attempt(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls, and notes what is raised."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        report["raised"].append([what, type(error).__name__])
        return None


def section(what: str, function: Callable[..., object], *args: Any, discards: int = 0) -> None:
    """As `attempt`; notes how many spans were dropped meanwhile, and what was produced.

    Args:
        what: names it.
        function: records spans, and what there is only for spans that are recorded.
        args: of the function.
        discards: how many spans it opens and leaves unrecorded.
    """
    before = _counts()
    attempt(what, function, *args)
    after = _counts()
    if before is not None and after is not None:
        dropped, produced = (now - then for now, then in zip(after, before, strict=True))
        report["sections"].append([dropped, produced, discards])


def _counts() -> tuple[int, int] | None:
    if KIND == "python":  # any call may raise then, and end a section
        return None
    snapshots = profiler._running_snapshots()
    if snapshots is not None:
        snapshots.writer.wait(2.0)  # it records as well
    health = ci.health()
    produced = health["span_count"] + health["mark_count"] + health["snapshot_count"]
    return health["scope_drop_count"], produced


def in_thread(function: Callable[..., object], *args: Any) -> None:
    """Calls in a thread of its own."""
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=context.run, args=(attempt, "record in a thread", function, *args)
    )
    thread.start()
    thread.join()


def _read_trace(*formats: str) -> None:
    for form in formats:
        attempt("trace", lambda form=form: str(ci.trace(format=form)))


def _read_spool() -> None:
    table = attempt("read", spool.read)
    if table is None:
        return
    for number in range(len(attempt("read", table.sessions) or ())):
        attempt("read", lambda number=number: [len(chunk) for chunk in table.render(number)])
    attempt("read", table.snapshot_records)
    attempt("read", lambda: table.marks.__arrow_c_stream__())
    for form in ("csv", "json", "otlp"):
        attempt("export", lambda form=form: [len(piece) for piece in table.export(form)])
    for path in Path(".cirron/snapshots").glob("*/*.safetensors"):
        with path.open("rb") as file:
            attempt("read", lambda file=file: _core.read_safetensors(file.fileno()))


def _end(role: str) -> None:
    gc.collect()  # a stream that an error left in a cycle ends in the session
    attempt("shutdown", ci.shutdown)
    report["role"] = role
    report["health"] = attempt("health", ci.health)
    say()


def _fork(record: Callable[[str], object], more: Callable[[str], object]) -> None:
    child = os.fork()
    if child == 0:
        report["raised"], report["sections"] = [], []
        record("child")
        attempt("flush", ci.flush)
        _read_trace("dict")
        more("child's last")
        _end("child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child crashed"


def live(record: Callable[[str], object], more: Callable[[str], object], **settings: Any) -> None:
    """Lives that life.

    Args:
        record: is called at first, and in the child of a fork.
        more: is called when something is on the disk, before the fork and after it.
        settings: of `profile`.
    """
    contextvars.copy_context()  # a first one without memory crashes CPython 3.11
    # Files are deleted when the cap is crossed; then by one process, since none counts the
    # records in another's files.
    is_capped = KIND == "unlink"
    config = {"spool_max_bytes": 8_000 if is_capped else 1_000_000}
    session = attempt("profile", ci.profile, flush_interval=3600, config=config, **settings)
    report["started"] = session is not None and session.enabled
    record("before")
    attempt("flush", ci.flush)
    _read_trace("tree", "json")
    more("after")
    if is_capped:
        for _ in range(3):
            attempt("flush", ci.flush)
            more("more")
    else:
        _fork(record, more)
    attempt("flush", ci.flush)
    _read_spool()
    more("last")
    _end("parent")
