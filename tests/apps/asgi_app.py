"""An ASGI application with no framework: the application itself is what is decorated."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from work import serve_async

import cirron as ci

ci.profile()
Message = dict[str, Any]


@ci.inference
async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    number = int(scope["path"].rsplit("/", 1)[1])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"].startswith("/wait"):  # for the client to leave
        ci.mark("number", number)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ConnectionResetError("the client has left")
    async with asyncio.timeout(60):
        done = await serve_async(number)
    await send({"type": "http.response.body", "body": json.dumps(done).encode()})


class Application:
    """The same as an object."""

    @ci.inference
    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        await app.__wrapped__(scope, receive, send)


application = Application()
