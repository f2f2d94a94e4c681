"""Settings: precedence, what is refused, and what is warned about and skipped."""

import logging
import os
import sys
from pathlib import Path

import pytest
from fuzz.fuzz_config_file import check_settings

import cirron as ci
from cirron.config import Settings, resolve


def write_config(text):
    file = Path(os.environ["HOME"]) / ".cirron" / "config.toml"
    file.parent.mkdir()
    file.write_text(text)


FUZZED = sorted(Path(__file__).parents[1].glob("fuzz/corpus/fuzz_config_file/*"))


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_defaults_are_the_documented_ones():
    assert resolve(None, {}) == Settings(
        snapshots="stats",
        sample_rate=0.01,
        flush_interval=1.0,
        enabled=True,
        path="./.cirron/",
        output=("spool",),
        frameworks=None,
        trace_buffer_max_spans=100_000,
        spool_max_bytes=1_000_000_000,
        cpu_time=True,
    )


def test_argument_beats_dict_beats_environment_beats_file(monkeypatch):
    write_config("sample_rate = 0.4\nflush_interval = 4.0\nspool_max_bytes = 4\ncpu_time = false\n")
    monkeypatch.setenv("CIRRON_SAMPLE_RATE", "0.3")
    monkeypatch.setenv("CIRRON_FLUSH_INTERVAL", "3")
    monkeypatch.setenv("CIRRON_SPOOL_MAX_BYTES", "3")
    settings = resolve({"sample_rate": 0.2, "flush_interval": 2}, {"sample_rate": 0.1})
    assert settings.sample_rate == 0.1
    assert settings.flush_interval == 2
    assert settings.spool_max_bytes == 3
    assert settings.cpu_time is False


def test_none_means_not_given(monkeypatch):
    monkeypatch.setenv("CIRRON_SNAPSHOTS", "full")
    assert resolve({"snapshots": None}, {"snapshots": None}).snapshots == "full"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(t, True) for t in ("1", "true", "Yes", "ON", " on ")],
        *[(t, False) for t in ("0", "FALSE", "no", "off")],
    ],
)
def test_environment_flags(monkeypatch, text, value):
    monkeypatch.setenv("CIRRON_ENABLED", text)
    assert resolve(None, {}).enabled is value


def test_environment_lists_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("CIRRON_OUTPUT", "spool, log,")
    monkeypatch.setenv("CIRRON_FRAMEWORKS", "sklearn")
    settings = resolve(None, {})
    assert settings.output == ("spool", "log")
    assert settings.frameworks == ("sklearn",)


def test_empty_variable_is_no_variable(monkeypatch, caplog):
    monkeypatch.setenv("CIRRON_OUTPUT", "")
    assert resolve(None, {}).output == ("spool",)
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sample_rate", "much"),
        ("sample_rate", "nan"),
        ("flush_interval", "0"),
        ("enabled", "maybe"),
        ("snapshots", "some"),
        ("output", "none,spool"),
        ("output", ","),
        ("frameworks", "pytorch"),
        ("trace_buffer_max_spans", "1e5"),
        ("spool_max_bytes", "-1"),
        ("spool_max_bytes", "9" * 5000),
        ("cpu_time", "2"),
    ],
)
def test_wrong_variable_is_named_and_the_next_source_counts(monkeypatch, caplog, name, text):
    from_file = {"sample_rate": "0.5", "enabled": "false", "flush_interval": "9"}.get(name)
    if from_file:
        write_config(f"{name} = {from_file}")
    monkeypatch.setenv(f"CIRRON_{name.upper()}", text)
    value = getattr(resolve(None, {}), name)
    assert value == getattr(Settings(), name) or str(value).lower() in (from_file, "9.0")
    (warning,) = warnings(caplog)
    assert f"CIRRON_{name.upper()}" in warning
    assert "must be " in warning or "can't" in warning


@pytest.mark.parametrize(
    "content", ["sample_rate = ", "a = 1\na = 2", "x = \udcff".encode("utf-8", "surrogateescape")]
)
def test_broken_config_file_is_named_and_skipped(caplog, content):
    write_config("")
    file = Path(os.environ["HOME"], ".cirron", "config.toml")
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert resolve(None, {}) == Settings()
    (warning,) = warnings(caplog)
    assert "config.toml" in warning


def test_config_file_that_is_a_directory_is_skipped(caplog):
    Path(os.environ["HOME"], ".cirron", "config.toml").mkdir(parents=True)
    assert resolve(None, {}) == Settings()
    assert len(warnings(caplog)) == 1


