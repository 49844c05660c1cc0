"""/api/openapi.json, and Swagger UI at /api/docs: its files are served from here, so that it needs no network.

The page is public as the document is (spec: link-api, section 2). Nothing in it is inline, and a token that is typed
there stays in its memory.
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from hermes.core.errors import NotFound
from hermeslink import __version__
from hermeslink.api.access import AT_THIS_MACHINE, CHAT, OWN_TOKEN, PUBLIC
from hermeslink.api.errors import ErrorAnswer
from hermeslink.api.paths import shape_of

router = APIRouter(include_in_schema=False)

# No form is sent anywhere, so that no token can end in an address; icons are data: URLs.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hermes Link: routes</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<script src="docs/swagger-ui-bundle.js" defer></script>
<script src="docs/docs.js" defer></script>
<noscript><p>This page needs JavaScript. The document itself is at /api/openapi.json.</p></noscript>
<div id="routes"></div>
</html>
"""

SCRIPT = """"use strict";
SwaggerUIBundle({
  url: "openapi.json",
  domNode: document.getElementById("routes"),
  deepLinking: false,
  docExpansion: "list",
  persistAuthorization: false,
});
"""

FROM_SWAGGER = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
KEPT = {"Cache-Control": "max-age=3600"}

DESCRIPTION = """\
People and their devices on an agent. A device is paired once, and then sends `Authorization: Bearer hlat_…`.

Every failure is `{"ok": false, "error": {"code", "message"}}`; `code` is the word to go by. Fields of a request may be
written in snake_case or camelCase.
"""

REF = "#/components/schemas/"


@router.get("/api/openapi.json")
async def show_document(request: Request) -> Response:
    return Response(await asyncio.to_thread(document, request.app), media_type="application/json")


@router.get("/api/docs")
async def show_page() -> HTMLResponse:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/api/docs/{file}")
async def show_file(file: str) -> Response:
    if file == "docs.js":
        return Response(SCRIPT, media_type="text/javascript", headers=KEPT)
    if file not in FROM_SWAGGER:
        raise NotFound("there is no such file")
    return FileResponse(await asyncio.to_thread(_path_of, file), media_type=FROM_SWAGGER[file], headers=KEPT)


@cache
def document(app: FastAPI) -> bytes:
    return orjson.dumps(build(app))


def build(app: FastAPI) -> dict[str, Any]:
    """OpenAPI of what is served: who may call each route, and its errors in our form."""
    told: dict[str, Any] = get_openapi(
        title=app.title,
        version=__version__,
        description=DESCRIPTION,
        license_info={"name": "MIT"},
        routes=app.state.routes,
    )
    components = told.setdefault("components", {})
    components["securitySchemes"] = {"device": {"type": "http", "scheme": "bearer", "description": "An access token."}}
    schemas = components.setdefault("schemas", {})
    error = ErrorAnswer.model_json_schema(ref_template=REF + "{model}", mode="serialization")
    schemas.update({**error.pop("$defs"), "ErrorAnswer": error})
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            _describe(operation, (method.upper(), shape_of(path)))
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own errors, which nobody gives here
        schemas.pop(name, None)
    return told


def _describe(operation: dict[str, Any], row: tuple[str, str]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    answers["default"] = {
        "description": "It failed.",
        "content": {"application/json": {"schema": {"$ref": f"{REF}ErrorAnswer"}}},
    }
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        operation["requestBody"].pop("required", None)  # no body at all is read as {}
    scope = "chat" if row in CHAT else "admin"
    if row in PUBLIC:
        operation["x-hermes-access"] = "public"
    elif row in OWN_TOKEN:
        operation["x-hermes-access"] = "connect token"
        operation["security"] = [{"device": []}]
    else:
        operation["x-hermes-access"] = f"this machine, or {scope}" if row in AT_THIS_MACHINE else scope
        operation["security"] = [{"device": []}, {}] if row in AT_THIS_MACHINE else [{"device": []}]


@cache
def _path_of(name: str) -> Path:
    return Path(str(files("fastapi_offline") / "static" / name))
