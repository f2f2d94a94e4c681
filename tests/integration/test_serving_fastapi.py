"""FastAPI under uvicorn: what concurrent, cancelled and abandoned requests leave behind."""

import asyncio
import itertools
import re
import urllib.request

import pytest
from servers import requests_of, serving, spans_of
from work import SHAPE

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

ITEMS = 20
_numbers = itertools.count(1)


def numbers(count):
    return list(itertools.islice(_numbers, count))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    command = ("-m", "uvicorn", "fastapi_app:app", "--fd", "{fd}", "--no-access-log")
    folder = tmp_path_factory.mktemp("fastapi")
    with serving(folder, *command, "--timeout-graceful-shutdown", "5") as server:
        yield server
        first_unused = next(_numbers)
        assert requests_of(server.stop()).keys() == set(range(1, first_unused))


def get_all(server, paths, in_flight=64):
    """The responses to concurrent GETs over kept connections."""

    async def main():
        limits = httpx.Limits(max_connections=in_flight)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(client.get(path) for path in paths))

    return asyncio.run(main())


def get(server, path):
    with urllib.request.urlopen(server.url + path, timeout=60) as response:
        return response.read().decode()


def token_shape(*before):
    return ("request", (*before, *(("token", ()) for _ in range(ITEMS))))


def test_injection_validation_and_schema_see_the_function_itself(server):
    (number,) = numbers(1)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post(
            f"/predict/{number}?scale=2.5",
            json={"number": number, "text": "hi"},
            headers={"x-user": "ann"},
        )
        assert answer.json() == {
            **{"number": number, "variable": number, "seen": 7},
            **{"payload": {"number": number, "text": "hi"}, "user": "ann", "scale": 2.5},
        }
        assert client.post("/predict/x", json={}).status_code == 422
        schema = client.get("/openapi.json").json()["paths"]["/predict/{number}"]["post"]
        assert (schema["summary"], schema["description"]) == ("Predict", "Predicts.")
        assert {p["name"] for p in schema["parameters"]} == {"number", "scale", "x-user"}
    assert server.requests([number])[number].shape == SHAPE


def test_concurrent_requests_of_every_kind_keep_to_themselves(server):
    kinds = ("threaded", "background", "tasks", "stream/sync", "stream/async", "stream/returned")
    sent = [(n, kind) for n, kind in zip(numbers(240), itertools.cycle(kinds), strict=False)]
    answers = get_all(server, [f"/{kind}/{n}" for n, kind in sent])
    for (n, kind), answer in zip(sent, answers, strict=True):
        if kind.startswith("stream"):
            assert answer.text.split() == [f"{n}:{i}" for i in range(ITEMS)]
        else:
            assert answer.json()["number"] == n
    requests = server.requests(n for n, _ in sent)
    shapes = {
        **dict.fromkeys(("threaded", "background"), SHAPE),
        "tasks": ("request", (("fan_out", (("task", ()), ("grouped", ()), ("thread", ()))),)),
        **dict.fromkeys(("stream/sync", "stream/async"), token_shape()),
        "stream/returned": token_shape(("before", ())),
    }
    for n, kind in sent:
        root = requests[n]
        if kind == "tasks":
            (fan_out,) = root.children
            fan_out.children.sort(key=lambda node: ("task", "grouped", "thread").index(node.name))
        assert root.shape == shapes[kind], kind
        assert root.attrs.keys() == {"request_id"}
        assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", root.attrs["request_id"])
        for span in root.walk():
            assert root.start_ns <= span.start_ns <= span.end_ns <= root.end_ns
            assert span.attrs.get("number", n) == n


def test_stream_of_a_threaded_endpoint_lasts_until_the_body_is_sent(server):
    sent = numbers(20)
    answers = get_all(server, [f"/stream/threaded/{n}" for n in sent])
    requests = server.requests(sent)
    for n, answer in zip(sent, answers, strict=True):
        assert answer.text.split() == [f"{n}:{i}" for i in range(ITEMS)]
        assert requests[n].shape == token_shape(("before", ()))


def test_stream_notes_its_first_item_and_its_rate(server):
    (number,) = numbers(1)
    get(server, f"/stream/async/{number}")
    marks = server.requests([number])[number].marks
    assert marks["output_tokens"] == [ITEMS]
    assert {"time_to_first_token_ms", "tokens_per_second", "request_duration_ms"} <= marks.keys()
    assert 0 < marks["time_to_first_token_ms"][0] <= marks["request_duration_ms"][0]


