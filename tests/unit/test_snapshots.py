"""What an epoch's end records of a watched model, against NumPy's own numbers."""

import gc
import math
import os
import random
import threading
import weakref
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from snapshot_support import epoch, names, net, records, train, watch_nothing
from support import flushed_spans, spool_batches

import cirron as ci
from cirron import _core
from cirron.profiler import at_epoch_end
from cirron.snapshots.device import statistics_on_device

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def nothing_watched():
    watch_nothing()


def by_name():
    return {record["tensor_name"]: record for record in records()}


def of_epoch(span_id):
    return [record for record in records() if record["span_id"] == span_id]


def loaded(record):
    """The tensor in the file that a record names."""
    from safetensors.torch import load_file

    uri = urlparse(record["blob_uri"])
    assert uri.scheme == "file"
    return load_file(unquote(uri.path))[record["tensor_name"]]


def test_record_has_the_documented_fields_of_each_parameter_and_gradient():
    model = ci.watch(net())
    train(model)
    with ci.profile() as profiler:
        span_id = epoch()
        assert profiler.health()["snapshot_count"] == 4
    found = by_name()
    assert list(found) == ["0.weight", "0.bias", "0.weight.grad", "0.bias.grad"]
    for name, record in found.items():
        assert list(record) == [
            "id", "span_id", "tensor_name", "shape", "dtype", "mode", "stats", "blob_uri",
            "ts_ns", "attrs",
        ]  # fmt: skip
        assert list(record["stats"]) == ["mean", "std", "min", "max", "norm", "histogram"]
        assert (record["span_id"], record["mode"], record["blob_uri"]) == (span_id, "stats", None)
        assert record["shape"] == ([2, 3] if "weight" in name else [2])
        assert (record["dtype"], record["attrs"]) == ("float32", {})
    (span,) = (s for s in flushed_spans() if s["id"] == span_id)
    assert span["start_ns"] <= found["0.bias"]["ts_ns"] <= span["end_ns"]
    assert 0 < span["attrs"]["snapshot_ns"] <= span["end_ns"] - span["start_ns"]
    assert not Path(".cirron/snapshots").exists()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_statistics_are_those_of_numpy(dtype):
    model = ci.watch(torch.nn.Linear(37, 11).to(getattr(torch, dtype)))
    with ci.profile():
        epoch()
    record = by_name()["weight"]
    values = model.weight.detach().double().numpy()
    stats = record["stats"]
    assert record["dtype"] == dtype
    assert stats["mean"] == pytest.approx(values.mean(), rel=1e-6)
    assert stats["std"] == pytest.approx(values.std(), rel=1e-6)
    assert (stats["min"], stats["max"]) == (values.min(), values.max())
    assert stats["norm"] == pytest.approx(np.linalg.norm(values), rel=1e-6)
    counts, bins = np.histogram(values, 16)
    assert stats["histogram"]["counts"] == counts.tolist()
    assert stats["histogram"]["bins"] == pytest.approx(bins, abs=1e-6)


