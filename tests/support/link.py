"""Link's app over a socket, with two devices that are paired."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter
from uvicorn.server import ServerState

from hermes.core.clock import Clock
from hermeslink.api.app import GROUPS, create_app
from hermeslink.api.limits import BODY_TIMEOUT_SECONDS
from hermeslink.api.serving import HttpProtocol, serve_options
from hermeslink.app import Link, open_link
from hermeslink.core.device import Scope
from hermeslink.home import LinkHome
from hermeslink.pairing.pairing import Admission, Newcomer


@dataclass
class LinkServer:
    """`client` sends no token; `admin` and `chat` send those of two devices."""

    link: Link
    port: int
    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    chat: httpx.AsyncClient
    admin_device: Admission
    chat_device: Admission

    async def raw(self, data: bytes) -> bytes:
        """What comes back until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def head(self, *lines: str, token: str | None = None) -> bytes:
        """The answer to a request without a body: its first line and headers as they are given."""
        own = [f"Authorization: Bearer {token}"] if token else []
        return await self.raw("\r\n".join([*lines, *own, "Connection: close", "", ""]).encode("latin-1"))


@asynccontextmanager
async def serving_link(
    home: Path,
    *,
    groups: Sequence[APIRouter] = GROUPS,
    settings: dict[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    body_timeout_seconds: float = BODY_TIMEOUT_SECONDS,
) -> AsyncIterator[LinkServer]:
    """The app behind uvicorn's protocol on a free port; what is still open at the end is closed. `settings` as in
    config.json.
    """
    place = LinkHome(home / "link")
    place.make()
    place.config_file.write_text(json.dumps(settings or {}))
    async with open_link(place, home, clock=clock, environ={"HOME": str(home), **(environ or {})}) as link:
        admin, chat = await paired(link, Scope.ADMIN), await paired(link, Scope.CHAT)
        async with (
            listening(create_app(link, groups, body_timeout_seconds=body_timeout_seconds)) as port,
            client_of(port) as nobody,
            client_of(port, admin.access.token) as by_admin,
            client_of(port, chat.access.token) as by_chat,
        ):
            yield LinkServer(link, port, nobody, by_admin, by_chat, admin, chat)
            link.stopping.set()


async def paired(link: Link, scope: Scope = Scope.ADMIN) -> Admission:
    """A new device."""
    code = await link.pairing.make(scope)
    return await link.pairing.by_connect_token(code.code, Newcomer(f"device of scope {scope.value}"))


@asynccontextmanager
async def listening(app: Any, protocol: type[HttpProtocol] = HttpProtocol) -> AsyncIterator[int]:
    config = uvicorn.Config(app, **serve_options())
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=5)


def client_of(port: int, token: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20)
