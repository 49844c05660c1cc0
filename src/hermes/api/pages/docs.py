"""/docs: Swagger UI without a network (docs/adr/0085).

The page and its files are public, since a browser sends no key when it navigates or loads a script, and they hold
nothing of this server. The page asks for the key, keeps it in memory, and fetches /openapi.json with it.
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from hermes.api.documented import documented
from hermes.api.services import Services

# Nothing inline; icons are data: URLs; no form is sent anywhere, so that no key can end in an address.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hermes API server: routes</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="stylesheet" href="docs/docs.css">
<script src="docs/swagger-ui-bundle.js" defer></script>
<script src="docs/docs.js" defer></script>
<form id="ask">
<h1>Hermes API server</h1>
<p>The routes of this server, to read and to try. The API key stays in this page's memory: a reload forgets it.</p>
<label>API key <input id="key" type="password" autocomplete="off" required></label>
<button>Show</button>
<p id="told" role="alert"></p>
</form>
<noscript><p>This page needs JavaScript. The document itself is at /openapi.json (with a key).</p></noscript>
<div id="routes"></div>
</html>
"""

SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")
OWN = ("docs.js", "docs.css")
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}


@documented(media_type="text/html")
async def show(request: Request, services: Services) -> Response:
    """A page for people, which asks for the key: every route, to read and to try.

    Its files are the routes below it; nothing is loaded from elsewhere.
    """
    return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@documented(media_type="text/javascript")
async def script(request: Request, services: Services) -> Response:
    """A script of the page at /docs."""
    return await _file(request)


@documented(media_type="text/css")
async def style(request: Request, services: Services) -> Response:
    """A style sheet of the page at /docs."""
    return await _file(request)


async def _file(request: Request) -> Response:
    path = await asyncio.to_thread(_path_of, request.url.path.rpartition("/")[2])
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers={"Cache-Control": "max-age=3600"})


@cache
def _path_of(name: str) -> Path:
    """`name` comes from the table of routes, never from a caller."""
    root = files("fastapi_offline") / "static" if name in SWAGGER else files("hermes.api.pages") / "docs_files"
    return Path(str(root / name))
