"""A service with FastAPI: classifies handwritten digits, every request traced.

uvicorn serve_fastapi:app
curl localhost:8000/predict -H 'content-type: application/json' -d '{"sample": 7}'
cirron traces view
"""

import asyncio

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

import cirron as ci

ci.profile()
app = FastAPI()
config = ci.env("CONFIG") or {}  # CONFIG='{"threshold": 0.9}' uvicorn ...

with ci.scope("load_model"):
    digits, labels = load_digits(return_X_y=True)
    classifier = SGDClassifier(loss="log_loss", random_state=0).fit(digits[:1500], labels[:1500])


class Sample(BaseModel):
    sample: int


@app.post("/predict")
@ci.inference(config=config)
async def predict(request: Sample) -> dict[str, int | float | str]:
    with ci.scope("preprocess"):
        if not 0 <= request.sample < len(digits):
            raise HTTPException(404, "no such sample")
        pixels = digits[request.sample : request.sample + 1]
    with ci.scope("model"):
        [probabilities] = await asyncio.to_thread(classifier.predict_proba, pixels)
    digit, score = int(probabilities.argmax()), float(probabilities.max())
    ci.mark("score", score)
    verdict = "sure" if score >= config.get("threshold", 0.5) else "unsure"
    return {"digit": digit, "score": score, "verdict": verdict}
