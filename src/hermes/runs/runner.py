"""Runs: start, follow, approve, steer, stop. The one engine behind every protocol.

A run is a task of its own; no request owns it. `start` returns when the run is kept, `follow` reads its events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from hermes.agent.agent import Agent
from hermes.agent.history import with_own_part
from hermes.agent.turn import TurnResult, run_turn
from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import (
    Busy,
    Conflict,
    Draining,
    HermesError,
    NotFound,
)
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.message import Message
from hermes.core.model import Priced
from hermes.core.ports import ModelSource
from hermes.core.run import Run, RunRequest, RunStatus, Usage
from hermes.core.session import Session
from hermes.core.tally import RunTally
from hermes.runs.active import Active, Steers
from hermes.runs.approvals import Desk, parse_choice
from hermes.runs.beginning import begin, check_owner, check_parts, new_run, new_session, opening, take_up
from hermes.runs.ending import error_data, record_end
from hermes.runs.events import EventLog
from hermes.runs.line import Line
from hermes.runs.resume import Progress, left_behind, progress_of, resumable, unfinished_text
from hermes.store import client_calls as client_call_store
from hermes.store import events as event_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store import steers as steer_store
from hermes.store.approvals import PendingApproval
from hermes.store.database import Database
from hermes.store.requests import messages_of

log = logging.getLogger(__name__)

PREVIEW_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Seconds throughout."""

    max_running: int = 32
    max_waiting: int = 256
    queue_timeout_seconds: float = 30.0
    approval_timeout_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many runs of an earlier process go on, and how many could only be told as interrupted."""

    resumed: int
    interrupted: int


class Runner:
    """Enter it as a context manager: the runs are tasks of its group and end with it.

    Leaving it parks what is durable and ends what else still runs as interrupted.
    """

    def __init__(
        self,
        *,
        database: Database,
        agent: Agent,
        models: ModelSource,
        clock: Clock,
        settings: RunnerSettings | None = None,
    ) -> None:
        self.settings = settings or RunnerSettings()
        self.line = Line(self.settings.max_running, self.settings.max_waiting)
        self.log = EventLog(database, clock)
        self.tally = RunTally()
        self.is_draining = False
        self._database = database
        self._agent = agent
        self._models = models
        self._clock = clock
        self._active: dict[str, Active] = {}
        self._listeners: set[Callable[[str], None]] = set()
        self._group = asyncio.TaskGroup()
        self._flusher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Runner:
        await self._group.__aenter__()
        self._flusher = self._group.create_task(self.log.flush_forever())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drain(0.0)
        if self._flusher is not None:
            self._flusher.cancel()
        await self._group.__aexit__(None, None, None)

    @property
    def active(self) -> int:
        return len(self._active)

    @property
    def queued(self) -> int:
        return self.line.waiting

    def on_end(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Called with the id of each run that ended here, once its end is kept. Returns what ends the listening."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def recover(self) -> Recovered:
        """Go on with what an earlier process left open; call it before the first `start`.

        Durable runs are resumed at their last finished step, in the order in which they began; one that was being
        stopped is cancelled. Of others nothing else can be said truthfully than that they were interrupted. Returns
        when that is kept, not when they have ended.
        """
        resumed = interrupted = 0
        for run in await self._database.read(run_store.open_runs):
            kept = [one async for one in self._stored(run.id)]
            own, started, steers = await self._database.read(left_behind, run)
            progress = progress_of(kept, own, started)
            request = None if run.status is RunStatus.STOPPING else resumable(run)
            if request is not None:
                await self._resume(run, request, kept, progress, steers)
                resumed += 1
            else:
                await self._tell_left(run, kept, progress)
                interrupted += 1
        return Recovered(resumed, interrupted)

    async def _resume(
        self, run: Run, request: RunRequest, kept: Sequence[KeptEvent], progress: Progress, steers: Sequence[str]
    ) -> None:
        last_seq = kept[-1].seq if kept else 0
        recorder = self.log.open(run.id, run.session_id, run.owner, last_seq, is_durable=True)
        recorder.usage = run.usage
        place = self.line.join(run.session_id, run.owner, is_resumed=True)
        desk = Desk(recorder, self._clock, self.settings.approval_timeout_seconds, progress.asked)
        steering = Steers(self._clock, [Message("user", text) for text in steers])
        began = self._clock.monotonic()
        has_begun = run.status is not RunStatus.QUEUED
        active = Active(run, request, None, recorder, desk, place, steering, began)
        if has_begun:
            active.progress, active.lost = progress, unfinished_text(kept, progress.void_after)
        self._active[run.id] = active
        session = await self._database.read(session_store.get, run.session_id) or new_session(request, run.created_at)
        if has_begun:
            resumed = events.RunResumed("the server was started again", progress.void_after)
            count, now = run.resumed + 1, self._clock.now()
            await recorder.record(
                resumed,
                operations=(lambda conn: run_store.set_resumed(conn, run.id, count, now),),
                is_durable=True,
            )
        self._group.create_task(self._conduct(active, session))

    async def _tell_left(self, run: Run, kept: Sequence[KeptEvent], progress: Progress) -> None:
        recorder = self.log.open(run.id, run.session_id, run.owner, run.last_seq)
        said = unfinished_text(kept, progress.void_after)
        messages = list(messages_of(run.request)) if run.status is RunStatus.QUEUED else []
        if said:
            messages.append(Message("assistant", said))
        recorder.usage = run.usage
        if run.status is RunStatus.STOPPING:  # whoever stopped it was told that it would
            final: RunEvent = events.RunCancelled("stopped by the user")
            status = RunStatus.CANCELLED
        else:
            final, status = events.RunInterrupted("the server stopped while it ran"), RunStatus.INTERRUPTED
        await record_end(recorder, run, self._clock.now(), status, final, messages, Usage(), said or None)
        self.log.close(run.id)
        self._tell_end(run.id)

    async def start(self, request: RunRequest) -> Run:
        """Keep the run and its new messages, and begin, or queue behind the session's other runs.

        Raises NoModel, InvalidInput (model, toolset), NotFound `session_not_found` (someone else's session), Conflict
        `idempotency_key_conflict`, Busy, Draining. The answer of a repeated idempotency key is the first run, with
        `is_replay`.
        """
        if self.is_draining:
            raise Draining("the gateway is stopping; try again in a moment", retry_after_seconds=5)
        began = self._clock.monotonic()
        known = await self._session_of(request)
        model = await self._models(request.model or (known.model_choice if known is not None else None))
        check_parts(request, model)
        if request.limits.max_usd is not None and isinstance(model, Priced) and not await model.has_price():
            unknown = f"the price of {model.name} is not known, so max_usd counts only what its provider says it cost"
            request = replace(request, warnings=(*request.warnings, unknown))
        clashes = self._agent.clashes(request)
        if request.toolsets or request.disabled_toolsets:
            self._agent.tools(request)  # a toolset that does not exist is said now, not by a run that fails
        now = self._clock.now()
        session = new_session(request, now)
        if request.session_id is not None and known is None:
            await self._agent.close_session(session.id)  # of an earlier session of that id, perhaps another key's
        place = self.line.join(session.id, request.owner)
        run = new_run(request, session, model, now, is_running=place.is_running)
        recorder = self.log.open(run.id, session.id, request.owner, is_durable=request.is_durable)
        opened = opening(run, request, clashes)
        try:
            first = await self._database.write(begin, run, session, request, opened, durable=request.is_durable)
        except BaseException:
            self.log.close(run.id)
            self.line.leave(place)
            raise
        if first is not None:
            self.log.close(run.id)
            self.line.leave(place)
            return replace(first, is_replay=True, warnings=request.warnings)
        recorder.opened_with(opened)
        desk = Desk(recorder, self._clock, self.settings.approval_timeout_seconds)
        active = Active(run, request, model, recorder, desk, place, Steers(self._clock), began)
        self._active[run.id] = active
        self._group.create_task(self._conduct(active, session))
        return replace(run, warnings=request.warnings)

    async def _session_of(self, request: RunRequest) -> Session | None:
        """Raises NotFound for someone else's: what it chose must not show in another's errors."""
        if request.session_id is None:
            return None
        known = await self._database.read(session_store.get, request.session_id)
        check_owner(known, request.owner)
        return known

    def follow(self, run_id: str, after: int = 0) -> AsyncIterator[KeptEvent]:
        """Every event behind `after`, once, in order, to the final one; see `EventLog.follow`."""
        return self.log.follow(run_id, after)

    async def get(self, run_id: str, owner: str) -> Run:
        """Raises NotFound `run_not_found`; someone else's run is as unknown as none."""
        run = await self._database.read(run_store.get, run_id)
        if run is None or run.owner != owner:
            raise NotFound(f"no run {run_id!r}", code="run_not_found")
        return self._now(run)

    async def list_runs(
        self,
        owner: str,
        *,
        session_id: str | None = None,
        statuses: Collection[RunStatus] = (),
        limit: int = 50,
        before: tuple[float, str] | None = None,
    ) -> list[Run]:
        """The owner's, newest first. `before`: (created_at, id) of the last one seen."""
        listed = partial(
            run_store.list_runs, owner=owner, session_id=session_id, statuses=statuses, limit=limit, before=before
        )
        return [self._now(run) for run in await self._database.read(listed)]

    def _now(self, run: Run) -> Run:
        """The row has the usage of a run from its end; what it has used by now is known here."""
        active = self._active.get(run.id)
        if active is None or run.status.is_final:
            return run
        return replace(run, usage=active.recorder.usage)

    async def pending_approvals(self, run_id: str, owner: str) -> list[PendingApproval]:
        await self.get(run_id, owner)
        active = self._active.get(run_id)
        return active.desk.pending if active else []

    async def answer(
        self,
        run_id: str,
        owner: str,
        choice: object,
        *,
        approval_id: str | None = None,
        all_pending: bool = False,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """How many questions this answered; see `Desk.answer`."""
        await self.get(run_id, owner)
        word = parse_choice(choice)
        active = self._active.get(run_id)
        if active is None:
            raise Conflict(f"run {run_id!r} has ended", code="approval_not_active")
        return await active.desk.answer(word, approval_id=approval_id, all_pending=all_pending, by=by, reason=reason)

    def has_pending_steer(self, run_id: str) -> bool:
        """Whether something was said to the run that its model has not heard yet."""
        active = self._active.get(run_id)
        return active is not None and bool(active.steers.messages)

    async def steer(self, run_id: str, owner: str, text: str) -> None:
        """Said to the model before its next step. Raises Conflict `run_not_accepting_steer` when it has ended."""
        await self.get(run_id, owner)
        active = self._active.get(run_id)
        if active is None or active.is_ending:
            raise Conflict(f"run {run_id!r} takes no more steering", code="run_not_accepting_steer")
        await self._database.write(steer_store.add, run_id, text, self._clock.now(), durable=True)
        active.steers.messages.append(Message("user", text))

    async def stop(self, run_id: str, owner: str, reason: str = "stopped by the user") -> None:
        """End the run's model call and tools. Raises Conflict `run_not_active` when it is ending or has ended."""
        await self.get(run_id, owner)
        active = self._active.get(run_id)
        if active is None or active.is_ending:
            raise Conflict(f"run {run_id!r} is not running", code="run_not_active")
        self._end(active, events.RunCancelled(reason))
        is_durable = active.run.is_durable
        now = self._clock.now()
        await self._database.write(run_store.set_status, run_id, RunStatus.STOPPING, now, durable=is_durable)

    async def drain(self, timeout_seconds: float) -> None:
        """Take no more runs, and give the open ones so long; then the durable ones are parked until the next start, and
        the others end as interrupted."""
        self.is_draining = True
        running = [active.done.wait() for active in self._active.values()]
        if running and timeout_seconds > 0:
            await asyncio.wait([asyncio.ensure_future(one) for one in running], timeout=timeout_seconds)
        else:
            for waiting in running:
                waiting.close()
        left = list(self._active.values())
        for active in left:
            active.is_parked = active.run.is_durable and active.why is None
            self._end(active, events.RunInterrupted("the gateway was stopped"))
        for active in left:
            await active.done.wait()

    async def _stored(self, run_id: str) -> AsyncIterator[KeptEvent]:
        after = 0
        while rows := await self._database.read(event_store.after, run_id, after, 500):
            for kept in rows:
                yield kept
            after = rows[-1].seq

    def _end(self, active: Active, why: RunEvent) -> None:
        if active.why is None:
            active.why = why
        if active.turn is not None:
            active.turn.cancel()

    async def _conduct(self, active: Active, session: Session) -> None:
        """The life of a run, from its place in the line to its final event."""
        try:
            final, status, result = await self._turn(active, session)
            if not (active.is_parked and status is RunStatus.INTERRUPTED):
                await self._finish(active, status, final, result)
        except NotFound:
            log.info("%s was deleted with its session before its end", active.run.id)
        except Exception:
            # Raised, it would end the group, and with it every other run.
            log.exception("the end of %s could not be kept; it is told as interrupted at the next start", active.run.id)
        finally:
            del self._active[active.run.id]
            self.log.close(active.run.id)
            self.line.leave(active.place)
            if active.request.is_stateless:
                self._agent.forget(active.run.session_id)
            active.done.set()
            self._tell_end(active.run.id)

    def _tell_end(self, run_id: str) -> None:
        for listener in tuple(self._listeners):
            listener(run_id)

    async def _turn(self, active: Active, session: Session) -> tuple[RunEvent, RunStatus, TurnResult | None]:
        active.turn = self._group.create_task(self._outcome(active, session))
        if active.why is not None:
            active.turn.cancel()
        await asyncio.wait((active.turn,))
        if active.turn.cancelled():
            await self._agent.toolbox.end_run(active.run.id)
            why = active.why or events.RunInterrupted("the gateway was stopped")
            is_asked = isinstance(why, events.RunCancelled)
            return why, RunStatus.CANCELLED if is_asked else RunStatus.INTERRUPTED, None
        outcome = active.turn.result()
        if isinstance(outcome, TurnResult):
            return outcome.completed, RunStatus.COMPLETED, outcome
        return events.RunFailed(error_data(outcome, self._agent.redactor)), RunStatus.FAILED, None

    async def _outcome(self, active: Active, session: Session) -> TurnResult | Exception:
        """A failure is a result here: raised, it would end the group, and with it every other run."""
        try:
            return await self._wait_and_run(active, session)
        except HermesError as error:
            return error
        except Exception as error:
            log.exception("run %s failed", active.run.id)
            return error

    async def _wait_and_run(self, active: Active, session: Session) -> TurnResult:
        run, request, progress = active.run, active.request, active.progress
        if progress is not None:
            await self.line.wait(active.place)
        elif run.status is RunStatus.QUEUED:
            request = await self._wait_in_line(active)
        model = active.model or await self._models(request.model or session.model_choice)
        if progress is not None:
            messages = [*await self._before(request, run), *progress.done]
        elif request.history is not None:
            messages = [*await self._resent(request), *request.messages]
        elif request.session_id is None:
            messages = list(request.messages)
        else:
            messages = await self._database.read(session_store.history, session.id)
            kept = await self._database.read(session_store.get, session.id)
            session = session if kept is None else kept
        if run.status is RunStatus.QUEUED:
            active.recorder.delta(events.RunStarted(run.session_id, model.name))
        open_step = progress.open_step if progress is not None else None
        used = run.usage if progress is not None else None
        desk, steers = active.desk, active.steers
        turn = self._agent.turn(run.id, session, request, model, messages, desk, steers, used, open_step)
        return await run_turn(turn, active.recorder)

    async def _before(self, request: RunRequest, run: Run) -> Sequence[Message]:
        """What was said before the run that is resumed."""
        if request.history is not None:
            return await self._resent(request)
        return await self._database.read(session_store.messages_before_run, run.session_id, run.id)

    async def _resent(self, request: RunRequest) -> Sequence[Message]:
        """The history as the client sent it, and the server's part of the turns it answers with its tool results."""
        history = request.history or ()
        call_ids = [call.id for message in history for call in message.tool_calls]
        if not call_ids:
            return history
        turns = await self._database.read(client_call_store.turns_of, request.owner, call_ids)
        return with_own_part(history, request.messages, turns)

    async def _wait_in_line(self, active: Active) -> RunRequest:
        """The request, limited to what its key has left by now."""
        run, request = active.run, active.request
        timeout = None if request.may_wait_forever else self.settings.queue_timeout_seconds
        try:
            async with asyncio.timeout(timeout):
                await self.line.wait(active.place)
        except TimeoutError:
            raise Busy(
                f"the run waited {timeout:g} s in line and got no place (settings: api_server.queue_timeout_seconds)",
                retry_after_seconds=timeout or 1,
            ) from None
        active.waited = self._clock.monotonic() - active.began
        left = await self._database.write(take_up, run, request, self._clock.now())
        return request if left is None else replace(request, limits=request.limits.within(left))

    async def _finish(self, active: Active, status: RunStatus, final: RunEvent, result: TurnResult | None) -> None:
        recorder = active.recorder
        if result is not None:
            messages = [result.last] if result.last is not None else []
            output: str | None = result.completed.output
            last_usage = result.last_usage
        else:  # what was said before it broke off stays in the session
            said = recorder.said_so_far or active.lost
            messages = [Message("assistant", said)] if said else []
            output, last_usage = said or None, Usage()
        free = partial(self._free, active, status)
        await record_end(
            recorder, active.run, self._clock.now(), status, final, messages, last_usage, output, before_sent=free
        )

    def _free(self, active: Active, status: RunStatus) -> None:
        """The end is kept, and nobody has seen it yet: whoever does finds the place free and the run counted."""
        self.line.leave(active.place)
        began, asked, said = active.began, active.steers.first_taken_at, active.recorder.first_said_at
        self.tally.end(
            active.run.source,
            status,
            active.recorder.usage,
            waited=active.waited,
            overhead=None if asked is None else asked - began - active.waited,
            first_token=None if said is None else said - began,
        )
