"""Hooks for PyTorch: `data_load`, `forward`, `backward`, `optimizer_step`, `step`, `epoch`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from cirron.hooks.registry import Registry


def install(registry: Registry, torch: ModuleType) -> None:
    """Puts the hooks in."""
