"""accelerate: plain loops over prepared loaders, through the hooks of torch."""

import accelerate.data_loader
import pytest
import torch
from accelerate import Accelerator, DataLoaderConfiguration, skip_first_batches
from support import roots, tree
from torch.utils.data import DataLoader, TensorDataset

import cirron as ci

LOADERS = ("DataLoaderShard", "DataLoaderDispatcher", "SkipDataLoader")
STEP = ["data_load", "forward", "backward", "optimizer_step"]


def prepare(**settings):
    accelerator = Accelerator(cpu=True, **settings)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = TensorDataset(torch.zeros(8, 3), torch.zeros(8, 1))
    return accelerator, *accelerator.prepare(model, optimizer, DataLoader(data, batch_size=4))


def train(accelerator, model, optimizer, loader):
    for x, y in loader:
        with accelerator.accumulate(model):
            optimizer.zero_grad()
            accelerator.backward(torch.nn.functional.mse_loss(model(x), y))
            optimizer.step()


def two_epochs(*phases):
    steps = [f"step[{n}]" for n in range(4)]
    return [
        *("epoch[0]", [steps[0], phases[0], steps[1], phases[1]]),
        *("epoch[1]", [steps[2], phases[0], steps[3], phases[1]]),
    ]


@pytest.mark.parametrize("dispatch", [False, True])
def test_loop_over_a_prepared_loader_is_that_of_torch(dispatch):
    """Such a loader asks torch's for a batch ahead; the steps are those of the program."""
    with ci.profile(output="none"):
        run = prepare(dataloader_config=DataLoaderConfiguration(dispatch_batches=dispatch))
        for _ in range(2):
            train(*run)
        assert tree() == two_epochs(STEP, STEP)
        assert ci.health()["hook_errors"] == {}


def test_accumulated_gradients_are_applied_in_the_last_step():
    with ci.profile(output="none"):
        run = prepare(gradient_accumulation_steps=2)
        for _ in range(2):
            train(*run)
        assert tree() == two_epochs(STEP[:3], STEP)


def test_skipped_batches_are_no_steps():
    with ci.profile(output="none"):
        accelerator, model, optimizer, loader = prepare()
        train(accelerator, model, optimizer, skip_first_batches(loader, 1))
        assert tree() == ["epoch[0]", ["step[0]", STEP]]


def test_loaders_are_restored():
    classes = [getattr(accelerate.data_loader, name) for name in LOADERS]
    before = [vars(cls)["__iter__"] for cls in classes]
    with ci.profile(output="none", frameworks="accelerate"):
        assert ci.health()["frameworks_installed"] == ["torch", "accelerate"]
        assert [vars(cls)["__iter__"] for cls in classes] != before
    assert [vars(cls)["__iter__"] for cls in classes] == before


def test_loop_without_the_hooks_of_torch_is_untouched():
    with ci.profile(output="none", frameworks="transformers"):
        train(*prepare())
        assert roots() == []
