"""Streams that a served function hands out: the same items, and a request that lasts as long.

A generator function's items pass through a `Stream` of `_core`. What a function returns
keeps its own interface: the caller gets a stand-in that is of its class by `isinstance`,
has its attributes, and iterates in the turns of the request.
"""

from __future__ import annotations

import contextlib
from weakref import WeakKeyDictionary

from cirron import _core, decorate
from cirron.serving.tokens import mark_tokens
from cirron.serving.usage import EventText, merge, read_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PLAIN, _EVENTS, _UNFINISHED = 1, 2, 3  # of see_text


class StreamRecord(_core.StreamSpan):
    """The request of one stream, and what its items told of tokens."""

    def __init__(self, request: _core.Scope, timed: bool) -> None:
        super().__init__(request, timed)
        self._usage: dict[str, int | str] = {}
        self._events: EventText | None = None

    def see(self, item: object) -> None:
        """Reads the usage of an item, where it has any."""
        self._add(read_usage(item))

    def see_text(self, item: str | bytes) -> int:
        """Reads the usage in a text of events; says whether the text is one, and unfinished."""
        events = self._events
        if events is None:
            if not item.strip():
                return _UNFINISHED  # the next one tells
            if not EventText.begins_with(item):
                return _PLAIN
            events = self._events = EventText()
        self._add(events.feed(item))
        return _UNFINISHED if events.unfinished else _EVENTS

    def _add(self, found: dict[str, int | str] | None) -> None:
        if found is not None:
            merge(self._usage, found)

    def end(self, completed: bool, error: BaseException | None) -> None:
        """Marks the request and closes it."""
        request = self.request
        if request.end_ns is not None:
            return
        try:
            self._mark()
            if not completed:
                request.attrs["stream_completed"] = False
        finally:
            if error is None:
                request.__exit__(None, None, None)
            else:
                request.__exit__(type(error), error, None)

    def _mark(self) -> None:
        request = self.request
        first_ms = self.first_ms
        usage = self._usage
        if first_ms is not None and "output_tokens" not in usage:
            counted: dict[str, int | str] = {"output_tokens": self.items, "source": "stream"}
        else:
            counted = {}
        tokens = mark_tokens(request, counted, usage)
        mark = _core.mark_on
        if first_ms is not None:
            mark(request, "time_to_first_token_ms", first_ms, kind="summary")
        if self.items > 1 and self.rest_ms > 0.0:
            if tokens > 1:
                rate = (tokens - 1) / self.rest_ms * 1e3
                mark(request, "tokens_per_second", rate, kind="summary")
            mark(
                request,
                "inter_token_latency_ms",
                self.rest_ms / (self.items - 1),
                kind="summary",
                max_ms=self.longest_gap_ms,
            )
        mark(request, "request_duration_ms", self.open_ms, kind="summary")

    def __del__(self) -> None:
        if not self.ended:
            with contextlib.suppress(Exception):  # globals may be gone
                self.end(False, None)


# ---- generator functions


def generator_function(fn: Any, timed: bool) -> Any:
    """Returns a generator function whose requests open at the first item."""
    begin, record, stream = _core.open_request, StreamRecord, _core.Stream

    def source(*args: Any, **kwargs: Any) -> _core.Stream:
        return stream(fn(*args, **kwargs), record(begin(), timed))

    return decorate.generator_function(source, contextlib.nullcontext)


def async_generator_function(fn: Any, timed: bool) -> Any:
    """As `generator_function`, of an async generator function."""
    begin, record, stream = _core.open_request, StreamRecord, _core.AsyncStream

    def source(*args: Any, **kwargs: Any) -> _core.AsyncStream:
        return stream(fn(*args, **kwargs), record(begin(), timed))

    return decorate.async_generator_function(source, contextlib.nullcontext)


# ---- stand-ins for returned streams


def is_stream(value: object) -> bool:
    """Whether `value` is an iterator or async iterator, and no file."""
    kind = type(value)
    if not hasattr(kind, "__next__") and not hasattr(kind, "__anext__"):
        return False
    return not hasattr(kind, "readinto") and not hasattr(kind, "readline")


def stand_in(source: Any, record: StreamRecord) -> Any:
    """Returns what the caller gets in place of the stream `source`."""
    kind = type(source)
    made = _stand_ins.get(kind)
    if made is None:
        made = _stand_ins[kind] = _make_class(kind)
    return made(source, record)


