"""Timing on a noisy machine: the best of many short rounds, and a floor in the same run.

The floor is `with lock:` on a `threading.Lock`: entering and leaving a context manager
written in C that keeps nothing.
"""

import threading
import time
from collections.abc import Callable

Loop = Callable[[int], None]

_lock = threading.Lock()


def empty(n: int) -> None:
    for _ in range(n):
        pass


def floor(n: int) -> None:
    for _ in range(n):
        with _lock:
            pass


def best_ns(loop: Loop, n: int = 20_000, rounds: int = 9) -> float:
    """The least nanoseconds an iteration took, over the rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter_ns()
        loop(n)
        best = min(best, (time.perf_counter_ns() - start) / n)
    return best


def against_floor(loop: Loop, n: int = 20_000, repeats: int = 5) -> tuple[float, float]:
    """(ns of the loop, ns of the floor), each less an empty loop's, interleaved."""
    ours, floors, empties = [], [], []
    for _ in range(repeats):
        empties.append(best_ns(empty, n, 5))
        floors.append(best_ns(floor, n, 5))
        ours.append(best_ns(loop, n, 5))
    return min(ours) - min(empties), min(floors) - min(empties)
