"""`cirron traces snapshots`."""

import json

import pytest
from click.testing import CliRunner, Result
from spool_factory import SpoolFactory, hex_id, snapshot_run, training_run

from cirron import spool
from cirron.cli.main import cirron


@pytest.fixture
def factory(tmp_path_factory: pytest.TempPathFactory) -> SpoolFactory:
    return SpoolFactory(tmp_path_factory.mktemp("run") / ".cirron" / "spool")


def run(factory: SpoolFactory, *args: str, charset: str = "utf-8") -> Result:
    command = ["traces", "snapshots", "--spool", str(factory.directory), *args]
    return CliRunner(charset=charset).invoke(cirron, command)


def documented_ids(factory: SpoolFactory) -> None:
    """The documented run with the documented ids."""
    session = "5da94f46f9ef4db5bfc0a38511ae55b0"
    root = factory.session(0, 600, id=session)
    spans, snapshots = [root], []
    for index, prefix in enumerate(("f9480382", "5385ac83", "912b0397")):
        epoch = factory.span("epoch", root, 10 + index, 20, index=index, id=prefix + "0" * 24)
        spans.append(epoch)
        snapshots += [
            factory.snapshot(epoch, f"{number}.weight", mode="full", blob_uri="file:///gone")
            for number in range(12)
        ]
    factory.write(spans, [], snapshots)


def test_table_looks_as_documented(factory: SpoolFactory) -> None:
    documented_ids(factory)
    result = run(factory)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert (
        result.stdout
        == f"""\
Spool: {factory.directory}  (3 spans with snapshots)
┌───────────┬───────────┬──────────┬─────────┬───────┬───────────┐
│ SESSION   │ SPAN      │ NAME     │ TENSORS │ MODES │ WITH BLOB │
├───────────┼───────────┼──────────┼─────────┼───────┼───────────┤
│ 5da94f46… │ f9480382… │ epoch[0] │      12 │ full  │        12 │
│ 5da94f46… │ 5385ac83… │ epoch[1] │      12 │ full  │        12 │
│ 5da94f46… │ 912b0397… │ epoch[2] │      12 │ full  │        12 │
└───────────┴───────────┴──────────┴─────────┴───────┴───────────┘
"""
    )


def test_json_has_a_span_an_entry(factory: SpoolFactory) -> None:
    documented_ids(factory)
    document = json.loads(run(factory, "--json").stdout)
    assert document["dir"] == str(factory.directory)
    assert [span["index"] for span in document["spans"]] == [0, 1, 2]
    assert document["spans"][0] == {
        "id": "f9480382" + "0" * 24,
        "name": "epoch",
        "index": 0,
        "session_id": "5da94f46f9ef4db5bfc0a38511ae55b0",
        "tensors": 12,
        "modes": ["full"],
        "with_blob": 12,
    }


@pytest.mark.parametrize(
    "args", [["--span", "f948"], ["f948"], ["f9480382…"], ["f948", "--span=f948"]]
)
def test_span_is_chosen_by_a_prefix_of_its_id(factory: SpoolFactory, args: list[str]) -> None:
    documented_ids(factory)
    spans = json.loads(run(factory, "--json", *args).stdout)["spans"]
    assert [span["index"] for span in spans] == [0]


def test_two_different_spans_are_wrong_usage(factory: SpoolFactory) -> None:
    documented_ids(factory)
    assert run(factory, "f948", "--span", "5385").exit_code == 2


def test_ambiguous_prefix_lists_the_spans(factory: SpoolFactory) -> None:
    snapshot_run(factory)
    result = run(factory, "0")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: 3 spans match 0:\n"
        f"  {hex_id(2)}  epoch[0]\n  {hex_id(15)}  epoch[1]\n  {hex_id(28)}  epoch[2]\n"
    )


def test_unknown_span_is_an_error(factory: SpoolFactory) -> None:
    snapshot_run(factory)
    result = run(factory, "beef")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: No span with snapshots found matching beef\n"


