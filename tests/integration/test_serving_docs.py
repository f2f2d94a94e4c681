"""The services of docs/serving.md: started as it says, asked, and looked at as it says."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from servers import serving

import cirron as ci

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
GUIDE = EXAMPLES.parent / "serving.md"


def ask(server, path, body=None):
    message = urllib.request.Request(
        server.url + path,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(message, timeout=60) as response:
        return response.read().decode()


def view(folder):
    """The lines of the newest session, without durations and ids."""
    shown = subprocess.run(
        [sys.executable, "-m", "cirron", "traces", "view"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "(live)" not in shown.stdout
    return [
        re.sub(r" — \S+| (pid|request_id|rank)=\w+|=[\d.]+ \(summary\)", "", line)
        for line in shown.stdout.splitlines()
    ]


def uvicorn(folder, app, **env):
    command = ("-m", "uvicorn", app, "--fd", "{fd}", "--app-dir", str(EXAMPLES))
    return serving(folder, *command, **env)


def test_fastapi_service_is_traced_and_reads_its_config(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("fastapi")
    with uvicorn(tmp_path, "serve_fastapi:app", CONFIG='{"threshold": 1.5}') as server:
        answer = json.loads(ask(server, "/predict", {"sample": 7}))
        assert (answer["digit"], answer["verdict"]) == (7, "unsure")
        server.stop()
    assert view(tmp_path)[:-1] == [
        "cirron.session",
        "  load_model",
        "  request",
        "    preprocess",
        "    model",
    ]
    assert view(tmp_path)[-1].startswith("    ci.mark score=")


def test_flask_service_under_gunicorn_is_one_session(tmp_path):
    pytest.importorskip("flask")
    pytest.importorskip("gunicorn")
    command = ("--config", str(EXAMPLES / "gunicorn.conf.py"), "--bind", "fd://{fd}")
    app = ("--pythonpath", str(EXAMPLES), "serve_flask:app")
    with serving(tmp_path, "-m", "gunicorn", *command, *app) as server:
        assert json.loads(ask(server, "/similar/tracer"))["tracer"] == 1.0
        assert ask(server, "/complete/tra").split() == ["trace", "tracer", "tracing", "training"]
        server.stop()
    shown = view(tmp_path)
    assert shown[:5] == [
        "cirron.session",
        "  request",
        "    score words=8",
        "    rank",
        "    ci.mark best_score=1.0000",
    ]
    assert shown[5:7] == ["  request", "    ci.mark output_tokens"]


def test_llm_stream_is_traced_as_the_guide_shows(tmp_path):
    pytest.importorskip("fastapi")
    with uvicorn(tmp_path, "serve_llm_stream:app") as server:
        events = ask(server, "/chat", {"prompt": "Why trace?"}).split("\n\n")
        assert (len(events), events[-2]) == (12, "data: [DONE]")
        server.stop()
    picture = re.search(r"\n((?: {4}.*\n)+)\nA request whose", GUIDE.read_text())[1]
    lines = [
        re.sub(r" — \S+| request_id=\w+|=[\d.]+ \(summary\)", "", line)
        for line in picture.splitlines()
    ]
    remaining = iter(view(tmp_path))
    for line in lines:
        assert line.strip() == "..." or line[2:] in remaining, line


def test_python_of_the_guide_runs_or_is_in_the_examples():
    pytest.importorskip("fastapi")
    blocks = re.findall(
        r"^(?:From \[\S+\]\(examples/(\S+)\):\n\n)?```python\n(.*?)^```",
        GUIDE.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert len(blocks) == 5
    for name, excerpt in blocks:
        if not name:
            exec(excerpt, {"ci": ci})
            continue
        remaining = iter((EXAMPLES / name).read_text().splitlines())
        for line in excerpt.splitlines():
            assert line.strip() == "..." or line in remaining, f"{name}: {line}"
