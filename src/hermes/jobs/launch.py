"""A job becomes a run like any other: `Runner.start` keeps it, and in the same transaction the job's history."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from hermes.core.errors import InvalidInput
from hermes.core.job import Job, JobRun
from hermes.core.message import Message
from hermes.core.run import Ask, IdempotencyClaim, Run, RunRequest
from hermes.jobs.definition import Rules, check_names
from hermes.runs.budget import within_budget
from hermes.runs.runner import Runner
from hermes.store import jobs as job_store
from hermes.store.database import Connection, Database

INSTRUCTIONS = (
    "This is a job that runs by itself; nobody reads along and nobody answers questions. Do what is asked with what "
    "you have. Your last message is kept and delivered by itself: do not try to send it. If there is nothing new to "
    "tell, answer with [SILENT] and nothing else; then nothing is delivered."
)
SOURCE = "cron"
SKILLS = "skills"
"""The toolset that reads them."""
Keep = Callable[[Connection, Run], object]


class Launcher:
    """`ask`: nobody is there to be asked, so it is `approvals.cron_mode` that says. `began` hears of each run, `look`
    comes before it: settings that were changed are put in place of these then.
    """

    def __init__(
        self,
        database: Database,
        runner: Runner,
        rules: Rules,
        *,
        ask: Ask,
        keep_runs: int,
        began: Callable[[Run, JobRun], None],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self.rules = rules
        self.ask = ask
        self.keep_runs = keep_runs
        self._database = database
        self._runner = runner
        self._began = began
        self._look = look

    async def start(
        self, job: Job, entry: JobRun, keep: Keep | None = None, idempotency: IdempotencyClaim | None = None
    ) -> Run:
        """`entry` is kept with the run. Raises what `Runner.start` and `keep` raise, InvalidInput for a toolset or
        directory that is not there, and BudgetExceeded; then nothing is kept."""
        await self._look()
        check_names(job, self.rules)
        request = RunRequest(
            owner=job.owner,
            source=SOURCE,
            messages=(Message("user", job.prompt),),
            instructions=instructions(job),
            model=job.model,
            toolsets=job.enabled_toolsets,
            ask=self.ask,
            is_durable=True,
            may_wait_forever=True,
            idempotency=idempotency,
            workdir=await _workdir(job),
            warnings=_warnings(job),
            keep=(*((keep,) if keep else ()), lambda conn, run: self._enter(conn, run, job, entry)),
        )
        run = await self._runner.start(await within_budget(request, self._database))
        self._began(run, entry)
        return run

    def _enter(self, conn: Connection, run: Run, job: Job, entry: JobRun) -> None:
        job_store.add_run(conn, replace(entry, run_id=run.id), self.keep_runs)
        job_store.name_session(conn, run.session_id, job.name)


def instructions(job: Job) -> str:
    if not job.skills:
        return INSTRUCTIONS
    names = ", ".join(job.skills)
    return f"{INSTRUCTIONS} Before you begin, read these skills with skill_view and follow them: {names}."


def _warnings(job: Job) -> tuple[str, ...]:
    if not job.skills or job.enabled_toolsets is None or SKILLS in job.enabled_toolsets:
        return ()
    return (f"the job's toolsets are without {SKILLS!r}, so it cannot read {', '.join(job.skills)}",)


async def _workdir(job: Job) -> str | None:
    if job.workdir is None:
        return None
    path = await asyncio.to_thread(_directory, job.workdir)
    if path is None:
        raise InvalidInput(f"the job's workdir {job.workdir!r} is not a directory", param="workdir")
    return str(path)


def _directory(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.is_dir() else None
    except (RuntimeError, OSError):  # no such user; a name that is too long
        return None
