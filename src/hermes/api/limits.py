"""How much a client may send, how slowly, and how deeply nested. Nothing is cut: over a limit, it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from hermes.api.answers import headers_of
from hermes.api.errors import BodyTooSlow
from hermes.core.errors import InvalidInput, TooLarge, UnsupportedMedia

MAX_NESTING = 100
SLOWEST_BYTES_A_SECOND = 32 * 1024


class LimitedBody:
    """A `receive` that refuses what is too large, counted as it comes, and what comes too slowly."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], limit: int, timeout_seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._timeout_seconds = timeout_seconds
        self._deadline: float | None = None
        self._count = 0
        self._is_whole = False
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            raise too_large(limit)

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._timeout_seconds
        try:
            async with asyncio.timeout_at(self._deadline + self._count / SLOWEST_BYTES_A_SECOND):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow(f"the body did not arrive within {self._timeout_seconds:g} s") from None
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._limit:
                raise too_large(self._limit)
            self._is_whole = not message.get("more_body", False)
        return message


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
    if not body:
        raise InvalidInput("the body is empty; send JSON", code="invalid_json")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}", code="invalid_json") from error
    if body.count(b"[") + body.count(b"{") > MAX_NESTING and is_deeper_than(value, MAX_NESTING):
        raise InvalidInput(f"the JSON is nested more than {MAX_NESTING} deep", code="invalid_json")
    return value


async def read_object(request: Request) -> dict[str, Any]:
    value = await read_json(request)
    if not isinstance(value, dict):
        raise InvalidInput("the body must be a JSON object")
    return value


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


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes, the limit of this route")


def _is_empty(headers: Mapping[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