_stand_ins: WeakKeyDictionary[type, Any] = WeakKeyDictionary()

# Of the stand-in's own, where its class has them; all else is the source's.
_OWN = frozenset(
    {"__iter__", "__next__", "send", "throw", "close", "__enter__", "__exit__"}
    | {"__aiter__", "__anext__", "asend", "athrow", "aclose", "__aenter__", "__aexit__"}
)
_CONSUMING = ("until_done", "get_final_")  # methods of the clients that iterate to the end
_of_stand_in = object.__getattribute__


class _StandIn:
    """What the stand-ins for all classes of streams share."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        source = _of_stand_in(self, "cirron_source")
        if name not in _OWN:
            value = getattr(source, name)
            if name.startswith(_CONSUMING) and hasattr(value, "__func__"):
                return type(value)(value.__func__, self)  # so that it iterates the stand-in
            if is_stream(value) and name in getattr(source, "__dict__", ()):
                return stand_in(value, _of_stand_in(self, "cirron_span"))  # such as text_stream
            return value
        getattr(source, name)  # what it lacks, we lack
        return _of_stand_in(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_of_stand_in(self, "cirron_source"), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_of_stand_in(self, "cirron_source"), name)

    def __repr__(self) -> str:
        return repr(_of_stand_in(self, "cirron_source"))

    def __dir__(self) -> list[str]:
        return dir(_of_stand_in(self, "cirron_source"))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _of_stand_in(self, "cirron_source").__reduce_ex__(protocol)


def _make_class(kind: type) -> type:
    """Makes the class of stand-ins for streams of class `kind`."""
    is_async = hasattr(kind, "__anext__")
    bases: list[type] = [_StandIn]
    if hasattr(kind, "__next__"):
        bases.append(_core.Stream)
    if is_async:
        bases.append(_core.AsyncStream)
    namespace: dict[str, Any] = {"__slots__": (), "__module__": kind.__module__}
    specials = {name for cls in kind.__mro__[:-1] for name in vars(cls) if _is_special(name)}
    for name in specials - _OWN - _NEVER_FORWARDED:
        if callable(getattr(kind, name, None)):
            namespace[name] = _forward(name)
    if hasattr(kind, "__enter__"):
        namespace.update(__enter__=_enter, __exit__=_exit)
    if hasattr(kind, "__aenter__"):
        namespace.update(__aenter__=_aenter, __aexit__=_aexit)
    if is_async and hasattr(kind, "close"):
        namespace["close"] = _close
    return type(kind.__name__, tuple(bases), namespace)


_NEVER_FORWARDED = frozenset(
    {"__new__", "__init__", "__del__", "__class__", "__repr__", "__dir__", "__sizeof__"}
    | {"__getattribute__", "__getattr__", "__setattr__", "__delattr__"}
    | {"__reduce__", "__reduce_ex__", "__getstate__"}
    | {"__init_subclass__", "__subclasshook__", "__class_getitem__"}
)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _forward(name: str) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(_of_stand_in(self, "cirron_source"), name)(*args, **kwargs)

    return call


def _entered(stand: Any, entered: Any) -> Any:
    """Returns what `with` gives its block: the source's answer, or the stand-in for it."""
    if entered is _of_stand_in(stand, "cirron_source"):
        return stand
    if is_stream(entered):
        return stand_in(entered, _of_stand_in(stand, "cirron_span"))
    return entered


def _enter(self: Any) -> Any:
    return _entered(self, _of_stand_in(self, "cirron_source").__enter__())


def _exit(self: Any, *error: Any) -> Any:
    try:
        return _of_stand_in(self, "cirron_source").__exit__(*error)
    finally:
        _of_stand_in(self, "cirron_span").close()


async def _aenter(self: Any) -> Any:
    return _entered(self, await _of_stand_in(self, "cirron_source").__aenter__())


async def _aexit(self: Any, *error: Any) -> Any:
    try:
        return await _of_stand_in(self, "cirron_source").__aexit__(*error)
    finally:
        _of_stand_in(self, "cirron_span").close()


def _close(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The `close` of an asynchronous stream, which may be a coroutine function or not."""
    closing = _of_stand_in(self, "cirron_source").close(*args, **kwargs)
    span = _of_stand_in(self, "cirron_span")
    if not hasattr(type(closing), "__await__"):
        span.close()
        return closing

    async def close() -> Any:
        try:
            return await closing
        finally:
            span.close()

    return close()
