"""Statistics of torch tensors by torch's own operations, for tensors in a device's memory.

They are those of `_core.TensorStats`. Nothing is waited for until the results of all
tensors are fetched, and no operation is used that torch calls nondeterministic.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

from cirron import _core
from cirron.snapshots.tensors import Statistics

_BUCKETS = 16
_PIECE = 1 << 20  # elements that are looked at together: some 50 MB of the device's memory


def statistics_on_device(tensors: Sequence[Any]) -> list[Statistics | str]:
    """Returns the statistics of dense, real tensors that lie on one device.

    A string in place of them says why there are none.
    """
    torch = sys.modules["torch"]
    found: list[str] = []
    results = []
    with torch.no_grad():
        for tensor in tensors:
            try:
                results.append(_reduce(torch, tensor))
                found.append("")
            except Exception as error:  # an operation that the device lacks, or no memory
                found.append(f"{type(error).__name__}: {error}")
        numbers = iter(torch.stack(results).cpu().tolist() if results else ())
    return [
        reason or _statistics(torch, tensor, next(numbers))
        for tensor, reason in zip(tensors, found, strict=True)
    ]


def _reduce(torch: Any, tensor: Any) -> Any:
    """Returns, on the device, mean, m2, min, max, sum of squares, NaNs, infinities, counts."""
    pieces = tensor.reshape(-1).split(_PIECE)
    zero = torch.zeros((), dtype=torch.float64, device=tensor.device)
    total = squares = nans = infinities = zero
    low, high = zero + float("inf"), zero - float("inf")
    for piece in pieces:
        values = piece.to(torch.float64)
        finite = values.isfinite()
        kept = values.where(finite, zero)
        total = total + kept.sum()
        squares = squares + (kept * kept).sum()
        nans = nans + values.isnan().sum()
        infinities = infinities + values.isinf().sum()
        if values.numel() != 0:
            low = low.minimum(values.where(finite, zero + float("inf")).min())
            high = high.maximum(values.where(finite, zero - float("inf")).max())
    count = tensor.numel() - nans - infinities
    mean = total / count
    edges = low + (high - low) * torch.arange(1, _BUCKETS, device=tensor.device) / _BUCKETS
    deviations, above = zero, torch.zeros(_BUCKETS - 1, dtype=torch.float64, device=tensor.device)
    for piece in pieces:
        values = piece.to(torch.float64)
        finite = values.isfinite()
        deviation = (values - mean).where(finite, zero)
        deviations = deviations + (deviation * deviation).sum()
        inside = values.where(finite, zero - float("inf"))
        above = above + (inside >= edges[:, None]).sum(1)
    moments = (mean, deviations, low, high, squares, nans, infinities)
    return torch.cat([torch.stack([moment.to(torch.float64) for moment in moments]), above])


def _statistics(torch: Any, tensor: Any, numbers: list[float]) -> Statistics:
    mean, deviations, low, high, squares, nans, infinities, *above = numbers
    count = tensor.numel() - int(nans) - int(infinities)
    if count == 0:  # what then is said of nothing is the kernel's to know
        nothing = _core.tensor_stats(torch.empty(0, device="cpu"))
        return Statistics(nothing, int(nans), int(infinities))
    at_least = [count, *(int(number) for number in above), 0]
    bins = [low + (high - low) * i / _BUCKETS for i in range(_BUCKETS + 1)]
    held = [more - less for more, less in itertools.pairwise(at_least)]
    if low == high:  # and so are the buckets of a single value
        single = torch.tensor([low], dtype=torch.float64, device="cpu")
        histogram = _core.tensor_stats(single).as_dict()["histogram"]
        bins, held = histogram["bins"], [one * count for one in histogram["counts"]]
    values = {
        "mean": mean,
        "std": math.sqrt(deviations / count),
        "min": low,
        "max": high,
        "norm": math.sqrt(squares),
        "histogram": {"bins": bins, "counts": held},
    }
    return Statistics(values, int(nans), int(infinities))
