"""Real servers in processes of their own, and the trees of requests in their spools."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import spool_batches

APPS = Path(__file__).parent / "apps"
PATIENCE = 60  # seconds, for what takes less than one on an idle machine


def path_with_apps() -> str:
    """PYTHONPATH for a process that imports the test apps."""
    return os.pathsep.join([str(APPS), *filter(None, [os.environ.get("PYTHONPATH")])])


@dataclass
class Node:
    """A span with its marks and children, in order of start."""

    name: str
    attrs: dict[str, Any]
    start_ns: int
    end_ns: int | None
    parent_id: str | None
    pid: int
    marks: dict[str, list[Any]] = field(default_factory=dict)
    children: list["Node"] = field(default_factory=list)

    @property
    def shape(self) -> tuple[str, tuple[Any, ...]]:
        """Its name and those below it."""
        return (self.name, tuple(child.shape for child in self.children))

    def walk(self) -> Iterator["Node"]:
        """Itself and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def spans_of(batches: Iterable[dict[str, Any]]) -> dict[str, Node]:
    """Every span of the batches by its id, hung under its parent."""
    nodes: dict[str, Node] = {}
    marks = []
    for batch in batches:
        marks += batch["marks"]
        for span in batch["spans"]:
            if span["id"] in nodes:
                assert nodes[span["id"]].end_ns is None, "a closed span was written twice"
            keys = ("name", "attrs", "start_ns", "end_ns", "parent_id", "pid")
            nodes[span["id"]] = Node(**{key: span[key] for key in keys})
    for mark in marks:
        if mark["span_id"] in nodes:  # else the span is still open
            nodes[mark["span_id"]].marks.setdefault(mark["name"], []).append(mark["value"])
    for node in sorted(nodes.values(), key=lambda node: node.start_ns):
        if node.parent_id in nodes:
            nodes[node.parent_id].children.append(node)
    return nodes


def requests_of(batches: Iterable[dict[str, Any]]) -> dict[int, Node]:
    """The requests by the number that they marked; fails where two are mixed."""
    requests: dict[int, Node] = {}
    nodes = [node for node in spans_of(batches).values() if node.name == "request"]
    for node in nodes:
        marked = [n for span in node.walk() for n in span.marks.get("number", [])]
        assert len(set(marked)) == 1, f"one request has the numbers {marked}: {node.shape}"
        assert marked[0] not in requests, f"number {marked[0]} has two requests"
        requests[marked[0]] = node
    assert len({node.attrs["request_id"] for node in nodes}) == len(nodes), "two have one id"
    return requests


@dataclass
class Server:
    """A server process that listens on a free port of the loopback device."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def requests(self, numbers: Iterable[int]) -> dict[int, Node]:
        """Waits until these requests are on disk, and returns all that are there.

        The server must be one process and flush at `/flush`.
        """
        wanted = set(numbers)
        found: dict[int, Node] = {}

        def there() -> bool:
            found.clear()
            found.update(requests_of(self._batches_so_far()))
            return wanted <= found.keys()

        self.wait_until(there)
        there()  # a request's threads may have been drained before it, so once more
        return found

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"the server has ended:\n{self.log}"
            assert time.monotonic() < deadline, f"still not so; the server's log:\n{self.log}"
            time.sleep(0.02)

    def _batches_so_far(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(self.url + "/flush", timeout=PATIENCE):
            spool = self.folder / ".cirron" / "spool"
        return [json.loads(file.read_bytes()) for file in sorted(spool.glob("*.json"))]

    def stop(self) -> list[dict[str, Any]]:
        """Ends it as a supervisor would, with SIGTERM; returns its spool."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        return spool_batches(self.folder / ".cirron" / "spool")


@contextlib.contextmanager
def serving(folder: Path, *command: str, **env: str) -> Iterator[Server]:
    """Runs a server in `folder` on a socket that this process bound.

    The socket listens before the server starts, so no port is raced for and a client that
    comes early waits in the backlog.

    Args:
        folder: its working directory, where its spool comes to lie.
        command: what follows `python`; `{fd}` is the number of the socket.
        env: variables on top of the test's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    with listener, open(folder / "server.log", "wb") as log:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, *(part.format(fd=listener.fileno()) for part in command)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path_with_apps(), **env},
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
    server = Server(folder, f"http://127.0.0.1:{port}", process)
    try:
        yield server
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not stop:\n{server.log}") from None
