"""What became of a job's run is told where the job says: to a URL, or in a session. `local` is kept here and not told.

What is to be told is part of the job's history from the moment the run is kept, so that a restart forgets none. A URL
may be told twice (the process ended between its answer and our note of it): X-Hermes-Delivery is the same each time.
A session gets it once.
"""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

from hermes.core.clock import Clock, pause
from hermes.core.errors import HermesError
from hermes.core.job import Job, JobRun
from hermes.core.message import Message
from hermes.core.run import Run
from hermes.jobs.objects import job_run_object
from hermes.jobs.scheduler import LOOK_EVERY_SECONDS, PAUSE_SECONDS
from hermes.runs.callbacks import WAITS_SECONDS
from hermes.runs.webhook import Answered, Webhooks
from hermes.store import jobs as job_store
from hermes.store import sessions as session_store
from hermes.store import turns
from hermes.store.database import Connection, Database
from hermes.store.encoding import to_json

log = logging.getLogger(__name__)

SILENT = "[SILENT]"
LEASE_SECONDS = 60.0
"""How long a process that tries keeps the others away; a try takes 10 s and the look-up of a name. Killed meanwhile, it
has them wait as long."""
BUSY_SESSION_SECONDS = 2.0
AT_ONCE = 16


class Deliveries:
    def __init__(self, database: Database, webhooks: Webhooks, clock: Clock) -> None:
        self._database = database
        self._webhooks = webhooks
        self._clock = clock
        self._awaited: set[str] = set()  # so that the end of any other run costs nothing
        self._wake = asyncio.Event()

    def expect(self, run: Run, entry: JobRun) -> None:
        """The run has just begun, and where its output goes stands in the entry."""
        if entry.deliver != "local" and not run.is_replay:
            self._awaited.add(run.id)

    def ended(self, run_id: str) -> None:
        """A run, of a job or not, has ended here."""
        if run_id in self._awaited:
            self._awaited.discard(run_id)
            self._wake.set()

    async def run_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait = await self.round()
            except Exception as error:
                log.error("outputs of jobs cannot be delivered: %s", error, exc_info=not isinstance(error, HermesError))
                wait = PAUSE_SECONDS
            await pause(self._clock, wait, self._wake)

    async def round(self) -> float:
        """Tries what is due. Gives the seconds until the next look."""
        now = self._clock.now()
        found = await self._database.read(job_store.to_deliver, now, AT_ONCE)
        await asyncio.gather(*(self._deliver(job, entry) for job, entry in found))
        if len(found) == AT_ONCE:
            return 0.0
        next_at = await self._database.read(job_store.next_delivery_at, now)
        if next_at is None:
            return LOOK_EVERY_SECONDS
        return min(max(0.0, next_at - self._clock.now()), LOOK_EVERY_SECONDS)

    async def _deliver(self, job: Job, entry: JobRun) -> None:
        kind, _, target = entry.deliver.partition(":")
        try:
            if (entry.output or "").strip().startswith(SILENT) and entry.problem is None:
                await self._database.write(_silent, entry)
            elif kind == "session":
                await self._database.write(_into_session, job, entry, target, self._clock.now())
            else:
                await self._post(job, entry, target)
        except Exception as error:
            # Raised, it would end the others. Its lease passes, and it is tried again.
            log.error("the output of job %s: %s", job.id, error, exc_info=not isinstance(error, HermesError))

    async def _post(self, job: Job, entry: JobRun, url: str) -> None:
        await self._webhooks.secret()  # who cannot sign leaves it to the others
        lease = self._clock.now() + LEASE_SECONDS
        if not await self._database.write(job_store.claim_delivery, entry, lease):
            return
        event = "job.completed" if entry.problem is None else "job.failed"
        body = to_json({"event": event, "job": {"id": job.id, "name": job.name}, "run": whole(job, entry)}).encode()
        answered = await self._webhooks.send(url, body, delivery_id=f"jobrun_{entry.id}", event=event)
        await self._note(entry, answered, url, lease)

    async def _note(self, entry: JobRun, answered: Answered, url: str, lease: float) -> None:
        now, attempts = self._clock.now(), entry.delivery_attempts + 1
        if answered.is_taken:
            await self._database.write(lambda conn: job_store.note_delivery(conn, entry.id, attempts, delivered_at=now))
            return
        is_last = answered.is_refused_for_good or attempts > len(WAITS_SECONDS)
        wait = None if is_last else max(WAITS_SECONDS[attempts - 1], answered.retry_after_seconds)
        next_at = None if wait is None else now + wait
        is_noted = await self._database.write(
            lambda conn: job_store.note_delivery(
                conn, entry.id, attempts, error=answered.problem, next_at=next_at, lease=lease
            )
        )
        if not is_noted:  # this process stood still for longer than its lease: another has it now
            return
        log.warning(
            "the output of job %s for %s: %s; %s",
            entry.job_id,
            urlsplit(url).hostname,  # the rest of a URL is often a secret
            answered.problem,
            "given up" if wait is None else f"again in {wait:g} s",
        )


def whole(job: Job, entry: JobRun) -> dict[str, object]:
    """The entry as GET /api/jobs/{job_id}/runs gives it, with the whole output and without its delivery."""
    made = job_run_object(job, entry, is_whole=True)
    return {name: value for name, value in made.items() if name not in ("delivery", "output_truncated")}


def told_in_session(job: Job, entry: JobRun) -> str:
    """What the session's next turn reads as said by the assistant, with the note where it comes from."""
    said = f"The job failed: {entry.problem}" if entry.problem is not None else (entry.output or "(no output)")
    return f"[Output of the job {job.name!r}, run {entry.run_id or 'not started'}]\n\n{said}"


def _silent(conn: Connection, entry: JobRun) -> None:
    job_store.note_delivery(conn, entry.id, entry.delivery_attempts)


def _into_session(conn: Connection, job: Job, entry: JobRun, session_id: str, now: float) -> None:
    """One transaction: it is there once. In the middle of a turn it waits for the turn's end."""
    turns.wait_for(conn, "session", session_id)
    session = session_store.get(conn, session_id)
    attempts = entry.delivery_attempts + 1
    if session is None or session.owner != job.owner:
        gone = f"the session {session_id} is not there any more"
        job_store.note_delivery(conn, entry.id, attempts, error=gone)
    elif not job_store.is_session_free(conn, session_id):
        job_store.claim_delivery(conn, entry, now + BUSY_SESSION_SECONDS)
    elif job_store.claim_delivery(conn, entry, now):
        session_store.add_messages(conn, session_id, None, [Message("assistant", told_in_session(job, entry))], now)
        job_store.note_delivery(conn, entry.id, attempts, delivered_at=now)
