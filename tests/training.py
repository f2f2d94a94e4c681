"""Small PyTorch training runs, and traces as nested names to compare them with."""

import textwrap
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cirron as ci


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def loader(batches: int = 2, **options: Any) -> DataLoader[Any]:
    data = TensorDataset(torch.randn(4 * batches, 4), torch.randint(0, 2, (4 * batches,)))
    return DataLoader(data, batch_size=4, **options)


class Run:
    """A model, an optimizer and what one step of training does with them."""

    def __init__(self, optimizer: type[torch.optim.Optimizer] = torch.optim.SGD) -> None:
        self.model = network()
        self.optimizer = optimizer(self.model.parameters(), lr=0.01)
        self.loss = nn.CrossEntropyLoss()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(self.model(x), y).backward()
        self.optimizer.step()

    def epoch(self, batches: Any) -> None:
        for x, y in batches:
            self.step(x, y)


def names(nodes: list[dict[str, Any]] | None = None) -> str:
    """The tree of the trace buffer: a line a span, indented by its depth."""
    lines: list[str] = []

    def add(spans: list[dict[str, Any]], depth: int) -> None:
        for span in spans:
            index = "" if span["index"] is None else f"[{span['index']}]"
            lines.append("  " * depth + span["name"] + index)
            add(span["children"], depth + 1)

    add(ci.trace(format="dict")["roots"] if nodes is None else nodes, 0)
    return "\n".join(lines)


def tree(text: str) -> str:
    """An expected tree; `step[0]: a b` stands for a step with the children a and b."""
    lines = []
    for line in textwrap.dedent(text).strip().splitlines():
        head, _, children = line.partition(":")
        lines.append(head)
        indent = " " * (len(head) - len(head.lstrip()) + 2)
        lines += [indent + child for child in children.split()]
    return "\n".join(lines)


def spans(name: str) -> list[dict[str, Any]]:
    """The spans of a name, wherever they are in the trace, as trees."""
    found: list[dict[str, Any]] = []

    def look(nodes: list[dict[str, Any]]) -> None:
        for node in nodes:
            if node["name"] == name:
                found.append(node)
            look(node["children"])

    look(ci.trace(format="dict")["roots"])
    return found
