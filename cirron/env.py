"""What the environment says: variables for the program, and where a session runs."""

from __future__ import annotations

import functools
import os
import sys

from cirron.log import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Highest first: when several are there, the first owns the training loop.
FRAMEWORKS = (
    "lightning",
    "accelerate",
    "transformers",
    "keras",
    "torch",
    "tensorflow",
    "sklearn",
)

_RANK = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_WORLD_SIZE = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_DEPLOYMENT = ("RUN_ID", "PIPELINE_ID", "DEPLOYMENT_ID", "WORKSPACE_ID")


def env(key: str, default: Any = None) -> Any:
    """Reads an environment variable, and JSON in it.

    A `.env` file in the working directory counts as well when python-dotenv is installed;
    it is read once, and real variables win.

    Args:
        key: the variable's name.
        default: what to return when it is not set.

    Returns:
        The value: parsed when it is a JSON object or array, otherwise the text.
    """
    value = os.environ.get(key)
    if value is None:
        value = _dotenv().get(key)
    if value is None:
        return default
    if value.lstrip().startswith(("{", "[")):
        import json

        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


@functools.cache
def _dotenv() -> dict[str, str | None]:
    try:
        from dotenv import dotenv_values
    except ImportError:
        return {}
    try:
        return dict(dotenv_values(".env"))
    except (OSError, ValueError) as error:
        warn("the file .env is ignored: %s", error)
        return {}


def rank() -> int:
    """Returns the number of this process in a distributed run, 0 when there is none."""
    return _first_number(_RANK, lowest=0, default=0)


def world_size() -> int:
    """Returns the number of processes in a distributed run, 1 when there is none."""
    return _first_number(_WORLD_SIZE, lowest=1, default=1)


def _first_number(variables: tuple[str, ...], lowest: int, default: int) -> int:
    for variable in variables:
        text = os.environ.get(variable, "").strip()
        if not text:
            continue
        if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= lowest:
            return int(text)
        warn("environment variable %s is ignored: %.40r is no number of a process", variable, text)
    return default


def session_attributes() -> dict[str, Any]:
    """Returns what a session's root span says about where it runs."""
    attributes: dict[str, Any] = {
        "pid": os.getpid(),
        "rank": rank(),
        "world_size": world_size(),
        "hostname": os.uname().nodename,
        "framework": ",".join(name for name in FRAMEWORKS if sys.modules.get(name)) or None,
        "device": _device(),
    }
    for name in _DEPLOYMENT:
        if value := os.environ.get(f"CIRRON_{name}"):
            attributes[f"cirron.{name.lower()}"] = value
    return attributes


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return "cpu"
    try:
        if torch.cuda.is_initialized():
            return "cuda"
        built_for_cuda = torch.version.cuda is not None
    except Exception:  # half imported, or something else of this name
        return "cpu"
    # torch.cuda.is_available() would start the driver, and then no forked child could use
    # CUDA; the driver's device file tells as much.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return "cuda" if built_for_cuda and not hidden and os.path.exists("/dev/nvidiactl") else "cpu"
