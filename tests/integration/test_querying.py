"""The examples of docs/python.md and docs/querying.md, run on a small spool."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from spool_factory import SpoolFactory, training_run

from cirron import spool
from cirron.cli.traces.parquet import write_parquet

DOCS = Path(__file__).parents[2] / "docs"


def examples(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """The working directory: a spool, its export, and what two hosts exported together."""
    factory = SpoolFactory(tmp_path / ".cirron" / "spool")
    training_run(factory)
    write_parquet(spool.read(), tmp_path / "exported")
    for number, host in enumerate(("node-a", "node-b")):
        other = SpoolFactory(tmp_path / host / "spool")
        records = []
        for rank in (2 * number, 2 * number + 1):
            root = other.session(0, 100, rank=rank, attrs={"hostname": host})
            records += [root, other.span("step", root, 0, 10 + rank, rank=rank, index=0)]
        other.write(records)
        write_parquet(spool.read(other.directory), tmp_path / "shared", None, None, True)
    return tmp_path


def test_the_table_examples_run_in_order(traces: Path) -> None:
    names: dict[str, Any] = {}
    code = examples("python.md", "python")
    assert len(code) == 5
    for example in code:
        exec(example, names)
    assert names["by_epoch"].rows() == [(0, 0.6841), (1, 0.541)]
    assert names["slowest"][0][:2] == ("cirron.session", 1)
    assert names["epochs"].height == 2


def test_the_sql_examples_give_the_same_for_spool_and_export(traces: Path) -> None:
    spooled, losses, exported, slowest = map(duckdb.sql, examples("querying.md", "sql"))
    assert spooled.fetchall() == exported.fetchall() != []
    assert losses.fetchall() == [("epoch", 0, 0.6841), ("epoch", 1, 0.541)]
    assert slowest.fetchall() == [(0, 13.0, 3)]


@pytest.mark.filterwarnings("ignore")  # other people's deprecations
def test_the_python_examples_run(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported, many_hosts, dask = examples("querying.md", "python")
    exec(exported, {})
    assert "optimizer_step" in capsys.readouterr().out
    exec(many_hosts, {})
    assert "node-b" in capsys.readouterr().out
    pytest.importorskip("dask.dataframe")
    exec(dask, {})
    assert re.search(r"node-a +10500000\.0\nnode-b +12500000\.0", capsys.readouterr().out)
