"""Loops whose passes are scopes: `epochs` and `batches`.

The scope of an item is open from the moment it is handed out until the next one is asked
for. It is opened by the caller's own `next`, so it is the caller's current scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter_ns

from cirron import _core
from cirron.profiler import at_epoch_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True)

    class Loop(Iterator[T_co], Protocol[T_co]):
        """What `epochs` and `batches` return; `len()` works when the iterable has one."""

        def __len__(self) -> int: ...


# What the hooks of a framework leave alone inside.
_KINDS = {"epoch": _core.KIND_EPOCH, "batch": _core.KIND_STEP | _core.KIND_BATCH}


def epochs(iterable: Iterable[T]) -> Loop[T]:
    """Iterates over the same items, each in a scope `epoch` with index 0, 1, ...

    Leaving the loop early closes the open scope.

    Args:
        iterable: anything that a `for` loop takes.

    Raises:
        TypeError: `iterable` is none.
    """
    return _loop("epoch", iterable, timed=False)


def batches(iterable: Iterable[T]) -> Loop[T]:
    """Iterates over the same items, each in a scope `batch` with index 0, 1, ...

    Unless the iterable is a sequence, the attribute `data_load_ns` says how long the loop
    waited for the item. Leaving the loop early closes the open scope.

    Args:
        iterable: a DataLoader, or anything else that a `for` loop takes.

    Raises:
        TypeError: `iterable` is none.
    """
    return _loop("batch", iterable, timed=not isinstance(iterable, Sequence))


def _loop(name: str, iterable: Iterable[T], timed: bool) -> Loop[T]:
    if not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
        raise TypeError(f"{type(iterable).__name__!r} object is not iterable")
    kind: Any = _SizedLoop if hasattr(iterable, "__len__") else _Loop
    loop: Loop[T] = kind(name, iterable, timed)
    return loop


class _Loop:
    """An iterator that a second `for` starts afresh, as it would the iterable itself."""

    def __init__(self, name: str, iterable: Iterable[Any], timed: bool) -> None:
        self._name = name
        self._iterable = iterable
        self._timed = timed
        self._own: _Pass | None = None  # what next() on the loop itself goes through

    def __iter__(self) -> Iterator[Any]:
        if self._own is not None and not self._own.exhausted:
            return self._own
        return _Pass(self._name, self._iterable, self._timed)

    def __next__(self) -> Any:
        if self._own is None:
            self._own = _Pass(self._name, self._iterable, self._timed)
        return next(self._own)


class _SizedLoop(_Loop):
    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]


class _Pass:
    """One walk over the iterable."""

    __slots__ = ("_index", "_name", "_scope", "_source", "_timed", "exhausted")

    def __init__(self, name: str, iterable: Iterable[Any], timed: bool) -> None:
        self._scope: _core.Scope | None = None
        self._name = name
        self._source = iter(iterable)
        self._timed = timed
        self._index = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._close()
        asked_ns = perf_counter_ns()
        try:
            item = _core.request_batch(self._source) if self._timed else next(self._source)
        except StopIteration:
            self.exhausted = True
            raise
        waited_ns = perf_counter_ns() - asked_ns
        scope = _core.kind_scope(_KINDS[self._name], self._name, self._index)
        if self._timed:
            scope.attrs["data_load_ns"] = waited_ns
        self._index += 1
        self._scope = scope  # first, so that an interrupt after the entry finds it
        scope.__enter__()
        return item

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        scope, self._scope = self._scope, None
        if scope is None:
            return
        _core.end_left_optimizer_steps()
        try:
            if self._name == "epoch":
                at_epoch_end(scope)
        finally:
            scope.__exit__(None, None, None)
