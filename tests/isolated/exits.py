"""A program that records from some threads and ends by a given road.

Arguments: the road, a seed, the file of its counters. The counters are what it knows of
itself however it ends: for each thread, how many spans were begun, how many are closed, and
how many were closed when it could no longer promise them (-1: it always could).
"""

import atexit
import mmap
import os
import random
import signal
import sys
import threading
import time

import cirron as ci

THREADS = 4  # the main one, two that run till the end, one that ends late
road, seed, counters = sys.argv[1], int(sys.argv[2]), sys.argv[3]
chance = random.Random(seed)
with open(counters, "r+b") as file:
    counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")


def record(thread: int) -> None:
    index = counts[3 * thread]
    counts[3 * thread] = index + 1
    with ci.scope(f"thread{thread}", index):
        ci.mark("index", index)
    counts[3 * thread + 1] = index + 1


def record_for_ever(thread: int, pause: float) -> None:
    while True:
        record(thread)
        time.sleep(pause)


def end_late() -> None:
    for _ in range(50):
        record(3)
        time.sleep(0.002)


def promise_no_more() -> None:
    for thread in range(THREADS):
        counts[3 * thread + 2] = counts[3 * thread + 1]


def in_exit_handler() -> None:
    for _ in range(20):
        record(0)


def main() -> None:
    output = chance.choice(["spool", "spool", ["spool", "stdout"]])
    atexit.register(in_exit_handler)
    before = chance.random() < 0.3
    if before:
        record(0)
    for thread in range(THREADS):
        counts[3 * thread + 2] = -1
    ci.profile(flush_interval=0.05 if road in ("_exit", "sigkill") else 3600, output=output)
    for thread in range(1, 1 + chance.randrange(3)):
        pause = chance.choice([0.0, 0.0005])
        daemon = threading.Thread(target=record_for_ever, args=(thread, pause), daemon=True)
        daemon.start()
    if chance.random() < 0.5:
        threading.Thread(target=end_late).start()
    for _ in range(chance.randrange(2000)):
        record(0)
    if chance.random() < 0.3:
        ci.scope("left open").__enter__()
    if chance.random() < 0.3:
        ci.flush()


main()
if road == "return":
    pass
elif road == "sys.exit":
    sys.exit(3)
elif road == "exception":
    raise ValueError("boom")
elif road == "shutdown":
    promise_no_more()
    ci.shutdown()
elif road == "_exit":
    promise_no_more()
    time.sleep(0.5)  # ten intervals
    os._exit(4)
else:  # somebody else ends it
    sys.stdout.write("ready\n")  # at once: the sink writes there too
    sys.stdout.flush()
    signal.pause()
