"""SIGTERM in a process that handles it itself for a while, as uvicorn's does.

Such a server sets a handler, ends its work, sets the handler back that it found, which for
Python is the default, and raises the signal once more to die of it. The native handler would
be lost by that, and with it what was not flushed. So while a session runs, whoever sets the
default gets the native handler: it flushes and then does what the default does.
"""

from __future__ import annotations

import functools
import signal

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_set_handler: Any = signal.signal


def catch() -> None:
    """Flushes on SIGTERM, now and whenever the default is set again."""
    _core.catch_sigterm()
    if signal.signal is _set_handler:
        signal.signal = _set_handler_and_catch


def leave() -> None:
    """Gives `signal.signal` back, unless somebody else has put something around it."""
    if signal.signal is _set_handler_and_catch:
        signal.signal = _set_handler


@functools.wraps(_set_handler)
def _set_handler_and_catch(signalnum: Any, handler: Any) -> Any:
    before = _set_handler(signalnum, handler)
    if signalnum == signal.SIGTERM and isinstance(handler, int) and handler == signal.SIG_DFL:
        _core.catch_sigterm()
    return before
