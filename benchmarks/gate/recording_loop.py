"""What the instruction gate counts in the recorder: `recording_loop.py <case> N`."""

import os
import sys
from collections.abc import Iterator

import cirron as ci


def scope(n: int) -> None:
    open_scope = ci.scope
    for _ in range(n):
        with open_scope("work"):
            pass


def mark(n: int) -> None:
    record = ci.mark
    for _ in range(n):
        record("loss", 0.5)


def request(n: int) -> None:
    call = ci.inference(lambda: None)
    for _ in range(n):
        call()


def step(n: int) -> None:
    from cirron.hooks.passes import Loop

    loop = Loop(None, lambda: True, lambda: None, lambda epoch: None)

    def batches() -> Iterator[int]:
        return iter(range(n))

    for _ in loop.start(batches, batches):
        pass


def main() -> None:
    case, n = sys.argv[1], int(sys.argv[2])
    # No flush meanwhile, and no thread's clock, which valgrind makes a system call.
    ci.profile(output="none", flush_interval=86_400, config={"cpu_time": False})
    {"scope": scope, "mark": mark, "request": request, "step": step}[case](n)
    os._exit(0)


main()
