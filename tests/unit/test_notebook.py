"""The tree in a notebook: in a real kernel, and the HTML it is shown as."""

import html.parser
import json

import pytest

import cirron as ci
from cirron.notebook import MOST_SPANS, _TraceTreeRepr
from cirron.render import SpanLines


@pytest.fixture
def session():
    with ci.profile(output="none") as profiler:
        yield profiler


def bundle(monkeypatch):
    """What a kernel would get from `ci.trace()`."""
    monkeypatch.setattr("cirron.notebook.in_notebook", lambda: True)
    tree = ci.trace()
    assert isinstance(tree, _TraceTreeRepr)
    return tree._repr_mimebundle_()


class Balance(html.parser.HTMLParser):
    """Fails on tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.deepest = 0
        self.counts = {}

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.deepest = max(self.deepest, len(self.open))
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_notebook_shows_text_and_html_and_prints_nothing(session, monkeypatch, capsys):
    with ci.scope("epoch", 0), ci.scope("batch", 1):
        ci.mark("loss", 0.5)
    shown = bundle(monkeypatch)
    assert capsys.readouterr().out == ""
    text = shown["text/plain"].splitlines()
    assert text[0].startswith("epoch[0] - ")
    assert text[1].startswith("  batch[1] - ")
    assert text[1].endswith("{loss=0.5000}")
    assert "epoch[0]" in shown["text/html"]
    assert "loss=0.5000" in shown["text/html"]
    assert parsed(shown["text/html"]).counts["details"] == 1


def test_names_and_values_are_escaped(session, monkeypatch):
    with ci.scope("<script>alert(1)</script>"):
        ci.mark("<b>", "&\"'<i>")
    markup = bundle(monkeypatch)["text/html"]
    parsed(markup)
    assert "<script" not in markup
    assert "<b>" not in markup
    assert "<i>" not in markup.replace("<i style", "")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in markup


def test_html_nests_as_the_spans_do(session, monkeypatch):
    for _ in range(2):
        with ci.scope("a"):
            with ci.scope("b"), ci.scope("c"):
                pass
            with ci.scope("d"):
                pass
    counts = parsed(bundle(monkeypatch)["text/html"]).counts
    assert counts["details"] == 4
    assert counts["i"] == 6  # a bar for each that has a parent


def test_long_trace_is_cut_and_says_so(session, monkeypatch):
    for i in range(MOST_SPANS + 1234):
        with ci.scope("a", i):
            pass
    shown = bundle(monkeypatch)
    parsed(shown["text/html"])
    for form in shown.values():
        assert "1,234 more spans" in form
        assert f"a[{MOST_SPANS - 1}]" in form
        assert f"a[{MOST_SPANS}]" not in form
    assert repr(ci.trace()).count("\n") == MOST_SPANS + 1233


def test_deep_trace_stays_within_what_browsers_nest(session, monkeypatch):
    previous = ci.scope("link", 0).__enter__()
    for i in range(1, 1500):
        current = ci.scope("link", i).__enter__()
        previous.__exit__()
        previous = current
    previous.__exit__()
    shown = bundle(monkeypatch)
    assert parsed(shown["text/html"]).deepest < 100
    assert "link[1499]" in shown["text/html"]


def test_empty_trace_says_so(session, monkeypatch):
    for form in bundle(monkeypatch).values():
        assert "No spans to show" in form


def test_plain_interpreter_prints(session, capsys):
    with ci.scope("a"):
        pass
    assert ci.trace() is None
    assert capsys.readouterr().out.startswith("a - ")


def test_terminal_ipython_prints(session, monkeypatch, capsys):
    import types

    shell = type("TerminalInteractiveShell", (), {})()
    fake = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(__import__("sys").modules, "IPython", fake)
    with ci.scope("a"):
        pass
    assert ci.trace() is None
    assert capsys.readouterr().out.startswith("a - ")


def test_real_kernel_renders_the_last_expression_inline():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [
        "import cirron as ci\nci.profile(output='none')\n"
        "for epoch in ci.epochs(range(2)):\n    ci.mark('loss', 0.25)",
        "ci.trace()",
        "x = ci.trace()",
        "ci.trace('json')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbclient.NotebookClient(notebook, timeout=60).execute()
    (shown,) = notebook.cells[1].outputs
    assert shown.output_type == "execute_result"
    assert shown.data["text/plain"].startswith("epoch[0] - ")
    assert "epoch[1]" in shown.data["text/html"]
    assert notebook.cells[2].outputs == []
    assert json.loads(eval(notebook.cells[3].outputs[0].data["text/plain"]))["span_count"] == 2


def test_repr_is_the_whole_tree(session):
    with ci.scope("a"):
        pass
    from cirron import _core

    ci.flush()
    tree = _TraceTreeRepr(SpanLines(_core.read_trace(session=_core.session_number())), [0], [0])
    assert repr(tree).startswith("a - ")
