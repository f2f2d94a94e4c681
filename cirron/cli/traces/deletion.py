"""Deletes sessions: what would go, and then its going.

A plan is made first, by reading alone; it knows every file and directory by name. The
deletion then walks through the plan, one entry after the other, relative to directories
that it holds open, so that no symbolic link that somebody puts in the way is followed.
Snapshot directories go before the batch files that name them, and files go oldest first:
the end of a session is written last, so what an interruption leaves is still that session.
"""

import errno
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from cirron import spool as spool_files
from cirron._core import SpanTable, read_spool
from cirron.cli.traces.sessions import Session, Traces

_SAFE_NAME = re.compile(r"[A-Za-z0-9._-]+")
_SNAPSHOT_FILES = frozenset({"weights.safetensors", "gradients.safetensors"})

# While a session is live, the record that names a snapshot directory may not be on disk
# yet. Far more than any flush takes.
_SETTLED_S = 600.0

_KINDS = ("spans", "marks", "snapshots")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A batch file that holds records of a session that goes."""

    name: str
    freed: int
    """Bytes."""
    shared: bool
    """Whether it also holds records that stay."""


@dataclass(slots=True)
class Plan:
    """What goes."""

    spool: Path
    sessions: list[Session]
    files: list[BatchFile] = field(default_factory=list)
    """Oldest first."""
    folders: list[str] = field(default_factory=list)
    """Snapshot directories of spans that go, by name."""
    orphans: list[str] = field(default_factory=list)
    """Snapshot directories that no session refers to."""
    notes: list[str] = field(default_factory=list)
    """What had to be left, and why."""
    known: frozenset[str] = frozenset()
    """Names of the batch files that the plan was made from."""
    spans: set[str] = field(default_factory=set)
    """Ids of the spans that go."""
    strays_go: bool = False
    """Whether records of no session go with the files that they lie in."""
    live: bool = False
    """Whether a live session stays."""

    @property
    def steps(self) -> int:
        """How many files and directories it is about."""
        return len(self.files) + len(self.folders) + len(self.orphans)


@dataclass(slots=True)
class Outcome:
    """What was done."""

    deleted: int = 0
    rewritten: int = 0
    folders: int = 0
    freed: int = 0
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False


def eligible(
    sessions: Iterable[Session], before_ns: int | None = None, keep: int | None = None
) -> list[Session]:
    """Returns the sessions that may go, of those given newest first.

    Live ones stay, unless they began before `before_ns` and no number is to be kept.
    """
    chosen = []
    closed = 0
    for session in sessions:
        if before_ns is None:
            old = not session.live
        else:
            old = session.started_ns < before_ns and (keep is None or not session.live)
        closed += not session.live
        if old and (keep is None or closed > keep):
            chosen.append(session)
    return chosen


def make_plan(
    found: Traces,
    files: Sequence[Path],
    chosen: Sequence[Session],
    *,
    prune_orphans: bool,
    advance: Callable[[int], None],
) -> Plan:
    """Finds out what the sessions' end means for each file and directory.

    Records of no session (marks made outside of one, spans whose parent was never
    written) go with the file that they share with a session that goes. They stay while
    a live session stays or a file can't be read: then they may belong there.

    Args:
        found: the spool.
        files: its batch files, listed before it was read.
        chosen: the sessions that go.
        prune_orphans: also plan for snapshot directories that no session refers to.
        advance: called with 1 after each file.

    Raises:
        OSError: a directory can't be read, or is a symbolic link.
    """
    numbers = {session.number for session in chosen}
    live = any(session.live for session in found.sessions if session.number not in numbers)
    plan = Plan(
        found.directory,
        list(chosen),
        known=frozenset(file.name for file in files),
        live=live,
        strays_go=not live and not found.table.warnings,
    )
    if chosen:
        with _open_folder(found.directory) as spool:
            _plan_files(plan, found, files, spool, advance)
    _plan_folders(plan, found.table, numbers, prune_orphans)
    return plan


def carry_out(
    plan: Plan, interrupted: Callable[[], bool], advance: Callable[[int], None]
) -> Outcome:
    """Deletes what the plan names; what has gone in the meantime counts as nothing.

    Args:
        plan: what goes.
        interrupted: asked before each step; True ends the work.
        advance: called with 1 after each step.
    """
    outcome = Outcome()
    steps = _steps(plan, outcome)
    while True:
        if interrupted():
            outcome.interrupted = True
            break
        try:
            if next(steps, None) is None:
                break
        except OSError as error:
            outcome.failures.append(f"{error.filename}: {error.strerror}")
            break
        advance(1)
    steps.close()
    return outcome


# ---- planning


def _plan_files(
    plan: Plan,
    found: Traces,
    files: Sequence[Path],
    spool: int,
    advance: Callable[[int], None],
) -> None:
    numbers = {session.number for session in plan.sessions}
    stay: set[str] = set()
    columns = found.table.strings("id"), found.table.ints("session")
    for identifier, session in zip(*columns, strict=True):
        if session >= 0 and identifier is not None:
            (plan.spans if session in numbers else stay).add(identifier)
    whole = _whole_files(plan, found, files, numbers)
    for file in files if whole is None else whole:
        about = _about(file.name, spool, plan.notes)
        if about is not None:
            freed, shared = about.st_size, False
            if whole is None:
                freed, shared = _look_into(file.name, about.st_size, spool, plan, stay)
            if freed:
                plan.files.append(BatchFile(file.name, freed, shared))
        advance(1)


def _whole_files(
    plan: Plan, found: Traces, files: Sequence[Path], numbers: Collection[int]
) -> Sequence[Path] | None:
    """Returns the files that go, if none of them is shared and that is known cheaply.

    Sessions mostly follow each other. So the files from before the first one that stays
    are taken, and the proof is that the others, read alone, hold exactly what stays.
    """
    if found.table.warnings:
        return None
    strays = [a - b for a, b in zip(_totals(found.table), _sums(found.sessions), strict=True)]
    kept = [session for session in found.sessions if session.number not in numbers]
    if not kept:
        return files if plan.strays_go and strays[0] == 0 else None
    if any(strays):
        return None
    first_ns = min(session.started_ns for session in kept)
    whole = [file for file in files if int(file.name.partition("-")[0]) < first_ns]
    rest = read_spool([str(file) for file in files[len(whole) :]])
    found_again = {session["id"]: session for session in rest.sessions()}
    same = _totals(rest) == _sums(kept) and all(
        (again := found_again.get(session.id)) is not None
        and again["ended_ns"] == session.ended_ns
        and [again[kind] for kind in _KINDS] == [getattr(session, kind) for kind in _KINDS]
        for session in kept
    )
    return whole if same else None


def _totals(table: SpanTable) -> list[int]:
    return [len(table), table.mark_count, table.snapshot_count]


def _sums(sessions: Iterable[Session]) -> list[int]:
    return [sum(getattr(session, kind) for session in sessions) for kind in _KINDS]


def _look_into(name: str, size: int, spool: int, plan: Plan, stay: set[str]) -> tuple[int, bool]:
    """Returns how many bytes would go (0: the file stays as it is), and whether some stay."""
    try:
        document = _load(name, spool)
    except FileNotFoundError:
        return 0, False
    except OSError:
        plan.notes.append(f"{name} can't be read and was left alone")
        return 0, False
    goes = stays = False
    for owner, _ in _records(document):
        goes = goes or owner in plan.spans
        stays = stays or (owner in stay if plan.strays_go else owner not in plan.spans)
    if goes and stays:
        return max(size - len(_dump(_without(document, plan.spans))), 1), True
    return (size if goes else 0), False


def _about(name: str, spool: int, notes: list[str]) -> os.stat_result | None:
    try:
        about = os.stat(name, dir_fd=spool, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(about.st_mode):
        return about
    notes.append(f"{name} is a symbolic link and was left alone")
    return None


def _load(name: str, spool: int) -> _Document:
    """Returns a batch. OSError: it can't be read or is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=spool), "rb") as file:
        try:
            document = json.load(file)
        except (ValueError, RecursionError):
            document = None
    if not isinstance(document, dict):
        raise OSError(errno.EINVAL, "is no batch", name)
    return document


