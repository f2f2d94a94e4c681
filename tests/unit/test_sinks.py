"""Outputs "log" and "stdout": a line for each closed span."""

import io
import logging
import re
import sys
import threading
import time

import pytest
from support import run_script, spool_batches

import cirron as ci


@pytest.fixture
def lines(caplog):
    """The messages on the logger `cirron.trace` so far."""
    caplog.set_level(logging.INFO, logger="cirron.trace")
    return lambda: [
        r.getMessage()
        for r in caplog.records
        if r.name == "cirron.trace" and r.levelno == logging.INFO
    ]


def names(lines):
    return [line.split(" - ")[0] for line in lines]


def test_log_gets_a_line_for_each_closed_span(lines):
    with ci.profile(output="log", flush_interval=3600):
        for epoch in ci.epochs(range(2)):
            with ci.scope("step"):
                ci.mark("loss", 0.61237)
            ci.mark("n", epoch)
        ci.flush()
        assert names(lines()) == ["step", "epoch[0]", "step", "epoch[1]"]
        assert lines()[0].endswith("s {loss=0.6124}")
    assert names(lines())[4:] == ["cirron.session"]


def test_stdout_gets_the_same_line(capsys):
    with ci.profile(output="stdout", flush_interval=3600):
        with ci.scope("a", 3):
            ci.mark("x", 1)
        assert ci.flush()
        out = capsys.readouterr().out
    assert re.fullmatch(r"a\[3\] - [\d.]+(us|ms|s) \{x=1\}\n", out)


def test_lines_come_by_themselves(lines):
    with ci.profile(output="log", flush_interval=0.01):
        with ci.scope("a"):
            pass
        deadline = time.monotonic() + 10
        while "a" not in names(lines()) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert names(lines()) == ["a"]


def test_trace_drains_into_the_sinks(lines):
    with ci.profile(output="log", flush_interval=3600):
        with ci.scope("a"):
            pass
        ci.trace(format="dict")
        assert names(lines()) == ["a"]


def test_outputs_can_be_combined(lines, capsys):
    with ci.profile(output=["spool", "log", "stdout"], flush_interval=3600), ci.scope("a"):
        pass
    assert names(lines()) == ["a", "cirron.session"]
    assert names(capsys.readouterr().out.splitlines()) == ["a", "cirron.session"]
    assert sorted(s["name"] for b in spool_batches() for s in b["spans"] if s["end_ns"]) == [
        "a", "cirron.session",
    ]  # fmt: skip


@pytest.mark.parametrize("output", ["spool", "none"])
def test_without_sinks_there_is_no_python_thread(output):
    before = threading.active_count()
    with ci.profile(output=output):
        assert threading.active_count() == before


def test_sink_thread_ends_with_the_session():
    before = threading.active_count()
    with ci.profile(output="log"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_earlier_spans_belong_to_no_sink_of_the_next_session(lines):
    with ci.profile(output="none"), ci.scope("old"):
        pass
    with ci.profile(output="log"), ci.scope("new"):
        pass
    assert names(lines()) == ["new", "cirron.session"]


def test_many_spans_lose_no_line(lines):
    with ci.profile(output="log", flush_interval=0.005):
        threads = [
            threading.Thread(
                target=lambda: [ci.scope("w", i).__enter__().__exit__() for i in range(2000)]
            )
            for _ in range(4)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert ci.flush()
    counted = names(lines())
    assert len(counted) == 8001
    assert all(counted.count(f"w[{i}]") == 4 for i in range(0, 2000, 97))


def test_raising_handler_is_switched_off_with_one_warning(caplog, capsys):
    class Broken(logging.Handler):
        calls = 0

        def emit(self, record):
            Broken.calls += 1
            raise RuntimeError("handler is broken")

    logger = logging.getLogger("cirron.trace")
    handler = Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with ci.profile(output=["log", "stdout"], flush_interval=3600):
            for _ in range(3):
                with ci.scope("a"):
                    pass
                assert ci.flush()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert Broken.calls == 1
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "handler is broken" in warnings[0]
    assert names(capsys.readouterr().out.splitlines()) == ["a", "a", "a", "cirron.session"]


def test_closed_stdout_is_switched_off_with_one_warning(monkeypatch, caplog):
    closed = io.StringIO()
    closed.close()
    with ci.profile(output="stdout", flush_interval=3600):
        monkeypatch.setattr(sys, "stdout", closed)
        for _ in range(2):
            with ci.scope("a"):
                pass
            assert ci.flush()
        monkeypatch.undo()
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_slow_handler_holds_flush_up_for_two_seconds_at_most():
    class Slow(logging.Handler):
        def emit(self, record):
            release.wait(30)

    release = threading.Event()
    logger = logging.getLogger("cirron.trace")
    handler = Slow()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with ci.profile(output="log", flush_interval=3600):
            with ci.scope("a"):
                pass
            started = time.monotonic()
            assert ci.flush() is False
            assert 1.5 < time.monotonic() - started < 4
            release.set()
            assert ci.flush() is True
    finally:
        release.set()
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_handler_may_flush_and_shut_down():
    run_script("""
    import logging
    import cirron as ci
    class Handler(logging.Handler):
        def emit(self, record):
            ci.flush()
            ci.health()
            ci.shutdown()
    logger = logging.getLogger("cirron.trace")
    logger.addHandler(Handler())
    logger.setLevel(logging.INFO)
    ci.profile(output="log", flush_interval=0.01)
    with ci.scope("a"): pass
    import time
    deadline = time.monotonic() + 10
    while ci.health()["enabled"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not ci.health()["enabled"]
    """)


def test_exit_writes_the_last_lines_also_to_files_that_logging_closes():
    result = run_script("""
    import cirron as ci
    import logging
    logging.basicConfig(filename="trace.log", filemode="w", level="INFO", format="%(message)s")
    ci.profile(output=["log", "stdout"], flush_interval=3600)
    with ci.scope("a"): pass
    """)
    assert names(result.stdout.splitlines()) == ["a", "cirron.session"]
    with open("trace.log") as file:
        assert file.read().startswith("a - ")


def test_forked_child_has_sinks_of_its_own():
    result = run_script("""
    import os, sys
    import cirron as ci
    ci.profile(output="stdout", flush_interval=3600)
    with ci.scope("parent"): pass
    ci.flush()
    pid = os.fork()
    if pid == 0:
        with ci.scope("child"): pass
        assert ci.flush()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    """)
    assert names(result.stdout.splitlines()) == ["parent", "child", "cirron.session"]


@pytest.mark.parametrize("output", ["log", "stdout"])
def test_a_sink_that_is_a_greenlet_lets_the_others_run(output):
    pytest.importorskip("gevent")
    result = run_script(
        """
        from gevent import monkey
        monkey.patch_all()
        import logging, os, sys, time
        import cirron as ci
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        with ci.profile(output=sys.argv[1], flush_interval=0.01):
            for i in range(3):
                with ci.scope("a", i): time.sleep(0.02)
            assert ci.flush()
            pid = os.fork()
            with ci.scope("child" if pid == 0 else "parent"): pass
            if pid == 0:
                ci.flush()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        """,
        output,
    )
    lines = names(result.stdout.splitlines())
    assert lines == ["a[0]", "a[1]", "a[2]", "child", "parent", "cirron.session"]
