"""The settings: what they are, where they come from, and what is a valid value.

A setting is looked up in this order: argument, `config` dictionary, environment variable
`CIRRON_<SETTING>`, `~/.cirron/config.toml`, default. What the program itself passes must
be right; what comes from outside is warned about and skipped when it is wrong.
"""

from __future__ import annotations

import importlib.util
import operator
import os
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from cirron.env import FRAMEWORKS
from cirron.log import warn

SNAPSHOTS = ("stats", "sampled", "full", "none")
OUTPUTS = ("spool", "log", "stdout", "none")

_CONFIG_FILE = "~/.cirron/config.toml"
_SHORTEST_FLUSH_INTERVAL = 0.001
_LONGEST_FLUSH_INTERVAL = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, checked.

    Attributes:
        snapshots: what is kept of watched models at the end of an epoch: "stats",
            "sampled", "full" or "none".
        sample_rate: the probability of raw tensors when `snapshots` is "sampled".
        flush_interval: seconds between two writes.
        enabled: False records nothing.
        path: the directory that holds the spool.
        output: where closed spans go: of "spool", "log", "stdout"; empty for "none".
        frameworks: the frameworks to hook; None stands for all that are imported.
        trace_buffer_max_spans: spans that `trace()` can show.
        spool_max_bytes: the spool's size, beyond which its oldest files go.
        cpu_time: whether spans carry the CPU time of their thread.
    """

    snapshots: str = "stats"
    sample_rate: float = 0.01
    flush_interval: float = 1.0
    enabled: bool = True
    path: str = "./.cirron/"
    output: tuple[str, ...] = ("spool",)
    frameworks: tuple[str, ...] | None = None
    trace_buffer_max_spans: int = 100_000
    spool_max_bytes: int = 1_000_000_000
    cpu_time: bool = True


SETTINGS = tuple(field.name for field in fields(Settings))


def resolve(config: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> Settings:
    """Finds the value of every setting.

    Args:
        config: settings by name, as the program gave them.
        arguments: the same, and stronger. None means "not given" in both.

    Raises:
        ValueError: one of the two holds an unknown setting or a wrong value.
    """
    if config is None:
        config = {}
    elif not isinstance(config, Mapping):
        raise ValueError(f"config must be a dict of settings, not {reprlib.repr(config)}")
    values: dict[str, Any] = {}
    for given in (config, arguments):
        for name, value in given.items():
            if name not in SETTINGS:
                raise ValueError(
                    f"unknown setting {reprlib.repr(name)}; there are {', '.join(SETTINGS)}"
                )
            if value is not None:
                values[name] = _CHECKS[name](name, value)
    from_file = _read_config_file()
    for name in SETTINGS:
        if name not in values and not _take_environment(name, values):
            _take_file(name, from_file, values)
    settings = Settings(**values)
    for framework in settings.frameworks or ():
        if not is_installed(framework):
            warn("frameworks: %s is not installed", framework)
    return settings


def is_installed(framework: str) -> bool:
    """Says whether a framework could be imported, without importing it."""
    if framework in sys.modules:
        return sys.modules[framework] is not None
    try:
        return importlib.util.find_spec(framework) is not None
    except (ImportError, ValueError, AttributeError):
        return False


# ---- sources


def _take_environment(name: str, values: dict[str, Any]) -> bool:
    variable = f"CIRRON_{name.upper()}"
    text = os.environ.get(variable, "").strip()
    if not text:
        return False
    try:
        values[name] = _CHECKS[name](name, _FROM_TEXT.get(name, str)(text))
    except ValueError as error:
        warn("environment variable %s is ignored: %s", variable, error)
        return False
    return True


def _take_file(name: str, from_file: dict[str, Any], values: dict[str, Any]) -> None:
    if name not in from_file:
        return
    try:
        values[name] = _CHECKS[name](name, from_file[name])
    except ValueError as error:
        warn("%s is ignored in %s: %s", name, _CONFIG_FILE, error)


def _read_config_file() -> dict[str, Any]:
    """Returns the file's top-level keys; its tables belong to others."""
    try:
        with open(os.path.expanduser(_CONFIG_FILE), "rb") as file:
            import tomllib  # here, because few programs have the file

            found = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        warn("%s is ignored: %s", _CONFIG_FILE, error)
        return {}
    for key, value in found.items():
        if key not in SETTINGS and not isinstance(value, dict):
            warn("%s: unknown setting %s", _CONFIG_FILE, key)
    return found


