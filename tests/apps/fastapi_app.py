"""A FastAPI service, endpoints of every kind; annotations are strings, as in many programs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import BackgroundTasks, Body, Depends, FastAPI, Header
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from work import serve, serve_async, users_variable

import cirron as ci

ITEMS = 20


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with ci.profile():
        with ci.scope("load_model"):
            await asyncio.sleep(0)
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/flush")
def flush() -> None:
    gc.collect()  # abandoned generators end when they are collected
    ci.flush()


class Payload(BaseModel):
    number: int
    text: str


async def user(x_user: Annotated[str, Header()] = "nobody") -> str:
    users_variable.set(7)
    return x_user


@app.post("/predict/{number}")
@ci.inference
async def predict(
    number: int, payload: Payload, user: Annotated[str, Depends(user)], scale: float = 1.0
) -> dict[str, Any]:
    """Predicts."""
    seen = users_variable.get()
    done = await serve_async(number)
    return {**done, "seen": seen, "payload": payload, "user": user, "scale": scale}


@app.get("/threaded/{number}")
@ci.inference
def threaded(number: int) -> dict[str, int]:
    return serve(number)


@app.get("/tasks/{number}")
@ci.inference
async def tasks(number: int) -> dict[str, int]:
    async def task(name: str) -> None:
        with ci.scope(name):
            await asyncio.sleep(0.001)
            ci.mark("number", number)

    def thread() -> None:
        with ci.scope("thread"):
            ci.mark("number", number)

    with ci.scope("fan_out"):
        first = asyncio.create_task(task("task"))
        async with asyncio.TaskGroup() as group:
            group.create_task(task("grouped"))
        await asyncio.to_thread(thread)
        await first
    return {"number": number}


@app.get("/background/{number}")
@ci.inference
async def background(number: int, later: BackgroundTasks) -> dict[str, int]:
    def store() -> None:
        with ci.scope("background", number=number):
            pass

    later.add_task(store)
    return await serve_async(number)


def _items(number: int, count: int = ITEMS) -> Iterator[str]:
    ci.mark("number", number)
    for i in range(count):
        with ci.scope("token", i):
            ci.mark("number", number)
        yield f"{number}:{i}\n"


async def _async_items(number: int, count: int = ITEMS) -> AsyncIterator[str]:
    for item in _items(number, count):
        await asyncio.sleep(0)
        yield item


streamed = ci.inference(_items)
streamed_async = ci.inference(_async_items)


@app.get("/stream/sync/{number}")
async def stream_sync(number: int) -> StreamingResponse:
    return StreamingResponse(streamed(number))


@app.get("/stream/async/{number}")
async def stream_async(number: int) -> StreamingResponse:
    return StreamingResponse(streamed_async(number))


@app.get("/stream/returned/{number}")
@ci.inference
async def stream_returned(number: int) -> StreamingResponse:
    with ci.scope("before"):
        return StreamingResponse(_async_items(number), media_type="text/plain")


@app.get("/stream/threaded/{number}")
@ci.inference
def stream_threaded(number: int) -> StreamingResponse:
    with ci.scope("before"):
        return StreamingResponse(_items(number), media_type="text/plain")


# ---- requests that do not end well


@app.get("/failing/{number}")
@ci.inference
async def failing(number: int) -> None:
    with ci.scope("model"):
        ci.mark("number", number)
        raise ValueError(f"no weights for {number}")


@ci.inference
async def slow(number: int) -> None:
    ci.mark("number", number)
    with ci.scope("model"):
        await asyncio.sleep(3600)


@app.get("/timeout/{number}")
async def timeout(number: int) -> dict[str, bool]:
    try:
        async with asyncio.timeout(0.01):
            await slow(number)
    except TimeoutError:
        return {"timed_out": True}
    return {"timed_out": False}


@app.get("/cancelled/{number}")
async def cancelled(number: int) -> dict[str, bool]:
    task = asyncio.create_task(slow(number))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return {"cancelled": task.cancelled()}


_released: dict[int, asyncio.Event] = {}


@app.get("/patient/{number}")
@ci.inference
async def patient(number: int) -> dict[str, int]:
    """Works on until somebody posts its release, whether or not its client still waits."""
    ci.mark("number", number)
    with ci.scope("model"):
        await _released.setdefault(number, asyncio.Event()).wait()
    return {"number": number}


@app.post("/release")
async def release(number: Annotated[int, Body(embed=True)]) -> None:
    _released.setdefault(number, asyncio.Event()).set()


@ci.inference
async def endless_waits(number: int) -> AsyncIterator[str]:
    ci.mark("number", number)
    yield "first\n"
    with ci.scope("second"):
        await asyncio.sleep(3600)


@ci.inference
def endless(number: int) -> Iterator[str]:
    ci.mark("number", number)
    while True:
        yield "more\n" * 1000


@app.get("/endless/async/{number}")
async def endless_async(number: int) -> StreamingResponse:
    return StreamingResponse(endless_waits(number))


@app.get("/endless/sync/{number}")
async def endless_sync(number: int) -> StreamingResponse:
    return StreamingResponse(endless(number))


@app.get("/endless/returned/{number}")
@ci.inference
async def endless_returned(number: int) -> StreamingResponse:
    ci.mark("number", number)

    async def body() -> AsyncIterator[str]:
        yield "first\n"
        await asyncio.sleep(3600)

    return StreamingResponse(body())


@app.get("/failing/stream/{number}")
async def failing_stream(number: int) -> StreamingResponse:
    @ci.inference
    async def body() -> AsyncIterator[str]:
        ci.mark("number", number)
        yield "first\n"
        raise RuntimeError("lost the model")

    return StreamingResponse(body())


# ---- the user's own context variables, decorated and not


async def touches(number: int) -> list[int]:
    ci.mark("number", number)
    before = users_variable.get()
    users_variable.set(5)
    await asyncio.sleep(0)
    return [before, users_variable.get()]


def touches_in_generator(number: int) -> Iterator[str]:
    ci.mark("number", number)
    for i in range(3):
        yield f"{users_variable.get()} "
        users_variable.set(i)


async def touches_in_async_generator(number: int) -> AsyncIterator[str]:
    for item in touches_in_generator(number):
        yield item


def routes(prefix: str, decorate: Any) -> None:
    plain = decorate(touches)
    generator = decorate(touches_in_generator)
    async_generator = decorate(touches_in_async_generator)

    @app.get(f"/{prefix}/plain/{{number}}")
    async def _plain(number: int) -> list[int]:
        return [*await plain(number), users_variable.get()]

    @app.get(f"/{prefix}/generator/{{number}}")
    async def _generator(number: int) -> StreamingResponse:
        return StreamingResponse(generator(number))

    @app.get(f"/{prefix}/async_generator/{{number}}")
    async def _async_generator(number: int) -> StreamingResponse:
        return StreamingResponse(async_generator(number))

    @app.get(f"/{prefix}/loop/{{number}}")
    async def _loop(number: int) -> list[str]:
        return [*generator(number), str(users_variable.get())]

    @app.get(f"/{prefix}/async_loop/{{number}}")
    async def _async_loop(number: int) -> list[str]:
        return [*[item async for item in async_generator(number)], str(users_variable.get())]


routes("bare", lambda fn: fn)
routes("decorated", ci.inference)