def test_values_that_are_not_finite_are_counted():
    model = ci.watch(torch.nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model.weight[0, 1:] = torch.tensor([math.nan, math.inf, -math.inf])
    with ci.profile():
        epoch()
    assert by_name()["weight"]["attrs"] == {"nan_count": 1, "inf_count": 2}


def test_snapshot_holds_what_the_last_step_left():
    model = ci.watch(torch.nn.Linear(1, 1, bias=False))
    with ci.profile():
        for number in ci.epochs(range(3)):
            with torch.no_grad():
                model.weight.fill_(number)
            model.weight.grad = torch.full((1, 1), 10.0 + number)
    found = [(r["tensor_name"], r["stats"]["max"]) for r in records()]
    assert [value for name, value in found if name == "weight"] == [0, 1, 2]
    assert [value for name, value in found if name == "weight.grad"] == [10, 11, 12]


def test_parameters_without_gradient_have_no_record_of_one():
    model = ci.watch(net())
    train(model)
    model[0].bias.grad = None
    with ci.profile():
        epoch()
    assert names() == ["0.bias", "0.weight", "0.weight.grad"]


def test_tied_parameters_are_recorded_once():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    ci.watch(model)
    with ci.profile(snapshots="full"):
        epoch()
    assert names() == ["0.weight", "1.bias"]


def test_tensors_out_of_the_ordinary_have_a_record_that_says_why_it_is_bare():
    class Owner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.complex = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
            self.meta = torch.nn.Parameter(torch.zeros(2, device="meta"))
            self.sparse = torch.nn.Parameter(torch.eye(2).to_sparse())
            self.freed = torch.nn.Parameter(torch.ones(2))
            self.plain = torch.nn.Parameter(torch.ones(2))
            self.lazy = torch.nn.LazyLinear(2)
            self.freed.untyped_storage().resize_(0)

    model = ci.watch(Owner())
    with ci.profile(snapshots="full") as profiler:
        epoch()
        assert not profiler.health()["hook_errors"]
    found = by_name()
    assert {name: record["attrs"].get("no_stats") for name, record in found.items()} == {
        "complex": "complex",
        "meta": "on the meta device",
        "sparse": "sparse (sparse_coo)",
        "freed": "its memory is given back",
        "plain": None,
    }
    assert [name for name, record in found.items() if record["blob_uri"]] == ["plain"]
    assert [name for name, record in found.items() if record["stats"]] == ["plain"]
    del model


def test_parameters_that_are_views_or_overlap_are_recorded_and_saved():
    class Views(torch.nn.Module):
        def __init__(self):
            super().__init__()
            memory = torch.arange(12.0)
            self.left = torch.nn.Parameter(memory[:8])
            self.right = torch.nn.Parameter(memory[4:])
            self.turned = torch.nn.Parameter(memory.view(3, 4).T)
            self.wide = torch.nn.Parameter(torch.ones(1).expand(3))
            self.empty = torch.nn.Parameter(torch.ones(0, 2))
            self.scalar = torch.nn.Parameter(torch.tensor(3.0))
            self.negated = torch.nn.Parameter(torch.tensor([1 + 2j, 3 + 4j]).conj().imag)

    model = ci.watch(Views())
    with ci.profile(snapshots="full"):
        epoch()
        ci.flush()
    found = by_name()
    assert found["scalar"]["shape"] == []
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded(found[name]), parameter)
        if parameter.numel() != 0:
            assert found[name]["stats"]["min"] == parameter.min().item()


def test_full_writes_every_epoch_and_every_type_as_it_is():
    model = net().to(torch.bfloat16)
    ci.watch(model)
    train(model)
    with ci.profile(snapshots="full"):
        ids = [epoch(), epoch()]
        assert ci.flush()
    for span_id in ids:
        found = {r["tensor_name"]: r for r in of_epoch(span_id)}
        assert {r["mode"] for r in found.values()} == {"full"}
        folder = Path(".cirron/snapshots", span_id)
        assert sorted(os.listdir(folder)) == ["gradients.safetensors", "weights.safetensors"]
        for name, parameter in model.named_parameters():
            assert loaded(found[name]).dtype == torch.bfloat16
            assert torch.equal(loaded(found[name]), parameter)
            assert torch.equal(loaded(found[f"{name}.grad"]), parameter.grad)


def test_file_holds_the_values_of_the_epochs_end_not_of_the_next_step():
    model = ci.watch(torch.nn.Linear(300, 300, bias=False))
    with ci.profile(snapshots="full"):
        for number in ci.epochs(range(5)):
            with torch.no_grad():
                model.weight.fill_(number)
        ci.flush()
    for record in records():
        assert loaded(record).unique().tolist() == [record["stats"]["mean"]]


def test_sampled_draws_epochs_at_the_rate_and_leaves_the_users_generators_alone():
    ci.watch(model := torch.nn.Linear(1, 1))
    random.seed(1)
    state, torch_state = random.getstate(), torch.get_rng_state()
    with ci.profile(snapshots="sampled", sample_rate=0.5) as profiler:
        for _ in ci.epochs(range(400)):
            pass
        assert profiler.flush()
    found = records()
    with_file = {r["span_id"] for r in found if r["blob_uri"]}
    assert len({r["span_id"] for r in found}) == 400
    assert {r["mode"] for r in found} == {"sampled"}
    assert 120 < len(with_file) < 280  # eight standard deviations
    assert with_file == set(os.listdir(".cirron/snapshots"))
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), torch_state)
    del model


