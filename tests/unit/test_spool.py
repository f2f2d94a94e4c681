"""cirron.spool: which files are read, and in which order."""

from pathlib import Path

import pytest
from spool_factory import SpoolFactory, training_run

from cirron import spool


def test_batch_files_are_sorted_by_the_number_before_the_dash(tmp_path: Path) -> None:
    for name in ("10-a.json", "9-b.json", "00000000000000000100-c.json"):
        (tmp_path / name).write_text("{}")
    names = [path.name for path in spool.batch_files(tmp_path)]
    assert names == ["9-b.json", "10-a.json", "00000000000000000100-c.json"]


def test_files_that_are_no_batches_are_passed_over(tmp_path: Path) -> None:
    for name in ("1-a.json.tmp", "notes.json", "x1-a.json", "1-.json", "1.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "1-a.json").mkdir()
    assert spool.batch_files(tmp_path) == []


def test_a_directory_that_does_not_exist_has_no_batches(tmp_path: Path) -> None:
    assert spool.batch_files(tmp_path / "nowhere") == []
    assert len(spool.read(tmp_path / "nowhere")) == 0


@pytest.mark.parametrize("name", [".cirron", "runs"])
def test_the_directory_around_a_spool_means_the_spool(tmp_path: Path, name: str) -> None:
    training_run(SpoolFactory(tmp_path / name / "spool"))
    assert spool.directory(tmp_path / name) == tmp_path / name / "spool"
    assert len(spool.read(tmp_path / name)) == 11


def test_a_directory_with_batches_is_the_spool_itself(tmp_path: Path) -> None:
    training_run(SpoolFactory(tmp_path))
    (tmp_path / "spool").mkdir()
    assert spool.directory(tmp_path) == tmp_path
    assert len(spool.read(tmp_path)) == 11


def test_a_broken_file_costs_itself_and_a_warning(tmp_path: Path) -> None:
    factory = SpoolFactory(tmp_path)
    training_run(factory)
    factory.write_text("5-broken.json", '{"schema_version": 1, "spans": [')
    table = spool.read(tmp_path)
    assert len(table) == 11
    assert len(table.warnings) == 1
    assert "5-broken.json" in table.warnings[0]
