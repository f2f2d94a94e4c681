"""Which models are watched. The references are weak: watching keeps nothing alive."""

from __future__ import annotations

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any, TypeVar

    M = TypeVar("M")

# By the model's id, oldest first. An entry goes when its model does.
_watched: dict[int, _Watched] = {}


class _Watched:
    """One model."""

    __slots__ = ("model", "name", "session")

    def __init__(self, model: Any, name: str | None, session: int | None) -> None:
        import weakref  # here, because `import cirron` is to be quick

        key, pop = id(model), _watched.pop
        self.model = weakref.ref(model, lambda _: pop(key, None))
        self.name = name
        self.session = session  # None: the user watches it, whatever the session


def watch(model: M, name: str | None = None) -> M:
    """Takes snapshots of a model's weights and gradients when an epoch ends.

    What is taken, and whether, is said by the settings `snapshots` and `sample_rate`. It
    makes no difference whether a session runs yet. Watching keeps no model alive. A second
    call with a name gives the model that name.

    Args:
        model: a torch module or a Keras model.
        name: stands before the tensors' names, with a slash, while several models are
            watched; the name of the model's class by default.

    Returns:
        The model.

    Raises:
        TypeError: `model` is none, or `name` no str.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    wanted = "watch() takes a torch module or a Keras model"
    if isinstance(model, type):
        raise TypeError(f"{wanted}, not the class {model.__name__}: make one first")
    if not hasattr(type(model), "named_parameters") and not is_keras(model):
        raise TypeError(f"{wanted}, not {type(model).__name__}")
    known = _watched.get(id(model))
    if known is not None and name is None:
        name = known.name
    _add(model, name, session=None)
    return model


def watch_automatically(model: object) -> None:
    """Watches a model that a hook found, for this session.

    It counts only while the user watches nothing himself.

    Args:
        model: a torch module or a Keras model.
    """
    known = _watched.get(id(model))
    if known is None or known.session is not None:
        _add(model, None, session=_core.session_number())


def watched_models() -> list[tuple[str, Any]]:
    """Returns the living models that count now, each with a name of its own."""
    entries = [(entry, entry.model()) for entry in _watched.copy().values()]
    living = [(entry, model) for entry, model in entries if model is not None]
    chosen = [pair for pair in living if pair[0].session is None]
    if not chosen:
        session = _core.session_number()
        chosen = [pair for pair in living if pair[0].session == session]
    names: dict[str, Any] = {}
    for entry, model in chosen:
        names[unused(entry.name or type(model).__name__, names)] = model
    return list(names.items())


def watches_any() -> bool:
    """Says whether any living model is watched, for this session or another."""
    return bool(_watched)


def forget(model: object) -> None:
    """Ends the watching of a model."""
    _watched.pop(id(model), None)


def is_keras(model: object) -> bool:
    """Says whether a model is one of Keras; with torch below it is a torch module as well."""
    return hasattr(type(model), "trainable_weights") and hasattr(type(model), "weights")


def unused(name: str, names: Container[str]) -> str:
    """Returns `name`, or with a number behind it when it is one of `names`."""
    number, found = 1, name
    while found in names:
        number += 1
        found = f"{name}_{number}"
    return found


def _add(model: object, name: str | None, session: int | None) -> None:
    _watched[id(model)] = _Watched(model, name, session)
