"""Pools whose workers come and go: every job's span is written once, whoever ran it."""

import multiprocessing
import subprocess
import sys
import textwrap

import pytest
from support import rounds, spool_batches

PROGRAM = textwrap.dedent("""
    import logging, multiprocessing, random, sys, warnings
    from concurrent.futures import ProcessPoolExecutor
    import cirron as ci

    def work(n):
        with ci.scope("job", n):
            ci.mark("n", n)
            if n % 7 == 0:
                with ci.scope("inner", n): pass
        return n

    def begin():
        ci.profile(flush_interval=3600)  # a session of its own, or its parent's

    if __name__ == "__main__":
        method, kind, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
        warnings.simplefilter("ignore", DeprecationWarning)  # a pool's own threads, at its forks
        logging.disable(logging.WARNING)
        ci.profile(flush_interval=0.05)
        context = multiprocessing.get_context(method)
        if kind == "pool":
            with context.Pool(2, initializer=begin, maxtasksperchild=3) as pool:
                done = list(pool.imap_unordered(work, range(jobs)))
                pool.close()
                pool.join()
        else:
            # Without max_tasks_per_child, with which it may wait for ever (CPython's gh-115634).
            with ProcessPoolExecutor(2, mp_context=context, initializer=begin) as executor:
                done = list(executor.map(work, range(jobs)))
        assert sorted(done) == list(range(jobs))
""")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["pool", "executor"])
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_recycled_workers_lose_no_job(method, kind, tmp_path):
    jobs = rounds(60, 1000) if method == "fork" else rounds(24, 200)
    (tmp_path / "jobs.py").write_text(PROGRAM)
    result = subprocess.run(
        [sys.executable, "jobs.py", method, kind, str(jobs)],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    batches = spool_batches()
    spans = [s for b in batches for s in b["spans"] if s["end_ns"] is not None]
    assert sorted(s["index"] for s in spans if s["name"] == "job") == list(range(jobs))
    assert sorted(s["index"] for s in spans if s["name"] == "inner") == list(range(0, jobs, 7))
    assert sorted(m["value"] for b in batches for m in b["marks"]) == list(range(jobs))
    by_id = {s["id"]: s for s in spans}
    for span in spans:
        if span["name"] == "inner":
            assert by_id[span["parent_id"]]["index"] == span["index"]
    if kind == "pool":
        assert len({s["pid"] for s in spans if s["name"] == "job"}) > 2