@pytest.mark.parametrize(("rate", "files"), [(0, 0), (1, 5)])
def test_sample_rates_of_0_and_1_are_never_and_always(rate, files):
    ci.watch(model := torch.nn.Linear(1, 1))
    with ci.profile(snapshots="sampled", sample_rate=rate):
        for _ in ci.epochs(range(5)):
            pass
    assert len({r["span_id"] for r in records() if r["blob_uri"]}) == files
    del model


@pytest.mark.parametrize(
    "arguments",
    [{"snapshots": "none"}, {"output": "none"}, {"output": "log"}, {"enabled": False}],
    ids=str,
)
def test_nothing_is_taken_where_nothing_is_wanted(arguments):
    model = ci.watch(net())
    with ci.profile(**arguments):
        for _ in ci.epochs(range(1)):
            pass
        assert ci.health()["snapshot_count"] == 0
    assert not Path(".cirron/snapshots").exists()
    del model


def test_nothing_is_taken_without_a_session():
    model = ci.watch(net())
    epoch()
    with ci.profile():
        pass
    assert records() == []
    del model


def test_epoch_is_taken_once_however_often_it_is_asked_for():
    model = ci.watch(net())
    with ci.profile():
        with ci.scope("epoch", 0) as scope:
            at_epoch_end(scope)
            at_epoch_end(scope)
        at_epoch_end(scope)  # closed
        assert len(records()) == 2
        for _ in ci.epochs(range(1)):
            with ci.scope("outer"):
                pass
        assert len(records()) == 4
    del model


def test_epoch_that_is_left_early_is_taken_too():
    model = ci.watch(net())
    with ci.profile():
        for _ in ci.epochs(range(5)):
            break
        with pytest.raises(KeyError):  # noqa: PT012
            for _ in ci.epochs(range(5)):
                raise KeyError
        gc.collect()
    assert len({r["span_id"] for r in records()}) == 2
    del model


def test_scope_that_is_not_recorded_is_not_taken():
    model = ci.watch(net())
    with ci.profile():
        scopes = [ci.scope("deep") for _ in range(65)]
        for scope in scopes:
            scope.__enter__()
        at_epoch_end(scopes[-1])
        for scope in reversed(scopes):
            scope.__exit__()
    assert records() == []
    del model


def test_epochs_of_two_threads_are_both_taken():
    model = ci.watch(net())
    barrier = threading.Barrier(2)

    def work():
        barrier.wait()
        for _ in range(20):
            epoch()

    with ci.profile(snapshots="full") as profiler:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert profiler.flush()
    found = records()
    assert len({r["span_id"] for r in found}) == 40
    assert all(r["blob_uri"] for r in found)
    del model


def test_model_that_raises_is_one_warning_and_an_error_and_the_rest_goes_on(caplog):
    class Broken(torch.nn.Linear):
        def named_parameters(self, *args, **kwargs):
            raise OSError("no parameters today")

    broken, whole = ci.watch(Broken(1, 1)), ci.watch(net())
    gone = weakref.ref(broken)
    with ci.profile() as profiler:
        epoch()
        epoch()
        assert len(profiler.health()["hook_errors"]) == 1
    (warning,) = caplog.records
    assert "Broken can't be looked at and is watched no more: OSError" in warning.getMessage()
    assert names()[-2:] == ["Sequential/0.bias", "Sequential/0.weight"]
    del broken
    gc.collect()
    assert gone() is None  # though the log record is kept
    del whole


def test_failure_inside_is_one_warning_and_switches_snapshots_off(caplog, monkeypatch):
    def fail(record):
        raise MemoryError("none left")

    model = ci.watch(net())
    with ci.profile() as profiler:
        monkeypatch.setattr(_core, "record_snapshot", fail)
        assert list(ci.epochs(range(3))) == [0, 1, 2]
        monkeypatch.undo()
        epoch()
        assert len(profiler.health()["hook_errors"]) == 1
    (warning,) = caplog.records
    assert "snapshots failed and are switched off: MemoryError" in warning.getMessage()
    del model


