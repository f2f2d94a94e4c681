"""Lightning, hooked: the epochs, steps, evaluations and metrics of its Trainer."""

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.trainer import call
from support import depth, marks_of, names_of_snapshots, roots, run_script, tree
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import cirron as ci

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:Warning"),
]

PATCHED = [
    *((lightning.Trainer, name) for name in ("fit", "validate", "test", "predict")),
    (call, "_call_callback_hooks"),
    (call, "_call_lightning_module_hook"),
]


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", self.layer(batch[0]).square().mean())

    test_step = validation_step

    def predict_step(self, batch, index):
        return self.layer(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def loader():
    return DataLoader(TensorDataset(torch.ones(8, 3)), batch_size=4)


def make_trainer(**arguments):
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return lightning.Trainer(**defaults | arguments)


def session(frameworks="lightning"):
    return ci.profile(output="none", frameworks=frameworks)


EPOCHS = ["epoch[0]", ["step[0]", "step[1]"], "epoch[1]", ["step[2]", "step[3]"]]


def test_fit_is_epochs_of_steps_whose_indices_run_on():
    with session():
        make_trainer().fit(Model(), loader())
        assert tree() == EPOCHS
        assert ci.health()["frameworks_installed"] == ["lightning"]


def test_validation_lies_in_its_epoch_which_has_the_metrics():
    with session():
        make_trainer(max_epochs=1).fit(Model(), loader(), loader())
        (epoch,) = roots()
        assert tree() == ["epoch[0]", ["step[0]", "step[1]", "evaluate"]]
        assert marks_of(epoch) == {"loss": "summary", "val_loss": "summary"}


def test_validation_between_steps_is_no_part_of_one():
    with session():
        make_trainer(max_epochs=1, val_check_interval=1).fit(Model(), loader(), loader())
        assert tree() == ["epoch[0]", ["step[0]", "evaluate", "step[1]", "evaluate"]]


def test_sanity_check_is_told_apart():
    with session():
        make_trainer(max_epochs=1, num_sanity_val_steps=1).fit(Model(), loader(), loader())
        assert tree()[0] == "evaluate"
        assert roots()[0]["attrs"] == {"sanity_check": True}
        assert marks_of(roots()[0]) == {}


def test_validate_test_and_predict_on_their_own_are_spans():
    with session():
        trainer, model = make_trainer(), Model()
        trainer.validate(model, loader(), verbose=False)
        trainer.test(model, loader(), verbose=False)
        trainer.predict(model, loader())
        assert tree() == ["evaluate", "evaluate", "predict"]
        assert marks_of(roots()[0]) == {"val_loss": "summary"}


def test_phases_of_torch_lie_in_the_steps_and_nothing_is_there_twice():
    with session(frameworks=None):
        make_trainer().fit(Model(), loader(), loader())
        step = ["data_load", "optimizer_step", ["forward", "backward"]]  # it gets a closure
        evaluation = ["evaluate", ["data_load", "forward"] * 2]
        assert tree() == [
            "epoch[0]",
            ["step[0]", step, "step[1]", step, *evaluation],
            "epoch[1]",
            ["step[2]", step, "step[3]", step, *evaluation],
        ]


def test_accumulated_gradients_are_applied_in_every_second_step():
    with session(frameworks=None):
        make_trainer(max_epochs=1, accumulate_grad_batches=2).fit(Model(), loader())
        assert tree() == [
            "epoch[0]",
            [
                *("step[0]", ["data_load", "forward", "backward"]),
                *("step[1]", ["data_load", "optimizer_step", ["forward", "backward"]]),
            ],
        ]


@pytest.mark.filterwarnings("ignore:.*`__len__`")
def test_stream_of_unknown_length_trains_through():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(torch.ones(4, 1, 3))

    with session():
        make_trainer().fit(Model(), DataLoader(Stream(), batch_size=2))
        assert tree() == EPOCHS


def test_resumed_training_goes_on_counting():
    model = Model()
    trainer = make_trainer(max_epochs=1)
    trainer.fit(model, loader())
    trainer.save_checkpoint("first.ckpt")
    with session():
        make_trainer().fit(model, loader(), ckpt_path="first.ckpt", weights_only=False)
        assert tree() == EPOCHS[2:]


def test_scopes_of_callbacks_and_modules_lie_in_the_step_that_they_are_told_of():
    class Opens(Callback):
        def on_train_batch_start(self, *args):
            with ci.scope("callback"):
                pass

    class Module(Model):
        def on_train_batch_end(self, *args):
            with ci.scope("module"):
                pass

    with session():
        make_trainer(max_epochs=1, callbacks=[Opens()]).fit(Module(), loader())
        inner = ["callback", "module"]
        assert tree() == ["epoch[0]", ["step[0]", inner, "step[1]", inner]]


def test_failure_is_the_error_of_the_open_spans_and_leaves_none_open():
    class Fails(Model):
        def training_step(self, batch, index):
            raise ValueError("no loss")

    with session():
        with pytest.raises(ValueError, match="no loss"):
            make_trainer().fit(Fails(), loader())
        (epoch,) = roots()
        assert epoch["attrs"]["error"] == "ValueError: no loss"
        assert tree() == ["epoch[0]", ["step[0]"]]
        assert depth() == 0


def test_training_stopped_early_ends_cleanly():
    with session():
        stop = EarlyStopping("val_loss", stopping_threshold=1e9)
        make_trainer(callbacks=[stop]).fit(Model(), loader(), loader())
        assert tree() == ["epoch[0]", ["step[0]", "step[1]", "evaluate"]]
        assert depth() == 0


def test_weights_are_taken_at_the_end_of_each_epoch():
    with ci.profile(frameworks="lightning"):
        make_trainer().fit(Model(), loader())
        first, second = names_of_snapshots()
        assert first == second
        assert {"layer.weight", "layer.bias"} <= first


def test_shutdown_restores_every_function():
    before = [vars(owner)[name] for owner, name in PATCHED]
    with session():
        assert all(vars(o)[n] is not b for (o, n), b in zip(PATCHED, before, strict=True))
    assert all(vars(o)[n] is b for (o, n), b in zip(PATCHED, before, strict=True))


def test_lightning_imported_after_profile_is_hooked():
    done = run_script("""
    import warnings
    warnings.simplefilter("ignore")
    import cirron as ci
    ci.profile(output="none")
    import lightning
    print("lightning" in ci.health()["frameworks_installed"], lightning.Trainer.fit.__module__)
    ci.shutdown()
    print(hasattr(lightning.Trainer.fit, "__wrapped__"))
    """)
    assert done.stdout.splitlines() == ["True lightning.pytorch.trainer.trainer", "False"]
