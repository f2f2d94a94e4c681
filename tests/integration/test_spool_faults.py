"""A disk that refuses, a folder that goes, a cap: nothing raised, nothing uncounted."""

import logging
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support import run_script, spool_batches

import cirron as ci


def records_on_disk(directory=".cirron/spool"):
    """Closed spans without the root, and marks."""
    batches = spool_batches(directory)
    spans = {s["id"] for b in batches for s in b["spans"] if s["parent_id"] is not None}
    marks = {m["id"] for b in batches for m in b["marks"]}
    return len(spans) + len(marks)


def dropped(health):
    return health["scope_drop_count"] + health["mark_drop_count"] + health["spool_dropped_records"]


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 2 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_full_disk_is_one_warning_and_everything_is_kept_or_counted(small_disk, caplog):
    produced = 30_000
    with caplog.at_level(logging.WARNING, logger="cirron"):
        profiler = ci.profile(path=small_disk / "traces", flush_interval=0.05)
        for i in range(produced):
            with ci.scope("work", i, text="x" * 20):
                pass
        profiler.flush()
        with ci.scope("after"):
            pass
        health = ci.health()
        assert health["flush_mode"] == "degraded"
        # room again: what waited is written on the next tick
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        assert profiler.flush()
        health = ci.health()
        assert health["flush_mode"] == "normal"
        profiler.shutdown()
    assert records_on_disk(small_disk / "traces" / "spool") + dropped(health) == produced + 1
    assert dropped(health) == 0
    assert len([r for r in caplog.records if "can't be written" in r.getMessage()]) == 1


def test_what_waits_for_the_disk_is_bounded_and_counted():
    """A file stands where the folder should be: nothing can ever be written."""
    Path("blocked").write_text("a file")
    profiler = ci.profile(path="blocked", flush_interval=0.05)
    produced = 250_000
    for i in range(produced):
        with ci.scope("work", i, text="x" * 300):
            pass
        if i % 5000 == 0:
            profiler.flush()
    profiler.flush()
    health = ci.health()
    assert health["span_count"] == produced
    assert health["spool_drop_count"] > 0
    assert 0 < health["spool_dropped_records"] < produced
    started = time.monotonic()
    profiler.shutdown()
    assert time.monotonic() - started < 5


def test_read_only_directory_is_survived():
    """Root may write anywhere, so a read-only mount stands for the permission."""
    result = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if result.returncode != 0:
        pytest.skip("needs the right to unshare mounts")
    Path("ro").mkdir()
    script = """
    import logging
    import cirron as ci
    logging.basicConfig()
    profiler = ci.profile(path="ro/traces", flush_interval=0.05)
    with ci.scope("work"): pass
    ci.flush()
    with ci.scope("more"): pass
    print(ci.health()["flush_mode"], len(ci.trace(format="dict")["roots"]))
    """
    run = run_script(
        script,
        wrapper=[
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount --bind ro ro && mount -o remount,ro,bind ro && exec "$@"',
            "sh",
        ],
    )
    assert run.stdout.split() == ["degraded", "2"]
    assert run.stderr.count("can't be written (Read-only file system)") == 1
    assert "Traceback" not in run.stderr


def test_directory_removed_while_running_is_made_again():
    stop = threading.Event()

    def remove():
        while not stop.wait(0.1):
            shutil.rmtree(".cirron", ignore_errors=True)

    remover = threading.Thread(target=remove)
    remover.start()
    profiler = ci.profile(flush_interval=0.02)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        with ci.scope("work"):
            pass
    stop.set()
    remover.join()
    with ci.scope("last"):
        pass
    assert profiler.flush()
    names = [s["name"] for b in spool_batches() for s in b["spans"]]
    assert "last" in names
    assert ci.health()["spool_drop_count"] == 0


def test_cap_drops_the_oldest_files_and_counts_their_records():
    cap = 3 * 1024 * 1024
    profiler = ci.profile(config={"spool_max_bytes": cap}, flush_interval=3600)
    produced = 40_000
    for i in range(produced):
        with ci.scope("work", i):
            pass
    profiler.flush()
    health = ci.health()
    files = sorted(Path(".cirron/spool").glob("*.json"))
    size = sum(f.stat().st_size for f in files)
    assert size <= cap
    assert health["spool_bytes"] == size
    assert health["spool_drop_count"] > 0
    assert records_on_disk() + health["spool_dropped_records"] == produced + root_dropped()
    indices = [s["index"] for b in spool_batches() for s in b["spans"] if s["name"] == "work"]
    assert indices == list(range(min(indices), produced))


def root_dropped():
    """1 when the file with the open root of the session was among the dropped."""
    return int(all(s["name"] != "cirron.session" for b in spool_batches() for s in b["spans"]))


def test_two_processes_share_one_spool():
    script = """
    import cirron as ci
    ci.profile(flush_interval=0.01)
    for i in range(20000):
        with ci.scope("work", i): pass
    """
    threads = [threading.Thread(target=run_script, args=(script,)) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    spans = [s for b in spool_batches() for s in b["spans"]]
    by_pid = {}
    for s in spans:
        if s["name"] == "work":
            by_pid.setdefault(s["pid"], []).append(s["index"])
    assert [sorted(v) for v in by_pid.values()] == [list(range(20000))] * 2
    roots = {s["id"] for s in spans if s["name"] == "cirron.session"}
    assert len(roots) == 2
    assert {s["parent_id"] for s in spans if s["name"] == "work"} == roots


def test_idle_session_writes_no_files():
    with ci.profile(flush_interval=0.005):
        ci.flush()
        before = sorted(Path(".cirron/spool").iterdir())
        time.sleep(0.1)
        assert sorted(Path(".cirron/spool").iterdir()) == before


def test_files_are_about_a_mebibyte_and_named_in_order():
    with ci.profile(flush_interval=3600) as profiler:
        for i in range(20_000):
            with ci.scope("work", i):
                pass
        profiler.flush()
        files = sorted(Path(".cirron/spool").glob("*.json"))
    sizes = [f.stat().st_size for f in files]
    assert len(files) > 5
    assert all(2**20 <= s < 2**20 + 2**16 for s in sizes[:-1])
    created = [b["created_ns"] for b in spool_batches()]
    assert created == sorted(set(created))
    assert [int(f.name[:20]) for f in files] == created[: len(files)]


def test_million_spans_in_a_loop_are_all_stored_or_counted():
    with ci.profile(flush_interval=0.2) as profiler:
        scope = ci.scope
        for i in range(1_000_000):
            with scope("work", i):
                pass
        profiler.flush()
        health = ci.health()
    assert health["span_count"] == 1_000_000
    on_disk = 0
    for name in os.listdir(".cirron/spool"):
        on_disk += Path(".cirron/spool", name).read_bytes().count(b'"name":"work"')
    assert on_disk + dropped(health) == 1_000_000
