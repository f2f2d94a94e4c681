"""Runs every fuzz target for its share of the time, from its corpus on, and prints a line for
each: executions, coverage (edges of the code under test), files of the corpus. `make fuzz`
calls it; with --merge, what was found is minimised into tests/fuzz/corpus/.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LONGEST_INPUT = 2048


def commands(build: Path) -> dict[str, list[str]]:
    """What starts each target; the last is Python (atheris), the others are C (libFuzzer)."""
    found = {source.stem: [str(build / source.stem)] for source in sorted(HERE.glob("fuzz_*.c"))}
    for source in sorted(HERE.glob("fuzz_*.py")):
        found[source.stem] = [sys.executable, str(source)]
    return found


def run(name: str, command: list[str], build: Path, seconds: int) -> bool:
    """Fuzzes one target and prints its line; False when it crashed."""
    grown = build / "corpus" / name
    grown.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        [
            *command,
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_INPUT}",
            "-timeout=20",
            "-print_final_stats=1",
            f"-artifact_prefix={build}/{name}-",
            str(grown),
            str(HERE / "corpus" / name),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = ended.stdout + ended.stderr
    executions = _last(r"stat::number_of_executed_units:\s*(\d+)", said)
    coverage = _last(r"cov: (\d+)", said)
    kept = _last(r"corp: (\d+)", said)
    state = "ok" if ended.returncode == 0 else "CRASHED"
    print(f"{name:24} {executions:>9} runs {coverage:>6} edges {kept:>5} inputs  {state}")
    if ended.returncode != 0:
        print(said[-4000:])
    return ended.returncode == 0


def _last(pattern: str, text: str) -> str:
    return (re.findall(pattern, text) or ["?"])[-1]


def merge(name: str, command: list[str], build: Path) -> None:
    """Replaces the corpus of a target by few files that reach every edge that all reach."""
    corpus = HERE / "corpus" / name
    fewest = build / "merged" / name
    shutil.rmtree(fewest, ignore_errors=True)
    fewest.mkdir(parents=True)
    corpus.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *command,
            "-merge=1",
            "-use_counters=0",  # once is enough: no file for each number of times
            str(fewest),
            str(corpus),
            str(build / "corpus" / name),
        ],
        capture_output=True,
        check=True,
    )
    shutil.rmtree(corpus)
    shutil.copytree(fewest, corpus)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path, help="where the targets were built")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--merge", action="store_true", help="minimise the corpora instead")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    targets = commands(build)
    if arguments.merge:
        for name, command in targets.items():
            if command[0] != sys.executable:  # atheris does not merge
                merge(name, command, build)
        return 0
    share = max(1, arguments.seconds // len(targets))
    went_well = [run(name, each, build, share) for name, each in targets.items()]
    return 0 if all(went_well) else 1


if __name__ == "__main__":
    sys.exit(main())
