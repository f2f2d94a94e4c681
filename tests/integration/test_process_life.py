"""Exit, signals and forks: nothing lost that was closed, nothing written twice, no hang."""

import multiprocessing
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support import run_script, spool_batches

import cirron as ci


def spans_on_disk(directory=".cirron/spool"):
    """Spans by id, the closed record winning."""
    spans = {}
    for batch in spool_batches(directory):
        for span in batch["spans"]:
            if spans.get(span["id"], {}).get("end_ns") is None:
                spans[span["id"]] = span
    return list(spans.values())


def names():
    return sorted(s["name"] for s in spans_on_disk())


def assert_session_is_closed():
    (root,) = [s for s in spans_on_disk() if s["name"] == "cirron.session"]
    assert root["end_ns"] > root["start_ns"]


@pytest.mark.parametrize(
    ("ending", "returncode"),
    [
        ("pass", 0),
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('boom')", 1),
        ("import threading; threading.Thread(target=lambda: None).start()", 0),
        (
            "import threading, time\n"
            "def forever():\n"
            "    while True:\n"
            "        with ci.scope('daemon'): pass\n"
            "threading.Thread(target=forever, daemon=True).start(); time.sleep(0.05)",
            0,
        ),
    ],
)
def test_every_road_out_closes_and_flushes(ending, returncode):
    script = "import cirron as ci\nci.profile()\nwith ci.scope('work'): pass\n" + ending
    result = run_script(script, check=False)
    assert result.returncode == returncode
    assert "work" in names()
    assert_session_is_closed()


def test_spans_closed_by_exit_handlers_are_written():
    run_script("""
    import atexit
    import cirron as ci
    def late():
        with ci.scope("in_atexit"): pass
    atexit.register(late)
    ci.profile()
    """)
    assert "in_atexit" in names()
    assert_session_is_closed()


def test_exit_that_is_cut_short_after_the_session_has_closed_loses_nothing():
    """A worker that ends by itself may get its supervisor's SIGTERM while Python ends."""
    run_script("""
    import atexit, glob, os, time
    def cut_short():
        deadline = time.monotonic() + 30
        while not glob.glob(".cirron/spool/*.json") and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(0)
    atexit.register(cut_short)  # before ours, so called after it
    import cirron as ci
    ci.profile(flush_interval=3600)
    with ci.scope("work"): pass
    """)
    assert "work" in names()
    assert_session_is_closed()


def start(script, *args):
    code = "import cirron as ci, time, os, sys, signal\n" + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize(
    "busy",
    [
        "time.sleep(60)",
        "import hashlib; hashlib.pbkdf2_hmac('sha256', b'x', b'y', 50_000_000)",
        "\nwhile True:\n    with ci.scope('spin'): pass",
    ],
)
def test_sigterm_flushes_and_kills_as_it_would_have(busy):
    process = start(f"""
ci.profile(flush_interval=3600)
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
for i in range(1000):
    with ci.scope("work"): pass
print("ready", flush=True)
{busy}
""")
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    assert names().count("work") == 1000
    assert_session_is_closed()


def test_sigterm_raised_again_by_a_server_that_gave_the_default_back_flushes():
    """As uvicorn does: it handles the signal, restores what was there, and dies of it."""
    process = start("""
caught = []
before = signal.signal(signal.SIGTERM, lambda *args: caught.append(args))
ci.profile(flush_interval=3600)
with ci.scope("work"): pass
print("ready", flush=True)
while not caught: time.sleep(0.01)
with ci.scope("last_work"): pass
signal.signal(signal.SIGTERM, before)
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
signal.raise_signal(signal.SIGTERM)
time.sleep(60)
""")
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    assert {"work", "last_work"} <= set(names())
    assert_session_is_closed()


def test_signal_is_pythons_own_again_after_the_session():
    before = signal.signal
    with ci.profile():
        assert signal.signal.__name__ == "signal"
        for _ in range(2):
            assert signal.signal(signal.SIGTERM, signal.SIG_DFL) == signal.SIG_DFL
        with pytest.raises(TypeError):
            signal.signal(signal.SIGTERM, None)
    assert signal.signal is before


def test_sigterm_with_a_handler_of_the_users_is_left_alone():
    process = start("""
def handler(*args):
    print("mine", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, handler)
ci.profile()
with ci.scope("work"): pass
print("ready", flush=True)
time.sleep(60)
""")
    process.stdout.readline()
    process.terminate()
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (7, b"mine\n")
    assert "work" in names()


def test_keyboard_interrupt_unwinds_normally():
    process = start("""
ci.profile()
try:
    with ci.scope("interrupted"):
        print("ready", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    with ci.scope("cleanup"): pass
""")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
    (span,) = [s for s in spans_on_disk() if s["name"] == "interrupted"]
    assert span["attrs"] == {"error": "KeyboardInterrupt"}
    assert "cleanup" in names()


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_hard_end_loses_at_most_the_last_interval(ending):
    process = start(f"""
ci.profile(flush_interval=0.1)
for i in range(100):
    with ci.scope("early"): pass
time.sleep(0.6)
with ci.scope("late"): pass
{ending}
""")
    process.communicate(timeout=10)
    assert names().count("early") == 100


def test_forked_child_keeps_parent_and_session_and_writes_only_its_own():
    run_script("""
    import os
    import cirron as ci
    ci.profile(flush_interval=3600)
    with ci.scope("before"): pass
    with ci.scope("across") as across:
        pid = os.fork()
        with ci.scope("child" if pid == 0 else "parent") as s:
            ci.mark("pid", os.getpid())
        assert s.parent_id == across.id
        if pid == 0:
            health = ci.health()
            assert health["scope_depth"] == 1
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
    """)
    assert names() == ["across", "before", "child", "cirron.session", "parent"]
    spans = {s["name"]: s for s in spans_on_disk()}
    assert spans["child"]["pid"] != spans["parent"]["pid"] == spans["across"]["pid"]
    assert_session_is_closed()
    ids = [m["id"] for b in spool_batches() for m in b["marks"]]
    assert len(set(ids)) == 2


