"""A swept program: the hooks of a training loop, and snapshots of a model of NumPy arrays."""

from collections.abc import Iterator
from typing import Any

import numpy
from program import attempt, ci, live, report, section

from cirron import _core
from cirron.hooks.passes import Loop


class Weight:
    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.value = value


class Model:
    """As Keras has them."""

    weights = trainable_weights = (
        Weight("dense/kernel", numpy.linspace(-1, 1, 64, dtype="float32").reshape(8, 8)),
        Weight("dense/bias", numpy.array([0.5, numpy.nan])),
        Weight("dense/steps", numpy.arange(300, dtype="int64")),
    )


class StepArguments(tuple[object, ...]):
    """Of an optimizer."""


class Registry:
    def report(self, name: str, error: BaseException) -> None:
        report["raised"].append([name, type(error).__name__])


model = attempt("watch", ci.watch, Model(), "net")
forward = attempt("phase", _core.Phase, "forward", lambda item: item + 1)
open_step = _core.open_optimizer_step
loop = attempt("loop", Loop, Registry(), lambda: True, lambda: None, lambda scope: None)


def batches() -> Iterator[int]:
    yield from range(2)


def train(name: str) -> None:
    for item in loop.start(batches, batches):
        ci.mark(name, 0.5)
        forward(item)
        open_step(None, StepArguments, (), {})  # closed when it is lost


def watched_epoch() -> None:
    for _ in ci.epochs(range(1)):
        pass


def train_and_watch(name: str) -> None:
    if loop is not None and forward is not None:
        section("train", train, name, discards=2)  # what waits for an item that does not come
    section("epoch", watched_epoch)


def watch(name: str) -> None:
    section("epoch", watched_epoch)


live(train_and_watch, watch, snapshots="full")
