"""What the hooks add to training with PyTorch: `python benchmarks/training.py`.

The time added is what the training waits. Sessions are warm when measured, but where opening
and closing them is what is measured.
"""

import os
import platform
import tempfile
from collections.abc import Callable
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table
from timing import Took, Training, against_bare, against_floor, step_us
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cirron as ci

Figure = tuple[str, str, str, str, str, str]

ROUNDS = 31
STEPS = 10  # of an epoch, of which a loop has two


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.encoder(self.embed(x)).mean(1)
        return self.head(hidden)


def mlp() -> tuple[nn.Module, torch.Tensor, int]:
    return nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(80, 32), 8


def cnn() -> tuple[nn.Module, torch.Tensor, int]:
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(512, 4)), torch.randn(320, 3, 32, 32), 32


def transformer() -> tuple[nn.Module, torch.Tensor, int]:
    return Transformer(), torch.randn(320, 32, 16), 32


def training(make: Callable[[], tuple[nn.Module, torch.Tensor, int]]) -> Training:
    """Two epochs of ten steps, a loop that nobody wrote for us."""
    torch.manual_seed(0)
    model, x, batch = make()
    loader = DataLoader(TensorDataset(x, torch.randint(0, 4, (len(x),))), batch_size=batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss_of = nn.CrossEntropyLoss()

    def loop() -> None:
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss_of(model(x), y).backward()
                optimizer.step()

    return Training(loop, 2 * STEPS)


def added(
    bare: Training, repeats: int, path: str, snapshots: Literal["none"] | None = None
) -> tuple[Took, Took]:
    def recorded() -> Took:
        with ci.profile(path=path, snapshots=snapshots):
            step_us(bare, max(repeats // 4, 1))
            return step_us(bare, repeats)

    return against_bare(bare, repeats, recorded, ROUNDS)


def added_by_empty_session(bare: Training, repeats: int, path: str) -> tuple[Took, Took]:
    """The same for a session without hooks that is opened and closed within the loop."""

    def in_session() -> None:
        ci.profile(path=path, frameworks=[])
        for _ in range(repeats):
            bare.run()
        ci.shutdown()

    whole = Training(in_session, repeats * bare.steps)
    return against_bare(bare, repeats, lambda: step_us(whole), ROUNDS)


def row(name: str, reach: str, figures: tuple[Took, Took]) -> Figure:
    more, bare = figures
    ratio = f"{more.wall / bare.wall:+.2%}"
    return (
        name,
        f"{more.wall:+.1f} us",
        ratio,
        f"{more.cpu:+.1f} us",
        f"{bare.wall:.0f} us",
        reach,
    )


class Same(nn.Module):
    def forward(self, x: int) -> int:
        return x


def forward_in_floors(path: str) -> Figure:
    """A module's call, hooked, less the same call bare."""
    module = Same()

    def calls(n: int) -> None:
        for _ in range(n):
            module(1)

    bare, hooked, floors = [], [], []
    for _ in range(5):
        took, floor = against_floor(calls, repeats=1)
        bare.append(took)
        floors.append(floor)
        with ci.profile(path=path):
            hooked.append(against_floor(calls, repeats=1)[0])
    floor = min(floors)
    more = min(hooked) - min(bare)
    return (
        "forward",
        f"{more:+.0f} ns",
        f"{more / floor:.2f} floors",
        "",
        f"{min(bare):.0f} ns",
        "3 floors",
    )


def figures() -> list[Figure]:
    torch.set_num_threads(1)
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory() as path:
        rows.append(forward_in_floors(path))
        mlps = training(mlp)
        hooks = added(mlps, 20, path, snapshots="none")
        rows.append(row("MLP 32-16-4, batch 8, hooks", "8 us and 3 %", hooks))
        rows.append(row("the same, with snapshots of each epoch", "", added(mlps, 20, path)))
        rows.append(row("the same, no hooks", "1.5 %", added_by_empty_session(mlps, 100, path)))
        rows.append(row("small CNN, batch 32", "1 %", added(training(cnn), 1, path)))
        rows.append(
            row("2-layer transformer, batch 32", "1 %", added(training(transformer), 1, path))
        )
    return rows


def main() -> None:
    console = Console(width=None if os.isatty(1) else 120)
    table = Table("a step of", "added", "ratio", "added CPU", "bare", "reach", title="Training")
    for figure in figures():
        table.add_row(*figure)
    console.print(table)
    console.print(
        f"torch {torch.__version__}, one thread, CPython {platform.python_version()}, "
        f"{os.cpu_count()} cores. The floor is `with lock:` on a threading.Lock."
    )


if __name__ == "__main__":
    main()
