"""Fuzz target (atheris): whatever `~/.cirron/config.toml` holds, the settings that come out
are valid ones, nothing is raised, and a file that is no TOML is as good as none."""

import logging
import os
import sys
import tempfile
import tomllib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cirron.config", "tomllib"]):
    from cirron import config

_SETTINGS = config.resolve(None, {})


def _is_toml(text: bytes) -> bool:
    try:
        tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        return False
    return True


def test_one_input(data: bytes) -> None:
    Path(os.environ["HOME"], ".cirron", "config.toml").write_bytes(data)
    settings = config.resolve(None, {})
    for name in config.SETTINGS:
        value = getattr(settings, name)
        if value not in (None, ()):  # the forms of "not set" and "none"
            assert config._CHECKS[name](name, value) == value, (name, value)
    if not _is_toml(data):
        assert settings == _SETTINGS


def main() -> None:
    logging.getLogger("cirron").addHandler(logging.NullHandler())
    logging.getLogger("cirron").propagate = False
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        Path(home, ".cirron").mkdir()
        atheris.Setup(sys.argv, test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
