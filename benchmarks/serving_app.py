"""What `serving.py` serves: an endpoint bare, with the decorator alone, and with its scopes."""

import itertools

from fastapi import FastAPI

import cirron as ci

ci.profile()
app = FastAPI()
_numbers = itertools.count()


@app.get("/bare")
async def bare() -> dict[str, int]:
    return {"number": next(_numbers)}


@app.get("/decorated")
@ci.inference
async def decorated() -> dict[str, int]:
    return {"number": next(_numbers)}


@app.get("/scopes")
@ci.inference
async def scopes() -> dict[str, int]:
    number = next(_numbers)
    with ci.scope("preprocess"):
        ci.mark("number", number)
        with ci.scope("tokenize"):
            ci.mark("number", number)
            ci.mark("tokens", 12)
    with ci.scope("model"):
        ci.mark("number", number)
        ci.mark("score", 0.5)
    return {"number": number}


@app.get("/flush")
def flush() -> dict[str, int]:
    """Says how many requests were recorded."""
    ci.flush()
    health = ci.health()
    return {"spans": health["span_count"], "dropped": health["scope_drop_count"]}
