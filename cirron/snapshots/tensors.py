"""Tensors as the frameworks have them: their names, their statistics, their bytes.

No framework is imported: whoever watches a model has imported its own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cirron import _core

WEIGHTS = "weights"
GRADIENTS = "gradients"

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor, detached, that shares its memory with the model's."""

    name: str
    kind: str
    """`WEIGHTS` or `GRADIENTS`: the file that it belongs to."""
    tensor: Any

    @property
    def shape(self) -> list[int]:
        """Its sizes."""
        return [int(size) for size in self.tensor.shape]

    @property
    def dtype(self) -> str:
        """What NumPy calls its type, such as `float32`."""
        return str(self.tensor.dtype).removeprefix("torch.")


def named_tensors(model: Any, prefix: str) -> list[Named]:
    """Returns a model's parameters and then their gradients, shared ones once.

    Parameters that have no shape yet and gradients that are None are left out.

    Args:
        model: a torch module.
        prefix: stands before every name.
    """
    lazy = sys.modules["torch"].nn.parameter.is_lazy
    parameters = [(prefix + name, p) for name, p in _parameters(model) if not lazy(p)]
    weights = [Named(name, WEIGHTS, p.detach()) for name, p in parameters]
    gradients = [
        Named(f"{name}.grad", GRADIENTS, p.grad.detach())
        for name, p in parameters
        if p.is_leaf and p.grad is not None
    ]
    return weights + gradients


def _parameters(model: Any) -> list[tuple[str, Any]]:
    for _ in range(_TRIES):
        with contextlib.suppress(RuntimeError):  # another thread changes the model
            return list(model.named_parameters())
    return list(model.named_parameters())


def obstacle(tensor: Any) -> str | None:
    """Says why the values of a tensor can't be had; None when they can.

    A subclass may hold a part of the values, or ask other processes for them, so none is
    touched.
    """
    torch = sys.modules["torch"]
    if type(tensor) is not torch.Tensor:
        return f"a {type(tensor).__name__} keeps its values to itself"
    if tensor.is_meta:
        return "on the meta device"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_complex():
        return "complex"
    if tensor.untyped_storage().nbytes() == 0 and tensor.numel() != 0:
        return "its memory is given back"
    return None


def statistics(tensors: Sequence[Any]) -> list[dict[str, Any] | str]:
    """Returns what `_core.tensor_stats` says of each tensor, or why there is nothing to say.

    Tensors in the memory of a device are reduced there, and all results come over at once.
    """
    found: list[dict[str, Any] | str] = []
    on_devices: dict[Any, list[int]] = {}
    for number, tensor in enumerate(tensors):
        reason = obstacle(tensor)
        if reason is None and tensor.device.type != "cpu":
            on_devices.setdefault(tensor.device, []).append(number)
        found.append(_of_host(tensor) if reason is None else reason)
    for numbers in on_devices.values():
        from cirron.snapshots.device import statistics_on_device

        there = statistics_on_device([tensors[number] for number in numbers])
        for number, stats in zip(numbers, there, strict=True):
            found[number] = stats
    return found


def _of_host(tensor: Any) -> dict[str, Any] | str:
    if tensor.device.type != "cpu":
        return ""  # its turn comes
    try:
        return _core.tensor_stats(tensor)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        return str(error)


def serialised(tensors: Mapping[str, Any]) -> bytes:
    """Returns the content of a safetensors file: a copy that no optimiser changes.

    Raises:
        ImportError: the package `safetensors` is missing.
    """
    from safetensors.torch import save

    return save({name: _on_host(tensor) for name, tensor in tensors.items()})


def _on_host(tensor: Any) -> Any:
    tensor = tensor.cpu().contiguous()
    # safetensors wants no two tensors in one piece of memory.
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
