"""What `cirron.wrap` does: an estimator whose methods each run in a scope.

The instance moves to a subclass made for its class, which overrides those methods and still
claims the class itself in `__class__`: so a method that comes and goes with the parameters
(`available_if`) keeps doing so, nothing new lies in the instance's `__dict__`, and what
pickles, copies, prints or inspects the estimator finds what it found before.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import types
import weakref

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_FITTING = ("fit", "partial_fit", "fit_transform", "fit_predict")
_METHODS = (
    *_FITTING,
    "transform",
    "inverse_transform",
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score",
    "score_samples",
)

# Subclasses by class, kept alive by their instances.
_subclasses: weakref.WeakValueDictionary[type, type] = weakref.WeakValueDictionary()
# Wrapped estimators by id, and the names under which they sit in others.
_wrapped: dict[int, tuple[weakref.ref[Any], str | None]] = {}
# (id of an estimator, thread) while a method of it runs there.
_running: set[tuple[int, int]] = set()


def wrap(estimator: Any, step: str | None = None) -> None:
    """Wraps an estimator and those inside it; nothing happens when it is wrapped.

    Args:
        estimator: what has the methods.
        step: the name under which it sits in another.

    Raises:
        TypeError: its objects have slots, or its class is made in C.
    """
    if issubclass(type(estimator), _Wrapped):
        return
    key = id(estimator)
    reference = weakref.ref(estimator, lambda _: _wrapped.pop(key, None))
    _set_class(estimator, _subclass(type(estimator)))
    _wrapped[key] = (reference, step)
    _wrap_inner(estimator)


def unwrap_all() -> None:
    """Gives every wrapped estimator that still exists its own class back."""
    while _wrapped:
        reference, _ = _wrapped.popitem()[1]
        estimator = reference()
        if estimator is not None:
            _set_class(estimator, estimator.__class__)


class _Wrapped:
    """What a wrapped estimator's real type has besides the class that it claims."""

    _claimed: type

    def __init_subclass__(cls) -> None:
        """Stops here, because scikit-learn's mixins configure what subclasses they hear of."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self)._claimed

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles and copies as an object of the claimed class, for readers without cirron."""
        reduced = super(_Wrapped, self).__reduce_ex__(protocol)  # noqa: UP008
        if isinstance(reduced, str):
            return reduced
        make, arguments, *rest = reduced
        mine = type(self)
        return make, tuple(self.__class__ if x is mine else x for x in arguments), *rest


class _Conditional:
    """A method that may be absent, as `available_if` makes them."""

    def __init__(self, claimed: type, name: str, call: Callable[..., Any]) -> None:
        self._claimed = claimed
        self._name = name
        self._call = call

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        if estimator is None:
            return self._call
        _bind(self._claimed, self._name, estimator)  # AttributeError when it is absent
        return types.MethodType(self._call, estimator)


def _wrap_inner(estimator: Any) -> None:
    with contextlib.suppress(Exception):  # it has no parameters, or they can't be looked at
        for name, inner in _estimators_in(estimator.get_params(deep=False)):
            with contextlib.suppress(TypeError):  # it can't be wrapped and stays as it is
                wrap(inner, name)


def _estimators_in(parameters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The estimators among parameters, by name: themselves, or in lists of (name, it)."""
    for name, value in parameters.items():
        if _is_estimator(value):
            yield name, value
        elif isinstance(value, (list, tuple)):
            for entry in value:
                if isinstance(entry, tuple) and len(entry) > 1 and _is_estimator(entry[1]):
                    yield str(entry[0]), entry[1]


def _is_estimator(value: object) -> bool:
    return not isinstance(value, type) and hasattr(value, "fit") and hasattr(value, "get_params")


def _set_class(estimator: object, cls: type) -> None:
    vars(object)["__class__"].__set__(estimator, cls)  # past the property above


def _subclass(claimed: type) -> type:
    found = _subclasses.get(claimed)
    if found is None:
        members: dict[str, Any] = {
            "__module__": claimed.__module__,
            "__qualname__": claimed.__qualname__,
            "__doc__": claimed.__doc__,
            "_claimed": claimed,
        }
        for name in _METHODS:
            method = _look_up(claimed, name)
            if method is not None:
                call = _traced(claimed, name, method)
                plain = isinstance(method, types.FunctionType)
                members[name] = call if plain else _Conditional(claimed, name, call)
        if hasattr(claimed, "__sklearn_clone__"):
            members["__sklearn_clone__"] = _clone
        found = type(claimed)(claimed.__name__, (_Wrapped, claimed), members)
        _subclasses[claimed] = found
    return found


def _look_up(cls: type, name: str) -> Any:
    """What the class holds under the name, not bound to anything."""
    return next((vars(each)[name] for each in cls.__mro__ if name in vars(each)), None)


def _bind(cls: type, name: str, estimator: Any) -> Any:
    return _look_up(cls, name).__get__(estimator, cls)


def _traced(claimed: type, name: str, method: Any) -> Callable[..., Any]:
    fitting = name in _FITTING

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = _bind(claimed, name, self)
        running = (id(self), threading.get_ident())
        if running in _running or not issubclass(type(self), _Wrapped):
            return method(*args, **kwargs)  # fit, called by fit_transform; or after shutdown
        if fitting:
            _wrap_inner(self)  # a parameter may have been set since
        _running.add(running)
        try:
            with _core.scope(name, **_attributes(self, claimed, args, kwargs)):
                return method(*args, **kwargs)
        finally:
            _running.discard(running)

    return call


def _attributes(
    estimator: Any, claimed: type, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    attributes: dict[str, Any] = {"estimator": claimed.__name__}
    _, step = _wrapped.get(id(estimator), (None, None))
    if step is not None:
        attributes["step"] = step
    data = args[0] if args else kwargs.get("X")
    try:
        shape = (len(data),) if isinstance(data, (list, tuple)) else data.shape  # type: ignore[union-attr]
        attributes.update(zip(("samples", "features"), shape, strict=False))
    except Exception:  # no such thing, or one that fails
        pass
    return attributes


def _clone(self: Any) -> Any:
    clone = _bind(self.__class__, "__sklearn_clone__", self)()
    _, step = _wrapped.get(id(self), (None, None))
    wrap(clone, step)
    return clone
