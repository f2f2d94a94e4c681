"""What all commands of the program have in common."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from spool_factory import SpoolFactory, training_run
from terminal import Terminal

from cirron.cli.main import cirron

CIRRON = [sys.executable, "-m", "cirron"]
SHELLS = ["bash", "zsh", "fish"]


@pytest.fixture
def factory(tmp_path: Path) -> SpoolFactory:
    return SpoolFactory(tmp_path / ".cirron" / "spool")


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """A pager that marks what went through it, and where it ended."""
    script = tmp_path / "pager"
    script.write_text("#!/bin/sh\nsed 's/^/| /'\necho END $LESS\n")
    script.chmod(0o755)
    return str(script)


def piped(*arguments: str, **env: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    command = [*CIRRON, *arguments]
    done = subprocess.run(command, env=inherited | env, capture_output=True, check=True)
    return done.stdout.decode()


# ---- the pager


def test_tree_longer_than_the_screen_goes_through_the_pager(
    factory: SpoolFactory, pager: str
) -> None:
    training_run(factory, epochs=50)
    for arguments in ([], ["--json"]):
        with Terminal([*CIRRON, "traces", "view", *arguments], PAGER=pager) as terminal:
            lines = terminal.read_all().splitlines()
        assert terminal.status == 0
        assert lines[-1] == "END FRX"
        assert all(line.startswith("| ") for line in lines[:-1])
        assert len(lines) > 250


def test_tree_that_fits_the_screen_does_not(factory: SpoolFactory, pager: str) -> None:
    training_run(factory)
    with Terminal([*CIRRON, "traces", "view"], PAGER=pager, rows=14) as terminal:
        assert "| " not in terminal.read_all()
    with Terminal([*CIRRON, "traces", "view"], PAGER=pager, rows=13) as terminal:
        assert "| " in terminal.read_all()
    with Terminal([*CIRRON, "traces", "view"], PAGER=pager, rows=14, columns=20) as terminal:
        assert "| " in terminal.read_all()


@pytest.mark.parametrize("env", [{"PAGER": ""}, {"PAGER": "cat"}, {"PAGER": "no-such-pager"}])
def test_no_pager_is_started_where_there_is_none(
    factory: SpoolFactory, env: dict[str, str]
) -> None:
    training_run(factory, epochs=50)
    with Terminal([*CIRRON, "traces", "view"], **env) as terminal:
        assert terminal.read_all().count("\n") == 301
    assert terminal.status == 0


def test_pager_can_be_refused_and_is_for_terminals_only(factory: SpoolFactory, pager: str) -> None:
    training_run(factory, epochs=50)
    with Terminal([*CIRRON, "traces", "view", "--no-pager"], PAGER=pager) as terminal:
        assert "| " not in terminal.read_all()
    assert "| " not in piped("traces", "view", PAGER=pager)


def test_pager_may_have_arguments(factory: SpoolFactory) -> None:
    training_run(factory, epochs=50)
    with Terminal([*CIRRON, "traces", "view"], PAGER="sed -n '$='") as terminal:
        assert terminal.read_all() == "301\n"


def test_pager_that_is_quit_early_is_a_clean_end(factory: SpoolFactory) -> None:
    training_run(factory, epochs=3000)
    with Terminal([*CIRRON, "traces", "view"], PAGER="head -n 1") as terminal:
        assert terminal.read_all().count("\n") == 1
    assert terminal.status == 0


@pytest.mark.skipif(shutil.which("less") is None, reason="needs less")
def test_less_shows_the_first_screen_and_is_quit_with_q(factory: SpoolFactory) -> None:
    training_run(factory, epochs=3000)
    with Terminal([*CIRRON, "traces", "view"]) as terminal:
        shown = terminal.read_until(":")
        assert "\x1b[1mcirron.session\x1b[0m" in shown
        terminal.write("\x03")  # less keeps the terminal, and the program waits for it
        time.sleep(0.5)
        terminal.write("q")
        assert "Traceback" not in terminal.read_all()
    assert terminal.status in (0, 130)


# ---- colour and characters


def test_force_color_colours_a_pipe(factory: SpoolFactory) -> None:
    training_run(factory)
    for verb in ("list", "view"):
        assert "\x1b[" not in piped("traces", verb)
        assert "\x1b[" not in piped("traces", verb, FORCE_COLOR="")
        assert "\x1b[" not in piped("traces", verb, FORCE_COLOR="0")
        assert "\x1b[" in piped("traces", verb, FORCE_COLOR="1")
        assert "\x1b[" not in piped("traces", verb, FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[" not in piped("traces", "view", "--no-color", FORCE_COLOR="1")


def test_ascii_terminal_gets_ascii(factory: SpoolFactory) -> None:
    training_run(factory)
    for verb in ("list", "view"):
        assert piped("traces", verb, PYTHONIOENCODING="ascii").isascii()
        assert not piped("traces", verb, PYTHONIOENCODING="utf-8").isascii()


# ---- words


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_script_is_accepted_by_its_shell(shell: str) -> None:
    script = piped("completion", shell)
    assert "_CIRRON_COMPLETE" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_completion_knows_verbs_options_and_shells() -> None:
    def complete(*words: str) -> list[str]:
        text = " ".join(words)
        place = str(len(words) - 1)
        env = {"_CIRRON_COMPLETE": "bash_complete", "COMP_WORDS": text, "COMP_CWORD": place}
        return [line.split(",")[1] for line in piped(**env).splitlines()]

    assert "traces" in complete("cirron", "")
    assert {"list", "view", "clear"} <= set(complete("cirron", "traces", ""))
    assert complete("cirron", "traces", "clear", "--ke") == ["--keep"]
    assert complete("cirron", "completion", "z") == ["zsh"]


def test_bash_completes_a_verb(tmp_path: Path) -> None:
    program = tmp_path / "cirron"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cirron "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(piped("completion", "bash"))
    done = subprocess.run(
        ["bash", "-c", ". ./script; COMP_WORDS=(cirron traces vi); COMP_CWORD=2; "
         '_cirron_completion cirron vi; echo "${COMPREPLY[@]}"'],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "view\n"


def test_unknown_shell_is_wrong_usage() -> None:
    result = CliRunner().invoke(cirron, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "bash" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["traces", "veiw"], "view"),
        (["trace"], "traces"),
        (["traces", "clear", "--befor", "x"], "--before"),
        (["traces", "clear", "--dryrun"], "--dry-run"),
        (["traces", "view", "--nopager"], "--no-pager"),
        (["traces", "list", "--jsn"], "--json"),
    ],
)
def test_misspelt_word_gets_a_suggestion(arguments: list[str], meant: str) -> None:
    result = CliRunner().invoke(cirron, arguments)
    assert result.exit_code == 2
    assert "Did you mean" in result.stderr
    assert meant in result.stderr.split("Did you mean")[1]


def test_spool_can_be_named_by_the_environment(factory: SpoolFactory, tmp_path: Path) -> None:
    other = SpoolFactory(tmp_path / "other")
    root = training_run(other)
    ours = training_run(factory)
    assert root["id"][:8] in piped("traces", "list", CIRRON_SPOOL=str(other.directory))
    piped("traces", "clear", "--yes", CIRRON_SPOOL=str(other.directory))
    assert list(other.directory.iterdir()) == []
    assert ours["id"][:8] in piped("traces", "list")


def test_usage_names_the_program_whatever_started_it() -> None:
    assert piped("traces", "view", "--help").startswith("Usage: cirron traces view ")


@pytest.mark.parametrize("verb", ["list", "view", "clear"])
def test_help_has_examples(verb: str) -> None:
    result = CliRunner().invoke(cirron, ["traces", verb, "--help"])
    assert "Examples:\n    cirron traces " in result.stdout


def test_version_is_printed() -> None:
    assert piped("--version").startswith("cirron, version ")
