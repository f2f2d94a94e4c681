"""A bar that shows how far a long piece of work has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE_S = 0.4


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives the function that says how many steps of `total` were taken since its last call.

    The bar stands on stderr, where that is a terminal, from the moment at which the work
    turns out to take a while, and is gone when it is done.
    """
    bar: Progress | None = None
    done = 0
    due = time.monotonic() + _PATIENCE_S if sys.stderr.isatty() else float("inf")

    def advance(steps: int) -> None:
        nonlocal bar, done
        done += steps
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)
        elif time.monotonic() >= due:
            bar = _start(label, total, done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _start(label: str, total: int, done: int) -> Progress:
    from rich.console import Console  # slow to import
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    bar.add_task(label, total=total, completed=done)
    bar.start()
    return bar
