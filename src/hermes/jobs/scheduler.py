"""The loop that starts what is due. Any number of them may work on one database: each due time is claimed by one."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, replace

from hermes.core.clock import Clock, pause
from hermes.core.errors import Busy, Conflict, Draining, HermesError, InvalidInput, StoreUnavailable
from hermes.core.job import CatchUp, Job, JobRun, JobState, Reason
from hermes.core.run import Run
from hermes.jobs.definition import advanced, schedule_of
from hermes.jobs.launch import Launcher
from hermes.jobs.schedule import Schedule, in_zone
from hermes.jobs.timezones import zone
from hermes.store import jobs as job_store
from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)

LATE_AFTER_SECONDS = 60.0
MOST_CAUGHT_UP = 100
"""Missed times that `catch_up: all` runs, the newest ones; those before are told as skipped."""
LOOK_EVERY_SECONDS = 3.0
"""A job that another process made is seen within this time."""
PAUSE_SECONDS = 5.0
"""After a round that could not do what was due."""
_AT_ONCE = 100


class ClaimLost(Conflict):
    """Another process was faster, or the job was changed meanwhile. Nobody outside hears of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is done about a due time. `reason` ran and late start a run; `then` is the job afterwards."""

    due_at: float
    reason: Reason
    then: Job
    detail: str | None = None


class Scheduler:
    """`spread_seconds`: a look may be so much later than need be, by chance, so that nodes do not all come at once."""

    def __init__(
        self, database: Database, launcher: Launcher, clock: Clock, *, keep_runs: int, spread_seconds: float = 0.0
    ) -> None:
        self._database = database
        self._launcher = launcher
        self._clock = clock
        self.keep_runs = keep_runs
        self._spread_seconds = spread_seconds
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something was changed here: look at once."""
        self._wake.set()

    async def run_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait = await self.round()
            except Exception as error:
                log.error("due jobs cannot be started: %s", error, exc_info=not isinstance(error, HermesError))
                wait = PAUSE_SECONDS
            await pause(self._clock, wait, self._wake)

    async def round(self) -> float:
        """Deals with what is due now. Gives the seconds until the next look: 0 when more may be due at once."""
        due = await self._database.read(job_store.due, self._clock.now(), _AT_ONCE)
        done = 0
        for job in due:
            done += await self._deal_with(job)
        if due:
            return 0.0 if done else PAUSE_SECONDS
        next_due = await self._database.read(job_store.next_due_at)
        until = LOOK_EVERY_SECONDS if next_due is None else max(0.0, next_due - self._clock.now())
        return min(until, LOOK_EVERY_SECONDS) + random.uniform(0.0, self._spread_seconds)

    async def _deal_with(self, job: Job) -> bool:
        """False: it is still due, or somebody else has done it."""
        try:
            step = await asyncio.to_thread(next_step, job, self._clock.now())
        except InvalidInput as error:  # its time zone is gone, for one
            log.error("the job %s of %s is paused: %s", job.id, job.owner, error.message)
            then = replace(job, state=JobState.PAUSED, next_due=None)
            assert job.next_due is not None
            return await self._note(job, Step(job.next_due, Reason.FAILED, then, error.message))
        if step.reason is Reason.SKIPPED:
            return await self._note(job, step)
        return await self._fire(job, step)

    async def _fire(self, job: Job, step: Step) -> bool:
        def claim(conn: Connection, run: Run) -> None:
            if not job_store.claim(conn, job, step.then):
                raise ClaimLost(f"the job {job.id} was claimed")

        try:
            run = await self._launcher.start(job, self._entry(job, step), claim)
        except ClaimLost:
            return False
        except (Busy, Draining, StoreUnavailable) as error:
            log.warning("the job %s waits: %s", job.id, error.message)
            return False
        except HermesError as error:
            log.warning("the job %s could not start: %s", job.id, error.message)
            return await self._note(job, replace(step, reason=Reason.FAILED, detail=error.message))
        except Exception:
            log.exception("the job %s could not start", job.id)
            why = "it failed inside the server; its log says why"
            return await self._note(job, replace(step, reason=Reason.FAILED, detail=why))
        log.info("the job %s runs as %s (%s)", job.id, run.id, step.reason.value)
        return True

    async def _note(self, job: Job, step: Step) -> bool:
        """The due time is claimed without a run."""
        return await self._database.write(self._noted, job, step)

    def _noted(self, conn: Connection, job: Job, step: Step) -> bool:
        if not job_store.claim(conn, job, step.then):
            return False
        job_store.add_run(conn, self._entry(job, step), self.keep_runs)
        return True

    def _entry(self, job: Job, step: Step) -> JobRun:
        return new_entry(job, step.reason, due_at=step.due_at, now=self._clock.now(), detail=step.detail)


