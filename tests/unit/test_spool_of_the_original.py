"""Spools of the pure-Python original, version 0.3.0, read as ours do.

The files under tests/data were written by running it: two epochs of three batches, a scope
and four marks in each.
"""

from pathlib import Path

from click.testing import CliRunner

from cirron import spool
from cirron.cli.main import cirron as program

SPOOL = Path(__file__).parents[1] / "data" / "spool-of-0.3.0"


def run(*args):
    result = CliRunner().invoke(program, ["traces", *args, "--spool", str(SPOOL)])
    assert result.exit_code == 0, result.output
    return result.output


def test_its_session_is_found_with_every_span_and_mark():
    table = spool.read(SPOOL)
    (session,) = table.sessions()
    assert (session["spans"], session["marks"], session["snapshots"]) == (15, 26, 0)
    assert session["ended_ns"] - session["started_ns"] == 8164069
    assert table.warnings == []


def test_its_tree_reads_as_it_was_recorded():
    lines = run("view").splitlines()
    assert lines[0] == "cirron.session — 8.2ms pid=3131 rank=0"
    assert [line.strip().split(" — ")[0] for line in lines if "epoch" in line or "batch" in line][
        :4
    ] == ["epoch[0]", "batch[0]", "batch[1]", "batch[2]"]
    assert "      forward[1] — 1.1ms note=hi" in lines
    assert lines.count("      ci.mark loss=0.5000") == 2
    assert lines.count("    ci.mark acc=0.9000 (summary)") == 2


def test_its_spool_exports():
    assert len(run("export", "--format", "csv", "--output", "-").splitlines()) == 16
