"""`cirron completion`: the script that makes a shell complete the program's words."""

import click
from click.shell_completion import get_completion_class

from cirron.cli import output

PROGRAM = "cirron"
_VARIABLE = "_CIRRON_COMPLETE"

_EXAMPLES = """\b
Examples:
  cirron completion bash > ~/.local/share/bash-completion/completions/cirron
  cirron completion zsh > ~/.zfunc/_cirron
  cirron completion fish > ~/.config/fish/completions/cirron.fish
"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="<shell>")
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell: bash, zsh or fish."""
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(context.find_root().command, {}, PROGRAM, _VARIABLE).source()
    output.write([script])
