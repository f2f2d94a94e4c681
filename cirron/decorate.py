"""Functions whose calls are spans: what a decorator makes of each kind of function."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

    Wrap = Callable[[Any], Any]


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

    def open_scope() -> _core.Scope:
        return _core.scope(name, index, **attrs)

    return by_kind(
        fn,
        "@ci.scope",
        function=lambda fn: _function(fn, open_scope),
        coroutine_function=lambda fn: _coroutine_function(fn, open_scope),
        generator_function=lambda fn: generator_function(fn, open_scope),
        async_generator_function=lambda fn: async_generator_function(fn, open_scope),
    )


def by_kind(
    fn: Any,
    decorator: str,
    *,
    function: Wrap,
    coroutine_function: Wrap,
    generator_function: Wrap,
    async_generator_function: Wrap,
) -> Any:
    """Wraps `fn` by the one of the four that fits, under the name and signature of `fn`.

    Raises:
        TypeError: `fn` can't be called; the message names the `decorator`.
    """
    if isinstance(fn, (staticmethod, classmethod)):
        inner = by_kind(
            fn.__func__,
            decorator,
            function=function,
            coroutine_function=coroutine_function,
            generator_function=generator_function,
            async_generator_function=async_generator_function,
        )
        return type(fn)(inner)
    if not callable(fn):
        raise TypeError(f"{decorator} decorates functions, not {type(fn).__name__!r} objects")
    import inspect  # here, because the import takes a while and many programs don't decorate

    def is_a(kind: Callable[[Any], bool]) -> bool:
        return kind(fn) or kind(type(fn).__call__)  # an object's call may be a coroutine too

    if is_a(inspect.iscoroutinefunction):
        wrapper = _asgi(fn, coroutine_function(fn))
    elif is_a(inspect.isasyncgenfunction):
        wrapper = async_generator_function(fn)
    elif is_a(inspect.isgeneratorfunction):
        wrapper = generator_function(fn)
    else:
        wrapper = function(fn)
    return functools.wraps(fn)(wrapper)


def _asgi(fn: Any, call: Any) -> Any:
    """Gives an ASGI application's wrapper its parameters, `call` for all else.

    Uvicorn calls what it serves with no arguments, and only what raises a TypeError at once
    is no factory of applications.
    """
    from inspect import signature

    try:
        parameters = tuple(signature(fn).parameters)
    except (TypeError, ValueError):
        return call
    if parameters == ("scope", "receive", "send"):

        async def application(scope: Any, receive: Any, send: Any) -> Any:
            return await call(scope, receive, send)

        return application
    if parameters == ("self", "scope", "receive", "send"):

        async def method(self: Any, scope: Any, receive: Any, send: Any) -> Any:
            return await call(self, scope, receive, send)

        return method
    return call


def _function(fn: Any, open_scope: Callable[[], _core.Scope]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        with open_scope():
            return fn(*args, **kwargs)

    return call


def _coroutine_function(fn: Any, open_scope: Callable[[], _core.Scope]) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with open_scope():
            return await fn(*args, **kwargs)

    return call


def generator_function(fn: Any, around: Callable[[], AbstractContextManager[Any]]) -> Any:
    """Returns a generator function that yields what `fn`'s iterators do, `around` them all."""

    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with around():
            return (yield from fn(*args, **kwargs))

    return generate


def async_generator_function(fn: Any, around: Callable[[], AbstractContextManager[Any]]) -> Any:
    """As `generator_function`, of an async generator function."""

    async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with around():
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
