"""Other profilers on the same loops, each in a virtual environment of its own.

A peer takes part when `build/peers/<name>/bin/python` exists; `make bench-peers` makes
them.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from hot_paths import Figure

_FOLDER = Path(__file__).parent.parent / "build" / "peers"

PEERS = {
    "cirron 0.3.0 (pure Python)": (
        "original",
        ["cirron-sdk==0.3.0"],
        """
import cirron as ci
ci.profile()
scope, mark = ci.scope, ci.mark
def spans(n):
    for _ in range(n):
        with scope("work"):
            pass
def marks(n):
    with scope("open"):
        for _ in range(n):
            mark("loss", 0.5)
""",
    ),
    "OpenTelemetry SDK": (
        "opentelemetry",
        ["opentelemetry-sdk"],
        """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
class Drop(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Drop()))
tracer = provider.get_tracer("bench")
def spans(n):
    start = tracer.start_as_current_span
    for _ in range(n):
        with start("work"):
            pass
marks = None
""",
    ),
    "VizTracer": (
        "viztracer",
        ["viztracer"],
        """
from viztracer import VizTracer
tracer = VizTracer(tracer_entries=2_000_000, verbose=0, log_sparse=True)
tracer.start()
def spans(n):
    event = tracer.log_event
    for _ in range(n):
        with event("work"):
            pass
def marks(n):
    log = tracer.log_instant
    for _ in range(n):
        log("loss", 0.5)
""",
    ),
    "nvtx (keeps nothing here)": (
        "nvtx",
        ["nvtx"],
        """
import nvtx
def spans(n):
    annotate = nvtx.annotate
    for _ in range(n):
        with annotate("work"):
            pass
marks = None
""",
    ),
}

_MEASURE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from timing import against_floor
{setup}
result = {{"scope": against_floor(spans, 2000, 3)}}
if marks is not None:
    result["mark"] = against_floor(marks, 2000, 3)
print("RESULT" + json.dumps(result), flush=True)
os._exit(0)
"""


def _measure(folder: str, setup: str) -> dict[str, tuple[float, float]]:
    script = _MEASURE.format(setup=setup)
    with tempfile.TemporaryDirectory() as cwd:
        result = subprocess.run(
            [_FOLDER / folder / "bin" / "python", "-c", script, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
        )
    lines = [line for line in result.stdout.splitlines() if line.startswith("RESULT")]
    return dict(json.loads(lines[0].removeprefix("RESULT"))) if lines else {}


def figures() -> list[Figure]:
    rows: list[Figure] = []
    for name, (folder, _, setup) in PEERS.items():
        if not (_FOLDER / folder / "bin" / "python").exists():
            continue
        for case, (theirs, floor) in _measure(folder, setup).items():
            rows.append(
                (
                    f"{case}: {name}",
                    f"{theirs:.0f} ns",
                    f"{floor:.0f} ns",
                    f"{theirs / floor:.1f}",
                    "",
                )
            )
    return rows


def install() -> None:
    """Makes an environment for each peer that has none."""
    import venv

    for folder, packages, _ in PEERS.values():
        target = _FOLDER / folder
        if not (target / "bin" / "python").exists():
            venv.create(target, with_pip=True)
            subprocess.run([target / "bin" / "pip", "install", "--quiet", *packages], check=True)


if __name__ == "__main__":
    install()
