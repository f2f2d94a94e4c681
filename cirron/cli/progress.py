"""A bar that shows how far a long piece of work has come."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_S = 0.4
_BETWEEN_S = 0.1
_WIDTH = 30


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives the function that says how many steps of `total` were taken since its last call.

    The bar stands on stderr, where that is a terminal, from the moment at which the work
    turns out to take a while, and is gone when it is done.
    """
    if total <= 0 or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda steps: None
        return
    done = 0
    shown = False
    due = time.monotonic() + _PATIENCE_S

    def advance(steps: int) -> None:
        nonlocal done, shown, due
        done += steps
        if (now := time.monotonic()) >= due:
            shown, due = True, now + _BETWEEN_S
            full = min(_WIDTH * done // total, _WIDTH)
            bar = "#" * full + "-" * (_WIDTH - full)
            sys.stderr.write(f"\r{label} [{bar}] {min(100 * done // total, 100):3d}%")
            sys.stderr.flush()

    try:
        yield advance
    finally:
        if shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
