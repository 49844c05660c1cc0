"""How much a client may send, and a JSON body that is whole before it is routed."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope

from hermes.core.errors import InvalidInput, TooLarge, UnsupportedMedia
from hermes.http.body import LimitedBody, parse_json
from hermes.http.headers import RawHeaders

JSON_LIMIT_BYTES = 1 << 20
UPLOAD_LIMIT_BYTES = 50 << 20
MULTIPART_BYTES = 64 << 10
"""What may stand around the file of an upload: the file itself is counted where it is read."""
BODY_TIMEOUT_SECONDS = 30.0

UPLOADS = frozenset({("POST", "/api/v1/conversations/{}/blobs")})
"""Routes that take bytes; all others take JSON."""


def limited(receive: Receive, headers: RawHeaders, timeout_seconds: float, *, is_upload: bool) -> LimitedBody:
    """Raises TooLarge `blob_too_large` or `body_too_large` for what its header declares."""
    limit = UPLOAD_LIMIT_BYTES + MULTIPART_BYTES if is_upload else JSON_LIMIT_BYTES
    return LimitedBody(receive, headers, limit, timeout_seconds, _too_large)


def _too_large(limit: int) -> TooLarge:
    if limit > JSON_LIMIT_BYTES:
        return TooLarge("an attachment may have 50 MiB", code="blob_too_large")
    return TooLarge("the body may have 1 MiB")


class JsonBody:
    """A `receive` that gives a JSON body, whole and known to be one. No body is an empty object."""

    def __init__(self, receive: Receive, body: bytes) -> None:
        self._receive = receive
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def read_json(scope: Scope, headers: RawHeaders, receive: Receive) -> tuple[Scope, Receive]:
    """The request with its body read. Raises UnsupportedMedia, TooLarge, BodyTooSlow, InvalidInput `invalid_json`."""
    _check_media(headers)
    parts: list[bytes] = []
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("the connection closed before the body was whole", code="invalid_json")
        parts.append(message.get("body", b""))
    body = b"".join(parts)
    if body.strip():
        parse_json(body)
        return scope, JsonBody(receive, body)
    as_json = [(name, value) for name, value in scope["headers"] if name not in (b"content-type", b"content-length")]
    return {**scope, "headers": [*as_json, (b"content-type", b"application/json")]}, JsonBody(receive, b"{}")


def _check_media(headers: RawHeaders) -> None:
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    is_empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    if content_type != "application/json" and not is_empty:
        told = content_type[:100] or "a body without a type"
        raise UnsupportedMedia(f"this takes application/json, not {told}")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnsupportedMedia("the body must not be compressed (Content-Encoding)")
