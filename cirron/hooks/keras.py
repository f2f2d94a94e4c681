"""Hooks for Keras: `epoch`, `step`, `evaluate`, `predict`, the metrics at their ends.

`fit` tells its callbacks of everything through a CallbackList; the hook listens there. A
callback of ours in the list would be told of batches on another thread, and late.
"""

from __future__ import annotations

from cirron.hooks.patch import Patches
from cirron.hooks.training_loop import Runs, TrainingLoop, mark_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from cirron.hooks.registry import Registry, Undo

HOOK = "keras.model"
_EVENTS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_end",
)


def install(registry: Registry, keras: ModuleType) -> None:
    """Puts the hook in.

    Args:
        registry: the session's hooks.
        keras: the module.
    """
    registry.put(HOOK, lambda: _hook(registry, keras))


class _Run(TrainingLoop):
    """One call of `Model.fit`; methods named `on_...` are the events."""

    def __init__(self) -> None:
        super().__init__()
        self._first_step = 0  # of the epoch
        self._next_step = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._first_step = self._next_step
        self.open_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.in_epoch:
            self.open_step(self._first_step + batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the step; `batch` is its last one where an execution runs several."""
        self._next_step = self._first_step + batch + 1
        self.close_step()

    def on_test_end(self, logs: Any = None) -> None:
        """Marks the metrics of an evaluation, whose scope is the current one."""
        mark_numbers(logs, kind="summary")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Marks the metrics and ends the epoch."""
        self.close_step()
        mark_numbers(logs, kind="summary")
        self.close()


def _hook(registry: Registry, keras: ModuleType) -> Undo:
    runs = Runs(registry, "keras", HOOK, _Run)
    patches = Patches()

    def fit(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.train(self, lambda: original(self, *args, **kwargs))

    def evaluate(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.span(self, "evaluate", lambda: original(self, *args, **kwargs))

    def predict(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return runs.span(self, "predict", lambda: original(self, *args, **kwargs))

    def listen(event: str) -> None:
        def tell(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            runs.tell(self.model, event, *args, **kwargs)
            return result

        patches.method(keras.callbacks.CallbackList, event, tell)

    patches.method(keras.Model, "fit", fit)
    patches.method(keras.Model, "evaluate", evaluate)
    patches.method(keras.Model, "predict", predict)
    for event in _EVENTS:
        listen(event)
    return patches.undo
