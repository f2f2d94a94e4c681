"""ci.scope: what a user relies on when opening spans."""

import gc
import logging
import threading
import time
import weakref

import numpy as np
import pytest
from support import flushed_spans

import cirron as ci


@pytest.fixture
def session():
    with ci.profile() as profiler:
        yield profiler


def only(spans, name):
    (span,) = [s for s in spans if s["name"] == name]
    return span


def test_scope_opens_at_enter_not_at_the_call(session):
    s = ci.scope("work")
    assert (s.id, s.start_ns, s.end_ns, s.parent_id) == (None, None, None, None)
    before = time.time_ns()
    with s as entered:
        assert entered is s
        assert len(s.id) == 32
        assert s.end_ns is None
        assert before - 50_000 <= s.start_ns <= time.time_ns() + 50_000
    assert s.end_ns >= s.start_ns


def test_span_on_disk_is_what_the_scope_said(session):
    with ci.scope("work", 3, batch=7, note="hi") as s:
        time.sleep(0.01)
    span = only(flushed_spans(), "work")
    assert span["id"] == s.id
    assert span["parent_id"] == s.parent_id
    assert (span["start_ns"], span["end_ns"]) == (s.start_ns, s.end_ns)
    assert span["index"] == 3
    assert span["attrs"] == {"batch": 7, "note": "hi"}
    assert 0 <= span["cpu_ns"] < span["end_ns"] - span["start_ns"]
    assert span["thread_id"] == threading.get_native_id()
    assert span["gpu_ns"] is None


def test_name_and_index_may_be_keywords(session):
    with ci.scope(name="work", index=4, x=1) as s:
        pass
    assert (s.name, s.index, s.attrs) == ("work", 4, {"x": 1})


@pytest.mark.parametrize("name", [None, 3, b"bytes", ["list"]])
def test_name_that_is_no_str_is_a_type_error_at_the_call(session, name):
    with pytest.raises(TypeError, match="name must be a str"):
        ci.scope(name)


@pytest.mark.parametrize("index", [1.0, "1", True, False, np.bool_(True), np.float64(1), []])
def test_index_that_is_no_integer_is_a_type_error_at_the_call(session, index):
    with pytest.raises(TypeError, match="index must be an int"):
        ci.scope("work", index)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ci.scope(),
        lambda: ci.scope("a", 1, 2),
        lambda: ci.scope("a", name="b"),
        lambda: ci.scope("a", 1, index=2),
    ],
)
def test_wrong_arguments_are_type_errors(session, call):
    with pytest.raises(TypeError, match="scope"):
        call()


@pytest.mark.parametrize("index", [0, -5, 2**62, np.int64(9), np.uint8(200), np.int32(-1)])
def test_integers_of_python_and_numpy_count_as_index(session, index):
    with ci.scope("work", index) as s:
        pass
    assert s.index == int(index)
    assert only(flushed_spans(), "work")["index"] == int(index)


def test_index_outside_int64_becomes_an_attribute(session):
    with ci.scope("work", 2**70) as s:
        pass
    span = only(flushed_spans(), "work")
    assert s.index == 2**70
    assert span["index"] is None
    assert span["attrs"] == {"cirron.index": str(2**70)}


def test_second_entry_is_a_runtime_error(session):
    with ci.scope("work") as s, pytest.raises(RuntimeError, match="entered once"), s:
        pass
    with pytest.raises(RuntimeError, match="entered once"), s:
        pass


def test_attrs_are_writable_until_the_scope_closes(session):
    with ci.scope("work") as s:
        s.attrs["late"] = 1
    s.attrs["too_late"] = 2
    assert only(flushed_spans(), "work")["attrs"] == {"late": 1}


def test_parent_is_the_innermost_open_scope_then_the_session(session):
    with ci.scope("a") as a:
        with ci.scope("b") as b:
            pass
        with ci.scope("c") as c:
            pass
    root = only(flushed_spans(), "cirron.session")
    assert a.parent_id == root["id"]
    assert b.parent_id == c.parent_id == a.id


def test_exception_propagates_and_is_noted(session):
    with pytest.raises(ValueError, match="bad"), ci.scope("work") as s:
        raise ValueError("bad")
    assert s.attrs["error"] == "ValueError: bad"
    assert only(flushed_spans(), "work")["attrs"] == {"error": "ValueError: bad"}


