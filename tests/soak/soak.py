"""A long random run, checked against a model after each session.

Each round is a session in the same spool. Threads do what programs do, picked at random:
nested scopes, asyncio tasks, generators, served requests and streams that end, fail, are left
or cancelled, epochs with snapshots of a torch module (where torch is installed), forks,
flushes, reads of the trace, and `cirron traces clear` beside them. Every span and every mark
carries a number of its own, and the model is some dictionaries: whose parent is which, how a
request ended. When the session is over, the files must say the same, each record once, and
so must `ci.trace()` before it. Memory, open files and threads are taken after each round and
must stay flat.

    python tests/soak/soak.py --minutes 10 [--seed N]
"""

import asyncio
import contextlib
import importlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import cirron as ci

THREADS = 4
WARM_UP = 0.25  # of the rounds
ROUNDS_TO_JUDGE = 30  # after the warm-up; before that, memory says nothing
MEMORY_MIB_PER_HOUR = 48  # a slope beyond it, and beyond NOISE_MIB in all, fails
NOISE_MIB = 8
BUFFER = 20_000  # spans: what the trace buffer keeps of the rounds before is soon constant
CHILD_NUMBERS = 64  # a forked child may use so many
TENSORS = {"weight": 0.5, "bias": 0.25}  # of the watched module: each holds one value


