"""Answers in JSON, and who asked."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from hermes.api.auth import Principal
from hermes.core.errors import Unauthorized
from hermes.http.headers import RawHeaders


class JsonAnswer(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def owner_of(request: Request) -> Principal:
    """The key behind the request. Raises Unauthorized on a public route, which has none."""
    principal: Principal | None = request.scope.get("hermes.principal")
    if principal is None:
        raise Unauthorized("Invalid API key")
    return principal


def headers_of(request: Request) -> RawHeaders:
    """What the app put there; a look-up in `request.headers` goes through the whole list each time."""
    headers: RawHeaders = request.scope["hermes.headers"]
    return headers
