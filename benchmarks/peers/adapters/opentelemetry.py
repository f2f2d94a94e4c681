from contextlib import AbstractContextManager

from opentelemetry.sdk.trace import TracerProvider

from .lines import processor
from .lines import stored as stored


def start(folder: str) -> None:
    global provider, tracer
    provider = TracerProvider()
    provider.add_span_processor(processor(folder))
    tracer = provider.get_tracer("bench")


def stop() -> None:
    provider.shutdown()


def span(name: str) -> AbstractContextManager[object]:
    return tracer.start_as_current_span(name)


def spans(n: int) -> None:
    start = tracer.start_as_current_span
    for _ in range(n):
        with start("work"):
            pass


def values(n: int) -> None:
    with tracer.start_as_current_span("values") as parent:
        for _ in range(n):
            parent.add_event("loss", {"value": 0.5})
