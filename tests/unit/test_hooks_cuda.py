"""Time on the GPU, with stand-ins for its events: what is held back, and until when."""

import pytest
from support import flushed_spans

import cirron as ci
from cirron import _core
from cirron.hooks import cuda


class Gpu:
    """`torch.cuda` with events that the GPU reaches when the test says so."""

    def __init__(self):
        self.clock_ms = 0.0
        self.reached = True
        self.initialized = True
        self.capturing = False
        self.broken = False
        self.made = 0

    def Event(self, enable_timing):
        assert enable_timing
        self.made += 1
        return Event(self)

    def is_initialized(self):
        return self.initialized

    def is_current_stream_capturing(self):
        return self.capturing

    def memory_stats_as_nested_dict(self):
        return {"allocated_bytes": {"all": {"peak": 4096}}}


class Event:
    def __init__(self, gpu):
        self.gpu = gpu

    def record(self):
        if self.gpu.broken:
            raise RuntimeError("CUDA error")
        self.gpu.clock_ms += 1.5
        self.at_ms = self.gpu.clock_ms

    def query(self):
        return self.gpu.reached

    def elapsed_time(self, last):
        return last.at_ms - self.at_ms


class Errors(dict):
    def report(self, name, error):
        self[name] = error


@pytest.fixture
def gpu():
    return Gpu()


@pytest.fixture
def timer(gpu):
    with ci.profile(flush_interval=60):
        yield cuda.Timer(Errors(), gpu)


def span(timer, name="forward"):
    scope = _core.kind_scope(_core.KIND_PHASE, name)
    timer.begin(scope)
    with scope:
        pass
    timer.end(scope)


def recorded():
    """gpu_ns and memory_peak_bytes of the spans that are published, by name."""
    return {
        span["name"]: (span["gpu_ns"], span["memory_peak_bytes"])
        for span in flushed_spans()
        if span["name"] != "cirron.session"
    }


def test_span_has_the_time_between_its_events(timer):
    span(timer)
    assert recorded() == {"forward": (1_500_000, 4096)}


def test_span_waits_for_the_gpu_and_the_next_one_publishes_it(timer, gpu):
    gpu.reached = False
    span(timer)
    assert recorded() == {}
    gpu.reached = True
    span(timer, "backward")
    assert recorded() == {"forward": (1_500_000, 4096), "backward": (1_500_000, 4096)}


def test_flush_publishes_what_the_gpu_does_not_reach_in_time(timer, gpu, monkeypatch):
    monkeypatch.setattr(cuda, "_FLUSH_WAIT_S", 0.01)
    gpu.reached = False
    span(timer)
    timer.flush()
    assert recorded() == {"forward": (None, 4096)}


def test_spans_that_wait_are_bounded(timer, gpu, monkeypatch):
    monkeypatch.setattr(cuda, "_MOST_HELD", 2)
    gpu.reached = False
    for i in range(4):
        span(timer, f"s{i}")
    assert recorded() == {"s0": (None, 4096), "s1": (None, 4096)}


def test_events_are_used_again(timer, gpu):
    for _ in range(100):
        span(timer)
    assert gpu.made == 2


@pytest.mark.parametrize("state", [{"initialized": False}, {"capturing": True}])
def test_nothing_is_put_into_a_stream_that_is_not_there_or_captured(timer, gpu, state):
    vars(gpu).update(state)
    span(timer)
    assert recorded() == {"forward": (None, None)}
    assert gpu.made == 0


def test_capture_that_began_within_the_span_leaves_it_untimed(timer, gpu):
    scope = _core.kind_scope(_core.KIND_PHASE, "forward")
    timer.begin(scope)
    with scope:
        gpu.capturing = True
    timer.end(scope)
    assert recorded() == {"forward": (None, None)}


def test_failure_is_reported_and_costs_no_span(timer, gpu):
    gpu.reached = False
    span(timer, "before")
    gpu.broken = True
    span(timer, "during")
    span(timer, "after")
    assert recorded() == {"before": (None, 4096), "during": (None, None), "after": (None, None)}
    assert list(timer._registry) == ["torch.gpu"]


def test_span_that_was_none_is_forgotten(timer):
    scope = _core.kind_scope(0, "step")
    timer.begin(scope)
    scope.__enter__()
    assert _core.discard(scope)
    timer.forget(scope)
    timer.end(scope)
    assert recorded() == {}


def test_whole_loop_is_timed(gpu, monkeypatch):
    torch = pytest.importorskip("torch")
    from training import Run, loader

    torch.set_num_threads(1)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for name in ("Event", "is_initialized", "is_current_stream_capturing"):
        monkeypatch.setattr(torch.cuda, name, getattr(gpu, name))
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", gpu.memory_stats_as_nested_dict)
    run, batches = Run(), loader(1)
    with ci.profile():
        run.epoch(batches)
        gpu.reached = False
        run.epoch(batches)
        gpu.reached = True
        assert ci.health()["hook_errors"] == {}
    timed = sorted(s["name"] for s in flushed_spans() if s["gpu_ns"] and s["memory_peak_bytes"])
    assert timed == sorted(["epoch", "step", "forward", "backward", "optimizer_step"] * 2)
