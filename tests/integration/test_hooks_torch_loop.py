"""What `ci.profile()` alone makes of an ordinary PyTorch training loop."""

import asyncio
import contextlib
import gc
import itertools
import threading
import weakref

import pytest

torch = pytest.importorskip("torch")

from support import flushed_spans, run_script, spool_batches  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset  # noqa: E402
from training import Run, loader, names, spans, tree  # noqa: E402

import cirron as ci  # noqa: E402
from cirron import _core  # noqa: E402
from cirron.hooks.registry import owning_loop  # noqa: E402

FULL = "data_load forward backward optimizer_step"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def session():
    with ci.profile(output="none"):
        yield
        assert ci.health()["hook_errors"] == {}


def test_loop_is_recorded_without_another_line(session):
    run, batches = Run(), loader(2)
    for _ in range(2):
        run.epoch(batches)
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
          step[1]: {FULL}
        epoch[1]
          step[2]: {FULL}
          step[3]: {FULL}
    """)


def test_epochs_hang_below_the_session():
    with ci.profile():
        Run().epoch(loader(1))
    (session,) = [span for span in flushed_spans() if span["name"] == "cirron.session"]
    (epoch,) = [span for span in flushed_spans() if span["name"] == "epoch"]
    assert epoch["parent_id"] == session["id"]


def test_step_lasts_from_the_request_for_its_item_to_the_next_request(session):
    run, batches = Run(), loader(3)
    run.epoch(batches)
    steps = spans("step")
    for before, step in itertools.pairwise(steps):
        assert step["start_ns"] >= before["start_ns"] + before["wall_us"] * 1e3 - 1e3
    for step in steps:
        wait = step["children"][0]
        assert step["attrs"]["data_load_ns"] == pytest.approx(wait["wall_us"] * 1e3)
        assert wait["start_ns"] >= step["start_ns"]


def test_start_of_the_loader_is_apart_from_its_items(session):
    Run().epoch(loader(1))
    (epoch,) = spans("epoch")
    (step,) = spans("step")
    assert 0 < epoch["attrs"]["loader_start_ns"] <= step["start_ns"] - epoch["start_ns"]


def test_cpu_spans_have_no_gpu_time():
    with ci.profile():
        Run().epoch(loader(1))
    assert {(s["gpu_ns"], s["memory_peak_bytes"]) for s in flushed_spans()} == {(None, None)}


def test_empty_loader_is_an_epoch_without_steps(session):
    Run().epoch(DataLoader([], batch_size=4))
    assert names() == "epoch[0]"


def test_gradient_accumulation_has_a_step_a_batch(session):
    run = Run()
    for i, (x, y) in enumerate(loader(4)):
        run.loss(run.model(x), y).backward()
        if i % 2:
            run.optimizer.step()
    assert names() == tree(f"""
        epoch[0]
          step[0]: data_load forward backward
          step[1]: {FULL}
          step[2]: data_load forward backward
          step[3]: {FULL}
    """)


def test_break_closes_step_and_epoch(session):
    run = Run()
    for x, y in loader(3):
        run.step(x, y)
        break
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
    """)
    assert ci.health()["scope_depth"] == 0
    run.epoch(loader(1))
    assert [span["index"] for span in spans("step")] == [0, 1]


@pytest.mark.parametrize("options", [{}, {"num_workers": 1, "persistent_workers": True}])
def test_break_closes_them_with_any_workers(session, options):
    for _ in loader(3, **options):
        break
    assert ci.health()["scope_depth"] == 0
    assert names() == tree("""
        epoch[0]
          step[0]: data_load
    """)


def test_recording_that_is_switched_off_in_a_pass_leaves_the_loop_alone(session):
    seen = []
    for x in DataLoader(range(4), batch_size=None):
        seen.append(x)
        _core.set_enabled(len(seen) != 2)
    assert seen == [0, 1, 2, 3]
    assert [span["index"] for span in spans("step")] == [0, 1, 3]
    assert ci.health()["scope_depth"] == 0


