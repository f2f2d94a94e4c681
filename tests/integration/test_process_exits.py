"""The ends of processes, by every road: no hang, no crash, nothing lost, nothing twice."""

import ctypes
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import rounds, run_script, spool_batches

PROGRAM = Path(__file__).parents[1] / "isolated" / "exits.py"
THREADS = 4
RETURN_CODES = {
    "return": 0,
    "shutdown": 0,
    "sys.exit": 3,
    "exception": 1,
    "_exit": 4,
    "sigterm": -signal.SIGTERM,
    "sigkill": -signal.SIGKILL,
    "stuck disk": 0,
    "stuck disk, sigterm": -signal.SIGTERM,
}
STUCK = [road for road in RETURN_CODES if road.startswith("stuck")]
PTRACE_SEIZE, PTRACE_INTERRUPT, WAIT_FOR_ALL = 0x4206, 0x4207, 0x40000000


def stop_flusher(pid: int) -> int:
    """Stops the flusher's thread alone, as a disk that never answers does."""
    ptrace = ctypes.CDLL(None).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    found: list[int] = []
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:  # a new thread has yet to take its name
        tasks = Path(f"/proc/{pid}/task").iterdir()
        found = [int(t.name) for t in tasks if (t / "comm").read_text() == "cirron-flusher\n"]
    (thread,) = found
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if ptrace(request, thread, None, None) != 0:
            pytest.skip("needs the right to stop a thread")
    os.waitpid(thread, WAIT_FOR_ALL)
    return thread


def recorded(directory):
    """How often each span and mark of the program's threads is on disk."""
    for unfinished in directory.glob("*.tmp"):  # a hard end in the middle of a file
        unfinished.unlink()
    spans: Counter[tuple[str, int]] = Counter()
    marks: Counter[tuple[str, int]] = Counter()
    names = {}
    for batch in spool_batches(directory):
        for span in batch["spans"]:
            if span["name"].startswith("thread"):
                spans[span["name"], span["index"]] += 1
                names[span["id"]] = span["name"]
    for batch in spool_batches(directory):
        for mark in batch["marks"]:
            marks[names.get(mark["span_id"], "of an unwritten span"), mark["value"]] += 1
    return spans, marks


def end_by(road, seed, directory):
    """Runs the program to its end; returns what was closed for sure and what was begun."""
    directory.mkdir()
    counters = directory / "counters"
    counters.write_bytes(bytes(24 * THREADS))
    arguments = [sys.executable, str(PROGRAM), road, str(seed), str(counters)]
    with open(counters, "r+b") as file:
        counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
    with open(directory / "stderr", "w+") as errors:
        process = subprocess.Popen(
            arguments, cwd=directory, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        closed = None
        if road in ("sigterm", "sigkill", *STUCK):
            for line in process.stdout:
                if line.endswith("ready\n"):
                    break
            closed = counts.tolist()[1::3]
            if road in STUCK:
                flusher = stop_flusher(process.pid)
            if road == "sigkill":
                time.sleep(0.5)  # ten intervals
            if road == "stuck disk":
                process.send_signal(signal.SIGINT)
            else:
                process.send_signal(signal.SIGKILL if road == "sigkill" else signal.SIGTERM)
        if road in STUCK:
            os.waitpid(flusher, WAIT_FOR_ALL)  # a tracer has to, before others can
        process.communicate(timeout=30)
        errors.seek(0)
        said = errors.read()
    if road == "stuck disk":
        assert process.returncode == -signal.SIGINT, said
    else:
        assert process.returncode == RETURN_CODES[road], said
    assert "Fatal" not in said
    begun, last, promised = (counts.tolist()[field::3] for field in range(3))
    if closed is None:
        closed = [p if p >= 0 else n for n, p in zip(last, promised, strict=True)]
    return closed, begun


def check_end(road, seed, directory):
    closed, begun = end_by(road, seed, directory)
    if road in STUCK:
        return
    spans, marks = recorded(directory / ".cirron" / "spool")
    assert set(spans.values()) <= {1}, "written twice"
    assert set(marks.values()) <= {1}, "written twice"
    for thread in range(THREADS):
        name = f"thread{thread}"
        sure = closed[thread]
        there = {index for of, index in spans if of == name}
        assert there >= set(range(sure)), f"{sure - len(there)} lost of {name}"
        assert there <= set(range(begun[thread]))
        assert {value for of, value in marks if of == name} == there


@pytest.mark.timeout(900)
def test_every_road_out_loses_nothing_and_repeats_nothing(tmp_path):
    count = rounds(36)
    roads = [road for road in RETURN_CODES if road not in STUCK]
    first = random.randrange(10**6)
    print("first seed:", first)  # shown when it fails

    def run(number):
        road = roads[number % len(roads)]
        try:
            check_end(road, first + number, tmp_path / str(number))
        except AssertionError as error:
            raise AssertionError(f"by {road}, seed {first + number}: {error}") from error

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(count)))


@pytest.mark.parametrize("road", STUCK)
def test_a_disk_that_never_answers_holds_up_no_end(road, tmp_path):
    """The program's own threads end by themselves; ours waits for ever and is left behind."""
    started = time.monotonic()
    end_by(road, 1, tmp_path / "run")
    assert time.monotonic() - started < 20  # ours are two of them


def test_a_program_that_embeds_python_and_exits_without_ending_it_loses_nothing():
    run_script("""
    import ctypes
    import cirron as ci
    ci.profile(flush_interval=3600)
    with ci.scope("work"): pass
    ctypes.CDLL(None).exit(0)
    """)
    spans = {s["name"]: s for b in spool_batches() for s in b["spans"]}
    assert set(spans) == {"work", "cirron.session"}
    assert all(span["end_ns"] is not None for span in spans.values())


def test_an_end_beside_a_shutdown_in_a_daemon_thread_loses_nothing():
    run_script("""
    import ctypes, threading, time
    import cirron as ci
    from cirron import _core
    ci.profile(flush_interval=3600)
    _core.before_fork(30.0)  # nothing is written meanwhile
    for _ in range(200):
        with ci.scope("work", text="x" * 20000): pass
    threading.Thread(target=ci.shutdown, daemon=True).start()
    while _core.session_id() is not None: time.sleep(0.0005)
    ctypes.CDLL(None).exit(0)
    """)
    spans = Counter(s["name"] for b in spool_batches() for s in b["spans"])
    assert spans == {"work": 200, "cirron.session": 2}


def test_a_shutdown_while_python_is_ending_says_nothing():
    result = run_script("""
    import cirron as ci
    class Owner:
        def __init__(self, profiler): self.profiler, self.cycle = profiler, self
        def __del__(self): self.profiler.shutdown()
    owner = Owner(ci.profile())
    with ci.scope("work"): pass
    """)
    assert result.stderr == ""
    assert Counter(s["name"] for b in spool_batches() for s in b["spans"])["work"] == 1
