"""read_spool against json.loads: any batch that Python writes is read as it stands."""

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cirron._core as _core

INT64 = st.integers(-(2**63), 2**63 - 1)
INT_FIELDS = [
    "index",
    "start_ns",
    "end_ns",
    "cpu_ns",
    "gpu_ns",
    "memory_peak_bytes",
    "thread_id",
    "pid",
    "rank",
    "overhead_ns",
]

# Few ids, so that parents, duplicates and loops happen; all sorts, hex and not.
IDS = st.sampled_from(
    ["0" * 31 + "1", "f" * 32, "F" * 32, "67e55044-10b1-426f-9247-bb680e5fe0c8", "root", "", "é"]
) | st.text(max_size=3)
NAMES = st.sampled_from(["cirron.session", "epoch", "step"]) | st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
ATTRS = st.dictionaries(st.text(max_size=5), JSON, max_size=3)
UNKNOWN = st.dictionaries(st.sampled_from(["new", 'x"y', "Id", "é"]), JSON, max_size=2)


def some_of(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A record with the unknown fields of a newer writer, in any order."""
    record = st.fixed_dictionaries(required, optional=optional)
    return st.builds(lambda known, unknown: unknown | known, record, UNKNOWN).flatmap(
        lambda whole: st.permutations(list(whole.items())).map(dict)
    )


SPANS = some_of(
    {"id": IDS, "name": NAMES},
    {
        "parent_id": st.none() | IDS,
        "attrs": ATTRS,
        "mark_ids": st.lists(IDS, max_size=2),
        **{field: st.none() | INT64 for field in INT_FIELDS},
    },
)
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda v: ("float", v)),
    st.sampled_from([("float", "NaN"), ("float", "Infinity"), ("float", "-Infinity")]),
    INT64.map(lambda v: ("int", v)),
    st.text(max_size=10).map(lambda v: ("string", v)),
    st.booleans().map(lambda v: ("bool", v)),
)
MARKS = st.builds(
    lambda mark, value: mark | {"value_type": value[0], "value": value[1]},
    some_of(
        {"id": IDS, "span_id": IDS, "name": NAMES, "ts_ns": INT64},
        {"kind": st.sampled_from(["point", "summary"]), "attrs": ATTRS},
    ),
    VALUES,
)
BATCHES = st.lists(
    some_of(
        {"schema_version": st.just(1)},
        {
            "sdk_version": st.text(max_size=5),
            "created_ns": INT64,
            "spans": st.lists(SPANS, max_size=8),
            "marks": st.lists(MARKS, max_size=6),
        },
    ),
    max_size=3,
)


def expected_spans(batches: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    spans: dict[str, dict[str, Any]] = {}
    for batch in batches:
        for span in batch.get("spans", []):
            old = spans.get(span["id"])
            if old is None or span.get("end_ns") is not None or old.get("end_ns") is None:
                spans[span["id"]] = span
    return spans


def expected_parents(spans: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    """Each span's parent, None for roots; loops are left as they are."""
    return {
        id: span.get("parent_id") if span.get("parent_id") in spans else None
        for id, span in spans.items()
    }


def in_a_loop(parents: dict[str, str | None], id: str) -> bool:
    seen: set[str] = set()
    at: str | None = id
    while at is not None and at not in seen:
        seen.add(at)
        at = parents[at]
    return at is not None


def mark_value(mark: dict[str, Any]) -> Any:
    return float(mark["value"]) if mark["value_type"] == "float" else mark["value"]


def write(directory: Path, documents: list[str]) -> list[str]:
    paths = []
    for number, document in enumerate(documents):
        path = directory / f"{number:020d}-{number:032x}.json"
        path.write_text(document, encoding="utf-8")
        paths.append(str(path))
    return paths


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, ascii=st.booleans(), indent=st.sampled_from([None, 2]))
def test_a_batch_reads_as_json_loads_reads_it(
    tmp_path: Path, batches: list[dict[str, Any]], ascii: bool, indent: int | None
) -> None:
    documents = [json.dumps(batch, ensure_ascii=ascii, indent=indent) for batch in batches]
    table = _core.read_spool(write(tmp_path, documents))
    assert table.warnings == []

    spans = expected_spans(batches)
    parents = expected_parents(spans)
    ids = table.strings("id")
    assert ids == list(spans)
    assert table.strings("name") == [span["name"] for span in spans.values()]
    assert table.strings("parent_id") == [span.get("parent_id") for span in spans.values()]
    for field in INT_FIELDS:
        values = [span.get(field) for span in spans.values()]
        assert table.ints(field).tolist() == [value or 0 for value in values]
        if field != "start_ns":
            assert table.present(field).tolist() == [value is not None for value in values]

    parent_rows = table.ints("parent_row").tolist()
    marks: dict[str, dict[str, Any]] = {}
    for batch in batches:
        for mark in batch.get("marks", []):
            marks[mark["id"]] = mark
    assert table.mark_count == len(marks)
    for row, (id, span) in enumerate(spans.items()):
        assert table.attrs(row) == span.get("attrs", {})
        if not in_a_loop(parents, id):
            parent = parents[id]
            assert parent_rows[row] == (-1 if parent is None else ids.index(parent))
        own = sorted((m for m in marks.values() if m["span_id"] == id), key=lambda m: m["ts_ns"])
        assert table.ints("mark_count")[row] == len(own)
        for found, mark in zip(table.marks_of(row), own, strict=True):
            value = mark_value(mark)
            assert found[0] == mark["name"]
            assert type(found[1]) is type(value)
            assert repr(found[1]) == repr(value)  # NaN is not equal to itself
            assert found[2:] == (mark.get("kind", "point"), mark["ts_ns"], mark.get("attrs", {}))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_the_tree_holds_every_span_once_below_its_parent(
    tmp_path: Path, batches: list[dict[str, Any]]
) -> None:
    table = _core.read_spool(write(tmp_path, [json.dumps(batch) for batch in batches]))
    rows, depths = (view.tolist() for view in table.tree())
    assert sorted(rows) == list(range(len(table)))
    starts = table.ints("start_ns")
    parents = table.ints("parent_row")
    depth_of = dict(zip(rows, depths, strict=True))
    newest: dict[int, tuple[int, int]] = {}
    for row in rows:
        parent = parents[row]
        assert depth_of[row] == (0 if parent < 0 else depth_of[parent] + 1)
        key = (starts[row], row)
        assert newest.get(parent, key) <= key
        newest[parent] = key

    sessions = table.sessions()
    numbers = table.ints("session").tolist()
    for number, session in enumerate(sessions):
        members, _ = table.tree(number)
        assert session["spans"] == len(members) == numbers.count(number)
        assert all(numbers[row] == number for row in members)
    assert [s["started_ns"] for s in sessions] == sorted(
        (s["started_ns"] for s in sessions), reverse=True
    )


