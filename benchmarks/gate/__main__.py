"""The instruction gate: `python benchmarks/gate` (or `make bench-gate`).

callgrind counts the instructions of our own code (the extension, or core linked into
core_loop) at N and at 2N repetitions; the difference over N is what one costs, whatever the
machine is busy with. counts.json holds what each may cost; more than 1 % beyond it fails.
After a change that is worth its price, `--write` writes the new counts.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).parent
COUNTS = HERE / "counts.json"
TOLERANCE = 0.01

# Name: (program, case, repetitions).
CASES = {
    "scope": ("recording", "scope", 1000),
    "mark": ("recording", "mark", 1000),
    "request": ("recording", "request", 1000),
    "step": ("recording", "step", 1000),
    "span encoded": ("core", "encode", 2000),
    "span parsed": ("core", "parse", 2000),
}


def count_own(command: list[str], owner: str) -> int:
    """Instructions that the main thread executed in objects whose path contains `owner`."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "callgrind.out")
        # Apart, because how much the flusher gets done is a matter of time.
        valgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes"]
        done = subprocess.run(
            [*valgrind, f"--callgrind-out-file={out}", *command],
            cwd=directory,
            env={**os.environ, "PYTHONHASHSEED": "0", "SIMDJSON_FORCE_IMPLEMENTATION": "fallback"},
            capture_output=True,
            text=True,
            check=False,
        )
        main_thread = Path(directory, "callgrind.out-01")
        if done.returncode != 0 or not main_thread.exists():
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        return _sum_own(main_thread.read_text(), owner)


def _sum_own(profile: str, owner: str) -> int:
    """Sums the self costs of the objects; the format is in callgrind's manual."""
    names: dict[str, str] = {}
    total = 0
    own = inclusive = False
    for line in profile.splitlines():
        if line.startswith("ob="):
            number, name = re.fullmatch(r"ob=(\(\d+\))(?: (.*))?", line).groups()
            own = owner in names.setdefault(number, name or "")
        elif line.startswith("cob="):
            number, name = re.fullmatch(r"cob=(\(\d+\))(?: (.*))?", line).groups()
            names.setdefault(number, name or "")
        elif line.startswith("calls="):
            inclusive = True  # the next line's cost is the callee's
        elif cost := re.fullmatch(r"[0-9+*-]\S* (\d+)", line):
            if own and not inclusive:
                total += int(cost[1])
            inclusive = False
    return total


def measure(core_loop: str, name: str) -> float:
    program, case, n = CASES[name]
    if program == "core":
        command, owner = [core_loop, case], Path(core_loop).name
    else:
        command, owner = [sys.executable, str(HERE / "recording_loop.py"), case], "/_core."
    once, twice = (count_own([*command, str(k * n)], owner) for k in (1, 2))
    return (twice - once) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("core_loop", help="the program built from core_loop.c")
    parser.add_argument("--write", action="store_true", help="write the counts, fail nothing")
    args = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("bench-gate needs valgrind: apt-get install valgrind")
    allowed = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    table = Table("case", "instructions", "allowed", "change", title="Instruction gate")
    counts, failed = {}, []
    for name in track(CASES, "counting ...", transient=True):
        counts[name] = round(measure(str(Path(args.core_loop).resolve()), name), 1)
        if name == "span parsed":
            counts[name] -= counts["span encoded"]  # it had to be written first
        change = counts[name] / allowed[name] - 1 if name in allowed else 0.0
        if change > TOLERANCE:
            failed.append(name)
        table.add_row(name, f"{counts[name]:g}", f"{allowed.get(name, '')}", f"{change:+.2%}")
    Console(width=100).print(table)
    if args.write:
        COUNTS.write_text(json.dumps(counts, indent=2) + "\n")
    elif failed:
        sys.exit(
            f"{', '.join(failed)}: more than {TOLERANCE:.0%} dearer than counts.json allows "
            f"(CPython {platform.python_version()}); python benchmarks/gate --write takes the "
            "new counts"
        )


if __name__ == "__main__":
    main()
