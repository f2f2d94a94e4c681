"""profile, flush, shutdown, health: one session at a time, and nobody is hurt."""

import logging
import os
import signal
import threading
from pathlib import Path

import pytest
from support import flushed_spans, run_script, spool_batches

import cirron as ci

HEALTH_KEYS = {
    "enabled", "frameworks_installed", "transport", "scope_depth", "scope_drop_count",
    "mark_drop_count", "spool_drop_count", "spool_dir", "spool_bytes", "flush_latency_ns",
    "flush_mode", "span_count", "mark_count", "overhead_ns", "hook_errors",
    "trace_evicted_count", "spool_dropped_records", "snapshot_count", "snapshot_drop_count",
    "snapshot_skip_count",
}  # fmt: skip


def test_session_is_the_parent_and_lands_in_the_default_spool(tmp_path):
    with ci.profile():
        with ci.scope("work") as work:
            pass
        assert ci.health()["spool_dir"] == str(tmp_path / ".cirron" / "spool")
    spans = {s["name"]: s for s in flushed_spans()}
    assert work.parent_id == spans["cirron.session"]["id"]
    assert spans["cirron.session"]["end_ns"] >= work.end_ns
    assert spans["cirron.session"]["attrs"]["pid"] == os.getpid()


def test_relative_path_is_resolved_at_profile(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    with ci.profile(path="traces"):
        monkeypatch.chdir(tmp_path / "elsewhere")
        with ci.scope("work"):
            pass
    assert spool_batches(tmp_path / "traces" / "spool")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_profile_in_a_directory_that_is_gone_is_survived(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with ci.profile(), ci.scope("work"):
        pass


def test_second_profile_warns_and_returns_the_running_one(caplog):
    with ci.profile(output="none") as first:
        assert ci.profile(output="stdout") is first
        assert ci.Cirron().profile() is first
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 2


def test_shutdown_is_idempotent_and_a_new_session_can_start():
    profiler = ci.profile()
    with ci.scope("one"):
        pass
    ci.shutdown()
    ci.shutdown()
    profiler.shutdown()
    with ci.profile(), ci.scope("two"):
        pass
    roots = [s for s in flushed_spans() if s["name"] == "cirron.session"]
    assert len(roots) == 2
    assert all(root["end_ns"] for root in roots)


def test_profiler_of_an_ended_session_does_not_end_the_next():
    old = ci.profile(output="none")
    assert old.enabled
    old.shutdown()
    assert not old.enabled
    with ci.profile(output="none") as new:
        old.shutdown()
        assert new.enabled
        assert ci.health()["enabled"]


def test_with_statement_ends_the_session_when_the_block_raises():
    with pytest.raises(KeyError), ci.profile(output="none"):
        raise KeyError
    assert not ci.health()["enabled"]


def test_health_has_the_documented_fields_at_any_time():
    before = ci.health()
    with ci.profile(flush_interval=3600) as profiler:
        with ci.scope("a"):
            ci.mark("x", 1)
            during = ci.health()
        ci.flush()
        flushed = profiler.health()
    after = ci.health()
    for health in (before, during, flushed, after):
        assert set(health) == HEALTH_KEYS
        assert health["transport"] == "file_only"
    assert [h["enabled"] for h in (before, during, flushed, after)] == [False, True, True, False]
    assert [h["flush_mode"] for h in (before, during, flushed, after)] == [
        "stopped", "normal", "normal", "stopped",
    ]  # fmt: skip
    assert (during["scope_depth"], flushed["scope_depth"]) == (1, 0)
    assert (flushed["span_count"], flushed["mark_count"]) == (1, 1)
    assert flushed["spool_bytes"] == sum(
        f.stat().st_size for f in Path(".cirron/spool").iterdir()
    ) or (flushed["spool_bytes"] > 0)
    assert flushed["flush_latency_ns"] > 0
    assert flushed["overhead_ns"] > 0


def test_counts_start_anew_with_each_session():
    with ci.profile(output="none"):
        for _ in range(3):
            with ci.scope("a"):
                ci.mark("x", 1)
    with ci.profile(output="none"):
        health = ci.health()
    assert (health["span_count"], health["mark_count"]) == (0, 0)


def test_disabled_profiler_records_nothing_and_starts_nothing():
    run_script("""
    import os, threading
    import cirron as ci
    tasks = len(os.listdir("/proc/self/task"))
    profiler = ci.profile(enabled=False)
    assert profiler.enabled is False
    with ci.scope("a"):
        ci.mark("x", 1)
    assert profiler.trace("dict") == {"roots": [], "span_count": 0}
    assert len(os.listdir("/proc/self/task")) == tasks
    assert ci.health()["enabled"] is False
    assert not os.path.exists(".cirron")
    assert ci.flush()
    """)


def test_environment_can_disable(monkeypatch):
    monkeypatch.setenv("CIRRON_ENABLED", "no")
    with ci.profile() as profiler:
        assert profiler.enabled is False
    assert not Path(".cirron").exists()


def test_disabled_profiler_gives_way_to_the_next():
    ci.profile(enabled=False)
    with ci.profile(output="none") as profiler:
        assert profiler.enabled
        with ci.scope("a"):
            pass
        assert ci.trace(format="dict")["span_count"] == 1


def test_counts_of_a_disabled_profiler_are_not_the_last_sessions():
    with ci.profile(output="none"), ci.scope("a"):
        ci.mark("x", 1)
    with ci.profile(enabled=False), ci.scope("unseen"):
        health = ci.health()
    counts = ("span_count", "mark_count", "overhead_ns", "trace_evicted_count")
    assert [health[count] for count in counts] == [0, 0, 0, 0]


def test_shutdown_ends_being_disabled():
    with ci.profile(enabled=False), ci.scope("unseen"):
        pass
    with ci.scope("seen"):
        pass
    assert ci.trace(format="dict", name="seen")["span_count"] == 1
    assert ci.trace(format="dict", name="unseen")["span_count"] == 0


def test_what_was_recorded_before_profile_is_written():
    run_script("""
    import cirron as ci
    with ci.scope("early"): pass
    ci.profile()
    """)
    assert "early" in [s["name"] for b in spool_batches() for s in b["spans"]]


def test_flush_puts_what_was_recorded_on_disk():
    with ci.profile(flush_interval=3600):
        for i in range(10):
            with ci.scope("a", i):
                pass
            assert ci.flush() is True
            assert i in [s["index"] for b in spool_batches() for s in b["spans"]]


def test_what_others_record_while_profile_measures_its_costs_is_kept():
    run_script("""
    import gc, threading
    import cirron as ci
    class Cycle:
        def __del__(self):
            thread = threading.Thread(target=record)
            thread.start()
            thread.join()
    def record():
        with ci.scope("finalizer"): pass
    gc.disable()
    cycle = Cycle()
    cycle.me = cycle
    del cycle
    gc.set_threshold(1)  # collects at the next chance
    gc.enable()
    ci._core.start_session(
        spool_dir=None, spool_max_bytes=1, flush_interval=1.0, trace_buffer_max_spans=10,
        cpu_time=True, rank=0, attrs={},
    )
    gc.collect()
    ci.flush()
    assert ci._core.read_trace().strings("name") == ["finalizer"]
    """)


def test_profile_inside_64_scopes_measures_its_costs_and_drops_nothing():
    result = run_script("""
    import contextlib
    import cirron as ci
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(ci.scope("deep"))
        ci.profile(output="none")
    assert ci.health()["overhead_ns"] > 0
    assert ci.health()["scope_drop_count"] == 0
    ci.flush()
    """)
    assert result.stderr == ""


def test_flush_without_a_session_is_quiet():
    assert ci.flush() is True
    assert not Path(".cirron").exists()


def test_threads_may_profile_and_shut_down_at_once():
    logging.getLogger("cirron").setLevel(logging.ERROR)
    errors = []

    def work(n):
        try:
            for _ in range(10):
                profiler = ci.profile(output="none" if n % 2 else "stdout")
                with ci.scope("a"):
                    ci.mark("x", n)
                ci.health()
                (profiler.shutdown if n % 3 else ci.shutdown)()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
    finally:
        logging.getLogger("cirron").setLevel(logging.NOTSET)
    assert errors == []
    assert not any(t.is_alive() for t in threads)
    ci.shutdown()
    assert not ci.health()["enabled"]


def test_signal_handler_may_call_everything():
    run_script("""
    import os, signal
    import cirron as ci
    def handler(*_):
        ci.flush(); ci.health(); ci.trace("dict"); ci.shutdown(); ci.profile(output="none")
    signal.signal(signal.SIGUSR1, handler)
    for _ in range(20):
        ci.profile(output="none")
        os.kill(os.getpid(), signal.SIGUSR1)
        with ci.scope("a"): pass
        ci.shutdown()
    """)


def test_ctrl_c_in_a_shutdown_ends_the_session():
    profiler = ci.profile()
    patched = {"fast", "slow"}
    interruptions = [signal.SIGINT]

    def take_out_slowly():
        if interruptions:
            signal.raise_signal(interruptions.pop())
        patched.discard("slow")

    profiler._hooks.put("fast", lambda: lambda: patched.discard("fast"))
    profiler._hooks.put("slow", lambda: take_out_slowly)
    with ci.scope("first"):
        pass
    with pytest.raises(KeyboardInterrupt):
        ci.shutdown()
    assert not ci.health()["enabled"]
    assert not patched
    with ci.profile(), ci.scope("second"):
        pass
    spans = flushed_spans()
    assert {"first", "second"} < {s["name"] for s in spans}
    assert all(s["end_ns"] is not None for s in spans)


def test_sigterm_keeps_looking_like_the_default():
    with ci.profile(output="none"):
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_fork_while_another_thread_starts_and_ends_sessions():
    run_script("""
    import os, threading, logging
    import cirron as ci
    logging.disable(logging.WARNING)
    ci.profile(output="none"); ci.shutdown()  # imports, whose locks a fork does not free
    stop = threading.Event()
    def churn():
        while not stop.is_set():
            ci.profile(output="none"); ci.shutdown()
    thread = threading.Thread(target=churn, daemon=True)
    thread.start()
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            import signal
            signal.alarm(20)  # a lock that stays taken would hang us
            ci.profile(output="none")
            with ci.scope("child"): pass
            ci.flush()
            ci.shutdown()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    stop.set()
    thread.join()
    """)


def test_import_loads_only_what_recording_needs():
    run_script("""
    import sys
    before = set(sys.modules)
    import cirron
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    heavy = {"logging", "typing", "dataclasses", "inspect", "json", "tomllib", "multiprocessing",
             "numpy", "pandas", "click", "rich"}
    assert not loaded & heavy, loaded & heavy
    """)


def test_public_names_are_all_there():
    assert all(hasattr(ci, name) for name in ci.__all__)
    assert ci.scope is ci.Cirron.scope
    assert ci.mark is ci.Cirron.mark
