"""Statistics of a state as large as ResNet-50's against one read of it, `numpy.sum`.

Run alone, it prints its rows: `python benchmarks/snapshots.py`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from hot_paths import Figure

from cirron._core import tensor_stats

_ROUNDS = 21


def resnet50_shapes() -> list[tuple[int, ...]]:
    """The 161 parameters of torchvision's ResNet-50, 25.6 million numbers."""

    def convolution(inputs: int, outputs: int, size: int) -> list[tuple[int, ...]]:
        return [(outputs, inputs, size, size), (outputs,), (outputs,)]

    shapes = convolution(3, 64, 7)
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += convolution(inputs, width, 1)
            shapes += convolution(width, width, 3)
            shapes += convolution(width, 4 * width, 1)
            if block == 0:
                shapes += convolution(inputs, 4 * width, 1)
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def _state(dtype: str) -> list[Any]:
    random = np.random.default_rng(0)
    values = [random.standard_normal(shape, dtype=np.float32) for shape in resnet50_shapes()]
    if dtype == "bfloat16":
        import torch

        return [torch.from_numpy(value).bfloat16() for value in values]
    return [value.astype(dtype) for value in values]


def _seconds(read: Callable[[Any], Any], state: list[Any]) -> float:
    start = time.perf_counter()
    for array in state:
        read(array)
    return time.perf_counter() - start


def _against_sum(state: list[Any], floor_state: list[Any]) -> tuple[float, float]:
    """Medians of milliseconds, interleaved: ours, the floor's."""
    ours, floors = [], []
    for _ in range(_ROUNDS):
        floors.append(_seconds(np.sum, floor_state))
        ours.append(_seconds(tensor_stats, state))
    return statistics.median(ours) * 1e3, statistics.median(floors) * 1e3


def figures() -> list[Figure]:
    rows: list[Figure] = []
    single = _state("float32")
    for dtype in ("float32", "float16", "bfloat16", "float64"):
        try:
            state = single if dtype == "float32" else _state(dtype)
        except ImportError:  # no torch here
            continue
        # NumPy sums halves slowly or not at all: their floor is the sum in float32.
        ours, floor = _against_sum(state, state if dtype == "float64" else single)
        rows.append(
            (
                f"statistics of 25.6 M {dtype}",
                f"{ours:.1f} ms",
                f"{floor:.1f} ms",
                f"{ours / floor:.2f}",
                "2.0 sums" if dtype == "float32" else "",
            )
        )
    return rows


if __name__ == "__main__":
    for row in figures():
        print("  ".join(f"{cell:<32}" if i == 0 else f"{cell:>8}" for i, cell in enumerate(row)))
