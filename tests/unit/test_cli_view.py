"""`cirron traces view`."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from spool_factory import MS, START, SpoolFactory, training_run

from cirron.cli import output
from cirron.cli.main import cirron

HOUR = 3_600_000.0


@pytest.fixture
def factory(tmp_path: Path) -> SpoolFactory:
    return SpoolFactory(tmp_path / ".cirron" / "spool")


def run(factory: SpoolFactory, *args: str, charset: str = "utf-8") -> Result:
    arguments = ["traces", "view", "--spool", str(factory.directory), *args]
    return CliRunner(charset=charset).invoke(cirron, arguments)


def command(factory: SpoolFactory, *args: str) -> list[str]:
    module = [sys.executable, "-m", "cirron", "traces", "view"]
    return [*module, "--spool", str(factory.directory), *args]


def deep_run(factory: SpoolFactory, depth: int) -> None:
    spans = [factory.session(0, depth)]
    for _ in range(depth):
        spans.append(factory.span("level", spans[-1], 0, 1))
    factory.write(spans)


def test_tree_reads_as_documented(factory: SpoolFactory) -> None:
    training_run(factory)
    result = run(factory)
    assert result.exit_code == 0
    assert result.stdout == (
        "cirron.session — 561.7ms pid=1797 rank=0\n"
        "  epoch[0] — 42.1ms\n"
        "    data_load — 4.5ms data_load_ns=4541667\n"
        "    forward — 5.1ms\n"
        "    backward — 23.0ms\n"
        "    optimizer_step — 974.0us\n"
        "    ci.mark loss=0.6841\n"
        "  epoch[1] — 38.9ms\n"
        "    data_load — 4.5ms data_load_ns=4541667\n"
        "    forward — 5.1ms\n"
        "    backward — 23.0ms\n"
        "    optimizer_step — 974.0us\n"
        "    ci.mark loss=0.5410\n"
    )


def test_depth_collapses_what_lies_below(factory: SpoolFactory) -> None:
    training_run(factory)
    assert run(factory, "--depth", "1").stdout == (
        "cirron.session — 561.7ms pid=1797 rank=0\n"
        "  epoch[0] — 42.1ms\n"
        "    … 33.6ms (4 spans, collapsed)\n"
        "  epoch[1] — 38.9ms\n"
        "    … 33.6ms (4 spans, collapsed)\n"
    )
    assert run(factory, "--depth", "0").stdout == (
        "cirron.session — 561.7ms pid=1797 rank=0\n  … 81.0ms (10 spans, collapsed)\n"
    )


def test_depth_of_the_tree_or_more_collapses_nothing(factory: SpoolFactory) -> None:
    training_run(factory)
    assert run(factory, "--depth", "2").stdout == run(factory).stdout


def test_collapsed_duration_counts_overlaps_once_and_stays_within_the_parent(
    factory: SpoolFactory,
) -> None:
    root = factory.session(0, 100)
    request = factory.span("request", root, 10, 20)
    inner = factory.span("a", request, 11, 15)
    overlapping = factory.span("b", request, 14, 17)
    nested = factory.span("c", inner, 12, 13)
    outliving = factory.span("d", request, 19, 50)
    still_open = factory.span("e", request, 12, None)
    factory.write([root, request, inner, overlapping, nested, outliving, still_open])
    assert "… 7.0ms (5 spans, collapsed)" in run(factory, "--depth", "1").stdout


def test_one_collapsed_span_is_singular(factory: SpoolFactory) -> None:
    root = factory.session(0, 5)
    factory.write([root, factory.span("a", root, 1, 2)])
    assert "… 1.0ms (1 span, collapsed)" in run(factory, "--depth", "0").stdout


def test_name_keeps_ancestors(factory: SpoolFactory) -> None:
    root = factory.session(0, 7.3, pid=96540)
    fit = factory.span("fit", root, 0, 6.2, attrs={"estimator": "Pipeline"})
    inner = factory.span("fit_transform", fit, 1, 1.8031, attrs={"estimator": "StandardScaler"})
    score = factory.span("score", root, 6.3, 6.4)
    predict = factory.span("predict", root, 6.5, 6.691, attrs={"estimator": "Pipeline"})
    last = factory.span("transform", predict, 6.5, 6.5668, attrs={"estimator": "StandardScaler"})
    factory.write([root, fit, inner, score, predict, last])
    assert run(factory, "--name", "transform").stdout == (
        "cirron.session — 7.3ms pid=96540 rank=0\n"
        "  fit — 6.2ms estimator=Pipeline\n"
        "    fit_transform — 803.1us estimator=StandardScaler\n"
        "  predict — 191.0us estimator=Pipeline\n"
        "    transform — 66.8us estimator=StandardScaler\n"
    )


def test_name_that_nothing_has_is_said_and_no_failure(factory: SpoolFactory) -> None:
    training_run(factory)
    result = run(factory, "--name", "nothing")
    assert result.stdout == 'No spans with "nothing" in their name.\n'
    assert result.exit_code == 0


def test_min_wall_hides_shorter_spans(factory: SpoolFactory) -> None:
    training_run(factory)
    assert run(factory, "--min-wall", "5ms").stdout.splitlines() == [
        "cirron.session — 561.7ms pid=1797 rank=0",
        "  epoch[0] — 42.1ms",
        "    forward — 5.1ms",
        "    backward — 23.0ms",
        "    ci.mark loss=0.6841",
        "  epoch[1] — 38.9ms",
        "    forward — 5.1ms",
        "    backward — 23.0ms",
        "    ci.mark loss=0.5410",
    ]


def test_min_wall_leaves_the_root_and_what_is_open(factory: SpoolFactory) -> None:
    root = factory.session(0, 5)
    factory.write([root, factory.span("short", root, 0, 1), factory.span("open", root, 2, None)])
    assert run(factory, "--min-wall", "1h").stdout == (
        "cirron.session — 5.0ms pid=1797 rank=0\n  open — (open)\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("23000001ns", False),
        ("23000us", True),
        ("22999.5µs", True),
        ("22999.5μs", True),
        ("0.023s", True),
        (".023s", True),
        ("1m", False),
        ("0.00001h", False),
        ("23 ms", True),
    ],
)
def test_min_wall_takes_every_unit(factory: SpoolFactory, text: str, shown: bool) -> None:
    training_run(factory)
    assert ("backward" in run(factory, "--min-wall", text).stdout) == shown


@pytest.mark.parametrize("text", ["", "5", "ms", "-1ms", "1e3ms", "1 year", "1ms2s"])
def test_min_wall_without_a_unit_is_wrong_usage(factory: SpoolFactory, text: str) -> None:
    result = run(factory, "--min-wall", text)
    assert result.exit_code == 2
    assert "is not a number with a unit" in result.stderr


def test_last_shows_the_newest_sessions_first(factory: SpoolFactory) -> None:
    for hour in range(3):
        factory.write([factory.session(hour * HOUR, hour * HOUR + 1, pid=hour)])
    assert run(factory).stdout == "cirron.session — 1.0ms pid=2 rank=0\n"
    assert run(factory, "--last", "2").stdout == (
        "cirron.session — 1.0ms pid=2 rank=0\n\ncirron.session — 1.0ms pid=1 rank=0\n"
    )
    assert run(factory, "--last", "9").stdout.count("cirron.session") == 3


@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_last_must_be_positive(factory: SpoolFactory, value: str) -> None:
    assert run(factory, "--last", value).exit_code == 2


def test_session_is_found_by_the_start_of_its_id(factory: SpoolFactory) -> None:
    factory.write([factory.session(0, 1, id="abc1" + "0" * 28, pid=1)])
    factory.write([factory.session(HOUR, HOUR + 1, id="a541b565-b754-42e3", pid=2)])
    assert "pid=1" in run(factory, "--session", "abc").stdout
    assert "pid=2" in run(factory, "--session", "a541b565-b").stdout
    assert "pid=2" in run(factory, "--session", "a541b565…").stdout


def test_session_that_does_not_exist_is_an_error(factory: SpoolFactory) -> None:
    training_run(factory)
    result = run(factory, "--session", "f00")
    assert result.stderr == "Error: No session found matching f00\n"
    assert (result.stdout, result.exit_code) == ("", 1)


def test_ambiguous_session_is_an_error_that_lists_the_matches(factory: SpoolFactory) -> None:
    for number in range(12):
        factory.write([factory.session(number, number + 1, id=f"abc{number}")])
    result = run(factory, "--session", "abc")
    assert (result.stdout, result.exit_code) == ("", 1)
    lines = result.stderr.splitlines()
    assert lines[0] == "Error: 12 sessions match abc:"
    assert lines[1] == "  abc11  2026-04-21T14:22:05.012Z"
    assert lines[-1] == "  and 2 more"
    assert run(factory, "--session", "abc1").exit_code == 0


def test_empty_spool_says_what_to_do(factory: SpoolFactory) -> None:
    result = run(factory)
    assert result.stdout == "No traces found. Run ci.profile() from Python to produce some.\n"
    assert result.exit_code == 0


def test_live_session_and_open_spans_say_so(factory: SpoolFactory) -> None:
    root = factory.session(0, None)
    factory.write([root, factory.span("epoch", root, 1, None, index=3)])
    assert run(factory).stdout == ("cirron.session — (live) pid=1797 rank=0\n  epoch[3] — (open)\n")


def test_root_shows_only_pid_and_rank(factory: SpoolFactory) -> None:
    attrs = {"pid": 1, "rank": 0, "world_size": 1, "hostname": "box", "framework": None}
    factory.write([factory.session(0, 1, rank=3, attrs=attrs)])
    assert run(factory).stdout == "cirron.session — 1.0ms pid=1797 rank=3\n"


def test_marks_and_attributes_show_every_type(factory: SpoolFactory) -> None:
    attrs: dict[str, Any] = {"n": 3, "x": 0.25, "ok": True, "no": None, "s": "two words"}
    attrs |= {"nested": {"a": 1}, "many": [1], "tiny": 1e-5}
    root = factory.session(0, 2)
    span = factory.span("step", root, 0, 1, attrs=attrs)
    marks = [
        factory.mark(span, "loss", 0.68412),
        factory.mark(span, "count", 12),
        factory.mark(span, "done", False),
        factory.mark(span, "phase", "warm up"),
        factory.mark(span, "bad", "NaN", value_type="float"),
        factory.mark(span, "lr", 3.25e-05),
        factory.mark(span, "flops", 1.5e20),
        factory.mark(span, "zero", 0.0),
        factory.mark(span, "total", 7, "summary"),
    ]
    factory.write([root, span], marks)
    assert run(factory).stdout.splitlines()[1:] == [
        "  step — 1.0ms n=3 x=0.2500 ok=true no=null s=two words tiny=1.0000e-5",
        "    ci.mark loss=0.6841",
        "    ci.mark count=12",
        "    ci.mark done=false",
        "    ci.mark phase=warm up",
        "    ci.mark bad=NaN",
        "    ci.mark lr=3.2500e-5",
        "    ci.mark flops=1.5000e20",
        "    ci.mark zero=0.0000",
        "    ci.mark total=7 (summary)",
    ]


def test_overhead_is_shown_on_request_after_the_other_marks(factory: SpoolFactory) -> None:
    root = factory.session(0, 2, overhead_ns=900)
    factory.write([root], [factory.mark(root, "x", 1)])
    assert "overhead" not in run(factory).stdout
    assert run(factory, "--overhead").stdout.splitlines()[1:] == [
        "  ci.mark x=1",
        "  ci.mark cirron.overhead_ns=900 (summary)",
    ]


def test_names_cannot_steer_the_terminal(factory: SpoolFactory) -> None:
    root = factory.session(0, 2)
    span = factory.span("\x1b]0;x\x07[red]é", root, 0, 1, attrs={"a\nb": "c\r\u202ed"})
    factory.write([root, span], [factory.mark(span, "m\x9b", "v\x00")])
    assert run(factory).stdout.splitlines()[1:] == [
        r"  \x1b]0;x\x07[red]é — 1.0ms a\nb=c\r\u202ed",
        r"    ci.mark m\x9b=v\x00",
    ]


def test_tree_is_ascii_where_the_terminal_is(factory: SpoolFactory) -> None:
    root = factory.session(0, 2)
    inner = factory.span("é", root, 0, 1)
    factory.write([root, inner, factory.span("x", inner, 0, 1)])
    assert run(factory, "--depth", "1", charset="ascii").stdout.splitlines() == [
        "cirron.session - 2.0ms pid=1797 rank=0",
        r"  \xe9 - 1.0ms",
        "    ... 1.0ms (1 span, collapsed)",
    ]


def test_spans_without_any_session_are_shown_below_a_heading(factory: SpoolFactory) -> None:
    lost = factory.span("step", {"id": "gone"}, 0, 1)
    factory.write([lost, factory.span("forward", lost, 0, 0.5)])
    lines = run(factory).stdout.splitlines()
    assert lines[0].startswith("(orphan spans) — ")
    assert lines[1:] == ["  step — 1.0ms", "    forward — 500.0us"]
    (session,) = json.loads(run(factory, "--json").stdout)["sessions"]
    assert session["root"]["children"][0]["children"][0]["name"] == "forward"


def test_json_nests_children_and_marks_with_ns_as_strings(factory: SpoolFactory) -> None:
    root = training_run(factory)
    document = json.loads(run(factory, "--json").stdout)
    assert document["dir"] == str(factory.directory)
    (session,) = document["sessions"]
    assert session["id"] == root["id"]
    assert session["started_ns"] == str(START)
    assert session["live"] is False
    first, second = session["root"]["children"]
    assert (first["name"], first["index"]) == ("epoch", 0)
    assert first["parent_id"] == root["id"]
    assert first["start_ns"] == str(START + 10 * MS)
    assert first["duration_ns"] == "42100000"
    assert [mark["value"] for mark in first["marks"]] == [0.6841]
    names = [child["name"] for child in second["children"]]
    assert names == ["data_load", "forward", "backward", "optimizer_step"]
    assert second["children"][0]["attrs"] == {"data_load_ns": 4541667}


def test_json_obeys_the_filters(factory: SpoolFactory) -> None:
    training_run(factory)
    (session,) = json.loads(run(factory, "--json", "--depth", "1").stdout)["sessions"]
    first, _ = session["root"]["children"]
    assert first["children"] == []
    assert first["collapsed"] == {"spans": 4, "duration_ns": "33574000"}
    (session,) = json.loads(run(factory, "--json", "--name", "forward").stdout)["sessions"]
    assert [child["name"] for child in session["root"]["children"][1]["children"]] == ["forward"]
    assert json.loads(run(factory, "--json", "--name", "nothing").stdout)["sessions"] == []


def test_json_is_strict(factory: SpoolFactory) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    root = factory.session(0, 2)
    factory.write([root], [factory.mark(root, "loss", "Infinity", value_type="float")])
    text = run(factory, "--json").stdout
    (session,) = json.loads(text, parse_constant=refuse)["sessions"]
    assert session["root"]["marks"][0]["value"] == "Infinity"


def test_json_of_an_empty_spool_is_a_document(factory: SpoolFactory) -> None:
    document = json.loads(run(factory, "--json").stdout)
    assert document == {"dir": str(factory.directory), "sessions": []}


def test_trees_of_any_depth_are_printed(factory: SpoolFactory) -> None:
    deep_run(factory, 3000)
    assert run(factory).stdout.splitlines()[-1] == "  " * 3000 + "level — 1.0ms"
    text = run(factory, "--json").stdout
    assert text.count('"name": "level"') == 3000
    assert text.count("{") == text.count("}")
    assert "(3000 spans, collapsed)" in run(factory, "--depth", "0").stdout


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (1000, "1.0us"),
        (66_800, "66.8us"),
        (999_949, "999.9us"),
        (999_950, "1.0ms"),
        (42_100_000, "42.1ms"),
        (999_950_000, "1.00s"),
        (1_234_567_890, "1.23s"),
        (59_994_999_999, "59.99s"),
        (59_995_000_000, "1m00.0s"),
        (125_300_000_000, "2m05.3s"),
        (3_599_960_000_000, "1h00m00.0s"),
        (11_112_340_000_000, "3h05m12.3s"),
    ],
)
def test_durations_have_one_unit_and_never_round_into_the_next(ns: int, text: str) -> None:
    assert output.duration(ns) == text


def test_misspelt_option_gets_a_suggestion() -> None:
    result = CliRunner().invoke(cirron, ["traces", "view", "--dept", "1"])
    assert result.exit_code == 2
    assert "Did you mean" in result.stderr
    assert "--depth" in result.stderr


def test_help_has_examples_for_each_verb() -> None:
    for verb in ("view", "list"):
        result = CliRunner().invoke(cirron, ["traces", verb, "--help"])
        assert f"  cirron traces {verb} --json\n" in result.stdout
        assert "CIRRON_SPOOL" in result.stdout


def test_version_is_printed() -> None:
    assert CliRunner().invoke(cirron, ["--version"]).stdout.startswith("cirron, version ")


def test_exit_status_of_the_program_is_0_1_or_2(factory: SpoolFactory) -> None:
    training_run(factory)
    for arguments, status in ((["--depth", "1"], 0), (["--session", "f"], 1), (["--last"], 2)):
        done = subprocess.run(command(factory, *arguments), capture_output=True, text=True)
        assert done.returncode == status
        assert ("Error: " in done.stderr) == (status != 0)


def test_closed_pipe_ends_quietly(factory: SpoolFactory) -> None:
    training_run(factory, epochs=5000)
    with subprocess.Popen(
        command(factory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "cirron.session — 561.7ms pid=1797 rank=0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_interrupt_ends_with_130(factory: SpoolFactory) -> None:
    training_run(factory, epochs=5000)
    with subprocess.Popen(
        command(factory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # It is now blocked by the full pipe.
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_full_disk_is_an_error(factory: SpoolFactory) -> None:
    training_run(factory)
    with open("/dev/full", "w") as full:
        done = subprocess.run(command(factory), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: Could not write the output: No space left on device\n"


def test_closed_stdout_is_no_failure(factory: SpoolFactory) -> None:
    training_run(factory)
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command(factory)]
    done = subprocess.run(shell, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "environment", "colored"),
    [([], {}, True), ([], {"NO_COLOR": "1"}, False), (["--no-color"], {}, False)],
)
def test_colour_is_on_a_terminal_only_and_can_be_refused(
    factory: SpoolFactory, arguments: list[str], environment: dict[str, str], colored: bool
) -> None:
    training_run(factory)
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        command(factory, *arguments),
        stdout=theirs,
        env=inherited | {"TERM": "xterm"} | environment,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # Linux reports the closed other end so.
        pass
    os.close(ours)
    assert process.wait() == 0
    assert (b"\x1b[" in shown) == colored
    assert "optimizer_step" in shown.decode()
