"""Link's app over a socket, with two devices whose tokens are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn
from fastapi import APIRouter
from uvicorn.server import ServerState

from hermes.core.clock import Clock
from hermeslink.api.app import GROUPS, create_app
from hermeslink.api.serving import HttpProtocol, serve_options
from hermeslink.app import Link, open_link
from hermeslink.core.caller import Caller
from hermeslink.core.device import Scope
from hermeslink.home import LinkHome
from hermeslink.settings import LinkSettings

ADMIN_TOKEN = "hlat_" + "a" * 43
CHAT_TOKEN = "hlat_" + "c" * 43
ADMIN = Caller("dev_" + "a" * 32, Scope.ADMIN)
CHAT = Caller("dev_" + "c" * 32, Scope.CHAT)


class TwoDevices:
    """What access asks of devices, in memory."""

    def __init__(self) -> None:
        self.tokens = {ADMIN_TOKEN: ADMIN, CHAT_TOKEN: CHAT}
        self.ends = {ADMIN.device_id: asyncio.Event(), CHAT.device_id: asyncio.Event()}

    async def authenticate(self, token: str) -> Caller | None:
        return self.tokens.get(token)

    def revoked(self, device_id: str) -> asyncio.Event:
        return self.ends[device_id]

    def revoke(self, caller: Caller) -> None:
        self.tokens = {token: one for token, one in self.tokens.items() if one != caller}
        self.ends[caller.device_id].set()


@dataclass
class LinkServer:
    """`client` sends no token, `admin` and `chat` send theirs."""

    link: Link
    devices: TwoDevices
    port: int
    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    chat: httpx.AsyncClient


@asynccontextmanager
async def serving_link(
    home: Path,
    *,
    groups: Sequence[APIRouter] = GROUPS,
    settings: dict[str, Any] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[LinkServer]:
    """The app behind uvicorn's protocol on a free port; what is still open at the end is closed."""
    devices = TwoDevices()
    async with open_link(LinkHome(home / "link"), home, clock=clock, environ={}) as link:
        cast(Any, link).devices = devices
        link.settings = LinkSettings(**{**link.settings.model_dump(), **(settings or {})})
        async with (
            listening(create_app(link, groups)) as port,
            _client(port) as client,
            _client(port, ADMIN_TOKEN) as admin,
            _client(port, CHAT_TOKEN) as chat,
        ):
            yield LinkServer(link, devices, port, client, admin, chat)
            link.stopping.set()


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(app, **serve_options())
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=5)


def _client(port: int, token: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20)
