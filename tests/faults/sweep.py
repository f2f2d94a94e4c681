"""Fails every call in turn that the extension makes, and looks at what becomes of a program.

For each kind of call (memory, write, ...) the scenario runs with its first call failing,
with its second, and so on, until a run in which that call no longer comes. After each the
interpreter must have ended by itself, nothing may have been raised where nothing may, and
what was recorded must be on the disk or counted as dropped. `make faults` runs it;
tests/integration/test_faults.py runs some of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
KINDS = (
    "memory",
    "python",
    "thread",
    "lock",
    "map",
    "mkdir",
    "open",
    "write",
    "short-write",
    "interrupted-write",
    "close",
    "rename",
    "unlink",
    "stat",
    "read",
    "entropy",
    "signal",
)
MANY = {"memory", "python", "entropy"}
# No system interrupts every write for ever; and CPython 3.11 itself crashes when it has no
# memory twice in ContextVar.set, whose token it does not check.
ONE_ONLY = {"interrupted-write", "python"}
TIMEOUT_S = 60
ROOT_RECORDS = 2  # the session's root span, open and closed
MARKS_OF_A_REQUEST = 7

# What reads may tell of a failure; what records raises nothing.
READING = {"trace", "read", "export"}
READ_ERRORS = {"MemoryError", "OSError", "CirronError"}


@dataclass
class Run:
    """One run of the scenario: which call failed, and what is wrong with the outcome."""

    kind: str
    nth: int
    failed: list[str]  # the calls that failed, as the shim names them
    wrong: list[str] = field(default_factory=list)
    stored: int = 0
    dropped: int = 0
    dropped_spans: int = 0
    counted: int = 0  # spans and marks that health() says were produced
    started: bool = False


def build(directory: Path) -> Path:
    """Compiles the shim."""
    shim = directory / "shim.so"
    compiler = os.environ.get("CC", "cc")
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, HERE / "shim.c", "-o", shim, "-ldl"], check=True)
    return shim


def run(shim: Path, kind: str, nth: int, every_later: bool = False) -> Run:
    """Runs the scenario once; `nth` 0 fails nothing."""
    with tempfile.TemporaryDirectory(prefix="cirron-faults-") as name:
        directory = Path(name)
        env = {k: v for k, v in os.environ.items() if not k.startswith("CIRRON_")}
        env |= {
            "HOME": name,
            "LD_PRELOAD": str(shim),
            "CIRRON_FAULT_KIND": kind,
            "CIRRON_FAULT_NTH": str(nth),
            "CIRRON_FAULT_LOG": str(directory / "log"),
        }
        if every_later:
            env["CIRRON_FAULT_ALL"] = "1"
        command = [sys.executable, str(HERE / "scenario.py"), str(directory / "report")]
        try:
            ended = subprocess.run(
                command, env=env, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return Run(kind, nth, _lines(directory / "log"), ["it hangs"])
        result = Run(kind, nth, _lines(directory / "log"))
        if ended.returncode != 0:
            result.wrong.append(f"exit status {ended.returncode}: {ended.stderr[-800:]}")
        elif "Traceback" in ended.stderr or "Exception ignored" in ended.stderr:
            result.wrong.append(f"on stderr: {ended.stderr[-800:]}")
        else:
            _check_reports(result, [json.loads(line) for line in _lines(directory / "report")])
            _count_stored(result, directory / ".cirron" / "spool")
        return result


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _check_reports(result: Run, reports: list[dict]) -> None:
    if any("refused" in report for report in reports):
        return  # the import said that it can't be: nothing was started
    if reports[-1:] == [] or reports[-1]["role"] != "parent":
        result.wrong.append("no report was made")
        return
    result.started = all(report["started"] for report in reports)
    for report in reports:
        for what, error in report["raised"]:
            allowed = what in READING and error in READ_ERRORS
            if not allowed and not (result.kind == "python" and error == "MemoryError"):
                result.wrong.append(f"{what} raised {error} in the {report['role']}")
        health = report["health"]
        if health is None:  # Python had no memory for the answer
            result.started = False
            return
        result.counted += health["span_count"] + health["mark_count"]
        result.dropped_spans += health["scope_drop_count"]
        result.dropped += sum(
            health[name]
            for name in ("scope_drop_count", "mark_drop_count", "spool_dropped_records")
        )


def _count_stored(result: Run, spool: Path) -> None:
    for file in sorted(spool.glob("*.json")):
        batch = json.loads(file.read_bytes())
        result.stored += len(batch["spans"]) + len(batch["marks"])


def check(shim: Path, kind: str, nth: int, produced: int, every_later: bool = False) -> Run:
    """As `run`; what the clean run stored must be stored or dropped here."""
    result = run(shim, kind, nth, every_later)
    if result.wrong or not result.started:
        return result
    found = result.stored + result.dropped
    became = f"{result.stored} stored + {result.dropped} dropped"
    if found != result.counted + ROOT_RECORDS:
        result.wrong.append(f"{result.counted} records by health() became {became}")
    # A request that is dropped is given none of its own marks.
    if not 0 <= produced - found <= result.dropped_spans * MARKS_OF_A_REQUEST and kind != "python":
        result.wrong.append(f"{produced} records became {became}")
    return result


def sweep(
    shim: Path, kind: str, produced: int, stride: int = 1, every_later: bool = False
) -> Iterator[Run]:
    """Yields the runs of a kind, up to the one in which its call no longer comes."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        nth = 1
        while True:
            numbers = range(nth, nth + workers * stride, stride)
            runs = list(pool.map(lambda n: check(shim, kind, n, produced, every_later), numbers))
            yield from runs
            if any(not run.failed for run in runs):
                return
            nth = numbers[-1] + stride


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--stride", type=int, default=1, help="fail each n-th call only")
    arguments = parser.parse_args()
    wrong: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="cirron-shim-") as name:
        shim = build(Path(name))
        for kind in arguments.kinds:
            started = time.monotonic()
            clean = run(shim, kind, 0)
            if clean.wrong:
                print(f"{kind}: the run in which nothing fails is wrong: {clean.wrong}")
                return 1
            produced = clean.stored + clean.dropped
            for every_later in (False,) if kind in ONE_ONLY else (False, True):
                # Where calls are many, all from the n-th on fail for some n only.
                stride = arguments.stride * (7 if every_later and kind in MANY else 1)
                count = 0
                bad = []
                mode = "and all later" if every_later else ""
                for each in sweep(shim, kind, produced, stride, every_later):
                    count += len(each.failed) > 0
                    bad += [each] if each.wrong else []
                    print(f"\r{kind:18} {mode:14} {count:5} failed", end="", flush=True)
                seconds = time.monotonic() - started
                print(f"\r{kind:18} {mode:14} {count:5} runs {len(bad):4} wrong {seconds:6.1f} s")
                for each in bad[:20]:
                    print(f"    call {each.nth} ({', '.join(each.failed[:3])}):", *each.wrong)
                wrong += bad
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
