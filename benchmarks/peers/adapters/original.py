"""It writes to ./.cirron, so its working directory is the folder."""

import os

import cirron as ci

from . import spool

span = ci.scope


def start(folder: str) -> None:
    _enter(folder)
    ci.profile(frameworks=[])


def start_hooked(folder: str) -> None:
    _enter(folder)
    ci.profile()


def _enter(folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)


def stop() -> None:
    ci.shutdown()


def spans(n: int) -> None:
    scope = ci.scope
    for _ in range(n):
        with scope("work"):
            pass


def values(n: int) -> None:
    mark = ci.mark
    with ci.scope("values"):
        for _ in range(n):
            mark("loss", 0.5)


def stored(folder: str, name: str) -> int:
    return spool.stored(f"{folder}/.cirron", name)