def test_exception_without_a_message_is_its_type_name(session):
    with pytest.raises(KeyError), ci.scope("work") as s:
        raise KeyError
    assert s.attrs["error"] == "KeyError"


def test_error_text_is_at_most_256_bytes_and_valid_utf8(session):
    with pytest.raises(ValueError, match="ü"), ci.scope("work") as s:
        raise ValueError("ü" * 1000)
    assert len(s.attrs["error"].encode()) <= 256
    assert s.attrs["error"].startswith("ValueError: üü")


def test_exception_whose_str_raises_is_its_type_name(session):
    class Mean(Exception):
        def __str__(self):
            raise RuntimeError

    with pytest.raises(Mean), ci.scope("work") as s:
        raise Mean
    assert s.attrs["error"] == "Mean"


class NumberedType(type):
    __name__ = property(lambda cls: 12345)


def test_type_whose_name_is_no_str_is_named_as_it_was_defined(session):
    class Mean(Exception, metaclass=NumberedType):
        def __str__(self):
            raise RuntimeError

    with pytest.raises(Mean), ci.scope("work", thing=Mean()) as s:
        raise Mean
    assert s.attrs["error"] == "Mean"
    assert only(flushed_spans(), "work")["attrs"]["thing"] == "<unserialisable Mean>"


def interrupt_as_str(thing):
    with pytest.raises(ZeroDivisionError), ci.scope("work"):
        raise thing


def interrupt_as_attribute(thing):
    with ci.scope("work", thing=thing):
        pass


class SlowToDescribe(ZeroDivisionError):
    def __str__(self):
        raise KeyboardInterrupt


class SlowToLookAt:
    @property
    def __class__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("close", "slow"),
    [
        (interrupt_as_str, SlowToDescribe),
        (interrupt_as_attribute, SlowToDescribe),
        (interrupt_as_attribute, SlowToLookAt),
    ],
)
def test_ctrl_c_while_a_scope_closes_is_not_lost(session, close, slow):
    with pytest.raises(KeyboardInterrupt):
        (close(slow()), time.sleep(1))


def test_leaving_a_generator_early_is_no_error(session):
    def numbers():
        with ci.scope("inside"):
            yield 1
            yield 2

    for _ in numbers():
        break
    gc.collect()
    assert only(flushed_spans(), "inside")["attrs"] == {}


def test_outer_scope_closed_first_keeps_the_tree(session):
    a = ci.scope("a").__enter__()
    b = ci.scope("b").__enter__()
    a.__exit__(None, None, None)
    with ci.scope("c") as c:
        pass
    b.__exit__(None, None, None)
    b.__exit__(None, None, None)
    with ci.scope("d") as d:
        pass
    root = only(flushed_spans(), "cirron.session")
    assert c.parent_id == b.id
    assert d.parent_id == root["id"]
    assert sum(s["name"] == "b" for s in flushed_spans()) == 1


def test_exit_of_a_scope_that_was_never_entered_does_nothing(session):
    ci.scope("never").__exit__(None, None, None)
    assert all(s["name"] != "never" for s in flushed_spans())


def test_scope_lost_while_open_is_nobodys_parent(session):
    ci.scope("lost").__enter__()
    with ci.scope("next") as s:
        pass
    assert s.parent_id == only(flushed_spans(), "cirron.session")["id"]


def nest(levels, then):
    if levels == 0:
        then()
        return
    with ci.scope(f"level{levels}"):
        nest(levels - 1, then)


def nest_twice_in_a_thread(levels, then):
    """In a thread of its own, which has warned of nothing yet."""
    thread = threading.Thread(target=lambda: [nest(levels, then) for _ in range(2)])
    thread.start()
    thread.join()


