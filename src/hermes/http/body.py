"""The body of a request: how large, how slow and how deeply nested. Nothing is cut: over a limit, it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson

from hermes.core.errors import HermesError, InvalidInput

MAX_NESTING = 100
SLOWEST_BYTES_A_SECOND = 32 * 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
"""As ASGI has it."""


class BodyTooSlow(HermesError):
    """The rest of the body may still come: the connection cannot be used again."""

    code = "request_timeout"
    headers = {"Connection": "close"}  # noqa: RUF012 never changed


class LimitedBody:
    """A `receive` that refuses what is larger than `limit` bytes, counted as it comes, and what comes too slowly.

    Raises `BodyTooSlow`, and what `too_large` makes of the limit; that also when it is made, for a declared length.
    """

    def __init__(
        self,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        limit: int,
        timeout_seconds: float,
        too_large: Callable[[int], HermesError],
    ) -> None:
        self._receive = receive
        self._limit = limit
        self._timeout_seconds = timeout_seconds
        self._too_large = too_large
        self._deadline: float | None = None
        self._count = 0
        self._is_whole = False
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or len(declared) > 18 or int(declared) > limit:
            raise too_large(limit)

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            async with asyncio.timeout_at(self._deadline + self._count / SLOWEST_BYTES_A_SECOND):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow(f"the body did not arrive within {self._timeout_seconds:g} s") from None
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._limit:
                raise self._too_large(self._limit)
            self._is_whole = not message.get("more_body", False)
        return message


def parse_json(body: bytes) -> Any:
    """Raises InvalidInput `invalid_json`, also where it is nested more than `MAX_NESTING` deep."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}", code="invalid_json") from error
    if body.count(b"[") + body.count(b"{") > MAX_NESTING and is_deeper_than(value, MAX_NESTING):
        raise InvalidInput(f"the JSON is nested more than {MAX_NESTING} deep", code="invalid_json")
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
