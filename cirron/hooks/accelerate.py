"""accelerate: its loaders, which ask torch's for one batch ahead of the one they give.

A pass over one of them is the pass that counts; torch's loader within is part of its
`data_load`. All else that accelerate does passes through what is hooked in torch.
"""

from __future__ import annotations

import functools

from cirron.hooks.patch import Patches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from cirron.hooks.registry import Registry, Undo

_LOADERS = ("DataLoaderShard", "DataLoaderDispatcher", "SkipDataLoader")


def install(registry: Registry, data_loader: ModuleType) -> None:
    """Puts the hook in.

    Args:
        registry: the session's hooks.
        data_loader: the module `accelerate.data_loader`.
    """
    registry.put("accelerate.data_load", lambda: _hook(registry, data_loader))


def _hook(registry: Registry, data_loader: ModuleType) -> Undo:
    patches = Patches()

    def start(original: Any, self: Any) -> Any:
        if registry.loop is None:  # torch is not hooked
            return original(self)
        return registry.loop.start(self, functools.partial(original, self))

    for name in _LOADERS:
        patches.method(getattr(data_loader, name), "__iter__", start)
    return patches.undo
