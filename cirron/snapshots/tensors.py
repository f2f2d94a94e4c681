"""Tensors as the frameworks have them, and what a snapshot keeps of them.

No framework is imported: whoever watches a model has imported its own.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, NamedTuple

from cirron import _core
from cirron.snapshots.watch import is_keras, unused

WEIGHTS = "weights"
GRADIENTS = "gradients"

_TRIES = 3


class Named(NamedTuple):
    """A tensor of torch, detached, or an array of NumPy; it shares the model's memory or not."""

    name: str
    kind: str
    """`WEIGHTS` or `GRADIENTS`: the file that it belongs to."""
    tensor: Any

    @property
    def shape(self) -> list[int]:
        """Its sizes."""
        return list(self.tensor.shape)

    @property
    def dtype(self) -> str:
        """What NumPy calls its type, such as `float32`."""
        return str(self.tensor.dtype).removeprefix("torch.")


class Statistics(NamedTuple):
    """Of the finite values of a tensor."""

    values: _core.TensorStats | dict[str, Any]
    """What a record holds as `stats`."""
    nan_count: int
    inf_count: int


def named_tensors(model: Any, prefix: str) -> list[Named]:
    """Returns a model's weights and then their gradients, shared ones once.

    Parameters that have no shape yet and gradients that are None are left out.

    Args:
        model: a torch module or a Keras model.
        prefix: stands before every name.
    """
    owned = _keras_weights(model) if is_keras(model) else _torch_parameters(model)
    weights = [Named(prefix + name, WEIGHTS, _detached(tensor)) for name, tensor in owned.items()]
    gradients = [
        Named(f"{prefix}{name}.grad", GRADIENTS, _detached(tensor.grad))
        for name, tensor in owned.items()
        if getattr(tensor, "is_leaf", False) and tensor.grad is not None
    ]
    return weights + gradients


def _torch_parameters(model: Any) -> dict[str, Any]:
    lazy = sys.modules["torch"].nn.parameter.is_lazy
    for _ in range(_TRIES):
        with contextlib.suppress(RuntimeError):  # another thread changes the model
            return {name: p for name, p in model.named_parameters() if not lazy(p)}
    return {name: p for name, p in model.named_parameters() if not lazy(p)}


def _keras_weights(model: Any) -> dict[str, Any]:
    variables = {id(variable): variable for variable in model.weights}.values()
    weights: dict[str, Any] = {}
    for variable in variables:
        weights[unused(variable.path, weights)] = variable.value
    return weights


def _detached(tensor: Any) -> Any:
    if hasattr(tensor, "detach"):
        return tensor.detach().resolve_neg()  # a view may stand for the negative of its memory
    return sys.modules["numpy"].asarray(tensor)  # of TensorFlow or JAX


def obstacle(tensor: Any) -> str | None:
    """Says why the values of a tensor can't be had; None when they can.

    A subclass may hold a part of the values, or ask other processes for them, so none is
    touched.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(tensor, torch.Tensor):
        return None if tensor.dtype.kind != "c" else "complex"
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


def serialised(tensors: dict[str, Any]) -> bytes:
    """Returns the content of a safetensors file: a copy that no optimiser changes.

    Raises:
        ImportError: the package `safetensors` is missing.
    """
    if all(hasattr(tensor, "detach") for tensor in tensors.values()):
        import safetensors.torch

        return bytes(safetensors.torch.save({n: _own(tensor) for n, tensor in tensors.items()}))
    import safetensors.numpy

    return bytes(safetensors.numpy.save(tensors))


def _own(tensor: Any) -> Any:
    """On the host, in one piece, and alone in its memory, as safetensors wants it."""
    tensor = tensor.cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
