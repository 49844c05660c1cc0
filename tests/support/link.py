"""Link's app over a socket, with two devices that are paired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter
from uvicorn.server import ServerState

from hermes.core.clock import Clock
from hermeslink.api.app import GROUPS, create_app
from hermeslink.api.serving import HttpProtocol, serve_options
from hermeslink.app import Link, open_link
from hermeslink.core.device import Scope
from hermeslink.home import LinkHome
from hermeslink.pairing.pairing import Admission, Newcomer
from hermeslink.settings import LinkSettings


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


@asynccontextmanager
async def serving_link(
    home: Path,
    *,
    groups: Sequence[APIRouter] = GROUPS,
    settings: dict[str, Any] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[LinkServer]:
    """The app behind uvicorn's protocol on a free port; what is still open at the end is closed."""
    async with open_link(LinkHome(home / "link"), home, clock=clock, environ={}) as link:
        link.settings = LinkSettings(**{**link.settings.model_dump(), **(settings or {})})
        admin, chat = await paired(link, Scope.ADMIN), await paired(link, Scope.CHAT)
        async with (
            listening(create_app(link, groups)) as port,
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


def client_of(port: int, token: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20)
