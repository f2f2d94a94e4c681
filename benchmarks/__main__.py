"""Print the table: `python benchmarks` (or `make bench`)."""

import os
import platform
import sys

import hot_paths
import snapshots
import volume
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table


def main() -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(
        "case", "ours", "floor", "ratio", "reach", title="Recording", title_justify="left"
    )
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as progress:
        parts = (
            (hot_paths, "hot paths"),
            (volume, "volume"),
            (snapshots, "snapshots"),
        )
        for part, name in parts:
            progress.add_task(f"measuring {name} ...", total=None)
            for row in part.figures():
                table.add_row(*row)
            table.add_section()
    console.print(table)
    console.print(
        f"CPython {platform.python_version()}, {os.cpu_count()} cores, Linux {platform.release()}. "
        "The floor is `with lock:` on a threading.Lock in the same process, except where it "
        "is the bare work, the bare write of the same bytes, the bare interpreter or numpy.sum."
    )


if __name__ == "__main__":
    main()
