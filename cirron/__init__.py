"""cirron: see where training and serving spend their time.

Example::

    import cirron as ci

    ci.profile()
    for epoch in ci.epochs(range(3)):
        for batch in ci.batches(loader):
            with ci.scope("forward"):
                ...
            ci.mark("loss", loss)
    ci.trace()
"""

from cirron._core import __version__, mark, scope
from cirron.client import Cirron
from cirron.env import env
from cirron.errors import CirronDependencyError, CirronError
from cirron.loops import batches, epochs
from cirron.profiler import Profiler, flush, health, profile, shutdown
from cirron.serving.decorator import inference
from cirron.snapshots.watch import watch
from cirron.trace import trace
from cirron.wrap import wrap

__all__ = [
    "Cirron",
    "CirronDependencyError",
    "CirronError",
    "Profiler",
    "__version__",
    "batches",
    "env",
    "epochs",
    "flush",
    "health",
    "inference",
    "mark",
    "profile",
    "scope",
    "shutdown",
    "trace",
    "watch",
    "wrap",
]
