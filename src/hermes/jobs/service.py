"""Jobs as their owner sees them, and the two loops behind them: what is due is started, what has ended is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from hermes.core.clock import Clock
from hermes.core.errors import HermesError, InvalidInput, NotFound
from hermes.core.job import Job, JobRun, Reason
from hermes.core.run import Ask, IdempotencyClaim, Run
from hermes.jobs.definition import Fields, Rules, changed, new_job, paused, resumed
from hermes.jobs.delivery import Deliveries
from hermes.jobs.kept import keep_change, keep_new, with_last_run, with_last_runs
from hermes.jobs.launch import Launcher
from hermes.jobs.scheduler import Scheduler, new_entry
from hermes.runs.runner import Runner
from hermes.runs.webhook import Webhooks
from hermes.store import jobs as job_store
from hermes.store.database import Connection, Database
from hermes.store.shared_clock import SharedClock


async def _nothing_new() -> None:
    pass


class Jobs:
    """`ask` is what `approvals.cron_mode` says. `keep_runs`: entries of a job's history. `clock`: one that all nodes of
    the database have. `spread_seconds`: how far apart they look for what is due. `look` takes up settings that were
    changed."""

    def __init__(
        self,
        database: Database,
        runner: Runner,
        webhooks: Webhooks,
        clock: Clock,
        *,
        ask: Ask = Ask.DENY,
        rules: Rules | None = None,
        keep_runs: int = 100,
        spread_seconds: float = 0.0,
        look: Callable[[], Awaitable[None]] = _nothing_new,
    ) -> None:
        self._database = database
        self._runner = runner
        self._webhooks = webhooks
        self._clock = clock
        self._rules = rules or Rules()
        self._keep_runs = keep_runs
        self._deliveries = Deliveries(database, webhooks, clock)
        self._launcher = Launcher(
            database, runner, self._rules, ask=ask, keep_runs=keep_runs, began=self._deliveries.expect, look=look
        )
        self._scheduler = Scheduler(database, self._launcher, clock, keep_runs=keep_runs, spread_seconds=spread_seconds)

    def take_up(self, *, ask: Ask, rules: Rules, keep_runs: int) -> None:
        """For what is made or begins from now on."""
        self._rules = self._launcher.rules = rules
        self._keep_runs = self._launcher.keep_runs = self._scheduler.keep_runs = keep_runs
        self._launcher.ask = ask

    async def run_forever(self) -> None:
        """Start what is due, deliver what has ended. Cancel it to stop; it does not raise."""
        forget = self._runner.on_end(self._deliveries.ended)
        try:
            async with asyncio.TaskGroup() as group:
                if isinstance(self._clock, SharedClock):
                    group.create_task(self._clock.keep_right())
                group.create_task(self._scheduler.run_forever())
                group.create_task(self._deliveries.run_forever())
        finally:
            forget()

    async def create(self, owner: str, fields: Fields) -> Job:
        """Raises InvalidInput `invalid_schedule`, `invalid_timezone`, `invalid_delivery`, `unknown_toolset`, or naming
        another field."""
        job = await asyncio.to_thread(new_job, fields, owner, self._clock.now(), self._rules)
        await self._check_url(job.deliver)
        await self._database.write(keep_new, job, durable=True)
        self._scheduler.wake()
        return job

    async def all(self, owner: str, *, include_disabled: bool = False) -> list[tuple[Job, JobRun | None]]:
        """Each with its last entry of the history that was not skipped."""
        return await self._database.read(partial(with_last_runs, owner=owner, include_disabled=include_disabled))

    async def get(self, job_id: str, owner: str) -> tuple[Job, JobRun | None]:
        """Raises NotFound `job_not_found`."""
        return await self._database.read(with_last_run, job_id, owner)

    async def change(self, job_id: str, owner: str, fields: Fields) -> Job:
        """Raises NotFound, InvalidInput as `create`, Conflict `job_completed`."""
        if "deliver" in fields and isinstance(fields["deliver"], str):
            await self._check_url(fields["deliver"])
        return await self._changed(job_id, owner, partial(changed, fields=fields, rules=self._rules))

    async def pause(self, job_id: str, owner: str) -> Job:
        """Raises NotFound, Conflict `job_completed`."""
        return await self._changed(job_id, owner, paused)

    async def resume(self, job_id: str, owner: str) -> Job:
        """Raises NotFound, Conflict `job_completed`."""
        return await self._changed(job_id, owner, resumed)

    async def delete(self, job_id: str, owner: str) -> None:
        """Its runs and their sessions stay. Raises NotFound."""
        await self._database.write(job_store.delete, job_id, owner, durable=True)

    async def run(self, job_id: str, owner: str, idempotency: IdempotencyClaim | None = None) -> Run:
        """Start it now, whatever its schedule and state; neither changes. Raises NotFound, and what `Runner.start`
        raises; that is kept in the history, too."""
        job = await self._database.read(job_store.owned, job_id, owner)
        now = self._clock.now()
        entry = new_entry(job, Reason.RAN, due_at=now, now=now, is_manual=True)
        try:
            return await self._launcher.start(job, entry, partial(_still_there, job), idempotency)
        except HermesError as error:
            failed = replace(entry, reason=Reason.FAILED, detail=error.message, deliver="local", delivery_due=None)
            await self._database.write(_note_failure, job, failed, self._keep_runs)
            raise

    async def history(
        self, job_id: str, owner: str, *, limit: int = 50, before_id: int | None = None
    ) -> tuple[Job, list[JobRun]]:
        """The newest first. Raises NotFound."""

        def read(conn: Connection) -> tuple[Job, list[JobRun]]:
            job = job_store.owned(conn, job_id, owner)
            return job, job_store.runs_of(conn, job_id, limit, before_id)

        return await self._database.read(read)

    async def _changed(self, job_id: str, owner: str, function: Callable[..., Job]) -> Job:
        now = self._clock.now()
        job = await self._database.write(keep_change, job_id, owner, partial(_at, function, now), durable=True)
        self._scheduler.wake()
        return job

    async def _check_url(self, deliver: str) -> None:
        kind, _, url = deliver.strip().partition(":")
        if kind != "webhook":
            return
        try:
            await self._webhooks.check(url, "deliver")
        except InvalidInput as error:
            raise InvalidInput(error.message, code="invalid_delivery", param="deliver") from error


def _at(function: Callable[..., Job], now: float, job: Job) -> Job:
    return function(job, now=now)


def _still_there(job: Job, conn: Connection, run: Run) -> None:
    job_store.owned(conn, job.id, job.owner, is_held=True)


def _note_failure(conn: Connection, job: Job, entry: JobRun, keep: int) -> None:
    with suppress(NotFound):  # deleted meanwhile
        job_store.owned(conn, job.id, job.owner, is_held=True)
        job_store.add_run(conn, entry, keep)