def test_span_without_snapshots_is_named_in_the_error(factory: SpoolFactory) -> None:
    snapshot_run(factory)
    result = run(factory, hex_id(1))
    assert result.exit_code == 1
    assert f"Span {hex_id(1)} (cirron.session) has no snapshots." in result.stderr


def test_session_narrows_and_must_exist(factory: SpoolFactory) -> None:
    first = factory.session(0, 1, id="a" * 32)
    second = factory.session(5, 6, id="b" * 32)
    factory.write([first, second], [], [factory.snapshot(first), factory.snapshot(second)])
    assert "aaaaaaaa…" not in run(factory, "--session", "b").stdout
    assert "(1 span with snapshots)" in run(factory, "--session", "b").stdout
    result = run(factory, "--session", "c")
    assert (result.exit_code, result.stderr) == (1, "Error: No session found matching c\n")


def test_newest_session_comes_first_and_spans_by_start(factory: SpoolFactory) -> None:
    old = factory.session(0, 1)
    new = factory.session(5, 9)
    late, early = factory.span("late", new, 8, 9), factory.span("early", new, 6, 7)
    snapshots = [factory.snapshot(span) for span in (old, late, early)]
    snapshots.append(factory.snapshot({"id": "gone", "start_ns": 0}))
    factory.write([old, new, late, early], [], snapshots)
    names = [span["name"] for span in json.loads(run(factory, "--json").stdout)["spans"]]
    assert names == ["early", "late", "cirron.session", None]
    assert "│ (unknown) │ gone" in run(factory).stdout


def test_modes_are_listed_once_each(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    modes = ["full", "stats", "sampled", "stats", "new"]
    records = [factory.snapshot(root, str(i), mode=mode) for i, mode in enumerate(modes)]
    factory.write([root], [], records)
    assert "│ stats,sampled,full,new │" in run(factory).stdout


def test_record_written_twice_counts_once(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    record = factory.snapshot(root)
    factory.write([root], [], [record])
    factory.write([], [], [record | {"mode": "full"}])
    (span,) = json.loads(run(factory, "--json").stdout)["spans"]
    assert (span["tensors"], span["modes"]) == (1, ["full"])


def test_nothing_to_show_is_no_error(factory: SpoolFactory) -> None:
    result = run(factory)
    assert (result.exit_code, result.stdout[:16]) == (0, "No traces found.")
    training_run(factory)
    result = run(factory)
    assert result.exit_code == 0
    assert result.stdout == ("No snapshots found. Call ci.watch(model) in Python to record some.\n")
    assert json.loads(run(factory, "--json").stdout)["spans"] == []


def test_table_is_ascii_where_the_terminal_is(factory: SpoolFactory) -> None:
    documented_ids(factory)
    result = run(factory, charset="ascii")
    assert result.stdout.isascii()
    assert "| 5da94f46... | f9480382... | epoch[0] |" in result.stdout


def test_snapshot_records_have_every_field(factory: SpoolFactory) -> None:
    root = factory.session(0, 1)
    record = factory.snapshot(root, "w", [3], "full", "file:///w", attrs={"a": 1})
    factory.write([root], [], [record])
    (found,) = spool.read(factory.directory).snapshot_records()
    texts = {key: json.loads(found.pop(f"{key}_json")) for key in ("shape", "stats", "attrs")}
    assert found.pop("row") == 0
    assert found | texts == record


def test_snapshot_records_lack_what_the_file_lacks(factory: SpoolFactory) -> None:
    factory.write([], [], [{"id": "1"}])
    (found,) = spool.read(factory.directory).snapshot_records()
    assert found == {
        "id": "1",
        "span_id": "",
        "row": -1,
        "tensor_name": None,
        "dtype": None,
        "shape_json": None,
        "mode": None,
        "stats_json": None,
        "blob_uri": None,
        "attrs_json": None,
        "ts_ns": 0,
    }
    assert run(factory).exit_code == 0
    assert run(factory, "--json").exit_code == 0