def test_a_hundred_forks_while_four_threads_record():
    run_script("""
    import os, threading, time
    import cirron as ci
    ci.profile(flush_interval=0.05)
    stop = threading.Event()
    counts = [0] * 4
    def record(n):
        while not stop.is_set():
            with ci.scope("thread"): counts[n] += 1
            time.sleep(0.0002)
    threads = [threading.Thread(target=record, args=(n,)) for n in range(4)]
    for t in threads: t.start()
    for _ in range(100):
        pid = os.fork()
        if pid == 0:
            for i in range(10):
                with ci.scope("child"): ci.mark("i", i)
            done = ci.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    stop.set()
    for t in threads: t.join()
    assert ci.health()["scope_drop_count"] == 0
    with ci.scope("total", count=sum(counts)): pass
    """)
    spans = spans_on_disk()
    total = next(s["attrs"]["count"] for s in spans if s["name"] == "total")
    assert sum(s["name"] == "child" for s in spans) == 1000
    assert sum(s["name"] == "thread" for s in spans) == total
    marks = [m["id"] for b in spool_batches() for m in b["marks"]]
    assert len(marks) == len(set(marks)) == 1000


def test_fork_made_in_c_is_seen():
    run_script("""
    import ctypes, os
    import cirron as ci
    ci.profile(flush_interval=3600)
    with ci.scope("before"): pass
    pid = ctypes.CDLL(None).fork()
    if pid == 0:
        with ci.scope("child"): pass
        ci.flush()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    """)
    assert names() == ["before", "child", "cirron.session"]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing_children_flush_for_themselves(method, tmp_path):
    (tmp_path / "job.py").write_text(
        textwrap.dedent("""
        import multiprocessing, sys
        import cirron as ci
        def work(n):
            ci.profile(flush_interval=3600)  # a spawned child has a session of its own
            with ci.scope("job", n): pass
            return n
        if __name__ == "__main__":
            import logging
            logging.disable(logging.WARNING)  # the forked child has its parent's session
            ci.profile(flush_interval=3600)
            context = multiprocessing.get_context(sys.argv[1])
            process = context.Process(target=work, args=(0,))
            process.start(); process.join()
            assert process.exitcode == 0
            with context.Pool(2) as pool:
                assert pool.map(work, range(1, 9)) == list(range(1, 9))
                pool.close(); pool.join()
        """)
    )
    result = subprocess.run(
        [sys.executable, "job.py", method], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    jobs = [s["index"] for s in spans_on_disk() if s["name"] == "job"]
    assert sorted(jobs) == list(range(9))


def test_terminated_multiprocessing_child_flushes():
    run_script("""
    import multiprocessing, time
    import cirron as ci
    ci.profile(flush_interval=3600)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    def work():
        with ci.scope("child"): pass
        ready.set()
        time.sleep(60)
    process = context.Process(target=work)
    process.start()
    ready.wait()
    process.terminate(); process.join()
    assert process.exitcode == -15
    with ci.scope("parent"): pass
    """)
    assert names() == ["child", "cirron.session", "parent"]
    assert_session_is_closed()


def test_signal_for_a_silent_child_does_not_flush_its_parent():
    run_script("""
    import os, signal, time
    import cirron as ci
    ci.profile(flush_interval=3600)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    time.sleep(0.1)
    os.kill(pid, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
    time.sleep(0.3)
    with ci.scope("parent_lives"): pass
    """)
    assert "parent_lives" in names()


def test_program_that_closes_all_files_goes_on_recording():
    """As a daemon does; what it opens next gets the numbers of what was closed."""
    run_script("""
    import os
    import cirron as ci
    ci.profile(flush_interval=3600)
    ci.flush()
    os.closerange(3, 256)
    with open("mine", "w"):
        with ci.scope("daemon"): pass
        assert ci.flush()
    assert os.path.getsize("mine") == 0
    """)
    assert names() == ["cirron.session", "daemon"]


def test_exit_is_not_held_up_by_a_stuck_disk(tmp_path):
    """A fifo in place of the directory: opening blocks nobody, and exit is bounded."""
    started = time.monotonic()
    process = start("""
ci.profile(path="/proc/self/does/not/exist")
with ci.scope("work"): pass
""")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Traceback" not in err
    assert time.monotonic() - started < 15


def test_ten_thousand_short_threads_leave_memory_flat():
    result = run_script("""
    import threading
    import cirron as ci
    def rss():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * 4096
    def work():
        with ci.scope("short"): ci.mark("x", 1.0)
    def run(n):
        for _ in range(n):
            t = threading.Thread(target=work); t.start(); t.join()
    ci.profile(output="none", flush_interval=0.2)
    run(2000)
    ci.flush()
    before = rss()
    run(10000)
    ci.flush()
    print((rss() - before) // 1024)
    assert ci.health()["span_count"] == 12000
    """)
    assert int(result.stdout) < 8 * 1024  # the trace buffer itself grows by 10,000 spans


def test_sigterm_after_the_session_kills_at_once():
    process = start("""
ci.profile()
ci.shutdown()
print("ready", flush=True)
time.sleep(60)
""")
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=1.5)  # the patience with a stuck disk is two seconds
    assert process.returncode == -signal.SIGTERM
