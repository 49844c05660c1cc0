"""Runs: start, follow, approve, steer, stop. The one engine behind every protocol.

A run is a task of its own; no request owns it. `start` returns when the run is kept, `follow` reads its events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hermes.agent.agent import Agent
from hermes.agent.history import with_own_part
from hermes.agent.turn import TurnResult, run_turn, usage_data
from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import (
    Busy,
    Conflict,
    Draining,
    HermesError,
    InvalidInput,
    NotFound,
    UpstreamError,
)
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.ids import new_id
from hermes.core.key import OWNER
from hermes.core.message import AudioPart, ImagePart, Message
from hermes.core.model import Model, Priced
from hermes.core.ports import ModelSource
from hermes.core.redact import Redactor
from hermes.core.run import Run, RunRequest, RunStatus, Usage
from hermes.core.session import Session
from hermes.core.tally import RunTally
from hermes.runs.approvals import Desk, parse_choice
from hermes.runs.events import EventLog, Recorder
from hermes.runs.line import Line, Place
from hermes.store import client_calls as client_call_store
from hermes.store import events as event_store
from hermes.store import idempotency as idempotency_store
from hermes.store import keys as key_store
from hermes.store import messages as message_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.approvals import PendingApproval
from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)

PREVIEW_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Seconds throughout."""

    max_running: int = 32
    max_waiting: int = 256
    queue_timeout_seconds: float = 30.0
    approval_timeout_seconds: float = 60.0


@dataclass(slots=True)
class _Steers:
    """A turn takes them right before each call of its model: the first time is when the model is first asked."""

    clock: Clock
    messages: list[Message] = field(default_factory=list)
    first_taken_at: float | None = None

    def take(self) -> tuple[Message, ...]:
        if self.first_taken_at is None:
            self.first_taken_at = self.clock.monotonic()
        taken, self.messages = tuple(self.messages), []
        return taken


@dataclass(slots=True)
class _Active:
    """A run this process conducts. `why` is set when its turn was ended from outside. `began` on the clock that never
    goes back; `waited` are seconds in line."""

    run: Run
    request: RunRequest
    model: Model
    recorder: Recorder
    desk: Desk
    place: Place
    steers: _Steers
    began: float
    waited: float = 0.0
    turn: asyncio.Task[TurnResult | Exception] | None = None
    why: RunEvent | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_ending(self) -> bool:
        """It was ended from outside, or its turn is over and only its end is still to be kept."""
        return self.why is not None or (self.turn is not None and self.turn.done())


