"""`cirron traces clear`, on real files."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis.strategies import DataObject, booleans, data, integers, sampled_from
from spool_factory import MS, START, Record, SpoolFactory, training_run
from support import run_script
from terminal import Terminal

from cirron import spool
from cirron.cli.main import cirron

DAY = 86_400_000.0
LONG_AGO = 1_700_000_000


@pytest.fixture
def factory(tmp_path: Path) -> SpoolFactory:
    return SpoolFactory(tmp_path / ".cirron" / "spool")


def run(factory: SpoolFactory, *args: str) -> Result:
    arguments = ["traces", "clear", "--spool", str(factory.directory), *args]
    return CliRunner().invoke(cirron, arguments)


def command(factory: SpoolFactory, *args: str) -> list[str]:
    module = [sys.executable, "-m", "cirron", "traces", "clear"]
    return [*module, "--spool", str(factory.directory), *args]


def ended(factory: SpoolFactory, day: float) -> Record:
    """A session in a file of its own."""
    root = factory.session(day * DAY, day * DAY + 1)
    factory.write([root, factory.span("step", root, day * DAY, day * DAY + 0.5)])
    return root


def live(factory: SpoolFactory, day: float) -> Record:
    root = factory.session(day * DAY, None)
    factory.write([root])
    return root


def snapshots(factory: SpoolFactory) -> Path:
    return factory.directory.parent / "snapshots"


def snapshot_folder(factory: SpoolFactory, name: str) -> Path:
    """A snapshot directory that was written long ago."""
    folder = snapshots(factory) / name
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"w" * 100)
    os.utime(folder, (LONG_AGO, LONG_AGO))
    return folder


def sessions(factory: SpoolFactory) -> list[str]:
    return [session["id"] for session in spool.read(factory.directory).sessions()]


def state(folder: Path) -> dict[str, bytes | None]:
    """Every path below, and what its file holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_without_options_every_ended_session_goes(factory: SpoolFactory) -> None:
    ended(factory, 0)
    training_run(factory)
    running = live(factory, 1)
    result = run(factory, "--yes")
    assert result.exit_code == 0
    assert result.stdout.startswith("Deleted 2 sessions (13 spans, ")
    assert result.stdout.endswith(
        "0 snapshot dirs): 2 batch files deleted, 0 rewritten, 0 snapshot dirs removed.\n"
    )
    assert sessions(factory) == [running["id"]]
    assert len(spool.batch_files(factory.directory)) == 1


def test_spool_without_live_sessions_is_empty_afterwards(factory: SpoolFactory) -> None:
    root = ended(factory, 0)
    factory.write([], [factory.mark(root, "late", 1), factory.mark({**root, "id": "root"}, "x", 1)])
    assert run(factory, "--yes").exit_code == 0
    assert list(factory.directory.iterdir()) == []


def test_keep_retains_the_newest_ended_sessions_and_every_live_one(factory: SpoolFactory) -> None:
    roots = [ended(factory, day) for day in range(4)]
    running = live(factory, -1)
    assert run(factory, "--keep", "2", "--yes").exit_code == 0
    assert sessions(factory) == [roots[3]["id"], roots[2]["id"], running["id"]]
    assert run(factory, "--keep", "0", "--yes").exit_code == 0
    assert sessions(factory) == [running["id"]]


def test_before_takes_what_started_earlier_live_sessions_too(factory: SpoolFactory) -> None:
    ended(factory, 0)
    live(factory, 0.1)
    exact = ended(factory, 1)
    running = live(factory, 1.1)
    assert run(factory, "--before", "2026-04-22T14:22:05.001Z", "--yes").exit_code == 0
    assert sessions(factory) == [running["id"], exact["id"]]


def test_before_and_keep_together_spare_live_sessions(factory: SpoolFactory) -> None:
    running = live(factory, 0)
    ended(factory, 0.1)
    kept = [ended(factory, 0.2), ended(factory, 5)]
    assert run(factory, "--before", "2026-04-23", "--keep", "2", "--yes").exit_code == 0
    assert sessions(factory) == [kept[1]["id"], kept[0]["id"], running["id"]]


