from contextlib import AbstractContextManager

import logfire

from .lines import processor
from .lines import stored as stored


def start(folder: str) -> None:
    logfire.configure(
        send_to_logfire=False,
        console=False,
        metrics=False,
        inspect_arguments=False,
        additional_span_processors=[processor(folder)],
    )


def stop() -> None:
    logfire.shutdown()


def span(name: str) -> AbstractContextManager[object]:
    return logfire.span(name)


def spans(n: int) -> None:
    start = logfire.span
    for _ in range(n):
        with start("work"):
            pass


def values(n: int) -> None:
    info = logfire.info
    with logfire.span("values"):
        for _ in range(n):
            info("loss", value=0.5)
