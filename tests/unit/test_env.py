"""`ci.env`, and what a session says about where it runs."""

import os
import socket
import sys
import types
from pathlib import Path

import pytest
from support import run_script

import cirron as ci


def session_attrs():
    with ci.profile(output="none"):
        return ci.trace(format="dict")["session"]["attrs"]


def test_env_returns_the_text_or_the_default(monkeypatch):
    monkeypatch.setenv("CONFIG_TEXT", "plain")
    assert ci.env("CONFIG_TEXT") == "plain"
    assert ci.env("NOT_SET_ANYWHERE") is None
    assert ci.env("NOT_SET_ANYWHERE", 3) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"threshold": 0.5}', {"threshold": 0.5}),
        ("  [1, 2]", [1, 2]),
        ("1", "1"),
        ("true", "true"),
        ('"quoted"', '"quoted"'),
        ("{broken", "{broken"),
        ("[INFO]", "[INFO]"),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
)
def test_env_parses_only_json_objects_and_arrays(monkeypatch, text, value):
    monkeypatch.setenv("CONFIG", text)
    assert ci.env("CONFIG", default="not used") == value


def test_dotenv_file_is_read_once_and_real_variables_win():
    pytest.importorskip("dotenv")
    Path(".env").write_text('A=from file\nB=from file\nCONFIG={"x": 1}\n')
    run_script(
        """
        import os
        import cirron as ci
        assert ci.env("A") == "real"
        assert ci.env("B") == "from file"
        assert ci.env("CONFIG") == {"x": 1}
        assert "B" not in os.environ
        open(".env", "w").write("B=changed")
        assert ci.env("B") == "from file"
        """,
        A="real",
    )


def test_broken_dotenv_file_is_survived():
    Path(".env").write_bytes(b"A=\xff\xfe\n")
    run_script("import cirron as ci; assert ci.env('A', 1) in (1, '\\ufffd\\ufffd')")


def test_root_says_where_it_runs(monkeypatch):
    for name in ("RUN_ID", "PIPELINE_ID", "DEPLOYMENT_ID"):
        monkeypatch.setenv(f"CIRRON_{name}", f"the {name}")
    attrs = session_attrs()
    assert attrs["pid"] == os.getpid()
    assert (attrs["rank"], attrs["world_size"]) == (0, 1)
    assert attrs["hostname"] == socket.gethostname()
    assert attrs["device"] == "cpu"
    assert attrs["cirron.run_id"] == "the RUN_ID"
    assert attrs["cirron.pipeline_id"] == "the PIPELINE_ID"
    assert attrs["cirron.deployment_id"] == "the DEPLOYMENT_ID"
    assert "cirron.workspace_id" not in attrs


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({"RANK": "3", "LOCAL_RANK": "1"}, 3),
        ({"LOCAL_RANK": "1", "SLURM_PROCID": "5"}, 1),
        ({"SLURM_PROCID": "5", "OMPI_COMM_WORLD_RANK": "6"}, 5),
        ({"OMPI_COMM_WORLD_RANK": "6"}, 6),
        ({"RANK": "", "LOCAL_RANK": "2"}, 2),
        ({}, 0),
    ],
)
def test_rank_comes_from_the_launcher(monkeypatch, variables, rank):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert session_attrs()["rank"] == rank


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"])
def test_world_size_comes_from_the_launcher(monkeypatch, variable):
    monkeypatch.setenv(variable, "8")
    assert session_attrs()["world_size"] == 8


@pytest.mark.parametrize("text", ["one", "-1", "1.5", "9" * 30])
def test_rank_that_is_no_number_is_named_and_skipped(monkeypatch, caplog, text):
    monkeypatch.setenv("RANK", text)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert session_attrs()["rank"] == 2
    assert "RANK" in caplog.text


def test_rank_is_on_every_span(monkeypatch):
    from support import flushed_spans

    monkeypatch.setenv("RANK", "7")
    with ci.profile():
        with ci.scope("work"):
            pass
        assert {s["rank"] for s in flushed_spans()} == {7}


def test_frameworks_that_the_program_imported_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "transformers", types.ModuleType("transformers"))
    assert {"torch", "transformers"} <= set(session_attrs()["framework"].split(","))


def test_no_framework_is_null():
    run_script("""
    import cirron as ci
    ci.profile(output="none")
    assert ci.trace("dict")["session"]["attrs"]["framework"] is None
    """)


def fake_torch(initialized):
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_initialized=lambda: initialized)
    torch.version = types.SimpleNamespace(cuda=None)
    return torch


@pytest.mark.parametrize(("initialized", "device"), [(True, "cuda"), (False, "cpu")])
def test_device_is_what_torch_uses(monkeypatch, initialized, device):
    monkeypatch.setitem(sys.modules, "torch", fake_torch(initialized))
    assert session_attrs()["device"] == device
