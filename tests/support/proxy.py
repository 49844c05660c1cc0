"""A reverse proxy like those that stand in front of many nodes: tests need none that has to be installed.

It looks at /health of every node, goes round those that are well, and sends a request to another one only when no node
can have seen it. It keeps connections open, as real ones do.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Self

import aiohttp
from aiohttp import web

LOOK_SECONDS = 0.4
TRY_SECONDS = 10.0
OWN_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


class Proxy:
    """`url` without a path. `answered`: how many answers came from each node."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.url = ""
        self.answered: Counter[str] = Counter()
        self._nodes = list(nodes)
        self._well: set[str] = set()
        self._turn = itertools.count()
        self._is_ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as session:
            app = web.Application(client_max_size=1 << 26)
            app.router.add_route("*", "/{path:.*}", partial(self._pass_on, session))
            runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            await asyncio.gather(*(self._look(session, node) for node in self._nodes))
            watching = asyncio.ensure_future(self._watch(session))
            self._is_ready.set()
            await self._stop.wait()
            watching.cancel()
            await runner.cleanup()

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.gather(*(self._look(session, node) for node in self._nodes))

    async def _look(self, session: aiohttp.ClientSession, node: str) -> None:
        is_well = False
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{node}/health", timeout=aiohttp.ClientTimeout(total=2)) as answer:
                is_well = answer.status == 200
        (self._well.add if is_well else self._well.discard)(node)

    async def _pass_on(self, session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in OWN_HEADERS]
        deadline = asyncio.get_running_loop().time() + TRY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            node = self._next()
            if node is not None:
                with suppress(aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                    url = f"{node}{request.path_qs}"
                    async with session.request(
                        request.method, url, headers=headers, data=body, allow_redirects=False
                    ) as answer:
                        self.answered[node] += 1
                        return await self._answer(request, answer)
            await asyncio.sleep(0.02)
        raise web.HTTPBadGateway(text="no node answers")

    def _next(self) -> str | None:
        well = [node for node in self._nodes if node in self._well]
        return well[next(self._turn) % len(well)] if well else None

    async def _answer(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        told = web.StreamResponse(status=answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in OWN_HEADERS:
                told.headers.add(name, value)
        await told.prepare(request)
        try:
            async for piece in answer.content.iter_any():
                await told.write(piece)
        except aiohttp.ClientError:  # it broke off, and the client is to see that it did
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from None
        await told.write_eof()
        return told
