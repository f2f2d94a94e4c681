"""PyTorch: `forward`, `backward`, `optimizer_step`, and the loop around them.

What is hooked is chosen so that each has one place, which every program passes, and that
nobody who looks at torch sees a difference, torch.compile least of all.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
import weakref

from cirron import _core
from cirron.hooks import cuda, passes, registry
from cirron.hooks.cuda import Timer
from cirron.hooks.passes import Loop
from cirron.profiler import at_epoch_end
from cirron.snapshots.watch import watch_automatically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType
    from typing import Any

    from cirron.hooks.registry import Registry, Undo


def install(session: Registry, torch: ModuleType) -> None:
    """Puts the hooks in."""
    hooks = _Hooks(session, torch)
    session.put("torch.compile", hooks.hide_from_compiler)
    session.put("torch.threads", hooks.tell_threads_apart)
    session.put("torch.gpu", hooks.time_gpu)
    session.put("torch.forward", hooks.hook_modules)
    session.put("torch.fx", hooks.hook_tracer)
    session.put("torch.backward", hooks.hook_autograd)
    session.put("torch.optimizer_step", hooks.hook_optimizers)
    session.put("torch.amp", hooks.hook_grad_scaler)
    session.put("torch.data_load", hooks.hook_loaders)


class _Hooks:
    """The hooks of one session; each `hook_` method returns what takes it out again."""

    def __init__(self, session: Registry, torch: ModuleType) -> None:
        self._session = session
        self._torch = torch
        self._timer: Timer | None = None
        self._forward: _core.Phase | None = None
        self._restore_forward: Callable[[], None] = _nothing
        self._model: Callable[[], Any] = lambda: None  # a weak reference: trained last
        self._loop = Loop(session, self._trains, self._training_begins, self._epoch_ends)
        session.loop = self._loop

    # ---- phases

    def hook_modules(self) -> Undo:
        """`forward`: the outermost call of a module, unless the module is a loss.

        Global forward hooks would run in every inner module, and torch.compile would see
        them. A Phase is seen by nobody who reads `Module.__call__`.
        """
        Module = self._torch.nn.Module
        original = Module.__dict__["__call__"]
        loss = self._torch.nn.modules.loss._Loss
        forward = _core.Phase("forward", original, "__call__", loss)
        forward.timer = self._timer
        self._forward = forward

        def put_in() -> None:
            if Module.__dict__.get("__call__") is original:
                Module.__call__ = forward

        def undo() -> None:
            forward.active = False
            self._restore_forward = _nothing
            if Module.__dict__.get("__call__") is forward:
                Module.__call__ = original

        put_in()
        self._restore_forward = put_in
        return undo

    def hook_tracer(self) -> Undo:
        """Puts `forward` in again after torch.fx, on whose tracer torch.compile builds.

        It patches `Module.__call__` as well, and afterwards puts back what it had read.
        """
        patcher = getattr(sys.modules.get("torch.fx._symbolic_trace"), "_Patcher", None)
        original = vars(patcher).get("revert_all_patches") if patcher is not None else None
        if original is None:  # another torch; the next loop does
            return _nothing

        @functools.wraps(original)
        def revert_all_patches(*args: Any) -> Any:
            result = original(*args)
            self._restore_forward()
            return result

        return _replace(patcher, "revert_all_patches", original, revert_all_patches)

    def hook_autograd(self) -> Undo:
        """`backward`: a run of autograd, by Tensor.backward, autograd.backward or .grad."""
        modules = (self._torch.autograd, self._torch.autograd.graph)
        original = modules[0]._engine_run_backward
        backward = _core.Phase("backward", original)
        backward.timer = self._timer
        put_back = [_replace(m, "_engine_run_backward", original, backward) for m in modules]

        def undo() -> None:
            backward.active = False
            for call in put_back:
                call()

        return undo

    def hook_optimizers(self) -> Undo:
        """`optimizer_step`: the step of any optimizer, by torch's own hook for all.

        That hook is not told when a step raises, but what it returns for `args` lives as
        long as the step does, or until the exception is dropped.
        """
        is_compiling, loop = self._torch.compiler.is_compiling, self._loop
        open_step = _core.open_optimizer_step

        def before_step(optimizer: Any, args: Any, kwargs: Any) -> Any:
            if is_compiling():
                return None
            return open_step(loop.timer, _StepArgs, args, kwargs)

        def is_running() -> bool:
            """Says whether a step of an optimizer runs, but for one that is just beginning."""
            frame: Any = sys._getframe(1)
            if frame.f_code is before_step.__code__:
                frame = frame.f_back.f_back
            while frame is not None and frame.f_code is not running:
                frame = frame.f_back
            return frame is not None

        def after_step(optimizer: Any, args: Any, kwargs: Any) -> None:
            if type(args) is _StepArgs:
                del args.span

        module = sys.modules["torch.optim.optimizer"]  # torch.optim hides it
        running = module.Optimizer.profile_hook_step(_nothing).__code__  # around every step
        _core.set_optimizer_check(is_running)
        handles = [
            module.register_optimizer_step_pre_hook(before_step),
            module.register_optimizer_step_post_hook(after_step),
        ]

        def undo() -> None:
            for handle in handles:
                handle.remove()
            _core.end_left_optimizer_steps()
            _core.set_optimizer_check(None)

        return undo

    def hook_grad_scaler(self) -> Undo:
        """`optimizer_step` with its unscaling and its look for infinities."""
        compiler, loop = self._torch.compiler, self._loop
        Scaler = self._torch.amp.GradScaler
        original = Scaler.__dict__["step"]

        @functools.wraps(original)
        def step(*args: Any, **kwargs: Any) -> Any:
            if compiler.is_compiling():
                return original(*args, **kwargs)
            return loop.step_optimizer(lambda: original(*args, **kwargs))

        return _replace(Scaler, "step", original, step)

    # ---- the loop

    def hook_loaders(self) -> Undo:
        """`epoch`, `step` and `data_load`: the passes over any DataLoader."""
        loop = self._loop
        Loader = self._torch.utils.data.DataLoader
        original = Loader.__dict__["__iter__"]

        @functools.wraps(original)
        def __iter__(loader: Any) -> Iterator[Any]:
            return loop.start(loader, functools.partial(original, loader))

        put_back = _replace(Loader, "__iter__", original, __iter__)

        def undo() -> None:
            loop.active = False
            put_back()

        return undo

    def _trains(self) -> bool:
        """A pass without gradients, or with the model in eval mode, is no training."""
        model = self._model()
        return self._torch.is_grad_enabled() and (model is None or model.training)

    def _training_begins(self) -> None:
        self._restore_forward()  # a trace by torch.fx put the original back
        if self._forward is not None:
            self._forward.first = self._first_forward

    def _first_forward(self, module: Any) -> None:
        """Takes notice of the model: the first module in training that has parameters."""
        try:
            if module is self._model() and module.training:
                return
            if not module.training or next(module.parameters(), None) is None:
                self._training_begins()
                return
            self._model = weakref.ref(module)
            watch_automatically(module)
        except Exception as error:
            self._session.report("torch.watch", error)

    def _epoch_ends(self, epoch: _core.Scope) -> None:
        try:
            at_epoch_end(epoch)
        except Exception as error:
            self._session.report("torch.snapshots", error)

    # ---- threads, devices, compilers

    def tell_threads_apart(self) -> Undo:
        """Nothing is recorded in loaders' workers and in threads of torch's own."""
        torch = self._torch
        parallel = sys.modules["torch.nn.parallel.parallel_apply"].__file__

        def is_foreign() -> bool:
            if torch.utils.data.get_worker_info() is not None:
                return True
            if threading.get_ident() == threading.main_thread().ident:
                return False
            if torch._C._current_graph_task_id() != -1:  # autograd's thread of a device
                return True
            frame = sys._getframe()
            while frame.f_back is not None and frame.f_code.co_filename != parallel:
                frame = frame.f_back
            return frame.f_code.co_filename == parallel

        _core.set_foreign_check(is_foreign)
        return lambda: _core.set_foreign_check(None)

    def hide_from_compiler(self) -> Undo:
        """Keeps torch.compile from looking for work in our own functions."""
        frames = self._torch._C._dynamo.eval_frame
        action = frames._FrameAction
        strategy = frames._FrameExecStrategy(action.SKIP, action.DEFAULT)
        for module in (registry, passes, cuda, sys.modules[__name__]):
            for code in _codes(vars(module), module.__name__):
                frames.set_code_exec_strategy(code, strategy)
        strategy = frames._FrameExecStrategy(action.SKIP, action.SKIP)  # and all they call
        for method in (_Hooks._first_forward, _Hooks._epoch_ends):
            frames.set_code_exec_strategy(method.__code__, strategy)
        return _nothing

    def time_gpu(self) -> Undo:
        """Times spans on the GPU, where torch was built for one."""
        version = self._torch.version
        if version.cuda is None and getattr(version, "hip", None) is None:
            return _nothing
        timer = Timer(self._session, self._torch.cuda)
        self._timer = self._loop.timer = timer
        self._session.at_flush.append(timer.flush)
        return timer.flush


def _codes(namespace: Mapping[str, Any], module: str) -> Iterator[types.CodeType]:
    """Finds the code of a module's functions, those in classes and functions too."""
    for value in namespace.values():
        if isinstance(value, types.FunctionType) and value.__module__ == module:
            found = [value.__code__]
            while found:
                code = found.pop()
                found += (const for const in code.co_consts if isinstance(const, types.CodeType))
                yield code
        elif isinstance(value, type) and value.__module__ == module:
            yield from _codes(vars(value), module)


def _replace(owner: Any, name: str, original: Any, ours: Any) -> Undo:
    """Sets an attribute; what is returned sets it back, unless somebody else did since."""
    setattr(owner, name, ours)

    def put_back() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, original)

    return put_back


def _nothing() -> None:
    pass


class _StepArgs(tuple[object, ...]):
    """The arguments of an optimizer's step; the span closes with them at the latest."""

    span: object
