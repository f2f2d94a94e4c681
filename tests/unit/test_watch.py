"""`ci.watch`: which models count, under which names, and that none is kept alive."""

import gc
import weakref

import pytest
from snapshot_support import epoch, names, net, records, watch_nothing

import cirron as ci
from cirron.snapshots.watch import watch_automatically, watched_models

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def nothing_watched():
    watch_nothing()


def test_watch_returns_the_model():
    model = net()
    assert ci.watch(model) is model
    assert ci.watch(model, name="net") is model


@pytest.mark.parametrize("thing", [None, 3, "model", [1.0], torch.zeros(3)], ids=repr)
def test_what_is_no_model_is_refused_with_what_is_one(thing):
    with pytest.raises(TypeError, match=r"takes a torch module or a Keras model, not \w+"):
        ci.watch(thing)


def test_class_of_a_model_is_refused_with_a_hint():
    with pytest.raises(TypeError, match="not the class Linear: make one first"):
        ci.watch(torch.nn.Linear)


def test_name_must_be_a_str():
    with pytest.raises(TypeError, match="name must be a str, not int"):
        ci.watch(net(), name=3)


def test_watching_keeps_no_model_alive():
    model = ci.watch(net())
    gone = weakref.ref(model)
    with ci.profile():
        epoch()
        del model
        gc.collect()
        assert gone() is None
        epoch()
    assert watched_models() == []
    assert len({r["span_id"] for r in records()}) == 1


def test_one_model_has_no_prefix_and_several_have_their_names():
    first = ci.watch(net())
    with ci.profile():
        epoch()
        assert names() == ["0.bias", "0.weight"]
        second, third = ci.watch(net()), ci.watch(torch.nn.Linear(2, 2), name="head")
        epoch()
    assert set(names()) == {
        "0.bias", "0.weight", "Sequential/0.bias", "Sequential/0.weight",
        "Sequential_2/0.bias", "Sequential_2/0.weight", "head/bias", "head/weight",
    }  # fmt: skip
    del first, second, third


def test_second_watch_renames_and_watches_nothing_twice():
    generator, critic = ci.watch(net(), name="g"), ci.watch(net(), name="c")
    ci.watch(generator)
    ci.watch(critic, name="critic")
    with ci.profile():
        epoch()
    assert names() == ["critic/0.bias", "critic/0.weight", "g/0.bias", "g/0.weight"]


def test_models_watched_before_and_during_a_session_count_alike():
    before = ci.watch(net(), name="before")
    with ci.profile():
        during = ci.watch(net(), name="during")
        epoch()
    assert {name.split("/")[0] for name in names()} == {"before", "during"}
    del before, during


def test_models_of_hooks_count_while_the_user_watches_none():
    found, own = net(), torch.nn.Linear(1, 1)
    with ci.profile():
        watch_automatically(found)
        epoch()
        assert names() == ["0.bias", "0.weight"]
        ci.watch(own)
        epoch()
        assert names() == ["0.bias", "0.weight", "bias", "weight"]
    assert [model for _, model in watched_models()] == [own]


def test_models_of_hooks_count_for_one_session():
    model = net()
    with ci.profile():
        watch_automatically(model)
    with ci.profile():
        epoch()
        assert records() == []
        watch_automatically(model)
        epoch()
        assert names() == ["0.bias", "0.weight"]


def test_what_the_user_watches_stays_watched_when_a_hook_finds_it_too():
    model = ci.watch(net(), name="mine")
    watch_automatically(model)
    ci.shutdown()
    with ci.profile():
        epoch()
    assert names() == ["0.bias", "0.weight"]
