"""Hooks for Lightning: `epoch`, `step`, `evaluate`, `predict`, the metrics at their ends.

A Trainer tells its callbacks, then its module, of everything through two functions; the
hook listens there. What opens is told before the callbacks, what closes after the module.
"""

from __future__ import annotations

from cirron import _core
from cirron.hooks.patch import Patches
from cirron.hooks.training_loop import Runs, TrainingLoop, mark_numbers
from cirron.snapshots.watch import watch_automatically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from cirron.hooks.registry import Registry, Undo

HOOK = "lightning.trainer"
_SPANS = {"validation": "evaluate", "test": "evaluate", "predict": "predict"}
_BEFORE_CALLBACKS = {
    "on_train_start": "begin_training",
    "on_train_epoch_start": "begin_epoch",
    "on_train_epoch_end": "leave_step",
    "on_train_end": "end_epoch",
    **{f"on_{stage}_start": f"begin_{span}" for stage, span in _SPANS.items()},
}
_AFTER_MODULE = {
    "on_train_epoch_start": "begin_step",
    "on_train_batch_end": "end_step",
    **{f"on_{stage}_end": "end_span" for stage in _SPANS},
}


def install(registry: Registry, trainer: ModuleType) -> None:
    """Puts the hook in.

    Args:
        registry: the session's hooks.
        trainer: the module `lightning.pytorch.trainer.trainer`, or the one of the same
            kind in `pytorch_lightning`.
    """
    registry.put(HOOK, lambda: _hook(registry, trainer))


class _Run(TrainingLoop):
    """One call of `fit`, `validate`, `test` or `predict`.

    A step lasts from one end of a batch to the next, so that the loading of its data is part
    of it; the one that is open when there is no further batch was none.
    """

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._next_step = 0
        self._in_epoch = False
        self._span: _core.Scope | None = None  # of an evaluation or prediction

    def begin_training(self, trainer: Any) -> None:
        self._next_step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        watch_automatically(trainer.lightning_module)

    def begin_epoch(self, trainer: Any) -> None:
        self.end_epoch(trainer)
        self.open_epoch(trainer.current_epoch)
        self._in_epoch = True

    def begin_step(self, trainer: Any) -> None:
        self.open_step(self._next_step)

    def end_step(self, trainer: Any) -> None:
        self._next_step += 1
        self.open_step(self._next_step)

    def end_epoch(self, trainer: Any) -> None:
        """Only the next epoch or the end of all ends one: until then metrics may come."""
        self.leave_step()
        if self._in_epoch:
            self._in_epoch = False
            mark_numbers(trainer.callback_metrics, kind="summary")
        self.close()

    def begin_evaluate(self, trainer: Any) -> None:
        attributes = {"sanity_check": True} if trainer.sanity_checking else {}
        self._begin_span(_core.scope("evaluate", **attributes))

    def begin_predict(self, trainer: Any) -> None:
        self._begin_span(_core.scope("predict"))

    def _begin_span(self, span: _core.Scope) -> None:
        self.leave_step()
        self._span = span
        span.__enter__()

    def end_span(self, trainer: Any) -> None:
        if self._span is not None and not self._in_epoch and not trainer.sanity_checking:
            mark_numbers(trainer.callback_metrics, kind="summary")
        self._close_span(None)
        if self._in_epoch:  # there may be further batches
            self.begin_step(trainer)

    def _close_span(self, error: BaseException | None) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.__exit__(type(error) if error is not None else None, error, None)

    def close(self, error: BaseException | None = None) -> None:
        self._close_span(error)
        super().close(error)


def _hook(registry: Registry, trainer: ModuleType) -> Undo:
    runs = Runs(registry, "lightning", HOOK, _Run)
    patches = Patches()

    def run(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.train(self, lambda: original(self, *args, **kwargs))

    def call_callbacks(original: Any, trainer: Any, hook: str, *args: Any, **kwargs: Any) -> Any:
        runs.tell(trainer, _BEFORE_CALLBACKS.get(hook, ""), trainer)
        return original(trainer, hook, *args, **kwargs)

    def call_module(original: Any, trainer: Any, hook: str, *args: Any, **kwargs: Any) -> Any:
        result = original(trainer, hook, *args, **kwargs)
        runs.tell(trainer, _AFTER_MODULE.get(hook, ""), trainer)
        return result

    for name in ("fit", "validate", "test", "predict"):
        patches.method(trainer.Trainer, name, run)
    patches.method(trainer.call, "_call_callback_hooks", call_callbacks)
    patches.method(trainer.call, "_call_lightning_module_hook", call_module)
    return patches.undo