def _dump(document: _Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _records(document: _Document) -> Iterator[tuple[Any, _Document]]:
    """Yields each record with the id of the span that it belongs to."""
    for kind, owner in (("spans", "id"), ("marks", "span_id"), ("snapshots", "span_id")):
        records = document.get(kind)
        for record in records if isinstance(records, list) else ():
            if isinstance(record, dict) and isinstance(record.get(owner), str):
                yield record[owner], record


def _without(document: _Document, spans: set[str]) -> _Document:
    gone = {id(record) for owner, record in _records(document) if owner in spans}
    return {
        key: [record for record in value if id(record) not in gone]
        if key in _KINDS and isinstance(value, list)
        else value
        for key, value in document.items()
    }


def _plan_folders(
    plan: Plan, table: SpanTable, numbers: Collection[int], prune_orphans: bool
) -> None:
    try:
        with _open_folder(_snapshots(plan.spool)) as snapshots:
            names = sorted(_folders(snapshots))
            plan.folders = [name for name in names if name in plan.spans]
            if not prune_orphans:
                return
            if table.warnings:
                plan.notes.append(
                    "orphan snapshot directories were left alone: a file that can't be read "
                    "may refer to them"
                )
                return
            referred = _referred(table, numbers, plan)
            plan.orphans = [
                name
                for name in names
                if name not in plan.spans
                and name not in referred
                and _is_orphan(name, snapshots, live=plan.live)
            ]
    except FileNotFoundError:
        return
    except OSError as error:
        plan.notes.append(f"{error.filename} {error.strerror}: it was left alone")


def _snapshots(spool: Path) -> Path:
    return spool.parent / "snapshots"


def _folders(snapshots: int) -> Iterator[str]:
    with os.scandir(snapshots) as entries:
        for entry in entries:
            safe = _SAFE_NAME.fullmatch(entry.name) and entry.name not in (".", "..")
            if safe and entry.is_dir(follow_symlinks=False):
                yield entry.name


def _referred(table: SpanTable, numbers: Collection[int], plan: Plan) -> set[str | None]:
    """Returns the ids of spans that stay, and of their parents.

    A span that is still open is only known as the parent of others.
    """
    referred: set[str | None] = set()
    columns = table.strings("id"), table.strings("parent_id"), table.ints("session")
    for identifier, parent, session in zip(*columns, strict=True):
        if session not in numbers if session >= 0 else not plan.strays_go:
            referred.add(identifier)
            referred.add(parent)
    return referred


def _is_orphan(name: str, snapshots: int, *, live: bool) -> bool:
    """Whether the directory holds snapshots and nothing else, and is not being written."""
    try:
        with _open_folder(name, snapshots) as folder:
            if live and time.time() - os.fstat(folder).st_mtime < _SETTLED_S:
                return False
            with os.scandir(folder) as entries:
                return all(entry.name in _SNAPSHOT_FILES for entry in entries)
    except OSError:
        return False


# ---- deleting


def _steps(plan: Plan, outcome: Outcome) -> Generator[bool, None, None]:
    """Does one step each time it is asked for the next."""
    if plan.folders or plan.orphans:
        with suppress(FileNotFoundError), _open_folder(_snapshots(plan.spool)) as snapshots:
            for name in chain(plan.folders, _still_orphans(plan, snapshots)):
                _remove_folder(name, snapshots, outcome)
                yield True
    if plan.files:
        with suppress(FileNotFoundError), _open_folder(plan.spool) as spool:
            for file in plan.files:
                _remove_records(file, spool, plan, outcome)
                yield True


def _remove_records(file: BatchFile, spool: int, plan: Plan, outcome: Outcome) -> None:
    try:
        if file.shared:
            _rewrite(file, spool, plan)
            outcome.rewritten += 1
        else:
            os.unlink(file.name, dir_fd=spool)
            outcome.deleted += 1
        outcome.freed += file.freed
    except FileNotFoundError:
        pass
    except OSError as error:
        outcome.failures.append(f"{file.name}: {error.strerror}")


def _remove_folder(name: str, snapshots: int, outcome: Outcome) -> None:
    try:
        shutil.rmtree(name, dir_fd=snapshots)
        outcome.folders += 1
    except FileNotFoundError:
        pass
    except OSError as error:
        outcome.failures.append(f"{name}: {error.strerror}")


def _still_orphans(plan: Plan, snapshots: int) -> Iterator[str]:
    """Yields the orphans that no file written since the plan refers to."""
    if not plan.orphans:
        return
    new = [str(file) for file in spool_files.batch_files(plan.spool) if file.name not in plan.known]
    table = read_spool(new)
    live = plan.live or any(session["ended_ns"] is None for session in table.sessions())
    referred = {*table.strings("id"), *table.strings("parent_id")}
    for name in plan.orphans:
        if not table.warnings and name not in referred and _is_orphan(name, snapshots, live=live):
            yield name


def _rewrite(file: BatchFile, spool: int, plan: Plan) -> None:
    """Puts a file without the records that go in the place of the file."""
    document = _load(file.name, spool)
    temporary = f"{file.name}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    mode = stat.S_IMODE(os.stat(file.name, dir_fd=spool, follow_symlinks=False).st_mode)
    with open(os.open(temporary, flags, mode, dir_fd=spool), "wb") as out:
        try:
            out.write(_dump(_without(document, plan.spans)))
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
            os.rename(temporary, file.name, src_dir_fd=spool, dst_dir_fd=spool)
        except BaseException:
            os.unlink(temporary, dir_fd=spool)
            raise


@contextmanager
def _open_folder(path: str | os.PathLike[str], folder: int | None = None) -> Iterator[int]:
    try:
        opened = os.open(path, _FOLDER, dir_fd=folder)
    except OSError as error:
        if folder is None and os.path.islink(path):
            raise OSError(errno.ELOOP, "is a symbolic link", os.fspath(path)) from error
        raise
    try:
        yield opened
    finally:
        os.close(opened)