def test_wrong_and_unknown_keys_of_the_file_are_named(caplog):
    write_config('sample_rate = 7\nsampel_rate = 1\noutput = ["log", "stdout"]\n[cli]\ncolor = 1\n')
    assert resolve(None, {}) == Settings(output=("log", "stdout"))
    assert [key for key in ("sampel_rate", "sample_rate is") for w in warnings(caplog) if key in w]
    assert len(warnings(caplog)) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("snapshots", "all"),
        ("snapshots", 1),
        ("sample_rate", -0.1),
        ("sample_rate", 1.1),
        ("sample_rate", float("nan")),
        ("sample_rate", "0.5"),
        ("sample_rate", True),
        ("flush_interval", 0),
        ("flush_interval", 1e-9),
        ("flush_interval", -1),
        ("flush_interval", float("inf")),
        ("flush_interval", 10**400),
        ("flush_interval", []),
        ("enabled", 1),
        ("enabled", "yes"),
        ("path", ""),
        ("path", "a\0b"),
        ("path", 3),
        ("output", "file"),
        ("output", []),
        ("output", ["none", "log"]),
        ("output", ["log", 1]),
        ("output", 5),
        ("output", b"log"),
        ("output", {"log": 1}),
        ("frameworks", "pytorch"),
        ("frameworks", ["torch", None]),
    ],
)
def test_wrong_argument_raises_before_anything_was_touched(name, value):
    with pytest.raises(ValueError, match=name):
        ci.profile(**{name: value})
    with pytest.raises(ValueError, match=name):
        ci.profile(config={name: value})
    with pytest.raises(ValueError, match=name):
        ci.Cirron(**{name: value})
    assert ci.health()["flush_mode"] == "stopped"
    assert not Path(".cirron").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trace_buffer_max_spans", 0),
        ("trace_buffer_max_spans", 1.5),
        ("trace_buffer_max_spans", True),
        ("spool_max_bytes", -1),
        ("spool_max_bytes", 2**63),
        ("cpu_time", None),
        ("cpu_time", "yes"),
    ],
)
def test_wrong_setting_of_the_client_raises(name, value):
    if value is None:
        assert ci.Cirron(**{name: value}).settings == Settings()
        return
    with pytest.raises(ValueError, match=name):
        ci.Cirron(**{name: value})


def test_unknown_setting_raises_and_names_the_known():
    with pytest.raises(ValueError, match=r"sampel_rate.*sample_rate"):
        ci.profile(config={"sampel_rate": 1})
    with pytest.raises(ValueError, match="config must be a dict"):
        ci.profile(config=[("sample_rate", 1)])


def test_wrong_argument_raises_also_while_a_session_runs():
    with ci.profile(output="none") as profiler:
        with pytest.raises(ValueError, match="snapshots"):
            ci.profile(snapshots="all")
        assert profiler.enabled


def test_known_framework_that_is_missing_is_a_warning(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    settings = resolve(None, {"frameworks": ["tensorflow", "tensorflow"]})
    assert settings.frameworks == ("tensorflow",)
    (warning,) = warnings(caplog)
    assert "tensorflow" in warning


def test_no_framework_is_imported_named_or_not():
    import support

    support.run_script("""
    import sys
    import cirron as ci
    ci.profile(frameworks=["sklearn", "torch"], output="none")
    assert "sklearn" not in sys.modules and "torch" not in sys.modules
    """)


def test_numbers_of_numpy_are_numbers():
    np = pytest.importorskip("numpy")
    settings = resolve({"trace_buffer_max_spans": np.int32(5)}, {"sample_rate": np.float32(0.5)})
    assert (settings.trace_buffer_max_spans, settings.sample_rate) == (5, 0.5)


@pytest.mark.parametrize("file", FUZZED, ids=[file.name for file in FUZZED])
def test_any_file_gives_valid_settings(file):
    write_config("")
    check_settings(file.read_bytes())


def test_path_may_be_a_path_and_start_at_home(tmp_path):
    with ci.profile(path=tmp_path / "traces"):
        assert ci.health()["spool_dir"] == str(tmp_path / "traces" / "spool")
    with ci.profile(path="~/traces"):
        assert ci.health()["spool_dir"] == os.path.join(os.environ["HOME"], "traces", "spool")


def test_client_takes_all_settings_and_shares_the_session(tmp_path):
    client = ci.Cirron(
        {"snapshots": "none"},
        output="none",
        trace_buffer_max_spans=3,
        spool_max_bytes=10**6,
        cpu_time=False,
    )
    with client.profile() as profiler:
        assert ci.profile() is profiler
        for epoch in client.epochs(range(5)):
            for _ in client.batches([1]):
                client.mark("x", epoch)
            with client.scope("validate"):
                pass
        assert client.trace(format="dict")["span_count"] == 3
    assert client.env("HOME") == os.environ["HOME"]
    assert not (tmp_path / ".cirron").exists()
