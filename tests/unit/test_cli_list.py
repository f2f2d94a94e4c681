"""`cirron traces list`."""

import errno
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from spool_factory import START, SpoolFactory, training_run

from cirron.cli import output
from cirron.cli.main import cirron

HOUR = 3_600_000.0


@pytest.fixture
def factory(tmp_path: Path) -> SpoolFactory:
    return SpoolFactory(tmp_path / ".cirron" / "spool")


def run(factory: SpoolFactory, *args: str) -> Result:
    return CliRunner().invoke(cirron, ["traces", "list", "--spool", str(factory.directory), *args])


def run_on_terminal(factory: SpoolFactory, columns: int, **env: str) -> str:
    """Runs the program on a terminal of that width and returns what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "cirron", "traces", "list", "--spool", str(factory.directory)]
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        command, stdout=theirs, env=inherited | {"TERM": "xterm-256color"} | env
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
    return shown.decode().replace("\r\n", "\n")


def test_table_looks_as_documented(factory: SpoolFactory) -> None:
    training_run(factory)
    live = factory.session(HOUR, None)
    factory.write([live], [], [factory.snapshot(live)])
    result = run(factory)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"Spool: {factory.directory}  (2 sessions)"
    assert lines[2].split("│")[1:-1] == [
        " SESSION   ",
        " STARTED                  ",
        " DURATION ",
        " SPANS ",
        " MARKS ",
        " SNAPSHOTS ",
        f"{'SIZE':>{len(lines[2].split('│')[-2]) - 1}} ",
    ]
    assert lines[1] == "┌" + lines[3][1:-1].replace("┼", "┬") + "┐"
    assert lines[6] == "└" + lines[3][1:-1].replace("┼", "┴") + "┘"
    newest = [cell.strip() for cell in lines[4].split("│")[1:-1]]
    assert newest[1:6] == ["2026-04-21T15:22:05.001Z", "(live)", "1", "0", "1"]
    oldest = lines[5].split("│")[1:-1]
    assert oldest[:6] == [
        " 00000001… ",
        " 2026-04-21T14:22:05.001Z ",
        "  561.7ms ",
        "    11 ",
        "     2 ",
        "         0 ",
    ]
    assert len(lines) == 7


def test_json_has_ns_as_strings(factory: SpoolFactory) -> None:
    path = training_run(factory)
    document = json.loads(run(factory, "--json").stdout)
    size = sum(file.stat().st_size for file in factory.directory.iterdir())
    assert document == {
        "dir": str(factory.directory),
        "sessions": [
            {
                "id": path["id"],
                "started_ns": str(START),
                "ended_ns": str(START + 561_744_000),
                "live": False,
                "spans": 11,
                "marks": 2,
                "snapshots": 0,
                "bytes": size,
                "sdk_version": "0.1.0",
            }
        ],
    }


def test_live_session_has_no_end_in_json(factory: SpoolFactory) -> None:
    factory.write([factory.session(0, None)])
    (session,) = json.loads(run(factory, "--json").stdout)["sessions"]
    assert session["live"] is True
    assert session["ended_ns"] is None


def test_session_written_open_and_then_closed_is_listed_once_and_closed(
    factory: SpoolFactory,
) -> None:
    root = factory.session(0, None)
    factory.write([root])
    factory.write([root | {"end_ns": START + 5_000_000}])
    factory.write([root])
    (session,) = json.loads(run(factory, "--json").stdout)["sessions"]
    assert session["ended_ns"] == str(START + 5_000_000)
    assert session["spans"] == 1


def test_ids_of_older_versions_are_shown(factory: SpoolFactory) -> None:
    root = factory.session(0, 1, id="a541b565-b754-42e3-9d6c-1f0f3f6c2b11")
    factory.write([root])
    assert "│ a541b565… │" in run(factory).stdout


def test_spans_without_any_session_are_listed_as_orphans(factory: SpoolFactory) -> None:
    factory.write([factory.span("step", {"id": "gone"}, 0, 1)])
    assert "(orphan spans)" in run(factory).stdout


def test_empty_or_missing_spool_says_what_to_do(factory: SpoolFactory) -> None:
    hint = "No traces found. Run ci.profile() from Python to produce some.\n"
    assert (run(factory).stdout, run(factory).exit_code) == (hint, 0)
    factory.directory.mkdir(parents=True)
    assert (run(factory).stdout, run(factory).exit_code) == (hint, 0)
    assert json.loads(run(factory, "--json").stdout)["sessions"] == []


def test_broken_file_is_named_on_stderr_and_the_rest_is_shown(factory: SpoolFactory) -> None:
    training_run(factory)
    factory.write_text("7-broken.json", "[")
    result = run(factory)
    assert result.exit_code == 0
    assert "00000001…" in result.stdout
    assert result.stderr.startswith("Warning: skipped ")
    assert "7-broken.json" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_spool_can_come_from_the_environment(factory: SpoolFactory) -> None:
    training_run(factory)
    environment = {"CIRRON_SPOOL": str(factory.directory)}
    result = CliRunner(env=environment).invoke(cirron, ["traces", "list"])
    assert "(1 session)" in result.stdout


def test_spool_is_by_default_below_the_working_directory(
    factory: SpoolFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_run(factory)
    monkeypatch.chdir(factory.directory.parent.parent)
    monkeypatch.delenv("CIRRON_SPOOL", raising=False)
    result = CliRunner().invoke(cirron, ["traces", "list"])
    assert result.stdout.startswith(f"Spool: {factory.directory}  (1 session)")


def test_a_file_as_spool_is_wrong_usage(factory: SpoolFactory) -> None:
    path = factory.write_text("file", "")
    result = CliRunner().invoke(cirron, ["traces", "list", "--spool", str(path)])
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_a_spool_that_cannot_be_read_is_an_error(factory: SpoolFactory) -> None:
    path = factory.write_text("file", "")
    result = CliRunner().invoke(cirron, ["traces", "list", "--spool", str(path / "spool")])
    assert result.exit_code == 1
    assert result.stderr == f"Error: Could not read {path / 'spool'}: Not a directory\n"


def test_a_spool_without_permission_is_an_error(
    factory: SpoolFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    result = CliRunner().invoke(cirron, ["traces", "list", "--spool", str(factory.directory)])
    assert result.exit_code == 1
    assert result.stderr == f"Error: Could not read {factory.directory}: Permission denied\n"


def test_a_working_directory_that_is_gone_has_no_traces(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os; os.rmdir(os.getcwd()); from cirron.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "traces", "list"], cwd=gone, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("No traces found.")


def test_table_has_no_colour_and_is_not_cut_when_piped(factory: SpoolFactory) -> None:
    training_run(factory)
    command = [sys.executable, "-m", "cirron", "traces", "list", "--spool", str(factory.directory)]
    inherited = {k: v for k, v in os.environ.items() if k != "FORCE_COLOR"}
    environment = inherited | {"COLUMNS": "40"}
    piped = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "\x1b" not in piped.stdout
    assert "2026-04-21T14:22:05.001Z" in piped.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_table_fits_the_terminal(factory: SpoolFactory, columns: int) -> None:
    training_run(factory)
    lines = run_on_terminal(factory, columns, NO_COLOR="1").splitlines()
    box = lines[1:]
    assert len({len(line) for line in box}) == 1
    assert len(box[0]) <= columns
    started = "04-21 14:22Z" if columns == 80 else "2026-04-21T14:22:05.001Z"
    assert f"│ {started} │" in box[3]


def test_colour_is_on_a_terminal_only_without_no_color(factory: SpoolFactory) -> None:
    training_run(factory)
    assert "\x1b[" in run_on_terminal(factory, 120)
    assert "\x1b[" not in run_on_terminal(factory, 120, NO_COLOR="1")
    assert "\x1b[" not in run_on_terminal(factory, 120, TERM="dumb")


def test_table_is_ascii_where_the_terminal_is(factory: SpoolFactory) -> None:
    training_run(factory)
    result = CliRunner(charset="ascii").invoke(
        cirron, ["traces", "list", "--spool", str(factory.directory)]
    )
    assert result.exit_code == 0
    assert result.stdout.isascii()
    assert "| 00000001... |" in result.stdout


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (145723, "142.3 KB"),
        (1048575, "1.0 MB"),
        (5 << 30, "5.0 GB"),
        (3 << 40, "3.0 TB"),
    ],
)
def test_sizes_have_one_decimal(number: int, text: str) -> None:
    assert output.size(number) == text


def test_times_outside_the_calendar_are_shown_as_numbers() -> None:
    assert output.timestamp(2**63 - 1) == "2262-04-11T23:47:16.854Z"
    assert output.timestamp(-(2**63)) == "1677-09-21T00:12:43.145Z"
    assert output.timestamp(10**21) == f"{10**21}ns"
