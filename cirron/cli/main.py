"""The program `cirron`: its group of commands and its exit status."""

import io
import sys
from typing import NoReturn

import click

from cirron.cli.completion import PROGRAM, completion
from cirron.cli.traces import traces

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cirron-sdk", prog_name=PROGRAM)
def cirron() -> None:
    """Profile training and serving, and look at what was recorded."""


cirron.add_command(traces)
cirron.add_command(completion)


def main() -> NoReturn:
    """Runs the program and exits.

    The status is 0 when done, 1 when something was not found or failed, 2 for wrong
    usage, 130 when interrupted.
    """
    if sys.stdout is None:  # closed by the caller
        sys.stdout = io.StringIO()
    try:
        status = cirron.main(prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        status = INTERRUPTED
    sys.exit(status)
