import cirron as ci

from .spool import stored as stored

span = ci.scope


def start(folder: str) -> None:
    ci.profile(path=folder, frameworks=[])


def start_hooked(folder: str) -> None:
    ci.profile(path=folder)


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
