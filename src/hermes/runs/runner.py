"""Runs: start, follow, approve, steer, stop. The one engine behind every protocol.

A run is a task of its own; no request owns it. `start` returns when the run is kept, `follow` reads its events. Where
many nodes share a database, each takes any request about any run: what it asks of another node's is a row first, and
then a word to that node.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hermes.agent.agent import Agent
from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import Conflict, Draining, Fenced, HermesError, NotFound
from hermes.core.event import KeptEvent
from hermes.core.model import Model, Priced
from hermes.core.ports import ApprovalAnswer, ClarifyAnswer, ModelSource
from hermes.core.run import Run, RunRequest, RunStatus
from hermes.core.session import Session
from hermes.core.tally import RunTally
from hermes.runs.active import Active, Steers
from hermes.runs.approvals import Desk, Mirror, give_answer, parse_choice
from hermes.runs.beginning import begin, check_owner, check_parts, new_run, new_session
from hermes.runs.clarify import (
    Clarifier,
    ClarifyDesk,
    answer_or_steer,
    checked_answer,
    give_clarification,
    may_clarify,
)
from hermes.runs.conduct import Conductor
from hermes.runs.delegation import Delegation, DelegationSettings
from hermes.runs.events import EventLog, Surroundings
from hermes.runs.line import AnyLine, Line
from hermes.runs.node import Identity, Membership
from hermes.runs.remote import Remote
from hermes.runs.shared_line import SharedLine
from hermes.runs.takeover import Recovered, TakeOver
from hermes.store import approvals as approval_store
from hermes.store import clarifications as clarify_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store import steers as steer_store
from hermes.store.approvals import PendingApproval
from hermes.store.clarifications import PendingClarification
from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)

__all__ = ["Recovered", "Runner", "RunnerSettings"]

STOP_PATIENCE_SECONDS = 0.3
BEATS_BETWEEN_LOOKS = 3
"""A node that was killed may have kept a stop or an answer and not said so: its run is looked at all the same."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Seconds throughout. `max_running` and `max_waiting` are of all nodes of the database together."""

    max_running: int = 32
    max_waiting: int = 256
    queue_timeout_seconds: float = 30.0
    approval_timeout_seconds: float = 60.0
    delegation: DelegationSettings = field(default_factory=DelegationSettings)


