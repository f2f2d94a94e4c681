"""`ci.epochs` and `ci.batches`: the same items, each in a scope."""

import gc
import itertools
import threading
from collections.abc import Iterator

import pytest
from support import depth, roots

import cirron as ci


@pytest.fixture(autouse=True)
def session():
    with ci.profile(output="none"):
        yield


class Stream:
    """An iterable without a length."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


def test_items_are_the_same_and_each_has_a_scope():
    assert list(ci.epochs("abc")) == ["a", "b", "c"]
    assert [(n["name"], n["index"]) for n in roots()] == [("epoch", 0), ("epoch", 1), ("epoch", 2)]


def test_batches_nest_in_epochs_and_marks_in_batches():
    for epoch in ci.epochs(range(2)):
        for batch in ci.batches([10, 20]):
            ci.mark("batch_value", batch)
        ci.mark("epoch_value", epoch)
    for number, epoch in enumerate(roots()):
        assert [(c["name"], c["index"]) for c in epoch["children"]] == [("batch", 0), ("batch", 1)]
        assert [c["marks"][0]["value"] for c in epoch["children"]] == [10, 20]
        assert epoch["marks"][0]["value"] == number


def test_scope_of_an_item_is_open_until_the_next_is_asked_for():
    loop = iter(ci.epochs(range(2)))
    assert depth() == 0
    next(loop)
    assert depth() == 1
    assert roots() == []
    next(loop)
    assert depth() == 1
    assert len(roots()) == 1
    with pytest.raises(StopIteration):
        next(loop)
    assert depth() == 0
    with pytest.raises(StopIteration):
        next(loop)


def test_break_closes_the_scope():
    for _ in ci.epochs(range(3)):
        break
    assert depth() == 0
    (root,) = roots()
    assert "error" not in root["attrs"]


def test_exception_closes_the_scope_and_propagates():
    with pytest.raises(KeyError):  # noqa: PT012
        for _ in ci.epochs(range(3)):
            for _ in ci.batches(range(3)):
                raise KeyError("x")
    assert depth() == 0
    assert [n["name"] for n in roots()] == ["epoch"]


def test_return_closes_the_scope():
    def first():
        for item in ci.batches([5, 6]):
            return item

    assert first() == 5
    assert depth() == 0


def test_lost_iterator_closes_the_scope():
    loop = iter(ci.epochs(range(3)))
    next(loop)
    del loop
    gc.collect()
    assert depth() == 0
    assert len(roots()) == 1


def test_exception_of_the_iterable_propagates_and_leaves_no_scope_open():
    def broken():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(ci.batches(broken()))
    assert depth() == 0
    assert len(roots()) == 1


def test_second_walk_starts_at_index_zero():
    loop = ci.epochs([1, 2])
    assert list(loop) == list(loop) == [1, 2]
    assert [n["index"] for n in roots()] == [0, 1, 0, 1]


def test_loop_is_an_iterator_that_a_for_continues():
    loop = ci.epochs([1, 2, 3])
    assert isinstance(loop, Iterator)
    assert next(loop) == 1
    assert list(loop) == [2, 3]
    assert [n["index"] for n in roots()] == [0, 1, 2]
    assert list(loop) == [1, 2, 3]


def test_walks_of_one_loop_are_independent():
    loop = ci.epochs([1, 2])
    assert [(a, b) for a in loop for b in loop] == list(itertools.product([1, 2], [1, 2]))
    assert [len(n["children"]) for n in roots()] == [2, 2]


def test_one_shot_iterators_are_walked_once():
    loop = ci.epochs(iter([1, 2, 3]))
    assert list(itertools.islice(loop, 1)) == [1]
    assert list(loop) == [2, 3]


def test_len_passes_through_when_there_is_one():
    assert len(ci.epochs(range(7))) == len(ci.batches([0] * 7)) == 7
    for loop in (ci.epochs(Stream([1])), ci.batches(x for x in [1])):
        with pytest.raises(TypeError):
            len(loop)
        assert loop
        assert list(loop) == [1]


def test_iterable_whose_len_raises_still_iterates():
    class Loader(Stream):
        def __len__(self):
            raise TypeError("IterableDataset has no length")

    assert list(ci.batches(Loader([1, 2]))) == [1, 2]


def test_tqdm_knows_the_length(capsys):
    tqdm = pytest.importorskip("tqdm").tqdm
    bar = tqdm(ci.epochs(range(3)))
    assert bar.total == 3
    assert list(bar) == [0, 1, 2]
    bar = tqdm(ci.batches(Stream([1, 2])))
    assert bar.total is None
    assert list(bar) == [1, 2]
    assert [n["index"] for n in roots()] == [0, 1, 2, 0, 1]


def test_old_sequence_protocol_is_iterable():
    class Old:
        def __getitem__(self, i):
            if i == 3:
                raise IndexError
            return i

    assert list(ci.epochs(Old())) == [0, 1, 2]


@pytest.mark.parametrize("not_iterable", [3, None, len])
def test_what_is_not_iterable_is_refused_at_the_call(not_iterable):
    with pytest.raises(TypeError, match="not iterable"):
        ci.epochs(not_iterable)
    with pytest.raises(TypeError, match="not iterable"):
        ci.batches(not_iterable)


def test_waiting_for_data_is_an_attribute_unless_the_iterable_is_a_sequence():
    import time

    def slow():
        time.sleep(0.02)
        yield 1

    list(ci.batches(slow()))
    list(ci.batches([1]))
    list(ci.batches(range(1)))
    list(ci.epochs(slow()))
    waited, listed, ranged, epoch = roots()
    assert waited["attrs"]["data_load_ns"] >= 20_000_000
    assert listed["attrs"] == ranged["attrs"] == epoch["attrs"] == {}
    assert waited["wall_us"] < 20_000


def test_without_a_session_loops_still_record():
    ci.shutdown()
    assert list(ci.epochs([1])) == [1]


def test_while_disabled_loops_only_iterate():
    ci.shutdown()
    with ci.profile(enabled=False):
        for _ in ci.epochs(range(2)):
            assert list(ci.batches(iter([1, 2]))) == [1, 2]


def test_iterator_shared_by_threads_hands_out_every_item_once():
    loop = iter(ci.batches(range(2000)))
    taken = []

    def work():
        for item in loop:
            taken.append(item)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == list(range(2000))
