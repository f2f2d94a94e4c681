"""The hooks of a session: when they go in, when they come out, what a failing one does."""

import importlib
import logging
import sys
import types

import pytest

import cirron as ci
from cirron.hooks import registry


def original():
    return "original"


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A framework `engine` to be imported, and its hooks, which replace `engine.run`."""
    (tmp_path / "engine.py").write_text("from test_hooks_registry import original as run\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "FRAMEWORKS", ("engine", *registry.FRAMEWORKS))
    monkeypatch.setitem(registry.MODULES, "engine", ("engine",))
    hooks = types.ModuleType("cirron.hooks.engine")
    hooks.broken = None

    def hook_run():
        if hooks.broken:
            raise hooks.broken
        module = sys.modules["engine"]
        before, module.run = module.run, lambda: "hooked"
        return lambda: setattr(module, "run", before)

    def install(session_hooks, module):
        hooks.registry = session_hooks
        session_hooks.put("engine.run", hook_run)

    hooks.install = install
    monkeypatch.setitem(sys.modules, "cirron.hooks.engine", hooks)
    yield hooks
    ci.shutdown()
    sys.modules.pop("engine", None)


def import_engine():
    return importlib.import_module("engine")


def test_framework_that_is_imported_is_hooked_until_shutdown(engine):
    module = import_engine()
    with ci.profile(output="none"):
        assert module.run() == "hooked"
        assert "engine" in ci.health()["frameworks_installed"]
    assert module.run is original
    assert ci.health()["frameworks_installed"] == []


def test_framework_that_is_imported_later_is_hooked_then(engine):
    with ci.profile(output="none"):
        assert "engine" not in ci.health()["frameworks_installed"]
        assert import_engine().run() == "hooked"
        assert "engine" in ci.health()["frameworks_installed"]
    assert import_engine().run is original


def test_framework_that_is_imported_after_the_session_is_left_alone(engine):
    with ci.profile(output="none"):
        pass
    assert import_engine().run is original


@pytest.mark.parametrize("frameworks", [[], ["sklearn"]])
def test_framework_that_was_not_chosen_is_left_alone(engine, frameworks):
    module = import_engine()
    with ci.profile(output="none", frameworks=frameworks):
        assert module.run is original


def test_disabled_session_hooks_nothing(engine):
    with ci.profile(enabled=False):
        assert import_engine().run is original


def test_next_session_hooks_again(engine):
    module = import_engine()
    for _ in range(2):
        with ci.profile(output="none"):
            assert module.run() == "hooked"
        assert module.run is original


def test_hook_that_can_not_be_put_in_is_named(engine, caplog):
    engine.broken = AttributeError("no such thing")
    with ci.profile(output="none"):
        assert import_engine().run is original
        assert ci.health()["hook_errors"] == {"engine.run": "AttributeError: no such thing"}
    assert "engine.run failed and is switched off" in caplog.text


def test_hook_that_fails_later_is_taken_out_and_named_once(engine, caplog):
    module = import_engine()
    with ci.profile(output="none"):
        for _ in range(2):
            engine.registry.report("engine.run", ValueError("odd"))
        assert module.run is original
        assert ci.health()["hook_errors"] == {"engine.run": "ValueError: odd"}
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_session_without_errors_says_so():
    with ci.profile(output="none"):
        assert not ci.health()["hook_errors"]


def test_higher_framework_owns_the_loop():
    assert registry.loop_owner() is None
    with registry.owning_loop("transformers"):
        with registry.owning_loop("keras"):
            assert registry.loop_owner() == "transformers"
        assert registry.loop_owner() == "transformers"
    with registry.owning_loop("keras"), registry.owning_loop("transformers"):
        assert registry.loop_owner() == "transformers"
    assert registry.loop_owner() is None
