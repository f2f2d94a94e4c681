"""Nothing that can be called keeps memory: each public function has a line here, which runs
thousands of times in an interpreter of its own, and a function without one fails a test."""

import inspect

import pytest
from support import run_script

import cirron as ci
from cirron import spool
from cirron.cli.traces import traces

# What every script begins with. `path` is a small spool that is there to be read.
PRELUDE = """
import contextlib, gc, io, logging, os, sys
import cirron as ci
from cirron import spool
from cirron.cli.main import cirron

logging.getLogger("cirron").addHandler(logging.NullHandler())
logging.getLogger("cirron").propagate = False

with ci.profile(path="there"):
    for i in range(5):
        with ci.scope("step", i, lr=0.5):
            ci.mark("loss", 0.25, unit="x")
profiler = None

screen = io.StringIO()  # one for all, since click keeps something for each

def cli(*arguments):
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        with contextlib.suppress(SystemExit):
            cirron.main(list(arguments), prog_name="cirron")
    screen.seek(0)
    screen.truncate()

def fails(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except (TypeError, ValueError, RuntimeError):
        return
    raise AssertionError("nothing was raised")
"""

RECORDING = 'profiler = ci.profile(output="none", config={"trace_buffer_max_spans": 10})'

# By name: what runs once, what runs over and over, and how often.
CASES = {
    "cirron.scope": (
        RECORDING,
        """
        with ci.scope("a", 1, x=1.5, nested={"k": ["v"]}) as s:
            s.attrs["late"] = s.id + s.name
        ci.scope("never entered", x=1)
        with contextlib.suppress(KeyError), ci.scope("fails"):
            raise KeyError("x")
        fails(ci.scope, 1)
        """,
        20000,
    ),
    "cirron.mark": (
        RECORDING,
        """
        with ci.scope("marked"):  # which takes its summaries with it
            ci.mark("a", 0.5)
            ci.mark("b", "text", kind="summary", x=[1])
            ci.mark("c", 10**30)
        fails(ci.mark, "a", None)
        """,
        20000,
    ),
    "cirron.epochs": (RECORDING, "for _ in ci.epochs(range(2)): pass", 10000),
    "cirron.batches": (
        RECORDING,
        """
        for _ in ci.batches(iter(range(3))): break
        for _ in ci.batches([1]): pass
        """,
        10000,
    ),
    "cirron.profile": ("", 'ci.profile(path="here").shutdown()', 300),
    "cirron.shutdown": ("", 'ci.profile(output="none"); ci.shutdown(); ci.shutdown()', 500),
    "cirron.flush": ('ci.profile(output="none")', "ci.flush()", 3000),
    "cirron.health": (RECORDING, "ci.health()", 20000),
    "cirron.trace": (
        RECORDING + "\nfor i in range(20):\n    with ci.scope('a', i, x=1): ci.mark('m', i)",
        """
        ci.trace(format="dict"); ci.trace(format="json", last=2); ci.trace(format="df", name="a")
        with contextlib.redirect_stdout(io.StringIO()): repr(ci.trace())
        fails(ci.trace, format="x")
        """,
        400,
    ),
    "cirron.inference": (
        RECORDING,
        """
        @ci.inference
        def serve():
            yield {"usage": {"prompt_tokens": 1}}
            yield "x"
        list(serve())
        next(serve())
        ci.inference(lambda: {"usage": {"prompt_tokens": 1}})()
        fails(ci.inference, 1)
        """,
        1000,
    ),
    "cirron.env": ("os.environ['K'] = '{\"a\": 1}'", "ci.env('K'); ci.env('none', 1)", 20000),
    "cirron.watch": (
        "class Model:\n    def named_parameters(self): return []\nkept = Model()",
        "ci.watch(Model(), 'a'); ci.watch(kept); fails(ci.watch, 1)",
        3000,
    ),
    "cirron.wrap": (
        RECORDING + "\nclass Model:\n    def fit(self, x): return self\nkept = ci.wrap(Model())",
        "ci.wrap(Model()).fit([1]); ci.wrap(kept).fit([1]); fails(ci.wrap, 1)",
        2000,
    ),
    "Cirron.__init__": ("", "ci.Cirron(sample_rate=0.5); fails(ci.Cirron, sample_rate=2)", 1000),
    "Cirron.profile": ("", 'ci.Cirron(output="none").profile().shutdown()', 300),
    "Profiler.flush": (RECORDING, "profiler.flush()", 3000),
    "Profiler.shutdown": ("", RECORDING + "\nprofiler.shutdown()", 300),
    "Profiler.trace": (RECORDING, 'profiler.trace("json")', 2000),
    "Profiler.health": (RECORDING, "profiler.health()", 20000),
    "Profiler.enabled": (RECORDING, "profiler.enabled", 50000),
    "spool.read": (
        "",
        """
        table = spool.read("there/spool")
        for form in ("csv", "json", "otlp"): list(table.export(form))
        table.marks, table.spans, table.snapshots, table.sessions(), table.attrs(0)
        table.ints("end_ns").tolist(), table.tree(), table.__arrow_c_stream__()
        """,
        500,
    ),
    "spool.batch_files": ("", 'spool.batch_files("there/spool")', 3000),
    "spool.directory": ("", 'spool.directory("there")', 5000),
    "cli list": ("", 'cli("traces", "list", "--spool", "there/spool")', 40),
    "cli view": ("", 'cli("traces", "view", "--spool", "there/spool")', 40),
    "cli snapshots": ("", 'cli("traces", "snapshots", "--spool", "there/spool")', 40),
    "cli snapshot": ("", 'cli("traces", "snapshot", "x", "--spool", "there/spool")', 40),
    "cli export": (
        "",
        'cli("traces", "export", "--format", "csv", "--output", "x.csv", "--spool", "there/spool")',
        40,
    ),
    "cli clear": ("", 'cli("traces", "clear", "--dry-run", "--spool", "there/spool")', 40),
}

