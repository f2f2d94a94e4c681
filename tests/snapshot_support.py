"""Small torch models, epochs, and the snapshot records of the default spool."""

from pathlib import Path
from typing import Any

from support import spool_batches

import cirron as ci
from cirron.snapshots import watch


def watch_nothing() -> None:
    """Forgets the models that other tests may keep alive."""
    watch._watched.clear()


def net() -> Any:
    """One layer of three by two, in a Sequential."""
    import torch

    return torch.nn.Sequential(torch.nn.Linear(3, 2))


def train(model: Any) -> None:
    """Leaves gradients in every parameter, of this batch alone."""
    import torch

    model.zero_grad()
    weight = next(model.parameters())
    model(torch.rand(4, weight.shape[-1], dtype=weight.dtype)).square().sum().backward()


def epoch() -> str:
    """One epoch with nothing in it; returns its span's id."""
    for _ in ci.epochs(range(1)):
        with ci.scope("inside") as scope:
            pass
    assert scope.parent_id is not None
    return scope.parent_id


def records(directory: str | Path = ".cirron/spool") -> list[dict[str, Any]]:
    """Flushes, and returns the snapshot records of a spool, the last of each id."""
    ci.flush()
    found: dict[str, dict[str, Any]] = {}
    for batch in spool_batches(directory):
        for record in batch["snapshots"]:
            found[record["id"]] = record
    return list(found.values())


def names() -> list[str]:
    """The tensor names among the records, sorted."""
    return sorted({record["tensor_name"] for record in records()})
