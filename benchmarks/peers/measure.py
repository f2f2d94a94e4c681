"""One measurement of one profiler, in its own interpreter: prints a line of JSON.

`python measure.py ADAPTER WHAT FOLDER`; what is one of the functions below.
"""

import importlib
import json
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from timing import against_floor

MILLION = 1_000_000
LOOP_SECONDS = 40
KILLED_SPANS, SPANS_A_SECOND = 3_000, 1_000
CHILD_SPANS = 1_000
CHILD_SECONDS = 20
STEPS = 10  # of an epoch; the loop has two
REPEATS, ROUNDS = 50, 5

Span = Callable[[str], AbstractContextManager[object]]

adapter = importlib.import_module(f"adapters.{sys.argv[1]}")


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cost(folder: str) -> dict[str, tuple[float, float]]:
    """(ns, ns of the floor) of a span and of a value."""
    adapter.start(folder)
    result = {"span": against_floor(adapter.spans, 2000, 3)}
    if hasattr(adapter, "values"):
        result["value"] = against_floor(adapter.values, 2000, 3)
    return result


def memory(folder: str) -> dict[str, float]:
    """Bytes that a million spans add at most, and how many of them are kept."""
    before = peak = rss()
    adapter.start(folder)
    end = time.monotonic() + LOOP_SECONDS
    made = 0
    while made < MILLION and time.monotonic() < end:
        adapter.spans(20_000)
        made += 20_000
        peak = max(peak, rss())
    adapter.stop()
    peak = max(peak, rss())
    result = {"bytes": peak - before, "made": made}
    if hasattr(adapter, "stored"):
        result["stored"] = adapter.stored(folder, "work")
    return result


def killed(folder: str) -> None:
    adapter.start(folder)
    start = time.monotonic()
    for i in range(KILLED_SPANS):
        adapter.spans(1)
        time.sleep(max(start + i / SPANS_A_SECOND - time.monotonic(), 0))
    os.kill(os.getpid(), signal.SIGKILL)


def stored(folder: str) -> int:
    return int(adapter.stored(folder, "work"))


def forked(folder: str) -> int:
    """Spans stored of CHILD_SPANS that a child recorded, as a pool's worker would."""
    adapter.start(folder)
    child = multiprocessing.get_context("fork").Process(target=adapter.spans, args=(CHILD_SPANS,))
    child.start()
    child.join(CHILD_SECONDS)
    if child.exitcode is None:
        child.kill()
        raise RuntimeError("the child did not end")
    adapter.stop()
    return stored(folder)


def training(folder: str) -> dict[str, tuple[float, float] | None]:
    """(us that a step has more, us of a bare one): by hooks where there are any, by hand."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    data = TensorDataset(torch.randn(8 * STEPS, 32), torch.randint(0, 4, (8 * STEPS,)))
    loader = DataLoader(data, batch_size=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss_of = nn.CrossEntropyLoss()

    def bare() -> None:
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss_of(model(x), y).backward()
                optimizer.step()

    def by_hand() -> None:
        span: Span = adapter.span
        for _ in range(2):
            with span("epoch"):
                batches = iter(loader)
                for _ in range(STEPS):
                    with span("step"):
                        with span("data_load"):
                            x, y = next(batches)
                        optimizer.zero_grad()
                        with span("forward"):
                            loss = loss_of(model(x), y)
                        with span("backward"):
                            loss.backward()
                        with span("optimizer_step"):
                            optimizer.step()

    result = {"by hand": added(bare, by_hand, adapter.start, folder), "hooks": None}
    if hasattr(adapter, "start_hooked"):
        hooked = str(Path(folder, "hooked"))
        figures = added(bare, bare, adapter.start_hooked, hooked)
        expected = ROUNDS * (REPEATS + 1) * 2 * STEPS
        if min(adapter.stored(hooked, name) for name in ("forward", "backward")) >= expected:
            result["hooks"] = figures
    return result


def added(
    bare: Callable[[], None],
    recorded: Callable[[], None],
    start: Callable[[str], None],
    folder: str,
) -> tuple[float, float]:
    """Medians of the process's CPU time a step, until all that was recorded is stored."""

    def step_us(loop: Callable[[], None], end: Callable[[], None]) -> float:
        loop()
        start = time.process_time_ns()
        for _ in range(REPEATS):
            loop()
        end()
        return (time.process_time_ns() - start) / (REPEATS * 2 * STEPS * 1e3)

    def nothing() -> None:
        pass

    step_us(bare, nothing)
    more, bares = [], []
    for _ in range(ROUNDS):
        before = step_us(bare, nothing)
        start(folder)
        took = step_us(recorded, adapter.stop)
        after = step_us(bare, nothing)
        more.append(took - (before + after) / 2)
        bares += [before, after]
    return statistics.median(more), statistics.median(bares)


if __name__ == "__main__":
    what, folder = sys.argv[2:4]
    if what == "training":  # the torch of build/peers/torch, after the profiler's own packages
        sys.path += sys.argv[4:]
    print("RESULT" + json.dumps(globals()[what](folder)), flush=True)
    os._exit(0)
