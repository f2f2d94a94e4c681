"""Servers and workers that fork a program which has begun to record: gunicorn with
--preload, uWSGI, which forks in C, and Celery's prefork pool. Every request is written once,
by the process that served it, under the session of the program that was loaded."""

import contextlib
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import rounds, spool_batches

APPLICATION = """
import os, threading
import cirron as ci

ci.profile(flush_interval={interval})
with ci.scope("load"):
    pass

@ci.inference
def predict(number):
    with ci.scope("model", number):
        ci.mark("number", number)
    return {{"output": number}}

def application(environ, start_response):
    number = int(environ["PATH_INFO"][1:])
    predict(number)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, number):
    """Asks until the server is up and the worker that it reached is not just ending."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", f"/{number}")
            response = connection.getresponse()
            assert response.status == 200
            return int(response.read())
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


def end(server):
    server.terminate()
    try:
        return server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        raise AssertionError(f"no end:\n{Path('server.log').read_text()}") from None


def serve(command, port, requests, calm_s=0.0):
    """Runs a server, asks it from eight threads, ends it; returns the pids that answered.

    Before the end there are `calm_s` seconds: uWSGI forgets a worker that is just starting
    when it is told to end, and waits for it for ever, with cirron or without.
    """
    with open("server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            pids = [get(port, 0)]
            with ThreadPoolExecutor(8) as pool:
                pids += pool.map(lambda number: get(port, number), range(1, requests))
            time.sleep(calm_s)
        finally:
            code = end(server)
    said = Path("server.log").read_text()
    assert "Traceback" not in said, said
    assert "DeprecationWarning" not in said, said
    return Counter(pids), code


def check_requests(requests, served):
    """Each once: its model span, its mark; under one session, by who answered."""
    batches = spool_batches()
    spans = [s for b in batches for s in b["spans"] if s["end_ns"] is not None]
    models = [s for s in spans if s["name"] == "model"]
    assert sorted(s["index"] for s in models) == list(range(requests))
    assert sorted(m["value"] for b in batches for m in b["marks"] if m["name"] == "number") == (
        list(range(requests))
    )
    assert Counter(s["pid"] for s in models) == served
    by_id = {s["id"]: s for s in spans}
    (root,) = [s for s in spans if s["name"] == "cirron.session"]
    for model in models:
        request = by_id[model["parent_id"]]
        assert request["parent_id"] == root["id"]
        assert request["pid"] == model["pid"] != root["pid"]
    assert sum(s["name"] == "load" for s in spans) == 1


@pytest.mark.parametrize(
    "options",
    [("--worker-class", "sync"), ("--worker-class", "gthread", "--threads", "4")],
    ids=["processes", "threads"],
)
def test_gunicorn_with_a_preloaded_program(options):
    pytest.importorskip("gunicorn")
    Path("app.py").write_text(APPLICATION.format(interval=3600))
    port, requests = free_port(), rounds(40, 1000)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "4", *options]
    command += ["--bind", f"127.0.0.1:{port}", "app:application"]
    served, code = serve(command, port, requests)
    assert code == 0
    check_requests(requests, served)


def test_gunicorn_that_replaces_its_workers():
    pytest.importorskip("gunicorn")
    Path("app.py").write_text(APPLICATION.format(interval=3600))
    port, requests = free_port(), rounds(40, 400)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2"]
    command += ["--max-requests", "5", "--bind", f"127.0.0.1:{port}", "app:application"]
    served, code = serve(command, port, requests)
    assert code == 0
    assert len(served) >= 4
    check_requests(requests, served)


UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed; make life does")
@pytest.mark.parametrize(
    "options",
    [
        ("--enable-threads",),
        (),
        ("--enable-threads", "--threads", "4"),
        ("--enable-threads", "--max-requests", "5", "--min-worker-lifetime", "0"),
        ("--enable-threads", "--lazy-apps"),
    ],
    ids=["threads on", "threads off", "four threads", "recycled", "lazy"],
)
def test_uwsgi_forks_in_c(options):
    Path("app.py").write_text(APPLICATION.format(interval=3600))
    port, requests = free_port(), rounds(40, 400)
    command = [UWSGI, "--master", "--processes", "3", "--http-socket", f"127.0.0.1:{port}"]
    command += ["--need-app", "--die-on-term", "--module", "app:application", *options]
    command += ["--home", sys.prefix]
    lazy = "--lazy-apps" in options
    served, _ = serve(command, port, requests, 4.0 if lazy or "--max-requests" in options else 0)
    if lazy:  # each worker has a session of its own
        spans = [s for b in spool_batches() for s in b["spans"] if s["end_ns"] is not None]
        assert sorted(s["index"] for s in spans if s["name"] == "model") == list(range(requests))
        assert sum(s["name"] == "cirron.session" for s in spans) == 3
    else:
        check_requests(requests, served)


CELERY = """
import cirron as ci
from celery import Celery

app = Celery("tasks", broker="filesystem://", backend="file://results")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
}
app.conf.worker_hijack_root_logger = False
ci.profile()

@app.task
def work(number):
    with ci.scope("task", number):
        ci.mark("number", number)
    return number
"""


def count_written(name):
    """How often it is in the files that are there so far."""
    files = Path(".cirron/spool").glob("*.json")
    return sum(file.read_text().count(f'"name":"{name}"') for file in files)


@pytest.mark.skipif(importlib.util.find_spec("celery") is None, reason="needs Celery")
@pytest.mark.parametrize("recycled", [None, 3])
def test_celery_with_a_prefork_pool(recycled):
    """A process that takes the place of another is killed at the end of the pool, by SIGKILL,
    for Celery asks for that at the end of the thread that forked it; the pool may then wait
    for ever for the lock that it held. So all has to be written before that end."""
    tasks = rounds(20, 300)
    for folder in ("queue", "control", "results"):
        Path(folder).mkdir()
    Path("tasks.py").write_text(CELERY)
    send = f"import tasks\nfor n in range({tasks}): tasks.work.delay(n)"
    silent = {**os.environ, "CIRRON_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", send], check=True, env=silent)
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork"]
    command += ["--concurrency", "2", "--loglevel", "INFO", "--without-gossip"]
    command += ["--without-mingle", "--without-heartbeat"]
    command += ["--max-tasks-per-child", str(recycled)] if recycled else []
    env = {**os.environ, "CIRRON_FLUSH_INTERVAL": "0.1" if recycled else "3600"}

    def is_done():
        return count_written("task") == tasks if recycled else len(os.listdir("results")) == tasks

    with open("worker.log", "w") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        try:
            deadline = time.monotonic() + 90
            while not is_done() and time.monotonic() < deadline:
                time.sleep(0.1)
            worker.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(30)
        finally:
            worker.kill()
            worker.wait()
    said = Path("worker.log").read_text()
    spans = [s for b in spool_batches() for s in b["spans"] if s["end_ns"] is not None]
    assert sorted(s["index"] for s in spans if s["name"] == "task") == list(range(tasks)), said
    pids = Counter(s["pid"] for s in spans if s["name"] == "task")
    if recycled:
        assert max(pids.values()) <= recycled
    assert "DeprecationWarning" not in said