class Runner:
    """Enter it as a context manager: the runs are tasks of its group and end with it.

    Leaving it ends what still runs as interrupted.
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
        self._active: dict[str, _Active] = {}
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

    async def recover(self) -> int:
        """What an earlier process left open is told as interrupted. Call it before the first `start`; returns how many.

        Nothing else can be said of it truthfully: its last step may or may not have taken effect.
        """
        left = await self._database.read(run_store.open_runs)
        for run in left:
            reason = "the server stopped while it ran"
            recorder = self.log.open(run.id, run.session_id, run.owner, run.last_seq)
            said = _unfinished_text([one async for one in self._stored(run.id)])
            messages = [message_store.decode(row) for row in run.request.get("messages", ())]
            if said:
                messages.append(Message("assistant", said))
            recorder.usage = run.usage
            final = events.RunInterrupted(reason)
            await self._record_end(recorder, run, RunStatus.INTERRUPTED, final, messages, Usage(), said or None)
            self.log.close(run.id)
            self._tell_end(run.id)
        return len(left)

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
        _check_parts(request, model)
        if request.limits.max_usd is not None and isinstance(model, Priced) and not await model.has_price():
            unknown = f"the price of {model.name} is not known, so max_usd counts only what its provider says it cost"
            request = replace(request, warnings=(*request.warnings, unknown))
        clashes = self._agent.clashes(request)
        if request.toolsets or request.disabled_toolsets:
            self._agent.tools(request)  # a toolset that does not exist is said now, not by a run that fails
        now = self._clock.now()
        session = _new_session(request, now)
        if request.session_id is not None and known is None:
            await self._agent.close_session(session.id)  # of an earlier session of that id, perhaps another key's
        place = self.line.join(session.id, request.owner)
        run = _new_run(request, session, model, now, is_running=place.is_running)
        recorder = self.log.open(run.id, session.id, request.owner)
        opening = _opening(run, request, clashes)
        try:
            first = await self._database.write(_begin, run, session, request, opening, durable=request.is_durable)
        except BaseException:
            self.log.close(run.id)
            self.line.leave(place)
            raise
        if first is not None:
            self.log.close(run.id)
            self.line.leave(place)
            return replace(first, is_replay=True, warnings=request.warnings)
        recorder.opened_with(opening)
        desk = Desk(recorder, self._clock, self.settings.approval_timeout_seconds)
        active = _Active(run, request, model, recorder, desk, place, _Steers(self._clock), began)
        self._active[run.id] = active
        self._group.create_task(self._conduct(active, session))
        return replace(run, warnings=request.warnings)

    async def _session_of(self, request: RunRequest) -> Session | None:
        """Raises NotFound for someone else's: what it chose must not show in another's errors."""
        if request.session_id is None:
            return None
        known = await self._database.read(session_store.get, request.session_id)
        _check_owner(known, request.owner)
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
        active.steers.messages.append(Message("user", text))

    async def stop(self, run_id: str, owner: str, reason: str = "stopped by the user") -> None:
        """End the run's model call and tools. Raises Conflict `run_not_active` when it is ending or has ended."""
        await self.get(run_id, owner)
        active = self._active.get(run_id)
        if active is None or active.is_ending:
            raise Conflict(f"run {run_id!r} is not running", code="run_not_active")
        self._end(active, events.RunCancelled(reason))
        await self._database.write(run_store.set_status, run_id, RunStatus.STOPPING, self._clock.now())

    async def drain(self, timeout_seconds: float) -> None:
        """Take no more runs, give the open ones so long, then end them as interrupted."""
        self.is_draining = True
        running = [active.done.wait() for active in self._active.values()]
        if running and timeout_seconds > 0:
            await asyncio.wait([asyncio.ensure_future(one) for one in running], timeout=timeout_seconds)
        else:
            for waiting in running:
                waiting.close()
        left = list(self._active.values())
        for active in left:
            self._end(active, events.RunInterrupted("the gateway was stopped"))
        for active in left:
            await active.done.wait()

    async def _stored(self, run_id: str) -> AsyncIterator[KeptEvent]:
        after = 0
        while rows := await self._database.read(event_store.after, run_id, after, 500):
            for kept in rows:
                yield kept
            after = rows[-1].seq

    def _end(self, active: _Active, why: RunEvent) -> None:
        if active.why is None:
            active.why = why
        if active.turn is not None:
            active.turn.cancel()

    async def _conduct(self, active: _Active, session: Session) -> None:
        """The life of a run, from its place in the line to its final event."""
        try:
            final, status, result = await self._turn(active, session)
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

    async def _turn(self, active: _Active, session: Session) -> tuple[RunEvent, RunStatus, TurnResult | None]:
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

    async def _outcome(self, active: _Active, session: Session) -> TurnResult | Exception:
        """A failure is a result here: raised, it would end the group, and with it every other run."""
        try:
            return await self._wait_and_run(active, session)
        except HermesError as error:
            return error
        except Exception as error:
            log.exception("run %s failed", active.run.id)
            return error

    async def _wait_and_run(self, active: _Active, session: Session) -> TurnResult:
        run, request = active.run, active.request
        if run.status is RunStatus.QUEUED:
            request = await self._wait_in_line(active)
        if request.history is not None:
            messages = [*await self._resent(request), *request.messages]
        elif request.session_id is None:
            messages = list(request.messages)
        else:
            messages = await self._database.read(session_store.history, session.id)
            kept = await self._database.read(session_store.get, session.id)
            session = session if kept is None else kept
        if run.status is RunStatus.QUEUED:
            active.recorder.delta(events.RunStarted(run.session_id, active.model.name))
        turn = self._agent.turn(run.id, session, request, active.model, messages, active.desk, active.steers)
        return await run_turn(turn, active.recorder)

    async def _resent(self, request: RunRequest) -> Sequence[Message]:
        """The history as the client sent it, and the server's part of the turns it answers with its tool results."""
        history = request.history or ()
        call_ids = [call.id for message in history for call in message.tool_calls]
        if not call_ids:
            return history
        turns = await self._database.read(client_call_store.turns_of, request.owner, call_ids)
        return with_own_part(history, request.messages, turns)

    async def _wait_in_line(self, active: _Active) -> RunRequest:
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
        left = await self._database.write(_take_up, run, request, self._clock.now())
        return request if left is None else replace(request, limits=request.limits.within(left))

    async def _finish(self, active: _Active, status: RunStatus, final: RunEvent, result: TurnResult | None) -> None:
        recorder = active.recorder
        if result is not None:
            messages = [result.last] if result.last is not None else []
            output: str | None = result.completed.output
            last_usage = result.last_usage
        else:  # what was said before it broke off stays in the session
            said = recorder.said_so_far
            messages = [Message("assistant", said)] if said else []
            output, last_usage = said or None, Usage()
        free = partial(self._free, active, status)
        await self._record_end(recorder, active.run, status, final, messages, last_usage, output, before_sent=free)

    def _free(self, active: _Active, status: RunStatus) -> None:
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

    async def _record_end(
        self,
        recorder: Recorder,
        run: Run,
        status: RunStatus,
        final: RunEvent,
        messages: list[Message],
        last_usage: Usage,
        output: str | None,
        before_sent: Callable[[], None] | None = None,
    ) -> None:
        now = self._clock.now()
        usage = recorder.usage + last_usage
        if isinstance(final, events.RunFailed | events.RunCancelled):
            final = replace(final, usage=usage_data(usage))
        finish_reason = final.finish_reason if isinstance(final, events.RunCompleted) else None
        error = final.error if isinstance(final, events.RunFailed) else None

        def finish(conn: Connection) -> None:
            last_seq = recorder.last_seq
            has_ended = run_store.finish(
                conn, run.id, status, now, output, finish_reason, usage, error, final.name, last_seq
            )
            if has_ended and usage.cost_usd and run.owner != OWNER:
                key_store.spend(conn, run.owner, usage.cost_usd)

        await recorder.record(
            *messages,
            final,
            usage=last_usage,
            operations=(finish,),
            is_durable=run.is_durable,
            is_end=True,
            before_sent=before_sent,
        )