@pytest.mark.parametrize(
    ("date", "goes"),
    [
        ("2026-04-21", False),
        ("2026-04-22", True),
        ("20260422", True),
        ("2026-W17-3", True),
        ("2026-04-21T14:22:05.001Z", False),
        ("2026-04-21T14:22:05.002Z", True),
        ("2026-04-21T14:22:05.002", True),
        ("2026-04-21 14:22:06", True),
        ("2026-04-21T16:22:05+02:00", False),
        ("2026-04-21T16:22:06+02:00", True),
        ("0001-01-01", False),
        ("9999-12-31", True),
    ],
)
def test_before_takes_iso_dates_as_utc(factory: SpoolFactory, date: str, goes: bool) -> None:
    training_run(factory)
    assert run(factory, "--before", date, "--yes").exit_code == 0
    assert (sessions(factory) == []) == goes


@pytest.mark.parametrize(
    "date", ["", "yesterday", "2026-13-01", "2026-04-20x12:00", "5", "\x1b[1m"]
)
def test_before_that_is_no_date_is_wrong_usage(factory: SpoolFactory, date: str) -> None:
    training_run(factory)
    result = run(factory, "--before", date, "--yes")
    assert result.exit_code == 2
    shown = date.replace("\x1b", r"\x1b")
    last = result.stderr.splitlines()[-1]
    assert last == f"Error: Invalid --before date: {shown} (expected ISO-8601)"
    assert sessions(factory) != []


def test_file_shared_with_a_session_that_stays_loses_only_the_cleared_records(
    factory: SpoolFactory,
) -> None:
    old, new = factory.session(0, 1), factory.session(DAY, DAY + 1)
    step = factory.span("step", old, 0, 1)
    kept = factory.span(
        "step", new, DAY, DAY + 1, start_ns=2**63 - 1, extra={"x": [1.5, "é\ud800"]}
    )
    marks = [factory.mark(step, "loss", 0.5), factory.mark(new, "loss", 1e-300)]
    records = [factory.snapshot(step), factory.snapshot(kept)]
    path = factory.write([old, kept, step, new], marks, records)
    before = json.loads(path.read_text())
    path.write_text(json.dumps(before | {"future": {"n": 2**70}}))
    path.chmod(0o640)
    result = run(factory, "--keep", "1", "--yes")
    assert "0 batch files deleted, 1 rewritten" in result.stdout
    assert json.loads(path.read_text()) == before | {
        "future": {"n": 2**70},
        "spans": [kept, new],
        "marks": [marks[1]],
        "snapshots": [records[1]],
    }
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(factory.directory) == [path.name]
    assert sessions(factory) == [new["id"]]


def test_records_of_a_session_in_later_files_go_too(factory: SpoolFactory) -> None:
    old = factory.session(0, None)
    step = factory.span("step", old, 0, 1)
    factory.write([old])
    factory.write([], [factory.mark(step, "early", 1)])
    factory.write([step])
    factory.write([old | {"end_ns": START + MS}], [], [factory.snapshot(step)])
    kept = ended(factory, 1)
    assert run(factory, "--keep", "1", "--yes").exit_code == 0
    assert len(spool.batch_files(factory.directory)) == 1
    assert sessions(factory) == [kept["id"]]


def test_records_of_no_session_stay_while_a_live_session_may_own_them(
    factory: SpoolFactory,
) -> None:
    old = factory.session(0, 1)
    running = factory.session(1, None)
    inside_an_open_span = factory.span("step", {"id": "still-open"}, 2, 3)
    path = factory.write([old, inside_an_open_span])
    factory.write([running])
    assert run(factory, "--yes").exit_code == 0
    assert json.loads(path.read_text())["spans"] == [inside_an_open_span]


def test_spans_whose_root_is_missing_are_left_when_they_share_no_file(
    factory: SpoolFactory,
) -> None:
    ended(factory, 0)
    lost = factory.write([factory.span("step", {"id": "dropped"}, 2, 3)])
    assert run(factory, "--yes").exit_code == 0
    assert spool.batch_files(factory.directory) == [lost]


