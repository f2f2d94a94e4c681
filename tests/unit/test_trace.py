"""`ci.trace`: what is shown, in which form, and how it is filtered."""

import json
import math
import sys
from pathlib import Path

import pytest
from support import run_script

import cirron as ci


@pytest.fixture
def session():
    with ci.profile(output="none") as profiler:
        yield profiler


def roots(**filters):
    return ci.trace(format="dict", **filters)["roots"]


def shape(nodes):
    """Names and children, which is what most tests are about."""
    return [(n["name"], shape(n["children"])) if n["children"] else n["name"] for n in nodes]


def chain(length):
    """Spans of which each is the child of the one before: hand over hand, never deep."""
    previous = ci.scope("link", 0).__enter__()
    for i in range(1, length):
        current = ci.scope("link", i).__enter__()
        previous.__exit__(None, None, None)
        previous = current
    previous.__exit__(None, None, None)


# ---- which spans


def test_closed_spans_are_visible_immediately(session):
    with ci.scope("a"):
        with ci.scope("b"):
            pass
        assert shape(roots()) == ["b"]
    assert shape(roots()) == [("a", ["b"])]


def test_span_whose_parent_is_open_is_a_root_in_order_of_start(session):
    with ci.scope("first"):
        pass
    with ci.scope("open"):
        with ci.scope("inside"):
            pass
        import threading

        thread = threading.Thread(target=lambda: ci.scope("beside").__enter__().__exit__())
        thread.start()
        thread.join()
        assert shape(roots()) == ["first", "inside", "beside"]


def test_live_session_is_apart_and_has_its_marks(session):
    ci.mark("total", 3, kind="summary")
    with ci.scope("a"):
        pass
    result = ci.trace(format="dict")
    assert result["span_count"] == 1
    live = result["session"]
    assert (live["name"], live["end_ns"], live["children"]) == ("cirron.session", None, [])
    assert [(m["name"], m["value"], m["kind"]) for m in live["marks"]] == [("total", 3, "summary")]
    assert live["attrs"]["rank"] == 0
    assert result["roots"][0]["parent_id"] == live["id"]


def test_after_shutdown_the_session_is_the_root(session):
    with ci.scope("a"):
        pass
    session.shutdown()
    with ci.scope("later"):
        pass
    result = ci.trace(format="dict")
    assert "session" not in result
    assert shape(result["roots"]) == [("cirron.session", ["a"]), "later"]


def test_new_session_starts_empty(session):
    with ci.scope("old"):
        pass
    session.shutdown()
    with ci.profile(output="none"):
        assert ci.trace(format="dict")["span_count"] == 0
        with ci.scope("new"):
            pass
        assert shape(roots()) == ["new"]


def test_without_a_profiler_nothing_is_written():
    result = run_script("""
    import os
    import cirron as ci
    with ci.scope("standalone"):
        ci.mark("x", 1)
    assert "session" not in ci.trace(format="dict")
    ci.trace()
    assert os.listdir() == []
    """)
    assert result.stdout.startswith("standalone - ")
    assert result.stdout.endswith(" {x=1}\n")


def test_with_a_profiler_the_drain_reaches_the_spool(tmp_path):
    from support import spool_batches

    with ci.profile(flush_interval=3600):
        with ci.scope("a"):
            pass
        ci.trace(format="dict")
        assert "a" in [s["name"] for b in spool_batches() for s in b["spans"]]


def test_buffer_keeps_the_newest_spans():
    run_script("""
    import cirron as ci
    with ci.Cirron(output="none", trace_buffer_max_spans=10).profile():
        for i in range(25):
            with ci.scope("a", i):
                pass
        roots = ci.trace(format="dict")["roots"]
        assert [n["index"] for n in roots] == list(range(15, 25))
        assert ci.health()["trace_evicted_count"] == 15
    """)


def test_every_summary_and_the_newest_points_are_kept(session):
    with ci.scope("a"):
        ci.mark("s", 0, kind="summary")
        for i in range(3000):
            ci.mark("p", i)
    marks = roots()[0]["marks"]
    assert [m["value"] for m in marks if m["name"] == "p"] == list(range(3000 - 1024, 3000))
    assert [m["value"] for m in marks if m["name"] == "s"] == [0]


# ---- dict and json