def error_data(error: BaseException, redactor: Redactor) -> dict[str, Any]:
    """What a failed run tells: the edge answers from it, today or after a restart.

    Providers repeat the key they refuse, and what was sent to them: the message is redacted.
    """
    if not isinstance(error, HermesError):
        return {"message": "The run failed inside the server; its log says why.", "code": "internal_error"}
    data: dict[str, Any] = {"message": redactor(error.message), "code": error.code}
    if error.param is not None:
        data["param"] = error.param
    if isinstance(error, UpstreamError):
        data["upstream_status"] = error.status
    retry_after = getattr(error, "retry_after_seconds", None)
    if retry_after is not None:
        data["retry_after"] = retry_after
    return data


def _check_parts(request: RunRequest, model: Model) -> None:
    """What the model cannot take is refused at once, and never left out in silence (spec: api-server section 1)."""
    for message in (*(request.history or ()), *request.messages):
        if isinstance(message.content, str):
            continue
        for part in message.content:
            if isinstance(part, ImagePart) and not model.takes_images:
                raise _untaken("images", model)
            if isinstance(part, AudioPart) and not model.takes_audio:
                raise _untaken("audio", model)


def _untaken(what: str, model: Model) -> InvalidInput:
    return InvalidInput(
        f"the model {model.name} takes no {what}; `hermes model` connects one that does",
        code="unsupported_content_type",
        param="messages",
    )