def test_orphan_spans_of_a_spool_without_sessions_can_be_cleared(factory: SpoolFactory) -> None:
    factory.write([factory.span("step", {"id": "gone"}, 2, 3)])
    assert "1 session (1 span, " in run(factory, "--yes").stdout
    assert spool.batch_files(factory.directory) == []


def test_snapshots_of_cleared_spans_go_and_those_of_others_stay(factory: SpoolFactory) -> None:
    old, new = ended(factory, 0), ended(factory, 1)
    gone, kept = snapshot_folder(factory, old["id"]), snapshot_folder(factory, new["id"])
    result = run(factory, "--keep", "1", "--yes")
    assert "1 snapshot dir): 1 batch file deleted" in result.stdout
    assert not gone.exists()
    assert kept.exists()


def test_orphan_snapshots_are_swept_unless_refused(factory: SpoolFactory) -> None:
    ended(factory, 0)
    kept = live(factory, 1)
    orphan, referred = snapshot_folder(factory, "feed"), snapshot_folder(factory, kept["id"])
    assert run(factory, "--no-prune-orphans", "--yes").exit_code == 0
    assert orphan.exists()
    result = run(factory, "--yes")
    assert result.stdout.startswith("Deleted 1 orphan snapshot dir: ")
    assert not orphan.exists()
    assert referred.exists()


def test_orphans_are_swept_when_the_whole_spool_is_gone(factory: SpoolFactory) -> None:
    orphan = snapshot_folder(factory, "feed")
    assert run(factory, "--yes").exit_code == 0
    assert not orphan.exists()


def test_orphan_sweep_spares_what_is_no_snapshot_directory(factory: SpoolFactory) -> None:
    ended(factory, 0)
    foreign = snapshot_folder(factory, "models")
    (foreign / "config.json").write_text("{}")
    nested = snapshot_folder(factory, "nested")
    (nested / "inner").mkdir()
    writing = snapshot_folder(factory, "writing")
    (writing / "gradients.safetensors.tmp").write_bytes(b"")
    (snapshots(factory) / "a file").write_text("x")
    odd = snapshot_folder(factory, "odd name")
    before = state(snapshots(factory))
    assert run(factory, "--yes").exit_code == 0
    assert state(snapshots(factory)) == before
    assert odd.exists()


def test_orphans_stay_while_a_live_session_may_be_about_to_name_them(
    factory: SpoolFactory,
) -> None:
    root = live(factory, 0)
    factory.write([factory.span("step", {"id": "open-epoch"}, 1, 2), root])
    young, epoch = snapshot_folder(factory, "young"), snapshot_folder(factory, "open-epoch")
    os.utime(young)
    old = snapshot_folder(factory, "old")
    assert run(factory, "--yes").exit_code == 0
    assert young.exists()
    assert epoch.exists()
    assert not old.exists()


def test_orphans_stay_when_a_broken_file_may_refer_to_them(factory: SpoolFactory) -> None:
    ended(factory, 0)
    factory.write_text(f"{START}-broken.json", '{"spans": [')
    orphan = snapshot_folder(factory, "feed")
    result = run(factory, "--yes")
    assert result.exit_code == 0
    assert "orphan snapshot directories were left alone" in result.stderr
    assert orphan.exists()
    assert [file.name for file in factory.directory.iterdir()] == [f"{START}-broken.json"]


@pytest.mark.parametrize("name", ["..", ".", "../../precious", "/precious", "a/b", "a\0b", ""])
def test_hostile_span_ids_name_no_path(factory: SpoolFactory, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "weights.safetensors").write_text("mine")
    snapshot_folder(factory, "a")
    root = factory.session(0, 1, id=name or "x")
    factory.write([root, factory.span("step", root, 0, 1, id=name)])
    assert run(factory, "--yes", "--no-prune-orphans").exit_code == 0
    assert (precious / "weights.safetensors").read_text() == "mine"
    assert (snapshots(factory) / "a").exists()