def test_exception_in_a_step_passes_and_closes_all(session):
    run = Run()

    def train():
        for x, y in loader(3):
            run.step(x, y)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        train()
    assert ci.health()["scope_depth"] == 0
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
    """)


def test_exception_in_the_loader_passes_and_is_the_spans_error(session):
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            if i > 1:
                raise OSError("no such shard")
            return i

    with pytest.raises(OSError, match="no such shard"):
        list(DataLoader(Broken(), batch_size=2))
    assert names() == tree("""
        epoch[0]
          step[0]: data_load
          step[1]: data_load
    """)
    assert spans("step")[1]["attrs"]["error"] == "OSError: no such shard"
    assert spans("data_load")[1]["attrs"]["error"] == "OSError: no such shard"


def test_exception_in_a_phase_passes_and_is_its_error(session):
    run = Run()

    def train():
        for _x, y in loader(2):
            run.step(torch.zeros(4, 5), y)

    with pytest.raises(RuntimeError) as raised:
        train()
    (forward,) = spans("forward")
    assert forward["attrs"]["error"].startswith("RuntimeError: ")
    assert str(raised.value).startswith(forward["attrs"]["error"][14:100])
    assert ci.health()["scope_depth"] == 0


def test_generator_that_is_dropped_closes_its_step(session):
    def batches():
        yield from loader(3)

    walk = batches()
    next(walk)
    walk.close()
    assert ci.health()["scope_depth"] == 0
    assert names() == tree("""
        epoch[0]
          step[0]: data_load
    """)


@pytest.mark.parametrize("no_grad", [torch.no_grad, torch.inference_mode])
def test_validation_without_gradients_has_neither_epoch_nor_step(session, no_grad):
    run, batches = Run(), loader(1)
    run.epoch(batches)
    with no_grad():
        for x, _y in loader(2):
            run.model(x)
    run.epoch(batches)
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
        data_load
        forward
        data_load
        forward
        epoch[1]
          step[1]: {FULL}
    """)


def test_validation_with_the_model_in_eval_mode_has_neither(session):
    run, batches = Run(), loader(1)
    for _ in range(2):
        run.model.train()
        run.epoch(batches)
        run.model.eval()
        for x, _y in loader(1):
            with torch.no_grad():
                run.model(x)
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
        data_load
        forward
        epoch[1]
          step[1]: {FULL}
        data_load
        forward
    """)


def test_pass_in_which_an_optimizer_steps_is_training_from_there_on(session):
    teacher, student = Run(), Run()
    teacher.epoch(loader(1))
    teacher.model.eval()
    for _ in range(2):
        for x, y in loader(3):
            with torch.no_grad():
                teacher.model(x)
            student.step(x, y)
    assert names() == tree("""
        epoch[0]
          step[0]: data_load forward backward optimizer_step
        data_load
        forward
        forward
        backward
        optimizer_step
        epoch[1]
          step[1]: data_load forward forward backward optimizer_step
          step[2]: data_load forward forward backward optimizer_step
        epoch[2]
          step[3]: data_load forward forward backward optimizer_step
          step[4]: data_load forward forward backward optimizer_step
          step[5]: data_load forward forward backward optimizer_step
    """)


def test_validation_that_is_asked_for_an_item_between_epochs_stays_validation(session):
    run = Run()
    run.epoch(loader(1))
    run.model.eval()
    validation = iter(loader(2))
    next(validation)
    run.model.train()
    run.epoch(loader(1))
    run.model.eval()
    next(validation)
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
        data_load
        epoch[1]
          step[1]: {FULL}
        data_load
    """)


