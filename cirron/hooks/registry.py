"""The hooks of a session: put in when it starts, taken out when it ends.

Each framework has a module `cirron.hooks.<framework>` with one function,

    def install(registry: Registry, module: ModuleType) -> None:
        registry.put("torch.backward", hook_backward)
        ...

which is called once the framework is imported, with the framework's module. Each hook goes
in by `put`, under its own name: `hook_backward()` changes the framework and returns the
function that changes it back. A hook that raises, now or in the middle of a training run,
is told to `report`, which takes that one hook out; the others and the program go on.

Two frameworks may see the same loop. The higher one owns it: it enters `owning_loop` around
it, and the hooks of the others, which ask `loop_owner`, open no `epoch` and `step` there.
"""

from __future__ import annotations

import contextlib
import importlib
from contextvars import ContextVar

from cirron.env import FRAMEWORKS
from cirron.hooks.imports import when_imported
from cirron.log import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from cirron.config import Settings
    from cirron.hooks.imports import Waiting
    from cirron.hooks.passes import Loop

    Undo = Callable[[], object]

# The frameworks that have hooks, and the modules whose import calls for them.
MODULES = {
    "torch": ("torch",),
    "accelerate": ("accelerate.data_loader",),
    "transformers": ("transformers.trainer",),
    "keras": ("keras",),
    "lightning": ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer"),
}

# What is nothing without the hooks of another.
_IMPLIED = {"accelerate": "torch", "tensorflow": "keras"}

_owner: ContextVar[str | None] = ContextVar("cirron.loop_owner", default=None)


@contextlib.contextmanager
def owning_loop(framework: str) -> Iterator[None]:
    """Makes a framework the owner of the training loop that runs inside, in this context.

    A higher one that owns it already stays the owner.

    Args:
        framework: one of `cirron.env.FRAMEWORKS`, which is in order of rank.
    """
    owner = _owner.get()
    if owner is not None and FRAMEWORKS.index(owner) < FRAMEWORKS.index(framework):
        framework = owner
    token = _owner.set(framework)
    try:
        yield
    finally:
        _owner.reset(token)


def loop_owner() -> str | None:
    """Returns the framework whose training loop this context is in, or None."""
    return _owner.get()


class Registry:
    """The hooks of one session.

    Attributes:
        settings: the session's settings.
        installed: the frameworks that are hooked, in the order of their imports.
        errors: what went wrong, by the name of the hook.
        at_flush: called before what was recorded is written.
        loop: follows the passes over loaders; None while torch is not hooked.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.installed: list[str] = []
        self.errors: dict[str, str] = {}
        self.at_flush: list[Callable[[], object]] = []
        self.loop: Loop | None = None
        self._waiting: list[Waiting] = []
        self._undo: dict[str, Undo] = {}
        self._ended = False

    def install(self) -> None:
        """Hooks the chosen frameworks, those that are not imported yet when they are."""
        chosen = self.settings.frameworks
        if chosen is not None:
            chosen += tuple(_IMPLIED[name] for name in chosen if name in _IMPLIED)
        for framework, modules in MODULES.items():
            if chosen is None or framework in chosen:
                for name in modules:
                    self._waiting.append(when_imported(name, self._installer(framework)))

    def _installer(self, framework: str) -> Callable[[ModuleType], None]:
        def install(module: ModuleType) -> None:
            if self._ended or framework in self.installed:
                return
            self.installed.append(framework)
            try:
                importlib.import_module(f"cirron.hooks.{framework}").install(self, module)
            except Exception as error:
                self.report(framework, error)

        return install

    def flush(self) -> None:
        """Lets hooks hand over what they hold back."""
        for call in self.at_flush:
            call()

    def uninstall(self) -> None:
        """Takes all hooks out, newest first; every patched object is as it was.

        Ctrl-C is raised when the others are out; another call takes out what it interrupted.
        """
        self._ended = True
        interruption = None
        for waiting in self._waiting:
            waiting.cancel()
        for name in reversed(list(self._undo)):
            try:
                self._take_out(name)
            except BaseException as error:
                interruption = error
        self.installed.clear()
        if interruption is not None:
            raise interruption

    def put(self, name: str, hook: Callable[[], Undo]) -> None:
        """Puts one hook in.

        Args:
            name: framework and hook, such as "torch.backward".
            hook: makes the change and returns what makes it undone.
        """
        try:
            self._undo[name] = hook()
        except Exception as error:
            self.report(name, error)

    def report(self, name: str, error: BaseException) -> None:
        """Notes that a hook failed, says so once, and takes it out. Never raises.

        Args:
            name: the name it was put in under.
            error: what it raised.
        """
        if name not in self.errors:
            try:
                self.errors[name] = f"{type(error).__name__}: {error}"
            except Exception:  # its str() fails too
                self.errors[name] = type(error).__name__
            with contextlib.suppress(Exception):  # a log handler of the user's
                warn("the hook %s failed and is switched off: %s", name, self.errors[name])
        self._take_out(name)

    def _take_out(self, name: str) -> None:
        undo = self._undo.pop(name, None)
        if undo is not None:
            try:
                undo()
            except Exception as error:
                self.report(name, error)
            except BaseException:
                self._undo[name] = undo
                raise
