"""Replacing a method of a class, and putting it back."""

from __future__ import annotations

import functools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Patches:
    """The methods that one hook has replaced.

    A method that somebody else has replaced since stays theirs; ours below it then only
    passes the call on.
    """

    def __init__(self) -> None:
        self.active = True
        self._undo: list[Callable[[], None]] = []

    def method(self, cls: type, name: str, around: Callable[..., Any]) -> None:
        """Replaces `cls.name` by a method that calls `around(original, instance, *args, **kwargs)`.

        Args:
            cls: the class on which it is replaced, whether its own or inherited.
            name: the method's name.
            around: makes the call, with what it adds before and after.
        """
        original = getattr(cls, name)
        own = vars(cls).get(name)

        @functools.wraps(original)
        def replacement(instance: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.active:
                return original(instance, *args, **kwargs)
            return around(original, instance, *args, **kwargs)

        def undo() -> None:
            if vars(cls).get(name) is not replacement:
                return
            if own is None:
                delattr(cls, name)
            else:
                setattr(cls, name, own)

        setattr(cls, name, replacement)
        self._undo.append(undo)

    def undo(self) -> None:
        """Puts back what was there."""
        self.active = False
        while self._undo:
            self._undo.pop()()
