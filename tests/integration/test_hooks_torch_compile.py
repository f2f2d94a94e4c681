"""torch.compile makes the same graphs with the hooks as without."""

from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402
from training import loader, names, network  # noqa: E402

import cirron as ci  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's own, many and changing

X = torch.ones(2, 4)


class Own(nn.Module):
    """A module with a `__call__` of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def __call__(self, x):
        return super().__call__(x)

    def forward(self, x):
        return self.layer(x)


class Breaking(nn.Module):
    """A module at which torch itself breaks the graph."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), Own(), nn.Linear(4, 4)])

    def forward(self, x):
        x = self.layers[1](self.layers[0](x))
        torch._dynamo.graph_break()
        return self.layers[2](x)


def with_forward_hook():
    model = nn.Linear(4, 4)
    model.register_forward_hook(lambda module, args, out: out + 1)
    return model


def compiled_module(make, **options):
    return torch.compile(make(), backend="eager", **options)


def compiled_in_place():
    model = network()
    model.compile(backend="eager")
    return model


def compiled_caller():
    model = with_forward_hook()
    return torch.compile(lambda x: model(x) * 2, backend="eager", fullgraph=True)


def compiled_step():
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile(backend="aot_eager")
    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    return step


def compiled_optimizer():
    model = nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(X).sum().backward()
    return torch.compile(lambda x: optimizer.step(), backend="eager")


def compiled_gradient():
    model = nn.Linear(4, 4)
    parameters = list(model.parameters())
    return torch.compile(lambda x: torch.autograd.grad(model(x).sum(), parameters), backend="eager")


def compiled_loop():
    model, batches = nn.Linear(4, 2), loader(2)

    def train(_x):
        for x, _y in batches:
            model(x).sum().backward()

    return torch.compile(train, backend="eager")


def graphs(make, hooks):
    """Graph breaks by reason, and graphs, of three calls."""
    torch._dynamo.reset()
    counters.clear()
    with ci.profile(output="none", frameworks=None if hooks else []):
        call = make()
        for _ in range(3):
            call(X)
        assert ci.health()["hook_errors"] == {}
    breaks = {reason.split("\n")[0]: n for reason, n in counters["graph_break"].items()}
    return breaks, counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: compiled_module(network, fullgraph=True),
        lambda: compiled_module(with_forward_hook, fullgraph=True),
        lambda: compiled_module(Own, fullgraph=True),
        lambda: compiled_module(Breaking),
        compiled_in_place,
        compiled_caller,
        compiled_step,
        compiled_optimizer,
        compiled_gradient,
        compiled_loop,
    ],
)
def test_hooks_add_no_graph_and_no_break(make):
    breaks, count = graphs(make, hooks=True)
    bare_breaks, bare_count = graphs(make, hooks=False)
    assert count == bare_count
    # On 3.13 torch compiles nothing of what stands around an optimizer's step when anybody has
    # a pre-hook there, which is a break fewer.
    assert Counter(breaks) <= Counter(bare_breaks)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_compiled_model_is_one_forward_and_one_backward(backend, when):
    torch._dynamo.reset()
    calls = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_forward_hook(lambda module, args, out: calls.append(1))

        def forward(self, x):
            return self.layer(x)

    model = Counting()
    if when == "before":
        compiled = torch.compile(model, backend=backend)
    with ci.profile(output="none"):
        if when == "after":
            compiled = torch.compile(model, backend=backend)
        for _ in range(2):
            compiled(X).sum().backward()
        assert names() == "forward\nbackward\nforward\nbackward"
    assert len(calls) == 2


def test_model_that_was_compiled_with_the_hooks_runs_without_them():
    torch._dynamo.reset()
    model = network()
    with ci.profile(output="none"):
        compiled = torch.compile(model, backend="eager")
        inside = compiled(X)
    assert torch.equal(compiled(X), inside)


def test_hooks_are_back_after_a_symbolic_trace():
    with ci.profile(output="none"):
        torch.fx.symbolic_trace(network())
        network()(X)
        assert names().split()[-1] == "forward"
    assert type(nn.Module.__dict__["__call__"]).__name__ == "function"


def test_hooks_are_back_with_the_next_loop_after_somebody_else_put_the_original_back():
    with ci.profile(output="none"):
        nn.Module.__call__ = nn.Module.__call__  # what reads as ever is written back
        network()(X)
        assert names() == ""
        for x, _y in loader(1):
            network()(x)
        assert names().endswith("step[0]\n    data_load\n    forward")
