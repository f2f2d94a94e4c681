"""The phases of a step: which calls are spans, and what is left as it was."""

import sys
import threading
import types

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from training import Run, loader, names, network, spans, tree  # noqa: E402

import cirron as ci  # noqa: E402
from cirron import _core  # noqa: E402
from cirron.hooks import passes  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def session():
    with ci.profile(output="none"):
        yield
        assert ci.health()["hook_errors"] == {}


def patched():
    """Everything that the hooks change, as it stands in the classes and modules."""
    optimizer = sys.modules["torch.optim.optimizer"]
    return [
        nn.Module.__dict__["__call__"],
        torch.autograd._engine_run_backward,
        torch.autograd.graph._engine_run_backward,
        torch.amp.GradScaler.__dict__["step"],
        sys.modules["torch.fx._symbolic_trace"]._Patcher.__dict__["revert_all_patches"],
        torch.utils.data.DataLoader.__dict__["__iter__"],
        *optimizer._global_optimizer_pre_hooks.values(),
        *optimizer._global_optimizer_post_hooks.values(),
    ]


def test_shutdown_leaves_every_patched_object_as_it_was():
    before = patched()
    with ci.profile(output="none"):
        assert sum(a is not b for a, b in zip(before, patched(), strict=False)) == 6
        Run().epoch(loader(1))
    assert all(a is b for a, b in zip(before, patched(), strict=True))
    with ci.profile(output="none", frameworks=[]):
        assert all(a is b for a, b in zip(before, patched(), strict=True))


def test_what_another_library_patched_since_stays(session):
    hooked = nn.Module.__dict__["__call__"]
    calls = []

    def theirs(module, *args, **kwargs):
        calls.append(module)
        return hooked(module, *args, **kwargs)

    nn.Module.__call__ = theirs
    try:
        ci.shutdown()
        assert nn.Module.__dict__["__call__"] is theirs
        assert nn.Linear(2, 2)(torch.zeros(2)).shape == (2,)
        assert len(calls) == 1
    finally:
        nn.Module.__call__ = hooked.__wrapped__


def test_attribute_of_the_class_reads_as_ever(session):
    model = network()
    original = nn.Module.__dict__["__call__"].__wrapped__
    assert nn.Module.__call__ is original
    assert isinstance(model.__call__, types.MethodType)
    assert model.__call__.__func__ is original


def test_loops_without_a_loader_get_phases_alone(session):
    run = Run()
    run.step(torch.zeros(4, 4), torch.zeros(4, dtype=torch.long))
    assert names() == "forward\nbackward\noptimizer_step"


def test_inner_modules_open_no_span(session):
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([network(), nn.Linear(2, 2)])

        def forward(self, x, scale=1.0):
            for layer in self.layers:
                x = layer(x) * scale
            return x

    with torch.no_grad():
        model = Inner()
        assert torch.equal(model(torch.ones(1, 4), scale=2.0), model(torch.ones(1, 4), 2.0))
    assert names() == "forward\nforward"


def test_several_models_are_a_forward_each(session):
    generator, critic = nn.Linear(2, 4), nn.Linear(4, 1)
    critic(generator(torch.zeros(1, 2))).sum().backward()
    assert names() == "forward\nforward\nbackward"


def test_wrapper_of_a_model_is_one_forward(session):
    nn.DataParallel(network())(torch.zeros(1, 4))
    assert names() == "forward"


def test_loss_is_no_forward(session):
    nn.MSELoss()(torch.zeros(2), torch.zeros(2))
    assert names() == ""


def test_scripted_model_is_one_forward(session):
    with pytest.warns(DeprecationWarning, match="script"):
        model = torch.jit.script(network())
    model(torch.zeros(1, 4))
    assert names() == "forward"


def test_class_with_a_call_of_its_own_is_one_forward(session):
    class Own(nn.Module):
        def __call__(self, x):
            return super().__call__(x + 1)

        def forward(self, x):
            return x

    assert Own()(torch.zeros(1)) == 1
    assert names() == "forward"