def watch() -> list[object]:
    """The module whose snapshots are taken; none without torch."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return []
    module = torch.nn.Linear(8, 4)
    for name, value in TENSORS.items():
        torch.nn.init.constant_(getattr(module, name), value)
    return [ci.watch(module)]


watched = watch()


class Model:
    """What must be found: the parent of each span, the span of each mark, and so on."""

    def __init__(self) -> None:
        self.parents: dict[int, int | None] = {}
        self.marks: dict[int, int | None] = {}
        self.requests: dict[int, tuple[str, int | None]] = {}  # its end, its output tokens
        self.epochs: set[int] = set()
        self.in_children: set[int] = set()  # spans that ci.trace() of this process lacks
        self._next = itertools.count()

    def number(self) -> int:
        return next(self._next)

    def block(self) -> list[int]:
        return [self.number() for _ in range(CHILD_NUMBERS)]


class Actor:
    """One thread: the real calls, and the model's entries beside them."""

    def __init__(self, model: Model, chance: random.Random) -> None:
        self.model = model
        self.chance = chance

    def mark(self, span: int | None) -> None:
        number = self.model.number()
        self.model.marks[number] = span
        ci.mark("number", number, kind=self.chance.choice(["point", "summary"]))

    def open(self, parent: int | None) -> tuple[ci.scope, int]:
        number = self.model.number()
        self.model.parents[number] = parent
        return ci.scope("work", number, size=number % 7), number

    def nest(self, parent: int | None, depth: int = 5) -> None:
        for _ in range(self.chance.randrange(1, 4)):
            scope, number = self.open(parent)
            with scope:
                if self.chance.random() < 0.5:
                    self.mark(number)
                if depth and self.chance.random() < 0.6:
                    self.nest(number, depth - 1)

    def tasks(self, parent: int | None) -> None:
        async def work(parent: int | None, depth: int) -> None:
            scope, number = self.open(parent)
            with scope:
                await asyncio.sleep(0)
                self.mark(number)
                if depth:
                    await asyncio.gather(*(work(number, depth - 1) for _ in range(3)))
                await asyncio.sleep(self.chance.random() / 1000)

        async def main() -> None:
            await asyncio.gather(*(work(parent, 2) for _ in range(3)))

        asyncio.run(main())

    def generators(self, parent: int | None) -> None:
        def items(parent: int | None, count: int) -> Iterator[int]:
            scope, number = self.open(parent)
            with scope:
                for item in range(count):
                    self.mark(number)
                    yield item

        for item in items(parent, 6):  # some to the end, some left in the middle
            if item == self.chance.randrange(6):
                break
        scope, number = self.open(parent)
        with scope:
            inner = items(number, 3)
            next(inner)
            inner.close()

    def expect(self, parent: int | None, end: str, tokens: int | None) -> int:
        """Enters a request; its function tells its number by a mark."""
        number = self.model.number()
        self.model.parents[number] = parent
        self.model.requests[number] = (end, tokens)
        return number

    def requests(self, parent: int | None) -> None:
        @ci.inference
        def answer(request: int, tokens: int | None) -> dict[str, object]:
            ci.mark("span", request)
            self.nest(request, 1)
            if tokens is None:
                raise ValueError("refused")
            return {"usage": {"prompt_tokens": 3, "completion_tokens": tokens}}

        @ci.inference
        async def answer_async(request: int, tokens: int | None) -> dict[str, object]:
            ci.mark("span", request)
            await asyncio.sleep(0)
            return answer.__wrapped__(request, tokens)

        async def main() -> None:
            calls = [answer_async(*self.order(parent)) for _ in range(3)]
            await asyncio.gather(*calls, return_exceptions=True)

        for _ in range(3):
            with contextlib.suppress(ValueError):
                answer(*self.order(parent))
        asyncio.run(main())

    def order(self, parent: int | None) -> tuple[int, int | None]:
        """A request, and the tokens that it is to answer with; None, and it fails."""
        tokens = self.chance.choice([None, 0, 7])
        return self.expect(parent, "failed" if tokens is None else "whole", tokens), tokens

    def streams(self, parent: int | None) -> None:
        @ci.inference
        def generate(request: int) -> Iterator[dict[str, str]]:
            ci.mark("span", request)
            yield from items(request)

        @ci.inference
        def hand_out(request: int) -> Iterator[dict[str, str]]:
            ci.mark("span", request)
            return items(request)

        def items(request: int) -> Iterator[dict[str, str]]:
            for _ in range(4):
                scope, _number = self.open(request)
                with scope:
                    pass
                yield {"token": "x"}

        running = []
        for end, tokens in (("left", 3), ("left", 3), ("whole", 4), ("whole", 4)):
            serve = self.chance.choice([generate, hand_out])
            running.append(serve(self.expect(parent, end, tokens)))
        for _ in range(3):
            for stream in running:  # they take turns
                next(stream)
        running.pop(0).close()
        del running[0]
        for stream in running:
            list(stream)

    def async_streams(self, parent: int | None) -> None:
        @ci.inference
        async def generate(request: int, stuck: asyncio.Event) -> AsyncIterator[str]:
            ci.mark("span", request)
            for _ in range(3):
                scope, _number = self.open(request)
                with scope:
                    await asyncio.sleep(0)
                yield "x"
            if self.model.requests[request][0] == "failed":
                stuck.set()
                await asyncio.sleep(3600)

        async def read(end: str, tokens: int) -> None:
            stuck = asyncio.Event()
            stream = generate(self.expect(parent, end, tokens), stuck)
            if end == "left":
                for _ in range(tokens):
                    await anext(stream)
                await stream.aclose()
                return
            reading = asyncio.create_task(drain(stream))
            if end == "failed":
                await stuck.wait()
                reading.cancel()
            await asyncio.wait([reading])

        async def drain(stream: AsyncIterator[str]) -> None:
            async for _ in stream:
                pass

        async def main() -> None:
            await asyncio.gather(read("whole", 3), read("left", 2), read("failed", 3))

        asyncio.run(main())

    def epochs(self, parent: int | None) -> None:
        for epoch in ci.epochs(range(3)):
            number = self.model.number()
            self.model.parents[number] = parent
            self.model.epochs.add(number)
            ci.mark("span", number)
            self.nest(number, 1)
            if epoch == 1:
                break

    def fork(self, parent: int | None) -> None:
        scope, outer = self.open(parent)
        numbers = self.model.block()
        with scope:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    for number in numbers:
                        with ci.scope("work", number, size=number % 7):
                            pass
                    status = 0 if ci.flush() else 2
                finally:
                    os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "a child failed to flush"
        for number in numbers:
            self.model.parents[number] = outer
            self.model.in_children.add(number)

    def look(self, parent: int | None) -> None:
        self.chance.choice(
            [
                ci.flush,
                ci.health,
                lambda: ci.trace(format="dict", name="work", last=20),
                lambda: ci.trace(format="json", last=5),
            ]
        )()

    def clear(self, parent: int | None) -> None:
        command = [sys.executable, "-m", "cirron", "traces", "clear", "--yes"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, f"clear failed: {ended.stderr}"

    def run(self, deadline: float) -> None:
        kinds = [self.nest] * 40 + [self.tasks] * 6 + [self.generators] * 20
        kinds += [self.streams] * 20 + [self.async_streams] * 6 + [self.requests] * 6
        kinds += [self.epochs] * 6 + [self.fork] * 4 + [self.look] * 9 + [self.clear]
        while time.monotonic() < deadline:
            act = self.chance.choice(kinds)
            if self.chance.random() < 0.5:
                act(None)
            else:
                scope, number = self.open(None)
                with scope:
                    act(number)


def check_files(model: Model, session: str) -> int:
    """Holds the spool's records of a session against the model; returns how many there are."""
    spans: dict[str, dict[str, object]] = {}
    marks: list[dict[str, object]] = []
    snapshots: dict[str, dict[str, object]] = {}
    for file in sorted(Path(".cirron/spool").glob("*.json")):
        try:
            batch = json.loads(file.read_bytes())
        except FileNotFoundError:  # cleared: of an older session
            continue
        for span in batch["spans"]:
            assert span["end_ns"] is None or span["id"] not in spans, "a span is written twice"
            if span["end_ns"] is not None:
                spans[span["id"]] = span
        marks += batch["marks"]
        snapshots |= {record["id"]: record for record in batch["snapshots"]}
    assert len({mark["id"] for mark in marks}) == len(marks), "a mark is written twice"
    numbers = {session: None}
    for mark in marks:
        if mark["name"] == "span":
            numbers[mark["span_id"]] = mark["value"]
    for span in spans.values():
        if span["name"] == "work":
            numbers[span["id"]] = span["index"]

    def root_of(span: dict[str, object]) -> object:
        while span["parent_id"] is not None and span["parent_id"] in spans:
            span = spans[span["parent_id"]]
        return span["id"]

    ours = [s for s in spans.values() if s["id"] != session and root_of(s) == session]
    found = {numbers[s["id"]]: numbers[s["parent_id"]] for s in ours}
    assert len(found) == len(ours), "two spans have one number"
    assert found == model.parents, differences(found, model.parents)
    own = {s["id"] for s in ours}
    placed = {m["value"]: numbers[m["span_id"]] for m in marks
              if m["name"] == "number" and m["span_id"] in own}  # fmt: skip
    assert placed == model.marks, differences(placed, model.marks)
    tokens = {m["span_id"]: m["value"] for m in marks if m["name"] == "output_tokens"}
    requests = {numbers[s["id"]]: (end_of(s), tokens.get(s["id"]))
                for s in ours if s["name"] == "request"}  # fmt: skip
    assert requests == model.requests, differences(requests, model.requests)
    taken = [r for r in snapshots.values() if r["span_id"] in own]
    check_snapshots(model, [(numbers[r["span_id"]], r) for r in taken])
    return len(ours) + len(placed) + len(taken)


def end_of(request: dict[str, dict[str, object]]) -> str:
    """How a request ended."""
    if "error" in request["attrs"]:
        return "failed"
    return "whole" if request["attrs"].get("stream_completed", True) else "left"


def check_snapshots(model: Model, taken: list[tuple[int, dict[str, object]]]) -> None:
    """Holds snapshots against the epochs: each tensor once, its values, its file."""
    expected = {(epoch, name) for epoch in model.epochs for name in TENSORS} if watched else set()
    assert len(taken) == len(expected), f"{len(taken)} snapshots, not {len(expected)}"
    assert {(epoch, r["tensor_name"]) for epoch, r in taken} == expected
    for _, record in taken:
        assert record["stats"]["mean"] == TENSORS[record["tensor_name"]]
        assert (record["blob_uri"] is None) == (record["mode"] == "stats")
        if record["blob_uri"] is not None:
            assert Path(record["blob_uri"].removeprefix("file://")).is_file(), "a file is missing"


def check_trace(model: Model) -> None:
    """Holds the tree of the trace buffer against the model."""
    found: dict[int, int | None] = {}
    left: list[tuple[dict[str, object], int | None]] = []
    left += [(root, None) for root in ci.trace(format="dict")["roots"]]
    while left:
        node, parent = left.pop()
        number = node["index"]
        for mark in node["marks"]:
            if mark["name"] == "span":
                number = mark["value"]
        found[number] = parent
        left += [(child, number) for child in node["children"]]
    own = {n: p for n, p in model.parents.items() if n not in model.in_children}
    assert found == own, differences(found, own)


def differences(found: dict[int, object], expected: dict[int, object]) -> str:
    missing = sorted(expected.keys() - found.keys())
    foreign = sorted(found.keys() - expected.keys())
    moved = [n for n in found.keys() & expected.keys() if found[n] != expected[n]]
    return f"{len(missing)} missing {missing[:5]}, {len(foreign)} foreign {foreign[:5]}, " + (
        f"{len(moved)} moved {[(n, found[n], expected[n]) for n in moved[:5]]}"
    )


def play_round(seed: int, seconds: float) -> int:
    model = Model()
    failures: list[BaseException] = []
    mode = random.Random(seed).choice(["stats", "full"])
    settings = {"trace_buffer_max_spans": BUFFER, "snapshots": mode}
    profiler = ci.profile(settings, flush_interval=0.05)
    session = ci.trace(format="dict")["session"]["id"]
    deadline = time.monotonic() + seconds

    def act(actor: Actor) -> None:
        try:
            actor.run(deadline)
        except BaseException as error:
            failures.append(error)

    actors = [Actor(model, random.Random(seed * 100 + n)) for n in range(THREADS)]
    threads = [threading.Thread(target=act, args=(actor,)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert profiler.flush()
    health = profiler.health()
    for count in ("scope_drop_count", "mark_drop_count", "spool_dropped_records"):
        assert health[count] == 0, f"{count} is {health[count]}"
    assert health["span_count"] == len(model.parents) - len(model.in_children)
    if len(model.parents) < BUFFER:
        check_trace(model)
    profiler.shutdown()
    return check_files(model, session)


def measure() -> tuple[float, int, int]:
    """Memory in MiB, open files, threads."""
    with open("/proc/self/statm") as file:
        memory = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    return memory, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line of least squares, per unit of x."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@click.option("--seed", type=int, help="Of the random choices; shown when not given.")
@click.option("--round", "round_seconds", default=2.0, show_default=True, help="Seconds each.")
def main(minutes: float, seed: int | None, round_seconds: float) -> None:
    """Soaks the recorder; exit status 1 when it differs from the model or grows."""
    console = Console()
    seed = random.randrange(10**6) if seed is None else seed
    console.print(f"seed {seed}")
    started = time.monotonic()
    points: list[tuple[float, float]] = []
    files: list[tuple[int, int]] = []
    records = 0
    with tempfile.TemporaryDirectory(prefix="cirron-soak-") as directory:
        os.chdir(directory)
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("", total=minutes * 60)
            for number in itertools.count():
                elapsed = time.monotonic() - started
                if elapsed >= minutes * 60 and number >= 2:
                    break
                try:
                    records += play_round(seed + number, round_seconds)
                except AssertionError as error:
                    raise click.ClickException(f"round {number} of seed {seed}: {error}") from error
                memory, open_files, threads = measure()
                points.append((time.monotonic() - started, memory))
                files.append((open_files, threads))
                text = f"round {number}, {records:,} records, {memory:.1f} MiB, {open_files} files"
                progress.update(bar, completed=time.monotonic() - started, description=text)
        os.chdir("/")
    warm = int(len(points) * WARM_UP)
    per_hour = slope(points[warm:]) * 3600
    grown = per_hour / 3600 * (points[-1][0] - points[warm][0])
    console.print(
        f"{len(points)} rounds, {records:,} records as the model says; memory "
        f"{points[warm][1]:.1f} to {points[-1][1]:.1f} MiB after the warm-up "
        f"({per_hour:+.1f} MiB an hour); open files {files[warm][0]} to {files[-1][0]}, "
        f"threads {files[warm][1]} to {files[-1][1]}"
    )
    judged = len(points) - warm >= ROUNDS_TO_JUDGE
    if judged and grown > NOISE_MIB and per_hour > MEMORY_MIB_PER_HOUR:
        raise click.ClickException(f"memory grows by {per_hour:.1f} MiB an hour")
    if files[-1] > files[warm]:
        raise click.ClickException("open files or threads grow")


if __name__ == "__main__":
    main()
