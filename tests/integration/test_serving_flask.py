"""Flask under waitress, and under gunicorn with threads and with greenlets."""

import itertools
import json
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import APPS, requests_of, serving, spans_of
from work import SHAPE

pytest.importorskip("flask")
ITEMS = 20
GUNICORN = ("-m", "gunicorn", "--bind", "fd://{fd}", "flask_app:app")
SERVERS = {
    "waitress": (str(APPS / "under_waitress.py"), "{fd}"),
    "gthread": (*GUNICORN, "--worker-class", "gthread", "--workers", "2", "--threads", "8"),
    "gthread-preload": (
        *GUNICORN,
        *("--worker-class", "gthread", "--workers", "3", "--threads", "8", "--preload"),
    ),
    "gevent": (*GUNICORN, "--worker-class", "gevent", "--workers", "2"),
    "gevent-preload": (*GUNICORN, "--worker-class", "gevent", "--workers", "2", "--preload"),
}
STREAMS = ("stream/decorated", "stream/returned", "stream/view", "stream/context")


def ask(server, method, path, body=None):
    message = urllib.request.Request(
        server.url + path,
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(message, timeout=60) as response:
        return response.read().decode()


@pytest.mark.parametrize("name", SERVERS)
def test_concurrent_requests_keep_to_themselves(tmp_path, name):
    pytest.importorskip("waitress" if name == "waitress" else "gunicorn")
    kinds = ("predict", "dict", "file", *STREAMS)
    sent = list(zip(range(210), itertools.cycle(kinds), strict=False))
    pids = Counter()

    def send(number, kind):
        if kind == "predict":
            answer = ask(server, "POST", f"/predict/{number}?scale=1.5", {"text": "hi"})
            done, *rest, pid = json.loads(answer)
            assert (done, rest) == (
                {"number": number, "variable": number},
                [{"text": "hi"}, 1.5, "predict"],
            )
            pids[pid] += 1
        elif kind == "dict":
            assert json.loads(ask(server, "GET", f"/dict/{number}"))["number"] == number
        elif kind == "file":
            assert ask(server, "GET", f"/file/{number}") == (APPS / "flask_app.py").read_text()
        else:
            lines = ask(server, "GET", f"/{kind}/{number}").split()
            assert lines == [f"{number}:{i}" for i in range(ITEMS)]

    with serving(tmp_path, *SERVERS[name]) as server, ThreadPoolExecutor(24) as pool:
        for sending in [pool.submit(send, *request) for request in sent]:
            sending.result()
        batches = server.stop()
    requests = requests_of(batches)
    assert requests.keys() == dict(sent).keys()
    streamed = ("request", tuple(("token", ()) for _ in range(ITEMS)))
    for n, kind in sent:
        assert requests[n].shape == (streamed if kind.startswith("stream") else SHAPE), kind
        assert requests[n].end_ns is not None
        assert requests[n].attrs.keys() == {"request_id"}
        assert ("output_tokens" in requests[n].marks) is kind.startswith("stream")
        assert len({span.pid for span in requests[n].walk()}) == 1
    nodes = spans_of(batches)
    above = {nodes[requests[n].parent_id].name for n in requests}
    assert above == {"cirron.session"}
    assert {request.pid for request in requests.values()} >= set(pids)
    loaded = sum(node.name == "load_model" for node in nodes.values())
    workers = 1 if name == "waitress" or "preload" in name else 2
    assert loaded == workers


@pytest.mark.parametrize("name", ["waitress", "gevent"])
def test_clients_that_leave_and_views_that_fail_close_their_requests(tmp_path, name):
    command = SERVERS[name] if name == "waitress" else (*SERVERS[name][:-1], "1")
    with serving(tmp_path, *command) as server:

        def leave(number):
            with urllib.request.urlopen(f"{server.url}/endless/{number}", timeout=60) as response:
                assert response.readline() == b"more\n"

        def fail(number):
            with pytest.raises(urllib.error.HTTPError) as failed:
                ask(server, "GET", f"/failing/{number}")
            assert failed.value.code == 500
            failed.value.close()

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(leave, n) for n in range(8)]:
                done.result()
            for done in [pool.submit(fail, n) for n in range(8, 16)]:
                done.result()
        requests = server.requests(range(16))
    for n in range(8):
        attrs = requests[n].attrs
        assert (attrs["stream_completed"], "error" in attrs) == (False, False)
    for n in range(8, 16):
        assert requests[n].attrs["error"] == f"ValueError: no weights for {n}"
        assert "stream_completed" not in requests[n].attrs
