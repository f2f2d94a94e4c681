"""The documents: what a reader copies out of them does what they say."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import run_script

import cirron as ci
from cirron import _core

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
EXAMPLES = {  # the pages that show an example and what it leaves
    "docs/training-sklearn.md": "train_sklearn.py",
    "docs/training-transformers.md": "train_transformers.py",
    "docs/training-keras.md": "train_keras.py",
    "docs/training-lightning.md": "train_lightning.py",
}
ON_THEIR_OWN = {
    # They need a spool or a server: test_querying and test_serving_docs run them.
    *("python.md", "querying.md", "serving.md"),
    *(Path(page).name for page in EXAMPLES),
}

# What the snippets take for granted.
GIVEN = """
import cirron as ci
import numpy as np

loader, step, phase, accuracy = [1, 2], 0, "warmup", 0.5
loss, image, x = np.float64(0.5), np.zeros(3), np.zeros((4, 2))
model, train_step = (lambda x: x), float
"""


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_first_lines_leave_a_trace_that_the_terminal_shows(page):
    run_script(blocks(ROOT / page, "python")[0])
    shown = subprocess.run(
        [sys.executable, "-m", "cirron", "traces", "view"], capture_output=True, text=True
    )
    assert re.fullmatch(
        r"cirron.session — \S+ pid=\d+ rank=0\n  hello — \S+\n    ci.mark answer=42\n",
        shown.stdout,
    )


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES[1:] if page.name not in ON_THEIR_OWN],
    ids=lambda page: page.name,
)
def test_python_of_the_guides_runs(page):
    if page.name == "snapshots.md":
        pytest.importorskip("torch")
    for block in blocks(page, "python"):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(GIVEN + block, {})
        ci.shutdown()


def assert_shown(picture, output):
    """The lines of an indented picture are lines of the output, whatever their numbers."""

    def names(text):
        return [re.sub(r" [-—] .*?s\b|=[^,} ]*", "", line) for line in text.splitlines()]

    remaining = iter(names(output))
    for line in names(re.sub("^    ", "", picture, flags=re.MULTILINE)):
        assert line.strip() == "..." or line in remaining  # in this order


def check_example(block, example, picture):
    """The block stands in the example, and the picture in what running it shows, in order."""
    path = ROOT / "docs" / "examples" / example
    lines = {line.strip().split("  #")[0] for line in path.read_text().splitlines()}
    shown = {line.strip().split("  #")[0] for line in block.splitlines()}
    assert shown - {"..."} <= lines
    done = subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    view = [sys.executable, "-m", "cirron", "traces", "view"]
    viewed = subprocess.run(view, capture_output=True, text=True, check=True)
    assert_shown(picture, done.stdout + viewed.stdout)


def test_readme_shows_the_example_and_its_tree():
    pytest.importorskip("sklearn")
    page = ROOT / "README.md"
    picture = re.search(r"\n((?: {4}.*\n)+)\nIn a notebook", page.read_text())[1]
    check_example(blocks(page, "python")[1], "train_digits.py", picture)


def test_training_page_shows_the_example_and_its_tree():
    pytest.importorskip("torch")
    page = ROOT / "docs" / "training-torch.md"
    example = ROOT / "docs" / "examples" / "train_torch.py"
    assert example.read_text().split("\n\n", 1)[1] == blocks(page, "python")[0]
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, check=True)
    picture = re.search(r"\n((?: {4}.*\n)+)\n`ci.profile", page.read_text())[1]
    assert_shown(picture, done.stdout)


@pytest.mark.parametrize("page", EXAMPLES)
def test_pages_of_frameworks_show_their_example_and_its_tree(page):
    text = (ROOT / page).read_text()
    picture = re.search(r"\n((?: {4}.*\n)+)", text[text.index("```\n\n") :])[1]
    check_example(blocks(ROOT / page, "python")[0], EXAMPLES[page], picture)


def test_batch_of_the_spool_format_is_one():
    page = ROOT / "docs" / "spool-format.md"
    (batch,) = blocks(page, "json")
    Path("1-batch.json").write_text(batch)
    table = _core.read_spool(["1-batch.json"])
    assert (len(table), table.mark_count, table.snapshot_count, table.warnings) == (1, 1, 1, [])
    with ci.profile(), ci.scope("s"):
        ci.mark("m", 1)
    (written,) = Path(".cirron/spool").iterdir()
    documented, real = json.loads(batch), json.loads(written.read_text())
    assert documented.keys() == real.keys()
    for kind in ("spans", "marks"):
        assert {tuple(record) for record in real[kind]} == {tuple(documented[kind][0])}


def test_configuration_lists_every_setting_with_its_default():
    from cirron.config import SETTINGS, Settings

    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `CIRRON_\w+` \| `?(.*?)`? \|", page, re.MULTILINE))
    assert set(rows) == set(SETTINGS)
    for name in set(SETTINGS) - {"output", "frameworks"}:
        assert json.loads(rows[name]) == getattr(Settings(), name)


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "csrc" / "README.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
