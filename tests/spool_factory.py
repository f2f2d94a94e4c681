"""Writes spools as the profiler does, and as older or broken ones did."""

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

MS = 1_000_000
START = 1_776_781_325_001_000_000  # 2026-04-21T14:22:05.001Z

Record = dict[str, Any]


def hex_id(number: int) -> str:
    """An id of 32 digits whose first digits tell spans apart."""
    return f"{number:08x}" + "0" * 24


class SpoolFactory:
    """One spool directory; spans get ids 1, 2, 3, ... and times in ms after START."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._numbers = count(1)

    def session(self, start: float = 0, end: float | None = 0, **fields: Any) -> Record:
        """A root span; `end` None is a live session."""
        return self.span("cirron.session", None, start, end, **fields)

    def span(
        self,
        name: str,
        parent: Record | None,
        start: float = 0,
        end: float | None = 0,
        **fields: Any,
    ) -> Record:
        """A span from `start` to `end`, in ms after START."""
        record: Record = {
            "id": hex_id(next(self._numbers)),
            "name": name,
            "parent_id": None if parent is None else parent["id"],
            "index": None,
            "start_ns": START + round(start * MS),
            "end_ns": None if end is None else START + round(end * MS),
            "cpu_ns": None,
            "gpu_ns": None,
            "memory_peak_bytes": None,
            "thread_id": 1,
            "pid": 1797,
            "rank": 0,
            "attrs": {},
            "mark_ids": [],
            "overhead_ns": 0,
        }
        return record | fields

    def mark(
        self, span: Record, name: str, value: Any, kind: str = "point", **fields: Any
    ) -> Record:
        """A mark whose type follows from its value."""
        types = {bool: "bool", int: "int", float: "float", str: "string"}
        record: Record = {
            "id": hex_id(next(self._numbers)),
            "span_id": span["id"],
            "name": name,
            "value_type": types[type(value)],
            "value": value,
            "attrs": {},
            "ts_ns": span["start_ns"] + next(self._numbers),
            "kind": kind,
        }
        return record | fields

    def snapshot(
        self,
        span: Record,
        tensor_name: str = "0.weight",
        shape: Sequence[int] = (2, 2),
        mode: str = "stats",
        blob_uri: str | None = None,
        **fields: Any,
    ) -> Record:
        """A record of one tensor."""
        record: Record = {
            "id": hex_id(next(self._numbers)),
            "span_id": span["id"],
            "tensor_name": tensor_name,
            "shape": list(shape),
            "dtype": "float32",
            "mode": mode,
            "stats": {"mean": 0.0, "std": 1.0, "min": -1.0, "max": 1.0, "norm": 2.0},
            "blob_uri": blob_uri,
            "ts_ns": span["start_ns"],
            "attrs": {},
        }
        return record | fields

    def blob(self, span: Record, kind: str) -> Path:
        """Where the `weights` or `gradients` of a span lie."""
        snapshots = self.directory.parent / "snapshots"
        return snapshots / str(span["id"]) / f"{kind}.safetensors"

    def write(
        self,
        spans: Iterable[Record] = (),
        marks: Iterable[Record] = (),
        snapshots: Iterable[Record] = (),
        created_ns: int | None = None,
    ) -> Path:
        """Writes one batch file."""
        number = next(self._numbers)
        created = START + number if created_ns is None else created_ns
        batch_id = hex_id(number)
        document = {
            "schema_version": 1,
            "sdk_version": "0.1.0",
            "batch_id": batch_id,
            "created_ns": created,
            "spans": list(spans),
            "marks": list(marks),
            "snapshots": list(snapshots),
        }
        return self.write_text(f"{created:020d}-{batch_id}.json", json.dumps(document))

    def write_text(self, name: str, text: str) -> Path:
        """Writes a file as it is."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / name
        path.write_text(text)
        return path


def training_run(factory: SpoolFactory, epochs: int = 2) -> Record:
    """The documented example: epochs of four phases with a loss. Returns the root."""
    root = factory.session(0, 561.744)
    spans, marks = [root], []
    begin = 10.0
    for index in range(epochs):
        length = (42.1, 38.9)[index % 2]
        epoch = factory.span("epoch", root, begin, begin + length, index=index)
        phases = (("data_load", 4.5), ("forward", 5.1), ("backward", 23.0))
        at = begin
        spans.append(epoch)
        for name, wall in phases:
            attrs = {"data_load_ns": 4541667} if name == "data_load" else {}
            spans.append(factory.span(name, epoch, at, at + wall, attrs=attrs))
            at += wall
        spans.append(factory.span("optimizer_step", epoch, at, at + 0.974))
        marks.append(factory.mark(epoch, "loss", (0.6841, 0.541)[index % 2]))
        begin += length + 1
    factory.write(spans, marks)
    return root


def snapshot_run(factory: SpoolFactory) -> Record:
    """The documented example: three epochs of a network with three layers, weights and
    gradients in files, the gradients under the bare names. Returns the first epoch."""
    shapes = {
        "0.weight": [32, 16],
        "0.bias": [32],
        "2.weight": [16, 32],
        "2.bias": [16],
        "4.weight": [4, 16],
        "4.bias": [4],
    }
    root = factory.session(0, 600)
    spans, snapshots = [root], []
    for index in range(3):
        epoch = factory.span("epoch", root, 10 + 50 * index, 50 + 50 * index, index=index)
        spans.append(epoch)
        for suffix, file in (("", "weights"), (".grad", "gradients")):
            tensors = {}
            for name, shape in shapes.items():
                uri = factory.blob(epoch, file).as_uri()
                snapshots.append(factory.snapshot(epoch, name + suffix, shape, "full", uri))
                tensors[name] = ("F32", shape, float_bytes(shape))
            write_safetensors(factory.blob(epoch, file), tensors)
    factory.write(spans, [], snapshots)
    return spans[1]


def float_bytes(shape: Iterable[int]) -> bytes:
    """Values of float32 for a tensor of that shape: 0.0, 0.25, 0.5, ..."""
    return array("f", (number / 4 for number in range(prod(shape)))).tobytes()


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, Sequence[int], bytes]]) -> None:
    """Writes a safetensors file of `name: (dtype, shape, bytes)`, plainly, in that order."""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        offsets = [len(data), len(data) + len(values)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        data += values
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
