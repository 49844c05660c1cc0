"""The limit: the same web stack doing nothing but passing bytes from the model to the client.

python -m bench.relay PORT UPSTREAM_URL
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODELS = {
    "object": "list",
    "data": [
        {"id": "hermes-agent", "object": "model", "created": 1, "owned_by": "hermes", "root": "x", "parent": None}
    ],
}


def make_app(upstream: str) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            app.state.session = session
            yield

    async def chat(request: Request) -> Response:
        body = await request.body()
        session: aiohttp.ClientSession = request.app.state.session

        async def pieces() -> AsyncIterator[bytes]:
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{upstream}/chat/completions", data=body, headers=headers) as answer:
                async for piece in answer.content.iter_any():
                    yield piece

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(request: Request) -> Response:
        return JSONResponse(MODELS)

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/health", health),
        Route("/v1/models", models),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    uvicorn.run(
        make_app(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
        server_header=False,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