def test_loader_within_a_step_adds_to_that_step(session):
    run, validation = Run(), loader(1)
    for x, y in loader(1):
        run.step(x, y)
        for x, _y in validation:
            run.model(x)
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL} data_load forward
    """)


def test_two_loaders_side_by_side_share_the_steps(session):
    run = Run()
    for (x, y), _more in zip(loader(2), loader(2), strict=True):
        run.step(x, y)
    assert names() == tree("""
        epoch[0]
          step[0]: data_load data_load forward backward optimizer_step
          step[1]: data_load data_load forward backward optimizer_step
    """)


def test_look_at_a_batch_whose_iterator_is_kept_ends_with_the_loaders_next_pass(session):
    run, batches = Run(), loader(2)
    iterator = iter(batches)
    next(iterator)
    for _ in range(2):
        run.epoch(batches)
    del iterator
    assert names() == tree(f"""
        epoch[0]
          step[0]: data_load
        epoch[1]
          step[1]: {FULL}
          step[2]: {FULL}
        epoch[2]
          step[3]: {FULL}
          step[4]: {FULL}
    """)


def test_look_at_another_loaders_batch_ends_when_training_goes_on_without_it(session):
    run, batches = Run(), loader(2)
    examples = enumerate(loader(1))
    next(examples)
    for _ in range(2):
        run.epoch(batches)
    del examples
    assert names() == tree(f"""
        epoch[0]
          step[0]: data_load {FULL}
        epoch[1]
          step[1]: {FULL}
        epoch[2]
          step[2]: {FULL}
          step[3]: {FULL}
    """)


def test_loop_that_was_interrupted_with_its_iterator_kept_can_be_run_again(session):
    run, batches = Run(), loader(2)
    iterator = iter(batches)
    with contextlib.suppress(KeyboardInterrupt):
        run.step(*next(iterator))
        raise KeyboardInterrupt
    run.epoch(batches)
    run.step(*next(iterator))  # and the first one goes on
    del iterator
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
        epoch[1]
          step[1]: {FULL}
          step[2]: {FULL}
        epoch[2]
          step[3]: {FULL}
    """)


def test_tasks_that_train_with_one_loader_at_a_time_have_trees_of_their_own(session):
    batches = loader(2)

    async def train(run):
        for x, y in batches:
            run.step(x, y)
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(train(Run()), train(Run()))

    asyncio.run(main())
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
          step[2]: {FULL}
        epoch[1]
          step[1]: {FULL}
          step[3]: {FULL}
    """)


def test_loader_that_is_started_anew_before_its_end_begins_an_epoch(session):
    run, batches = Run(), loader(3)
    for _ in range(2):
        iterator = iter(batches)
        run.step(*next(iterator))
        run.step(*next(iterator))
    del iterator
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
          step[1]: {FULL}
        epoch[1]
          step[2]: {FULL}
          step[3]: {FULL}
    """)


def test_loop_of_training_within_the_steps_of_another_is_known_from_the_second_step_on(session):
    run, tasks, examples = Run(), loader(3), loader(2)
    for _task in tasks:
        run.epoch(examples)
    assert names() == tree(f"""
        epoch[0]
          step[0]: data_load {FULL}
        epoch[1]
          step[1]: {FULL}
        epoch[2]
          step[2]: data_load {FULL} {FULL}
          step[3]: data_load {FULL} {FULL}
    """)


def test_iterator_that_is_asked_twice_a_step_is_known_to_be_no_loop_from_the_second_on(session):
    run, batches = Run(), loader(3)
    critic = iter(loader(6))
    for x, y in batches:
        run.step(*next(critic))
        run.step(*next(critic))
        run.step(x, y)
    del critic
    phases = "forward backward optimizer_step"
    step = f"data_load data_load {phases} data_load {phases} {phases}"
    assert names() == tree(f"""
        epoch[0]
          step[0]: data_load data_load {phases}
          step[1]: data_load {phases} {phases}
        epoch[1]
          step[2]: {step}
          step[3]: {step}
    """)


def test_loaders_that_start_again_by_turns_go_on_having_epochs(session):
    run, one, other = Run(), loader(2), loader(4)
    labelled, unlabelled = iter(one), iter(other)
    for _ in range(4):
        try:
            next(unlabelled)
        except StopIteration:
            unlabelled = iter(other)
            next(unlabelled)
        try:
            x, y = next(labelled)
        except StopIteration:
            labelled = iter(one)
            x, y = next(labelled)
        run.step(x, y)
    del labelled, unlabelled
    step = "data_load data_load forward backward optimizer_step"
    assert names() == tree(f"""
        epoch[0]
          step[0]: {step}
          step[1]: {step}
          step[2]: {step}
        epoch[1]
          step[3]: {step}
    """)


