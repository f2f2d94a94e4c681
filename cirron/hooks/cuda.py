"""`gpu_ns` and `memory_peak_bytes`: what the GPU did while a span was open.

The CPU runs ahead of the GPU, so a span's time there is known only after the span has
closed. A pair of events is put into the stream, around the span's kernels; its record is
held back until the second one has passed. Nothing waits for the GPU but a flush, for a
short while.
"""

from __future__ import annotations

import time
from collections import deque

from cirron import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from cirron.hooks.registry import Registry

_NAME = "torch.gpu"
_MOST_HELD = 4096  # spans whose events the GPU has not reached
_FLUSH_WAIT_S = 0.5
_LOOK_AGAIN_S = 0.001


class Timer:
    """Times the spans of one session on the current stream of the current device.

    Args:
        registry: is told when something here fails; from then on spans go untimed.
        cuda: `torch.cuda`.
    """

    def __init__(self, registry: Registry, cuda: ModuleType) -> None:
        self._registry = registry
        self._cuda = cuda
        self._begun: dict[_core.Scope, Any] = {}  # open spans and their first events
        self._held: deque[tuple[_core.Scope, Any, Any, int | None]] = deque()
        self._spare: list[Any] = []
        self._active = True

    def begin(self, scope: _core.Scope) -> None:
        """Is called before a span opens."""
        try:
            if self._active and self._cuda.is_initialized() and not self._is_capturing():
                self._begun[scope] = self._record_event()
                _core.hold(scope)
        except Exception as error:
            self._fail(error)

    def end(self, scope: _core.Scope) -> None:
        """Is called when a span has closed."""
        first = self._begun.pop(scope, None)
        if first is None:
            return
        try:
            if self._active and not self._is_capturing():
                self._held.append((scope, first, self._record_event(), self._peak_bytes()))
                self._publish_finished()
                return
        except Exception as error:
            self._fail(error)
        _core.publish(scope)

    def forget(self, scope: _core.Scope) -> None:
        """Is called when a span that had begun is none."""
        self._begun.pop(scope, None)

    def flush(self) -> None:
        """Publishes every closed span; those that the GPU does not reach in time, untimed."""
        deadline = time.monotonic() + _FLUSH_WAIT_S
        try:
            if not self._cuda.is_initialized():  # also in a forked child: not its events
                self._held.clear()
            self._publish_finished()
            while self._held and time.monotonic() < deadline:
                time.sleep(_LOOK_AGAIN_S)
                self._publish_finished()
        except Exception as error:
            self._fail(error)
        self._publish_untimed(0)

    def _record_event(self) -> Any:
        event = self._spare.pop() if self._spare else self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def _is_capturing(self) -> bool:
        """Events in a CUDA graph's capture would become part of the graph."""
        return bool(self._cuda.is_current_stream_capturing())

    def _peak_bytes(self) -> int | None:
        """The peak since the program started or last reset it: resetting is the program's."""
        statistics = self._cuda.memory_stats_as_nested_dict()
        peak: int | None = statistics.get("allocated_bytes", {}).get("all", {}).get("peak")
        return peak

    def _publish_finished(self) -> None:
        """A stream runs in order, so the oldest is looked at first."""
        while self._held and self._held[0][2].query():
            scope, first, last, peak = self._held.popleft()
            try:
                gpu_ns = round(first.elapsed_time(last) * 1e6)
            except Exception:  # events of two devices
                _core.publish(scope, None, peak)
            else:
                _core.publish(scope, gpu_ns, peak)
                self._spare += (first, last)
        self._publish_untimed(_MOST_HELD)

    def _publish_untimed(self, most: int) -> None:
        while len(self._held) > most:
            scope, _, _, peak = self._held.popleft()
            _core.publish(scope, None, peak)

    def _fail(self, error: Exception) -> None:
        self._active = False
        self._registry.report(_NAME, error)
        self._publish_untimed(0)
