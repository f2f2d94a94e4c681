"""The calls that a user's loop makes: scope and mark, in every setting."""

import asyncio
import statistics
import tempfile
import time

from timing import Loop, against_floor

import cirron as ci

Figure = tuple[str, str, str, str, str]


def scope(n: int) -> None:
    open_scope = ci.scope
    for _ in range(n):
        with open_scope("work"):
            pass


def scope_with_attributes(n: int) -> None:
    open_scope = ci.scope
    for _ in range(n):
        with open_scope("work", batch=3, phase="train"):
            pass


def mark(n: int) -> None:
    record = ci.mark
    for _ in range(n):
        record("loss", 0.5)


def _in_task(loop: Loop) -> tuple[float, float]:
    async def task() -> tuple[float, float]:
        return against_floor(loop)

    async def main() -> tuple[float, float]:
        return await asyncio.create_task(task())

    return asyncio.run(main())


def _in_floors(name: str, reach: float, measured: tuple[float, float]) -> Figure:
    ours, floor = measured
    return (name, f"{ours:.0f} ns", f"{floor:.0f} ns", f"{ours / floor:.2f}", f"{reach} floors")


def _work(ns: int) -> int:
    """Some 110 us of arithmetic, the like of a small training step."""
    total = 0
    for i in range(ns):
        total += i * i
    return total


def added_to_work(samples: int = 4000) -> Figure:
    """The median that a scope around 110 us of work adds, pairs interleaved."""
    count = 1000
    while True:
        start = time.perf_counter_ns()
        _work(count)
        if time.perf_counter_ns() - start > 110_000:
            break
        count = count * 11 // 10
    bare, scoped = [], []
    for _ in range(samples):
        start = time.perf_counter_ns()
        _work(count)
        middle = time.perf_counter_ns()
        with ci.scope("work"):
            _work(count)
        end = time.perf_counter_ns()
        bare.append(middle - start)
        scoped.append(end - middle)
    base = statistics.median(bare)
    added = statistics.median(scoped) - base
    return (
        "added to 110 us of work, median",
        f"{added:.0f} ns",
        f"{base:.0f} ns",
        f"{added / base:.4f}",
        "600 ns",
    )


def figures() -> list[Figure]:
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory() as path:
        with ci.profile(path=path):
            rows.append(_in_floors("scope, defaults", 2.0, against_floor(scope)))
            rows.append(
                _in_floors("scope, two attributes", 4.0, against_floor(scope_with_attributes))
            )
            rows.append(_in_floors("scope in an asyncio task", 2.0, _in_task(scope)))
            rows.append(_in_floors("mark, a float", 0.35, against_floor(mark)))
            rows.append(added_to_work())
        with ci.profile(path=path, config={"cpu_time": False}):
            rows.append(_in_floors("scope, cpu_time=False", 1.8, against_floor(scope)))
        with ci.profile(enabled=False):
            rows.append(_in_floors("scope while disabled", 1.3, against_floor(scope)))
    return rows
