"""Jobs as a run's tool has them: for whom /api/jobs is open, with the same checks and the same words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermes.core.errors import HermesError, InvalidInput, NotFound, StoreUnavailable, ToolFailed
from hermes.core.key import OWNER, Scope
from hermes.core.ports import ToldJobs, ToolContext
from hermes.jobs.definition import JOB_ID
from hermes.jobs.launch import SOURCE
from hermes.jobs.objects import job_object
from hermes.jobs.service import Jobs
from hermes.store import keys as key_store
from hermes.store import runs as run_store
from hermes.store.database import Connection, Database

NOT_IN_A_JOB = frozenset({"create", "update", "resume", "run"})
"""A job that makes jobs, or wakes them, might never come to an end."""


class JobTool:
    """`core.ports.CronJobs`."""

    def __init__(self, jobs: Jobs, database: Database) -> None:
        self._jobs = jobs
        self._database = database

    async def call(self, context: ToolContext, action: str, job_id: str, fields: Mapping[str, Any]) -> ToldJobs:
        await self._check(context, action)
        try:
            return await self._done(context.owner, action, job_id, fields)
        except StoreUnavailable:
            raise
        except HermesError as error:
            where = f"{error.param}: " if error.param and not error.message.startswith(error.param) else ""
            raise ToolFailed(f"{where}{error.message}") from error

    async def _check(self, context: ToolContext, action: str) -> None:
        """Raises ToolFailed. What a key may not do over HTTP, it may not let a model do."""
        is_open, source = await self._database.read(_about, context.owner, context.run_id)
        if not is_open or context.session_key is not None:
            raise ToolFailed("Jobs belong to the owner of this agent, and to keys with the scope admin; not to others.")
        if source == SOURCE and action in NOT_IN_A_JOB:
            raise ToolFailed(f"A job cannot {action} jobs: say in your answer what the owner should do.")

    async def _done(self, owner: str, action: str, job_id: str, fields: Mapping[str, Any]) -> ToldJobs:
        jobs = self._jobs
        if action == "list":
            found = await jobs.all(owner, include_disabled=True)
            return ToldJobs([job_object(job, last) for job, last in found], "" if found else "There are no jobs.")
        if action == "create":
            for name in ("schedule", "prompt"):
                if fields.get(name) is None:
                    raise InvalidInput(f"{name} is needed", param=name)
            return ToldJobs([job_object(await jobs.create(owner, fields), None)], "Created.")
        if JOB_ID.match(job_id) is None:
            raise NotFound(f"no job {job_id[:80]!r}; action list shows them", code="job_not_found")
        match action:
            case "update":
                await jobs.change(job_id, owner, fields)
            case "pause":
                await jobs.pause(job_id, owner)
            case "resume":
                await jobs.resume(job_id, owner)
            case "run":
                run = await jobs.run(job_id, owner)
                return ToldJobs([], f"Started: run {run.id}. It works by itself; do not wait for it.")
            case "remove":
                await jobs.delete(job_id, owner)
                return ToldJobs([], "Removed.")
        job, last = await jobs.get(job_id, owner)
        return ToldJobs([job_object(job, last)])


def _about(conn: Connection, owner: str, run_id: str) -> tuple[bool, str]:
    """Whether /api/jobs is open for the key now, and what started the run."""
    run = run_store.get(conn, run_id)
    source = "" if run is None else run.source
    if owner == OWNER:
        return True, source
    key = key_store.get(conn, owner)
    return key is not None and key.revoked_at is None and Scope.ADMIN in key.scopes, source
