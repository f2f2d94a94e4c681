"""Five thousand requests at once in one event loop, held against a model."""

import asyncio
import contextvars
import gc
import random
import sys
import tracemalloc

from servers import requests_of, spans_of
from support import spool_batches

import cirron as ci

REQUESTS = 5000
SCOPES = 10


def type_of_frames():
    """The type of what a context keeps of an open scope."""
    with ci.scope("look"):
        kept = contextvars.copy_context().values()
    return next(type(value) for value in kept if type(value).__name__ == "Frame")


def live_objects():
    """How many Scopes and Frames are alive: an object of a heap type holds its type."""
    gc.collect()
    return [sys.getrefcount(t) for t in (ci._core.Scope, type_of_frames())]


def plan(rng, number):
    """A tree of SCOPES scopes for one request: (steps, where it is cancelled or None).

    Each step is ("open", name), ("mark", value), ("close",) or ("sleep", seconds).
    """
    steps, opened, depth = [], 0, 0
    while opened < SCOPES or depth:
        choice = rng.random()
        if opened < SCOPES and (choice < 0.5 or not depth):
            steps.append(("open", f"s{opened}"))
            opened, depth = opened + 1, depth + 1
        elif choice < 0.8 and depth:
            steps.append(("close",))
            depth -= 1
        else:
            steps.append(("mark", number))
        if rng.random() < 0.3:
            steps.append(("sleep", rng.random() / 20))
    cancelled_at = rng.randrange(len(steps)) if rng.random() < 0.3 else None
    return steps, cancelled_at


def expected(number, steps, cancelled_at):
    """(name, marks, error, children) of the request, as nested tuples."""
    root = ["request", [number], None, []]
    stack = [root]
    for i, step in enumerate(steps):
        if i == cancelled_at:
            for node in stack:
                node[2] = "CancelledError"
            break
        if step[0] == "open":
            node = [step[1], [], None, []]
            stack[-1][3].append(node)
            stack.append(node)
        elif step[0] == "close":
            stack.pop()
        elif step[0] == "mark":
            stack[-1][1].append(number)
    return root


def recorded(node):
    return [
        node.name,
        node.marks.get("number", []),
        node.attrs.get("error"),
        [recorded(child) for child in node.children],
    ]


@ci.inference
async def serve(number, steps, cancelled_at, waits_for_ever):
    ci.mark("number", number)
    scopes = []
    try:
        for i, step in enumerate(steps):
            if i == cancelled_at:
                waits_for_ever.set()
                await asyncio.sleep(3600)
            if step[0] == "open":
                scopes.append(ci.scope(step[1]))
                scopes[-1].__enter__()
            elif step[0] == "close":
                scopes.pop().__exit__(None, None, None)
            elif step[0] == "mark":
                ci.mark("number", step[1])
            else:
                await asyncio.sleep(step[1])
    except BaseException as error:
        while scopes:
            scopes.pop().__exit__(type(error), error, None)
        raise


async def client(number, steps, cancelled_at):
    waits_for_ever = asyncio.Event()
    task = asyncio.create_task(serve(number, steps, cancelled_at, waits_for_ever))
    if cancelled_at is not None:
        await waits_for_ever.wait()
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is (cancelled_at is not None)


async def main(plans):
    await asyncio.gather(*(client(n, *plan) for n, plan in plans.items()))


def test_thousands_of_concurrent_requests_record_the_models_trees():
    rng = random.Random(20)
    plans = {number: plan(rng, number) for number in range(REQUESTS)}
    with ci.profile():
        before = live_objects()
        asyncio.run(main(plans))
        assert live_objects() == before
        assert ci.health()["scope_depth"] == 0
    nodes = spans_of(spool_batches())
    (session,) = (node for node in nodes.values() if node.name == "cirron.session")
    requests = [node for node in session.children if node.name == "request"]
    assert len(requests) == REQUESTS
    model = {n: expected(n, *plans[n]) for n in plans}
    assert {node.marks["number"][0]: recorded(node) for node in requests} == model


def test_memory_of_concurrent_requests_is_given_back_after_the_last():
    rng = random.Random(21)
    plans = {number: plan(rng, number) for number in range(2000)}
    with ci.profile(output="none"):
        asyncio.run(main(plans))  # fills what is kept for use again
        gc.collect()
        tracemalloc.start()
        held = tracemalloc.get_traced_memory()[0]
        asyncio.run(main(plans))
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - held
        tracemalloc.stop()
    assert held < 100_000  # bytes: 50 a request would be more


async def tokens(number, count):
    ci.mark("number", number)
    for i in range(count):
        with ci.scope("token", i):
            await asyncio.sleep(number % 7 / 1000)
            ci.mark("number", number)
        yield i


@ci.inference
def returned(number, count):
    return tokens(number, count)


@ci.inference
async def awaited(number, count):
    return tokens(number, count)


generated = ci.inference(tokens)


async def take(number):
    """Takes a stream to its end, or breaks, or runs out of time; tells which."""
    rng = random.Random(number)
    kind = (returned, generated, awaited)[number % 3]
    stream = kind(number, 20) if kind is not awaited else await kind(number, 20)
    last = rng.randrange(25)
    in_consumer = False
    try:
        async with asyncio.timeout(rng.random() / 10 if rng.random() < 0.5 else None):
            async for i in stream:
                in_consumer = True
                with ci.scope("consumer"):
                    await asyncio.sleep(0)
                in_consumer = False
                if i == last:
                    return "left"
    except TimeoutError:
        return "left" if in_consumer else "cancelled"
    return "whole"


async def take_all(count):
    ends = await asyncio.gather(*(take(number) for number in range(count)))
    gc.collect()  # what nobody kept is closed by the loop
    return ends


def test_streams_that_are_left_and_cancelled_at_random_keep_their_trees():
    with ci.profile():
        ends = asyncio.run(take_all(1500))
        assert ci.health()["scope_depth"] == 0
    assert set(ends) == {"whole", "left", "cancelled"}
    requests = requests_of(spool_batches())
    assert requests.keys() == set(range(len(ends)))
    for number, request in requests.items():
        assert {child.name for child in request.children} <= {"token"}
        told = (request.attrs.get("stream_completed"), request.attrs.get("error"))
        whole, left, cancelled = (None, None), (False, None), (False, "CancelledError")
        assert told == {"whole": whole, "left": left, "cancelled": cancelled}[ends[number]]
        if ends[number] == "whole":
            assert request.shape == ("request", (("token", ()),) * 20)