def _new_session(request: RunRequest, now: float) -> Session:
    preview = next((m.text for m in request.messages if m.role == "user"), "")
    return Session(
        id=request.session_id or new_id("sess"),
        owner=request.owner,
        source=request.source,
        started_at=now,
        last_active=now,
        session_key=request.session_key,
        is_stateless=request.is_stateless,
        preview=" ".join(preview.split())[:PREVIEW_CHARACTERS],
    )


def _new_run(request: RunRequest, session: Session, model: Model, now: float, *, is_running: bool) -> Run:
    return Run(
        id=new_id("run"),
        session_id=session.id,
        owner=request.owner,
        source=request.source,
        status=RunStatus.RUNNING if is_running else RunStatus.QUEUED,
        created_at=now,
        updated_at=now,
        started_at=now if is_running else None,
        model=model.name,
        is_durable=request.is_durable,
        request={} if is_running else _queued(request),
    )


def _queued(request: RunRequest) -> dict[str, Any]:
    """The messages of a run that waits are kept with it: they join the session when its turn comes, in order."""
    return {"messages": [tuple(message_store.encode(message).values()) for message in request.messages]}


def _opening(run: Run, request: RunRequest, clashes: Sequence[str]) -> list[KeptEvent]:
    """The events that are kept together with the run itself."""
    happened: list[RunEvent] = [events.RunStarted(run.session_id, run.model)] if run.status is RunStatus.RUNNING else []
    happened += [events.Warned(warning) for warning in request.warnings]
    happened += [events.Warned(f"the client's tool {name!r} hides the server's") for name in clashes]
    return [KeptEvent(seq, run.created_at, event) for seq, event in enumerate(happened, 1)]


def _begin(
    conn: Connection, run: Run, session: Session, request: RunRequest, opening: Sequence[KeptEvent]
) -> Run | None:
    """One transaction: claim, session, run, its messages and first events. Gives the earlier run of a used key."""
    now = run.created_at
    claim = request.idempotency
    if claim is not None:
        earlier = idempotency_store.claim(conn, run.owner, claim.key, claim.fingerprint, run.id, now)
        if earlier is not None:
            if earlier.fingerprint != claim.fingerprint:
                raise Conflict(
                    "this Idempotency-Key was used with another request; take a new key",
                    code="idempotency_key_conflict",
                    param="Idempotency-Key",
                )
            return run_store.get(conn, earlier.run_id)
    known = session_store.get(conn, session.id) if request.session_id else None
    if known is None:
        session_store.create(conn, session)
    _check_owner(known, session.owner)
    run_store.insert(conn, run)
    for keep in request.keep:
        keep(conn, run)
    if run.status is RunStatus.RUNNING:
        session_store.add_messages(conn, session.id, run.id, request.messages, now)
    event_store.append(conn, run.id, opening)
    return None


def _check_owner(known: Session | None, owner: str) -> None:
    if known is not None and known.owner != owner:
        raise NotFound(f"no session {known.id!r}", code="session_not_found")


def _take_up(conn: Connection, run: Run, request: RunRequest, now: float) -> float | None:
    """The queued run begins: its messages come behind those of the runs before it. Gives what its key may spend.

    Raises NotFound `run_not_found` where its session, and the run with it, was deleted while it waited; Unauthorized
    where its key was revoked, BudgetExceeded where the runs before it spent what was left.
    """
    key = key_store.check_in_force(conn, run.owner) if run.owner != OWNER else None
    if not run_store.set_status(conn, run.id, RunStatus.RUNNING, now, started_at=now, request={}):
        raise NotFound(f"no run {run.id!r}: it was deleted", code="run_not_found")
    session_store.add_messages(conn, run.session_id, run.id, request.messages, now)
    return None if key is None else key.left_usd


def _unfinished_text(kept: list[KeptEvent]) -> str:
    """The text behind the last step that was kept as a message."""
    said: list[str] = []
    for one in kept:
        match one.event:
            case events.MessageDelta(delta):
                said.append(delta)
            case events.ToolStarted() | events.ClientToolCalled() | events.RunSteered():
                said.clear()
    return "".join(said)