def new_entry(
    job: Job, reason: Reason, *, due_at: float, now: float, detail: str | None = None, is_manual: bool = False
) -> JobRun:
    """What did not happen is not delivered."""
    is_delivered = job.deliver != "local" and reason is not Reason.SKIPPED
    return JobRun(
        id=0,
        job_id=job.id,
        due_at=due_at,
        fired_at=now,
        reason=reason,
        is_manual=is_manual,
        detail=detail,
        deliver=job.deliver if is_delivered else "local",
        delivery_due=now if is_delivered else None,
    )


def next_step(job: Job, now: float) -> Step:
    """Pure: what is to be done about a job that is due. Raises InvalidInput when its schedule cannot be read."""
    due = job.next_due
    assert due is not None
    schedule = schedule_of(job)
    if now - due <= LATE_AFTER_SECONDS:
        return Step(due, Reason.RAN, advanced(job, due, schedule.next_after(due), has_fired=True))
    match job.catch_up:
        case CatchUp.ALL:
            return _one_of_all(job, schedule, due, now)
        case CatchUp.ONE:
            missed = count_missed(schedule, due, now)
            detail = None if missed == "1" else f"{missed} due times were missed; this run stands for all of them"
            return Step(due, Reason.LATE, advanced(job, due, schedule.next_after(now), has_fired=True), detail)
        case CatchUp.NONE:
            missed = count_missed(schedule, due, now)
            detail = f"{'it was' if missed == '1' else f'{missed} due times were'} missed, and catch_up is none"
            return Step(due, Reason.SKIPPED, advanced(job, due, schedule.next_after(now), has_fired=False), detail)


def _one_of_all(job: Job, schedule: Schedule, due: float, now: float) -> Step:
    oldest = _newest_missed(schedule, due, now)
    if oldest == due:
        return Step(due, Reason.LATE, advanced(job, due, schedule.next_after(due), has_fired=True))
    until = in_zone(oldest, zone(job.timezone))
    detail = f"more than {MOST_CAUGHT_UP} due times were missed: those before {until} are left out"
    return Step(due, Reason.SKIPPED, advanced(job, due, oldest, has_fired=False), detail)


def count_missed(schedule: Schedule, due: float, now: float) -> str:
    """`due` and what follows up to `now`, in words."""
    count, time = 1, schedule.next_after(due)
    while time is not None and time <= now:
        count += 1
        if count > MOST_CAUGHT_UP:
            return f"more than {MOST_CAUGHT_UP}"
        time = schedule.next_after(time)
    return str(count)


def _newest_missed(schedule: Schedule, due: float, now: float) -> float:
    """The oldest of the newest MOST_CAUGHT_UP due times up to `now`; at least `due`. The window it looks in doubles,
    so that a year without power costs no more than a day."""
    window = 3600.0
    while True:
        start = max(due, now - window)
        times = [due] if start == due else []
        time = schedule.next_after(start)
        while time is not None and time <= now:
            times.append(time)
            time = schedule.next_after(time)
        if len(times) >= MOST_CAUGHT_UP or start == due:
            return times[-MOST_CAUGHT_UP:][0]
        window *= 2
