"""The documented examples of `view` and `list`, character by character."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from spool_factory import SpoolFactory

from cirron.cli.main import cirron

APRIL_21 = 1_776_781_325_001_000_000  # 2026-04-21T14:22:05.001Z


@pytest.fixture
def factory(tmp_path: Path) -> SpoolFactory:
    return SpoolFactory(tmp_path / "runs" / "resnet" / ".cirron" / "spool")


def run(factory: SpoolFactory, *args: str) -> str:
    verb, *rest = args
    arguments = ["traces", verb, "--spool", str(factory.directory), *rest]
    result = CliRunner().invoke(cirron, arguments)
    assert result.exit_code == 0
    return result.stdout


def resnet_run(factory: SpoolFactory) -> None:
    root = factory.session(0, 561.744)
    first = factory.span("epoch", root, 0, 42.1, index=0)
    load = {"data_load_ns": 4541667}
    spans = [
        root,
        first,
        factory.span("data_load", first, 0, 4.541667, attrs=load),
        factory.span("forward", first, 4.6, 9.7),
        factory.span("backward", first, 9.7, 32.7),
        factory.span("optimizer_step", first, 32.7, 33.674),
    ]
    second = factory.span("epoch", root, 43, 81.9, index=1)
    spans += [
        second,
        factory.span("data_load", second, 43, 47.1, attrs=load),
        factory.span("forward", second, 47.1, 52.2),
        factory.span("backward", second, 52.2, 73.2),
        factory.span("optimizer_step", second, 73.2, 74.174),
    ]
    factory.write(spans, [factory.mark(first, "loss", 0.6841), factory.mark(second, "loss", 0.5)])


def test_view(factory: SpoolFactory) -> None:
    resnet_run(factory)
    documented = """\
cirron.session — 561.7ms pid=1797 rank=0
  epoch[0] — 42.1ms
    data_load — 4.5ms data_load_ns=4541667
    forward — 5.1ms
    backward — 23.0ms
    optimizer_step — 974.0us
    ci.mark loss=0.6841
  epoch[1] — 38.9ms
"""
    assert run(factory, "view").startswith(documented)


def test_view_collapsed(factory: SpoolFactory) -> None:
    resnet_run(factory)
    documented = """\
cirron.session — 561.7ms pid=1797 rank=0
  epoch[0] — 42.1ms
    … 33.6ms (4 spans, collapsed)
  epoch[1] — 38.9ms
    … 31.2ms (4 spans, collapsed)
"""
    assert run(factory, "view", "--depth", "1") == documented


def test_view_filtered(factory: SpoolFactory) -> None:
    root = factory.session(0, 7.3, pid=96540)
    pipeline, scaler = {"estimator": "Pipeline"}, {"estimator": "StandardScaler"}
    fit = factory.span("fit", root, 0, 6.2, attrs=pipeline)
    predict = factory.span("predict", root, 6.5, 6.691, attrs=pipeline)
    spans = [
        root,
        fit,
        factory.span("fit_transform", fit, 1, 1.8031, attrs=scaler),
        factory.span("fit", fit, 2, 3, attrs={"estimator": "LogisticRegression"}),
        factory.span("score", root, 6.3, 6.4, attrs=pipeline),
        predict,
        factory.span("transform", predict, 6.5, 6.5668, attrs=scaler),
    ]
    factory.write(spans)
    documented = """\
cirron.session — 7.3ms pid=96540 rank=0
  fit — 6.2ms estimator=Pipeline
    fit_transform — 803.1us estimator=StandardScaler
  predict — 191.0us estimator=Pipeline
    transform — 66.8us estimator=StandardScaler
"""
    assert run(factory, "view", "--name", "transform") == documented


def test_view_and_list_of_an_empty_spool(factory: SpoolFactory) -> None:
    for verb in ("view", "list"):
        assert run(factory, verb) == (
            "No traces found. Run ci.profile() from Python to produce some.\n"
        )


def two_sessions(factory: SpoolFactory) -> None:
    """The newer one is live. The other is larger than documented: 142.3 KB are too few."""
    ended = factory.session(0, 561.744, id="a541b565-b754-42e3-9d6c-1f0f3f6c2b11")
    steps = [{"id": f"{n:x}", "parent_id": ended["id"]} for n in range(5243)]
    marks = [{"id": f"{n:x}", "span_id": ended["id"]} for n in range(5123)]
    live = factory.session(2_368_441, None, id="ea06e583-0000-4000-8000-000000000000")
    opened = [factory.span("forward", live, 2_368_442, None) for _ in range(63)]
    losses = [factory.mark(live, "loss", 0.5) for _ in range(20)]
    tensors = [factory.snapshot(live) for _ in range(36)]
    for size, path in (
        (760_115, factory.write([ended, *steps], marks)),
        (49_152, factory.write([live, *opened], losses, tensors)),
    ):
        with path.open("a") as file:
            file.write(" " * (size - path.stat().st_size))


def test_list(factory: SpoolFactory) -> None:
    two_sessions(factory)
    # Newest first, as it says of itself.
    documented = f"""\
Spool: {factory.directory}  (2 sessions)
┌───────────┬──────────────────────────┬──────────┬───────┬───────┬───────────┬──────────┐
│ SESSION   │ STARTED                  │ DURATION │ SPANS │ MARKS │ SNAPSHOTS │     SIZE │
├───────────┼──────────────────────────┼──────────┼───────┼───────┼───────────┼──────────┤
│ ea06e583… │ 2026-04-21T15:01:33.442Z │   (live) │    64 │    20 │        36 │  48.0 KB │
│ a541b565… │ 2026-04-21T14:22:05.001Z │  561.7ms │  5244 │  5123 │         0 │ 742.3 KB │
└───────────┴──────────────────────────┴──────────┴───────┴───────┴───────────┴──────────┘
"""
    assert run(factory, "list") == documented


def test_list_as_json(factory: SpoolFactory) -> None:
    two_sessions(factory)
    live, ended = json.loads(run(factory, "list", "--json"))["sessions"]
    assert ended == {
        "id": "a541b565-b754-42e3-9d6c-1f0f3f6c2b11",
        "started_ns": str(APRIL_21),
        "ended_ns": str(APRIL_21 + 561_744_000),
        "live": False,
        "spans": 5244,
        "marks": 5123,
        "snapshots": 0,
        "bytes": 760_115,
        "sdk_version": "0.1.0",
    }
    assert (live["live"], live["ended_ns"], live["bytes"]) == (True, None, 49_152)
