"""A training loop as its loader sees it: `epoch`, `step` and `data_load`.

A pass is one walk over a loader. A step lasts from the request for an item to the next
request, so the wait for its item is its first child; an epoch lasts as long as its pass.
"""

from __future__ import annotations

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

_LOOP = _core.KIND_EPOCH | _core.KIND_STEP


class Loop(_core.LoopState):
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
        _core.end_left_optimizer_steps()
        kinds = _core.open_kinds()
        if not self.active or kinds & _core.KIND_PHASE or not _core.is_enabled():
            return make()
        epoch = self.open_epoch() if not kinds & _LOOP and self.is_training() else None
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

    def is_training(self, optimizes: bool = False) -> bool:
        """Says whether a pass has steps from now on.

        Args:
            optimizes: an optimizer has made a step in it.
        """
        try:
            return loop_owner() is None and (optimizes or self._trains())
        except Exception as error:
            self.report(error)
            return False

    def training_begins(self) -> None:
        """Is called at the first item of a pass of training."""
        try:
            self._begins()
        except Exception as error:
            self.report(error)

    def open_epoch(self) -> _core.Scope:
        """Opens the next epoch."""
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
        _core.end_left_optimizer_steps()
        scope.__exit__(type(error) if error is not None else None, error, None)
        if self.timer is not None:
            self.timer.end(scope)

    def step_optimizer(self, call: Callable[[], Any]) -> Any:
        """Calls what makes a step of an optimizer: `optimizer_step`, unless in another span."""
        if _core.open_kinds() & (_core.KIND_PHASE | _core.KIND_OPTIMIZER):
            return call()
        scope = _core.kind_scope(_core.KIND_OPTIMIZER, "optimizer_step")
        self.open(scope)
        try:
            result = call()
        except BaseException as error:
            self.close(scope, error)
            raise
        self.close(scope)
        return result

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


class Pass(_core.LoaderPass):
    """Stands in front of a loader's iterator, and looks like it to whoever asks.

    Who loses it, by `break` or an exception, closes the open step and epoch.
    """

    __slots__ = ()

    _loop: Loop

    def _decide(self) -> None:
        optimizes = self._trains is False
        self._trains = self._loop.is_training(optimizes)
        if self._trains:
            self._loop.training_begins()
            if optimizes and not _core.open_kinds() & _LOOP:
                self._epoch = self._loop.open_epoch()
        elif self._epoch is not None and self._loop.discard(self._epoch):
            self._epoch = None
            self._loop.epochs -= 1

    def _end(self) -> None:
        """There is no further item: the wait for it was no step."""
        step, loop = self._step, self._loop
        if step is not None and loop.discard(step):
            self._step = None
            if loop.steps - 1 == step.index:  # no other thread has opened one since
                loop.steps -= 1
        self._close()

    def _fail(self, error: BaseException) -> None:
        step, self._step = self._step, None
        if step is not None:
            self._loop.close(step, error)

    def _close(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            self._loop.close(step)
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            self._loop.close_epoch(epoch)

    def __del__(self) -> None:
        self._close()

    def __len__(self) -> int:
        return len(self._source)

    def __getattr__(self, name: str) -> Any:
        if name == "_source":
            raise AttributeError(name)  # a copy that was not initialised
        return getattr(self._source, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._source)
