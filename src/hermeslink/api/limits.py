"""How much a client may send, how slowly, and how deeply nested. Nothing is cut: over a limit, it is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope

from hermes.core.errors import InvalidInput, TooLarge, UnsupportedMedia
from hermeslink.api.errors import BodyTooSlow
from hermeslink.api.headers import RawHeaders

JSON_LIMIT_BYTES = 1 << 20
UPLOAD_LIMIT_BYTES = 50 << 20
MULTIPART_BYTES = 64 << 10
"""What may stand around the file of an upload: the file itself is counted where it is read."""
BODY_TIMEOUT_SECONDS = 30.0
SLOWEST_BYTES_A_SECOND = 32 * 1024
MAX_NESTING = 100

UPLOADS = frozenset({("POST", "/api/v1/conversations/{}/blobs")})
"""Routes that take bytes; all others take JSON."""


class LimitedBody:
    """A `receive` that refuses what is too large, counted as it comes, and what comes too slowly."""

    def __init__(self, receive: Receive, headers: RawHeaders, timeout_seconds: float, *, is_upload: bool) -> None:
        self._receive = receive
        self._timeout_seconds = timeout_seconds
        self._is_upload = is_upload
        self._limit = UPLOAD_LIMIT_BYTES + MULTIPART_BYTES if is_upload else JSON_LIMIT_BYTES
        self._deadline: float | None = None
        self._count = 0
        self._is_whole = False
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or len(declared) > 18 or int(declared) > self._limit:
            raise self._too_large()

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            async with asyncio.timeout_at(self._deadline + self._count / SLOWEST_BYTES_A_SECOND):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow("the body did not arrive in time") from None
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._limit:
                raise self._too_large()
            self._is_whole = not message.get("more_body", False)
        return message

    def _too_large(self) -> TooLarge:
        if self._is_upload:
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
        check_json(body)
        return scope, JsonBody(receive, body)
    as_json = [(name, value) for name, value in scope["headers"] if name not in (b"content-type", b"content-length")]
    return {**scope, "headers": [*as_json, (b"content-type", b"application/json")]}, JsonBody(receive, b"{}")


def check_json(body: bytes) -> None:
    """Raises InvalidInput `invalid_json` also where it is nested too deep."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if body.count(b"[") + body.count(b"{") > MAX_NESTING and is_deeper_than(value, MAX_NESTING):
        raise InvalidInput(f"the JSON is nested more than {MAX_NESTING} deep", code="invalid_json")


def is_deeper_than(value: Any, limit: int) -> bool:
    """Whether lists and mappings are nested more than `limit` deep. Goes level by level, so depth costs no stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _check_media(headers: RawHeaders) -> None:
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    is_empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    if content_type != "application/json" and not is_empty:
        told = content_type[:100] or "a body without a type"
        raise UnsupportedMedia(f"this takes application/json, not {told}")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnsupportedMedia("the body must not be compressed (Content-Encoding)")
