"""`cirron traces view`: the tree of spans of a session, as text or JSON.

Both forms are printed while the tree is walked, so that nothing grows with its size; the
core makes the lines.
"""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click

from cirron._core import TreeChunks
from cirron.cli import output, pager
from cirron.cli.traces import sessions as traces
from cirron.cli.traces.sessions import Session

_EXAMPLES = """\b
Examples:
  cirron traces view
  cirron traces view --last 3
  cirron traces view --name epoch
  cirron traces view --session 067fc96e
  cirron traces view --depth 2 --min-wall 1ms
  cirron traces view --spool ./other/.cirron/spool
  cirron traces view --json
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="<n>",
    default=1,
    show_default=True,
    help="Show the N newest sessions, newest first.",
)
@click.option(
    "--name", metavar="<substr>", help="Keep spans with this in their name, and their ancestors."
)
@click.option("--session", "prefix", metavar="<id>", help="Show the session whose id begins so.")
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    metavar="<n>",
    help="Collapse the tree below depth N; the root has depth 0.",
)
@click.option(
    "--min-wall",
    type=output.parse_duration,
    metavar="<dur>",
    help="Hide spans shorter than this: a number with ns, us, ms, s, m or h.",
)
@click.option(
    "--overhead", is_flag=True, help="Show the profiler's own time in each span, as a last mark."
)
@traces.spool_option
@click.option("--no-color", is_flag=True, help="Print without colour.")
@click.option("--no-pager", is_flag=True, help="Do not page what is longer than the screen.")
@traces.json_option
def view(
    last: int,
    name: str | None,
    prefix: str | None,
    depth: int | None,
    min_wall: float | None,
    overhead: bool,
    spool: Path,
    no_color: bool,
    no_pager: bool,
    as_json: bool,
) -> None:
    """Show the scope tree of the newest session."""
    found = traces.read(spool)
    chosen = found.sessions[:last] if prefix is None else [traces.find(found.sessions, prefix)]
    if not chosen and not as_json:
        output.write([traces.NO_TRACES])
        return
    style = output.look(no_color=no_color)
    trees = (
        (
            session,
            found.table.render(
                session.number,
                name=None if name is None else name.encode(errors="surrogatepass"),
                min_wall_ns=min_wall or 0.0,
                depth=-1 if depth is None else depth,
                overhead=overhead,
                json=as_json,
                color=style.color,
                ascii=style.ascii,
            ),
        )
        for session in chosen
    )
    shown = ((session, tree) for session, tree in trees if tree.named)
    if as_json:
        pager.write_chunks(_document(found.directory, shown), paged=not no_pager)
        return
    first = next(shown, None)
    if first is None:
        output.write([f'No spans with "{output.printable(name or "")}" in their name.'])
        return
    pager.write_chunks(_text(chain([first], shown)), paged=not no_pager)


def _text(trees: Iterator[tuple[Session, TreeChunks]]) -> Iterator[str | bytes]:
    separator = ""
    for _, tree in trees:
        yield separator
        yield from tree
        separator = "\n"


def _document(
    directory: Path, trees: Iterator[tuple[Session, TreeChunks]]
) -> Iterator[str | bytes]:
    yield f'{{"dir": {json.dumps(str(directory))}, "sessions": [\n'
    separator = ""
    for session, tree in trees:
        yield f'{separator}{json.dumps(session.as_json())[:-1]}, "root":\n'
        yield from tree
        yield "}\n"
        separator = ","
    yield "]}\n"
