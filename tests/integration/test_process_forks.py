"""Forks, by every road: a quiet log, a child that works, records that nobody repeats."""

import time

import pytest
from support import rounds, run_script, spool_batches


def closed_spans(directory=".cirron/spool"):
    """Every closed span on disk, as often as it is written."""
    return [s for b in spool_batches(directory) for s in b["spans"] if s["end_ns"] is not None]


def counted(name):
    """The indices of the spans of a name, in order, as often as they are written."""
    return sorted(s["index"] for s in closed_spans() if s["name"] == name)


@pytest.mark.parametrize("output", ['"spool"', '"log"', '["spool", "stdout"]', '"none"'])
def test_a_fork_warns_of_no_thread_of_ours(output):
    """Python 3.12 warns when the process that forks has other threads, and counts them before
    the hooks that run after a fork; 3.13 after them."""
    result = run_script(
        f"""
        import multiprocessing, os, subprocess, warnings
        import cirron as ci
        warnings.simplefilter("error")
        def hook():
            for i in range(1000): sum([i])
        os.register_at_fork(after_in_parent=hook)
        ci.profile(output={output}, flush_interval=0.001)
        for i in range(20):
            with ci.scope("work"): pass
            pid = os.fork()
            if pid == 0: os._exit(0)
            os.waitpid(pid, 0)
        pid, terminal = os.forkpty()
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
        os.close(terminal)
        subprocess.run(["true"], check=True, preexec_fn=int)
        process = multiprocessing.get_context("fork").Process(target=int)
        process.start(); process.join()
        assert process.exitcode == 0
        with ci.scope("after"): pass
        assert ci.flush()
        assert ci.health()["flush_mode"] == "normal"
        """
    )
    assert "Warning" not in result.stderr


@pytest.mark.timeout(900)
@pytest.mark.parametrize("forks", ["fork()", "in_thread(fork)"])
def test_the_flusher_is_back_though_the_main_thread_waits_after_a_fork(forks):
    run_script(
        f"""
        import os, threading, time, warnings
        from pathlib import Path
        import cirron as ci
        warnings.simplefilter("ignore", DeprecationWarning)
        tasks = Path(f"/proc/{{os.getpid()}}/task")
        def comes_back():
            for _ in range(1000):
                names = [(task / "comm").read_text() for task in tasks.iterdir()]
                if "cirron-flusher\\n" in names: return 0
                time.sleep(0.01)
            return 1
        def fork():
            pid = os.fork()
            if pid == 0: os._exit(comes_back())
            statuses.append(os.waitpid(pid, 0)[1])
        def in_thread(function):
            thread = threading.Thread(target=function)
            thread.start()
            thread.join()
        statuses = []
        ci.profile()
        {forks}
        assert statuses == [0]
        """
    )


