"""The plain page at `/`: a name and links, for whoever opens the address in a browser."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hermes.api.services import Services

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hermes API server</title>
<h1>Hermes API server</h1>
<p>This is an API for programs: point an OpenAI client at <code>/v1</code> of this address, with your API key.</p>
<ul>
<li><a href="/health">/health</a>
<li><a href="/v1/models">/v1/models</a> (with a key)
<li><a href="/v1/capabilities">/v1/capabilities</a> (with a key)
<li><a href="/docs">/docs</a>: all routes (asks for a key)
</ul>
</html>
"""


async def show(request: Request, services: Services) -> Response:
    """A page for people: the server's name and links."""
    return Response(PAGE, media_type="text/html")
