"""The only way out of a page: a proxy that looks at each address before it connects (docs/adr/0102).

A browser resolves names itself, follows redirects and opens sockets where nobody is asked. So it is given no network
but this: every request comes here as a host and a port, is checked as a fetch of our own is, and goes to the very
address that was checked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import urlsplit

from hermes.core.addresses import AddressRefused, Resolver, Target
from hermes.toolsets.fetch import check_reach

HEAD_BYTES = 64 * 1024
CONNECT_SECONDS = 15.0
IDLE_SECONDS = 120.0
PIECE_BYTES = 64 * 1024
MOST_REFUSALS = 20
BROWSERS_OWN = frozenset(
    (
        "android.clients.google.com",
        "clients2.google.com",
        "content-autofill.googleapis.com",
        "optimizationguide-pa.googleapis.com",
        "safebrowsing.googleapis.com",
        "update.googleapis.com",
    )
)
"""Whom Chromium tells of pages by itself. Nobody asked it to."""
_HOP = ("connection", "proxy-connection", "keep-alive", "proxy-authorization")


class Proxy:
    """Listens on loopback while it is entered. `refused` are the newest hosts that were not asked, with the reason."""

    def __init__(self, hosts: Collection[str] = (), resolve: Resolver | None = None) -> None:
        self.refused: deque[str] = deque(maxlen=MOST_REFUSALS)
        self.port = 0
        self._hosts = hosts
        self._resolve = resolve
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # one end is gone, or speaks no HTTP: the page sees a failed request
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(IDLE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        line, *headers = head[:-4].decode("latin-1").split("\r\n")
        method, target, version = line.split(" ")
        if method == "CONNECT":
            where, line = f"https://{target}/", ""
        elif target.startswith("http://"):
            parts = urlsplit(target)
            where = target
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            line = f"{method} {path} {version}"
        else:  # not a request to a proxy: a page of another browser tries the port
            await _answer(writer, "400 Bad Request", "this is a proxy")
            return
        if urlsplit(where).hostname in BROWSERS_OWN and method == "CONNECT":
            await _answer(writer, "403 Forbidden", "not asked")
            return
        try:
            there = await check_reach(where, self._hosts, allow_http=True, resolve=self._resolve)
        except AddressRefused as refused:
            self.refused.append(refused.message)
            await _answer(writer, "403 Forbidden", f"not asked: {refused.message}")
            return
        try:
            up_reader, up_writer = await _connect(there)
        except (OSError, TimeoutError):
            await _answer(writer, "502 Bad Gateway", f"cannot connect to {there.host}")
            return
        try:
            if not line:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _join(reader, writer, up_reader, up_writer)
            else:
                up_writer.write(_closing(line, headers))
                await _relay(reader, writer, up_reader, up_writer)
        finally:
            up_writer.close()


async def _connect(there: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    last: Exception = OSError("no address")
    async with asyncio.timeout(CONNECT_SECONDS):
        for address in there.addresses:
            try:
                return await asyncio.open_connection(address, there.port, limit=HEAD_BYTES)
            except OSError as error:
                last = error
    raise last


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_reader: asyncio.StreamReader,
    up_writer: asyncio.StreamWriter,
) -> None:
    """One request over plain HTTP and its answer. The connection ends with it: the next one may be for another host."""
    sending = asyncio.ensure_future(_pipe(reader, up_writer))
    try:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                head = await up_reader.readuntil(b"\r\n\r\n")
            line, *headers = head[:-4].decode("latin-1").split("\r\n")
            status = line.split(" ")[1]
            if status == "101":
                raise ValueError("an upgrade goes through CONNECT")
            if not status.startswith("1"):
                break
        writer.write(_closing(line, headers))
        await _pipe(up_reader, writer)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_reader: asyncio.StreamReader,
    up_writer: asyncio.StreamWriter,
) -> None:
    """Both ways until either ends."""
    ways = {asyncio.ensure_future(_pipe(reader, up_writer)), asyncio.ensure_future(_pipe(up_reader, writer))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


def _closing(line: str, headers: list[str]) -> bytes:
    kept = [header for header in headers if header.partition(":")[0].strip().lower() not in _HOP]
    return "\r\n".join([line, *kept, "Connection: close", "", ""]).encode("latin-1")


async def _answer(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    with suppress(OSError):
        await writer.drain()
