import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

for _setting in (
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED",
    "DD_REMOTE_CONFIGURATION_ENABLED",
    "DD_CRASHTRACKING_ENABLED",
):
    os.environ[_setting] = "false"

_tracer = None


def start(folder: str) -> None:
    global _tracer, _agent
    if _tracer is not None:
        return
    _agent = subprocess.Popen(
        [sys.executable, Path(__file__).parents[1] / "agent.py", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert _agent.stdout is not None
    os.environ["DD_TRACE_AGENT_URL"] = f"http://127.0.0.1:{int(_agent.stdout.readline())}"
    from ddtrace.trace import tracer

    _tracer = tracer


def stop() -> None:
    _tracer.flush()


def span(name: str) -> AbstractContextManager[object]:
    return _tracer.trace(name)


def spans(n: int) -> None:
    start = _tracer.trace
    for _ in range(n):
        with start("work"):
            pass


def values(n: int) -> None:
    with _tracer.trace("values") as parent:
        for _ in range(n):
            parent.set_metric("loss", 0.5)


def stored(folder: str, name: str) -> int:
    """Counts traces: each span that is counted here is one of its own."""
    traces = Path(folder, "traces")
    return sum(map(int, traces.read_text().split())) if traces.exists() else 0
