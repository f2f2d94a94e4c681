"""What many tests need: scripts in a fresh interpreter, and the spool as plain JSON."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cirron as ci

# Under AddressSanitizer everything takes several times as long.
_PATIENCE = 5 if "libasan" in os.environ.get("LD_PRELOAD", "") else 1
_BATCH_NAME = re.compile(r"[0-9]{20}-[0-9a-f]{32}\.json")


def run_script(
    code: str,
    *args: str,
    check: bool = True,
    timeout: float = 120,
    wrapper: Sequence[str] = (),
    as_file: bool = False,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """Runs Python code in an interpreter of its own, in the working directory.

    Args:
        code: the script, dedented first.
        args: its command line.
        check: fail when the script does.
        timeout: seconds until it is killed.
        as_file: run it from a file, so that a spawned process finds its `__main__`.
        wrapper: a command that runs the interpreter, such as ["unshare", "-m"].
        env: variables on top of the test's own.
    """
    script = ["-c", textwrap.dedent(code)]
    if as_file:
        script = ["script.py"]
        Path(script[0]).write_text(textwrap.dedent(code))
    result = subprocess.run(
        [*wrapper, sys.executable, *script, *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout * _PATIENCE,
        check=False,
    )
    if check and result.returncode != 0:
        raise AssertionError(f"the script ended with {result.returncode}:\n{result.stderr}")
    return result


def rounds(few: int, full: int = 1000) -> int:
    """How often a test of the life of processes repeats itself: `make life` asks for `full`."""
    return full if os.environ.get("LIFE") == "full" else few


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def spool_batches(directory: str | os.PathLike[str] = ".cirron/spool") -> list[dict[str, Any]]:
    """Loads every batch of a spool, oldest first, and checks names and strictness."""
    batches = []
    for file in sorted(Path(directory).iterdir()):
        assert _BATCH_NAME.fullmatch(file.name), f"{file.name} is no name of a batch"
        batch = json.loads(file.read_bytes().decode("utf-8"), parse_constant=_refuse)
        created_ns, batch_id = file.stem.split("-")
        assert (batch["created_ns"], batch["batch_id"]) == (int(created_ns), batch_id)
        assert batch["schema_version"] == 1
        batches.append(batch)
    return batches


def flushed_spans() -> list[dict[str, Any]]:
    """Flushes, and returns what the default spool holds: one record a span, the closed one."""
    ci.flush()
    spans: dict[str, dict[str, Any]] = {}
    for batch in spool_batches():
        for span in batch["spans"]:
            if spans.get(span["id"], {}).get("end_ns") is None:
                spans[span["id"]] = span
    return list(spans.values())


def flushed_marks() -> list[dict[str, Any]]:
    """Flushes, and returns the marks of the default spool in the order in which they lie."""
    ci.flush()
    return [mark for batch in spool_batches() for mark in batch["marks"]]


def roots() -> list[dict[str, Any]]:
    """The trees of the trace buffer."""
    found: list[dict[str, Any]] = ci.trace(format="dict")["roots"]
    return found


def names_of_snapshots() -> list[set[str]]:
    """The names of the tensors taken at the end of each epoch of the default spool."""
    epochs = sorted(
        (span for span in flushed_spans() if span["name"] == "epoch"),
        key=lambda span: int(span["start_ns"]),
    )
    taken = [record for batch in spool_batches() for record in batch["snapshots"]]
    assert {record["span_id"] for record in taken} <= {epoch["id"] for epoch in epochs}
    return [{r["tensor_name"] for r in taken if r["span_id"] == e["id"]} for e in epochs]


def tree(nodes: list[dict[str, Any]] | None = None) -> list[Any]:
    """The trace as nested lists: name, or name[index], followed by its children if any."""
    shape: list[Any] = []
    for node in roots() if nodes is None else nodes:
        shape.append(node["name"] + ("" if node["index"] is None else f"[{node['index']}]"))
        if node["children"]:
            shape.append(tree(node["children"]))
    return shape


def marks_of(node: dict[str, Any]) -> dict[str, Any]:
    """The kinds of a node's marks by name, without our own."""
    return {m["name"]: m["kind"] for m in node["marks"] if not m["name"].startswith("cirron.")}


def depth() -> int:
    """How many scopes are open in the calling context."""
    return int(ci.health()["scope_depth"])
