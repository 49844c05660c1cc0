"""An MCP server that is reached over HTTP: Streamable HTTP, or the older SSE transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
async def http_streams(server: McpServer) -> AsyncIterator[Streams]:
    """The address is the owner's own, so that it may be private; what hands out credentials of a cloud stays refused.

    Raises AddressRefused.
    """
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    await check_url(server.url, schemes=("http", "https"), allow_private=True)
    if server.transport is Transport.SSE:
        async with sse_client(
            server.url,
            headers=dict(server.headers),
            timeout=server.connect_timeout_seconds,
            sse_read_timeout=IDLE_STREAM_SECONDS,
            httpx_client_factory=_client,
        ) as streams:
            yield streams
        return
    async with (
        _client(dict(server.headers), server=server) as client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=LARGEST_ANSWER) as streams,
    ):
        yield streams


def _client(
    headers: dict[str, str] | None = None,
    timeout: httpx2.Timeout | None = None,
    auth: httpx2.Auth | None = None,
    *,
    server: McpServer | None = None,
) -> httpx2.AsyncClient:
    import httpx2

    if timeout is None and server is not None:
        timeout = httpx2.Timeout(min(server.connect_timeout_seconds, 30.0), read=IDLE_STREAM_SECONDS)
    return httpx2.AsyncClient(
        headers=headers, timeout=timeout or httpx2.Timeout(30.0), auth=auth, event_hooks={"response": [_limit]}
    )


async def _limit(response: httpx2.Response) -> None:
    """A body that is read whole must not fill the memory."""
    import httpx2

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
