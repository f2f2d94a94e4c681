"""A Flask service. Under gunicorn with --preload it is imported before the workers fork."""

import gc
import os
from collections.abc import Iterator

from flask import Flask, Response, jsonify, request, send_file, stream_with_context
from work import serve, users_variable

import cirron as ci

ci.profile()
with ci.scope("load_model"):
    app = Flask(__name__)
ITEMS = 20


@app.post("/predict/<int:number>")
@ci.inference
def predict(number: int) -> Response:
    """Predicts."""
    sent = request.get_json()
    done = serve(number)
    scale = request.args.get("scale", type=float)
    return jsonify(done, sent, scale, request.endpoint, os.getpid())


@app.get("/dict/<int:number>")
@ci.inference
def answer_dict(number: int) -> dict[str, int]:
    return serve(number)


def _items(number: int, count: int = ITEMS) -> Iterator[str]:
    ci.mark("number", number)
    for i in range(count):
        with ci.scope("token", i):
            ci.mark("number", number)
            users_variable.set(number)
        yield f"{number}:{i}\n"


streamed = ci.inference(_items)


@app.get("/stream/decorated/<int:number>")
def stream_decorated(number: int) -> Response:
    return Response(streamed(number), mimetype="text/plain")


@app.get("/stream/returned/<int:number>")
@ci.inference
def stream_returned(number: int) -> Iterator[str]:
    return _items(number)


@app.get("/stream/view/<int:number>")
@ci.inference
def stream_view(number: int) -> Iterator[str]:
    yield from _items(number)


@app.get("/stream/context/<int:number>")
def stream_with_the_request(number: int) -> Response:
    @ci.inference
    def body() -> Iterator[str]:
        for item in _items(number):
            assert request.view_args == {"number": number}
            yield item

    return Response(stream_with_context(body()))


@app.get("/file/<int:number>")
@ci.inference
def file(number: int) -> Response:
    serve(number)
    return send_file(__file__)


@app.get("/failing/<int:number>")
@ci.inference
def failing(number: int) -> None:
    ci.mark("number", number)
    raise ValueError(f"no weights for {number}")


@app.get("/endless/<int:number>")
@ci.inference
def endless(number: int) -> Iterator[str]:
    ci.mark("number", number)
    while True:
        yield "more\n" * 1000


@app.get("/flush")
def flush() -> str:
    gc.collect()  # abandoned generators end when they are collected
    ci.flush()
    return ""
