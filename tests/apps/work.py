"""What each request of the test apps does: its own number, in every scope of its own."""

import asyncio
import contextvars
import time

import cirron as ci

SHAPE = ("request", (("preprocess", (("tokenize", ()),)), ("model", ())))

users_variable: contextvars.ContextVar[int] = contextvars.ContextVar("users_variable", default=-1)


def serve(number: int) -> dict[str, int]:
    """A request's work on a thread: gives way inside every scope."""
    pause = number % 5 / 1000
    users_variable.set(number)
    ci.mark("number", number)
    with ci.scope("preprocess"):
        ci.mark("number", number)
        time.sleep(pause)
        with ci.scope("tokenize", number=number):
            time.sleep(pause)
            ci.mark("number", number)
    with ci.scope("model"):
        time.sleep(pause)
        ci.mark("number", number)
    return {"number": number, "variable": users_variable.get()}


async def serve_async(number: int) -> dict[str, int]:
    """The same in a task."""
    pause = number % 5 / 1000
    users_variable.set(number)
    ci.mark("number", number)
    with ci.scope("preprocess"):
        ci.mark("number", number)
        await asyncio.sleep(pause)
        with ci.scope("tokenize", number=number):
            await asyncio.sleep(pause)
            ci.mark("number", number)
    with ci.scope("model"):
        await asyncio.sleep(pause)
        ci.mark("number", number)
    return {"number": number, "variable": users_variable.get()}
