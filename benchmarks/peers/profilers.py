"""The profilers that are compared, where each is installed, and what a reader must know.

Each has an environment of its own in `build/peers/<name>` and an adapter of the same name
in `adapters/`.
"""

import re
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "peers"
TORCH = "torch==2.13.0"

_DROPS = "its queue of 2,048 spans drops what it has no room for"
_NO_HOOKS = "has no hooks for a training loop"
_NEEDS_NSIGHT = "keeps nothing by itself: NVIDIA Nsight, attached, would"
_NOT_AT_END = "nothing flushes when the child ends; one that lived 6 s longer had all 1,000 stored"
_AT_THE_END = "keeps everything in memory until it is stopped and saved"


@dataclass(frozen=True)
class Profiler:
    """One row of the table; `notes` say of a column what its figure does not."""

    name: str
    title: str
    packages: list[str]
    imports: str
    notes: dict[str, str] = field(default_factory=dict)
    keeps: bool = True  # whether there is anything to read afterwards

    @property
    def python(self) -> Path:
        if self.name == "ours":
            return Path(sys.executable)
        return FOLDER / self.name / "bin" / "python"


PROFILERS = [
    Profiler("ours", "cirron", [], "import cirron"),
    Profiler(
        "original",
        "cirron-sdk 0.3.0, pure Python",
        ["cirron-sdk==0.3.0"],
        "import cirron",
    ),
    Profiler(
        "opentelemetry",
        "OpenTelemetry SDK",
        ["opentelemetry-sdk"],
        "from opentelemetry.sdk.trace import TracerProvider, export",
        {
            "profiler": "batch processor, spans as JSON lines to a file",
            "value": "an event of a span, which keeps its newest 128",
            "memory": _DROPS,
            "hooks": _NO_HOOKS,
            "forked": _NOT_AT_END,
        },
    ),
    Profiler(
        "ddtrace",
        "ddtrace",
        ["ddtrace"],
        "from ddtrace.trace import tracer",
        {
            "profiler": "sends to a local stand-in for its agent, a process that only counts "
            "and whose time and memory are not in the figures",
            "value": "`set_metric`: a span keeps the last value of a name, without a time",
            "hooks": _NO_HOOKS,
            "forked": _NOT_AT_END,
        },
    ),
    Profiler(
        "logfire",
        "logfire",
        ["logfire"],
        "import logfire",
        {
            "profiler": "nothing is sent: OpenTelemetry's batch processor, JSON lines to a file",
            "value": "`logfire.info`, a record with an id and a time of its own",
            "memory": _DROPS,
            "hooks": _NO_HOOKS,
        },
    ),
    Profiler(
        "viztracer",
        "VizTracer",
        ["viztracer"],
        "import viztracer",
        {
            "profiler": "records every call of a Python function too; "
            "the default ring of 1,000,000 entries",
            "hooks": "traces every call, but knows no forward or backward",
            "killed": _AT_THE_END,
            "forked": "started inside the program, not by its command line",
        },
    ),
    Profiler(
        "nvtx",
        "nvtx",
        ["nvtx"],
        "import nvtx",
        {
            "profiler": _NEEDS_NSIGHT,
            "memory": _NEEDS_NSIGHT,
            "stored": _NEEDS_NSIGHT,
            "hooks": _NO_HOOKS,
            "killed": _NEEDS_NSIGHT,
            "forked": _NEEDS_NSIGHT,
        },
        keeps=False,
    ),
    Profiler(
        "torch",
        "torch `record_function`",
        [TORCH],
        "import torch",
        {
            "profiler": "inside `torch.profiler.profile`, without which it keeps nothing and "
            "with which every operator is recorded too",
            "value": "has no values",
            "hooks": "records operators, and no forward or backward unless named by hand",
            "killed": _AT_THE_END,
            "import": "the whole framework",
        },
    ),
]


def install(profiler: Profiler) -> str | None:
    """Makes the environment unless it is there; returns why that failed."""
    done = FOLDER / profiler.name / "installed"
    if profiler.name == "ours" or done.exists():
        return None
    venv.create(done.parent, with_pip=True, clear=True)
    result = subprocess.run(
        [profiler.python, "-m", "pip", "install", "--quiet", *profiler.packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        errors = re.findall(r"^ERROR: (.*)", result.stderr, re.MULTILINE)
        return f"did not install: {errors[-1] if errors else 'pip failed'}"
    done.touch()
    return None
