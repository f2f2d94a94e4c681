"""What is taken of the watched models when an epoch ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from typing import Any

from cirron import _core
from cirron.config import Settings
from cirron.log import warn
from cirron.snapshots.statistics import statistics
from cirron.snapshots.tensors import (
    GRADIENTS,
    WEIGHTS,
    Named,
    named_tensors,
    obstacle,
    serialised,
)
from cirron.snapshots.watch import forget, watched_models
from cirron.snapshots.writer import BUDGET_BYTES, Writer

_EPOCHS_REMEMBERED = 64  # nested and parallel ones
_ID_DIGITS = 13  # of an id: 52 random bits


class Snapshots:
    """The snapshots of one session in one process."""

    def __init__(self, settings: Settings, directory: str) -> None:
        self.writer = Writer()
        self.errors: dict[str, str] = {}
        """What failed, and is switched off: a model, or all of it."""
        self._mode = settings.snapshots
        self._sample_rate = settings.sample_rate
        self._directory = directory
        self._on = True
        self._saves = self._mode in ("sampled", "full")
        self._taken: deque[str] = deque(maxlen=_EPOCHS_REMEMBERED)
        self._warned_of_skipping = False

    def take(self, scope: _core.Scope) -> None:
        """Takes the snapshots of an open epoch, once.

        The time that it takes is the epoch's attribute `snapshot_ns`. Never raises.
        """
        started_ns = time.perf_counter_ns()
        span_id = scope.id
        if not self._on or span_id is None or span_id in self._taken:
            return
        self._taken.append(span_id)
        try:
            found = self._find_tensors()
            if found:
                records = self._record(span_id, found)
                for kind in (WEIGHTS, GRADIENTS):
                    if self._saves and self._is_sampled(span_id):
                        self._save(span_id, kind, found, records)
                scope.attrs["snapshot_ns"] = time.perf_counter_ns() - started_ns
        except Exception as error:
            self._on = False
            self._fail("snapshots failed and are switched off", error)

    def _find_tensors(self) -> list[Named]:
        found: list[Named] = []
        models = watched_models()
        for name, model in models:
            try:
                found += named_tensors(model, f"{name}/" if len(models) > 1 else "")
            except Exception as error:
                forget(model)
                self._fail(f"{name} can't be looked at and is watched no more", error)
        return found

    def _record(self, span_id: str, found: list[Named]) -> list[dict[str, Any]]:
        ts_ns = time.time_ns()
        records = []
        for named, stats in zip(found, statistics([named.tensor for named in found]), strict=True):
            record: dict[str, Any] = {
                "id": os.urandom(16).hex(),
                "span_id": span_id,
                "tensor_name": named.name,
                "shape": named.shape,
                "dtype": named.dtype,
                "mode": self._mode,
                "stats": None,
                "blob_uri": None,
                "ts_ns": ts_ns,
                "attrs": {},
            }
            if isinstance(stats, str):
                record["attrs"]["no_stats"] = stats
            else:
                record["stats"] = stats.values
                if stats.nan_count:
                    record["attrs"]["nan_count"] = stats.nan_count
                if stats.inf_count:
                    record["attrs"]["inf_count"] = stats.inf_count
            _core.record_snapshot(record)
            records.append(record)
        return records

    def _is_sampled(self, span_id: str) -> bool:
        """Decides by the epoch's id, which is random, and so leaves the user's generators be."""
        share = int(span_id[:_ID_DIGITS], 16) / 16**_ID_DIGITS
        return self._mode == "full" or share < self._sample_rate

    def _save(
        self, span_id: str, kind: str, found: list[Named], records: list[dict[str, Any]]
    ) -> None:
        pairs = [
            (named, record)
            for named, record in zip(found, records, strict=True)
            if named.kind == kind and obstacle(named.tensor) is None
        ]
        if not pairs:
            return
        size = sum(named.tensor.nbytes for named, _ in pairs)
        if not self.writer.has_room(size):
            self._skip(
                f"the {kind} of an epoch ({size / 2**30:.2f} GiB) are not written: more than "
                f"{BUDGET_BYTES / 2**30:.0f} GiB would wait for the disk"
            )
            return
        try:
            content = serialised({named.name: named.tensor for named, _ in pairs})
        except ImportError:
            self._saves = False
            _say(
                "tensors are not written: that needs the package safetensors "
                "(pip install 'cirron-sdk[safetensors]'); statistics are recorded all the same"
            )
        except Exception as error:  # a type that safetensors lacks, or no memory
            self._skip(f"the {kind} of an epoch are not written: {_text(error)}")
        else:
            path = os.path.join(self._directory, span_id, f"{kind}.safetensors")
            self.writer.add(path, content, [record for _, record in pairs])

    def _skip(self, message: str) -> None:
        self.writer.skip()
        if not self._warned_of_skipping:
            self._warned_of_skipping = True
            _say(f"{message}; statistics are recorded all the same")

    def _fail(self, message: str, error: Exception) -> None:
        self.errors[message] = _text(error)
        _say(f"{message}: {_text(error)}")


def _text(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # a class of the user's
        return type(error).__name__


def _say(message: str) -> None:
    # As text alone: whoever keeps log records must not keep models with them.
    with contextlib.suppress(Exception):  # a log handler may raise
        warn("%s", message)
