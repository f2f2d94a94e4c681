"""Snapshots from `ci.watch` to the command line, through full and stuck disks, signals,
forks and ends of processes."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from snapshot_support import epoch, net, records, watch_nothing
from support import run_script, spool_batches

import cirron as ci

torch = pytest.importorskip("torch")

TRAINING = """
import logging, os, sys
import torch
import cirron as ci
logging.basicConfig(format="%(message)s")
torch.manual_seed(0)
model = ci.watch(torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(),
                                     torch.nn.Linear(32, 4)))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
def step():
    optimizer.zero_grad()
    model(torch.randn(8, 16)).square().mean().backward()
    optimizer.step()
"""


@pytest.fixture(autouse=True)
def nothing_watched():
    watch_nothing()


def cirron(*args):
    done = subprocess.run(
        [sys.executable, "-m", "cirron", "traces", *args],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(end="*"):
    return sorted(str(path) for path in Path(".cirron/snapshots").glob(f"*/{end}"))


def with_file():
    return [record for record in records() if record["blob_uri"]]


# ---- read back


@pytest.mark.parametrize(("mode", "with_blob"), [("stats", 0), ("sampled", 8), ("full", 8)])
def test_training_run_is_read_back_by_the_command_line(mode, with_blob):
    run_script(
        TRAINING
        + f"""
ci.profile(snapshots={mode!r}, sample_rate=1)
for epoch in ci.epochs(range(3)):
    for batch in ci.batches(range(2)):
        step()
torch.save([dict(model.state_dict()), {{n: p.grad for n, p in model.named_parameters()}}], "end.pt")
"""
    )
    listed = cirron("snapshots")
    rows = re.findall(r"│ (\S+)…? +│ epoch\[(\d)\] │ +(\d+) │ (\w+) +│ +(\d+) │", listed)
    assert [row[1:] for row in rows] == [(str(i), "8", mode, str(with_blob)) for i in range(3)]
    span_id = rows[-1][0]
    shown = json.loads(cirron("snapshot", span_id, "2.weight.grad", "--json"))
    weights, gradients = torch.load("end.pt")
    assert shown["record"]["stats"]["max"] == gradients["2.weight"].max().item()
    if with_blob:
        from safetensors.torch import load_file

        folder = Path(".cirron/snapshots") / shown["record"]["blob_uri"].split("/")[-2]
        assert all(
            torch.equal(tensor, weights[name])
            for name, tensor in load_file(folder / "weights.safetensors").items()
        )
        first = cirron("snapshot", span_id, "0.bias", "--preview", "3")
        assert f"first 3: [{weights['0.bias'][0].item():.4f}"[:15] in first
    else:
        assert not Path(".cirron/snapshots").exists()


def test_keras_models_are_read_back_under_their_own_names():
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs keras")
    run_script(
        """
        import keras
        import cirron as ci
        model = keras.Sequential([keras.layers.Dense(2, name="d")], name="s")
        model.build((None, 3))
        ci.watch(model)
        ci.profile(snapshots="full")
        for epoch in ci.epochs(range(1)):
            pass
        """,
        KERAS_BACKEND="torch",
    )
    found = {record["tensor_name"]: record for record in records()}
    assert list(found) == ["s/d/kernel", "s/d/bias"]
    assert found["s/d/kernel"]["shape"] == [3, 2]
    assert all(record["blob_uri"] and record["stats"] for record in found.values())


def test_clear_takes_the_files_with_the_session_also_half_ones():
    ci.watch(model := net())
    with ci.profile(snapshots="full"):
        epoch()
    (file,) = files()
    Path(f"{file}.tmp").write_bytes(b"half")
    cirron("clear", "--yes")
    assert files() == []
    del model


# ---- ends of processes


def test_what_an_exit_finds_unwritten_is_written():
    run_script(
        TRAINING
        + """
ci.profile(snapshots="full", flush_interval=3600)
step()
for epoch in ci.epochs(range(20)):
    pass
"""
    )
    assert len(with_file()) == len(records()) == 20 * 8
    assert len(files("*.safetensors")) == len(files()) == 40


def test_sigterm_loses_no_statistics():
    done = run_script(
        TRAINING
        + """
ci.profile(flush_interval=3600)
for epoch in ci.epochs(range(5)):
    pass
os.kill(os.getpid(), 15)
import time
time.sleep(60)
""",
        check=False,
    )
    assert done.returncode == -signal.SIGTERM
    assert len(records()) == 5 * 4


def test_kill_in_the_middle_of_writing_leaves_only_whole_files():
    from safetensors.torch import load_file

    script = """
