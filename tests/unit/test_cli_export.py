"""`cirron traces export`: CSV, JSON and OTLP, and how their files come to be."""

import base64
import csv
import hashlib
import http.server
import io
import json
import math
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from spool_factory import MS, START, Record, SpoolFactory, hex_id, training_run

from cirron import spool
from cirron.cli.main import cirron

COLUMNS = (
    "session_id,span_id,parent_id,name,index,start_ns,end_ns,duration_ns,cpu_ns,gpu_ns,"
    "memory_peak_bytes,thread_id,pid,rank,attrs_json"
)


@pytest.fixture
def factory(tmp_path: Path) -> SpoolFactory:
    return SpoolFactory(tmp_path / ".cirron" / "spool")


def run(factory: SpoolFactory, form: str, *args: str) -> Result:
    command = ["traces", "export", "--format", form, "--spool", str(factory.directory), *args]
    return CliRunner().invoke(cirron, command)


def export(factory: SpoolFactory, form: str, *args: str) -> bytes:
    """Exports to a file and returns what is in it."""
    path = factory.directory.parent / "exported"
    result = run(factory, form, "--output", str(path), *args)
    assert result.exit_code == 0, result.output
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []
    return path.read_bytes()


def csv_rows(factory: SpoolFactory, *args: str) -> list[dict[str, str]]:
    text = export(factory, "csv", *args).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def json_document(factory: SpoolFactory, *args: str) -> Any:
    return json.loads(export(factory, "json", *args), parse_constant=refuse)


def otlp_request(document: bytes) -> ExportTraceServiceRequest:
    """Reads a request as a receiver does: protobuf's JSON, but with ids in hex, not base64."""
    json.loads(document, parse_constant=refuse)
    request = json_format.Parse(document, ExportTraceServiceRequest())
    for span in otlp_spans(request):
        for field, size in (("trace_id", 16), ("span_id", 8), ("parent_span_id", 8)):
            hexadecimal = base64.b64encode(getattr(span, field)).decode()
            if hexadecimal or field != "parent_span_id":
                assert len(hexadecimal) == 2 * size
                assert hexadecimal.strip("0")
            setattr(span, field, bytes.fromhex(hexadecimal))
    return request


