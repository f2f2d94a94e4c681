"""The training loop of a framework that says itself where epochs and steps begin."""

from __future__ import annotations

import contextlib

from cirron import _core
from cirron.hooks.registry import owning_loop
from cirron.profiler import at_epoch_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cirron.hooks.registry import Registry


class TrainingLoop:
    """The open `epoch` and `step` of one run of training.

    Within an epoch or a step of the user's own loop there is no other one.

    Args:
        registry: the session's hooks, among which torch's know the time of the GPU.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._epoch: _core.Scope | None = None
        self._step: _core.Scope | None = None

    @property
    def in_step(self) -> bool:
        """Whether a step is open."""
        return self._step is not None

    def open_epoch(self, index: int) -> None:
        """Opens an epoch; the one before ends."""
        self.close()
        self._epoch = self._open(_core.KIND_EPOCH, "epoch", index)

    def open_step(self, index: int) -> None:
        """Opens a step; the one before ends."""
        self.close_step()
        self._step = self._open(_core.KIND_STEP, "step", index)

    def close_step(self, error: BaseException | None = None) -> None:
        """Ends the step, if one is open."""
        step, self._step = self._step, None
        if step is not None:
            self._close(step, error)

    def leave_step(self, *_: Any) -> None:
        """Makes the step that is open, if one is, none: there was no batch for it."""
        step, loop = self._step, self._registry.loop
        if step is not None and (loop.discard if loop is not None else _core.discard)(step):
            self._step = None
        self.close_step()

    def close(self, error: BaseException | None = None) -> None:
        """Ends the step and the epoch, with snapshots of what is watched.

        Args:
            error: what ended them, if anything went wrong.
        """
        self.close_step(error)
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            at_epoch_end(epoch)
            self._close(epoch, error)

    def _open(self, kind: int, name: str, index: int) -> _core.Scope | None:
        if _core.open_kinds() & (kind | _core.KIND_PHASE):
            return None
        scope = _core.kind_scope(kind, name, index)
        if self._registry.loop is not None:
            self._registry.loop.open(scope)
        else:
            scope.__enter__()
        return scope

    def _close(self, scope: _core.Scope, error: BaseException | None) -> None:
        if self._registry.loop is not None:
            self._registry.loop.close(scope, error)
        else:
            scope.__exit__(type(error) if error is not None else None, error, None)


class Runs:
    """The runs of training that one hook knows of, by the object that tells their events.

    Args:
        registry: the session's hooks.
        framework: the one that owns the loops.
        hook: the name to report failures under.
        make: makes the loop of a run, which has a method for each event.
    """

    def __init__(
        self,
        registry: Registry,
        framework: str,
        hook: str,
        make: Callable[[Registry], TrainingLoop],
    ) -> None:
        self._registry = registry
        self._framework = framework
        self._hook = hook
        self._make = make
        self._loops: dict[int, TrainingLoop] = {}

    def train(self, key: object, call: Callable[[], Any]) -> Any:
        """Calls what trains, and ends what it leaves open.

        Args:
            key: the object that tells the events.
            call: trains.
        """
        outer = self._loops.get(id(key))
        self._loops[id(key)] = self._make(self._registry)
        try:
            with owning_loop(self._framework):
                result = call()
        except BaseException as error:
            self._end(key, outer, error)
            raise
        self._end(key, outer, None)
        return result

    def _end(self, key: object, outer: TrainingLoop | None, error: BaseException | None) -> None:
        self.tell(key, "close", error)
        if outer is None:
            del self._loops[id(key)]
        else:
            self._loops[id(key)] = outer

    def span(self, key: object, name: str, call: Callable[[], Any]) -> Any:
        """Calls what evaluates or predicts, in a scope beside the steps.

        Args:
            key: the object that tells the events.
            name: the scope's.
            call: evaluates or predicts.
        """
        if id(key) not in self._loops:  # outside all training
            return self.train(key, lambda: self.span(key, name, call))
        self.tell(key, "leave_step")
        with _core.scope(name):
            return call()

    def tell(self, key: object, event: str, *args: Any, **kwargs: Any) -> None:
        """Tells the loop of `key`, if it is in a run, of an event that it has a method for."""
        try:
            method = getattr(self._loops.get(id(key)), event, None)
            if method is not None:
                method(*args, **kwargs)
        except Exception as error:
            self._registry.report(self._hook, error)


def mark_numbers(values: object, **mark: Any) -> None:
    """Marks those of the values that are numbers, scalar tensors among them.

    Args:
        values: a dict of them by name, or of such dicts; anything else is passed over.
        mark: keywords for each mark.
    """
    if not isinstance(values, dict):
        return
    for name, value in values.items():
        if isinstance(value, dict):
            mark_numbers(value, **mark)
        elif hasattr(value, "__float__"):
            with contextlib.suppress(Exception):  # a tensor of many numbers
                number = value if isinstance(value, (int, float)) else float(value)
                _core.mark(str(name), number, **mark)