def test_accuracy_over_the_same_loader_within_an_epoch_is_part_of_its_step(session):
    run, batches = Run(), loader(1)
    for x, y in batches:
        run.step(x, y)
        with torch.no_grad():
            for x, _y in batches:
                run.model(x)
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL} data_load forward
    """)


def test_dataset_that_loads_with_another_loader_has_its_waits_once(session):
    class Outer(IterableDataset):
        def __iter__(self):
            yield from loader(2)

    list(DataLoader(Outer(), batch_size=None))
    assert names() == tree("""
        epoch[0]
          step[0]: data_load
          step[1]: data_load
    """)


def test_scope_of_the_dataset_is_within_its_wait(session):
    class Scoped(IterableDataset):
        def __iter__(self):
            with ci.scope("read"):
                pass
            yield 1
            with ci.scope("finish"):
                pass

    list(DataLoader(Scoped(), batch_size=None))
    assert names() == tree("""
        epoch[0]
          step[0]
            data_load
              read
          step[1]
            data_load
              finish
    """)


def test_inside_ci_epochs_the_hooks_open_no_epoch(session):
    run, batches = Run(), loader(1)
    for _ in ci.epochs(range(2)):
        run.epoch(batches)
    assert names() == tree(f"""
        epoch[0]
          step[0]: {FULL}
        epoch[1]
          step[1]: {FULL}
    """)


def test_inside_ci_batches_they_open_neither_step_nor_data_load(session):
    run, batches = Run(), loader(2)
    for _ in ci.epochs(range(1)):
        run.epoch(ci.batches(batches))
    assert names() == tree("""
        epoch[0]
          batch[0]: forward backward optimizer_step
          batch[1]: forward backward optimizer_step
    """)
    assert all(span["attrs"]["data_load_ns"] > 0 for span in spans("batch"))


def test_epoch_around_ci_batches_ends_with_the_loader_though_the_iterator_is_kept(session):
    run = Run()
    walk = iter(ci.batches(loader(1)))
    x, y = next(walk)
    run.step(x, y)
    assert next(walk, None) is None
    with ci.scope("validation"):
        pass
    assert names() == tree("""
        epoch[0]
          batch[0]: forward backward optimizer_step
        validation
    """)


def test_ci_batches_around_a_loader_in_a_wrapper_is_seen_as_well(session):
    def progress(items):
        yield from items

    Run().epoch(ci.batches(progress(loader(1))))
    assert names() == tree("""
        epoch[0]
          batch[0]: forward backward optimizer_step
    """)


def test_higher_framework_opens_epoch_and_step_itself(session):
    run = Run()
    with owning_loop("transformers"), ci.scope("theirs"):
        run.epoch(loader(1))
    run.epoch(loader(1))
    assert names() == tree(f"""
        theirs: {FULL}
        epoch[0]
          step[0]: {FULL}
    """)


def test_subclass_with_an_iterator_of_its_own_is_one_loop(session):
    class Doubled(DataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                yield batch * 2

    for _ in Doubled([1.0, 2.0]):
        pass
    assert names() == tree("""
        epoch[0]
          step[0]: data_load
          step[1]: data_load
    """)


def test_iterator_looks_like_the_loaders_own(session):
    batches = loader(2)
    walk = iter(batches)
    assert isinstance(walk, torch.utils.data.dataloader._BaseDataLoaderIter)
    assert iter(walk) is walk
    assert len(walk) == 2
    assert walk._num_workers == 0
    with pytest.raises(AttributeError):
        _ = walk.no_such_attribute


def test_loop_that_outlives_the_session_goes_on(session):
    run, seen = Run(), 0
    for x, y in loader(3):
        run.step(x, y)
        seen += 1
        if seen == 1:
            ci.shutdown()
    assert seen == 3
    assert names() == tree(f"""
        cirron.session
          epoch[0]
            step[0]: {FULL}
    """)


def test_loops_of_two_threads_give_no_index_twice(session):
    both = threading.Barrier(2, timeout=30)

    class Meets(IterableDataset):
        def __iter__(self):
            for i in range(2):
                both.wait()
                yield i

    threads = [threading.Thread(target=list, args=(DataLoader(Meets()),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    indices = [span["index"] for span in spans("step")]
    assert len(indices) == len(set(indices)) == 4


def test_next_session_counts_from_zero(session):
    Run().epoch(loader(1))
    ci.shutdown()
    with ci.profile(output="none"):
        Run().epoch(loader(1))
        assert names() == tree(f"""
            epoch[0]
              step[0]: {FULL}
        """)


def test_disabled_profiler_leaves_torch_alone():
    before = nn.Module.__dict__["__call__"]
    with ci.profile(enabled=False):
        assert nn.Module.__dict__["__call__"] is before
        assert type(iter(loader(1))).__module__.startswith("torch.")


def test_nothing_of_the_users_is_kept_alive(session):
    run, batches = Run(), loader(2)
    run.epoch(batches)
    walk = iter(batches)
    next(walk)
    kept = [weakref.ref(thing) for thing in (run.model, run.optimizer, batches, walk._source)]
    del run, batches, walk
    gc.collect()
    assert [ref() for ref in kept] == [None] * 4


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_record_nothing(context, persistent):
    run_script(
        f"""
        import os
        import cirron as ci
        import torch
        from torch import nn

        class Data(torch.utils.data.Dataset):
            def __init__(self):
                self.layer = nn.Linear(4, 4)
            def __len__(self):
                return 8
            def __getitem__(self, i):
                with torch.no_grad():
                    return self.layer(torch.zeros(4))

        if __name__ == "__main__":
            torch.set_num_threads(1)
            ci.profile()
            model = nn.Linear(4, 2)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            loader = torch.utils.data.DataLoader(
                Data(), batch_size=2, num_workers=2, multiprocessing_context="{context}",
                persistent_workers={persistent},
            )
            for _ in range(2):
                for x in loader:
                    model(x).sum().backward()
                    optimizer.step()
        """,
        as_file=True,
    )
    recorded = {}
    for batch in spool_batches():
        for span in batch["spans"]:
            if span["end_ns"] is not None:
                assert span["id"] not in recorded
                recorded[span["id"]] = span
    found = sorted(span["name"] for span in recorded.values())
    expected = ["cirron.session"] + ["epoch"] * 2
    expected += ["step", "data_load", "forward", "backward", "optimizer_step"] * 8
    assert found == sorted(expected)
    assert len({span["pid"] for span in recorded.values()}) == 1


def test_torch_that_is_imported_after_profile_is_hooked():
    run_script("""
    import cirron as ci
    ci.profile()
    assert ci.health()["frameworks_installed"] == []
    import torch
    assert ci.health()["frameworks_installed"] == ["torch"]
    model = torch.nn.Linear(2, 2)
    for x in torch.utils.data.DataLoader(torch.zeros(4, 2), batch_size=2):
        model(x).sum().backward()
    """)
    assert [span["name"] for span in flushed_spans()].count("forward") == 2


def test_profile_does_not_import_torch():
    run_script("""
    import sys
    import cirron as ci
    ci.profile(frameworks=["torch"])
    assert "torch" not in sys.modules
    """)


def test_model_of_the_loop_has_snapshots_at_the_end_of_each_epoch():
    run, batches = Run(), loader(1)
    with ci.profile():
        for _ in range(2):
            run.epoch(batches)
    (first, second) = [span["id"] for span in flushed_spans() if span["name"] == "epoch"]
    taken = [snapshot for batch in spool_batches() for snapshot in batch["snapshots"]]
    assert {snapshot["span_id"] for snapshot in taken} == {first, second}
    assert {"0.weight", "0.weight.grad"} <= {snapshot["tensor_name"] for snapshot in taken}
