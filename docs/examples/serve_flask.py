"""The same kind of service with Flask.

gunicorn --config gunicorn.conf.py serve_flask:app
curl localhost:8000/similar/tracing
cirron traces view
"""

from collections.abc import Iterator
from difflib import SequenceMatcher

from flask import Flask

import cirron as ci

ci.profile()
app = Flask(__name__)
WORDS = ["profile", "profiler", "scope", "span", "trace", "tracer", "tracing", "training"]


@app.get("/similar/<word>")
@ci.inference
def similar(word: str) -> dict[str, float]:
    with ci.scope("score", words=len(WORDS)):
        scores = {known: SequenceMatcher(None, word, known).ratio() for known in WORDS}
    with ci.scope("rank"):
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:3]
    ci.mark("best_score", scores[best[0]])
    return {known: scores[known] for known in best}


@app.get("/complete/<word>")
@ci.inference
def complete(word: str) -> Iterator[str]:  # the request ends with the last line
    for known in WORDS:
        if known.startswith(word):
            yield f"{known}\n"
