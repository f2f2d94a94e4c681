"""What becomes of a request whose function has returned something that is worth a look."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from cirron import _core
from cirron.serving.stream import StreamRecord, is_stream, stand_in
from cirron.serving.tokens import mark_tokens
from cirron.serving.usage import read_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def finish(request: _core.Scope, result: Any, timed: bool) -> Any:
    """Marks and closes the request, or leaves that to the stream that was returned.

    Returns:
        `result`, or for a stream what stands in for it.
    """
    if is_stream(result):
        return stand_in(result, StreamRecord(request, timed))
    if type(result) is tuple and result and is_stream(result[0]):  # Flask's (body, headers)
        return (stand_in(result[0], StreamRecord(request, timed)), *result[1:])
    if not _is_streamed_response(request, result, timed):
        mark_tokens(request, {}, read_usage(result) or {})
        request.__exit__(None, None, None)
    return result


def mark_notes(request: _core.Scope) -> None:
    """Marks what was learnt of a request that failed."""
    mark_tokens(request, {}, {})


# ---- responses of web frameworks that carry a stream

_PLACES = {  # by the package of the response's class
    "starlette": "body_iterator",
    "sse_starlette": "body_iterator",
    "fastapi": "body_iterator",
    "werkzeug": "response",
    "flask": "response",
}
_place_of: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def _is_streamed_response(request: _core.Scope, response: Any, timed: bool) -> bool:
    """Puts a stand-in in place of the body, where that is a stream."""
    kind = type(response)
    place = _place_of.get(kind)
    if place is None:
        packages = (cls.__module__.partition(".")[0] for cls in kind.__mro__)
        place = next((_PLACES[package] for package in packages if package in _PLACES), "")
        _place_of[kind] = place
    body = getattr(response, place, None) if place else None
    # Flask's send_file: a server may send the file by itself and never iterate over it.
    if not is_stream(body) or getattr(response, "direct_passthrough", False):
        return False
    setattr(response, place, stand_in(body, StreamRecord(request, timed)))
    return True
