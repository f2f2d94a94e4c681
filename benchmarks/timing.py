"""Timing on a noisy machine: the best of many short rounds, and a floor in the same run.

The floor is `with lock:` on a `threading.Lock`: entering and leaving a context manager
written in C that keeps nothing. The floor of a step of training is the same step, bare: each
round runs it before and after the recorded one, so that a machine that slows down slows all
three, and the figures are medians over the rounds.
"""

import statistics
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

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


class Took(NamedTuple):
    """us of a step. The CPU time has the flusher's in it, and others on the machine
    disturb it least."""

    wall: float
    cpu: float


class Training(NamedTuple):
    """A training that can be run again and again."""

    run: Callable[[], object]
    steps: int
    begin: Callable[[], object] = lambda: None  # called at the start of each session


def step_us(training: Training, repeats: int = 1) -> Took:
    start, start_cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(repeats):
        training.run()
    thousand_steps = repeats * training.steps * 1e3
    cpu = time.process_time_ns() - start_cpu
    return Took((time.perf_counter_ns() - start) / thousand_steps, cpu / thousand_steps)


def against_bare(
    training: Training, repeats: int, recorded: Callable[[], Took], rounds: int
) -> tuple[Took, Took]:
    """(what a recorded step has more, a bare one)."""
    step_us(training, repeats)
    more, bare = [], []
    for _ in range(rounds):
        before = step_us(training, repeats)
        took = recorded()
        training.run()
        after = step_us(training, repeats)
        more.append(Took(*(t - (b + a) / 2 for t, b, a in zip(took, before, after, strict=True))))
        bare += [before, after]
    return _medians(more), _medians(bare)


def _medians(figures: list[Took]) -> Took:
    return Took(*(statistics.median(column) for column in zip(*figures, strict=True)))
