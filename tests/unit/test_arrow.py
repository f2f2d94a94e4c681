"""The table as other libraries see it, through the Arrow PyCapsule interface."""

import gc
import json
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.parquet
import pytest
from spool_factory import SpoolFactory, training_run

from cirron import _core, spool
from cirron.cli.traces.parquet import write_parquet
from cirron.errors import CirronDependencyError

LAST_DIGIT = 9_007_199_254_740_993  # no double holds it


@pytest.fixture
def factory(tmp_path: Path) -> SpoolFactory:
    return SpoolFactory(tmp_path / ".cirron" / "spool")


def large_spool(factory: SpoolFactory, spans: int = 200_000) -> None:
    root = factory.session(0, 1)
    records = [root]
    for number in range(1, spans):
        record = factory.span("step", root, index=number)
        record["start_ns"] = LAST_DIGIT + number
        record["end_ns"] = None if number % 7 == 0 else LAST_DIGIT + 2 * number
        records.append(record)
    for at in range(0, spans, 50_000):
        factory.write(records[at : at + 50_000])


def test_every_library_reads_the_same_rows(factory: SpoolFactory) -> None:
    root = training_run(factory)
    factory.write(snapshots=[factory.snapshot(root)])
    table = spool.read(factory.directory)
    for records in (table, table.spans, table.marks, table.snapshots):
        rows = pyarrow.table(records)
        rows.validate(full=True)
        assert rows.num_rows == len(records)
        assert polars.DataFrame(records).to_dicts() == rows.to_pylist()
        found = duckdb.sql("FROM records")
        names = found.columns
        assert [dict(zip(names, row, strict=True)) for row in found.fetchall()] == rows.to_pylist()


