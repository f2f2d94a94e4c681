"""Calls that wait for an import."""

import importlib
import importlib.abc
import importlib.machinery
import inspect
import logging
import sys
from pathlib import Path

import pytest

from cirron.hooks.imports import when_imported


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package `late` with a module `late.part` that nobody has imported."""
    package = tmp_path / "late"
    package.mkdir()
    (package / "__init__.py").write_text("value = 1\n")
    (package / "part.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    yield package
    assert sys.meta_path == before, "nothing waits, so nothing of ours is in the way"
    for name in ("late", "late.part"):
        sys.modules.pop(name, None)


def test_module_that_is_imported_is_handed_over_at_once():
    seen = []
    when_imported("json", seen.append)
    assert seen == [importlib.import_module("json")]


def test_call_comes_after_the_import_and_only_once(late):
    seen = []
    when_imported("late.part", lambda module: seen.append(module.answer()))
    importlib.import_module("late")
    assert seen == []
    part = importlib.import_module("late.part")
    assert seen == [42]
    importlib.reload(part)
    assert seen == [42]


def test_several_calls_wait_for_one_module(late):
    seen = []
    when_imported("late", lambda module: seen.append("first"))
    when_imported("late", lambda module: seen.append("second"))
    importlib.import_module("late")
    assert seen == ["first", "second"]


def test_cancelled_call_is_not_made(late):
    seen = []
    waiting = when_imported("late", seen.append)
    waiting.cancel()
    waiting.cancel()
    importlib.import_module("late")
    assert seen == []


def test_module_and_its_loader_are_as_without_us(late):
    when_imported("late", lambda module: None)
    module = importlib.import_module("late")
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert vars(module.__loader__) == {"name": "late", "path": str(late / "__init__.py")}
    assert inspect.getsource(module) == "value = 1\n"


def test_error_of_the_call_is_a_warning_and_not_the_importers(late, caplog):
    def fail(module):
        raise RuntimeError("no such class")

    when_imported("late", fail)
    with caplog.at_level(logging.WARNING, "cirron"):
        assert importlib.import_module("late").value == 1
    assert "late was imported, but can't be hooked" in caplog.text


def test_module_that_fails_to_import_may_be_imported_again(late):
    seen = []
    (late / "__init__.py").write_text("raise OSError('not yet')\n")
    when_imported("late", seen.append)
    with pytest.raises(OSError, match="not yet"):
        importlib.import_module("late")
    assert seen == []
    (late / "__init__.py").write_text("value = 'a different length'\n")
    importlib.invalidate_caches()
    module = importlib.import_module("late")
    assert seen == [module]


def test_module_that_does_not_exist_raises_as_ever(late):
    waiting = when_imported("late.missing", lambda module: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("late.missing")
    waiting.cancel()


def test_finders_of_others_keep_their_say(late, monkeypatch):
    class Other(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name != "late":
                return None
            return importlib.machinery.ModuleSpec("late", MemoryLoader(), origin="memory")

    class MemoryLoader(importlib.abc.Loader):
        def exec_module(self, module):
            module.value = "from memory"

    other = Other()
    sys.meta_path.insert(0, other)
    seen = []
    when_imported("late", lambda module: seen.append(module.value))
    importlib.import_module("late")
    sys.meta_path.remove(other)
    assert seen == ["from memory"]
