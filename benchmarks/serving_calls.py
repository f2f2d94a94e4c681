"""What the decorator adds to a call and to an item of a stream, in floors over the bare one."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from hot_paths import Figure
from timing import Loop, best_ns, empty, floor

import cirron as ci

ITEMS = 20_000


class Chunk:
    """The shape of openai's chunk of a streamed answer."""

    __slots__ = ("choices", "created", "id", "model", "usage")

    def __init__(self) -> None:
        self.id = "chatcmpl-1"
        self.created = 0
        self.model = "m"
        self.choices = [{"index": 0, "delta": {"content": "token"}}]
        self.usage = None


CHUNK = Chunk()


def function() -> None:
    pass


async def coroutine() -> None:
    pass


def returns_str(n: int) -> Iterator[str]:
    return itertools.repeat("token", n)


def returns_chunks(n: int) -> Iterator[Chunk]:
    return itertools.repeat(CHUNK, n)


def generates_str(n: int) -> Iterator[str]:
    for _ in range(n):
        yield "token"


def generates_chunks(n: int) -> Iterator[Chunk]:
    for _ in range(n):
        yield CHUNK


async def generates_async_str(n: int) -> AsyncIterator[str]:
    for _ in range(n):
        yield "token"


async def generates_async_chunks(n: int) -> AsyncIterator[Chunk]:
    for _ in range(n):
        yield CHUNK


def returns_async_str(n: int) -> AsyncIterator[str]:
    return generates_async_str(n)


def returns_async_chunks(n: int) -> AsyncIterator[Chunk]:
    return generates_async_chunks(n)


def run(awaitable: Awaitable[Any]) -> None:
    """Runs to the end what never waits, with no event loop to be measured."""
    try:
        awaitable.__await__().send(None)
    except StopIteration:
        return
    raise RuntimeError("it waited")


def calls(fn: Callable[[], Any]) -> Loop:
    def loop(n: int) -> None:
        for _ in range(n):
            fn()

    return loop


def awaits(fn: Callable[[], Awaitable[Any]]) -> Loop:
    async def main(n: int) -> None:
        for _ in range(n):
            await fn()

    return lambda n: run(main(n))


def items(fn: Callable[[int], Iterable[Any]]) -> Loop:
    def loop(n: int) -> None:
        for _ in fn(n):
            pass

    return loop


def async_items(fn: Callable[[int], AsyncIterator[Any]]) -> Loop:
    async def main(n: int) -> None:
        async for _ in fn(n):
            pass

    return lambda n: run(main(n))


def over_bare(ours: Loop, bare: Loop, repeats: int = 5) -> tuple[float, float, float]:
    """(ns of ours, of the bare loop, of the floor) less an empty loop's, interleaved."""
    loops = (ours, bare, floor, empty)
    measured = [[best_ns(loop, ITEMS, 5) for loop in loops] for _ in range(repeats)]
    best = [min(times) for times in zip(*measured, strict=True)]
    return best[0] - best[3], best[1] - best[3], best[2] - best[3]


CASES: tuple[tuple[str, Callable[..., Loop], Callable[..., Any], float], ...] = (
    ("empty function", calls, function, 6),
    ("empty coroutine", awaits, coroutine, 8),
    ("item of a returned iterator, str", items, returns_str, 3),
    ("item of a returned iterator, chunk", items, returns_chunks, 3),
    ("item of a generator function, str", items, generates_str, 3),
    ("item of a generator function, chunk", items, generates_chunks, 3),
    ("item of a returned async iterator, str", async_items, returns_async_str, 3),
    ("item of a returned async iterator, chunk", async_items, returns_async_chunks, 3),
    ("item of an async generator function, str", async_items, generates_async_str, 3),
    ("item of an async generator function, chunk", async_items, generates_async_chunks, 3),
)


def figures() -> list[Figure]:
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory() as path, ci.profile(path=path):
        for name, loop, fn, reach in CASES:
            ours, bare, lock = over_bare(loop(ci.inference(fn)), loop(fn))
            added = (ours - bare) / lock
            rows.append(
                (name, f"{ours:.0f} ns", f"{bare:.0f} ns", f"{added:.2f}", f"{reach} floors")
            )
    return rows
