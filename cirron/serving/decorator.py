"""`@ci.inference`: each call of the function is a request."""

from __future__ import annotations

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])

    class Inference(Protocol):
        """The type of `inference`: what it decorates keeps its own."""

        @overload
        def __call__(self, fn: F, *, config: Mapping[str, Any] | None = None) -> F: ...
        @overload
        def __call__(
            self, fn: None = None, *, config: Mapping[str, Any] | None = None
        ) -> Callable[[F], F]: ...


def _inference(fn: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
    """Makes each call of a serving function a request: a span `request` with its own tree.

    The function keeps its name, signature and kind, and its results are handed on as they
    are. Token counts of results, time to first token and tokens per second of streams become
    marks of the request; where they can't be found, nothing is lost but the marks.

    Args:
        fn: a function, coroutine function, generator or async generator function, method,
            classmethod, staticmethod, partial or callable object.
        config: kept as the attribute `_cirron_config` of the result, for the function to
            read. With `"stream_chunk_timing": True` each item of a stream is marked.

    Returns:
        The wrapped function; without `fn`, a decorator.

    Raises:
        TypeError: `fn` can't be called, or `config` is no mapping.
    """
    if config is not None and not hasattr(config, "get"):
        raise TypeError(f"inference(): config must be a dict or None, not {type(config)!r}")
    if fn is None:
        return lambda fn: _decorate(fn, config)
    return _decorate(fn, config)


_inference.__name__ = _inference.__qualname__ = "inference"
inference: Inference = _inference


def _decorate(fn: Any, config: Mapping[str, Any] | None) -> Any:
    from cirron.decorate import by_kind
    from cirron.profiler import hooks_framework
    from cirron.serving import generation, stream

    timed = config is not None and bool(config.get("stream_chunk_timing"))
    wrapped = by_kind(
        fn,
        "@ci.inference",
        function=lambda fn: _function(fn, timed),
        coroutine_function=lambda fn: _coroutine_function(fn, timed),
        generator_function=lambda fn: stream.generator_function(fn, timed),
        async_generator_function=lambda fn: stream.async_generator_function(fn, timed),
    )
    function = getattr(wrapped, "__func__", wrapped)  # of a classmethod or staticmethod
    function._cirron_config = config
    if hooks_framework("transformers"):
        generation.install()
    return wrapped


# The functions of _core are bound as locals: when the interpreter shuts down, globals go
# before the last calls come.


def _function(fn: Any, timed: bool) -> Any:
    begin, finish, fail = _core.open_request, _core.finish_request, _core.fail_request

    def call(*args: Any, **kwargs: Any) -> Any:
        request = begin()
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            fail(request, error)
            raise
        return finish(request, result, timed)

    return call


def _coroutine_function(fn: Any, timed: bool) -> Any:
    begin, finish, fail = _core.open_request, _core.finish_request, _core.fail_request

    async def call(*args: Any, **kwargs: Any) -> Any:
        request = begin()
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            fail(request, error)
            raise
        return finish(request, result, timed)

    return call
