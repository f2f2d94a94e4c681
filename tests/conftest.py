"""Every test has an empty directory, home and environment, and leaves no session behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import cirron as ci

hypothesis.settings.register_profile("cirron", deadline=None)  # no test is about time
hypothesis.settings.load_profile("cirron")

_RUN_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
)


@pytest.fixture(autouse=True)
def isolated(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    for variable in [v for v in os.environ if v.startswith("CIRRON_")] + list(_RUN_VARIABLES):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(tmp_path)
    ci.shutdown()
    yield
    ci.shutdown()
