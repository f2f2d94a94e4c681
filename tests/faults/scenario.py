"""Uses everything that records and reads, and says in JSON how it went: for each process
what `health()` counted and what was raised. Run by sweep.py, beside a call that fails."""

import asyncio
import ctypes
import json
import os
import sys
import threading

kind = os.environ["CIRRON_FAULT_KIND"]
if kind == "python":
    ctypes.CDLL(os.environ["LD_PRELOAD"]).cirron_fault_python()

report = {"raised": []}


def attempt(what, function, *args, **kwargs):
    """Calls, and notes what is raised."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        report["raised"].append([what, type(error).__name__])
        return None


def say(role):
    report["health"] = attempt("health", ci.health)
    report["role"] = role
    with open(sys.argv[1], "a") as file:
        print(json.dumps(report), file=file)


try:
    import cirron as ci
except (ImportError, MemoryError) as error:
    with open(sys.argv[1], "a") as file:
        print(json.dumps({"refused": type(error).__name__}), file=file)
    sys.exit()

from cirron import spool  # noqa: E402


def record(name):
    for i in range(3):
        with ci.scope(name, i, text="grüße", nested={"a": [1, 2.5, None]}) as scope:
            scope.attrs["late"] = "x" * 300
            ci.mark("loss", 0.5)
            ci.mark(f"name of its own {i}", 7, unit="ms", long="y" * 300)
            ci.mark("text", "z" * 200, kind="summary")


def loops():
    for _ in ci.epochs(range(2)):
        for _ in ci.batches(iter(range(2))):
            ci.mark("loss", 0.25)


@ci.inference
def serve():
    yield {"usage": {"prompt_tokens": 3}}
    yield "text"


@ci.inference(config={"stream_chunk_timing": True})
async def serve_async():
    yield "a"
    await asyncio.sleep(0)
    yield "b"


async def consume():
    return [item async for item in serve_async()]


def read_back():
    for form in ("dict", "json"):
        attempt("trace", ci.trace, format=form)
    attempt("trace", ci.trace)


def read_spool():
    table = attempt("read", spool.read)
    if table is not None:
        for form in ("csv", "json", "otlp"):
            attempt("export", lambda form=form: [len(piece) for piece in table.export(form)])


def record_all(name):
    attempt("record", record, name)
    attempt("loops", loops)
    thread = threading.Thread(target=attempt, args=("record in a thread", record, "thread"))
    thread.start()
    thread.join()
    attempt("stream", lambda: list(serve()))
    attempt("async stream", lambda: asyncio.run(consume()))


# Files are deleted when the cap is crossed; then by one process, since none counts the
# records in another's files.
is_capped = kind == "unlink"
cap = 30_000 if is_capped else 1_000_000
profiler = attempt("profile", ci.profile, flush_interval=3600, config={"spool_max_bytes": cap})
report["started"] = profiler is not None and profiler.enabled
record_all("before")
attempt("flush", ci.flush)
read_back()
record_all("after")

if not is_capped:
    child = os.fork()
    if child == 0:
        report["raised"] = []
        record_all("child")
        attempt("flush", ci.flush)
        read_back()
        attempt("shutdown", ci.shutdown)
        say("child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child crashed"

attempt("flush", ci.flush)
read_spool()
record_all("last")
attempt("shutdown", ci.shutdown)
read_back()
say("parent")
