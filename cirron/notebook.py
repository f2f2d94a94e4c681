"""The span tree in a notebook: text, and HTML that folds.

The HTML is one list of nested `<details>`. It takes its colours from the page, so it suits
light and dark themes, and it works without scripts.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator, Sequence

from cirron.render import SpanLines, duration, tree_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EMPTY = "No spans to show: a scope appears in ci.trace() once it has closed."
MOST_SPANS = 2_000  # that a notebook is given; the rest is counted
_DEEPEST = 48  # browsers stop nesting; what lies deeper is shown at this level
_OPEN_LEVELS = 2

_STYLE = (
    "<style>"
    ".cirron-trace{font:13px/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}"
    ".cirron-trace details>details{margin-left:1.25em}"
    ".cirron-trace .leaf{margin-left:1.1em}"
    ".cirron-trace details>.leaf{margin-left:2.35em}"
    ".cirron-trace summary{cursor:pointer}"
    ".cirron-trace .name{font-weight:600}"
    ".cirron-trace .wall,.cirron-trace .marks{margin-left:.75em}"
    ".cirron-trace .marks,.cirron-trace .rest{opacity:.7}"
    ".cirron-trace .bar{display:inline-block;width:5em;height:.55em;margin-left:.75em;"
    "border-radius:2px;background:rgba(128,128,128,.25);overflow:hidden}"
    ".cirron-trace .bar i{display:block;height:100%;background:#4c8dd6}"
    "</style>"
)


def in_notebook() -> bool:
    """Says whether the caller's output goes to a Jupyter kernel's front end."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    try:
        shell = ipython.get_ipython()
    except Exception:  # half imported, or something else of this name
        return False
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


class _TraceTreeRepr:
    """What `ci.trace()` returns in a notebook: shows itself as the cell's result."""

    def __init__(self, spans: SpanLines, rows: Sequence[int], depths: Sequence[int]) -> None:
        self._spans = spans
        self._rows = rows
        self._depths = depths

    def __repr__(self) -> str:
        return self._text(len(self._rows))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self._text(MOST_SPANS), "text/html": "".join(self._html())}

    def _rest(self) -> str:
        hidden = len(self._rows) - MOST_SPANS
        return f"... {hidden:,} more spans; see ci.trace(last=...) or ci.trace(name=...)"

    def _text(self, most: int) -> str:
        line = self._spans.line
        shown = zip(self._depths[:most], self._rows[:most], strict=True)
        lines = list(tree_lines((depth, line(row)) for depth, row in shown))
        if len(self._rows) > most:
            lines.append(self._rest())
        return "\n".join(lines) or EMPTY

    def _html(self) -> Iterator[str]:
        yield f'{_STYLE}<div class="cirron-trace">'
        if not self._rows:
            yield f'<div class="rest">{html.escape(EMPTY)}</div>'
        rows = self._rows[:MOST_SPANS]
        depths = [min(depth, _DEEPEST) for depth in self._depths[:MOST_SPANS]]
        depths.append(0)  # what comes after the last
        walls: list[int] = []  # of the open <details>
        for row, depth, following in zip(rows, depths, depths[1:], strict=False):
            while len(walls) > depth:
                yield "</details>"
                walls.pop()
            wall = self._spans.wall_ns(row)
            label = self._label(row, wall, walls[-1] if walls else None)
            if following > depth:
                folded = "" if depth >= _OPEN_LEVELS else " open"
                yield f"<details{folded}><summary>{label}</summary>"
                walls.append(wall)
            else:
                yield f'<div class="leaf">{label}</div>'
        yield "</details>" * len(walls)
        if len(self._rows) > MOST_SPANS:
            yield f'<div class="rest">{html.escape(self._rest())}</div>'
        yield "</div>"

    def _label(self, row: int, wall: int, parent_wall: int | None) -> str:
        title, marks = self._spans.title(row), self._spans.marks(row)
        label = f'<span class="name">{html.escape(title)}</span>'
        label += f'<span class="wall">{duration(wall)}</span>'
        if parent_wall:
            share = min(100.0, 100 * wall / parent_wall)
            label += (
                f'<span class="bar" title="{share:.0f}% of the parent">'
                f'<i style="width:{share:.1f}%"></i></span>'
            )
        if marks:
            label += f'<span class="marks">{html.escape(marks)}</span>'
        return label