def test_node_has_the_documented_fields(session):
    with ci.scope("outer") as outer, ci.scope("a", 4, note="n") as a:
        ci.mark("loss", 0.5, step=3)
    ((node,),) = [n["children"] for n in roots()]
    assert node["name"] == "a"
    assert node["index"] == 4
    assert node["attrs"] == {"note": "n"}
    assert (node["id"], node["parent_id"]) == (a.id, outer.id)
    assert (node["start_ns"], node["end_ns"]) == (a.start_ns, a.end_ns)
    assert isinstance(node["wall_us"], float)
    assert node["wall_us"] == (a.end_ns - a.start_ns) / 1000
    mark, overhead = node["marks"]
    ts_ns = mark.pop("ts_ns")
    assert mark == {"name": "loss", "value": 0.5, "kind": "point", "attrs": {"step": 3}}
    assert a.start_ns <= ts_ns <= a.end_ns
    assert (overhead["name"], overhead["kind"]) == ("cirron.overhead_ns", "summary")
    assert overhead["value"] > 0


def test_mark_values_keep_their_type(session):
    with ci.scope("a"):
        for value in (1.0, 1, True, "text", -(2**63)):
            ci.mark("x", value)
    values = [m["value"] for m in roots()[0]["marks"][:-1]]
    assert [(type(v), v) for v in values] == [
        (float, 1.0), (int, 1), (bool, True), (str, "text"), (int, -(2**63)),
    ]  # fmt: skip


def test_json_is_the_dict_written_as_json(session):
    for i in range(3):
        with ci.scope("a", i, text='"\\ü\n'):
            with ci.scope("b"), ci.scope("c"):
                ci.mark("x", i)
            with ci.scope("d"):
                pass
    assert ci.trace(format="json") == json.dumps(ci.trace(format="dict"))
    session.shutdown()
    assert ci.trace(format="json") == json.dumps(ci.trace(format="dict"))


def test_json_is_strict_and_dict_has_floats(session):
    with ci.scope("a", ratio=math.inf):
        for value in (math.nan, math.inf, -math.inf):
            ci.mark("x", value)

    def refuse(constant):
        raise AssertionError(constant)

    (node,) = json.loads(ci.trace(format="json"), parse_constant=refuse)["roots"]
    assert [m["value"] for m in node["marks"][:-1]] == ["NaN", "Infinity", "-Infinity"]
    assert node["attrs"] == {"ratio": "Infinity"}
    values = [m["value"] for m in roots()[0]["marks"][:-1]]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_empty_trace_has_every_form(session, capsys):
    assert ci.trace(format="dict")["roots"] == []
    result = json.loads(ci.trace(format="json"))
    assert (result["roots"], result["span_count"]) == ([], 0)
    assert ci.trace() is None
    assert "No spans to show" in capsys.readouterr().out


# ---- filters


def test_name_keeps_matches_with_what_is_below_them(session):
    with ci.scope("x"), ci.scope("epoch"), ci.scope("batch"):
        pass
    with ci.scope("epoch"), ci.scope("inner"), ci.scope("epoch"):
        pass
    with ci.scope("epochs"):
        pass
    assert shape(roots(name="epoch")) == [
        ("epoch", ["batch"]),
        ("epoch", [("inner", ["epoch"])]),
    ]
    assert ci.trace(format="dict", name="epoch")["span_count"] == 5
    assert roots(name="none of these") == []


def test_last_keeps_the_most_recently_closed(session):
    for i in range(4):
        with ci.scope("a", i):
            pass
    assert [n["index"] for n in roots(last=2)] == [2, 3]
    assert len(roots(last=100)) == 4
    assert roots(last=0) == []


def test_last_hangs_spans_on_their_nearest_kept_ancestor(session):
    with ci.scope("a"):
        with ci.scope("b"):
            with ci.scope("old"):
                pass
            import time

            time.sleep(0.002)
        with ci.scope("c"):
            pass
    assert shape(roots(last=2)) == [("a", ["c"])]
    outer = ci.scope("outer").__enter__()
    middle = ci.scope("middle").__enter__()
    inner = ci.scope("inner").__enter__()
    middle.__exit__()
    ci.scope("filler").__enter__().__exit__()
    inner.__exit__()
    outer.__exit__()
    assert shape(roots(last=2)) == [("outer", ["inner"])]


def test_last_comes_after_name(session):
    for i in range(3):
        with ci.scope("epoch", i):
            pass
    with ci.scope("other"):
        pass
    assert [n["index"] for n in roots(name="epoch", last=1)] == [2]


@pytest.mark.parametrize("arguments", [{"last": -1}, {"format": "xml"}, {"format": None}])
def test_wrong_argument_raises(arguments):
    with pytest.raises(ValueError, match=r"last|format"):
        ci.trace(**arguments)


@pytest.mark.parametrize("arguments", [{"last": 1.5}, {"last": "3"}, {"name": 3}, {"name": b"x"}])
def test_argument_of_the_wrong_type_is_a_type_error_that_names_it(arguments):
    (name,) = arguments
    with pytest.raises(TypeError, match=f"{name} must be"):
        ci.trace(**arguments)