def test_forward_hooks_and_results_are_the_programs(session):
    model, seen = nn.Linear(2, 2), []
    model.register_forward_hook(lambda module, args, out: seen.append(out))
    result = model(input=torch.zeros(2))
    assert seen == [result]


def test_modules_that_backward_computes_again_open_no_span(session):
    model = network()
    x = torch.ones(1, 4, requires_grad=True)
    torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False).sum().backward()
    assert names() == "forward\nbackward"


@pytest.mark.parametrize(
    "run",
    [
        lambda loss, x: loss.backward(),
        lambda loss, x: torch.autograd.backward([loss]),
        lambda loss, x: torch.autograd.grad(loss, x),
    ],
)
def test_every_run_of_autograd_is_a_backward(session, run):
    x = torch.ones(2, requires_grad=True)
    run((x * x).sum(), x)
    assert names() == "backward"


def test_gradients_within_a_forward_belong_to_it(session):
    class Force(nn.Module):
        def forward(self, x):
            return torch.autograd.grad((x * x).sum(), x)

    Force()(torch.ones(2, requires_grad=True))
    assert names() == "forward"


ODD = ("LBFGS", "SparseAdam", "Muon", "Adafactor")  # want closures, sparse or wide gradients


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in torch.optim.Optimizer.__subclasses__()
        if kind.__module__.startswith("torch.optim.") and kind.__name__ not in ODD
    ],
)
def test_every_optimizer_has_its_step(session, kind):
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    kind([parameter], lr=0.1).step()
    assert names() == "optimizer_step"


def test_optimizer_of_the_programs_own_has_its_step(session):
    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    run = Run(Mine)
    Run().optimizer.step()
    run.optimizer.step()
    assert names() == "optimizer_step\noptimizer_step"


def test_optimizer_and_scheduler_that_were_there_first_have_theirs():
    run = Run()
    scheduler = torch.optim.lr_scheduler.ConstantLR(run.optimizer)
    with ci.profile(output="none"):
        run.step(torch.zeros(4, 4), torch.zeros(4, dtype=torch.long))
        scheduler.step()
        assert names() == "forward\nbackward\noptimizer_step"


def test_several_optimizers_are_a_step_each(session):
    Run().optimizer.step()
    Run(torch.optim.Adam).optimizer.step()
    assert names() == "optimizer_step\noptimizer_step"


def test_optimizer_in_a_hook_of_backward_is_part_of_it(session):
    run = Run()

    def step(parameter):
        torch.optim.SGD([parameter]).step()

    for parameter in run.model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    for x, y in loader(2):
        run.loss(run.model(x), y).backward()
    assert names() == tree("""
        epoch[0]
          step[0]: data_load forward backward
          step[1]: data_load forward backward
    """)


def test_closure_runs_within_the_step(session):
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(1, 4)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    (step,) = ci.trace(format="dict")["roots"]
    assert names([step]).split("\n")[:3] == ["optimizer_step", "  forward", "  backward"]
    assert names(step["children"]) == "\n".join(["forward", "backward"] * 2)


@pytest.mark.parametrize("enabled", [False, True])
def test_grad_scaler_is_one_step(session, enabled):
    run = Run()
    scaler = torch.amp.GradScaler("cpu", enabled=enabled)
    for x, y in loader(1):
        scaler.scale(run.loss(run.model(x), y)).backward()
        scaler.step(run.optimizer)
        scaler.update()
    assert names() == tree("""
        epoch[0]
          step[0]: data_load forward backward optimizer_step
    """)


def test_step_that_raises_is_closed_and_the_next_one_is_recorded(session):
    class Fails(torch.optim.SGD):
        broken = True

        def step(self, closure=None):
            if self.broken:
                raise MemoryError("out of memory")
            return super().step(closure)

    run = Run(Fails)
    with pytest.raises(MemoryError, match="out of memory"):
        run.optimizer.step()
    assert ci.health()["scope_depth"] == 0
    run.optimizer.broken = False
    run.step(torch.zeros(4, 4), torch.zeros(4, dtype=torch.long))
    assert names() == "optimizer_step\nforward\nbackward\noptimizer_step"