def test_no_library_needs_pandas(factory: SpoolFactory) -> None:
    training_run(factory)
    script = f"""
import sys
class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoPandas())
from cirron import spool
import duckdb, polars, pyarrow
t = spool.read({str(factory.directory)!r})
assert pyarrow.table(t).num_rows == polars.DataFrame(t).height == 11
assert duckdb.sql("select count(*) from t").fetchall() == [(11,)]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_columns_hold_what_the_spool_holds(factory: SpoolFactory) -> None:
    root = factory.session(0, None, attrs={"hostname": "node"})
    step = factory.span("é\ud800\n", root, index=3, cpu_ns=LAST_DIGIT, rank=None, id="odd id")
    step["start_ns"] = LAST_DIGIT
    step["end_ns"] = LAST_DIGIT + 1
    lost = factory.span("lost", {**root, "id": "nowhere"}, end=None)
    factory.write([root, step, lost])
    rows = pyarrow.table(spool.read(factory.directory))
    rows.validate(full=True)
    first, second, third = rows.to_pylist()
    assert first["end_ns"] is first["duration_ns"] is first["parent_id"] is None
    assert json.loads(first["attrs_json"]) == {"hostname": "node"}
    assert second == {
        "id": "odd id",
        "session_id": root["id"],
        "parent_id": root["id"],
        "name": "é\ufffd\n",
        "index": 3,
        "start_ns": LAST_DIGIT,
        "end_ns": LAST_DIGIT + 1,
        "duration_ns": 1,
        "cpu_ns": LAST_DIGIT,
        "gpu_ns": None,
        "memory_peak_bytes": None,
        "thread_id": 1,
        "pid": 1797,
        "rank": None,
        "attrs_json": "{}",
        "overhead_ns": 0,
    }
    assert (third["session_id"], third["parent_id"]) == (None, "nowhere")


def test_a_mark_has_its_value_in_the_column_of_its_type(factory: SpoolFactory) -> None:
    root = factory.session()
    values = [0.5, LAST_DIGIT, "text", True]
    marks = [factory.mark(root, "value", value, "summary") for value in values]
    factory.write([root], [*marks, factory.mark(root, "nan", 0.0) | {"value": "NaN"}])
    rows = pyarrow.table(spool.read(factory.directory).marks).to_pylist()
    columns = ["value_float", "value_int", "value_string", "value_bool"]
    for place, (row, mark) in enumerate(zip(rows, marks, strict=False)):
        assert [row[column] for column in columns] == [
            values[place] if at == place else None for at in range(4)
        ]
        assert (row["span_id"], row["ts_ns"], row["kind"]) == (root["id"], mark["ts_ns"], "summary")
    assert str(rows[4]["value_float"]) == "nan"


def test_200_000_rows_come_in_batches_and_outlive_the_table(factory: SpoolFactory) -> None:
    large_spool(factory)
    table = spool.read(factory.directory)
    reader = pyarrow.RecordBatchReader.from_stream(table.spans)
    rows = pyarrow.Table.from_batches(list(reader))
    frame = polars.DataFrame(table.spans)
    starts = table.ints("start_ns").tolist()
    del table, reader
    gc.collect()
    assert [chunk.num_rows for chunk in rows.to_batches()] == [131_072, 68_928]
    rows.validate(full=True)
    assert rows["start_ns"].to_pylist() == starts == frame["start_ns"].to_list()
    durations = rows["duration_ns"].to_pylist()
    assert durations[1:] == [n if n % 7 else None for n in range(1, 200_000)]
    assert (
        rows["end_ns"].slice(131_070, 5).to_pylist() == frame["end_ns"][131_070:131_075].to_list()
    )
    assert rows["id"][199_999].as_py() == frame["id"][199_999]


def test_arrays_may_be_released_by_other_threads(factory: SpoolFactory) -> None:
    training_run(factory)
    table = spool.read(factory.directory)
    arrays = [[pyarrow.table(table.spans)] for _ in range(16)]
    del table
    threads = [threading.Thread(target=array.clear) for array in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_records_can_be_those_of_one_session(factory: SpoolFactory) -> None:
    first = training_run(factory, epochs=1)
    second = factory.session(1000, 2000)
    step = factory.span("step", second, 1001, 1002, rank=3)
    factory.write([second, step], [factory.mark(step, "loss", 0.25)])
    table = spool.read(factory.directory)
    newest = pyarrow.table(table.spans.of_session(0))
    assert newest["id"].to_pylist() == [second["id"], step["id"]]
    assert pyarrow.table(table.marks.of_session(0))["value_float"].to_pylist() == [0.25]
    assert set(pyarrow.table(table.spans.of_session(1))["session_id"].to_pylist()) == {first["id"]}
    assert len(table.spans.of_session(None)) == 0
    assert len(table.spans.of_session(0).of_rank(3)) == len(table.marks.of_rank(3)) == 1
    with pytest.raises(IndexError, match="session 2 of 2"):
        table.spans.of_session(2)


def test_an_empty_table_has_its_columns() -> None:
    table = _core.read_spool([])
    spans = table.spans
    assert pyarrow.table(spans).num_rows == 0
    assert polars.DataFrame(table.marks).columns[-1] == "attrs_json"
    assert duckdb.sql("FROM spans").fetchall() == []
    assert len(table.snapshots) == 0


def test_a_stream_that_nobody_reads_is_released() -> None:
    table = _core.read_spool([])
    capsule = table.__arrow_c_stream__(None)
    assert "arrow_array_stream" in repr(capsule)
    del table, capsule


# ---- Parquet


def read_rows(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pyarrow.parquet.ParquetFile(path).read().to_pylist()
    return rows


def test_parquet_holds_every_row_in_groups_of_131_072(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    large_spool(factory)
    table = spool.read(factory.directory)
    done: list[int] = []
    write_parquet(table, tmp_path / "deep" / "out", None, done.append, False)
    files = sorted((tmp_path / "deep" / "out").iterdir())
    assert [file.name for file in files] == ["marks.parquet", "snapshots.parquet", "spans.parquet"]
    spans = pyarrow.parquet.ParquetFile(files[2])
    groups = [spans.metadata.row_group(i).num_rows for i in range(spans.num_row_groups)]
    assert groups == [131_072, 68_928]
    assert spans.read().equals(pyarrow.table(table))
    assert done == [131_072, 200_000]


def test_parquet_replaces_its_own_files_and_leaves_others(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    training_run(factory)
    table = spool.read(factory.directory)
    out = tmp_path / "out"
    out.mkdir()
    (out / "spans.parquet").write_text("old")
    (out / "notes.txt").write_text("mine")
    write_parquet(table, out, 0)
    assert len(read_rows(out / "spans.parquet")) == 11
    assert sorted(path.name for path in out.iterdir()) == [
        "marks.parquet",
        "notes.txt",
        "snapshots.parquet",
        "spans.parquet",
    ]


def test_an_interrupted_parquet_export_leaves_what_was_there(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    training_run(factory)
    table = spool.read(factory.directory)

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parquet(table, tmp_path / "new", None, interrupt)
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "spans.parquet").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_parquet(table, tmp_path / "old", None, interrupt)
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["spans.parquet"]
    assert (tmp_path / "old" / "spans.parquet").read_text() == "old"


def test_partitions_are_named_after_host_and_rank(factory: SpoolFactory, tmp_path: Path) -> None:
    old = factory.session(0, 1, attrs={"hostname": "../no/de"}, rank=1)
    new = factory.session(5, 6, attrs={"hostname": "node"}, rank=0)
    step = factory.span("step", new, 5, 6, rank=None)
    nameless = factory.session(2, 3, rank=2)
    marks = [factory.mark(old, "loss", 1.0), factory.mark(step, "lost", 2.0, span_id="root")]
    factory.write([old, new, step, nameless], marks)
    out = tmp_path / "out"
    write_parquet(spool.read(factory.directory), out, None, None, True)
    found = {str(path.parent.relative_to(out)): path for path in out.rglob("spans.parquet")}
    assert sorted(found) == ["host=..%2Fno%2Fde/rank=1", "host=node/rank=0", "host=unknown/rank=2"]
    rows = read_rows(found["host=node/rank=0"])
    assert sorted(str(row["id"]) for row in rows) == sorted([new["id"], step["id"]])
    assert "rank" not in rows[0]
    lost = read_rows(found["host=node/rank=0"].with_name("marks.parquet"))
    assert [row["name"] for row in lost] == ["lost"]


def test_without_pyarrow_the_error_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CirronDependencyError, match=r"pip install 'cirron-sdk\[parquet\]'"):
        write_parquet(_core.read_spool([]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