def otlp_spans(request: ExportTraceServiceRequest) -> list[Any]:
    return [
        span
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def any_value(value: Any) -> Any:
    """An AnyValue as the Python value it stands for."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [any_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


def attributes(pairs: Any) -> dict[str, Any]:
    keys = [pair.key for pair in pairs]
    assert len(set(keys)) == len(keys)
    return {pair.key: any_value(pair.value) for pair in pairs}


# ---- CSV


def test_csv_has_the_documented_columns_and_a_row_a_span(factory: SpoolFactory) -> None:
    root = training_run(factory)
    text = export(factory, "csv").decode()
    assert text.splitlines()[0] == COLUMNS
    rows = csv_rows(factory)
    assert len(rows) == 11
    assert rows[0] == {
        "session_id": root["id"],
        "span_id": root["id"],
        "parent_id": "",
        "name": "cirron.session",
        "index": "",
        "start_ns": str(START),
        "end_ns": str(START + 561_744_000),
        "duration_ns": "561744000",
        "cpu_ns": "",
        "gpu_ns": "",
        "memory_peak_bytes": "",
        "thread_id": "1",
        "pid": "1797",
        "rank": "0",
        "attrs_json": "{}",
    }
    assert {row["session_id"] for row in rows} == {root["id"]}
    assert json.loads(rows[2]["attrs_json"]) == {"data_load_ns": 4541667}


def test_csv_lines_end_in_cr_lf_and_quotes_stand_only_where_needed(factory: SpoolFactory) -> None:
    root = factory.session(0, None)
    names = ["plain", 'a "quote"', "a,comma", "two\nlines", "a\rreturn", "", "é 漢"]
    factory.write([root, *(factory.span(name, root, n) for n, name in enumerate(names))])
    text = export(factory, "csv").decode()
    assert text.endswith("\r\n")
    assert '"a ""quote"""' in text
    assert ',"",' in text
    assert ",plain," in text
    assert ",é 漢," in text
    rows = csv_rows(factory)
    assert [row["name"] for row in rows[1:]] == names
    assert rows[0]["end_ns"] == rows[0]["duration_ns"] == ""


def test_pandas_reads_the_csv_to_the_last_digit(factory: SpoolFactory) -> None:
    pandas = pytest.importorskip("pandas")
    training_run(factory)
    frame = pandas.read_csv(io.BytesIO(export(factory, "csv")))
    assert list(frame.columns) == COLUMNS.split(",")
    assert frame["start_ns"].dtype == "int64"
    assert (frame["end_ns"] - frame["start_ns"] == frame["duration_ns"]).all()
    assert int(frame["end_ns"][0]) == START + 561_744_000


# ---- JSON


def test_json_is_one_batch_without_duplicates(factory: SpoolFactory) -> None:
    root = factory.session(0, None)
    child = factory.span("child", root, 1, 2, attrs={"a": [1, 2.5, None, {"é": True}]})
    mark = factory.mark(child, "loss", 0.5)
    snapshot = factory.snapshot(child)
    factory.write([root], [mark])
    factory.write([root | {"end_ns": START + MS}, child], [mark], [snapshot])
    document = json_document(factory)
    assert list(document) == ["schema_version", "sdk_version", "spans", "marks", "snapshots"]
    assert document == {
        "schema_version": 1,
        "sdk_version": "0.1.0",
        "spans": [root | {"end_ns": START + MS}, child | {"mark_ids": [mark["id"]]}],
        "marks": [mark],
        "snapshots": [snapshot],
    }


def test_json_is_strict_where_the_spool_was_not(factory: SpoolFactory) -> None:
    root, other = factory.session(0, 1), factory.session(2, 3)
    mark = factory.mark(root, "nan", math.nan)
    text = json.dumps(
        {
            "schema_version": 1,
            "spans": [root | {"attrs": {"x": math.inf, "y": "\ud800 \U0001f600"}}, other],
            "marks": [mark | {"value": "NaN"}],
            "snapshots": [factory.snapshot(root) | {"stats": {"mean": math.nan}}],
        }
    )
    text = text.replace('"attrs": {}', '"attrs": {"x": 01}', 1)
    factory.write_text(f"{START}-a.json", text)
    document = json_document(factory)
    assert document["spans"][0]["attrs"] == {"x": "Infinity", "y": "\ufffd \U0001f600"}
    assert document["spans"][1]["attrs"] == {}
    assert document["marks"][0]["value"] == "NaN"
    assert document["snapshots"][0]["stats"] == {"mean": "NaN"}


def test_json_holds_marks_outside_of_sessions_unless_one_is_asked_for(
    factory: SpoolFactory,
) -> None:
    root = factory.session(0, 1)
    mark, lost = factory.mark(root, "a", 1), factory.mark({"id": "root", "start_ns": 1}, "b", 2)
    factory.write(
        [root], [mark, lost], [factory.snapshot(root), factory.snapshot({**root, "id": "x"})]
    )
    assert json_document(factory)["marks"] == [mark, lost]
    assert len(json_document(factory)["snapshots"]) == 2
    one = json_document(factory, "--session", root["id"][:8])
    assert one["marks"] == [mark]
    assert len(one["snapshots"]) == 1


# ---- OTLP


def test_otlp_is_a_request_that_the_published_protobuf_reads(factory: SpoolFactory) -> None:
    root = training_run(factory)
    request = otlp_request(export(factory, "otel"))
    (resource_spans,) = request.resource_spans
    assert attributes(resource_spans.resource.attributes) == {
        "service.name": "cirron",
        "sdk.version": "0.1.0",
        "cirron.session.id": root["id"],
    }
    spans = otlp_spans(request)
    assert len(spans) == 11
    assert {span.trace_id.hex() for span in spans} == {root["id"]}
    epoch = spans[1]
    assert epoch.name == "epoch"
    assert epoch.parent_span_id == spans[0].span_id == bytes.fromhex(root["id"][:16])
    assert epoch.end_time_unix_nano - epoch.start_time_unix_nano == 42_100_000
    assert attributes(epoch.attributes) == {
        "cirron.index": 0,
        "cirron.rank": 0,
        "process.pid": 1797,
    }
    (event,) = epoch.events
    assert event.name == "loss"
    assert attributes(event.attributes) == {"value": 0.6841, "kind": "point"}
    assert epoch.status.code == 0


def test_otlp_alias_writes_the_same(factory: SpoolFactory) -> None:
    training_run(factory)
    assert export(factory, "otel") == export(factory, "otlp")


def test_otlp_promotes_values_as_they_are(factory: SpoolFactory) -> None:
    nested = {"list": [1, "a", [2.5, {}], {"deep": [True, None]}], "empty": [], "none": None}
    attrs = nested | {
        "big": 2**63,
        "least": -(2**63),
        "real": 1.0,
        "exponent": 1e300,
        "text": 'a "b"\n\\ é',
        "no": False,
    }
    factory.write([factory.session(0, 1, attrs=attrs)])
    (span,) = otlp_spans(otlp_request(export(factory, "otel")))
    found = attributes(span.attributes)
    assert found | attrs | {"big": str(2**63)} == found
    assert isinstance(found["real"], float)
    assert isinstance(found["least"], int)


def test_otlp_keeps_what_is_nested_too_deep_as_text(factory: SpoolFactory) -> None:
    deep: Any = "bottom"
    for _ in range(40):
        deep = {"k": [deep]}
    factory.write([factory.session(0, 1, attrs={"deep": deep})])
    (span,) = otlp_spans(otlp_request(export(factory, "otel")))
    found = attributes(span.attributes)["deep"]
    for _ in range(8):
        found = found["k"][0]
        deep = deep["k"][0]
    assert json.loads(found) == deep


def test_otlp_marks_failed_spans_as_errors(factory: SpoolFactory) -> None:
    root = factory.session(0, 9, attrs={"error": "ValueError: no"})
    fine = factory.span("fine", root, 1, attrs={"error": None})
    code = factory.span("code", root, 2, attrs={"error": 7})
    factory.write([root, fine, code])
    spans = otlp_spans(otlp_request(export(factory, "otel")))
    assert [span.status.code for span in spans] == [2, 0, 2]
    assert spans[0].status.message == "ValueError: no"


def test_otlp_shows_token_marks_under_their_genai_names(factory: SpoolFactory) -> None:
    root = factory.session(0, 9)
    new = factory.span("request", root, 1)
    old = factory.span("request", root, 2)
    own = factory.span("request", root, 3, attrs={"gen_ai.usage.input_tokens": 1})
    marks = [
        factory.mark(new, "input_tokens", 11, "summary"),
        factory.mark(new, "prompt_tokens", 99, "summary"),
        factory.mark(new, "output_tokens", 12, "summary"),
        factory.mark(old, "prompt_tokens", 21, "summary"),
        factory.mark(old, "completion_tokens", 22, "summary"),
        factory.mark(own, "input_tokens", 31, "summary"),
        factory.mark(own, "output_tokens", 32, "point"),
    ]
    factory.write([root, new, old, own], marks)
    spans = otlp_spans(otlp_request(export(factory, "otel")))
    found = [
        [
            attributes(span.attributes).get(f"gen_ai.usage.{side}_tokens")
            for side in ("input", "output")
        ]
        for span in spans
    ]
    assert found == [[None, None], [11, 12], [21, 22], [1, None]]
    assert len(spans[1].events) == 3


def test_otlp_attributes_of_the_user_win_over_ours(factory: SpoolFactory) -> None:
    factory.write([factory.session(0, 1, attrs={"cirron.rank": "mine"}, rank=3)])
    (span,) = otlp_spans(otlp_request(export(factory, "otel")))
    assert attributes(span.attributes)["cirron.rank"] == "mine"


def test_otlp_ends_an_open_span_with_the_latest_time_below_it(factory: SpoolFactory) -> None:
    root = factory.session(0, None)
    child = factory.span("child", root, 1, 7)
    opened = factory.span("open", child, 2, None)
    mark = factory.mark(opened, "late", 1) | {"ts_ns": START + 9 * MS}
    factory.write([root, child, opened], [mark])
    spans = otlp_spans(otlp_request(export(factory, "otel")))
    ends = [span.end_time_unix_nano - START for span in spans]
    assert ends == [9 * MS, 7 * MS, 9 * MS]
    assert [attributes(span.attributes).get("cirron.open") for span in spans] == [True, None, True]


def test_otlp_derives_valid_ids_from_any_id(factory: SpoolFactory) -> None:
    uuid = "a541b565-b754-42e3-9d6c-1f0f3f6c2b11"
    root = factory.session(0, 9) | {"id": uuid}
    short = factory.span("short", root, 1) | {"id": "0123456789ABCDEF"}
    zero = factory.span("zero", short, 2) | {"id": "0" * 32}
    last = factory.span("last", zero, 3) | {"id": "0" * 31 + "7"}
    factory.write([root, short, zero, last])
    digest = hashlib.sha256(uuid.encode()).digest()
    spans = otlp_spans(otlp_request(export(factory, "otel")))
    assert {span.trace_id for span in spans} == {digest[:16]}
    assert [span.span_id.hex() for span in spans] == [
        digest[:8].hex(),
        "0123456789abcdef",
        "0000000000000001",
        "0000000000000007",
    ]
    assert [span.parent_span_id for span in spans[1:]] == [span.span_id for span in spans[:-1]]


def test_otlp_siblings_without_their_parent_share_a_trace(factory: SpoolFactory) -> None:
    missing = factory.span("missing", None)
    pair = [factory.span("a", missing, 1), factory.span("b", missing, 2)]
    other = factory.span("c", None, 3)
    factory.write([*pair, other])
    spans = otlp_spans(otlp_request(export(factory, "otel")))
    traces = [span.trace_id.hex() for span in spans]
    assert traces == [missing["id"], missing["id"], other["id"]]


def test_otlp_in_a_directory_is_split_into_requests(factory: SpoolFactory, tmp_path: Path) -> None:
    first, second = factory.session(0, 1), factory.session(2, 3)
    spans = [factory.span("s" * 1000, first, 0, attrs={"text": "x" * 1000}) for _ in range(6000)]
    factory.write([first, second, *spans])
    out = tmp_path / "requests"
    out.mkdir()
    (out / "traces-00099.otlp.json").write_text("of an earlier export")
    (out / "notes.json").write_text("mine")
    result = run(factory, "otel", "--output", str(out))
    assert result.exit_code == 0, result.output
    files = sorted(out.glob("traces-*"))
    assert [file.name for file in files] == [f"traces-{n:05d}.otlp.json" for n in range(1, 5)]
    assert sorted(path.name for path in out.iterdir())[0] == "notes.json"
    assert all(file.stat().st_size < 4.1 * 2**20 for file in files)
    requests = [otlp_request(file.read_bytes()) for file in files]
    found = [span for request in requests for span in otlp_spans(request)]
    assert len({span.span_id for span in found}) == len(found) == 6002


def test_a_receiver_takes_every_request(factory: SpoolFactory, tmp_path: Path) -> None:
    training_run(factory)
    received: list[ExportTraceServiceRequest] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/json"
            received.append(otlp_request(body))
            answer = json_format.MessageToJson(ExportTraceServiceResponse()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            run(factory, "otel", "--output", f"{tmp_path}/requests/")
            for file in sorted((tmp_path / "requests").iterdir()):
                post = urllib.request.Request(
                    f"http://127.0.0.1:{server.server_port}/v1/traces",
                    data=file.read_bytes(),
                    headers={"Content-Type": "application/json"},
                )
                with urllib.request.urlopen(post) as answer:
                    assert answer.status == 200
        finally:
            server.shutdown()
            thread.join()
    assert sum(len(otlp_spans(request)) for request in received) == 11


# ---- all of them together

texts = st.text(max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
int64 = st.integers(-(2**63), 2**63 - 1)
ids = st.integers(1, 9).map(hex_id) | st.sampled_from(["a/b", "", 'quo"te', "é\x00"])
spans = st.fixed_dictionaries(
    {
        "id": ids,
        "name": texts,
        "parent_id": st.none() | ids,
        "index": st.none() | int64,
        "start_ns": st.integers(0, 2**61),
        "end_ns": st.none() | st.integers(0, 2**61),
        "cpu_ns": st.none() | int64,
        "gpu_ns": st.none() | int64,
        "memory_peak_bytes": st.none() | int64,
        "thread_id": st.none() | int64,
        "pid": st.none() | int64,
        "rank": st.none() | int64,
        "attrs": st.dictionaries(texts, values, max_size=3),
        "mark_ids": st.just([]),
        "overhead_ns": st.none() | int64,
    }
)
numbers = st.one_of(
    st.tuples(st.just("int"), int64),
    st.tuples(st.just("float"), st.floats(allow_nan=False, allow_infinity=False)),
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(st.just("string"), texts),
)


@st.composite
def marks(draw: st.DrawFn) -> Record:
    value_type, value = draw(numbers)
    return {
        "id": draw(ids),
        "span_id": draw(ids),
        "name": draw(texts),
        "value_type": value_type,
        "value": value,
        "attrs": draw(st.dictionaries(texts, values, max_size=2)),
        "ts_ns": draw(st.integers(0, 2**61)),
        "kind": draw(st.sampled_from(["point", "summary"])),
    }


def contents(table: Any) -> Any:
    """What a table holds, whatever the order of its rows."""
    columns = (
        *("start_ns", "end_ns", "cpu_ns", "gpu_ns", "memory_peak_bytes", "index"),
        *("thread_id", "pid", "rank", "overhead_ns"),
    )
    names, identifiers, parents = (table.strings(c) for c in ("name", "id", "parent_id"))
    ints = {column: list(table.ints(column)) for column in columns}
    present = {column: list(table.present(column)) for column in columns}
    found = {
        identifiers[row]: (
            names[row],
            parents[row],
            [ints[c][row] if present[c][row] else None for c in columns],
            table.attrs(row),
            sorted(map(repr, table.marks_of(row))),
        )
        for row in range(len(table))
    }
    sessions = sorted((s["id"], s["spans"], s["marks"], s["sdk_version"]) for s in table.sessions())
    return found, sessions, table.mark_count, table.snapshot_count


@given(st.lists(spans, max_size=9), st.lists(marks(), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exports_hold_the_same_as_the_spool(
    factory: SpoolFactory, some_spans: list[Record], some_marks: list[Record]
) -> None:
    for old in spool.batch_files(factory.directory):
        old.unlink()
    factory.write(some_spans, some_marks)
    table = spool.read(factory.directory)
    if len(table) == 0 and table.mark_count == 0:
        return
    document = export(factory, "json")
    again = SpoolFactory(factory.directory.parent / "again")
    again.write_text(f"{START}-a.json", document.decode())
    read_again = spool.read(again.directory)
    assert read_again.warnings == []
    assert contents(read_again) == contents(table)

    rows = csv_rows(factory)
    records = json.loads(document)["spans"]
    otlp = otlp_spans(otlp_request(export(factory, "otel")))
    assert len(rows) == len(records) == len(otlp) == len(table)
    for row, record, span in zip(rows, records, otlp, strict=True):
        assert row["span_id"] == record["id"]
        assert row["name"] == record["name"] == span.name
        assert json.loads(row["attrs_json"]) == record["attrs"]
        assert int(row["start_ns"]) == record["start_ns"] == span.start_time_unix_nano
        if record["end_ns"] is not None:
            assert int(row["end_ns"]) == record["end_ns"] == span.end_time_unix_nano
        found = attributes(span.attributes)
        for column, attribute in (("index", "cirron.index"), ("rank", "cirron.rank")):
            expected = None if record[column] is None else str(record[column])
            assert (row[column] or None) == expected
            if attribute not in record["attrs"] and expected is not None:
                assert str(found[attribute]) == expected
        assert set(record["attrs"]) <= set(found)
        joined = [
            mark for mark in json.loads(document)["marks"] if mark["id"] in record["mark_ids"]
        ]
        assert sorted(mark["name"] for mark in joined) == sorted(e.name for e in span.events)


@pytest.mark.parametrize("form", ["csv", "json", "otlp"])
def test_large_exports_come_in_bounded_chunks(factory: SpoolFactory, form: str) -> None:
    root = factory.session(0, 1)
    spans = [factory.span("step", root, n, n + 1) for n in range(9000)]
    batch_marks = [factory.mark(root, "loss", 0.5) for _ in range(9000)]
    factory.write([root, *spans], batch_marks)
    chunks = list(spool.read(factory.directory).export(form))
    assert len(chunks) > 1
    assert max(map(len, chunks)) < 1.1 * 2**20
    assert b"".join(chunks) == export(factory, form)


# ---- files


def test_default_names_are_in_the_current_directory(factory: SpoolFactory, tmp_path: Path) -> None:
    training_run(factory)
    for form in ("csv", "json", "otel"):
        assert run(factory, form).exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("cirron-traces*")) == [
        "cirron-traces.csv",
        "cirron-traces.json",
        "cirron-traces.otlp.json",
    ]


def test_parquet_and_csv_agree_row_by_row(factory: SpoolFactory, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    training_run(factory)
    result = run(factory, "parquet", "--output", str(tmp_path / "exported"))
    assert result.exit_code == 0, result.output
    spans = parquet.read_table(tmp_path / "exported" / "spans.parquet").to_pylist()
    by_id = {span["id"]: span for span in spans}
    rows = csv_rows(factory)
    assert len(rows) == len(spans) == len(by_id)
    for row in rows:
        span = by_id[row.pop("span_id")]
        assert json.loads(row.pop("attrs_json")) == json.loads(span["attrs_json"])
        assert {k: v or None for k, v in row.items()} == {
            k: None if span[k] is None else str(span[k]) for k in row
        }


def test_a_directory_as_output_gets_the_default_name(factory: SpoolFactory, tmp_path: Path) -> None:
    training_run(factory)
    assert run(factory, "csv", "--output", f"{tmp_path}/new/").exit_code == 0
    assert (tmp_path / "new" / "cirron-traces.csv").is_file()


def test_session_restricts_the_export(factory: SpoolFactory) -> None:
    training_run(factory)
    other = factory.session(1000, 1001)
    factory.write([other])
    assert [row["span_id"] for row in csv_rows(factory, "--session", other["id"][:8])] == [
        other["id"]
    ]
    assert len(csv_rows(factory)) == 12
    (span,) = otlp_spans(otlp_request(export(factory, "otel", "--session", other["id"])))
    assert span.trace_id.hex() == other["id"]
    result = run(factory, "csv", "--session", "nothing")
    assert result.exit_code == 1
    assert result.stderr == "Error: No session found matching nothing\n"


def test_an_empty_spool_writes_nothing(factory: SpoolFactory, tmp_path: Path) -> None:
    result = run(factory, "csv", "--output", str(tmp_path / "out.csv"))
    assert result.exit_code == 0
    assert result.stdout == "No traces found. Run ci.profile() from Python to produce some.\n"
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--format", "xml"],
        ["--format", "csv", "--partition"],
        ["--format", "csv", "--output", ""],
    ],
)
def test_wrong_usage_exits_with_2(factory: SpoolFactory, args: list[str]) -> None:
    training_run(factory)
    result = CliRunner().invoke(cirron, ["traces", "export", *args])
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_a_replaced_file_keeps_its_mode_and_a_link_stays(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    training_run(factory)
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert run(factory, "csv", "--output", str(link)).exit_code == 0
    assert link.is_symlink()
    assert real.read_text().startswith("session_id,")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_that_umask_allows(factory: SpoolFactory, tmp_path: Path) -> None:
    training_run(factory)
    before = os.umask(0o027)
    try:
        assert run(factory, "csv", "--output", str(tmp_path / "out.csv")).exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


def test_a_pipe_can_be_written_to(factory: SpoolFactory) -> None:
    training_run(factory)
    command = [sys.executable, "-m", "cirron", "traces", "export", "--format", "csv"]
    command += ["--output", "/dev/stdout", "--spool", str(factory.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 12
    assert done.stderr == "Exported 11 spans to /dev/stdout\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("form", ["csv", "json", "otel"])
@pytest.mark.parametrize("name", ["old", "requests/"])
def test_a_full_disk_leaves_the_old_file_and_no_half_one(
    factory: SpoolFactory, small_disk: Path, form: str, name: str
) -> None:
    root = factory.session(0, 1)
    factory.write([root, *(factory.span("s", root, attrs={"x": "y" * 900}) for _ in range(9000))])
    (small_disk / "old").write_text("old")
    result = run(factory, form, "--output", f"{small_disk}/{name}")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: Could not write {small_disk}/")
    assert "No space left on device" in result.stderr
    assert "--output" in result.stderr
    left = [path for path in small_disk.rglob("*") if path.is_file()]
    assert left == [small_disk / "old"]
    assert left[0].read_text() == "old"


def test_a_file_that_grows_too_large_is_an_error(factory: SpoolFactory, tmp_path: Path) -> None:
    root = factory.session(0, 1)
    factory.write([root, *(factory.span("s", root, attrs={"x": "y" * 900}) for _ in range(3000))])

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    command = [sys.executable, "-m", "cirron", "traces", "export", "--format", "csv"]
    command += ["--output", "out.csv", "--spool", str(factory.directory)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert not list(tmp_path.glob("*csv*"))
    assert not list(tmp_path.glob(".cirron-traces*"))


def test_ctrl_c_leaves_the_old_file_and_exits_with_130(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    root = factory.session(0, 1)
    factory.write([root, *(factory.span("s", root, attrs={"x": "y" * 900}) for _ in range(9000))])
    out = tmp_path / "out.json"
    out.write_text("old")
    # A slow disk: every write takes its time, so that the signal finds the export at work.
    program = (
        "import importlib, sys, time\n"
        "export = importlib.import_module('cirron.cli.traces.export')\n"
        "write = export._write_behind\n"
        "def slow(chunks):\n"
        "    for chunk in chunks:\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(0.2)\n"
        "        yield chunk\n"
        "export._write_behind = lambda file, chunks: write(file, slow(chunks))\n"
        "from cirron.cli.main import main\n"
        f"sys.argv = ['cirron', 'traces', 'export', '--format', 'json', '--output', {str(out)!r},"
        f" '--spool', {str(factory.directory)!r}]\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert out.read_text() == "old"
    assert not list(tmp_path.glob(".cirron-traces*"))
