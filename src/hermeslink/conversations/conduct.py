"""Runs are started at their API servers, followed, and brought to an end, one at a time in each conversation.

Everything that must outlive a kill is in the database before it is acted on: what is asked (then it is asked again
under the same Idempotency-Key, which gives the same run), the API server's name of the run, and with what came of its
events the place of the last. Whoever comes after goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from hermes.core.clock import Clock, pause
from hermes.core.errors import HermesError, NotFound, StoreUnavailable
from hermes.store.database import Database
from hermeslink.blobs.attaching import Attaching
from hermeslink.conversations import history, turn
from hermeslink.conversations.gathering import GATHER_SECONDS, gathered
from hermeslink.conversations.log import EventLog
from hermeslink.conversations.outage import LONGEST_PAUSE, Outage
from hermeslink.conversations.projection import Ended, ended
from hermeslink.conversations.session_titles import SessionTitles
from hermeslink.core.run import Run, RunStatus
from hermeslink.hermes.problems import NotReached, RunGone, ServerRefused, ServerUnavailable
from hermeslink.hermes.servers import ApiServer, ApiServers
from hermeslink.store import messages as message_store
from hermeslink.store import runs as run_store
from hermeslink.store import sessions as session_store

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
"""How long the API server of a run in flight may be away before its answer is given up."""
STOP_SECONDS = 5.0
"""How long a cancel waits for its API server, and then for the end of its run."""
REPEATABLE_SECONDS = 23 * 3600.0
"""API servers keep an Idempotency-Key for a day."""
RENAMED_SECONDS, RENAMED_LOOKS = 4.0, 20
"""For so long, and so often, it is looked for the new name of a profile that is not there any more."""
FORGET_STOP_SECONDS = 7 * 86400.0
_STOP_PAUSE, _LONGEST_STOP_PAUSE = 2.0, 60.0


class Conducting:
    """Of all conversations. Enter it before `wake`: its tasks end with it, and the runs go on at the next start."""

    def __init__(
        self,
        log: EventLog,
        database: Database,
        servers: ApiServers,
        attaching: Attaching,
        clock: Clock,
        *,
        gather_seconds: float = GATHER_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._log = log
        self._database = database
        self._servers = servers
        self._attaching = attaching
        self._clock = clock
        self._gather_seconds = gather_seconds
        self._patience_seconds = patience_seconds
        self._stop_seconds = stop_seconds
        self._titles = SessionTitles(log, database, servers, clock)
        self._tasks: asyncio.TaskGroup | None = None
        self._wakes: dict[str, asyncio.Event] = {}
        """Of the conversations that have a task."""
        self._ends: dict[str, asyncio.Event] = {}
        """Of the runs whose end somebody waits for."""
        self._owes = asyncio.Event()
        self._open_tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Goes on with everything that was open."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._begin(tasks, self._stop_owed())
            try:
                for conversation_id in await self._database.read(run_store.busy_conversations):
                    self.wake(conversation_id)
                yield
            finally:
                self._tasks = None
                for task in self._open_tasks:
                    task.cancel()

    def wake(self, conversation_id: str) -> None:
        """Something changed there: a message waits, or a run is to end."""
        known = self._wakes.get(conversation_id)
        if known is not None:
            known.set()
        elif self._tasks is not None:
            self._wakes[conversation_id] = asyncio.Event()
            self._begin(self._tasks, self._conduct(conversation_id))

    def retitle(self, conversation_id: str) -> None:
        """Brings the title to its session, if the API server is there."""
        if self._tasks is not None:
            self._begin(self._tasks, self._agree(conversation_id))

    def owe(self) -> None:
        """A run is to be stopped that nobody follows."""
        self._owes.set()

    async def stop(self, run: Run) -> None:
        """Of a run that its API server has. What is over already is no matter. Raises ServerUnavailable."""
        assert run.remote_id is not None
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._servers.of(run.profile).stop(run.remote_id)
        except TimeoutError:
            raise ServerUnavailable("the API server does not answer in time") from None
        except (NotFound, ServerRefused) as error:
            log.info("run %s cannot be stopped: %s", run.id, error.message)

    async def ended(self, run: Run) -> None:
        """Until it has, or the time is over."""
        waiting = self._ends.setdefault(run.id, asyncio.Event())
        try:
            now = await self._database.read(run_store.get, run.id)
            if now is not None and not now.status.is_final:
                await pause(self._clock, self._stop_seconds, waiting)
        finally:
            self._ends.pop(run.id, None)

    async def end(self, run: Run, end: Ended, *, is_given_up: bool = False) -> Run | None:
        how = turn.give_up if is_given_up else turn.end
        after = await self._log.write(how, run.id, end, self._clock.now())
        if is_given_up:
            self.owe()
        return self._seen(run, after)

    def _begin(self, tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
        task = tasks.create_task(work)
        self._open_tasks.add(task)
        task.add_done_callback(self._open_tasks.discard)

    # --- one conversation ---

    async def _conduct(self, conversation_id: str) -> None:
        wake = self._wakes[conversation_id]
        try:
            while True:
                wake.clear()
                try:
                    run = await self._database.read(run_store.current, conversation_id)
                    if run is None:
                        if wake.is_set():
                            continue
                        return
                    if run.status is RunStatus.QUEUED:
                        await self._log.write(turn.begin_next, conversation_id, self._clock.now())
                    else:
                        await self._bring_to_end(run, wake)
                except Exception:
                    log.exception("what happens in %s cannot be kept now", conversation_id)
                    await self._clock.sleep(LONGEST_PAUSE)
        finally:
            del self._wakes[conversation_id]

    async def _bring_to_end(self, run: Run, wake: asyncio.Event) -> None:
        try:
            await self._persist(run, wake)
        except (StoreUnavailable, asyncio.CancelledError):
            raise
        except NotFound as error:
            if error.code == "profile_not_found" and await self._has_moved(run):
                return
            if error.code != "conversation_not_found":
                await self.end(run, _failed(error.code, error.message))
        except OSError as error:
            log.warning("the attachments of %s cannot be given to the agent: %s", run.id, error)
            await self.end(run, _failed("attachment_failed", "What is attached could not be given to the agent."))
        except Exception:
            log.exception("run %s failed inside the service", run.id)
            await self.end(run, _failed("internal_error", "The answer failed inside the service."), is_given_up=True)
        else:
            await self._agree(run.conversation_id)

    async def _has_moved(self, run: Run) -> bool:
        """Whether its profile has another name now, which may be known in a moment only."""
        for _ in range(RENAMED_LOOKS):
            now = await self._database.read(run_store.get, run.id)
            if now is None or now.profile != run.profile:
                return True
            await self._clock.sleep(RENAMED_SECONDS / RENAMED_LOOKS)
        return False

    async def _agree(self, conversation_id: str) -> None:
        try:
            await self._titles.agree(conversation_id)
        except Exception:
            log.exception("the title of %s cannot be compared", conversation_id)

    async def _persist(self, run: Run, wake: asyncio.Event) -> None:
        """Through outages. A run that no API server has yet waits as long as it takes, one in flight as long as is
        promised."""
        outage = Outage(self._clock)
        open_run: Run | None = run
        while open_run is not None and not open_run.status.is_final:
            run = open_run
            outage.try_again()
            try:
                await self._go_on(run)
            except RunGone:
                await self.end(run, _LOST)
            except ServerRefused as error:
                if error.status != 429:
                    await self.end(run, _failed(error.code, error.message), is_given_up=True)
                else:
                    await pause(self._clock, error.retry_after_seconds or LONGEST_PAUSE, wake)
            except ServerUnavailable as error:
                await self._wait_for_server(run, outage, error, wake)
            wake.clear()
            open_run = self._seen(run, await self._database.read(run_store.get, run.id))

    async def _wait_for_server(self, run: Run, outage: Outage, error: ServerUnavailable, wake: asyncio.Event) -> None:
        after = await self._database.read(run_store.get, run.id)
        if after is None or after.status.is_final:
            return
        lost_seconds = outage.failed(has_moved=after.remote_seq > run.remote_seq)
        if after.remote_id is not None and after.is_cancelled:
            await self.end(run, Ended(RunStatus.CANCELLED), is_given_up=True)
            return
        if after.remote_id is not None and lost_seconds >= self._patience_seconds:
            if (await self._servers.of(run.profile).state()).state != "online":
                await self.end(run, _away(error), is_given_up=True)
                return
            outage.is_over()  # its stream breaks off again and again, and the run goes on
        await pause(self._clock, outage.pause_seconds(), wake)

    async def _go_on(self, run: Run) -> None:
        """From where it stands, until it has ended or something is in the way."""
        server = self._servers.of(run.profile)
        if run.remote_id is None:
            started = await self._start(run, server)
            if started is None or started.status.is_final:
                return
            run = started
        if run.is_cancelled:
            await self.stop(run)
        await self._follow(run, server)

    async def _start(self, run: Run, server: ApiServer) -> Run | None:
        capabilities = await server.capabilities()
        now = self._clock.now()
        is_old = run.prepared_at is not None and now - run.prepared_at > REPEATABLE_SECONDS
        if run.prepared_at is not None and (is_old or not capabilities.is_idempotent):
            return await self.end(run, _UNKNOWN)
        prepared: Run | None = run
        if run.prepared_at is None:
            is_lost = capabilities.has_sessions_on_runs and await self._is_session_lost(run, server)
            prepared = await self._prepare(run, capabilities.has_sessions_on_runs, is_lost)
            if prepared is None or prepared.status.is_final:
                return prepared
            run = prepared
        try:
            remote_id = await server.start_run(await self._body(run), run.id, run.session_id)
        except NotReached:
            if not capabilities.is_idempotent:
                await self._database.write(run_store.unprepare, run.id)
            raise
        except ServerUnavailable:
            if not capabilities.is_idempotent:
                return await self.end(run, _UNKNOWN)
            raise
        accepted = await self._log.write(turn.accept, run.id, run.profile, remote_id, now, durable=True)
        if accepted is None or accepted.status.is_final:
            self.owe()
        return accepted

    async def _prepare(self, run: Run, has_sessions: bool, is_session_lost: bool) -> Run | None:
        after = await self._log.write(
            turn.prepare, run.id, has_sessions, is_session_lost, self._clock.now(), durable=True
        )
        return self._seen(run, after)

    async def _is_session_lost(self, run: Run, server: ApiServer) -> bool:
        session = await self._database.read(session_store.get, run.conversation_id, run.profile)
        if session is None or not session.known_position:
            return False
        try:
            await server.session(session.session_id)
        except ServerRefused as error:
            return error.status == 404
        return False

    async def _body(self, run: Run) -> dict[str, Any]:
        message = await self._database.read(message_store.get, run.user_message_id)
        if message is None:
            raise NotFound("the conversation is gone", code="conversation_not_found")
        parts = await self._attaching.parts(message.attachments, run.profile)
        said = await self._database.read(history.said_before, run) if run.sends_history else []
        return history.body(run, message, parts, said)

    async def _follow(self, run: Run, server: ApiServer) -> None:
        assert run.remote_id is not None
        coming = server.follow(run.remote_id, run.remote_seq)
        async with gathered(coming, self._clock, self._gather_seconds) as batches:
            async for batch in batches:
                after = await self._log.write(turn.tell, run.id, batch, self._clock.now())
                if self._seen(run, after) is None or after is None or after.status.is_final:
                    return
        told = ended(await server.run(run.remote_id))
        if told is None:
            raise ServerUnavailable("the API server ended the events of a run that goes on")
        await self.end(run, told)

    def _seen(self, run: Run, after: Run | None) -> Run | None:
        if after is None:
            self.owe()  # it went with its conversation, which left word that it is to be stopped
        if after is None or after.status.is_final:
            waiting = self._ends.get(run.id)
            if waiting is not None:
                waiting.set()
        return after

    # --- runs that nobody follows ---

    async def _stop_owed(self) -> None:
        """Again and again until their API server was told."""
        seconds = _STOP_PAUSE
        while True:
            self._owes.clear()
            try:
                left = [not await self._stop_one(*one) for one in await self._database.read(run_store.owed)]
            except Exception:
                log.exception("runs that are to be stopped are not stopped now")
                left = [True]
            await pause(self._clock, seconds if any(left) else None, self._owes)
            seconds = min(seconds * 2, _LONGEST_STOP_PAUSE) if any(left) else _STOP_PAUSE

    async def _stop_one(self, profile: str, remote_id: str, since: float) -> bool:
        """Whether it is settled."""
        try:
            await self._servers.of(profile).stop(remote_id)
        except ServerUnavailable:
            if self._clock.now() - since < FORGET_STOP_SECONDS:
                return False
        except HermesError as error:
            log.info("a run of the profile %s is over: %s", profile, error.message)
        await self._database.write(run_store.settle_stop, profile, remote_id)
        return True


def _failed(code: str, message: str) -> Ended:
    return Ended(RunStatus.FAILED, error={"code": code, "message": message})


def _away(error: ServerUnavailable) -> Ended:
    return _failed(
        error.code, f"The API server stopped in the middle of the answer and did not come back: {error.message}"
    )


_LOST = _failed(
    "run_lost", "The API server does not know the run any more: it was restarted in the middle of the answer."
)
_UNKNOWN = _failed("run_outcome_unknown", "It is not known whether the API server began with this. Send it again.")
