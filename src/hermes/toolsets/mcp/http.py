"""An MCP server that is reached over HTTP: Streamable HTTP, or the older SSE transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hermes.core.addresses import check_url
from hermes.toolsets.mcp.server import McpServer, Transport

if TYPE_CHECKING:
    import httpx2

    from hermes.toolsets.mcp.child import Streams

LARGEST_ANSWER = 8 << 20
"""Bytes of one answer, or of one event of a stream."""
IDLE_STREAM_SECONDS = 300.0


@asynccontextmanager
async def http_streams(server: McpServer, complain: Callable[[str], None]) -> AsyncIterator[Streams]:
    """The address is the owner's own, so that it may be private; what hands out credentials of a cloud stays refused.

    `complain` hears of each answer that is an error: the package keeps its status to itself. Raises AddressRefused.
    """
    client_for = partial(_client, complain, server.connect_timeout_seconds)
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    await check_url(server.url, schemes=("http", "https"), allow_private=True)
    if server.transport is Transport.SSE:
        async with sse_client(
            server.url,
            headers=dict(server.headers),
            timeout=server.connect_timeout_seconds,
            sse_read_timeout=IDLE_STREAM_SECONDS,
            httpx_client_factory=client_for,
        ) as streams:
            yield streams
        return
    async with (
        client_for(dict(server.headers)) as client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=LARGEST_ANSWER) as streams,
    ):
        yield streams


def _client(
    complain: Callable[[str], None],
    connect_seconds: float,
    headers: dict[str, str] | None = None,
    timeout: httpx2.Timeout | None = None,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    import httpx2

    async def note(response: httpx2.Response) -> None:
        if response.status_code >= 400:
            request = response.request
            line = f"{request.method} {request.url.path}: {response.status_code} {response.reason_phrase}"
            await asyncio.to_thread(complain, line)

    timeout = timeout or httpx2.Timeout(min(connect_seconds, 30.0), read=IDLE_STREAM_SECONDS)
    headers = {"Accept-Encoding": "identity", **(headers or {})}
    return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, event_hooks={"response": [note, _limit]})


async def _limit(response: httpx2.Response) -> None:
    """A body that is read whole must not fill the memory, neither as it comes nor unpacked."""
    import httpx2

    packed = response.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise httpx2.ReadError(f"the answer is packed ({packed[:40]}), which was not asked for")
    if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        return
    inner: Any = response.stream

    class Limited(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for piece in inner:
                size += len(piece)
                if size > LARGEST_ANSWER:
                    raise httpx2.ReadError(f"the answer has more than {LARGEST_ANSWER >> 20} MB")
                yield piece

        async def aclose(self) -> None:
            await inner.aclose()

    response.stream = Limited()
