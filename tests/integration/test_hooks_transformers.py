"""The Trainer of transformers, hooked: its epochs, steps, evaluations and what it logs."""

import pickle
import sys
import weakref

import pytest
import torch
from support import depth, marks_of, names_of_snapshots, roots, run_script, tree
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer import CallbackHandler

import cirron as ci

PATCHED = [
    (Trainer, "train"),
    (Trainer, "evaluate"),
    (Trainer, "predict"),
    (Trainer, "get_batch_samples"),
    (CallbackHandler, "call_event"),
]


class Rows(torch.utils.data.Dataset):
    """Eight rows of six tokens and a label."""

    def __len__(self):
        return 8

    def __getitem__(self, row):
        return {"input_ids": torch.arange(6) + row, "labels": torch.tensor(row % 2)}


def model():
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=16,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=8,
        )
    )


def make_trainer(kind=Trainer, callbacks=None, train_dataset=None, **arguments):
    defaults = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return kind(
        model(),
        TrainingArguments("out", **defaults | arguments),
        train_dataset=train_dataset or Rows(),
        eval_dataset=Rows(),
        callbacks=callbacks,
    )


def session(**settings):
    return ci.profile(output="none", frameworks=["transformers"], **settings)


def steps(*indices):
    return [f"step[{index}]" for index in indices]


# ---- what is recorded


def test_training_is_epochs_of_steps_whose_indices_run_on():
    with session():
        make_trainer().train()
        assert tree() == ["epoch[0]", steps(0, 1, 2, 3), "epoch[1]", steps(4, 5, 6, 7)]


def test_values_that_are_logged_are_marks_of_their_step():
    with session():
        make_trainer(num_train_epochs=1, logging_strategy="steps", logging_steps=2).train()
        (epoch,) = roots()
        logged = {"loss": "point", "grad_norm": "point", "learning_rate": "point"}
        assert [marks_of(step) for step in epoch["children"]] == [{}, logged, {}, logged]
        assert marks_of(epoch) == {}
        assert {"train_loss", "train_runtime"} <= marks_of(
            ci.trace(format="dict")["session"]
        ).keys()


def test_values_that_are_logged_once_an_epoch_are_summaries_of_it():
    with session():
        make_trainer(num_train_epochs=1, logging_strategy="epoch").train()
        (epoch,) = roots()
        assert marks_of(epoch) == dict.fromkeys(("loss", "grad_norm", "learning_rate"), "summary")


def test_evaluation_of_each_epoch_lies_in_it_with_its_metrics():
    with session():
        make_trainer(eval_strategy="epoch").train()
        assert tree() == [
            "epoch[0]",
            [*steps(0, 1, 2, 3), "evaluate"],
            "epoch[1]",
            [*steps(4, 5, 6, 7), "evaluate"],
        ]
        evaluation = roots()[0]["children"][-1]
        assert marks_of(evaluation)["eval_loss"] == "summary"


def test_evaluation_between_steps_is_no_part_of_one():
    with session():
        make_trainer(num_train_epochs=1, eval_strategy="steps", eval_steps=2).train()
        assert tree() == ["epoch[0]", [*steps(0, 1), "evaluate", *steps(2, 3), "evaluate"]]


def test_evaluate_and_predict_on_their_own_are_spans():
    with session():
        trainer = make_trainer()
        trainer.evaluate()
        trainer.predict(Rows())
        assert tree() == ["evaluate", "predict"]
        assert marks_of(roots()[0])["eval_loss"] == "summary"


def test_gradient_accumulation_makes_one_step_of_several_batches():
    with session():
        make_trainer(num_train_epochs=1, gradient_accumulation_steps=3).train()
        assert tree() == ["epoch[0]", steps(0, 1)]


def test_resumed_training_goes_on_counting():
    make_trainer(save_strategy="steps", save_steps=5).train()
    with session():
        make_trainer(save_strategy="no").train(resume_from_checkpoint="out/checkpoint-5")
        assert tree() == ["epoch[1]", steps(5, 6, 7)]


