"""Calls that wait for a module which the program may import later. We import none."""

from __future__ import annotations

import sys

from cirron.log import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Call = Callable[[ModuleType], object]


def when_imported(name: str, call: Call) -> Waiting:
    """Calls `call(module)` once the module `name` is imported, at once when it is.

    Otherwise the call comes from the thread that imports it, right after the module's code
    has run. What `call` raises becomes a warning. A module that another thread is just
    importing counts as not imported, and that import goes unseen.

    Args:
        name: the module's full name.
        call: takes the module.

    Returns:
        A handle whose `cancel()` ends the waiting.
    """
    waiting = Waiting(name, call)
    module = sys.modules.get(name)
    if module is not None and not _is_initializing(module):
        waiting.run(module)
    else:
        _finder.waiting.append(waiting)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
    return waiting


def _is_initializing(module: ModuleType) -> bool:
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


class Waiting:
    """One call that waits for its module."""

    def __init__(self, name: str, call: Call) -> None:
        self.name = name
        self._call = call

    def cancel(self) -> None:
        """Ends the waiting; nothing happens when the call was made."""
        if self in _finder.waiting:
            _finder.waiting.remove(self)
        finders = sys.meta_path or []  # None while Python is ending
        if not _finder.waiting and _finder in finders:
            finders.remove(_finder)

    def run(self, module: ModuleType) -> None:
        """Makes the call."""
        try:
            self._call(module)
        except Exception as error:
            warn(f"{self.name} was imported, but can't be hooked: {error!r}")


class _Finder:
    """Stands first in `sys.meta_path`, and only while something waits."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(waiting.name == name for waiting in self.waiting):
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None) if finder is not self else None
            spec: ModuleSpec | None = find(name, path, target) if find is not None else None
            if spec is not None:
                _run_after_execution(spec)
                return spec
        return None


def _run_after_execution(spec: ModuleSpec) -> None:
    """Puts an `exec_module` of ours on the module's own loader, for this one time.

    A loader in place of it would be seen by whoever looks at `module.__loader__`.
    """
    loader = spec.loader
    if loader is None or isinstance(loader, type):
        return  # a namespace package or a built-in module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module  # uncovers the class's
        loader.exec_module(module)
        for waiting in [one for one in _finder.waiting if one.name == spec.name]:
            waiting.cancel()
            waiting.run(module)

    try:
        loader.exec_module = exec_module  # type: ignore[method-assign]
    except AttributeError:
        warn(f"{spec.name} can't be hooked: its loader {loader!r} takes no attribute")


_finder = _Finder()
