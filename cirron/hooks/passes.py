"""A training loop as its loader sees it: `epoch`, `step` and `data_load`.

A pass is one walk over a loader. A step lasts from the request for an item to the next
request, so the wait for its item is its first child; an epoch lasts as long as its pass.
"""

from __future__ import annotations

import contextlib
from time import perf_counter_ns

from cirron import _core
from cirron.hooks.registry import loop_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from cirron.hooks.cuda import Timer
    from cirron.hooks.registry import Registry

_NAME = "torch.data_load"

# A step has no time for look-ups.
_open_kinds, _kind_scope = _core.open_kinds, _core.kind_scope
_STEP, _PHASE = _core.KIND_STEP, _core.KIND_PHASE

# Within a batch of ci.batches it is ci.batches that says how long the item took. Within a
# phase a loader is part of that phase, as the loader inside another loader is.
_NOT_HERE = _core.KIND_BATCH | _core.KIND_PHASE
_LOOP = _core.KIND_EPOCH | _core.KIND_STEP


class Loop:
    """What the passes of a session have in common.

    Args:
        registry: is told when something of ours fails.
        trains: says whether a pass that begins now is one of training.
        begins: called when a pass of training begins.
        ends: called with the scope of an epoch that is about to close.
    """

    def __init__(
        self,
        registry: Registry,
        trains: Callable[[], bool],
        begins: Callable[[], object],
        ends: Callable[[_core.Scope], object],
    ) -> None:
        self.active = True
        self.timer: Timer | None = None
        self.epochs = 0
        self.steps = 0
        self._registry = registry
        self._trains = trains
        self._begins = begins
        self._ends = ends

    def start(self, make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Starts a pass.

        Args:
            make: makes the loader's own iterator, which may start processes.

        Returns:
            An iterator in front of it.
        """
        kinds = _core.open_kinds()
        if not self.active or kinds & _core.KIND_PHASE or not _core.is_enabled():
            return make()
        epoch = self._open_epoch() if not kinds & _LOOP and self.is_training() else None
        asked_ns = perf_counter_ns()
        try:
            source = make()
        except BaseException as error:
            if epoch is not None:
                self.close(epoch, error)
            raise
        if epoch is not None:
            epoch.attrs["loader_start_ns"] = perf_counter_ns() - asked_ns
        return Pass(self, source, epoch)

    def is_training(self) -> bool:
        """Says whether a pass that begins now has steps."""
        try:
            return loop_owner() is None and self._trains()
        except Exception as error:
            self.report(error)
            return False

    def training_begins(self) -> None:
        """Is called at the first item of a pass of training."""
        try:
            self._begins()
        except Exception as error:
            self.report(error)

    def _open_epoch(self) -> _core.Scope:
        epoch = _core.kind_scope(_core.KIND_EPOCH, "epoch", self.epochs)
        self.epochs += 1
        self.open(epoch)
        return epoch

    def close_epoch(self, epoch: _core.Scope) -> None:
        """Closes an epoch after what is to happen at its end."""
        try:
            self._ends(epoch)
        except Exception as error:
            self.report(error)
        self.close(epoch)

    def open(self, scope: _core.Scope) -> None:
        """Opens a scope, with the GPU's time where there is one."""
        if self.timer is not None:
            self.timer.begin(scope)
        scope.__enter__()

    def close(self, scope: _core.Scope, error: BaseException | None = None) -> None:
        """Closes a scope that `open` opened."""
        scope.__exit__(type(error) if error is not None else None, error, None)
        if self.timer is not None:
            self.timer.end(scope)

    def discard(self, scope: _core.Scope) -> bool:
        """Makes a scope unopened; False when something was recorded in it."""
        discarded = _core.discard(scope)
        if discarded and self.timer is not None:
            self.timer.forget(scope)
        return discarded

    def report(self, error: BaseException) -> None:
        """Takes the loaders' hook out."""
        self.active = False
        self._registry.report(_NAME, error)


class Pass:
    """Stands in front of a loader's iterator, and looks like it to whoever asks.

    Who loses it, by `break` or an exception, closes the open step and epoch.
    """

    __slots__ = ("_epoch", "_loop", "_source", "_step", "_trains")

    def __init__(self, loop: Loop, source: Iterator[Any], epoch: _core.Scope | None) -> None:
        self._loop = loop
        self._source = source
        self._epoch = epoch
        self._step: _core.Scope | None = None
        self._trains: bool | None = None  # decided at the first item

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        loop = self._loop
        step = self._step
        if step is not None:
            self._step = None
            step.__exit__(None, None, None)
            if loop.timer is not None:
                loop.timer.end(step)
            step = None
        if not loop.active:
            return next(self._source)
        if self._trains is None:
            self._decide()
        kinds = _open_kinds()
        if kinds & _NOT_HERE:
            return next(self._source)
        if self._trains and not kinds & _STEP:
            step = _kind_scope(_STEP, "step", loop.steps)
            self._step = step  # first, so that an interrupt after the entry finds it
            if loop.timer is not None:
                loop.timer.begin(step)
            step.__enter__()
        wait = _kind_scope(_PHASE, "data_load")
        wait.__enter__()
        try:
            item = next(self._source)
        except StopIteration:
            self._end(wait)
            raise
        except BaseException as error:
            self._fail(wait, error)
            raise
        wait.__exit__(None, None, None)
        if step is not None:
            step.attrs["data_load_ns"] = wait.end_ns - wait.start_ns  # type: ignore[operator]
            loop.steps += 1
        return item

    def _decide(self) -> None:
        self._trains = self._loop.is_training()
        if self._trains:
            self._loop.training_begins()
        elif self._epoch is not None and self._loop.discard(self._epoch):
            self._epoch = None
            self._loop.epochs -= 1

    def _end(self, wait: _core.Scope) -> None:
        """There is no further item: the wait for it was no step."""
        if not _core.discard(wait):
            wait.__exit__(None, None, None)
        if self._step is not None and self._loop.discard(self._step):
            self._step = None
        self._close()

    def _fail(self, wait: _core.Scope, error: BaseException) -> None:
        wait.__exit__(type(error), error, None)
        step, self._step = self._step, None
        if step is not None:
            self._loop.steps += 1
            self._loop.close(step, error)

    def _close(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            self._loop.close(step)
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            self._loop.close_epoch(epoch)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # not initialised
            self._close()

    def __len__(self) -> int:
        return len(self._source)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name in Pass.__slots__:
            raise AttributeError(name)  # a copy that was not initialised
        return getattr(self._source, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._source)
