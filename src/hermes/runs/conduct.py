"""The life of a run, from its place in the line to its final event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from hermes.agent.agent import Agent
from hermes.agent.history import with_own_part
from hermes.agent.turn import TurnResult, run_turn
from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import Busy, Conflict, Fenced, HermesError, NotFound, StoreUnavailable
from hermes.core.event import RunEvent
from hermes.core.message import Message
from hermes.core.ports import ModelSource
from hermes.core.run import Run, RunRequest, RunStatus, Usage
from hermes.core.session import Session
from hermes.core.tally import RunTally
from hermes.runs.active import Active
from hermes.runs.beginning import BeingStopped, Taken, take_up
from hermes.runs.ending import error_data, record_end
from hermes.runs.events import EventLog
from hermes.runs.incarnations import Incarnations
from hermes.runs.line import AnyLine
from hermes.runs.node import Membership
from hermes.store import client_calls as client_call_store
from hermes.store import nodes as node_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Conductor:
    """Conducts runs as tasks of `group`; `active` are those that go on here. `ended` hears the id of each that is over
    for this process, once its end is kept or another has it. `queue_timeout_seconds`: how long a run waits in line.
    """

    database: Database
    agent: Agent
    models: ModelSource
    clock: Clock
    line: AnyLine
    log: EventLog
    node: Membership
    group: asyncio.TaskGroup
    ended: Callable[[str], None]
    queue_timeout_seconds: float
    tally: RunTally = field(default_factory=RunTally)
    incarnations: Incarnations = field(init=False)
    active: dict[str, Active] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.incarnations = Incarnations(self.agent.close_session)

    def begin(self, active: Active, session: Session) -> None:
        self.active[active.run.id] = active
        self.group.create_task(self._conduct(active, session))
        if active.run.node != self.node.id:  # the others took this node for dead while the run began
            self.lose(active)

    def end(self, active: Active, why: RunEvent) -> None:
        """From outside: its turn is cancelled, and `why` is its final event unless it has one by then."""
        if active.why is None:
            active.why = why
        if active.turn is not None:
            active.turn.cancel()

    def lose(self, active: Active) -> None:
        """It is another node's: nothing more is written about it here, and its readers go on from what that keeps."""
        active.is_lost = True
        self.log.lose(active.recorder)
        self.end(active, events.RunInterrupted("another node took it over"))

    async def _conduct(self, active: Active, session: Session) -> None:
        run = active.run
        try:
            final, status, result = await self._turn(active, session)
            if active.is_lost:
                log.info("%s goes on at another node", run.id)
            elif active.is_parked and status is RunStatus.INTERRUPTED:
                await self._park(active)
            else:
                await self._finish(active, status, final, result)
                if run.parent_run_id is not None:  # nobody speaks to its session again
                    await self.agent.close_session(run.session_id)
        except NotFound:
            log.info("%s was deleted with its session before its end", run.id)
        except Fenced:
            log.info("%s ended here and goes on at another node", run.id)
        except StoreUnavailable as error:
            log.error("the end of %s cannot be kept now; it is taken up again: %s", run.id, error.message)
        except Exception:
            # Raised, it would end the group, and with it every other run.
            log.exception("the end of %s could not be kept; whoever takes it over says how it ended", run.id)
        finally:
            del self.active[run.id]
            self.log.close(run.id)
            self.line.leave(active.place)
            if active.request.is_stateless:
                self.agent.forget(run.session_id)
            active.done.set()
            self.ended(run.id)

    async def _park(self, active: Active) -> None:
        """It goes on when a gateway starts, or at once at another node."""
        if self.node.is_shared:
            await active.recorder.record()  # what is under way is kept before another reads where it stood
            await self.database.write(node_store.give_back, active.run.id, self.node.id)
            self.node.tell_everyone("orphans")

    async def _turn(self, active: Active, session: Session) -> tuple[RunEvent, RunStatus, TurnResult | None]:
        active.turn = self.group.create_task(self._outcome(active, session))
        if active.why is not None:
            active.turn.cancel()
        await asyncio.wait((active.turn,))
        if active.turn.cancelled():
            await self.agent.toolbox.end_run(active.run.id)
            why = active.why or events.RunInterrupted("the gateway was stopped")
            is_asked = isinstance(why, events.RunCancelled)
            return why, RunStatus.CANCELLED if is_asked else RunStatus.INTERRUPTED, None
        outcome = active.turn.result()
        if isinstance(outcome, Fenced):
            raise outcome
        if isinstance(outcome, TurnResult):
            return outcome.completed, RunStatus.COMPLETED, outcome
        return events.RunFailed(error_data(outcome, self.agent.redactor)), RunStatus.FAILED, None

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
        model = active.model or await self.models(request.model or session.model_choice)
        kept = None
        if request.session_id is not None:
            kept = await self.database.read(session_store.get, session.id)
            await self.incarnations.meet(kept or session)
        if progress is not None:
            messages = [*await self._before(request, run), *progress.done]
        elif request.history is not None:
            messages = [*await self._resent(request), *request.messages]
        elif request.session_id is None:
            messages = list(request.messages)
        else:
            messages = await self.database.read(session_store.history, session.id)
            session = session if kept is None else kept
        if run.status is RunStatus.QUEUED:
            active.recorder.delta(events.RunStarted(run.session_id, model.name))
        open_step = progress.open_step if progress is not None else None
        used = run.usage if progress is not None else None
        desk, steers = active.desk, active.steers
        await self.agent.ready(request)
        turn = self.agent.turn(run.id, session, request, model, messages, desk, steers, used, open_step)
        active.limits = turn.limits
        return await run_turn(replace(turn, beside=active.family.used), active.recorder)

    async def _before(self, request: RunRequest, run: Run) -> Sequence[Message]:
        """What was said before the run that is resumed."""
        if request.history is not None:
            return await self._resent(request)
        return await self.database.read(session_store.messages_before_run, run.session_id, run.id)

    async def _resent(self, request: RunRequest) -> Sequence[Message]:
        """The history as the client sent it, and the server's part of the turns it answers with its tool results."""
        history = request.history or ()
        call_ids = [call.id for message in history for call in message.tool_calls]
        if not call_ids:
            return history
        turns = await self.database.read(client_call_store.turns_of, request.owner, call_ids)
        return with_own_part(history, request.messages, turns)

    async def _wait_in_line(self, active: Active) -> RunRequest:
        """The request, limited to what its key has left by now."""
        request = active.request
        timeout = None if request.may_wait_forever else self.queue_timeout_seconds
        try:
            taken = await self._take_up(active, timeout)
        except TimeoutError:
            if await self.database.read(node_store.has_left, active.run.session_id, active.run.id):
                raise Conflict(
                    "a run of this session was left by a gateway that is gone, and goes on when one starts: "
                    "hermes gateway; or go on in a fork of the session",
                    code="session_busy",
                ) from None
            raise Busy(
                f"the run waited {timeout:g} s in line and got no place (settings: api_server.queue_timeout_seconds)",
                retry_after_seconds=timeout or 1,
            ) from None
        active.waited = self.clock.monotonic() - active.began
        if taken.left_usd is None:
            return request
        return replace(request, limits=request.limits.within(taken.left_usd))

    async def _take_up(self, active: Active, patience: float | None) -> Taken:
        """Raises TimeoutError when its turn does not come."""
        run, request, now, fence = active.run, active.request, self.clock.now, active.recorder.fence
        deadline = None if patience is None else asyncio.get_running_loop().time() + patience

        def begins(conn: Connection, run: Run) -> bool:
            is_its_turn = self.line.begins(conn, run)
            if is_its_turn and self.node.is_shared and run.node is not None:
                node_store.hold(conn, run.id, run.node)  # it may be parked by now, and this be late
            return is_its_turn

        def begin(conn: Connection) -> Taken | None:
            fence(conn)
            return take_up(conn, run, request, now, begins)

        while True:
            async with asyncio.timeout_at(deadline):
                await self.line.wait(active.place)
            try:
                taken = await self.database.write(begin)
            except BeingStopped:
                await asyncio.Event().wait()  # for the cancellation, which is on its way
                raise
            self.line.began(active.place, is_its_turn=taken is not None)
            if taken is not None:
                return taken

    async def _finish(self, active: Active, status: RunStatus, final: RunEvent, result: TurnResult | None) -> None:
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
        await record_end(
            recorder,
            active.run,
            self.clock.now(),
            status,
            final,
            messages,
            last_usage,
            output,
            before_sent=free,
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