def test_scopes_beyond_64_run_unrecorded_and_are_counted(session, caplog):
    ran = []

    def deepest():
        ran.append(ci.health()["scope_depth"])
        ci.mark("deep", 1)
        with ci.scope("too_deep") as s:
            s.attrs["x"] = 1
        ran.append(s)

    with caplog.at_level(logging.WARNING, logger="cirron"):
        nest_twice_in_a_thread(70, deepest)
    assert ran[0] == 64
    assert ran[1].end_ns >= ran[1].start_ns
    spans = flushed_spans()
    assert sum(s["name"].startswith("level") for s in spans) == 2 * 64
    assert all(s["name"] != "too_deep" for s in spans)
    assert ci.health()["scope_drop_count"] == 2 * 7
    assert len([r for r in caplog.records if "deeper than 64" in r.message]) == 1
    innermost = only([s for s in spans if s["mark_ids"]][:1], "level7")
    assert innermost["name"] == "level7"


def test_each_thread_warns_once_of_deep_scopes(session, caplog):
    for _ in range(2):
        nest_twice_in_a_thread(66, lambda: nest(66, lambda: None))
    assert len([r for r in caplog.records if "deeper than 64" in r.message]) == 2


def test_hand_over_hand_scopes_are_not_deep(session):
    previous = None
    for i in range(1000):
        scope = ci.scope("hand", i)
        scope.__enter__()
        if previous is not None:
            previous.__exit__(None, None, None)
        previous = scope
    assert ci.health()["scope_depth"] == 1
    previous.__exit__(None, None, None)
    assert ci.health()["scope_drop_count"] == 0


def test_closing_on_another_thread_records_no_cpu_time(session):
    s = ci.scope("moved")
    s.__enter__()
    thread = threading.Thread(target=s.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert only(flushed_spans(), "moved")["cpu_ns"] is None


def test_cpu_time_can_be_left_out():
    with ci.Cirron(cpu_time=False).profile():
        with ci.scope("work"):
            pass
        assert only(flushed_spans(), "work")["cpu_ns"] is None


def test_sleep_is_wall_time_and_work_is_cpu_time(session):
    with ci.scope("sleep"):
        time.sleep(0.05)
    with ci.scope("work"):
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
    spans = flushed_spans()
    sleep, work = only(spans, "sleep"), only(spans, "work")
    assert sleep["cpu_ns"] < 20_000_000 <= 50_000_000 <= sleep["end_ns"] - sleep["start_ns"]
    assert abs(work["cpu_ns"] - 50_000_000) < 5_000_000


def test_overhead_grows_with_what_is_inside(session):
    with ci.scope("busy"):
        for _ in range(1000):
            with ci.scope("inner"):
                ci.mark("x", 1.0)
    with ci.scope("idle"):
        pass
    spans = flushed_spans()
    assert only(spans, "idle")["overhead_ns"] == 0
    busy = only(spans, "busy")
    assert 0 < busy["overhead_ns"] < busy["end_ns"] - busy["start_ns"]


def test_while_disabled_nothing_is_recorded_and_nothing_checked():
    profiler = ci.profile(enabled=False)
    assert profiler.enabled is False
    with ci.scope(3, "no index") as s:
        ci.mark(None, None, kind="no kind")
    assert s.id is None


def test_scope_made_while_disabled_may_be_entered_later():
    ci.profile(enabled=False)
    unnamed, named = ci.scope(b"\xf8" * 5000), ci.scope("named")
    ci.shutdown()
    with ci.profile(), unnamed, named:
        pass
    assert {s["name"] for s in flushed_spans()} == {"cirron.session", "named"}


def test_open_scope_entered_again_while_disabled_still_closes():
    with ci.scope("work") as s:
        ci.profile(enabled=False)
        s.__enter__()
        ci.shutdown()
    assert ci.health()["scope_depth"] == 0


def test_names_of_a_subclass_are_not_kept_alive(session):
    class Name(str):
        pass

    name = Name("named")
    gone = weakref.ref(name)
    with ci.scope(name):
        ci.mark(name, 1)
    del name
    assert gone() is None
    assert only(flushed_spans(), "named")


def test_scopes_do_not_keep_user_objects_alive(session):
    class Thing:
        gone = False

        def __del__(self):
            Thing.gone = True

    with ci.scope("work", thing=Thing()):
        pass
    gc.collect()
    assert Thing.gone


def test_scope_in_a_cycle_with_its_attributes_is_collected(session):
    class Thing:
        gone = False

        def __del__(self):
            Thing.gone = True

    s = ci.scope("work")
    s.attrs["me"], s.attrs["thing"] = s, Thing()
    del s
    gc.collect()
    assert Thing.gone
