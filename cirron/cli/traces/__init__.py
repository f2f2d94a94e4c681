"""`cirron traces`: one verb a module."""

import click

from cirron.cli.traces.clear import clear
from cirron.cli.traces.export import export
from cirron.cli.traces.list import list_sessions
from cirron.cli.traces.snapshot import snapshot
from cirron.cli.traces.snapshots import snapshots
from cirron.cli.traces.view import view


@click.group()
def traces() -> None:
    """Read the traces that ci.profile() left on this disk.

    Everything works on the local spool; nothing goes over the network.
    """


traces.add_command(list_sessions)
traces.add_command(clear)
traces.add_command(export)
traces.add_command(view)
traces.add_command(snapshots)
traces.add_command(snapshot)
