"""Writes the table of options on the page of each command, from the program itself.

    python docs/cli/update_options.py

The table is the one under the heading `| Option | Description | Default |`; the rest of a
page is written by hand. The tests fail when a table is out of date.
"""

import re
from pathlib import Path

import click

from cirron.cli.main import cirron

FOLDER = Path(__file__).parent

_HEADING = "| Option | Description | Default |"
_TABLE = re.compile(re.escape(_HEADING) + r"\n(\|.*\n)*")


def commands() -> dict[str, click.Command]:
    """Returns every command that has a page, by the page's name."""
    traces = cirron.commands["traces"]
    assert isinstance(traces, click.Group)
    others = {name: command for name, command in cirron.commands.items() if command is not traces}
    return traces.commands | others


def updated(page: str, command: click.Command) -> str:
    """Returns the page with the table of today's options.

    Raises:
        ValueError: it has no table of options.
    """
    table = _table(command)
    text, count = _TABLE.subn(lambda match: table, page)
    if count != (1 if table else 0):
        raise ValueError(f"{count} tables headed {_HEADING!r}")
    return text


def _table(command: click.Command) -> str:
    rows = [_row(parameter) for parameter in command.params if isinstance(parameter, click.Option)]
    return "\n".join([_HEADING, "|---|---|---|", *rows]) + "\n" if rows else ""


def _row(option: click.Option) -> str:
    value = f" {option.metavar}" if option.metavar else ""
    text = (option.help or "").rstrip(".").replace("<", "&lt;")
    if option.envvar:
        text += f"; also read from `{option.envvar}`"
    default = f"`{option.default}`" if option.show_default else ""
    cells = [f"`{', '.join(option.opts)}{value}`", text, default]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main() -> None:
    """Brings every page up to date."""
    for name, command in commands().items():
        page = FOLDER / f"{name}.md"
        page.write_text(updated(page.read_text(), command))


if __name__ == "__main__":
    main()
