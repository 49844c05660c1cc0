"""Stand-ins for Ollama, LM Studio and servers with /v1/models, on free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Routes = Mapping[str, Any]


@asynccontextmanager
async def serving(routes: Routes, *, key: str | None = None) -> AsyncIterator[str]:
    """`"GET /path"` → the JSON answer, a status, or a function of the request's JSON. Gives the address up to /v1."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if key is not None and request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": "no"}, status=401)
        answer = routes.get(f"{request.method} {request.path}", 404)
        if callable(answer):
            function: Callable[[Any], Any] = answer
            answer = function(await request.json())
        if isinstance(answer, int):
            return web.Response(status=answer, text="nothing")
        if isinstance(answer, str):
            return web.Response(text=answer, content_type="text/html")
        return web.json_response(answer)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def ollama(**models: Mapping[str, Any]) -> Routes:
    """Names (with `_` for `:`) and what /api/show says of each."""
    shown = {name.replace("_", ":"): details for name, details in models.items()}
    return {
        "GET /api/tags": {"models": [{"name": name} for name in shown]},
        "POST /api/show": lambda body: shown[body["model"]],
    }


def openai(*models: Mapping[str, Any]) -> Routes:
    return {"GET /v1/models": {"object": "list", "data": list(models)}}
