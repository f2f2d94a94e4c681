"""A swept program: scopes, marks, loops and requests, in threads as well."""

import contextlib
import types
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from program import attempt, ci, in_thread, live, section


def record(name: str) -> None:
    for i in range(2):  # the second finds its names known
        with ci.scope(name, i, text="grüße", nested={"a": [1, 2.5, None]}) as scope:
            scope.attrs["late"] = "x" * 300
            ci.mark("loss", 0.5)
            ci.mark(f"name of its own {i}", 7, unit="ms", long="y" * 300)
            ci.mark("text", "z" * 200, kind="summary")


def decorate_and_call() -> None:
    @ci.scope("decorated", 2**70)
    def decorated() -> None:
        raise LookupError("the span says so")

    expect_lookup_error(decorated)


def loops() -> None:
    for _ in ci.epochs(range(1)):
        for _ in ci.batches(iter(range(2))):
            ci.mark("loss", 0.25)


@ci.inference
def generate() -> Iterator[object]:
    yield {"usage": {"prompt_tokens": 3}}
    yield "text"


@types.coroutine
def pause() -> Iterator[None]:
    yield


@ci.inference(config={"stream_chunk_timing": True})
async def generate_async() -> AsyncIterator[str]:
    yield "a"
    await pause()
    yield "b"


@ci.inference
def answer() -> dict[str, Any]:
    return {"usage": {"input_tokens": 3, "output_tokens": 4}}


@ci.inference
def stream() -> Iterator[bytes]:
    return iter([b"one", b"two"])


@ci.inference
async def answer_async() -> str:
    await pause()
    return "text"


@ci.inference
def refuse() -> None:
    raise LookupError("no such model")


def run(coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


async def consume() -> None:
    async for _ in generate_async():
        pass


def expect_lookup_error(function: Any) -> None:
    with contextlib.suppress(LookupError):
        function()


def serve() -> None:
    section("generator", lambda: list(generate()))
    section("async generator", lambda: run(consume()))
    section("function", answer)
    section("returned stream", lambda: list(stream()))
    section("coroutine", lambda: run(answer_async()))
    section("failing function", lambda: expect_lookup_error(refuse))


def record_all(name: str) -> None:
    attempt("record", record, name)
    attempt("decorated", decorate_and_call)
    attempt("loops", loops)
    in_thread(record, "thread")
    serve()


def record_more(name: str) -> None:
    attempt("record", record, name)


live(record_all, record_more)