@given(cut=st.integers(min_value=0))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_batch_costs_itself_and_a_warning(tmp_path: Path, cut: int) -> None:
    good = json.dumps({"spans": [{"id": "good"}]})
    whole = json.dumps({"spans": [{"id": "a", "attrs": {"k": [{}]}}], "marks": [{"id": "m"}]})
    paths = write(tmp_path, [good, whole[: cut % len(whole)]])
    table = _core.read_spool(paths)
    assert table.strings("id") == ["good"]
    assert table.mark_count == 0
    assert len(table.warnings) == 1
    assert table.warnings[0].startswith(f"{paths[1]}: ")


def test_what_cannot_be_read_is_named_and_what_has_gone_is_not(tmp_path: Path) -> None:
    directory = tmp_path / "directory.json"
    directory.mkdir()
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    table = _core.read_spool([str(directory), str(tmp_path / "gone.json"), str(loop)])
    assert len(table) == 0
    assert table.sessions() == []
    assert [line.split(": ")[0] for line in table.warnings] == [str(directory), str(loop)]


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    names = ["a\ud800", "\udfffb", "\ud83d\ude00", "\ud83d\ud83d\ude00"]
    spans = [{"id": str(number), "name": name} for number, name in enumerate(names)]
    table = _core.read_spool(write(tmp_path, [json.dumps({"spans": spans})]))
    assert table.strings("name") == ["a\ufffd", "\ufffdb", "\U0001f600", "\ufffd\U0001f600"]


def test_attributes_that_are_no_json_object_are_empty(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    attrs = ["[1]", '"x"', "null", '{"a": tru}', '{"a": ' + deep + "}", '{"a": "NaN"}']
    spans = ",".join(f'{{"id":"{number}","attrs":{text}}}' for number, text in enumerate(attrs))
    table = _core.read_spool(write(tmp_path, [f'{{"spans":[{spans}]}}']))
    assert table.warnings == []
    assert [table.attrs(row) for row in range(len(table))] == [{}, {}, {}, {}, {}, {"a": "NaN"}]


def test_columns_outlive_their_table_and_are_read_only(tmp_path: Path) -> None:
    spans = [{"id": str(number), "start_ns": number} for number in range(1000)]
    table = _core.read_spool(write(tmp_path, [json.dumps({"spans": spans})]))
    starts, (rows, depths) = table.ints("start_ns"), table.tree()
    del table
    gc.collect()
    assert (starts.format, rows.format, depths.format) == ("q", "i", "i")
    assert starts.tolist() == rows.tolist() == list(range(1000))
    with pytest.raises(TypeError):
        starts[0] = 1


def test_rows_sessions_and_columns_that_do_not_exist_are_refused() -> None:
    table = _core.read_spool([])
    with pytest.raises(IndexError):
        table.marks_of(0)
    with pytest.raises(IndexError):
        table.attrs(-1)
    with pytest.raises(IndexError):
        table.tree(0)
    with pytest.raises(KeyError):
        table.ints("nothing")
    with pytest.raises(KeyError):
        table.strings("attrs")
