"""Direct runs: started on an API server for a client, relayed to it, and counted at their end, read or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any

from hermes.core.clock import Clock
from hermes.core.errors import HermesError, NotFound
from hermes.store.database import Database
from hermeslink.core.usage import UNKNOWN_MODEL, Used
from hermeslink.hermes.events import RemoteEvent
from hermeslink.hermes.problems import RunGone
from hermeslink.hermes.servers import ApiServer, ApiServers
from hermeslink.hermes.usage import usage_of
from hermeslink.store import direct_runs as store
from hermeslink.store.direct_runs import DirectRun

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class DirectRuns:
    """Use as a context manager: it owns the tasks that watch the runs, also those of before a restart."""

    def __init__(self, servers: ApiServers, database: Database, clock: Clock) -> None:
        self._servers = servers
        self._database = database
        self._clock = clock
        self._group = asyncio.TaskGroup()
        self._watching: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> DirectRuns:
        await self._group.__aenter__()
        for run in await self._database.read(store.uncounted):
            self._watch(run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(kind, error, traceback)

    async def start(
        self, profile: str, body: Mapping[str, Any], *, device_id: str, idempotency_key: str | None = None
    ) -> str:
        """Its id, which is the API server's own. Raises NotFound, or what the API server has against it."""
        run_id = await self._servers.of(profile).start_run(body, idempotency_key)
        await self.add(run_id, profile, device_id=device_id)
        return run_id

    async def add(self, run_id: str, profile: str, *, device_id: str) -> None:
        """A run that somebody else started, too: of a job, by hand."""
        run = DirectRun(run_id, profile)
        if await self._database.write(store.insert_new, run, device_id, self._clock.now(), durable=True):
            self._watch(run)

    async def server_of(self, run_id: str) -> ApiServer:
        """Raises RunGone for a run that was not started here."""
        run = await self._database.read(store.get, run_id)
        if run is None:
            raise RunGone("no such run")
        return self._servers.of(run.profile)

    async def follow(self, server: ApiServer, run_id: str, after: int) -> AsyncGenerator[RemoteEvent, None]:
        """Whoever reads its last event finds it counted; where its server fails just then, that is done later."""
        async with aclosing(server.follow(run_id, after)) as events:
            async for event in events:
                if event.is_final:
                    await self._count_if_possible(DirectRun(run_id, server.profile), event.data.get("usage"))
                yield event

    async def cancel(self, run_id: str) -> None:
        """Raises RunGone, or ServerRefused `run_not_active`."""
        await (await self.server_of(run_id)).stop(run_id)

    def _watch(self, run: DirectRun) -> None:
        if run.id not in self._watching:
            self._watching.add(run.id)
            task = self._group.create_task(self._watched(run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _watched(self, run: DirectRun) -> None:
        """Never raises: another run's watch must not end with this one."""
        try:
            await self._until_counted(run)
        except Exception:
            log.exception("the direct run %s is not watched any more", run.id)
        finally:
            self._watching.discard(run.id)

    async def _until_counted(self, run: DirectRun) -> None:
        seen, pause = 0, FIRST_PAUSE_SECONDS
        while True:
            try:
                server = self._servers.of(run.profile)
                usage: object = None
                async for event in server.follow(run.id, seen):
                    seen, pause = event.seq, FIRST_PAUSE_SECONDS
                    usage = event.data.get("usage") if event.is_final else None
                await self._count(run, usage)
            except NotFound:  # the run, or its profile, which may only have another name now
                now = await self._database.read(store.get, run.id)
                if now is not None and now.profile != run.profile:
                    run = now
                    continue
                await self._database.write(store.count, run.id, None)
            except HermesError as error:
                log.debug("the direct run %s is followed again later: %s", run.id, error.message)
                await self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            return

    async def _count_if_possible(self, run: DirectRun, usage: object) -> None:
        try:
            await self._count(run, usage)
        except HermesError as error:
            log.info("the direct run %s is counted later: %s", run.id, error.message)

    async def _count(self, run: DirectRun, usage: object) -> None:
        told: Mapping[str, Any] = {}
        with suppress(RunGone):  # it tells of runs by their events alone
            told = await self._servers.of(run.profile).run(run.id)
        spent = usage_of(told, usage)
        used = Used(
            run_id=run.id,
            conversation_id=None,
            profile=run.profile,
            model=spent.model or UNKNOWN_MODEL,
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            messages=2 if told.get("output") else 1,
            cost_usd=spent.cost_usd,
            at=_ended(told.get("finished_at"), self._clock.now()),
        )
        await self._database.write(store.count, run.id, used, durable=True)


def _ended(said: object, now: float) -> float:
    """When a run ended, as far as its server says so in seconds; nothing ended later than now."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said <= now:
        return now
    return float(said)
