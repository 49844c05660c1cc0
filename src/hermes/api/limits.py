"""A request's body as a handler wants it. How large, slow and deep it may be is `hermes.http.body`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from hermes.api.answers import headers_of
from hermes.core.errors import InvalidInput, TooLarge, UnsupportedMedia
from hermes.http import body as body_of


async def read_json(request: Request) -> Any:
    """The body as JSON. Raises UnsupportedMedia, TooLarge, BodyTooSlow or InvalidInput `invalid_json`."""
    headers = headers_of(request)
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    if content_type != "application/json" and (content_type or not _is_empty(headers)):
        raise UnsupportedMedia(f"this route takes application/json, not {content_type or 'a body without a type'}")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnsupportedMedia("the body must not be compressed (Content-Encoding)")
    try:
        body = await request.body()
    except ClientDisconnect as gone:
        raise InvalidInput("the connection closed before the body was whole", code="invalid_json") from gone
    return parse_json(body)


def parse_json(body: bytes) -> Any:
    """Raises InvalidInput `invalid_json`, also for an empty body."""
    if not body:
        raise InvalidInput("the body is empty; send JSON", code="invalid_json")
    return body_of.parse_json(body)


async def read_object(request: Request) -> dict[str, Any]:
    value = await read_json(request)
    if not isinstance(value, dict):
        raise InvalidInput("the body must be a JSON object")
    return value


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes, the limit of this route")


def _is_empty(headers: Mapping[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
