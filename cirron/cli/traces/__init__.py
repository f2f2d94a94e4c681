"""`cirron traces`: one verb a module."""

import click

from cirron.cli.traces.list import list_sessions
from cirron.cli.traces.view import view


@click.group()
def traces() -> None:
    """Read the traces that ci.profile() left on this disk.

    Everything works on the local spool; nothing goes over the network.
    """


traces.add_command(list_sessions)
traces.add_command(view)