def test_profiler_and_client_show_the_same(session):
    with ci.scope("a"):
        pass
    expected = ci.trace(format="json", name="a", last=1)
    assert session.trace("json", "a", 1) == ci.Cirron().trace("json", "a", 1) == expected


# ---- tree


def test_tree_is_printed_as_documented(session, capsys):
    for epoch in ci.epochs(range(2)):
        for _ in ci.batches([0]):
            ci.mark("loss", 0.70001)
            ci.mark("loss", 0.61237)
        ci.mark("step", epoch)
        ci.mark("note", "ok")
    assert ci.trace() is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == [
        "epoch[0]", "  batch[0]", "epoch[1]", "  batch[0]",
    ]  # fmt: skip
    assert lines[1].endswith("s {loss=0.6124}")
    assert lines[2].endswith("s {step=1, note=ok}")


def test_tree_prints_where_stdout_cannot_show_the_name():
    result = run_script(
        """
        import cirron as ci
        with ci.scope("größe\\u2603"): pass
        ci.trace()
        """,
        PYTHONIOENCODING="ascii",
    )
    assert result.stdout.startswith("gr??e? - ")


# ---- depth and size


@pytest.mark.parametrize("length", [1100, 100_000])
def test_any_depth_is_shown_without_recursion(session, capsys, length):
    chain(length)
    result = ci.trace(format="dict")
    assert result["span_count"] == length
    depth, nodes = 0, result["roots"]
    while nodes:
        (node,) = nodes
        assert node["index"] == depth
        depth, nodes = depth + 1, node["children"]
    assert depth == length
    text = ci.trace(format="json")
    assert text.count('"children": [') == length + 1
    ci.trace()
    out = capsys.readouterr().out
    assert out.count("\n") == length
    assert f"[depth {length - 1}] link[{length - 1}] - " in out
    assert [n["index"] for n in roots(last=1)] == [length - 1]


# ---- df


def test_data_frame_has_a_row_for_each_span(session):
    pd = pytest.importorskip("pandas")
    with ci.scope("a", 5) as a, ci.scope("b") as b:
        ci.mark("x", 1)
        ci.mark("y", 1)
    frame = ci.trace(format="df")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == [
        "id", "parent_id", "name", "index", "wall_us",
        "cpu_ns", "gpu_ns", "memory_peak_bytes", "mark_count", "depth",
    ]  # fmt: skip
    assert frame["id"].tolist() == [a.id, b.id]
    assert frame["parent_id"].tolist()[1] == a.id
    assert frame["name"].tolist() == ["a", "b"]
    assert frame["index"].tolist() == [5, pd.NA]
    assert frame["wall_us"].tolist() == [(s.end_ns - s.start_ns) / 1000 for s in (a, b)]
    assert frame["mark_count"].tolist() == [0, 2]
    assert frame["depth"].tolist() == [0, 1]
    for column in ("index", "cpu_ns", "gpu_ns", "memory_peak_bytes"):
        assert frame[column].dtype == pd.Int64Dtype()
    assert frame["gpu_ns"].isna().all()
    assert (frame["cpu_ns"] >= 0).all()
    assert frame[frame["name"] == "b"]["wall_us"].quantile([0.5, 0.99]).notna().all()
    assert frame.groupby("name")["wall_us"].agg(["count", "mean", "max"])["count"].sum() == 2


def test_parent_that_is_none_is_missing_in_the_data_frame():
    pytest.importorskip("pandas")
    run_script("""
    import cirron as ci
    with ci.scope("a"):
        with ci.scope("b"): pass
    frame = ci.trace("df")
    assert frame["parent_id"].isna().tolist() == [True, False], frame
    """)


def test_empty_data_frame_has_the_columns_and_types(session):
    pytest.importorskip("pandas")
    frame = ci.trace(format="df")
    assert len(frame) == 0
    with ci.scope("a"):
        pass
    filled = ci.trace(format="df")
    assert frame.dtypes.to_dict() == filled.dtypes.to_dict()


def test_filters_count_for_the_data_frame(session):
    pytest.importorskip("pandas")
    with ci.scope("x"), ci.scope("a"), ci.scope("b"):
        pass
    frame = ci.trace(format="df", name="a")
    assert frame[["name", "depth"]].values.tolist() == [["a", 0], ["b", 1]]


def test_data_frame_without_pandas_says_what_to_install(session, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ci.CirronDependencyError, match=r"pip install 'cirron-sdk\[pandas\]'") as e:
        ci.trace(format="df")
    assert isinstance(e.value, ImportError)
    assert isinstance(e.value, ci.CirronError)


def test_nothing_lands_on_disk_with_output_none(session):
    with ci.scope("a"):
        ci.trace(format="dict")
    ci.flush()
    assert not list(Path().iterdir())
