"""One agent's engine: opened on the background loop at the first call, closed with the agent."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from hermes.app import Engine, open_engine
from hermes.home.paths import Home
from hermes.home.settings import Settings
from hermes.library.background import Background


@dataclass(frozen=True, slots=True)
class EnginePlan:
    settings: Settings
    database_url: str
    platform: str
    memory_home: Home | None = None


class EngineHolder:
    """Its coroutines belong to the background loop. It must not know its agent, which may be collected before it."""

    def __init__(self, background: Background, plan: EnginePlan) -> None:
        self.background = background
        self._plan = plan
        self._opened: asyncio.Future[Engine] | None = None
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._inside = 0
        self._is_empty = asyncio.Event()

    async def enter(self) -> Engine:
        """The engine for one turn, which says `leave` in any case. Raises what `open_engine` raises."""
        self._inside += 1
        self._is_empty.clear()
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._closing = asyncio.Event()
            self._keeper = asyncio.create_task(self._keep(self._opened, self._closing))
            self.background.when_closing(self, self.close)
        return await asyncio.shield(self._opened)

    def leave(self) -> None:
        self._inside -= 1
        if self._inside == 0:
            self._is_empty.set()

    async def close(self) -> None:
        """Ends what still runs as interrupted. The next turn opens another engine."""
        keeper, opened, self._keeper, self._opened = self._keeper, self._opened, None, None
        closing = self._closing
        self.background.forget(self)
        if keeper is None or opened is None:
            return
        await asyncio.wait({opened})
        if opened.exception() is None:
            await opened.result().runner.drain(0)
            if self._inside:
                await self._is_empty.wait()
        closing.set()
        await keeper

    async def _keep(self, opened: asyncio.Future[Engine], closing: asyncio.Event) -> None:
        """An engine is entered and left in one task, as its task group wants it."""
        plan = self._plan
        try:
            async with open_engine(
                plan.settings,
                home=None,
                environ=dict(os.environ),
                database_url=plan.database_url,
                platform=plan.platform,
                memory_home=plan.memory_home,
            ) as engine:
                opened.set_result(engine)
                await closing.wait()
        except Exception as error:
            if opened.done():
                raise
            self._opened = None  # the next turn tries again
            opened.set_exception(error)
            opened.exception()  # whoever waits is told; where nobody does, it is no news for a log