@pytest.mark.timeout(900)
def test_forks_while_four_threads_record():
    """A child ends by os._exit after a flush, or returns as the parent does."""
    forks = rounds(60)
    result = run_script(
        """
        import os, random, sys, threading, time
        import cirron as ci
        forks, seed = int(sys.argv[1]), random.randrange(10**6)
        print("seed", seed, flush=True)
        chance = random.Random(seed)
        ci.profile(flush_interval=0.02)
        stop = threading.Event()
        counts = [0] * 4
        def record(thread):
            while not stop.is_set():
                with ci.scope(f"thread{thread}", counts[thread]): ci.mark("m", counts[thread])
                counts[thread] += 1
                time.sleep(0.0002)
        def look():
            while not stop.is_set():
                ci.flush()
                ci.trace(format="dict", last=10)
                time.sleep(0.005)
        threads = [threading.Thread(target=record, args=(n,), daemon=True) for n in range(4)]
        threads.append(threading.Thread(target=look, daemon=True))
        for t in threads: t.start()
        def work(child, generations):
            for i in range(10):
                with ci.scope("child", 10 * child + i): ci.mark("m", i)
            if generations and os.fork() == 0:  # nobody waits for it here
                work(child + 1, generations - 1)
                assert ci.flush()
                os._exit(0)
        number = 0
        for _ in range(forks):
            generations = chance.choice([0, 0, 0, 1, 2])
            by_exit = chance.random() < 0.5
            with ci.scope("fork"):
                pid = os.fork()
                if pid == 0:
                    stop.set()
                    work(number, generations)
            if pid == 0:
                if by_exit:
                    assert ci.flush()
                    assert ci.health()["span_count"] == 10, ci.health()
                    os._exit(0)
                sys.exit(0)
            number += 1 + generations
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for t in threads: t.join()
        with ci.scope("total", children=number, threads=counts): pass
        assert ci.health()["scope_drop_count"] == ci.health()["mark_drop_count"] == 0
        """,
        str(forks),
        timeout=800,
    )
    seed = result.stdout.splitlines()[0]
    (total,) = [s["attrs"] for s in closed_spans() if s["name"] == "total"]
    deadline = time.monotonic() + 10  # grandchildren may take a moment
    while len(counted("child")) < 10 * total["children"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert counted("child") == list(range(10 * total["children"])), seed
    for thread, count in enumerate(total["threads"]):
        assert counted(f"thread{thread}") == list(range(count)), seed
    assert sum(s["name"] == "fork" for s in closed_spans()) == forks, seed
    marks = [m["id"] for b in spool_batches() for m in b["marks"]]
    assert len(marks) == len(set(marks)) == 10 * total["children"] + sum(total["threads"]), seed


def test_forks_beside_a_first_profile_leave_children_that_can_profile():
    """No child meets a lock, of ours or of an import, that a thread held at the fork."""
    delays_us = range(0, 6000, 6000 // rounds(12, 200))
    for delay_us in delays_us:
        run_script(
            """
            import os, sys, threading, time
            import cirron as ci
            thread = threading.Thread(target=ci.profile)
            thread.start()
            time.sleep(int(sys.argv[1]) / 1e6)
            pid = os.fork()
            if pid == 0:
                import logging
                logging.disable(logging.WARNING)  # it may have its parent's session
                ci.profile()
                with ci.scope("child"): pass
                os._exit(0 if ci.flush() else 1)
            thread.join()
            assert os.waitpid(pid, 0)[1] == 0
            """,
            str(delay_us),
            timeout=20,
        )
    assert sum(s["name"] == "child" for s in closed_spans()) == len(delays_us)


def test_sigterm_beside_forks_loses_nothing():
    """The signal may come while the flusher's thread is away for a fork."""
    for _ in range(rounds(5, 50)):
        run_script(
            """
            import os, random, signal, sys, threading, time
            import cirron as ci
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                ci.profile(flush_interval=3600)
                with ci.scope("sure"): pass
                os.write(write, b"x")
                while True:
                    child = os.fork()
                    if child == 0: os._exit(0)
                    os.waitpid(child, 0)
            os.read(read, 1)
            time.sleep(random.random() / 50)
            os.kill(pid, signal.SIGTERM)
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
            """
        )
    names = [s["name"] for s in closed_spans()]
    assert names.count("sure") == names.count("cirron.session") == rounds(5, 50)


@pytest.mark.parametrize("step", ["before", "after_in_parent", "after_in_child"])
@pytest.mark.parametrize("output", ["spool", "stdout"])
def test_what_a_signal_handler_raises_in_a_hook_of_a_fork_reaches_the_program(step, output):
    """CPython prints what a hook of a fork raises, and the hook is left half done."""
    run_script(
        """
        import ctypes, functools, os, signal, sys, threading
        class Stop(BaseException): pass
        def stop(*_):
            raise Stop
        def signal_comes():  # a C function, so that it is handled in the hook that follows
            send = functools.partial(ctypes.CDLL(None)["raise"], int(signal.SIGUSR1))
            os.register_at_fork(**{sys.argv[1]: send})
        signal.signal(signal.SIGUSR1, stop)
        if sys.argv[1] != "before": signal_comes()
        import cirron as ci
        if sys.argv[1] == "before": signal_comes()
        ci.profile(output=sys.argv[2])
        parent, stopped = os.getpid(), False
        try:
            pid = os.fork()
        except Stop:
            stopped = True
        if os.getpid() != parent:
            assert stopped == (sys.argv[1] == "after_in_child")
        else:
            assert stopped == (sys.argv[1] != "after_in_child")
            assert os.wait()[1] == 0
        with ci.scope("child" if os.getpid() != parent else "parent"): pass
        assert ci.flush()
        assert ci.health()["flush_mode"] == "normal"
        thread = threading.Thread(target=ci.shutdown, daemon=True)  # the lock is free
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        """,
        step,
        output,
    )
    if output == "spool":
        assert sorted(s["name"] for s in closed_spans()) == ["child", "cirron.session", "parent"]


@pytest.mark.parametrize("output", ["spool", "stdout"])
def test_signal_handlers_that_raise_beside_forks_are_heard(output):
    run_script(
        """
        import os, signal, sys, traceback
        import cirron as ci
        class Stop(BaseException): pass
        armed, swallowed = False, []
        def stop(*_):
            global armed
            if armed:
                armed = False
                raise Stop
        def note(unraisable):
            global armed
            frames = traceback.extract_tb(unraisable.exc_traceback)
            ours = any(os.sep + "cirron" + os.sep in frame.filename for frame in frames)
            if ours or "fork_hook" in repr(unraisable.object):  # Python's own callbacks do as well
                swallowed.append(unraisable)
            armed = True
        def fork_until_stopped():
            while True:
                pid = os.fork()
                if pid == 0: os._exit(0)
                os.waitpid(pid, 0)
        sys.unraisablehook = note
        signal.signal(signal.SIGALRM, stop)
        ci.profile(output=sys.argv[2])
        for i in range(int(sys.argv[1])):
            signal.setitimer(signal.ITIMER_REAL, 0.001 + i % 30 * 0.0001, 0.005)
            try:
                armed = True
                fork_until_stopped()
            except Stop:
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert swallowed == []
        assert ci.flush()
        assert ci.health()["flush_mode"] == "normal"
        """,
        str(rounds(30)),
        output,
        timeout=600,
    )


def test_forks_leave_memory_and_files_flat():
    result = run_script(
        """
        import os
        import cirron as ci
        def rss():
            with open("/proc/self/statm") as f:
                return int(f.read().split()[1]) * 4096
        def run(n):
            for _ in range(n):
                with ci.scope("work"): pass
                pid = os.fork()
                if pid == 0: os._exit(0)
                os.waitpid(pid, 0)
        ci.profile(output="none", flush_interval=0.01)
        run(200)
        memory, files = rss(), len(os.listdir("/proc/self/fd"))
        run(1000)
        assert len(os.listdir("/proc/self/fd")) == files
        print((rss() - memory) // 1024)
        """
    )
    assert int(result.stdout) < 2048


def test_a_childs_overhead_is_its_own():
    run_script(
        """
        import os
        import cirron as ci
        ci.profile(output="none")
        for _ in range(1000):
            with ci.scope("work"): pass
        parents = ci.health()["overhead_ns"]
        pid = os.fork()
        if pid == 0:
            with ci.scope("child"): pass
            assert 0 < ci.health()["overhead_ns"] < parents / 100
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert ci.health()["overhead_ns"] >= parents
        """
    )


def test_lines_go_on_after_a_fork():
    result = run_script(
        """
        import os
        import cirron as ci
        ci.profile(output="stdout", flush_interval=0.001)
        for i in range(50):
            with ci.scope("parent", i): pass
            pid = os.fork()
            if pid == 0:
                with ci.scope("child", i): pass
                ci.flush()
                os._exit(0)
            os.waitpid(pid, 0)
        """
    )
    for name in ("parent", "child"):
        lines = [line.split(" - ")[0] for line in result.stdout.splitlines()]
        assert [line for line in lines if line.startswith(name)] == [
            f"{name}[{i}]" for i in range(50)
        ]
