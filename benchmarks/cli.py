"""`cirron traces` on a million spans, whole processes (`make bench-cli`).

The floor is `cat *.json > /dev/null` over the same spool in the same run. Every command is
run once to warm up, then five times in turn with the others; the median counts. Peak
memory is what the kernel says of the process.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from spool_generator import generate

_SPANS = 1_000_000
_ROUNDS = 5
_MEMORY_REACH_MIB = 350


@dataclass
class Case:
    """A command, what it may cost, and what it did."""

    name: str
    command: list[str]
    reach: str
    in_cats: bool = True
    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    failure: str = ""

    def run(self, folder: Path) -> None:
        """Runs the command once in `folder`, its output in a file there."""
        if self.failure:
            return
        for old in (folder / "out", *folder.glob("export.*")):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            start = time.perf_counter()
            process = subprocess.Popen(self.command, stdout=out, stderr=err, cwd=folder)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            lines = (folder / "err").read_text(errors="replace").strip().splitlines()
            self.failure = lines[-1] if lines else f"exit status {process.returncode}"
        self.seconds.append(seconds)
        self.peak_mib = max(self.peak_mib, usage.ru_maxrss / 1024)

    @property
    def median(self) -> float:
        """Seconds, without the first run."""
        return statistics.median(self.seconds[1:])


def _cases(spool: Path, empty: Path) -> tuple[Case, list[Case]]:
    traces = [sys.executable, "-m", "cirron", "traces"]
    there = ["--spool", str(spool)]
    cases = [
        Case("list", [*traces, "list", *there], "5 cats"),
        Case("view --depth 1", [*traces, "view", *there, "--depth", "1"], "6 cats"),
        Case("view", [*traces, "view", *there], "20 cats"),
        Case("view --json", [*traces, "view", *there, "--json"], "20 cats"),
    ]
    exports = (("csv", "12"), ("json", "12"), ("otel", "20"), ("parquet", "25"))
    for form, cats in exports:
        output = ["--format", form, "--output", f"export.{form}"]
        command = [*traces, "export", *there, *output]
        cases.append(Case(f"export --format {form}", command, f"{cats} cats"))
    listing = [*traces, "list", "--spool", str(empty)]
    cases.append(Case("--help", [*traces, "--help"], "80 ms", in_cats=False))
    cases.append(Case("list, empty spool", listing, "100 ms", in_cats=False))
    floor = Case("floor", ["sh", "-c", f"exec cat '{spool}'/*.json > /dev/null"], "")
    return floor, cases


def _memory_folder() -> str | None:
    """A folder in memory where there is room, so that no disk's writing back is measured."""
    folder = "/dev/shm"
    free = shutil.disk_usage(folder).free if os.path.isdir(folder) else 0
    return folder if free > 4 << 30 else None


def _row(case: Case, floor: Case) -> list[str]:
    if case.failure:
        return [case.name, "-", "-", "-", case.reach, case.failure]
    ratio = f"{case.median / floor.median:.1f} cats" if case.in_cats else "-"
    peak = f"{case.peak_mib:.0f} MiB" if case.in_cats else "-"
    seconds = f"{case.median * 1e3:,.0f} ms"
    return [case.name, seconds, f"{floor.median * 1e3:,.0f} ms", ratio, case.reach, peak]


def main() -> None:
    """Generates the spool, runs the cases and prints the table."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else _SPANS
    with (
        tempfile.TemporaryDirectory(dir=_memory_folder()) as path,
        Progress(
            SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True
        ) as progress,
    ):
        folder = Path(path)
        task = progress.add_task(f"writing {spans:,} spans ...", total=None)
        written = generate(folder / "spool", spans)
        floor, cases = _cases(folder / "spool", folder / "none")
        for _ in range(1 + _ROUNDS):
            for case in (floor, *cases):
                progress.update(task, description=f"measuring {case.name} ...")
                case.run(folder)
    table = Table(
        *("case", "ours", "floor", "ratio", "reach", "peak memory"),
        title=f"cirron traces, {spans:,} spans in {written / 1e6:,.0f} MB",
        title_justify="left",
    )
    for case in cases:
        table.add_row(*_row(case, floor))
    console.print(table)
    console.print(
        f"CPython {platform.python_version()}, {os.cpu_count()} cores, Linux {platform.release()}. "
        "The floor is `cat *.json > /dev/null` in the same run; medians of "
        f"{_ROUNDS} whole processes; spool and output in "
        f"{'memory' if _memory_folder() else 'the temporary folder'}. Peak memory may reach "
        f"{_MEMORY_REACH_MIB} MiB."
    )


if __name__ == "__main__":
    main()
