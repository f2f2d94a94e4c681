"""Fails every call in turn that the extension makes, and looks at what becomes of a program.

For each kind of call (memory, write, ...) each program runs with its first call failing,
with its second, and so on, until a run in which that call no longer comes. After each the
interpreter must have ended by itself, nothing may have been raised where nothing may, and
what was recorded must be on the disk or counted as dropped. `make faults` runs it;
tests/integration/test_faults.py runs some of it.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("recording", "training")
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

# What reads may tell of a failure; what records raises nothing.
READING = {"trace", "read", "export"}
READ_ERRORS = {"MemoryError", "OSError", "CirronError"}


@dataclass
class Run:
    """One run of a program: which call failed, and what is wrong with the outcome."""

    program: str
    kind: str
    nth: int
    failed: list[str] = field(default_factory=list)  # the calls that failed, as the shim says
    wrong: list[str] = field(default_factory=list)
    stored_spans: int = 0
    stored: int = 0  # spans, marks and snapshots
    dropped_spans: int = 0
    dropped: int = 0
    counted: int = 0  # records that health() says were produced
    sections: list[list[int]] = field(default_factory=list)  # see program.py
    raised: bool = False
    started: bool = False


def build(directory: Path) -> Path:
    """Compiles the shim."""
    shim = directory / "shim.so"
    compiler = os.environ.get("CC", "cc")
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, HERE / "shim.c", "-o", shim, "-ldl"], check=True)
    return shim


def run(shim: Path, program: str, kind: str, nth: int, every_later: bool = False) -> Run:
    """Runs a program once; `nth` 0 fails nothing."""
    with tempfile.TemporaryDirectory(prefix="cirron-faults-") as name:
        directory = Path(name)
        env = {k: v for k, v in os.environ.items() if not k.startswith("CIRRON_")}
        env |= {
            "HOME": name,
            "LD_PRELOAD": str(shim),
            "OPENBLAS_NUM_THREADS": "1",
            "CIRRON_FAULT_KIND": kind,
            "CIRRON_FAULT_NTH": str(nth),
            "CIRRON_FAULT_LOG": str(directory / "log"),
        }
        if every_later:
            env["CIRRON_FAULT_ALL"] = "1"
        command = [sys.executable, str(HERE / f"{program}.py"), str(directory / "report")]
        result = Run(program, kind, nth)
        try:
            ended = subprocess.run(
                command, env=env, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            result.wrong.append("it hangs")
            return result
        finally:
            result.failed = _lines(directory / "log")
        if ended.returncode != 0:
            result.wrong.append(f"exit status {ended.returncode}: {_last_lines(ended.stderr)}")
        elif "Traceback" in ended.stderr or "Exception ignored" in ended.stderr:
            result.wrong.append(f"on stderr: {_last_lines(ended.stderr)}")
        else:
            _check_reports(result, [json.loads(line) for line in _lines(directory / "report")])
            _count_stored(result, directory / ".cirron" / "spool")
        return result


def _last_lines(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-4:])


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
            result.raised = True
            allowed = what in READING and error in READ_ERRORS
            if not allowed and not (result.kind == "python" and error == "MemoryError"):
                result.wrong.append(f"{what} raised {error} in the {report['role']}")
        health = report["health"]
        if health is None:  # Python had no memory for the answer
            result.started = False
            return
        result.sections += report["sections"]
        result.counted += sum(health[f"{name}_count"] for name in ("span", "mark", "snapshot"))
        result.dropped_spans += health["scope_drop_count"]
        result.dropped += health["spool_dropped_records"] + sum(
            health[f"{name}_drop_count"] for name in ("scope", "mark", "snapshot")
        )


def _count_stored(result: Run, spool: Path) -> None:
    for file in sorted(spool.glob("*.json")):
        batch = json.loads(file.read_bytes())
        result.stored_spans += len(batch["spans"])
        result.stored += sum(len(batch[name]) for name in ("spans", "marks", "snapshots"))


def check(shim: Path, clean: Run, nth: int, every_later: bool = False) -> Run:
    """As `run`; what the clean run stored must be stored or dropped here."""
    result = run(shim, clean.program, clean.kind, nth, every_later)
    if result.wrong or not result.started:
        return result
    found = result.stored + result.dropped
    became = f"{result.stored} stored + {result.dropped} dropped"
    if found != result.counted + ROOT_RECORDS:
        result.wrong.append(f"{result.counted} records by health() became {became}")
    if result.kind != "python":
        missing = clean.stored + clean.dropped - found
        if missing != _explained(result, clean):
            result.wrong.append(f"{clean.stored + clean.dropped} records became {became}")
    elif not result.raised:
        spans = result.stored_spans + result.dropped_spans
        if spans < clean.stored_spans:
            result.wrong.append(f"{clean.stored_spans} spans became {spans}")
    return result


def _explained(result: Run, clean: Run) -> int:
    """Returns how many records fewer than the clean run's there may be.

    A request whose span is dropped has no marks of its own, and an epoch no snapshots.
    """
    fewer = 0
    for number, (dropped, produced, discards) in enumerate(result.sections):
        usual = clean.sections[number][1]
        is_bare = dropped != 0 and produced == dropped
        has_too_many = dropped != 0 and usual < produced <= usual + discards
        if is_bare or has_too_many:
            fewer += usual - produced
    return fewer


def sweep(shim: Path, clean: Run, stride: int = 1, every_later: bool = False) -> Iterator[Run]:
    """Yields the runs of a kind, up to the one in which its call no longer comes."""
    workers = os.cpu_count() or 1
    numbers = itertools.count(1, stride)
    with ThreadPoolExecutor(workers) as pool:

        def start() -> Future[Run]:
            return pool.submit(check, shim, clean, next(numbers), every_later)

        running = deque(start() for _ in range(2 * workers))
        comes = True
        while running:
            result = running.popleft().result()
            comes = comes and result.failed != []
            if comes:
                running.append(start())
            yield result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--program", choices=PROGRAMS, help="sweep this one alone")
    parser.add_argument("--stride", type=int, default=1, help="fail each n-th call only")
    arguments = parser.parse_args()
    wrong: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="cirron-shim-") as name:
        shim = build(Path(name))
        programs = PROGRAMS if arguments.program is None else (arguments.program,)
        for program, kind in itertools.product(programs, arguments.kinds):
            started = time.monotonic()
            clean = run(shim, program, kind, 0)
            if clean.wrong or not clean.started:
                print(f"{program}, {kind}: with no failure it is wrong: {clean.wrong}")
                return 1
            for every_later in (False,) if kind in ONE_ONLY else (False, True):
                # Where calls are many, all from the n-th on fail for some n only.
                stride = arguments.stride * (7 if every_later and kind in MANY else 1)
                count = 0
                bad = []
                title = f"\r{program:10}{kind:18}{'and all later' if every_later else '':14}"
                for each in sweep(shim, clean, stride, every_later):
                    count += len(each.failed) > 0
                    bad += [each] if each.wrong else []
                    if sys.stdout.isatty():
                        print(f"{title}{count:5} runs", end="", flush=True)
                seconds = time.monotonic() - started
                print(f"{title}{count:5} runs {len(bad):4} wrong {seconds:6.1f} s", flush=True)
                for each in bad[:20]:
                    print(f"    call {each.nth} ({', '.join(each.failed[:3])}):", *each.wrong)
                wrong += bad
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