def test_symlinks_in_both_directories_are_not_followed(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    outside = SpoolFactory(tmp_path / "outside")
    root = outside.session(0, 1)
    target = outside.write([root])
    for name in (root["id"], "feed"):
        (outside.directory / name).mkdir()
        (outside.directory / name / "weights.safetensors").write_text("mine")
    before = state(outside.directory)
    factory.directory.mkdir(parents=True)
    snapshots(factory).mkdir()
    (factory.directory / target.name).symlink_to(target)
    (snapshots(factory) / root["id"]).symlink_to(outside.directory / root["id"])
    (snapshots(factory) / "feed").symlink_to(outside.directory / "feed")
    inner = snapshot_folder(factory, "dead")
    (inner / "gradients.safetensors").symlink_to(target)
    result = run(factory, "--yes")
    assert f"{target.name} is a symbolic link and was left alone" in result.stderr
    assert not inner.exists()
    assert (snapshots(factory) / "feed").is_symlink()
    assert state(outside.directory) == before


def test_spool_that_is_a_symlink_is_refused(factory: SpoolFactory, tmp_path: Path) -> None:
    training_run(factory)
    link = tmp_path / "link"
    link.symlink_to(factory.directory)
    result = CliRunner().invoke(cirron, ["traces", "clear", "--spool", str(link), "--yes"])
    assert result.exit_code == 1
    assert result.stderr == f"Error: Could not clear {link}: is a symbolic link\n"
    assert len(spool.batch_files(factory.directory)) == 1


def test_snapshots_directory_that_is_a_symlink_is_left(
    factory: SpoolFactory, tmp_path: Path
) -> None:
    root = ended(factory, 0)
    (tmp_path / "elsewhere" / root["id"]).mkdir(parents=True)
    snapshots(factory).symlink_to(tmp_path / "elsewhere")
    result = run(factory, "--yes")
    assert result.exit_code == 0
    assert "snapshots is a symbolic link: it was left alone" in result.stderr
    assert (tmp_path / "elsewhere" / root["id"]).exists()
    assert sessions(factory) == []


def test_other_files_in_the_spool_are_left(factory: SpoolFactory) -> None:
    ended(factory, 0)
    factory.write_text(f"{START}-{'0' * 32}.json.tmp", "half")
    factory.write_text("notes.txt", "mine")
    assert run(factory, "--yes").exit_code == 0
    assert sorted(path.name for path in factory.directory.iterdir()) == [
        f"{START}-{'0' * 32}.json.tmp",
        "notes.txt",
    ]


def test_dry_run_changes_nothing_and_names_everything(factory: SpoolFactory) -> None:
    old, new = factory.session(0, 1), factory.session(DAY, DAY + 1)
    shared = factory.write([old, new])
    alone = factory.write([factory.span("step", old, 0, 1)])
    snapshot_folder(factory, old["id"])
    snapshot_folder(factory, "feed")
    before = state(factory.directory.parent)
    result = run(factory, "--keep", "1", "--dry-run")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Would delete 1 session (2 spans, ")
    assert lines[0].endswith(", 2 snapshot dirs):")
    assert lines[1:] == [
        f"  session {old['id']}  2026-04-21T14:22:05.001Z",
        f"  rewrite {shared.name}",
        f"  delete {alone.name}",
        f"  delete snapshots/{old['id']}/",
        "  delete snapshots/feed/ (orphan)",
    ]
    assert state(factory.directory.parent) == before


@pytest.mark.parametrize("arguments", [[], ["--yes"], ["--dry-run"], ["--keep", "3"]])
def test_nothing_to_clear_is_said(factory: SpoolFactory, arguments: list[str]) -> None:
    for _ in range(2):
        result = run(factory, *arguments)
        assert (result.stdout, result.exit_code) == ("Nothing to clear.\n", 0)
        if not sessions(factory):
            live(factory, 0)


def test_without_a_terminal_yes_is_required(factory: SpoolFactory) -> None:
    ended(factory, 0)
    result = run(factory)
    assert result.exit_code == 2
    assert "Pass --yes." in result.stderr
    assert len(sessions(factory)) == 1


def test_unwritable_spool_is_a_failure_that_says_what_was_done(
    factory: SpoolFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ended(factory, 0)
    snapshot_folder(factory, root["id"])

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr("shutil.rmtree", lambda name, dir_fd: None)
    result = run(factory, "--yes")
    assert result.exit_code == 1
    (file,) = spool.batch_files(factory.directory)
    assert f"could not delete {file.name}: Permission denied" in result.stderr
    assert result.stderr.splitlines()[-1] == (
        "Error: Not everything could be deleted: "
        "0 batch files deleted, 0 rewritten, 1 snapshot dir removed."
    )


def test_full_disk_leaves_a_shared_file_as_it_was(
    factory: SpoolFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = factory.write([factory.session(0, 1), factory.session(DAY, None)])
    before = state(factory.directory)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run(factory, "--yes")
    assert result.exit_code == 1
    assert f"could not delete {path.name}: No space left on device" in result.stderr
    assert state(factory.directory) == before


def test_files_that_vanish_meanwhile_are_no_failure(
    factory: SpoolFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(factory, 0)
    (file,) = spool.batch_files(factory.directory)
    unlink = os.unlink

    def too_late(path: Any, *, dir_fd: int | None = None) -> None:
        if file.exists():
            unlink(file)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", too_late)
    result = run(factory, "--yes")
    assert result.exit_code == 0
    assert "0 batch files deleted" in result.stdout


def test_live_session_that_writes_meanwhile_loses_nothing(tmp_path: Path) -> None:
    """Sessions are cleared again and again while another process records."""
    factory = SpoolFactory(tmp_path / ".cirron" / "spool")
    code = (
        "import cirron as ci, itertools, os, time\n"
        "ci.profile(flush_interval=0.01)\n"
        "ci.flush()\n"
        "print('ready', flush=True)\n"
        "with ci.scope('epoch'):\n"
        "    for number in itertools.count(1):\n"
        "        with ci.scope('step', index=number):\n"
        "            ci.mark('loss', number)\n"
        "        if number % 10 == 0:\n"
        "            time.sleep(0.002)\n"  # what it writes stays far below the spool's cap
        "            if os.path.exists('stop'):\n"
        "                break\n"
        "ci.shutdown()\n"
        "print(number)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        for _ in range(10):
            ended(factory, 0)
            result = run(factory, "--yes")
            assert "Deleted 1 session (2 spans, " in result.stdout
        (tmp_path / "stop").touch()
        steps = int(writer.stdout.readline())
    (session,) = spool.read(factory.directory).sessions()
    assert (session["spans"], session["marks"]) == (steps + 2, steps)
    assert session["ended_ns"] is not None


def test_real_session_can_be_recorded_and_cleared(tmp_path: Path) -> None:
    run_script("""
        import cirron as ci
        ci.mark("before", 1)
        ci.profile()
        with ci.scope("epoch"):
            ci.mark("loss", 0.5)
        ci.shutdown()
    """)
    factory = SpoolFactory(tmp_path / ".cirron" / "spool")
    assert "Deleted 1 session (2 spans, " in run(factory, "--yes").stdout
    assert list(factory.directory.iterdir()) == []


def test_prompt_counts_and_takes_no_for_an_answer(factory: SpoolFactory) -> None:
    root = ended(factory, 0)
    spans = [factory.span("step", root) for _ in range(5242)]
    factory.write(spans)
    snapshot_folder(factory, root["id"])
    snapshot_folder(factory, "feed")
    before = state(factory.directory.parent)
    for answer in ("n\n", "\n"):
        with Terminal(command(factory)) as terminal:
            shown = terminal.read_until("(y/N) ")
            assert shown.startswith("? Delete 1 session (5,244 spans, 1.")
            assert shown.endswith(" MB, 2 snapshot dirs)? (y/N) ")
            terminal.write(answer)
            assert "Nothing was deleted." in terminal.read_all()
        assert terminal.status == 0
    assert state(factory.directory.parent) == before
    with Terminal(command(factory)) as terminal:
        terminal.read_until("(y/N) ")
        terminal.write("y\n")
        assert "2 batch files deleted" in terminal.read_all()
    assert terminal.status == 0
    assert sessions(factory) == []


def test_interrupt_at_the_prompt_deletes_nothing(factory: SpoolFactory) -> None:
    ended(factory, 0)
    with Terminal(command(factory)) as terminal:
        terminal.read_until("(y/N) ")
        time.sleep(0.3)  # A signal just before the program waits for input goes unnoticed.
        terminal.write("\x03")
        assert "Interrupted: nothing was deleted." in terminal.read_all()
    assert terminal.status == 130
    assert len(sessions(factory)) == 1


def test_interrupt_stops_and_reports_what_was_done(factory: SpoolFactory) -> None:
    """Every deletion takes 20 ms here, so that Ctrl-C comes in the middle."""
    roots = [ended(factory, day) for day in range(300)]
    for root in roots[:3]:
        snapshot_folder(factory, root["id"])
    slow = (
        "import os, shutil, sys, time; unlink = os.unlink\n"
        "os.unlink = lambda *a, **k: (time.sleep(0.02), unlink(*a, **k))\n"
        "sys.argv[0] = 'cirron'\n"
        "from cirron.cli.main import main; main()"
    )
    arguments = ["traces", "clear", "--yes", "--spool", str(factory.directory)]
    with Terminal([sys.executable, "-c", slow, *arguments]) as terminal:
        while len(spool.batch_files(factory.directory)) > 260:
            time.sleep(0.01)
        terminal.write("\x03")
        shown = terminal.read_all()
    left = len(spool.batch_files(factory.directory))
    assert terminal.status == 130
    assert 0 < left < 300
    assert (
        f"Interrupted: {300 - left} batch files deleted, 0 rewritten, 3 snapshot dirs removed; "
    ) in shown
    assert "Deleting" in shown
    assert len(sessions(factory)) == left


def test_interrupt_of_a_script_ends_with_130(factory: SpoolFactory) -> None:
    ended(factory, 0)
    code = (
        "import os, shutil, signal, sys; unlink = os.unlink\n"
        "def stop(*a, **k): unlink(*a, **k); os.kill(os.getpid(), signal.SIGINT)\n"
        "os.unlink = stop\n"
        "from cirron.cli.main import main; main()"
    )
    ended(factory, 1)
    arguments = ["traces", "clear", "--yes", "--spool", str(factory.directory)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.startswith("Interrupted: 1 batch file deleted, 0 rewritten, 0 snapshot dirs")
    assert len(sessions(factory)) == 1


@settings(max_examples=60)
@given(data())
def test_exactly_the_records_of_cleared_sessions_go(draw: DataObject) -> None:
    """Sessions of a few spans, their records anywhere in a few files."""
    with tempfile.TemporaryDirectory() as folder:
        factory = SpoolFactory(Path(folder) / "spool")
        files: list[tuple[list[Record], list[Record], list[Record]]]
        files = [([], [], []) for _ in range(draw.draw(integers(1, 4)))]
        owners: dict[str, int] = {}
        number_of_sessions = draw.draw(integers(1, 4))
        for number in range(number_of_sessions):
            root = factory.session(number * DAY, number * DAY + 1)
            spans = [root, *(factory.span("step", root, number * DAY) for _ in range(2))]
            groups = (
                spans,
                [factory.mark(draw.draw(sampled_from(spans)), "loss", 0.5)],
                [factory.snapshot(draw.draw(sampled_from(spans)))],
            )
            for kind, group in enumerate(groups):
                for record in group:
                    draw.draw(sampled_from(files))[kind].append(record)
                    owners[record["id"]] = number
        if draw.draw(booleans()):
            stray = factory.span("lost", {"id": "gone"}, 0)
            files[0][0].append(stray)
            owners[stray["id"]] = -1
        for day, records in enumerate(files):
            factory.write(*records, created_ns=START + round((day + 0.5) * DAY * MS))
        keep = draw.draw(integers(1, 4))
        assert run(factory, "--keep", str(keep), "--yes").exit_code == 0
        left = {
            record["id"]
            for path in spool.batch_files(factory.directory)
            for kind in ("spans", "marks", "snapshots")
            for record in json.loads(path.read_text())[kind]
        }
        expected = {i for i, owner in owners.items() if owner >= max(number_of_sessions - keep, 0)}
        assert left - {i for i, owner in owners.items() if owner == -1} == expected