def test_step_does_not_last_until_its_checkpoint_is_written():
    class Sleeps(TrainerCallback):
        def on_save(self, *args, **kwargs):
            with ci.scope("save"):
                pass

    with session():
        trainer = make_trainer(
            num_train_epochs=1,
            logging_strategy="steps",
            logging_steps=1,
            save_strategy="steps",
            save_steps=2,
            callbacks=[Sleeps],
        )
        trainer.train()
        assert tree() == ["epoch[0]", [*steps(0, 1), "save", *steps(2, 3), "save"]]


def test_training_stopped_by_a_callback_ends_cleanly():
    class Stops(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 6

    with session():
        make_trainer(callbacks=[Stops]).train()
        assert tree() == ["epoch[0]", steps(0, 1, 2, 3), "epoch[1]", steps(4, 5)]
        assert depth() == 0


def test_failure_is_the_error_of_the_open_spans_and_leaves_none_open():
    class Fails(Trainer):
        def compute_loss(self, *args, **kwargs):
            raise ValueError("no loss")

    with session():
        with pytest.raises(ValueError, match="no loss"):
            make_trainer(Fails).train()
        (epoch,) = roots()
        (step,) = epoch["children"]
        assert epoch["attrs"]["error"] == step["attrs"]["error"] == "ValueError: no loss"
        assert depth() == 0


def test_failure_leaves_nothing_to_the_garbage_collector():
    class Fails(Trainer):
        def compute_loss(self, *args, **kwargs):
            self.left = big = Rows()
            raise ValueError(str(big))

    def fail(trainer):
        with pytest.raises(ValueError, match="Rows"):
            trainer.train()
        return weakref.ref(trainer.left)

    def is_kept():
        trainer = make_trainer(Fails)
        left = fail(trainer)
        del trainer.left
        return left() is not None

    plain = is_kept()
    with session():
        assert is_kept() == plain


def test_what_the_user_logs_and_opens_in_a_step_lies_in_it():
    class Logs(Trainer):
        def compute_loss(self, *args, **kwargs):
            self.log({"temperature": 0.5, "note": "text"})
            with ci.scope("loss"):
                return super().compute_loss(*args, **kwargs)

    with session():
        make_trainer(Logs, num_train_epochs=1).train()
        (epoch,) = roots()
        assert [tree(step["children"]) for step in epoch["children"]] == [["loss"]] * 4
        assert [marks_of(step) for step in epoch["children"]] == [{"temperature": "point"}] * 4


def test_phases_of_torch_lie_in_the_steps_and_nothing_is_there_twice():
    with ci.profile(output="none"):
        make_trainer(
            num_train_epochs=2, gradient_accumulation_steps=2, eval_strategy="epoch"
        ).train()
        batch = ["forward", "backward"]
        step = ["data_load", "data_load", *batch, *batch, "optimizer_step"]
        evaluation = ["evaluate", ["data_load", "forward"]]
        assert tree() == [
            "epoch[0]",
            ["step[0]", step, "step[1]", step, *evaluation],
            "epoch[1]",
            ["step[2]", step, "step[3]", step, *evaluation],
        ]


def test_trainer_inside_the_users_epochs_and_batches_opens_none():
    with session():
        for _ in ci.epochs(range(2)):
            make_trainer(num_train_epochs=1, max_steps=1).train()
        for _ in ci.batches([1]):
            make_trainer(num_train_epochs=1, max_steps=1).evaluate()
        assert tree() == [
            "epoch[0]",
            ["step[0]"],
            "epoch[1]",
            ["step[0]"],
            "batch[0]",
            ["evaluate"],
        ]


def test_stream_of_unknown_length_trains_through():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from (Rows()[row] for row in range(8))

    with session():
        make_trainer(train_dataset=Stream(), max_steps=6).train()
        spans = [node for epoch in roots() for node in epoch["children"]]
        assert [epoch["index"] for epoch in roots()] == [0, 1]
        assert [span["index"] for span in spans] == [0, 1, 2, 3, 4, 5]


def test_trainer_that_was_made_before_the_session_is_seen():
    trainer = make_trainer(num_train_epochs=1)
    with session():
        trainer.train()
        assert tree() == ["epoch[0]", steps(0, 1, 2, 3)]


def test_training_inside_a_scope_is_its_child():
    with session():
        with ci.scope("experiment"):
            make_trainer(num_train_epochs=1).train()
        assert tree() == ["experiment", ["epoch[0]", steps(0, 1, 2, 3)]]


def test_training_inside_a_step_adds_no_epochs_and_steps():
    class Nests(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1:
                make_trainer(num_train_epochs=1, max_steps=1).train()

    with session():
        make_trainer(callbacks=[Nests], max_steps=2).train()
        assert tree() == ["epoch[0]", steps(0, 1)]


def test_weights_are_taken_at_the_end_of_each_epoch():
    with ci.profile(frameworks="transformers"):
        trainer = make_trainer()
        trainer.train()
        first, second = names_of_snapshots()
        assert first == second
        assert {name for name, _ in trainer.model.named_parameters()} <= first


# ---- what stays as it was


def test_results_and_callbacks_are_the_same():
    plain = make_trainer(logging_strategy="steps", logging_steps=1)
    expected = plain.train()
    with session():
        hooked = make_trainer(logging_strategy="steps", logging_steps=1)
        result = hooked.train()
    assert result.training_loss == expected.training_loss
    assert [entry.get("loss") for entry in hooked.state.log_history] == [
        entry.get("loss") for entry in plain.state.log_history
    ]
    assert hooked.callback_handler.callback_list == plain.callback_handler.callback_list


def test_arguments_of_a_hooked_trainer_pickle():
    with session():
        trainer = make_trainer(num_train_epochs=1, callbacks=[TrainerCallback])
        trainer.train()
        assert b"cirron" not in pickle.dumps(trainer.args)
        assert "cirron" not in str(trainer.state.stateful_callbacks)


def test_shutdown_restores_every_method():
    before = [vars(cls)[name] for cls, name in PATCHED]
    with session():
        assert ci.health()["frameworks_installed"] == ["transformers"]
        assert all(
            vars(cls)[name] is not one for (cls, name), one in zip(PATCHED, before, strict=True)
        )
    assert all(vars(cls)[name] is one for (cls, name), one in zip(PATCHED, before, strict=True))


def test_shutdown_in_the_middle_of_training_lets_it_go_on():
    class Ends(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                ci.shutdown()

    session()
    trainer = make_trainer(callbacks=[Ends])
    trainer.train()
    assert trainer.state.global_step == 8
    assert depth() == 0


def test_other_frameworks_chosen_leave_the_trainer_alone():
    before = [vars(cls)[name] for cls, name in PATCHED]
    with ci.profile(output="none", frameworks=["sklearn"]):
        assert [vars(cls)[name] for cls, name in PATCHED] == before
        make_trainer(num_train_epochs=1).train()
        assert roots() == []


def test_hook_that_fails_is_switched_off_and_training_goes_on(monkeypatch, caplog):
    from cirron.hooks import transformers

    def fail(*args):
        raise RuntimeError("broken")

    monkeypatch.setattr(transformers._Run, "on_step_end", fail)
    before = vars(CallbackHandler)["call_event"]
    with session():
        trainer = make_trainer()
        trainer.train()
        assert trainer.state.global_step == 8
        assert list(ci.health()["hook_errors"]) == ["transformers.trainer"]
        assert vars(CallbackHandler)["call_event"] is before
        assert depth() == 0
    assert len([r for r in caplog.records if "switched off" in r.message]) == 1


def test_transformers_imported_after_profile_is_hooked():
    done = run_script("""
    import cirron as ci, sys
    ci.profile(output="none")
    assert "transformers" not in sys.modules
    from transformers import Trainer
    assert "transformers" in ci.health()["frameworks_installed"], ci.health()
    assert Trainer.train.__wrapped__
    ci.shutdown()
    assert not hasattr(Trainer.train, "__wrapped__")
    print("hooked")
    """)
    assert done.stdout.strip() == "hooked"


def test_profile_imports_no_framework():
    done = run_script("""
    import cirron as ci, sys
    ci.profile(output="none", frameworks=["transformers", "keras", "torch"])
    print([name for name in ("transformers", "keras", "torch", "numpy") if name in sys.modules])
    """)
    assert done.stdout.strip() == "[]"
    assert "transformers" in sys.modules
