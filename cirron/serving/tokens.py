"""The marks of a request that tell its tokens."""

from __future__ import annotations

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    Counts = dict[str, int | str]  # by the name of the mark, and "source"


def mark_tokens(request: _core.Scope, counted: Counts, usage: Counts) -> int:
    """Marks each count once: what `usage` says beats the request's notes, they the `counted`.

    Returns:
        The output tokens, 0 when they are not known.
    """
    best: dict[str, tuple[int | str, int | str]] = {}
    for counts in (counted, _core.request_notes(request) or {}, usage):
        source = counts.get("source", "")
        best.update((name, (count, source)) for name, count in counts.items() if name != "source")
    for name, (count, source) in best.items():
        _core.mark_on(request, name, count, kind="summary", source=source)
    tokens = best.get("output_tokens", (0, ""))[0]
    return tokens if isinstance(tokens, int) else 0
