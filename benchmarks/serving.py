"""Requests: a server under load, the decorator itself, and thousands at once.

`make bench-serving`. The load is Debian's `wrk` against FastAPI under one uvicorn worker;
its requests are then looked for on the disk, every one.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import serving_calls
from hot_paths import Figure
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from volume import run

ROUNDS = 9
SECONDS = 2
CONNECTIONS = 64
ENDPOINTS = ("bare", "decorated", "scopes")

_MANY = """
import asyncio, contextlib, gc, json, statistics, time
import cirron as ci
N, SCOPES, ROUNDS = 5000, 10, 7
def rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096
def nested(scope):
    async def serve():
        with contextlib.ExitStack() as stack:
            for _ in range(SCOPES):
                stack.enter_context(scope("work"))
            await asyncio.sleep(0.05)
    return serve
async def all_at_once(serve):
    await asyncio.gather(*(serve() for _ in range(N)))
def seconds(serve):
    start = time.perf_counter()
    asyncio.run(all_at_once(serve))
    return time.perf_counter() - start
bare = nested(lambda name: contextlib.nullcontext())
served = ci.inference(nested(ci.scope))
ci.profile()
seconds(bare), seconds(served), seconds(served)  # the trace buffer is full from here on
ci.flush()
before = rss()
pairs = [(seconds(bare), seconds(served)) for _ in range(ROUNDS)]
ci.flush()
health = ci.health()
gc.collect()
print(json.dumps({
    "bare": statistics.median(b for b, _ in pairs),
    "served": statistics.median(s for _, s in pairs),
    "missing": (ROUNDS + 2) * N * (SCOPES + 1) - health["span_count"],
    "dropped": health["scope_drop_count"] + health["spool_dropped_records"],
    "grown_mib": (rss() - before) / 2**20, "requests": N, "spans": N * (SCOPES + 1)}))
"""


@contextlib.contextmanager
def server(folder: str) -> Iterator[tuple[str, int]]:
    """The app under one uvicorn worker; gives its address and process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # By its port: on a socket that is handed over, asyncio sets no TCP_NODELAY, and the load
    # waits for the kernel's delayed acknowledgements instead of for the server.
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "serving_app:app", "--workers", "1"),
            *("--port", str(port), "--no-access-log", "--log-level", "warning"),
            *("--app-dir", str(Path(__file__).parent)),
        ],
        cwd=folder,
    )
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise
            time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(30)


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used, the flusher's included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(url: str, pid: int) -> tuple[float, float]:
    """(requests a second that `wrk` gets over kept connections, CPU us of the server for one)."""
    before = cpu_seconds(pid)
    output = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"the server failed:\n{output}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    requests = int(re.search(r"(\d+) requests in", output)[1])
    return rate, (cpu_seconds(pid) - before) / requests * 1e6


def get(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url, timeout=60) as response:
        return dict(json.load(response))


def served_and_recorded(spool: Path) -> tuple[int, int, int]:
    """(requests with scopes, those whose tree or marks are not exactly theirs, all requests)."""
    parents: dict[str, str] = {}
    names: dict[str, str] = {}
    numbers: dict[str, list[int]] = {}
    for file in spool.glob("*.json"):
        batch = json.loads(file.read_bytes())
        for span in batch["spans"]:
            parents[span["id"]], names[span["id"]] = span["parent_id"], span["name"]
        for mark in batch["marks"]:
            if mark["name"] == "number":
                numbers.setdefault(mark["span_id"], []).append(mark["value"])

    def request_of(span: str) -> str:
        while names[span] != "request":
            span = parents[span]
        return span

    below: dict[str, list[str]] = {}
    marked: dict[str, list[int]] = {}
    for span in names:
        if names[span] in ("preprocess", "tokenize", "model"):
            request = request_of(span)
            below.setdefault(request, []).append(names[span])
            marked.setdefault(request, []).extend(numbers.get(span, []))
    uses = Counter(n for found in marked.values() for n in set(found))
    wrong = sum(
        sorted(below[r]) != ["model", "preprocess", "tokenize"]
        or len(marked[r]) != 3
        or len(set(marked[r])) != 1
        or uses[marked[r][0]] != 1
        for r in below
    )
    requests = sum(name == "request" for name in names.values())
    return len(below), wrong, requests