class FailsOnce(torch.optim.SGD):
    broken = True

    def step(self, closure=None):
        if self.broken:
            self.broken = False
            raise MemoryError("out of memory")
        return super().step(closure)


def test_step_that_raised_holds_nothing_though_its_exception_is_kept(session):
    run, kept = Run(FailsOnce), []
    for _ in range(2):
        try:
            run.step(torch.zeros(4, 4), torch.zeros(4, dtype=torch.long))
        except MemoryError as error:
            kept.append(error)
    assert names() == "\n".join(["forward", "backward", "optimizer_step"] * 2)
    assert ci.health()["scope_depth"] == 0
    assert kept


@pytest.mark.parametrize("around", [lambda batches: batches, ci.batches])
def test_step_that_raised_and_its_batch_end_before_the_next_one(session, around):
    run, kept = Run(FailsOnce), []
    for x, y in around(loader(2)):
        try:
            run.step(x, y)
        except MemoryError as error:
            kept.append(error)
    steps = spans("step") or spans("batch")
    assert [step["index"] for step in steps] == [0, 1]
    assert [step["children"][-1]["name"] for step in steps] == ["optimizer_step"] * 2
    assert ci.health()["scope_depth"] == 0
    assert kept


def test_loop_that_an_optimizer_ended_leaves_nothing_open_though_the_exception_is_kept(session):
    run = Run(FailsOnce)
    with pytest.raises(MemoryError) as raised:
        run.epoch(loader(2))
    with ci.scope("report"):
        pass
    assert names() == tree("""
        epoch[0]
          step[0]: data_load forward backward optimizer_step
        report
    """)
    assert raised.value.__traceback__ is not None


def test_closure_that_raises_ends_the_step_before_what_follows(session):
    run, kept = Run(), []
    optimizer = torch.optim.LBFGS(run.model.parameters())

    def closure():
        run.model(torch.zeros(1, 4))
        raise ValueError("no loss")

    for _ in range(2):
        try:
            optimizer.step(closure)
        except ValueError as error:
            kept.append(error)
    run.model(torch.zeros(1, 4))
    assert names() == "optimizer_step\n  forward\noptimizer_step\n  forward\nforward"


def test_threads_have_trees_of_their_own(session):
    def train():
        Run().step(torch.zeros(4, 4), torch.zeros(4, dtype=torch.long))

    thread = threading.Thread(target=train)
    with ci.scope("mine"):
        thread.start()
        thread.join()
    assert names() == "mine\nforward\nbackward\noptimizer_step"


def test_replicas_that_data_parallel_runs_in_threads_open_no_span(session):
    file = torch.nn.parallel.parallel_apply.__globals__["__file__"]
    namespace = {"model": network(), "torch": torch}
    exec(compile("def worker(): model(torch.zeros(1, 4))", file, "exec"), namespace)
    thread = threading.Thread(target=namespace["worker"])
    thread.start()
    thread.join()
    assert names() == ""


def test_hook_that_fails_is_named_and_the_training_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(passes, "loop_owner", lambda: 1 / 0)
    run = Run()
    with ci.profile(output="none"):
        run.epoch(loader(2))
        assert list(ci.health()["hook_errors"]) == ["torch.data_load"]
        assert names() == "\n".join(["forward", "backward", "optimizer_step"] * 2)
    assert caplog.text.count("torch.data_load failed and is switched off") == 1


def test_hook_that_this_torch_does_not_have_is_named(monkeypatch, caplog):
    monkeypatch.delattr(torch.autograd, "_engine_run_backward")
    with ci.profile(output="none"):
        assert list(ci.health()["hook_errors"]) == ["torch.backward"]
        nn.Linear(2, 2)(torch.zeros(2))
        assert names() == "forward"
    assert "torch.backward failed" in caplog.text


def test_disabling_in_the_middle_leaves_the_loop_alone(session):
    run = Run()
    _core.set_enabled(False)
    try:
        run.epoch(loader(2))
    finally:
        _core.set_enabled(True)
    assert names() == ""