def test_model_changed_by_another_thread_is_recorded_or_left():
    model = ci.watch(net())
    stop = threading.Event()

    def change():
        while not stop.is_set():
            model.extra = torch.nn.Linear(1, 1)
            del model.extra

    changer = threading.Thread(target=change)
    with ci.profile():
        changer.start()
        for _ in ci.epochs(range(50)):
            pass
        stop.set()
        changer.join()
    assert len({r["span_id"] for r in records()}) == 50


def test_without_safetensors_statistics_go_on_after_one_warning(caplog, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "safetensors", None)
    for name in ("safetensors.torch", "safetensors.numpy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    model = ci.watch(net())
    train(model)
    with ci.profile(snapshots="full"):
        epoch()
        epoch()
    (warning,) = caplog.records
    assert "pip install 'cirron-sdk[safetensors]'" in warning.getMessage()
    assert len(records()) == 8
    assert all(r["stats"] and r["blob_uri"] is None for r in records())


def test_tensors_beyond_the_budget_are_skipped_counted_and_warned_of_once(caplog, monkeypatch):
    monkeypatch.setattr("cirron.snapshots.writer.BUDGET_BYTES", 1000)
    big, small = torch.nn.Linear(100, 10, bias=False), torch.nn.Linear(10, 10, bias=False)
    ci.watch(big)
    with ci.profile(snapshots="full") as profiler:
        epoch()
        epoch()
        assert profiler.health()["snapshot_skip_count"] == 2
        del big
        gc.collect()
        ci.watch(small)
        epoch()
    assert len(caplog.records) == 1
    assert [bool(r["blob_uri"]) for r in records()] == [False, False, True]


def test_what_is_on_disk_and_what_was_dropped_is_what_was_recorded():
    model = ci.watch(net())
    with ci.profile(snapshots="full") as profiler:
        for _ in ci.epochs(range(50)):
            pass
        assert profiler.flush()
        _core.record_snapshot({"id": "0" * 32, "tensor_name": "x" * 70_000})
        assert profiler.flush()
        health = profiler.health()
    on_disk = sum(len(batch["snapshots"]) for batch in spool_batches())
    assert health["snapshot_drop_count"] == 1
    assert health["snapshot_count"] == on_disk + 1 == 2 * 2 * 50 + 1
    del model


def test_record_that_is_no_dict_is_refused():
    with pytest.raises(TypeError, match="a record is a dict"):
        _core.record_snapshot([])
    with pytest.raises(TypeError, match="takes a Scope"):
        _core.is_recording(None)


def test_counts_are_of_this_session():
    model = ci.watch(net())
    with ci.profile():
        epoch()
        assert ci.health()["snapshot_count"] == 2
    with ci.profile():
        assert ci.health()["snapshot_count"] == 0
    del model


def test_statistics_by_operations_of_a_device_are_those_of_the_kernel():
    """The CPU stands for the device here: the operations are the same."""
    torch.manual_seed(0)
    tensors = [
        torch.randn(1000, 3),
        torch.randn(3_000_000, dtype=torch.float32).to(torch.bfloat16),
        torch.arange(100, dtype=torch.int32),
        torch.tensor([1.0, math.nan, math.inf, -math.inf, 3.0]),
        torch.rand(50) < 0.3,
        torch.randn(64, 64).T,
        torch.full((5,), 7.0),
        torch.tensor(2.5),
        torch.empty(0),
        torch.tensor([math.nan, math.inf]),
    ]
    for tensor, found in zip(tensors, statistics_on_device(tensors), strict=True):
        kernels = _core.tensor_stats(tensor)
        assert (found.nan_count, found.inf_count) == (kernels.nan_count, kernels.inf_count)
        expected, found = kernels.as_dict(), found.values
        if not isinstance(found, dict):
            found = found.as_dict()
        for name in ("mean", "std", "min", "max", "norm"):
            if expected[name] is None:
                assert found[name] is None, name
            else:
                assert found[name] == pytest.approx(expected[name], rel=1e-6, nan_ok=True), name
        if expected["histogram"] is None:
            assert found["histogram"] is None
        else:
            assert found["histogram"]["counts"] == expected["histogram"]["counts"]
            assert found["histogram"]["bins"] == pytest.approx(
                expected["histogram"]["bins"], abs=1e-6
            )
