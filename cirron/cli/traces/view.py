"""`cirron traces view`: the tree of spans of a session, as text or JSON.

Both forms are printed while the tree is walked, so that nothing grows with its size.
"""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click

from cirron.cli import output
from cirron.cli.output import Look
from cirron.cli.traces import sessions as traces
from cirron.cli.traces.tree import Columns, Tree

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
    help="Show the N newest sessions.",
)
@click.option(
    "--name", metavar="<substr>", help="Keep spans with this in their name, and their ancestors."
)
@click.option("--session", "prefix", metavar="<id>", help="Show the session whose id begins so.")
@click.option(
    "--depth", type=click.IntRange(min=0), metavar="<n>", help="Collapse the tree below depth N."
)
@click.option(
    "--min-wall",
    type=output.parse_duration,
    metavar="<dur>",
    help="Hide spans shorter than this, such as 500us or 1.5s.",
)
@click.option("--overhead", is_flag=True, help="Show the profiler's own time in each span.")
@traces.spool_option
@click.option("--no-color", is_flag=True, help="Print without colour.")
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
    as_json: bool,
) -> None:
    """Show the scope tree of the newest session."""
    found = traces.read(spool)
    chosen = found.sessions[:last] if prefix is None else [traces.find(found.sessions, prefix)]
    if not chosen and not as_json:
        output.write([traces.NO_TRACES])
        return
    columns = Columns(found.table)
    trees = (Tree(columns, session, overhead=overhead) for session in chosen)
    shown = (tree for tree in trees if tree.keep(name, min_wall))
    if as_json:
        output.write(_json_lines(found.directory, shown, depth))
        return
    look = output.look(no_color=no_color)
    first = next(shown, None)
    if first is None:
        output.write([f'No spans with "{output.printable(name or "")}" in their name.'])
        return
    output.write(_text_lines(chain([first], shown), depth, look))


def _text_lines(trees: Iterator[Tree], limit: int | None, look: Look) -> Iterator[str]:
    separate = False
    for tree in trees:
        if separate:
            yield ""
        separate = True
        for entering, row, depth, collapsed in tree.walk(limit):
            if entering:
                yield "  " * depth + _span_line(tree, row, depth, look)
            # A collapsed span shows nothing of its inside, its marks included.
            if entering and collapsed:
                covered = output.duration(tree.covered_ns(row, collapsed))
                spans = output.count(len(collapsed), "span")
                indent = "  " * (depth + 1)
                line = f"{look.ellipsis} {covered} ({spans}, collapsed)"
                yield f"{indent}{look.dim}{line}{look.reset}"
            elif not entering and not collapsed:
                indent = "  " * (depth + 1)
                for name, value, kind, _, _ in tree.marks(row):
                    suffix = " (summary)" if kind == "summary" else ""
                    line = f"ci.mark {output.printable(name)}={output.scalar(value)}{suffix}"
                    yield f"{indent}{look.green}{line}{look.reset}"


def _span_line(tree: Tree, row: int, depth: int, look: Look) -> str:
    start, end = tree.interval(row)
    root = depth == 0
    open_wall = "(live)" if root else "(open)"
    wall = open_wall if end is None else output.duration(end - start)
    if root:
        attrs: dict[str, Any] = {"pid": tree.number("pid", row), "rank": tree.number("rank", row)}
        attrs = {key: value for key, value in attrs.items() if value is not None}
    else:
        attrs = tree.attrs(row)
    index = tree.number("index", row)
    title = output.printable(tree.name(row)) + ("" if index is None else f"[{index}]")
    line = f"{look.bold}{title}{look.reset} {look.dash} {look.cyan}{wall}{look.reset}"
    for key, value in attrs.items():
        if not isinstance(value, dict | list):
            color = look.red if key == "error" else look.dim
            line += f" {color}{output.printable(key)}={output.scalar(value)}{look.reset}"
    return line


def _json_lines(directory: Path, trees: Iterator[Tree], limit: int | None) -> Iterator[str]:
    """One line opens a span, one closes it, so that the document can be of any depth."""
    yield f'{{"dir": {json.dumps(str(directory))}, "sessions": ['
    between_sessions = ""
    for tree in trees:
        yield f'{between_sessions}{_members(tree.session.as_json())}, "root":'
        between_sessions = ","
        between_spans = ""
        for entering, row, _, collapsed in tree.walk(limit):
            if entering:
                yield f'{between_spans}{_members(_node(tree, row, collapsed))}, "children": ['
                between_spans = ""
            else:
                yield "]}"
                between_spans = ","
        yield "}"
    yield "]}"


def _members(fields: dict[str, Any]) -> str:
    """Returns a JSON object that is still open at its end."""
    try:
        text = json.dumps(fields, allow_nan=False)
    except ValueError:
        text = json.dumps(_strict(fields))
    return text[:-1]


def _strict(value: Any) -> Any:
    """Returns `value` with NaN and the infinities spelled as in the spool."""
    if isinstance(value, float) and not math.isfinite(value):
        return output.scalar(value)
    if isinstance(value, dict):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_strict(inner) for inner in value]
    return value


def _node(tree: Tree, row: int, collapsed: Sequence[int]) -> dict[str, Any]:
    start, end = tree.interval(row)
    node: dict[str, Any] = {
        "id": tree.id(row),
        "parent_id": tree.parent_id(row),
        "name": tree.name(row),
        "index": tree.number("index", row),
        "start_ns": str(start),
        "end_ns": _ns(end),
        "duration_ns": _ns(None if end is None else end - start),
        "cpu_ns": _ns(tree.number("cpu_ns", row)),
        "gpu_ns": _ns(tree.number("gpu_ns", row)),
        "memory_peak_bytes": tree.number("memory_peak_bytes", row),
        "thread_id": tree.number("thread_id", row),
        "pid": tree.number("pid", row),
        "rank": tree.number("rank", row),
        "attrs": tree.attrs(row),
        "marks": [
            {"name": name, "value": value, "kind": kind, "ts_ns": _ns(ts_ns), "attrs": attrs}
            for name, value, kind, ts_ns, attrs in tree.marks(row)
        ],
    }
    if collapsed:
        covered = str(tree.covered_ns(row, collapsed))
        node["collapsed"] = {"spans": len(collapsed), "duration_ns": covered}
    return node


def _ns(value: int | None) -> str | None:
    return None if value is None else str(value)
