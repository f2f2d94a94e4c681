"""Some of `make faults`: each kind of call of ours fails, here and there, in a real program."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cirron import _core

sys.path.append(str(Path(__file__).parent.parent / "faults"))
import sweep

# Calls to fail: the first ones start a session, later ones record, flush, fork and read.
CALLS = {"memory": (1, 9, 40, 120, 200, 300, 480), "entropy": (1, 20), "python": (1, 400, 800)}


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    return sweep.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def clean(shim):
    """Runs in which nothing fails, by program and kind."""

    @functools.cache
    def run(program, kind):
        result = sweep.run(shim, program, kind, 0)
        assert result.wrong == []
        return result

    return run


@pytest.mark.parametrize("every_later", [False, True], ids=["one", "all-later"])
@pytest.mark.parametrize("kind", sweep.KINDS)
def test_a_failed_call_costs_records_that_are_counted_and_nothing_else(
    shim, clean, kind, every_later
):
    if kind in sweep.ONE_ONLY and every_later:
        pytest.skip("no system fails like that, or CPython does not bear it")
    for nth in CALLS.get(kind, (1, 3)):
        run = sweep.check(shim, clean("recording", kind), nth, every_later)
        assert run.wrong == [], f"call {nth}: {run.failed[:3]}"


@pytest.mark.parametrize("kind", ["memory", "python"])
def test_a_training_loop_goes_on_when_a_call_of_ours_fails(shim, clean, kind):
    for nth in CALLS[kind]:
        run = sweep.check(shim, clean("training", kind), nth)
        assert run.wrong == [], f"call {nth}: {run.failed[:3]}"


# Of the C library, mimalloc and simdjson: what can't fail in a way that anybody could see, or
# not but for wrong arguments; and what only waits, wakes or ends.
LISTED = """
    sqrt fmin fmax fmaxf fminf sqrtf
    __errno_location __sched_cpucount __tls_get_addr __cxa_atexit
    gettid __cxa_finalize __gmon_start__ memchr
    memcmp memcpy memmove memset memmem stpcpy strchr strcmp strcpy strlen strspn strerror
    qsort snprintf vsnprintf time clock_gettime nanosleep sched_yield sched_getaffinity
    sysconf getpid kill raise prctl syscall dirfd closedir dlsym mi_free timer_settime
    pthread_attr_destroy pthread_attr_setdetachstate pthread_cond_broadcast
    pthread_cond_destroy pthread_cond_timedwait pthread_cond_wait pthread_condattr_destroy
    pthread_condattr_setclock pthread_join pthread_mutex_destroy pthread_mutex_lock
    pthread_mutex_unlock pthread_once pthread_sigmask sigaddset sigemptyset sigfillset
    _ITM_deregisterTMCloneTable _ITM_registerTMCloneTable _ZdaPv _ZSt7nothrow
"""
CAN_NOT_FAIL = set(LISTED.split())


def test_every_call_to_the_system_is_swept_or_can_not_fail(shim):
    def names(file, *options):
        listed = subprocess.run(
            ["nm", "-D", *options, file], check=True, capture_output=True, text=True
        ).stdout
        return {line.split()[-1].split("@")[0] for line in listed.splitlines()}

    if shutil.which("nm") is None:
        pytest.skip("needs binutils")
    called = names(_core.__file__, "--undefined-only")
    swept = names(str(shim), "--defined-only")
    assert {
        name
        for name in called - swept - CAN_NOT_FAIL
        if not name.startswith(("Py", "_Py", "_ZN8simdjson", "_ZSt8to_chars", "_ZSt10from_chars"))
    } == set()
