"""Whole runs in processes of their own: a million records, the flusher, import, read-back."""

import json
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

from hot_paths import Figure

_SPANS = """
import json, resource, sys, time
import cirron as ci
def rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096
N = 1_000_000
before = rss()
ci.profile()
scope = ci.scope
peak = 0
start = time.perf_counter()
for i in range(N):
    with scope("work"):
        pass
    if not i % 20_000:
        peak = max(peak, rss())
seconds = time.perf_counter() - start
ci.flush()
peak = max(peak, rss())
health = ci.health()
ci.shutdown()
print(json.dumps({"seconds": seconds, "added_mib": (peak - before) / 2**20,
                  "dropped": health["scope_drop_count"] + health["spool_dropped_records"]}))
"""

_MARKS = """
import json, time
import cirron as ci
N = 1_000_000
ci.profile()
with ci.scope("open"):
    mark = ci.mark
    start = time.perf_counter()
    for i in range(N):
        mark("loss", 0.5)
    seconds = time.perf_counter() - start
ci.flush()
health = ci.health()
ci.shutdown()
print(json.dumps({"seconds": seconds, "produced": health["mark_count"],
                  "dropped": health["mark_drop_count"] + health["spool_dropped_records"]}))
"""

_FLUSHER = """
import glob, json, os, time
import cirron as ci
def flusher_ns():
    for stat in glob.glob("/proc/self/task/*/schedstat"):
        with open(stat.replace("schedstat", "comm")) as f:
            if f.read().startswith("cirron"):
                with open(stat) as s:
                    return int(s.read().split()[0])
N = 200_000
ci.profile()
time.sleep(0.1)
before = flusher_ns()
scope = ci.scope
for i in range(N):
    with scope("work"):
        pass
ci.flush()
ours = (flusher_ns() - before) / N
# The floor: the same bytes, written to the same disk, and nothing else.
files = [open(path, "rb").read() for path in glob.glob(".cirron/spool/*.json")]
before = time.thread_time_ns()
for i, data in enumerate(files):
    fd = os.open(f"floor{i}.tmp", os.O_CREAT | os.O_WRONLY)
    os.write(fd, data)
    os.close(fd)
    os.rename(f"floor{i}.tmp", f"floor{i}")
floor = (time.thread_time_ns() - before) / N
print(json.dumps({"ns": ours, "floor": floor}))
"""

_FRAME = """
import json, time, statistics
import pandas, cirron as ci
ci.profile(output="none")
for i in range(100_000):
    with ci.scope("work", i):
        pass
ci.flush()
times = []
for _ in range(5):
    start = time.perf_counter()
    frame = ci.trace(format="df")
    times.append(time.perf_counter() - start)
assert len(frame) == 100_000
print(json.dumps({"ms": statistics.median(times) * 1e3}))
"""


def run(script: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
        )
    return dict(json.loads(result.stdout))


def _import_ms() -> Figure:
    def milliseconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tempfile.gettempdir())
        return (time.perf_counter() - start) * 1e3

    bare, ours = [], []
    for _ in range(15):
        bare.append(milliseconds("pass"))
        ours.append(milliseconds("import cirron"))
    base = statistics.median(bare)
    added = statistics.median(ours) - base
    return (
        "import cirron, added",
        f"{added:.1f} ms",
        f"{base:.1f} ms",
        f"{added / base:.2f}",
        "15 ms",
    )


def figures() -> list[Figure]:
    spans, marks, flusher = run(_SPANS), run(_MARKS), run(_FLUSHER)
    rate = 1e6 / spans["seconds"]
    kept = marks["produced"] - marks["dropped"]
    return [
        (
            "1,000,000 spans in a loop: dropped",
            f"{spans['dropped']:,.0f}",
            "-",
            f"{rate:,.0f} spans/s",
            "none below 1,000,000 spans/s",
        ),
        ("the same: memory added", f"{spans['added_mib']:.0f} MiB", "-", "-", "150 MiB"),
        (
            "1,000,000 marks in one span",
            f"{marks['seconds']:.3f} s",
            "-",
            f"{kept:,.0f} kept, {marks['dropped']:,.0f} counted",
            "0.15 s",
        ),
        (
            "flusher, file included, a span",
            f"{flusher['ns']:.0f} ns",
            f"{flusher['floor']:.0f} ns",
            f"{flusher['ns'] / flusher['floor']:.2f}",
            "300 ns",
        ),
        ("trace(format='df') of 100,000", f"{run(_FRAME)['ms']:.0f} ms", "-", "-", "100 ms"),
        _import_ms(),
    ]
