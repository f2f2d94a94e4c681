"""Keras 3, hooked: the epochs, steps and metrics of `fit`, `evaluate` and `predict`."""

import os
import sys

import numpy as np
import pytest
from support import depth, marks_of, names_of_snapshots, roots, run_script, tree

import cirron as ci

os.environ["KERAS_BACKEND"] = "torch"  # once a process; the other backends run in scripts
os.environ.setdefault("KERAS_HOME", os.devnull)  # it writes a file of settings, in vain
import keras

X, Y = np.zeros((8, 3), "float32"), np.ones((8, 1), "float32")


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def session(**settings):
    return ci.profile(output="none", frameworks=["keras"], **settings)


class Two(keras.metrics.Metric):
    """A metric of two numbers."""

    def update_state(self, *args, **kwargs):
        pass

    def result(self):
        return keras.ops.ones(2)


def summaries(*names):
    return dict.fromkeys(names, "summary")


# ---- what is recorded


def test_fit_is_epochs_of_steps_whose_indices_run_on(model):
    with session():
        model.fit(X, Y, epochs=2, batch_size=4, verbose=0)
        assert tree() == ["epoch[0]", ["step[0]", "step[1]"], "epoch[1]", ["step[2]", "step[3]"]]


def test_metrics_are_summaries_of_their_epoch_and_evaluation(model):
    with session():
        model.fit(X, Y, epochs=1, batch_size=4, verbose=0, validation_data=(X, Y))
        (epoch,) = roots()
        assert tree() == ["epoch[0]", ["step[0]", "step[1]", "evaluate"]]
        assert marks_of(epoch) == summaries("loss", "mae", "val_loss", "val_mae")
        assert marks_of(epoch["children"][-1]) == summaries("loss", "mae")
        values = {mark["name"]: mark["value"] for mark in epoch["marks"]}
        history = model.history.history
        assert [values[name] for name in history] == [history[name][-1] for name in history]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's
def test_evaluate_and_predict_on_their_own_are_spans(model):
    with session():
        model.evaluate(X, Y, verbose=0)
        model.predict(X, verbose=0)
        assert tree() == ["evaluate", "predict"]
        assert marks_of(roots()[0]) == summaries("loss", "mae")


def test_metric_of_many_numbers_is_passed_over(model):
    model.compile("sgd", "mse", metrics=[keras.metrics.F1Score(average=None), "mae"])
    with session():
        model.fit(X, np.eye(8, 1, dtype="float32"), verbose=0)
        assert marks_of(roots()[0]).keys() == {"loss", "mae", "f1_score"}
        model.compile("sgd", "mse", metrics=[Two()])
        model.fit(X, Y, verbose=0)
        assert marks_of(roots()[1]).keys() == {"loss"}
        assert ci.health()["hook_errors"] == {}


def test_epochs_count_from_the_initial_one(model):
    with session():
        model.fit(X, Y, epochs=5, initial_epoch=3, batch_size=8, verbose=0)
        assert tree() == ["epoch[3]", ["step[0]"], "epoch[4]", ["step[1]"]]


def test_training_stopped_early_ends_cleanly(model):
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    with session():
        model.fit(X, Y, epochs=3, batch_size=4, verbose=0, callbacks=[Stops()])
        assert tree() == ["epoch[0]", ["step[0]"]]
        assert depth() == 0


