"""Hooks for the Trainer of transformers: `epoch`, `step`, `evaluate`, `predict`, what it logs.

A Trainer tells its callbacks of everything through one method of its CallbackHandler; the
hook listens there, after the callbacks. So it also hears of Trainers that were made before,
and no callback of ours appears in a list or a checkpoint.
"""

from __future__ import annotations

from cirron.hooks.patch import Patches
from cirron.hooks.training_loop import Runs, TrainingLoop, mark_numbers
from cirron.snapshots.watch import watch_automatically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from cirron.hooks.registry import Registry, Undo

HOOK = "transformers.trainer"
# Where the users' callbacks run after ours. After the others it is known what they decided.
_BEFORE = {"on_epoch_begin": "on_epoch_begin", "on_epoch_end": "leave_step"}


def install(registry: Registry, trainer: ModuleType) -> None:
    """Puts the hook in.

    Args:
        registry: the session's hooks.
        trainer: the module `transformers.trainer`.
    """
    registry.put(HOOK, lambda: _hook(registry, trainer))


class _Run(TrainingLoop):
    """One call of `Trainer.train`; methods named `on_...` are the events."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._next_epoch = 0
        self._next_step = 0
        self._begun = False  # the step has batches
        self._ended = False  # the step is over and waits for what is logged

    def on_train_begin(self, state: Any, control: Any, model: object, logs: Any) -> None:
        """Starts anew: `auto_find_batch_size` may have given up on a batch size."""
        self.close()
        self._next_epoch = int(state.epoch or 0)
        self._next_step = state.global_step
        watch_automatically(model)

    def on_epoch_begin(self, state: Any, control: Any, model: object, logs: Any) -> None:
        self.open_epoch(self._next_epoch)
        self._next_epoch += 1

    def load_batches(self) -> None:
        """A step begins with the loading of its batches, of which there may be none."""
        if not self.in_step or self._begun:
            self._open_step(self._next_step)

    def on_step_begin(self, state: Any, control: Any, model: object, logs: Any) -> None:
        if not self.in_step:
            self._open_step(state.global_step)
        self._begun = True

    def _open_step(self, index: int) -> None:
        self._begun = self._ended = False
        self.open_step(index)

    def on_step_end(self, state: Any, control: Any, model: object, logs: Any) -> None:
        """A step that is about to be logged stays open for its marks."""
        self._next_step = state.global_step
        self._ended = True
        if not control.should_log:
            self.close_step()

    def on_log(self, state: Any, control: Any, model: object, logs: Any) -> None:
        if "train_runtime" in logs:  # the sums of the whole training
            self.close()
        kind = "point" if self.in_step else "summary"
        mark_numbers({name: value for name, value in logs.items() if name != "epoch"}, kind=kind)
        if self._ended:
            self.close_step()

    def leave_step(self, *_: Any) -> None:
        """The epoch stays open: what is logged and evaluated at its end comes only now."""
        if self._begun:
            self.close_step()
        else:
            super().leave_step()

    def on_train_end(self, state: Any, control: Any, model: object, logs: Any) -> None:
        self.close()


def _hook(registry: Registry, trainer: ModuleType) -> Undo:
    runs = Runs(registry, "transformers", HOOK, _Run)
    patches = Patches()

    def train(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.train(self.callback_handler, lambda: original(self, *args, **kwargs))

    def evaluate(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.span(self.callback_handler, "evaluate", lambda: original(self, *args, **kwargs))

    def predict(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.span(self.callback_handler, "predict", lambda: original(self, *args, **kwargs))

    def get_batch_samples(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        runs.tell(self.callback_handler, "load_batches")
        return original(self, *args, **kwargs)

    def call_event(
        original: Any, self: Any, event: str, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> Any:
        if event in _BEFORE:
            runs.tell(self, _BEFORE[event], state, control, self.model, kwargs.get("logs"))
            return original(self, event, args, state, control, **kwargs)
        control = original(self, event, args, state, control, **kwargs)
        runs.tell(self, event, state, control, self.model, kwargs.get("logs"))
        return control

    patches.method(trainer.Trainer, "train", train)
    patches.method(trainer.Trainer, "evaluate", evaluate)
    patches.method(trainer.Trainer, "predict", predict)
    if hasattr(trainer.Trainer, "get_batch_samples"):  # since 4.46
        patches.method(trainer.Trainer, "get_batch_samples", get_batch_samples)
    patches.method(trainer.CallbackHandler, "call_event", call_event)
    return patches.undo
