"""A bare Starlette service behind a middleware that runs the endpoint in a task of its own."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from work import serve, serve_async

import cirron as ci


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    ci.profile()
    yield
    ci.shutdown()


@ci.inference
async def predict(request: Request) -> Response:
    return JSONResponse(await serve_async(request.path_params["number"]))


@ci.inference
def threaded(request: Request) -> Response:
    return JSONResponse(serve(request.path_params["number"]))


class Predict(HTTPEndpoint):
    @ci.inference
    async def get(self, request: Request) -> Response:
        return JSONResponse(await serve_async(request.path_params["number"]))


@ci.inference
async def stream(request: Request) -> StreamingResponse:
    number = request.path_params["number"]

    async def body() -> AsyncIterator[str]:
        await serve_async(number)
        yield str(number)

    def after() -> None:
        with ci.scope("after"):
            pass

    return StreamingResponse(body(), background=BackgroundTask(after))


@ci.inference
async def stream_threaded(request: Request) -> StreamingResponse:
    number = request.path_params["number"]

    def body() -> Iterator[str]:
        serve(number)
        yield str(number)

    return StreamingResponse(body())


async def within(request: Request, call_next: RequestResponseEndpoint) -> Response:
    with ci.scope("middleware"):
        return await call_next(request)


def flush(request: Request) -> Response:
    ci.flush()
    return Response()


app = Starlette(
    routes=[
        Route("/predict/{number:int}", predict),
        Route("/threaded/{number:int}", threaded),
        Route("/class/{number:int}", Predict),
        Route("/stream/{number:int}", stream),
        Route("/stream_threaded/{number:int}", stream_threaded),
        Route("/flush", flush),
    ],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=within)],
    lifespan=lifespan,
)