# Exceptions and plain values.
NOTHING_TO_CALL = {"CirronError", "CirronDependencyError", "__version__"}


def functions_of(cls):
    own = {n for n, f in vars(cls).items() if inspect.isfunction(f) or isinstance(f, property)}
    return {f"{cls.__name__}.{n}" for n in own if not n.startswith("_") or n == "__init__"}


def public_functions():
    plain = set(ci.__all__) - NOTHING_TO_CALL - {"Cirron", "Profiler"}
    return (
        {f"cirron.{name}" for name in plain}
        | functions_of(ci.Cirron)
        | functions_of(ci.Profiler) - {"Profiler.__init__"}
        | {f"spool.{n}" for n, f in vars(spool).items() if inspect.isfunction(f) and n[0] != "_"}
        | {f"cli {name}" for name in traces.commands}
    )


def test_every_public_function_is_here():
    assert public_functions() - set(CASES) == set()


@pytest.mark.parametrize("name", CASES)
def test_no_memory_is_kept_by(name):
    """Blocks of Python that live, and pages of the process, after as many calls again."""
    pytest.importorskip("pandas")
    once, often, count = CASES[name]
    body = "\n".join("    " + line for line in inspect.cleandoc(often).splitlines())
    script = (
        PRELUDE
        + once
        + f"\ndef often():\n{body}\n"
        + f"""
def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

def measure():
    for _ in range({count}): often()
    ci.flush()
    gc.collect()
    return sys.getallocatedblocks(), pages()

measure()
grown = []
for _ in range(10):
    before = measure()
    after = measure()
    grown.append((after[0] - before[0], (after[1] - before[1]) * 4096))
    if grown[-1][0] < {max(20, count // 20)} and grown[-1][1] < 1 << 19:
        break
else:
    raise SystemExit(f"blocks and bytes keep growing: {{grown}}")
"""
    )
    run_script(script)
