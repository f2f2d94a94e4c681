"""`cirron traces list`: a table of the sessions in the spool."""

import json
from pathlib import Path

import click

from cirron.cli import output
from cirron.cli.traces import sessions as traces
from cirron.cli.traces.sessions import Session

_COLUMNS = (
    output.Column("SESSION"),
    output.Column("STARTED"),
    output.Column("DURATION", right=True),
    output.Column("SPANS", right=True),
    output.Column("MARKS", right=True),
    output.Column("SNAPSHOTS", right=True),
    output.Column("SIZE", right=True),
)


_EXAMPLES = """\b
Examples:
  cirron traces list
  cirron traces list --spool ./other/.cirron/spool
  cirron traces list --json
"""


@click.command("list", epilog=_EXAMPLES)
@traces.spool_option
@traces.json_option
def list_sessions(spool: Path, as_json: bool) -> None:
    """List every session in the spool, newest first."""
    found = traces.read(spool)
    if as_json:
        document = {
            "dir": str(found.directory),
            "sessions": [session.as_json() for session in found.sessions],
        }
        output.write([json.dumps(document, indent=2)])
        return
    if not found.sessions:
        output.write([traces.NO_TRACES])
        return
    count = output.count(len(found.sessions), "session")
    rows = [_row(session, compact=False) for session in found.sessions]
    compact = [_row(session, compact=True) for session in found.sessions]
    output.write([f"Spool: {output.printable(str(found.directory))}  ({count})"])
    output.write(output.table(_COLUMNS, rows, compact))


def _row(session: Session, *, compact: bool) -> list[str]:
    return [
        session.id if session.row < 0 else output.short_id(session.id),
        output.timestamp(session.started_ns, compact=compact),
        _duration(session),
        str(session.spans),
        str(session.marks),
        str(session.snapshots),
        output.size(session.bytes),
    ]


def _duration(session: Session) -> str:
    if session.ended_ns is None:
        return "(live)"
    return output.duration(session.ended_ns - session.started_ns)