class Runner:
    """Enter it as a context manager: the runs are tasks of its group and end with it.

    Leaving it parks what is durable and ends what else still runs as interrupted. `identity` is what other processes
    of the database know it by. `is_leaving`: the process is told to stop, and until it drains it still takes runs.
    """

    def __init__(
        self,
        *,
        database: Database,
        agent: Agent,
        models: ModelSource,
        clock: Clock,
        settings: RunnerSettings | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.settings = settings or RunnerSettings()
        self.node = Membership(database, clock, identity)
        self.line = self._line(database, clock)
        self.log = EventLog(database, clock, surroundings=self._surroundings())
        self.tally = RunTally()
        self.is_draining = False
        self.is_leaving = False
        self._database = database
        self._agent = agent
        self._models = models
        self._clock = clock
        self._listeners: set[Callable[[str], None]] = set()
        self._group = asyncio.TaskGroup()
        self._chores: list[asyncio.Task[None]] = []
        self._aside: dict[str, asyncio.Task[None]] = {}
        self._beginning = 0
        self._none_begins = asyncio.Event()
        self._none_begins.set()
        self._remote = Remote(clock, tell=self.node.tell, me=lambda: self.node.id, is_told=self.node.is_shared)
        self._conductor = Conductor(
            database=database,
            agent=agent,
            models=models,
            clock=clock,
            line=self.line,
            log=self.log,
            node=self.node,
            group=self._group,
            ended=self._ended,
            queue_timeout_seconds=self.settings.queue_timeout_seconds,
            tally=self.tally,
        )
        self._active = self._conductor.active
        self._take_over = TakeOver(self._conductor, self.settings.approval_timeout_seconds, self._look)
        self.delegation = Delegation(
            self._conductor, self.settings.delegation, begin=self._begin_child, go_on=self._take_over.go_on_with
        )

    def change(self, settings: RunnerSettings) -> None:
        """For what begins, asks or joins the line from now on."""
        self.settings = settings
        self.line.max_running, self.line.max_waiting = settings.max_running, settings.max_waiting
        self._conductor.queue_timeout_seconds = settings.queue_timeout_seconds
        self._take_over.approval_timeout_seconds = settings.approval_timeout_seconds
        self.delegation.settings = settings.delegation

    async def __aenter__(self) -> Runner:
        await self.node.enter()
        await self._group.__aenter__()
        self._chores.append(self._group.create_task(self.log.flush_forever()))
        if isinstance(self.line, SharedLine):
            self._chores.append(self._group.create_task(self.line.look_forever()))
        if self.node.is_shared:
            listening = self.node.signals.listen(self.node.id, self._heard, self._missed)
            self._chores.append(self._group.create_task(listening))
        if self.node.seconds_between_looks is not None:
            self._chores.append(self._group.create_task(self._look_forever(self.node.seconds_between_looks)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drain(0.0)
        for chore in (*self._chores, *self._aside.values()):
            chore.cancel()
        await self._group.__aexit__(None, None, None)
        with suppress(HermesError):  # the others find out by themselves
            await self.node.leave()
        await self.node.signals.close()

    @property
    def active(self) -> int:
        """How many runs go on or wait here."""
        return len(self._active)

    @property
    def queued(self) -> int:
        return self.line.waiting

    def on_end(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Called with the id of each run that ended here, once its end is kept. Returns what ends the listening."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def recover(self) -> Recovered:
        """Go on with what earlier processes left open; call it before the first `start`.

        Durable runs are resumed at their last finished step, in the order in which they began; one that was being
        stopped is cancelled. Of others nothing else can be said truthfully than that they were interrupted. Returns
        when that is kept, not when they have ended.
        """
        await self.node.bury()
        return await self._take_over.claim_all("the server was started again")

    async def tell_interrupted(self) -> int:
        """How many runs of processes that are gone were told as interrupted: those that nobody can go on with. For a
        process that is no gateway, and leaves the others to one. On PostgreSQL a process must be watched for seconds
        before it is known to be gone; from then on every process with a `Runner` does this by itself."""
        await self.node.bury()
        return await self._tell_bound()

    async def start(self, request: RunRequest) -> Run:
        """Keep the run and its new messages, and begin, or queue behind the session's other runs.

        Raises NoModel, InvalidInput (model, toolset), NotFound `session_not_found` (someone else's session), Conflict
        `idempotency_key_conflict` or `session_busy`, Busy, Draining. The answer of a repeated idempotency key is the
        first run, with `is_replay`.
        """
        self._check_open()
        began = self._clock.monotonic()
        known = await self._session_of(request)
        model = await self._models(request.model or (known.model_choice if known is not None else None))
        check_parts(request, model)
        if request.limits.max_usd is not None and isinstance(model, Priced) and not await model.has_price():
            unknown = f"the price of {model.name} is not known, so max_usd counts only what its provider says it cost"
            request = replace(request, warnings=(*request.warnings, unknown))
        if request.toolsets or request.disabled_toolsets:
            self._agent.tools(request)  # a toolset that does not exist is said now, not by a run that fails
        session = new_session(request, self._clock.now())
        node_id = self.node.id
        try:
            return await self._begin(request, session, model, began)
        except Fenced:
            await self._rejoin(node_id)
        except Conflict as error:
            if error.code != "session_busy" or not (await self.node.bury()).dead:
                raise
            await self._tell_bound()  # what it said comes before this turn, not into it
        return await self._begin(request, session, model, began)

    def _check_open(self) -> None:
        if self.is_draining:
            raise Draining("the gateway is stopping; try again in a moment", retry_after_seconds=5)

    async def _begin(self, request: RunRequest, session: Session, model: Model, began: float) -> Run:
        self._check_open()
        self._beginning += 1
        self._none_begins.clear()
        try:
            return await self._kept_and_begun(request, session, model, began)
        finally:
            self._beginning -= 1
            if not self._beginning:
                self._none_begins.set()

    async def _begin_child(self, request: RunRequest, mirror: Mirror) -> None:
        """A run that another one delegates: it takes no place in the line, and its questions are the parent's, too."""
        model = await self._models(request.model)
        session = new_session(request, self._clock.now())
        await self._kept_and_begun(request, session, model, self._clock.monotonic(), mirror)

    async def _kept_and_begun(
        self, request: RunRequest, session: Session, model: Model, began: float, mirror: Mirror | None = None
    ) -> Run:
        place = self.line.join(session.id, request.owner, is_child=request.child_of is not None)
        asked = new_run(request, session, model, session.started_at, self.node.id)
        recorder = self.log.open(asked.id, session.id, request.owner, is_durable=request.is_durable)
        clashes = self._agent.clashes(request)
        decide = partial(self.line.decide, place=place)
        try:
            begun = await self._database.write(
                begin, recorder.fence, asked, session, request, clashes, decide, durable=request.is_durable
            )
        except BaseException:
            self.log.close(asked.id)
            self.line.leave(place)
            raise
        if begun.is_replay:
            self.log.close(asked.id)
            self.line.leave(place)
            return replace(begun.run, is_replay=True, warnings=request.warnings)
        run = begun.run
        self.line.settle(place, run)
        recorder.opened_with(begun.opened)
        seconds = self.settings.approval_timeout_seconds
        desk = Desk(self._database, recorder, self._clock, seconds, mirror=mirror)
        questions = ClarifyDesk(self._database, recorder, self._clock, seconds)
        active = Active(run, request, model, recorder, desk, questions, place, Steers(self._clock), began)
        self._conductor.begin(active, session)
        return replace(run, warnings=request.warnings)

    async def _session_of(self, request: RunRequest) -> Session | None:
        """Raises NotFound for someone else's: what it chose must not show in another's errors."""
        if request.session_id is None:
            return None
        known = await self._database.read(session_store.get, request.session_id)
        check_owner(known, request.owner)
        return known

    async def open_session(self, session_id: str) -> None:
        """Somebody prepares a session here, its MCP servers for one, before its first run: what is still held for
        another session of that id goes now, and not with that run."""
        known = await self._database.read(session_store.get, session_id)
        incarnations = self._conductor.incarnations
        await (incarnations.expect(session_id) if known is None else incarnations.meet(known))

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
        run = await self.get(run_id, owner)
        if run.status is not RunStatus.WAITING_FOR_APPROVAL:  # ending, or about to ask again after a restart
            return []
        return await self._database.read(approval_store.pending, run_id)

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
        """How many questions this answered; see `give_answer`. It is kept when this returns."""
        run = await self.get(run_id, owner)
        answer = ApprovalAnswer(parse_choice(choice), "user", by, reason)
        if _is_ending(run):
            raise Conflict(f"run {run_id!r} has ended", code="approval_not_active")
        given = partial(
            give_answer, run=run, answer=answer, approval_id=approval_id, all_pending=all_pending, now=self._clock.now()
        )
        count = await self._database.write(given, durable=True)
        active = self._conducted(run_id)
        if active is not None:
            await self._settle(active)
        else:
            await self._tell_conductor(run_id)
        return count

    async def _settle(self, active: Active) -> None:
        """Answers that were given to the run, or through it to those that it delegated."""
        children = [one for one in self._active.values() if one.run.parent_run_id == active.run.id]
        for one in (active, *children):
            await one.desk.settle()

    @property
    def clarifier(self) -> Clarifier:
        """What the tool `clarify` asks through."""
        return Clarifier(self._questions_of, self._agent.redactor)

    def _questions_of(self, run_id: str) -> ClarifyDesk | None:
        active = self._active.get(run_id)
        return active.questions if active is not None and may_clarify(active.request) else None

    async def pending_clarifications(self, run_id: str, owner: str) -> list[PendingClarification]:
        run = await self.get(run_id, owner)
        return [] if run.status.is_final else await self._database.read(clarify_store.pending, run_id)

    async def clarify(
        self, owner: str, run_id: str, answer: object, clarify_id: str | None = None, *, by: str | None = None
    ) -> str:
        """The id of the question that this answers: the named one, or the oldest that waits. It is kept when this
        returns. Raises InvalidInput for an empty answer, and what `give_clarification` raises."""
        run = await self.get(run_id, owner)
        given = ClarifyAnswer(checked_answer(answer), "user", by)
        if _is_ending(run):
            raise Conflict(f"run {run_id!r} has ended", code="clarify_not_active")
        give = partial(give_clarification, run=run, answer=given, clarify_id=clarify_id, now=self._clock.now())
        answered = await self._database.write(give, durable=True)
        active = self._conducted(run_id)
        if active is not None:
            await active.questions.settle()
        else:
            await self._tell_conductor(run_id)
        return answered

    async def has_pending_steer(self, run_id: str) -> bool:
        """Whether something was said to the run that its model has not heard yet."""
        return bool(await self._database.read(steer_store.waiting, run_id))

    async def steer(self, run_id: str, owner: str, text: str, *, by: str | None = None) -> None:
        """Said to the model before its next step; while a question of its waits, that is the answer.

        Raises Conflict `run_not_accepting_steer` when it has ended.
        """
        run = await self.get(run_id, owner)
        active = self._conducted(run_id)
        is_ending = active.is_ending if active is not None else _is_ending(run)
        said = partial(answer_or_steer, run=run, text=text, by=by, now=self._clock.now())
        if is_ending or not await self._database.write(said, durable=True):
            raise Conflict(f"run {run_id!r} takes no more steering", code="run_not_accepting_steer")
        if active is not None:
            await self._told("read what was said to a run", self._look(active))
        else:
            await self._tell_conductor(run_id)

    async def stop(self, run_id: str, owner: str, reason: str = "stopped by the user") -> None:
        """End the run's model call and tools. Raises Conflict `run_not_active` when it is ending or has ended."""
        run = await self.get(run_id, owner)
        active = self._conducted(run_id)
        gone = Conflict(f"run {run_id!r} is not running", code="run_not_active")
        if active.is_ending if active is not None else _is_ending(run):
            raise gone
        now = self._clock.now()
        set_status = self._database.write(run_store.set_status, run_id, RunStatus.STOPPING, now, durable=run.is_durable)
        writing = asyncio.ensure_future(set_status)
        if active is not None:  # of stops from several nodes one counts, but no stop waits for a slow database
            try:
                await asyncio.wait((writing,), timeout=STOP_PATIENCE_SECONDS)
            finally:
                self._conductor.end(active, events.RunCancelled(reason))
        if not await writing:
            raise gone
        if active is None or active.is_lost:
            await self._tell_conductor(run_id)

    async def drain(self, timeout_seconds: float) -> None:
        """Take no more runs, and give the open ones so long; then the durable ones are parked until the next start, or
        for another node, and the others end as interrupted."""
        self.is_draining = True
        await self._none_begins.wait()
        await self._take_over.end()
        running = [active.done.wait() for active in self._active.values()]
        if running and timeout_seconds > 0:
            await asyncio.wait([asyncio.ensure_future(one) for one in running], timeout=timeout_seconds)
        else:
            for waiting in running:
                waiting.close()
        left = list(self._active.values())
        for active in left:
            active.is_parked = active.run.is_durable and active.why is None
            self._conductor.end(active, events.RunInterrupted("the gateway was stopped"))
        for active in left:
            await active.done.wait()

    def _line(self, database: Database, clock: Clock) -> AnyLine:
        settings, node = self.settings, self.node
        if not node.is_shared:
            return Line(settings.max_running, settings.max_waiting, node_id=None if node.is_alone else node.id)
        return SharedLine(
            settings.max_running, settings.max_waiting, database=database, clock=clock, tell=node.tell_everyone
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            fence=self.node.fence,
            fenced=self._fenced,
            kept=lambda run_id: self._remote.kept(run_id),
            mark=lambda run_id: self._remote.mark(run_id),
            elsewhere=self._elsewhere,
        )

    async def _elsewhere(self, run: Run, mark: int) -> bool:
        """Waits for what another node adds to the run. False: nobody goes on with it before a gateway starts again."""
        active = self._active.get(run.id)
        if active is not None and not active.is_lost:
            return True
        is_on_its_way = self._take_over.is_claiming  # given to this node, and not conducted by it yet
        is_nobodys = run.node is None or (run.node == self.node.id and not is_on_its_way)
        waits_for_a_gateway = is_nobodys and run.is_durable and not self.node.is_shared and not self.node.takes_over
        if self.is_draining or waits_for_a_gateway:  # (of others `_tell_bound` says how they ended)
            return False
        await self._remote.changed(run, mark)
        return True

    def _conducted(self, run_id: str) -> Active | None:
        """One that goes on here: not one that was parked, or that another node has by now."""
        active = self._active.get(run_id)
        return None if active is None or active.is_parked or active.is_lost else active

    def _ended(self, run_id: str) -> None:
        self._remote.ended(run_id)
        for listener in tuple(self._listeners):
            listener(run_id)

    async def _tell_conductor(self, run_id: str) -> None:
        """Something was written for the run: so it counts, whether this succeeds or not. Whoever conducts the run finds
        it in a moment, and whoever takes it over later reads it then."""

        async def tell() -> None:
            run = await self._database.read(run_store.get, run_id)
            if run is not None and run.node is not None:
                self.node.tell(run.node, f"look {run.id}")

        await self._told("tell the node that conducts a run", tell())

    def _heard(self, word: str) -> None:
        """A word of another node, or of this one to everyone."""
        try:
            self._take_in(word)
        except ValueError as error:  # whoever may use the database can say anything
            log.warning("a word that no node says: %s", error)

    def _take_in(self, word: str) -> None:
        match word.split():
            case ["events", run_id]:
                self._remote.heard_events(run_id)
            case ["follow", run_id, node_id]:
                self._remote.heard_follow(run_id, node_id)
            case ["look", run_id]:
                active = self._active.get(run_id)
                if active is not None:
                    self._do("read what was said to a run", self._look(active))
            case ["orphans"]:
                if self._takes_over:
                    self._do("take over runs", self._claim())
            case ["line" | "waiting"]:
                self.line.heard(word)
            case _:
                log.debug("a word of another version: %s", word)

    def _missed(self) -> None:
        """Words may have been lost: the rows say what they would have."""
        self._remote.missed()
        self.line.heard("line")
        for active in tuple(self._active.values()):
            self._do("read what was said to a run", self._look(active))

    async def _look(self, active: Active) -> None:
        """Take up what other nodes wrote for the run."""
        status, steers = await self._database.read(_news, active.run.id, active.steers.last)
        if status is RunStatus.STOPPING and not active.is_ending:
            self._conductor.end(active, events.RunCancelled("stopped by the user"))
        active.steers.add(steers)
        await self._settle(active)
        await active.questions.settle()

    async def _look_forever(self, seconds: float) -> None:
        """That this node lives, which others do not, what they left behind, and what one that died could not tell."""
        for count in itertools.count(1):
            await self._clock.sleep(seconds)
            await self._told("look at the other nodes", self._look_around(count))

    async def _look_around(self, count: int) -> None:
        """What may take long is done aside: a node that does not beat meanwhile would be dead to the others."""
        await self._beat()
        buried = await self.node.bury()
        is_third = count % BEATS_BETWEEN_LOOKS == 0
        if self._takes_over:
            self._do_aside("take over runs", self._claim)
        elif buried.dead or is_third:  # there may be no gateway to do it
            self._do_aside("tell of runs that ended with their process", self._tell_bound)
        if is_third if self.node.is_shared else buried.living:  # where nodes share no signals, no word comes
            self._do_aside("read what was said to the runs", self._look_at_all)

    async def _beat(self) -> None:
        node_id = self.node.id
        if not await self.node.beat(is_draining=self.is_draining or self.is_leaving):
            await self._rejoin(node_id)

    async def _look_at_all(self) -> None:
        for active in tuple(self._active.values()):
            await self._told("read what was said to a run", self._look(active))

    @property
    def _takes_over(self) -> bool:
        """Not when it goes itself: what it took it would have to give back."""
        return self.node.takes_over and not self.is_draining and not self.is_leaving

    async def _claim(self) -> None:
        taken = await self._take_over.claim_all("the node that conducted it stopped, and another goes on")
        if taken.resumed or taken.interrupted:
            log.info("took over %d runs, and %d that had to end", taken.resumed, taken.interrupted)

    async def _tell_bound(self) -> int:
        """Of runs that nobody conducts, those that end with their process: how many were told so."""
        return (await self._take_over.claim_all("its process ended", is_bound=True)).interrupted

    def _fenced(self) -> None:
        """The others took this node for dead, perhaps under a name that it has no more: its beat tells."""
        self._do("rejoin the other nodes", self._beat())

    async def _rejoin(self, lost: str) -> None:
        if self.node.id != lost:
            return
        log.warning("this node was silent for too long: others took over its runs, and it goes on under a new name")
        self._lose(lost)
        await self.node.rejoin(lost)
        self._lose(lost)  # those that began meanwhile

    def _lose(self, node_id: str) -> None:
        """What it conducted under that name is the others'."""
        for active in tuple(self._active.values()):
            if active.run.node == node_id and not active.is_lost:
                self._conductor.lose(active)

    def _do_aside(self, what: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Unless it is being done."""
        doing = self._aside.get(what)
        if doing is None or doing.done():
            self._aside[what] = self._group.create_task(self._told(what, work()))

    def _do(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        self._group.create_task(self._told(what, work))

    async def _told(self, what: str, work: Coroutine[Any, Any, object]) -> None:
        """What fails is told: raised, it would end the group, and with it every run."""
        try:
            await work
        except HermesError as error:
            log.warning("could not %s: %s", what, error.message)
        except Exception:
            log.exception("could not %s", what)


def _is_ending(run: Run) -> bool:
    return run.status.is_final or run.status is RunStatus.STOPPING


def _news(conn: Connection, run_id: str, last_steer: int) -> tuple[RunStatus | None, list[tuple[int, str]]]:
    run = run_store.get(conn, run_id)
    return None if run is None else run.status, steer_store.waiting(conn, run_id, last_steer)
