"""Bare Starlette, and an ASGI application of a few lines, under uvicorn."""

import asyncio
import itertools

import pytest
from servers import requests_of, serving, spans_of
from work import SHAPE

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")


def uvicorn(folder, app, *options):
    return serving(folder, "-m", "uvicorn", app, "--fd", "{fd}", "--no-access-log", *options)


def get_all(server, paths):
    async def main():
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(client.get(path) for path in paths))

    return asyncio.run(main())


def test_starlette_endpoints_of_every_kind_keep_to_themselves(tmp_path):
    kinds = ("predict", "threaded", "class", "stream", "stream_threaded")
    sent = list(zip(range(200), itertools.cycle(kinds), strict=False))
    with uvicorn(tmp_path, "starlette_app:app") as server:
        answers = get_all(server, [f"/{kind}/{n}" for n, kind in sent])
        batches = server.stop()
    nodes = spans_of(batches)
    requests = requests_of(batches)
    assert requests.keys() == dict(sent).keys()
    for (n, kind), answer in zip(sent, answers, strict=True):
        if kind.startswith("stream"):
            assert answer.text == str(n)
        else:
            assert answer.json() == {"number": n, "variable": n}
        assert requests[n].shape == SHAPE, kind
        assert requests[n].end_ns is not None
        above = nodes[requests[n].parent_id]
        assert above.name == "middleware", kind
    names = [node.name for node in nodes.values()]
    assert names.count("after") == names.count("request") / len(kinds)
    assert all(node.end_ns is not None for node in nodes.values())


@pytest.mark.parametrize("app", ["app", "application"])
def test_decorated_asgi_application_is_a_request_a_call(tmp_path, app):
    async def leave(client, number):
        async with client.stream("GET", f"/wait/{number}") as response:
            assert await anext(response.aiter_text()) == "first"

    async def leave_all(server):
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await asyncio.gather(*(leave(client, n) for n in range(100, 110)))

    with uvicorn(tmp_path, f"asgi_app:{app}", "--lifespan", "off") as server:
        answers = get_all(server, [f"/{n}" for n in range(100)])
        asyncio.run(leave_all(server))
        server.wait_until(lambda: server.log.count("Error: the client has left") >= 10)
        requests = requests_of(server.stop())
    assert [answer.json()["number"] for answer in answers] == list(range(100))
    assert requests.keys() == set(range(110))
    assert {requests[n].shape for n in range(100)} == {SHAPE}
    errors = {requests[n].attrs.get("error") for n in range(100, 110)}
    assert errors == {"ConnectionResetError: the client has left"}