def _flag_from_text(text: str) -> bool:
    word = text.lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"must be 1 or 0, true or false, yes or no, on or off, not {text!r}")


def _number_from_text(kind: type[int] | type[float]) -> Callable[[str], int | float | str]:
    def convert(text: str) -> int | float | str:
        try:
            return kind(text)
        except ValueError:
            return text  # the check says what is wanted

    return convert


def _names_from_text(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "sample_rate": _number_from_text(float),
    "flush_interval": _number_from_text(float),
    "enabled": _flag_from_text,
    "output": _names_from_text,
    "frameworks": _names_from_text,
    "trace_buffer_max_spans": _number_from_text(int),
    "spool_max_bytes": _number_from_text(int),
    "cpu_time": _flag_from_text,
}


# ---- checks: each returns the value in the form in which `Settings` keeps it


def _wrong(name: str, wanted: str, value: object) -> ValueError:
    return ValueError(f"{name} must be {wanted}, not {reprlib.repr(value)}")


def _check_snapshots(name: str, value: object) -> str:
    if not isinstance(value, str) or value not in SNAPSHOTS:
        raise _wrong(name, f"one of {', '.join(SNAPSHOTS)}", value)
    return value


def _check_number(name: str, value: object, wanted: str) -> float:
    if isinstance(value, (bool, str, bytes)):
        raise _wrong(name, wanted, value)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise _wrong(name, wanted, value) from None


def _check_sample_rate(name: str, value: object) -> float:
    wanted = "a number from 0 to 1"
    number = _check_number(name, value, wanted)
    if not 0 <= number <= 1:
        raise _wrong(name, wanted, value)
    return number


def _check_flush_interval(name: str, value: object) -> float:
    wanted = f"seconds from {_SHORTEST_FLUSH_INTERVAL} to {_LONGEST_FLUSH_INTERVAL}"
    number = _check_number(name, value, wanted)
    if not _SHORTEST_FLUSH_INTERVAL <= number <= _LONGEST_FLUSH_INTERVAL:
        raise _wrong(name, wanted, value)
    return number


def _check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "True or False", value)
    return value


def _check_path(name: str, value: object) -> str:
    wanted = "a directory's path"
    try:
        path = os.fsdecode(value)  # type: ignore[arg-type]
    except TypeError:
        raise _wrong(name, wanted, value) from None
    if not path or "\0" in path:
        raise _wrong(name, wanted, value)
    return path


def _check_names(name: str, value: object, known: tuple[str, ...]) -> tuple[str, ...]:
    wanted = f"one or a list of {', '.join(known)}"
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(name, wanted, value)
    names = list(value)
    for each in names:
        if not isinstance(each, str) or each not in known:
            raise _wrong(name, wanted, each)
    return tuple(dict.fromkeys(names))


def _check_output(name: str, value: object) -> tuple[str, ...]:
    names = _check_names(name, value, OUTPUTS)
    if not names:
        raise _wrong(name, f"one or a list of {', '.join(OUTPUTS)}", value)
    if names == ("none",):
        return ()
    if "none" in names:
        raise ValueError(f'{name}: "none" can\'t stand beside another')
    return names


def _check_frameworks(name: str, value: object) -> tuple[str, ...]:
    return _check_names(name, value, FRAMEWORKS)


def _check_count(name: str, value: object) -> int:
    wanted = "a whole number above 0"
    if isinstance(value, bool):
        raise _wrong(name, wanted, value)
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise _wrong(name, wanted, value) from None
    if not 0 < count < 2**63:
        raise _wrong(name, wanted, value)
    return count


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "snapshots": _check_snapshots,
    "sample_rate": _check_sample_rate,
    "flush_interval": _check_flush_interval,
    "enabled": _check_flag,
    "path": _check_path,
    "output": _check_output,
    "frameworks": _check_frameworks,
    "trace_buffer_max_spans": _check_count,
    "spool_max_bytes": _check_count,
    "cpu_time": _check_flag,
}
