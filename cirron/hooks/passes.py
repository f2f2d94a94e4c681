"""A training loop as its loader sees it: `epoch`, `step` and `data_load`.

A pass is one walk over a loader. A step lasts from the request for an item to the next
request, so the wait for its item is its first child; an epoch lasts as long as its pass.
"""

from __future__ import annotations

import threading
import weakref
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
        self.nests = False  # a pass went on after another had taken its step for left
        self._passes: list[tuple[int, weakref.ref[Any], weakref.ref[Pass]]] = []
        self._registry = registry
        self._trains = trains
        self._begins = begins
        self._ends = ends

    def start(self, loader: Any, make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Starts a pass.

        Args:
            loader: what is walked over.
            make: makes the loader's own iterator, which may start processes.

        Returns:
            An iterator in front of it.
        """
        _core.end_left_optimizer_steps()
        if not self.active or _core.open_kinds() & _core.KIND_PHASE or not _core.is_enabled():
            return make()
        epoch = None
        if self.is_training():
            for older in self._passes_in_step(loader):
                older.leave(None)
            if not _core.open_kinds() & _LOOP:
                epoch = self.open_epoch()
        asked_ns = perf_counter_ns()
        try:
            source = make()
        except BaseException as error:
            if epoch is not None:
                self.close(epoch, error)
            raise
        if epoch is not None:
            epoch.attrs["loader_start_ns"] = perf_counter_ns() - asked_ns
        new = Pass(self, source, epoch)
        self._passes = [entry for entry in self._passes if entry[2]() is not None]
        self._passes.append((threading.get_ident(), weakref.ref(loader), weakref.ref(new)))
        return new

    def _passes_in_step(self, loader: Any = None) -> Iterator[Pass]:
        """Finds the passes, over one loader or any, whose step may be the one open here."""
        if not _core.open_kinds() & _core.KIND_STEP:
            return
        here = threading.get_ident()
        for thread, over, reference in self._passes:
            if thread == here and (loader is None or over() is loader):
                found = reference()
                if found is not None and found._step is not None:
                    yield found

    def take_step(self, taker: Pass) -> None:
        """Ends the step around a pass, which is training while the step's own is not."""
        if not self.nests:
            for other in self._passes_in_step():
                other.leave(taker)

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

    Who loses it, by `break` or an exception, closes the open step and epoch. Who keeps it
    and goes on with another pass has left them.
    """

    __slots__ = ("__weakref__",)

    _loop: Loop

    def _decide(self) -> None:
        before = self._trains
        if isinstance(before, weakref.ref):  # not left, it only had another pass in its step
            self._loop.nests = True
            taker = before()
            if taker is not None:
                taker._close()
        self._trains = self._loop.is_training(before is False)
        if self._trains:
            self._loop.training_begins()
        elif self._epoch is not None and self._loop.discard(self._epoch):
            self._epoch = None
            self._loop.epochs -= 1

    def _find_place(self) -> None:
        """The step around this pass was left, or no epoch is open."""
        loop = self._loop
        if _core.open_kinds() & _core.KIND_STEP:
            loop.take_step(self)
        if not _core.open_kinds() & _LOOP:
            self._epoch = loop.open_epoch()

    def leave(self, taker: Pass | None) -> None:
        """Ends the step and the epoch; what a next item would begin is to be decided then.

        Args:
            taker: the pass whose steps follow, where that may turn out to be wrong.
        """
        self._close()
        self._trains = None if taker is None else weakref.ref(taker)

    def _end(self) -> None:
        """There is no further item: the wait for it was no step."""
        step, loop = self._step, self._loop
        if step is not None and loop.discard(step):
            self._step = None
            if loop.steps - 1 == step.index:  # no other thread has opened one since
                loop.steps -= 1
        epoch = self._epoch if self._step is None else None
        began_late = epoch is not None and "loader_start_ns" not in epoch.attrs
        if epoch is not None and began_late and loop.discard(epoch):  # with this very wait
            self._epoch = None
            loop.epochs -= 1
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
