"""A spool of any size, as a training run leaves it: `python spool_generator.py <dir> <spans>`.

Epochs of 1,000 steps, four phases and two marks a step, in batches of about 1 MiB. The
records are templated text in the order in which a profiler writes them, children first.
"""

import itertools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

_BATCH_BYTES = 1 << 20
_STEPS_AN_EPOCH = 1000
_START_NS = 1_776_781_325_001_000_000
_US = 1_000

_PHASES = (("data_load", 41), ("forward", 120), ("backward", 230), ("optimizer_step", 58))
_STEP_NS = sum(us for _, us in _PHASES) * _US
_SPANS_A_STEP = 1 + len(_PHASES)

_SPAN = (
    '{{"id":"{id}","name":"{name}","parent_id":{parent},"index":{index},"start_ns":{start},'
    '"end_ns":{end},"cpu_ns":{cpu},"gpu_ns":null,"memory_peak_bytes":null,"thread_id":4711,'
    '"pid":4711,"rank":0,"attrs":{attrs},"mark_ids":[{marks}],"overhead_ns":{overhead}}}'
)
_MARK = (
    '{{"id":"{id}","span_id":"{span}","name":"{name}","value_type":"float","value":{value!r},'
    '"attrs":{{}},"ts_ns":{at},"kind":"point"}}'
)
_BATCH = (
    '{{"schema_version":1,"sdk_version":"0.1.0","batch_id":"{id}","created_ns":{at},'
    '"spans":[{spans}],"marks":[{marks}],"snapshots":[]}}\n'
)


def _ids(seed: int) -> Iterator[str]:
    """Ids of 32 hex digits, the same ones for the same seed."""
    numbers = random.Random(seed)
    while True:
        text = numbers.randbytes(16 * 4096).hex()
        for at in range(0, len(text), 32):
            yield text[at : at + 32]


class _Writer:
    """Collects records and cuts a file whenever a batch is full."""

    def __init__(self, directory: Path, ids: Iterator[str]) -> None:
        self._directory = directory
        self._ids = ids
        self._spans: list[str] = []
        self._marks: list[str] = []
        self._bytes = 0

    def add(self, span: str, *marks: str) -> None:
        self._spans.append(span)
        self._marks.extend(marks)
        self._bytes += len(span) + sum(map(len, marks))

    def cut(self, at: int, limit: int = _BATCH_BYTES) -> None:
        if self._bytes < limit:
            return
        batch_id = next(self._ids)
        text = _BATCH.format(
            id=batch_id, at=at, spans=",".join(self._spans), marks=",".join(self._marks)
        )
        (self._directory / f"{at:020d}-{batch_id}.json").write_text(text)
        self._spans, self._marks, self._bytes = [], [], 0


def generate(directory: Path, spans: int, seed: int = 0) -> int:
    """Writes one session of `spans` spans and returns the bytes written."""
    directory.mkdir(parents=True, exist_ok=True)
    ids = _ids(seed)
    out = _Writer(directory, ids)
    root, epoch = next(ids), next(ids)
    now = epoch_start = _START_NS
    remaining = spans - 1
    for step in itertools.count():
        if step % _STEPS_AN_EPOCH == 0:
            epoch, epoch_start = next(ids), now
            remaining -= 1
        if remaining < _SPANS_A_STEP:
            break
        remaining -= _SPANS_A_STEP
        step_id, loss_id, rate_id = next(ids), next(ids), next(ids)
        at = now
        for name, us in _PHASES:
            end = at + us * _US + step % 997
            out.add(_span(next(ids), name, step_id, at, end))
            at = end
        out.add(
            _span(
                step_id,
                "step",
                epoch,
                now,
                at + 900,
                index=step,
                attrs=f'{{"data_load_ns":{_PHASES[0][1] * _US + step % 997}}}',
                marks=f'"{loss_id}","{rate_id}"',
            ),
            _MARK.format(id=loss_id, span=step_id, name="loss", value=2.5 / (step + 1), at=at),
            _MARK.format(id=rate_id, span=step_id, name="lr", value=3e-4, at=at + 100),
        )
        now = at + 1_000
        if (step + 1) % _STEPS_AN_EPOCH == 0 or remaining < _SPANS_A_STEP:
            index = step // _STEPS_AN_EPOCH
            out.add(_span(epoch, "epoch", root, epoch_start, now, index=index))
        out.cut(now)
    while remaining > 0:  # what is left of the number asked for
        remaining -= 1
        out.add(_span(next(ids), "validate", root, now, now + _STEP_NS))
    attrs = '{"pid":4711,"rank":0,"world_size":1,"hostname":"bench","framework":"torch"}'
    out.add(_span(root, "cirron.session", None, _START_NS, now + _STEP_NS, attrs=attrs))
    out.cut(now + _STEP_NS, limit=0)
    return sum(entry.stat().st_size for entry in os.scandir(directory))


def _span(
    identifier: str,
    name: str,
    parent: str | None,
    start: int,
    end: int,
    *,
    index: int | None = None,
    attrs: str = "{}",
    marks: str = "",
) -> str:
    return _SPAN.format(
        id=identifier,
        name=name,
        parent="null" if parent is None else f'"{parent}"',
        index="null" if index is None else index,
        start=start,
        end=end,
        cpu=(end - start) * 9 // 10,
        attrs=attrs,
        marks=marks,
        overhead=740 if marks else 0,
    )


if __name__ == "__main__":
    written = generate(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"{written:,} bytes")