def test_failure_is_the_error_of_the_open_spans_and_leaves_none_open(model):
    class Fails(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                raise ValueError("enough")

    with session():
        with pytest.raises(ValueError, match="enough"):
            model.fit(X, Y, batch_size=4, verbose=0, callbacks=[Fails()])
        (epoch,) = roots()
        errors = [node["attrs"].get("error") for node in (epoch, *epoch["children"])]
        assert errors == ["ValueError: enough", None, "ValueError: enough"]
        assert depth() == 0


def test_phases_of_torch_lie_in_the_steps_and_nothing_is_there_twice(model):
    with ci.profile(output="none"):
        model.fit(
            X, Y, epochs=2, batch_size=4, verbose=0, validation_data=(X, Y), validation_batch_size=8
        )
        step = ["data_load", "forward", "backward", "optimizer_step"]
        evaluation = ["evaluate", ["data_load", "forward"]]
        assert tree() == [
            "epoch[0]",
            ["step[0]", step, "step[1]", step, *evaluation],
            "epoch[1]",
            ["step[2]", step, "step[3]", step, *evaluation],
        ]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_any_length_trains_through(model):
    class Batches(keras.utils.PyDataset):
        def __getitem__(self, index):
            return X[:4], Y[:4]

        @property
        def num_batches(self):
            return 2

    def generate():
        for _ in range(3):
            yield X[:4], Y[:4]

    with session():
        model.fit(generate(), epochs=1, verbose=0, shuffle=False)
        model.fit(Batches(), epochs=1, verbose=0)
        steps = ["step[0]", "step[1]", "step[2]"]
        assert tree() == ["epoch[0]", steps, "epoch[0]", steps[:2]]


def test_model_trained_in_a_callback_of_another_has_its_steps_in_that_epoch(model):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    other.compile("sgd", "mse")

    class Nests(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            other.fit(X, Y, batch_size=8, verbose=0)

    with session():
        with ci.scope("search"):
            model.fit(X, Y, batch_size=8, verbose=0, callbacks=[Nests()])
        assert tree() == ["search", ["epoch[0]", ["step[0]", "step[0]"]]]


def test_scopes_of_callbacks_lie_in_the_epoch_and_step_that_they_are_told_of(model):
    class Opens(keras.callbacks.Callback):
        def open(self, *args, **kwargs):
            with ci.scope("callback"):
                pass

        on_epoch_begin = on_train_batch_begin = on_train_batch_end = on_epoch_end = open

    with session():
        model.fit(X, Y, batch_size=4, verbose=0, callbacks=[Opens()])
        inner = ["callback", "callback"]
        assert tree() == ["epoch[0]", ["callback", "step[0]", inner, "step[1]", inner, "callback"]]


def test_weights_are_taken_at_the_end_of_each_epoch(model):
    with ci.profile(frameworks="keras"):
        model.fit(X, Y, epochs=2, verbose=0)
        first, second = names_of_snapshots()
        assert first == second
        assert {weight.path for weight in model.trainable_weights} <= first


# ---- what stays as it was


def test_results_are_the_same_and_no_callback_is_added():
    def train():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        seen = []

        class Looks(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                seen.append(sorted(logs))

        history = model.fit(X + 1, Y, epochs=2, verbose=0, callbacks=[Looks()])
        return history.history, seen, [type(c).__name__ for c in [model.history]]

    plain = train()
    with session():
        assert train() == plain


def test_batch_callbacks_stay_dispatched_as_keras_does():
    """A callback with a method for batch ends would make all of them wait for the device."""
    seen = []

    class Looks(keras.callbacks.Callback):
        async_safe = True

        def on_train_batch_end(self, batch, logs=None):
            import threading

            seen.append(threading.current_thread() is threading.main_thread())

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0, callbacks=[Looks()])
    with session():
        model.fit(X, Y, verbose=0, callbacks=[Looks()])
    assert seen[0] == seen[1]


def test_shutdown_restores_every_method():
    inherited = [keras.Model.fit, keras.Model.evaluate, keras.Model.predict]
    own = dict(vars(keras.callbacks.CallbackList))
    with session():
        assert ci.health()["frameworks_installed"] == ["keras"]
        assert keras.Model.fit is not inherited[0]
    assert [keras.Model.fit, keras.Model.evaluate, keras.Model.predict] == inherited
    assert not {"fit", "evaluate", "predict"} & vars(keras.Model).keys()
    assert dict(vars(keras.callbacks.CallbackList)) == own


def test_shutdown_in_the_middle_of_training_lets_it_go_on(model):
    class Ends(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            ci.shutdown()

    session()
    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[Ends()])
    assert len(history.epoch) == 3
    assert depth() == 0


def test_other_frameworks_chosen_leave_keras_alone(model):
    fit = keras.Model.fit
    with ci.profile(output="none", frameworks=["sklearn"]):
        assert keras.Model.fit is fit


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_other_backends_have_the_same_tree(backend):
    if backend == "jax":
        pytest.importorskip("jax")
    done = run_script(
        """
        import sys
        import cirron as ci
        ci.profile(output="none")
        import warnings
        import numpy as np
        import keras
        warnings.simplefilter("ignore")
        def generate():
            for _ in range(3):
                yield X[:4], Y[:4]
        X, Y = np.zeros((8, 3), "float32"), np.ones((8, 1), "float32")
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(X, Y, epochs=2, batch_size=4, verbose=0, validation_data=(X, Y))
        model.evaluate(X, Y, verbose=0)
        model.predict(X, verbose=0)
        model.fit(generate(), verbose=0)
        model.compile("sgd", "mse", steps_per_execution=2)
        model.fit(X, Y, epochs=2, batch_size=2, verbose=0)
        def names(nodes):
            return [(n["name"], n["index"], names(n["children"])) for n in nodes]
        steps = lambda *indices: [("step", index, []) for index in indices]
        evaluation = ("evaluate", None, [])
        found = names(ci.trace(format="dict")["roots"])
        assert found == [
            ("epoch", 0, [*steps(0, 1), evaluation]),
            ("epoch", 1, [*steps(2, 3), evaluation]),
            evaluation,
            ("predict", None, []),
            ("epoch", 0, steps(0, 1, 2)),
            ("epoch", 0, steps(0, 2)),
            ("epoch", 1, steps(4, 6)),
        ], found
        assert ci.health()["hook_errors"] == {}
        ci.shutdown()
        assert "fit" not in vars(keras.Model)
        print(keras.backend.backend())
        """,
        timeout=100,
        KERAS_BACKEND=backend,
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    assert done.stdout.strip() == backend
    assert "keras" in sys.modules
