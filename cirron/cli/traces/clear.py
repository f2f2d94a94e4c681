"""`cirron traces clear`: deletes sessions and their snapshots."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import click

from cirron import spool as spool_files
from cirron.cli import output
from cirron.cli.progress import progress
from cirron.cli.traces import deletion
from cirron.cli.traces import sessions as traces
from cirron.cli.traces.deletion import Outcome, Plan

INTERRUPTED = 130

_SHAPE = re.compile(r"[0-9W-]+([T ][0-9:.,]+(Z|[+-][0-9:]+)?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EXAMPLES = """\b
Examples:
  cirron traces clear                       # every session that has ended
  cirron traces clear --dry-run
  cirron traces clear --before 2026-04-20
  cirron traces clear --keep 5 --yes
  cirron traces clear --no-prune-orphans
"""


def _parse_date(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Returns the ns since the epoch that an ISO-8601 date means; UTC where none is named."""
    if text is None:
        return None
    try:
        if not _SHAPE.fullmatch(text):
            raise ValueError
        date = datetime.fromisoformat(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return (date - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, OverflowError):
        shown = output.printable(text)
        raise click.UsageError(
            f"Invalid --before date: {shown} (expected ISO-8601)", context
        ) from None


@click.command(epilog=_EXAMPLES)
@click.option(
    "--before",
    "before_ns",
    type=str,
    metavar="<iso-date>",
    callback=_parse_date,
    help="Only sessions that started before this date, such as 2026-04-20 or "
    "2026-04-20T12:00:00Z; UTC unless it names an offset.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    metavar="<n>",
    help="Keep the N newest sessions that have ended.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would go and delete nothing.")
@click.option(
    "--no-prune-orphans",
    is_flag=True,
    help="Leave snapshot directories that no session refers to.",
)
@traces.spool_option
def clear(
    before_ns: int | None,
    keep: int | None,
    yes: bool,
    dry_run: bool,
    no_prune_orphans: bool,
    spool: Path,
) -> None:
    """Delete sessions: their batch files and their snapshots.

    Without options these are all sessions that have ended. A live session is only
    deleted by --before, and never together with --keep.
    """
    try:
        plan = _plan(spool, before_ns, keep, prune_orphans=not no_prune_orphans)
        for note in plan.notes:
            output.warn(note)
        if not plan.sessions and not plan.orphans:
            output.write(["Nothing to clear."])
            return
        if dry_run:
            output.write(_preview(plan))
            return
        if not yes and not _confirmed(plan):
            output.write(["Nothing was deleted."])
            return
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted: nothing was deleted.", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    with (
        _noticing_interrupt() as interrupted,
        progress("Deleting", plan.steps) as advance,
    ):
        outcome = deletion.carry_out(plan, interrupted, advance)
    _report(plan, outcome)


def _plan(spool: Path, before_ns: int | None, keep: int | None, *, prune_orphans: bool) -> Plan:
    try:
        # Listed first: so no file is deleted that was not read.
        files = spool_files.batch_files(spool)
        found = traces.read(spool)
        chosen = deletion.eligible(found.sessions, before_ns, keep)
        with progress("Looking into batch files", len(files)) as advance:
            return deletion.make_plan(
                found, files, chosen, prune_orphans=prune_orphans, advance=advance
            )
    except OSError as error:
        shown = output.printable(str(error.filename))
        raise click.ClickException(f"Could not clear {shown}: {error.strerror}") from error


def _what(plan: Plan) -> str:
    """Returns what goes: `3 sessions (5,244 spans, 142.3 KB, 18 snapshot dirs)`."""
    if not plan.sessions:
        return _count(len(plan.orphans), "orphan snapshot dir")
    spans = sum(session.spans for session in plan.sessions)
    size = sum(file.freed for file in plan.files)
    folders = len(plan.folders) + len(plan.orphans)
    parts = [_count(spans, "span"), output.size(size), _count(folders, "snapshot dir")]
    return f"{_count(len(plan.sessions), 'session')} ({', '.join(parts)})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _preview(plan: Plan) -> Iterator[str]:
    yield f"Would delete {_what(plan)}:"
    for session in plan.sessions:
        state = " (live)" if session.live else ""
        started = output.timestamp(session.started_ns)
        yield f"  session {output.printable(session.id)}  {started}{state}"
    for file in plan.files:
        yield f"  {'rewrite' if file.shared else 'delete'} {file.name}"
    for name in plan.folders:
        yield f"  delete snapshots/{name}/"
    for name in plan.orphans:
        yield f"  delete snapshots/{name}/ (orphan)"


def _confirmed(plan: Plan) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: stdin is no terminal. Pass --yes.")
    question = f"? Delete {_what(plan)}? (y/N)"
    return click.confirm(question, prompt_suffix=" ", show_default=False, err=True)


@contextmanager
def _noticing_interrupt() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed; pressed again, it raises."""
    pressed = False
    usual = signal.getsignal(signal.SIGINT)

    def notice(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, usual)

    if usual is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, usual)


def _report(plan: Plan, outcome: Outcome) -> None:
    files = f"{_count(outcome.deleted, 'batch file')} deleted, {outcome.rewritten:,} rewritten"
    done = f"{files}, {_count(outcome.folders, 'snapshot dir')} removed"
    for failure in outcome.failures:
        output.warn(f"could not delete {failure}")
    if outcome.interrupted:
        click.echo(f"Interrupted: {done}; {output.size(outcome.freed)} freed.", err=True)
        raise click.exceptions.Exit(INTERRUPTED)
    if outcome.failures:
        raise click.ClickException(f"Not everything could be deleted: {done}.")
    output.write([f"Deleted {_what(plan)}: {done}."])
