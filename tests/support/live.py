"""The API in front of a real runner, with two keys: what is asked over HTTP really runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from hermes.api.auth import OwnerKey, Principal
from hermes.api.services import ApiSettings, ToolsetStatus
from hermes.core.addresses import Resolver
from hermes.core.clock import Clock, SystemClock
from hermes.core.key import INCLUDES, Scope
from hermes.core.model import Model
from hermes.runs.callbacks import Callbacks
from hermes.runs.runner import Runner, RunnerSettings
from hermes.runs.webhook import Webhooks
from hermes.sessions import Sessions
from hermes.store.database import Database
from tests.support.api import KEY, make_services, serving
from tests.support.database import new_url
from tests.support.engine import open_runner
from tests.support.tools import EchoTool

OTHER_KEY = "o" * 20 + "fedcba9876543210"
SECRET = "callback-secret-of-the-tests"

TOOLSETS = (
    ToolsetStatus("echo", "Echo", "Says it again", is_enabled=True, is_configured=True, tools=("echo",)),
    ToolsetStatus("vault", "Vault", "Opens it", is_enabled=False, is_configured=True, tools=("open",)),
)


class TwoKeys:
    """The owner's, and one with the scope chat whose things are its own."""

    def __init__(self) -> None:
        self._owner = OwnerKey(KEY)
        self._other = OwnerKey(OTHER_KEY)

    async def find(self, digest: bytes) -> Principal | None:
        if await self._other.find(digest):
            return Principal("key_other", "other", INCLUDES[Scope.CHAT])
        return await self._owner.find(digest)


@dataclass
class Live:
    """`client` sends the owner's key, `other` the second one."""

    client: httpx.AsyncClient
    other: httpx.AsyncClient
    runner: Runner
    database: Database
    callbacks: Callbacks

    async def start(self, text: str = "hello", **fields: Any) -> dict[str, Any]:
        response = await self.client.post("/v1/runs", json={"input": text, **fields})
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def run(self, run_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.client.get(f"/v1/runs/{run_id}")).raise_for_status().json()
        return answer

    async def ended(self, run_id: str) -> dict[str, Any]:
        """The run, once its last event is told."""
        (await self.client.get(f"/v1/runs/{run_id}/events")).raise_for_status()
        return await self.run(run_id)


@asynccontextmanager
async def live(
    model: Model,
    *tools: EchoTool,
    settings: RunnerSettings | None = None,
    api: ApiSettings | None = None,
    clock: Clock | None = None,
    callback_hosts: Collection[str] = (),
    resolve: Resolver | None = None,
    **services: Any,
) -> AsyncIterator[Live]:
    clock = clock or SystemClock()
    database = await Database.open(new_url())
    try:
        async with open_runner(model, *tools, database=database, clock=clock, settings=settings) as runner:
            webhooks = Webhooks(clock, lambda: SECRET, hosts=callback_hosts, resolve=resolve)
            callbacks = Callbacks(database, runner, webhooks, clock)
            made: dict[str, Any] = {
                "runner": runner,
                "database": database,
                "callbacks": callbacks,
                "sessions": Sessions(database, clock),
                "keys": TwoKeys(),
                "clock": clock,
                "settings": api or ApiSettings(),
            }
            parts = make_services(**(made | {"toolsets": lambda: TOOLSETS} | services))
            async with serving(parts) as server:
                headers = {"Authorization": f"Bearer {OTHER_KEY}"}
                async with httpx.AsyncClient(base_url=server.client.base_url, headers=headers, timeout=20) as other:
                    yield Live(server.client, other, runner, database, callbacks)
    finally:
        await database.close()
