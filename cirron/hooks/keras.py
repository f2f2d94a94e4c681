"""Hooks for Keras: `epoch`, `step`, `evaluate`, `predict`, the metrics at their ends.

`fit` tells its callbacks of everything through a CallbackList; the hook listens there. A
callback of ours in the list would be told of batches on another thread, and late.
"""

from __future__ import annotations

import sys

from cirron import _core
from cirron.hooks.patch import Patches
from cirron.hooks.training_loop import Runs, TrainingLoop, mark_numbers
from cirron.snapshots.watch import watch_automatically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from cirron.hooks.passes import Loop
    from cirron.hooks.registry import Registry, Undo

HOOK = "keras.model"
PHASES = "keras.phases"


def install(registry: Registry, keras: ModuleType) -> None:
    """Puts the hook in.

    Args:
        registry: the session's hooks.
        keras: the module.
    """
    registry.put(HOOK, lambda: _hook(registry, keras))
    loop = registry.loop
    if loop is not None and keras.backend.backend() == "torch":
        registry.put(PHASES, lambda: _hook_phases(loop, keras, sys.modules["torch"]))


class _Run(TrainingLoop):
    """One call of `Model.fit`.

    A step lasts from one end of a batch to the next, so that the loading of its data is part
    of it; the one that is open when there is no further batch was none.
    """

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._first_step = 0  # of the epoch
        self._next_step = 0

    def begin_epoch(self, model: Any, epoch: int, logs: Any = None) -> None:
        self._first_step = self._next_step
        watch_automatically(model)
        self.open_epoch(epoch)

    def begin_step(self, *_: Any) -> None:
        self.open_step(self._next_step)

    def end_step(self, model: Any, batch: int, logs: Any = None) -> None:
        """`batch` is the last one of an execution that runs several."""
        self._next_step = self._first_step + batch + 1
        self.open_step(self._next_step)

    def end_epoch(self, model: Any, epoch: int, logs: Any = None) -> None:
        mark_numbers(logs, kind="summary")
        self.close()

    def end_evaluation(self, model: Any, logs: Any = None) -> None:
        """Marks the metrics; the scope of the evaluation is the current one."""
        mark_numbers(logs, kind="summary")


def _hook(registry: Registry, keras: ModuleType) -> Undo:
    runs = Runs(registry, "keras", HOOK, _Run)
    patches = Patches()

    def fit(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.train(self, lambda: original(self, *args, **kwargs))

    def evaluate(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.span(self, "evaluate", lambda: original(self, *args, **kwargs))

    def predict(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.span(self, "predict", lambda: original(self, *args, **kwargs))

    def listen(event: str, before: str, after: str) -> None:
        def around(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
            runs.tell(self.model, before, self.model, *args, **kwargs)
            result = original(self, *args, **kwargs)
            runs.tell(self.model, after, self.model, *args, **kwargs)
            return result

        patches.method(keras.callbacks.CallbackList, event, around)

    patches.method(keras.Model, "fit", fit)
    patches.method(keras.Model, "evaluate", evaluate)
    patches.method(keras.Model, "predict", predict)
    # The users' callbacks run in the epoch and step that they are told of.
    listen("on_epoch_begin", "begin_epoch", "begin_step")
    listen("on_train_batch_end", "", "end_step")
    listen("on_epoch_end", "leave_step", "end_epoch")
    listen("on_test_end", "", "end_evaluation")
    return patches.undo


def _hook_phases(loop: Loop, keras: ModuleType, torch: Any) -> Undo:
    """What torch's own hooks can't see, or see wrongly, where Keras runs on torch."""
    patches = Patches()

    def build(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the model with tensors that have a shape and no numbers: no `forward`."""
        scope = _core.kind_scope(_core.KIND_PHASE, "build")
        with scope:
            result = original(self, *args, **kwargs)
            _core.discard(scope)
        return result

    def apply(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return original(self, *args, **kwargs)
        return loop.step_optimizer(lambda: original(self, *args, **kwargs))

    patches.method(keras.Model, "_symbolic_build", build)
    patches.method(keras.optimizers.Optimizer, "apply", apply)
    return patches.undo
