"""Fuzz target (atheris): whatever `~/.cirron/config.toml` holds, the settings that come out
are valid ones, nothing is raised, and a file that is no TOML is as good as none. The corpus
is replayed by tests/unit/test_config.py, without atheris."""

import logging
import os
import sys
import tempfile
from pathlib import Path

# What is under test is imported late: atheris must see the import to instrument it.


def _is_toml(text: bytes) -> bool:
    import tomllib

    try:
        tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        return False
    return True


def check_settings(data: bytes) -> None:
    """Puts `data` into the configuration file of $HOME and looks at the settings."""
    from cirron import config

    file = Path(os.environ["HOME"], ".cirron", "config.toml")
    file.write_bytes(data)
    settings = config.resolve(None, {})
    for name in config.SETTINGS:
        value = getattr(settings, name)
        if value not in (None, ()):  # the forms of "not set" and "none"
            assert config._CHECKS[name](name, value) == value, (name, value)
    if not _is_toml(data):
        file.unlink()
        assert settings == config.resolve(None, {})


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["cirron.config", "tomllib"]):
        import tomllib  # noqa: F401

        import cirron.config  # noqa: F401
    logging.getLogger("cirron").addHandler(logging.NullHandler())
    logging.getLogger("cirron").propagate = False
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        Path(home, ".cirron").mkdir()
        atheris.Setup(sys.argv, check_settings)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