import torch
import cirron as ci
model = ci.watch(torch.nn.Linear(2000, 2000, bias=False))
ci.profile(snapshots="full", flush_interval=0.01)
print("on", flush=True)
for epoch in ci.epochs(range(10**6)):
    pass
"""
    for wait in (0.15, 0.25, 0.4):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"on\n"
            time.sleep(wait)
            process.kill()
    for file in files("*.safetensors"):
        assert load_file(file)["weight"].shape == (2000, 2000)
    assert all(Path(r["blob_uri"].removeprefix("file://")).exists() for r in with_file())


def test_forked_child_takes_its_own_epochs_and_none_of_its_parent():
    run_script(
        TRAINING
        + """
ci.profile(snapshots="full", flush_interval=3600)
for epoch in ci.epochs(range(1)):
    pass
for epoch in (outer := iter(ci.epochs(range(1)))):
    if os.fork() == 0:
        del outer, epoch                       # the parent's epoch ends here too, unrecorded
        for epoch in ci.epochs(range(2)):
            pass
        ci.flush()
        os._exit(0)
    os.wait()
"""
    )
    found = records()
    assert len(found) == len(with_file())
    pids = {span["id"]: span["pid"] for batch in spool_batches() for span in batch["spans"]}
    epochs = {record["span_id"] for record in found}
    assert len(found) == 4 * 4
    owners = [pids[span_id] for span_id in epochs]
    assert sorted(owners.count(pid) for pid in set(owners)) == [2, 2]


def test_child_of_multiprocessing_writes_its_files_before_it_ends():
    Path("main.py").write_text(
        TRAINING
        + """
import multiprocessing
def work():
    for epoch in ci.epochs(range(3)):
        pass
if __name__ == "__main__":
    ci.profile(snapshots="full", flush_interval=3600)
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
"""
    )
    subprocess.run([sys.executable, "main.py"], check=True)
    assert len(records()) == len(with_file()) == 3 * 4


# ---- disks


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 1 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_full_disk_is_one_warning_and_files_come_again_when_there_is_room(small_disk, caplog):
    model = ci.watch(torch.nn.Linear(1000, 1000, bias=False))
    with ci.profile(path=small_disk, snapshots="full") as profiler:
        epoch()
        epoch()
        assert profiler.flush()
        health = profiler.health()
        assert (health["snapshot_skip_count"], health["flush_mode"]) == (2, "normal")
        assert list(small_disk.glob("snapshots/*")) == []
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        last = epoch()
    (warning,) = caplog.records
    assert "can't be written ([Errno 28] No space left on device)" in warning.getMessage()
    found = records(small_disk / "spool")
    assert [r["span_id"] for r in found if r["blob_uri"]] == [last]
    assert all(r["stats"] for r in found)
    del model


STUCK_RENAME = r"""
#define _GNU_SOURCE
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int rename(const char *from, const char *to) {
    while (strstr(from, "STUCK")) pause();
    return (int)syscall(SYS_rename, from, to);
}
"""


def stuck_disk(where):
    """A library under which nothing whose path has `where` in it is ever renamed."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    Path("stuck.c").write_text(STUCK_RENAME.replace("STUCK", where))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "stuck.so", "stuck.c"], check=True)
    return " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(Path("stuck.so").resolve())]))


@pytest.mark.parametrize("where", ["/snapshots/", "/.cirron/"])
def test_disk_that_hangs_stops_neither_training_nor_exit(where):
    done = run_script(
        TRAINING
        + """
ci.profile(snapshots="full")
for epoch in ci.epochs(range(30)):
    step()
print(ci.flush())
ci.shutdown()
ci.profile()
for epoch in ci.epochs(range(2)):
    step()
""",
        LD_PRELOAD=stuck_disk(where),
    )
    assert done.stdout == "False\n"
    if where == "/snapshots/":
        found = records()
        assert len(found) == 32 * 8
        assert not any(record["blob_uri"] for record in found)
        assert len(files("*.safetensors")) == 0


# ---- memory


def test_hundreds_of_epochs_leave_no_memory_behind():
    done = run_script(
        TRAINING
        + """
import gc
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
ci.profile(snapshots="full", flush_interval=0.05)
step()
def run(count):
    for epoch in ci.epochs(range(count)):
        model[0].extra = None
        other = ci.watch(torch.nn.Linear(300, 300), name="other")
    ci.flush()
    gc.collect()
run(100)
before = resident()
run(300)
print(resident() - before, ci.health()["snapshot_drop_count"], len(gc.garbage))
"""
    )
    grown, dropped, garbage = map(int, done.stdout.split())
    assert grown < 16 * 1024 * 1024
    assert (dropped, garbage) == (0, 0)
