"""A language model's answer as a stream of server-sent events, in OpenAI's format.

    uvicorn serve_llm_stream:app
    curl -N localhost:8000/chat -H 'content-type: application/json' -d '{"prompt": "Why trace?"}'
    cirron traces view

The model here is a list of words. With a client of OpenAI's, return what
`client.chat.completions.create(..., stream=True)` gives, or iterate over it.
"""

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

import cirron as ci

ci.profile()
app = FastAPI()
ANSWER = ["Because", "what", "is", "slow", "hides", "where", "nobody", "looks", "."]


class Chat(BaseModel):
    prompt: str


async def generate(prompt: str) -> AsyncIterator[dict[str, object]]:
    with ci.scope("prefill", words=len(prompt.split())):
        await asyncio.sleep(0.02)
    for i, token in enumerate(ANSWER):
        with ci.scope("decode", index=i):
            await asyncio.sleep(0.002)
        yield {"choices": [{"delta": {"content": token + " "}}], "usage": None}
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(ANSWER)}
    yield {"choices": [], "usage": usage}


async def events(chunks: AsyncIterator[dict[str, object]]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/chat")
@ci.inference
async def chat(request: Chat) -> StreamingResponse:
    # The request lasts until the last event is sent, and the model's scopes are in it.
    return StreamingResponse(events(generate(request.prompt)), media_type="text/event-stream")
