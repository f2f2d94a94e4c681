"""The pages of the commands agree with the program."""

import importlib.util
from pathlib import Path
from types import ModuleType

import click
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "cli"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_options", FOLDER / "update_options.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


update_options = _load()


@pytest.mark.parametrize("name", update_options.commands())
def test_page_has_the_options_of_today(name: str) -> None:
    page = (FOLDER / f"{name}.md").read_text()
    expected = update_options.updated(page, update_options.commands()[name])
    assert page == expected, "run docs/cli/update_options.py"


@pytest.mark.parametrize("name", update_options.commands())
def test_overview_links_each_page(name: str) -> None:
    assert f"({name}.md)" in (FOLDER / "README.md").read_text()


def test_every_option_is_described() -> None:
    for command in update_options.commands().values():
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help
