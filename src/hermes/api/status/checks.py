"""The readiness checks of /health/detailed: each asks one part whether it does its work."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from hermes.api.services import Check
from hermes.core.clock import Clock
from hermes.home.paths import Home
from hermes.store import callbacks as callback_store
from hermes.store import jobs as job_store
from hermes.store.revisions import write_again

if TYPE_CHECKING:
    from hermes.home.live import LiveSettings
    from hermes.models.resolve import Models
    from hermes.runs.runner import Runner
    from hermes.store.database import Connection, Database
    from hermes.toolsets.mcp.servers import McpServers

LEAST_FREE_BYTES = 64 << 20
LATE_SECONDS = 60.0
"""What is due for longer was forgotten, not just busy."""

Checks = Mapping[str, Callable[[], Awaitable[Check]]]


def readiness(
    *,
    database: Database,
    runner: Runner,
    models: Models,
    live: LiveSettings,
    home: Home | None,
    clock: Clock,
    servers: Callable[[], McpServers | None] = lambda: None,
) -> Checks:
    async def state_db() -> Check:
        await database.write(write_again)
        if database.damage is not None:
            return Check(False, database.damage.message)
        return Check(True, f"{database.queue_depth} writes wait")

    async def config() -> Check:
        return Check(not live.now.problems, "; ".join(live.now.problems))

    async def settings() -> Check:
        """A change that waits for a restart is no fault: what runs is what was asked for before."""
        if live.problem:
            return Check(False, f"changed and not taken up, so those from before go on: {live.problem}")
        if not live.waiting:
            return Check(True)
        return Check(True, f"restart needed for {', '.join(live.waiting)}: {live.restart}")

    async def model() -> Check:
        if not models.candidates:  # nobody looked yet: a profile's is looked for when it is first asked
            await models.choose()
        choice = models.choice
        return Check(choice is not None, f"{choice.model} of {choice.provider}: {choice.why}" if choice else "none")

    async def disk() -> Check:
        if home is None:
            return Check(True, "nothing is kept on disk")
        free = await asyncio.to_thread(free_bytes, home)
        return Check(free > LEAST_FREE_BYTES, f"{free >> 20} MB free")

    async def gateway() -> Check:
        return Check(not runner.is_draining, "it is stopping and takes no more runs" if runner.is_draining else "")

    async def background_queues() -> Check:
        jobs, callbacks = await database.read(_late, clock.now() - LATE_SECONDS)
        late = [
            f"{count} {what} due for more than a minute"
            for count, what in ((jobs, "jobs are"), (callbacks, "callbacks are"))
            if count
        ]
        return Check(not late, "; ".join(late) or f"{runner.queued} runs and {database.queue_depth} writes wait")

    async def mcp() -> Check:
        there = servers()
        states = there.states() if there is not None else []
        said = [
            f"{one.name}: {one.state}"
            + (f", {one.tools} tools" if one.state == "connected" else f" ({one.detail})" if one.detail else "")
            for one in states
        ]
        is_ok = all(one.state == "off" or not one.detail for one in states)
        return Check(is_ok, "; ".join(said) or "none configured")

    return {
        "state_db": state_db,
        "config": config,
        "settings": settings,
        "model": model,
        "disk": disk,
        "gateway": gateway,
        "background_queues": background_queues,
        "mcp": mcp,
    }


def free_bytes(home: Home) -> int:
    """What this user may still write on the home's disk."""
    return shutil.disk_usage(home.path).free


def _late(conn: Connection, since: float) -> tuple[int, int]:
    return len(job_store.due(conn, since)), len(callback_store.due(conn, since, 100))
