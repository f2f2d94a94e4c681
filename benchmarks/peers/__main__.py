"""Other profilers and ours, measured in the same run: `make bench-peers`.

`python benchmarks/peers [NAME ...]` measures those named (all), each in its own environment
under build/peers, which is made where it is missing; `--write` also writes the table into
docs/performance.md.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from profilers import FOLDER, PROFILERS, Profiler, install
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress, SpinnerColumn, TextColumn

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
MARKED = re.compile(r"(?<=<!-- bench-peers -->\n).*?(?=<!-- end of bench-peers -->)", re.DOTALL)
SECONDS = 120  # that a measurement may take
IMPORTS = 11

COLUMNS = {
    "profiler": "profiler",
    "span": "a span",
    "value": "a value",
    "memory": "memory of 1,000,000 spans",
    "stored": "of these, stored",
    "hooks": "a training step, hooked",
    "by hand": "the same, by hand",
    "import": "import",
    "killed": "stored after SIGKILL",
    "forked": "a forked child's, stored",
}

LEGEND = """\
A span is opened and closed in a loop, a value recorded in it; in brackets the floors, a
floor being `with lock:` on a `threading.Lock` in the same process (the best of many rounds).
Memory is the most that the process grew by while it recorded, and stored is what can be read
afterwards. A training step is of an MLP 32-16-4 with batch 8, SGD and a DataLoader: the CPU
time that recording adds to it until everything is stored; by hand means five spans a step.
Import is the CPU time that it adds to the interpreter's start. SIGKILL came after 3,000
spans at 1,000 a second; the forked child of `multiprocessing` recorded 1,000 and ended."""

Row = dict[str, str]


class Refused(Exception):
    """A measurement that gave no figure; says why."""


def measured(profiler: Profiler, what: str, folder: str) -> object:
    """The result of one measurement, in a process of its own.

    Raises:
        Refused: it failed or took too long.
    """
    torch = next(path for path in (FOLDER / "torch" / "lib").glob("python*/site-packages"))
    command = [profiler.python, HERE / "measure.py", profiler.name, what, folder, torch]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"took longer than {SECONDS} s") from None
    for line in result.stdout.splitlines():
        if line.startswith("RESULT"):
            return json.loads(line.removeprefix("RESULT"))
    if result.returncode == -9:
        return None
    raise Refused((result.stderr.strip().splitlines() or ["ended without a figure"])[-1])


def import_ms(profiler: Profiler) -> tuple[float, float]:
    """Median CPU time of (the import, the bare interpreter), in ms."""

    def cpu_ms(code: str) -> float:
        process = subprocess.Popen([profiler.python, "-c", code], cwd=tempfile.gettempdir())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise Refused("the import failed")
        return (usage.ru_utime + usage.ru_stime) * 1e3

    pairs = [(cpu_ms(profiler.imports), cpu_ms("pass")) for _ in range(IMPORTS + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def version(profiler: Profiler) -> str:
    package = profiler.packages[0].split("==")[0] if profiler.packages else "cirron-sdk"
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    command = [profiler.python, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cost(profiler: Profiler, folder: str, row: Row) -> None:
    for column, (ns, floor) in measured(profiler, "cost", folder).items():
        row[column] = f"{ns:,.0f} ns ({ns / floor:.3g})"


def memory(profiler: Profiler, folder: str, row: Row) -> None:
    result = measured(profiler, "memory", folder)
    row["memory"] = f"{result['bytes'] / 2**20:,.0f} MiB"
    if result["made"] < 1_000_000:
        row["memory"] += f" of {result['made']:,}"
    row["stored"] = f"{result['stored']:,}"


def training(profiler: Profiler, folder: str, row: Row) -> None:
    for column, figures in measured(profiler, "training", folder).items():
        if figures:
            more, bare = figures
            row[column] = f"{more:+.1f} us ({more / bare:+.1%})"


def imported(profiler: Profiler, folder: str, row: Row) -> None:
    with_it, bare = import_ms(profiler)
    row["import"] = f"{with_it - bare:.0f} ms"


def killed(profiler: Profiler, folder: str, row: Row) -> None:
    measured(profiler, "killed", folder)
    time.sleep(2)  # an agent counts what was on its way
    try:
        row["killed"] = f"{measured(profiler, 'stored', folder):,} of 3,000"
    except Refused:
        row["killed"] = "0 of 3,000"  # there is nothing to read


def forked(profiler: Profiler, folder: str, row: Row) -> None:
    row["forked"] = f"{measured(profiler, 'forked', folder):,} of 1,000"


# What is measured: the columns that it fills.
MEASUREMENTS = {
    cost: ("span", "value"),
    memory: ("memory", "stored"),
    training: ("hooks", "by hand"),
    imported: ("import",),
    killed: ("killed",),
    forked: ("forked",),
}


def row_of(profiler: Profiler, progress: Progress) -> tuple[Row, dict[str, str]]:
    """The cells by column, and the notes by column."""
    task = progress.add_task("", total=None)
    progress.update(task, description=f"installing {profiler.title} ...")
    row, notes = dict.fromkeys(COLUMNS, "-"), dict(profiler.notes)
    row["profiler"] = profiler.title
    failure = install(profiler)
    if failure:
        return row, {"profiler": failure}
    row["profiler"] += f" {version(profiler)}" if profiler.name != "original" else ""
    for measure, columns in MEASUREMENTS.items():
        if measure in (memory, killed, forked) and not profiler.keeps:
            continue
        progress.update(task, description=f"measuring {profiler.title}: {COLUMNS[columns[0]]} ...")
        with tempfile.TemporaryDirectory() as folder:
            try:
                measure(profiler, folder, row)
            except Refused as reason:
                notes.update(dict.fromkeys(columns, str(reason)))
    progress.remove_task(task)
    return row, notes


def table(rows: list[tuple[Row, dict[str, str]]]) -> str:
    """The table in Markdown, with numbered notes under it."""
    numbers: dict[str, int] = {}
    lines = [f"| {' | '.join(COLUMNS.values())} |", "|---" * len(COLUMNS) + "|"]
    for row, notes in rows:
        cells = [
            f"{cell} [{numbers.setdefault(notes[column], len(numbers) + 1)}]"
            if column in notes
            else cell
            for column, cell in row.items()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {note}" for note, number in numbers.items())]
    return "\n".join(lines)


def machine() -> str:
    """The machine and its load, without names that identify it."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return (
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Linux "
        f"{re.match(r'[0-9.]+', platform.release())[0]}, CPython {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="which profilers (all)")
    parser.add_argument("--write", action="store_true", help="write into docs/performance.md")
    arguments = parser.parse_args()
    chosen = [p for p in PROFILERS if not arguments.names or p.name in arguments.names]
    before = os.getloadavg()[0]
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        install(PROFILERS[-1])  # the torch that every training step is measured with
        rows = [row_of(profiler, progress) for profiler in chosen]
    text = (
        f"{machine()}; load {before:.1f} before, {os.getloadavg()[0]:.1f} after.\n\n"
        f"{table(rows)}\n\n{LEGEND}\n"
    )
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text)
    if arguments.write:
        PAGE.write_text(MARKED.sub(lambda _: text, PAGE.read_text()))


if __name__ == "__main__":
    main()
