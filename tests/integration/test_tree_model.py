"""Random programs over threads, tasks, contexts, generators and out-of-order closes: the
recorded tree is held against a model of a few lines."""

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cirron as ci


class ModelSpan:
    def __init__(self, name: str, parent: "ModelSpan | None") -> None:
        self.name = name
        self.parent = parent
        self.open = True


def innermost_open(span: ModelSpan | None) -> ModelSpan | None:
    """The whole rule: what is closed counts no longer, its nearest open ancestor does."""
    while span is not None and not span.open:
        span = span.parent
    return span


class Lane:
    """An execution context: what it runs, and what the model knows of it."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], last: ModelSpan | None) -> None:
        self.run = run
        self.last = last


def hold(name: str):
    with ci.scope(name):
        yield


class Program:
    """Does everything twice: with cirron, and in the model."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.threads: list[ThreadPoolExecutor] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.lanes = [Lane(lambda call: call(), None)]
        self.spans: list[ModelSpan] = []
        self.closers: dict[ModelSpan, Callable[[], Any]] = {}
        self.marks: dict[str | None, list[int]] = defaultdict(list)
        self.made = 0

    def open(self, lane: Lane, pick: int) -> None:
        span = ModelSpan(f"s{len(self.spans)}", innermost_open(lane.last))
        scope = ci.scope(span.name)
        lane.run(scope.__enter__)
        self._opened(lane, span, lambda: scope.__exit__(None, None, None))

    def open_in_generator(self, lane: Lane, pick: int) -> None:
        span = ModelSpan(f"s{len(self.spans)}", innermost_open(lane.last))
        generator = hold(span.name)
        lane.run(lambda: next(generator))
        self._opened(lane, span, generator.close)

    def _opened(self, lane: Lane, span: ModelSpan, closer: Callable[[], Any]) -> None:
        lane.last = span
        self.spans.append(span)
        self.closers[span] = closer

    def close(self, lane: Lane, pick: int) -> None:
        """Any open scope, wherever it was opened."""
        if self.closers:
            span = list(self.closers)[pick % len(self.closers)]
            lane.run(self.closers.pop(span))
            span.open = False

    def close_innermost(self, lane: Lane, pick: int) -> None:
        span = innermost_open(lane.last)
        if span is not None:
            lane.run(self.closers.pop(span))
            span.open = False

    def mark(self, lane: Lane, pick: int) -> None:
        span = innermost_open(lane.last)
        self.marks[span.name if span else None].append(self.made)
        lane.run(lambda: ci.mark("m", self.made))
        self.made += 1

    def new_thread(self, lane: Lane, pick: int) -> None:
        executor = ThreadPoolExecutor(1)
        self.threads.append(executor)
        self.lanes.append(Lane(lambda call: executor.submit(call).result(), None))

    def new_context(self, lane: Lane, pick: int) -> None:
        context = lane.run(contextvars.copy_context)
        self.lanes.append(Lane(context.run, lane.last))

    def new_task(self, lane: Lane, pick: int) -> None:
        calls: asyncio.Queue[tuple[Callable[[], Any], asyncio.Future[Any]]] = asyncio.Queue()

        async def work() -> None:
            while True:
                call, done = await calls.get()
                done.set_result(call())

        async def ask(call: Callable[[], Any]) -> Any:
            done = self.loop.create_future()
            calls.put_nowait((call, done))
            return await done

        context = lane.run(contextvars.copy_context)
        self.tasks.append(self.loop.create_task(work(), context=context))
        self.lanes.append(Lane(lambda call: self.loop.run_until_complete(ask(call)), lane.last))

    def end(self) -> None:
        while self.closers:
            self.close(self.lanes[0], 0)

        async def finish() -> None:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

        self.loop.run_until_complete(finish())
        self.loop.close()
        for executor in self.threads:
            executor.shutdown()


OPERATIONS = (
    *(Program.open, Program.open_in_generator, Program.close, Program.close_innermost),
    *(Program.mark, Program.new_thread, Program.new_context, Program.new_task),
)
STEPS = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 7), st.integers(0, 63))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=50))
def test_recorded_tree_is_the_models(steps):
    with ci.profile(output="none"):
        program = Program()
        try:
            for operation, lane, pick in steps:
                operation(program, program.lanes[lane % len(program.lanes)], pick)
        finally:
            program.end()
        trace = ci.trace(format="dict")
        health = ci.health()

    parents: dict[str, str | None] = {}
    marks: dict[str | None, list[int]] = {}

    def visit(nodes: list[dict[str, Any]], parent: str | None) -> None:
        for node in nodes:
            parents[node["name"]] = parent
            marks[node["name"]] = [m["value"] for m in node["marks"] if m["name"] == "m"]
            visit(node["children"], node["name"])

    visit(trace["roots"], None)
    marks[None] = [m["value"] for m in trace["session"]["marks"]]
    assert parents == {s.name: s.parent.name if s.parent else None for s in program.spans}
    assert {name: values for name, values in marks.items() if values} == program.marks
    assert health["scope_depth"] == 0
    assert (health["span_count"], health["mark_count"]) == (len(program.spans), program.made)
