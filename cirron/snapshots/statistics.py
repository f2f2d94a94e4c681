"""The statistics of tensors, wherever they lie."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from cirron import _core
from cirron.snapshots.tensors import Statistics, obstacle


def statistics(tensors: Sequence[Any]) -> list[Statistics | str]:
    """Returns the statistics of each tensor, or why there are none.

    Tensors in the memory of a device are reduced there, and all results come over at once.
    """
    found: list[Statistics | str] = []
    on_devices: dict[Any, list[int]] = {}
    for number, tensor in enumerate(tensors):
        reason = obstacle(tensor)
        if reason is None and not _is_on_host(tensor):
            on_devices.setdefault(tensor.device, []).append(number)
            reason = ""  # its turn comes
        found.append(_of_host(tensor) if reason is None else reason)
    for numbers in on_devices.values():
        from cirron.snapshots.device import statistics_on_device

        there = statistics_on_device([tensors[number] for number in numbers])
        for number, stats in zip(numbers, there, strict=True):
            found[number] = stats
    return found


def _is_on_host(tensor: Any) -> bool:
    return getattr(tensor, "is_cpu", True)  # NumPy's arrays always are


def _of_host(tensor: Any) -> Statistics | str:
    try:
        stats = _core.tensor_stats(_readable(tensor))
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        return str(error)
    return Statistics(stats, stats.nan_count, stats.inf_count)


def _readable(tensor: Any) -> Any:
    """What the kernel reads: of floats of 8 bits and NumPy's bfloat16 a copy in float32."""
    if hasattr(tensor, "detach"):
        if tensor.itemsize == 1 and tensor.is_floating_point():
            tensor = tensor.float()
        # What tensor.__dlpack__() does, without its Python, which takes longer than all else.
        return sys.modules["torch"].utils.dlpack.to_dlpack(tensor)
    return tensor.astype("float32") if tensor.dtype.kind == "V" else tensor