def test_failed_request_carries_its_error(server):
    (number,) = numbers(1)
    (answer,) = get_all(server, [f"/failing/{number}"])
    assert answer.status_code == 500
    root = server.requests([number])[number]
    assert root.attrs["error"] == f"ValueError: no weights for {number}"
    assert root.shape == ("request", (("model", ()),))


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
def test_cancelled_request_closes_with_its_scopes(server, how):
    sent = numbers(30)
    for answer in get_all(server, [f"/{how}/{n}" for n in sent]):
        assert answer.json() == {"timed_out" if how == "timeout" else how: True}
    requests = server.requests(sent)
    for n in sent:
        assert requests[n].shape == ("request", (("model", ()),))
        assert [node.attrs["error"] for node in requests[n].walk()] == ["CancelledError"] * 2


def test_request_whose_client_ran_out_of_time_is_a_whole_one(server):
    """Uvicorn lets the endpoint work on; the request's time is what the work took."""
    (number,) = numbers(1)
    with httpx.Client(base_url=server.url) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"/patient/{number}", timeout=0.2)
        client.post("/release", json={"number": number}, timeout=60)
    root = server.requests([number])[number]
    assert root.shape == ("request", (("model", ()),))
    assert root.attrs.keys() == {"request_id"}


@pytest.mark.parametrize("kind", ["async", "returned"])
def test_client_that_leaves_while_the_stream_waits_cancels_the_request(server, kind):
    """Starlette cancels the task that sends, and the stream is waiting in it."""
    sent = numbers(8)

    async def leave(client, number):
        async with client.stream("GET", f"/endless/{kind}/{number}") as response:
            assert await anext(response.aiter_text()) == "first\n"

    async def main():
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await asyncio.gather(*(leave(client, n) for n in sent))

    asyncio.run(main())
    requests = server.requests(sent)
    for n in sent:
        assert requests[n].attrs["stream_completed"] is False
        assert requests[n].attrs["error"].startswith("CancelledError")


def test_client_that_leaves_between_two_items_is_no_error(server):
    """Starlette cancels its own sending; the generator is collected where it yields."""
    (number,) = numbers(1)
    with httpx.stream("GET", f"{server.url}/endless/sync/{number}", timeout=60) as response:
        next(response.iter_raw())
    root = server.requests([number])[number]
    assert root.attrs.keys() == {"request_id", "stream_completed"}
    assert root.attrs["stream_completed"] is False


def test_stream_that_fails_says_so(server):
    (number,) = numbers(1)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url}/failing/stream/{number}", timeout=60)
    attrs = server.requests([number])[number].attrs
    assert (attrs["error"], attrs["stream_completed"]) == ("RuntimeError: lost the model", False)


@pytest.mark.parametrize("kind", ["plain", "generator", "async_generator", "loop", "async_loop"])
def test_users_context_variables_behave_as_without_us(server, kind):
    (number,) = numbers(1)
    assert get(server, f"/decorated/{kind}/{number}") == get(server, f"/bare/{kind}/{number}")


def test_lifespan_and_background_scopes_are_of_no_request(tmp_path):
    command = ("-m", "uvicorn", "fastapi_app:app", "--fd", "{fd}")
    with serving(tmp_path, *command) as server:
        get(server, "/background/1")
        batches = server.stop()
    (session,) = (n for n in spans_of(batches).values() if n.name == "cirron.session")
    assert [node.name for node in session.children] == ["load_model", "request", "background"]
    assert all(node.end_ns is not None for node in session.walk())


def test_sigterm_in_mid_stream_closes_the_request_when_the_server_gives_up(tmp_path):
    command = ("-m", "uvicorn", "fastapi_app:app", "--fd", "{fd}")
    with serving(tmp_path, *command, "--timeout-graceful-shutdown", "1") as server:
        stream = f"{server.url}/endless/async/1"
        with httpx.stream("GET", stream, timeout=60) as response:
            assert next(response.iter_text()) == "first\n"
            batches = server.stop()
    nodes = spans_of(batches).values()
    assert all(node.end_ns is not None for node in nodes)
    attrs = requests_of(batches)[1].attrs
    assert (attrs["stream_completed"], attrs["error"][:14]) == (False, "CancelledError")
