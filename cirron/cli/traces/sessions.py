"""What every verb begins with: the spool it reads and the session it means."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cirron import spool as spool_files
from cirron._core import SpanTable
from cirron.cli import output

NO_TRACES = "No traces found. Run ci.profile() from Python to produce some."

_MOST_MATCHES = 10

spool_option = click.option(
    "--spool",
    type=click.Path(file_okay=False, readable=False, path_type=Path),
    metavar="<dir>",
    envvar="CIRRON_SPOOL",
    show_envvar=True,
    default=spool_files.DEFAULT_DIRECTORY,
    show_default=True,
    help="Spool directory, or the directory around it, as profile(path=...) has it.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass(frozen=True, slots=True)
class Session:
    """One lifetime of `ci.profile()` in one process."""

    number: int
    """The table's number of it, for `SpanTable.tree`."""
    id: str
    row: int
    """The root span's row; -1 for the synthetic session of orphan spans."""
    started_ns: int
    ended_ns: int | None
    spans: int
    marks: int
    snapshots: int
    bytes: int
    sdk_version: str | None

    @property
    def live(self) -> bool:
        """Whether the root has not been seen to close."""
        return self.ended_ns is None

    def as_json(self) -> dict[str, Any]:
        """The session without its spans; ns as strings, since a double can't hold them."""
        return {
            "id": self.id,
            "started_ns": str(self.started_ns),
            "ended_ns": None if self.ended_ns is None else str(self.ended_ns),
            "live": self.live,
            "spans": self.spans,
            "marks": self.marks,
            "snapshots": self.snapshots,
            "bytes": self.bytes,
            "sdk_version": self.sdk_version,
        }


@dataclass(frozen=True, slots=True)
class Traces:
    """A spool that was read."""

    directory: Path
    table: SpanTable
    sessions: list[Session]
    """Newest first."""


def read(path: Path) -> Traces:
    """Reads the spool at `path`, with a warning on stderr for each broken file."""
    directory = spool_files.directory(path)
    try:
        table = spool_files.read(directory)
    except OSError as error:
        shown = output.printable(str(directory))
        raise click.ClickException(f"Could not read {shown}: {error.strerror}") from error
    for warning in table.warnings:
        output.warn(f"skipped {warning}")
    sessions = [Session(number=number, **found) for number, found in enumerate(table.sessions())]
    return Traces(directory, table, sessions)


def find(sessions: Sequence[Session], prefix: str) -> Session:
    """Returns the one session whose id begins with `prefix`.

    The ellipsis of an id copied from `traces list` is ignored.

    Raises:
        click.ClickException: none or several begin so.
    """
    wanted = prefix.removesuffix("…")
    matches = [session for session in sessions if session.id.startswith(wanted)]
    exact = [session for session in matches if session.id == wanted]
    if exact or len(matches) == 1:
        return (exact or matches)[0]
    if not matches:
        raise click.ClickException(f"No session found matching {prefix}")
    lines = [f"{len(matches)} sessions match {prefix}:"]
    for session in matches[:_MOST_MATCHES]:
        lines.append(f"  {output.printable(session.id)}  {output.timestamp(session.started_ns)}")
    if len(matches) > _MOST_MATCHES:
        lines.append(f"  and {len(matches) - _MOST_MATCHES} more")
    raise click.ClickException("\n".join(lines))