def under_load() -> list[Figure]:
    """The throughput of each endpoint, in rounds that take turns."""
    rates: dict[str, list[float]] = {name: [] for name in ENDPOINTS}
    cpu: dict[str, list[float]] = {name: [] for name in ENDPOINTS}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        with server(folder) as (url, pid):
            for name in ENDPOINTS:
                load(f"{url}/{name}", pid)  # warms up
            for turn in range(ROUNDS):
                for name in ENDPOINTS if turn % 2 else reversed(ENDPOINTS):
                    rate, us = load(f"{url}/{name}", pid)
                    rates[name].append(rate)
                    cpu[name].append(us)
                    counts = get(f"{url}/flush")
        spool = Path(folder, ".cirron", "spool")
        with_scopes, wrong, requests = served_and_recorded(spool)
    rows = []
    for name, what, reach in (
        ("bare", "bare endpoint", "-"),
        ("decorated", "decorated, nothing inside", "-"),
        ("scopes", "decorated, three scopes and five marks", "0.98"),
    ):
        ratios = [ours / base for ours, base in zip(rates[name], rates["bare"], strict=True)]
        rate = statistics.median(rates[name])
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}" if name != "bare" else "-"
        ratio = f"{statistics.median(ratios):.3f} ({spread})"
        us = f"{statistics.median(cpu[name]):.0f} us"
        rows.append((what, f"{rate:,.0f} requests/s", us, ratio, reach))
    missing = counts["spans"] - requests - 3 * with_scopes
    rows.append(("requests with scopes on disk", f"{with_scopes:,}", "-", f"{wrong} mixed", "0"))
    rows.append(
        ("spans counted and not on disk", f"{missing:,}", "-", f"{counts['dropped']} dropped", "0")
    )
    return rows


def many_at_once() -> list[Figure]:
    measured = run(_MANY)
    requests = int(measured["requests"])
    added = measured["served"] - measured["bare"]
    return [
        (
            f"{requests:,} at once, {measured['spans']:,.0f} spans",
            f"{measured['served'] * 1e3:.0f} ms",
            f"{measured['bare'] * 1e3:.0f} ms",
            f"{added / requests * 1e6:.1f} us a request",
            "-",
        ),
        (
            "the same: missing, dropped",
            f"{measured['missing']:.0f}, {measured['dropped']:.0f}",
            "-",
            "-",
            "none",
        ),
        ("the same, seven times: memory kept", f"{measured['grown_mib']:.0f} MiB", "-", "-", "-"),
    ]


def table(title: str, columns: tuple[str, ...], rows: list[Figure]) -> Table:
    made = Table(*columns, title=title, title_justify="left")
    for row in rows:
        made.add_row(*row)
    return made


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing; install it with: sudo apt-get install wrk")
    console = Console(width=None if sys.stdout.isatty() else 120)
    parts: tuple[tuple[str, tuple[str, ...], Callable[[], list[Figure]]], ...] = (
        ("Calls", ("case", "ours", "bare", "floors over bare", "reach"), serving_calls.figures),
        ("Thousands at once", ("case", "ours", "bare", "added", "reach"), many_at_once),
        (
            f"Under load: uvicorn, FastAPI, {CONNECTIONS} connections",
            ("endpoint", "ours", "server's CPU, a request", "of the bare throughput", "reach"),
            under_load,
        ),
    )
    for title, columns, figures in parts:
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as shown:
            shown.add_task(f"measuring {title.lower()} ...", total=None)
            rows = figures()
        console.print(table(title, columns, rows))
    console.print(
        f"CPython {platform.python_version()}, {os.cpu_count()} cores, Linux {platform.release()}. "
        f"The load: {ROUNDS} rounds of {SECONDS} s an endpoint, in turns; medians, and in "
        "parentheses the least and the greatest ratio of a round."
    )


if __name__ == "__main__":
    main()
