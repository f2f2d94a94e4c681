"""`Cirron`: the settings in an object, for programs that prefer one."""

from __future__ import annotations

import os

from cirron import _core
from cirron.env import env
from cirron.loops import batches, epochs
from cirron.profiler import Profiler, start
from cirron.serving.decorator import inference
from cirron.trace import trace
from cirron.wrap import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal


class Cirron:
    """Settings that are checked when the object is made and used by `profile`.

    The other methods are the functions of the module, and like them they belong to the
    process: all `Cirron` objects share its session.

    Args:
        config: a dict of any of the settings below, weaker than they are.
        frameworks: as for `cirron.profile`, and so are the next six.
        snapshots: "stats", "sampled", "full" or "none".
        sample_rate: the probability of raw tensors with snapshots "sampled".
        flush_interval: seconds between two writes.
        enabled: False records nothing.
        path: the directory of the spool.
        output: one or a list of "spool", "log", "stdout", or "none".
        trace_buffer_max_spans: spans that `trace` can show, 100,000 by default.
        spool_max_bytes: the spool's size, beyond which its oldest files go; 1 GB by default.
        cpu_time: whether spans carry the CPU time of their thread, True by default.

    Raises:
        ValueError: a setting is wrong.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        frameworks: str | list[str] | tuple[str, ...] | None = None,
        snapshots: Literal["stats", "sampled", "full", "none"] | None = None,
        sample_rate: float | None = None,
        flush_interval: float | None = None,
        enabled: bool | None = None,
        path: str | os.PathLike[str] | None = None,
        output: str | list[str] | tuple[str, ...] | None = None,
        trace_buffer_max_spans: int | None = None,
        spool_max_bytes: int | None = None,
        cpu_time: bool | None = None,
    ) -> None:
        from cirron.config import resolve

        self.settings = resolve(
            config,
            {
                "frameworks": frameworks,
                "snapshots": snapshots,
                "sample_rate": sample_rate,
                "flush_interval": flush_interval,
                "enabled": enabled,
                "path": path,
                "output": output,
                "trace_buffer_max_spans": trace_buffer_max_spans,
                "spool_max_bytes": spool_max_bytes,
                "cpu_time": cpu_time,
            },
        )

    def profile(self) -> Profiler:
        """Opens a session with these settings; see `cirron.profile`."""
        return start(self.settings)

    scope = staticmethod(_core.scope)
    mark = staticmethod(_core.mark)
    epochs = staticmethod(epochs)
    batches = staticmethod(batches)
    trace = staticmethod(trace)
    inference = staticmethod(inference)
    env = staticmethod(env)
    wrap = staticmethod(wrap)
