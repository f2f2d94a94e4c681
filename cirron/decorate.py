"""What `@ci.scope("name")` makes of a function: the same function, each call in a scope."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def wrap(fn: Any, name: str, index: int | None, attrs: dict[str, Any]) -> Any:
    """Wraps `fn` so that each call runs in a fresh scope; called by `Scope.__call__`.

    The kind is kept: function, coroutine function, generator function or async generator
    function. A generator's scope is open from its first item until it ends.

    Args:
        fn: a callable, a `staticmethod` or a `classmethod`.
        name: the scope's name.
        index: the scope's index.
        attrs: the scope's attributes; each call gets a copy.

    Raises:
        TypeError: `fn` can't be called.
    """
    if isinstance(fn, (staticmethod, classmethod)):
        return type(fn)(wrap(fn.__func__, name, index, attrs))
    if not callable(fn):
        raise TypeError(f"@ci.scope decorates functions, not {type(fn).__name__!r} objects")
    import inspect  # here, because the import takes a while and many programs don't decorate

    def open_scope() -> _core.Scope:
        return _core.scope(name, index, **attrs)

    def is_a(kind: Callable[[Any], bool]) -> bool:
        return kind(fn) or kind(type(fn).__call__)  # an object's call may be a coroutine too

    if is_a(inspect.iscoroutinefunction):
        return _wrap_coroutine_function(fn, open_scope)
    if is_a(inspect.isasyncgenfunction):
        return _wrap_async_generator_function(fn, open_scope)
    if is_a(inspect.isgeneratorfunction):
        return _wrap_generator_function(fn, open_scope)
    return _wrap_function(fn, open_scope)


def _wrap_function(fn: Any, open_scope: Callable[[], _core.Scope]) -> Any:
    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        with open_scope():
            return fn(*args, **kwargs)

    return call


def _wrap_coroutine_function(fn: Any, open_scope: Callable[[], _core.Scope]) -> Any:
    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with open_scope():
            return await fn(*args, **kwargs)

    return call


def _wrap_generator_function(fn: Any, open_scope: Callable[[], _core.Scope]) -> Any:
    @functools.wraps(fn)
    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with open_scope():
            return (yield from fn(*args, **kwargs))

    return generate


def _wrap_async_generator_function(fn: Any, open_scope: Callable[[], _core.Scope]) -> Any:
    @functools.wraps(fn)
    async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with open_scope():
            source = fn(*args, **kwargs)
            step = source.__anext__()
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    await source.aclose()
                    raise
                except BaseException as error:
                    step = source.athrow(error)
                else:
                    step = source.asend(sent)

    return generate
