"""`cirron traces snapshots`: a table of the spans that have snapshots."""

import json
from pathlib import Path
from typing import Any

import click

from cirron.cli import output
from cirron.cli.traces import sessions as traces
from cirron.cli.traces import snapshot_records as records
from cirron.cli.traces.snapshot_records import SnapshotSpan

NO_SNAPSHOTS = "No snapshots found. Call ci.watch(model) in Python to record some."

_COLUMNS = (
    output.Column("SESSION"),
    output.Column("SPAN"),
    output.Column("NAME"),
    output.Column("TENSORS", right=True),
    output.Column("MODES"),
    output.Column("WITH BLOB", right=True),
)

_EXAMPLES = """\b
Examples:
  cirron traces snapshots
  cirron traces snapshots --session a541b565
  cirron traces snapshots f9480382
  cirron traces snapshots --json
"""


@click.command(epilog=_EXAMPLES)
@click.argument("span_id", metavar="[<spanId>]", required=False)
@click.option("--session", "session_prefix", metavar="<id>", help="Only of this session.")
@click.option(
    "--span", "span_option", metavar="<id>", help="Only this span; the same as the argument."
)
@traces.spool_option
@traces.json_option
def snapshots(
    span_id: str | None,
    session_prefix: str | None,
    span_option: str | None,
    spool: Path,
    as_json: bool,
) -> None:
    """List the spans that have weight and gradient snapshots."""
    if span_id is not None and span_option is not None and span_id != span_option:
        raise click.UsageError("<spanId> and --span name two spans; give one of them.")
    found = traces.read(spool)
    spans = records.spans_with_records(found)
    if session_prefix is not None:
        session = traces.find(found.sessions, session_prefix)
        spans = [span for span in spans if span.session == session]
    prefix = span_id if span_id is not None else span_option
    if prefix is not None:
        spans = [records.find(found, spans, prefix)]
    if as_json:
        document = {"dir": str(found.directory), "spans": [_as_json(span) for span in spans]}
        output.write([json.dumps(document, indent=2)])
        return
    if not spans:
        output.write([NO_SNAPSHOTS if found.sessions else traces.NO_TRACES])
        return
    number = "1 span" if len(spans) == 1 else f"{len(spans)} spans"
    output.write([f"Spool: {output.printable(str(found.directory))}  ({number} with snapshots)"])
    output.write(output.table(_COLUMNS, [_row(span) for span in spans]))


def _row(span: SnapshotSpan) -> list[str]:
    return [
        _session_id(span),
        output.short_id(span.id),
        span.label,
        str(len(span.raw)),
        output.printable(",".join(span.modes)),
        str(span.with_blob),
    ]


def _session_id(span: SnapshotSpan) -> str:
    if span.session is None:
        return records.UNKNOWN
    session = span.session
    return session.id if session.row < 0 else output.short_id(session.id)


def _as_json(span: SnapshotSpan) -> dict[str, Any]:
    return span.as_json() | {
        "tensors": len(span.raw),
        "modes": span.modes,
        "with_blob": span.with_blob,
    }
