"""Runs that a run delegates: children with a session, a budget and a list of events of their own (docs/adr/0106).

A child lives as long as the call that delegated it: stopped, parked, lost and resumed with its parent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from hermes.agent.turn import usage_data
from hermes.core import event as events
from hermes.core.errors import Fenced, HermesError, InvalidInput, StoreUnavailable, ToolFailed
from hermes.core.event import RunEvent
from hermes.core.message import Message
from hermes.core.ports import DelegatedResult, DelegatedTask, ToolContext
from hermes.core.run import ChildOf, Limits, Run, RunRequest, RunStatus
from hermes.runs.active import Active
from hermes.runs.approvals import Mirror
from hermes.runs.conduct import Conductor
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.session_list import CHILD_SOURCE

INSTRUCTIONS = (
    "You are a sub-agent: another agent gave you this task, and you see nothing of its conversation. Nobody answers "
    "questions. Do the task with what you have. Your last message is all that the other agent gets: say what you found "
    "or did, with the paths, names and numbers it needs, and what you could not do."
)
SUMMARY_CHARACTERS = 500
CALL_STILL_OPEN = "the call that delegated it goes on"


@dataclass(frozen=True, slots=True)
class DelegationSettings:
    """`max_children`: of one run at once. `max_steps`: of each. `model` None: the parent's."""

    max_children: int = 3
    max_steps: int = 50
    model: str | None = None


class Delegation:
    """`core.ports.Delegates`. `begin` starts a child run, `go_on` resumes one that an earlier process left open."""

    def __init__(
        self,
        conductor: Conductor,
        settings: DelegationSettings,
        *,
        begin: Callable[[RunRequest, Mirror], Awaitable[None]],
        go_on: Callable[[Run, Mirror, str], Awaitable[None]],
    ) -> None:
        self._conductor = conductor
        self.settings = settings
        self._begin = begin
        self._go_on = go_on

    async def delegate(self, context: ToolContext, tasks: Sequence[DelegatedTask]) -> Sequence[DelegatedResult]:
        parent = self._conductor.active.get(context.run_id)
        if parent is None or parent.request.child_of is not None:
            raise ToolFailed("This run cannot delegate: do the task yourself.")
        model = await self._model_of(parent)
        call_id = context.tool_call_id
        count = parent.recorder.calls_done[call_id]
        requests = [
            replace(
                self._request(parent, context, task),
                model=model,
                child_of=ChildOf(parent.run.id, parent.run.session_id, child_id(parent.run.id, call_id, count, index)),
            )
            for index, task in enumerate(tasks)
        ]
        family = parent.family
        if family.places is None:
            family.places = asyncio.Semaphore(self.settings.max_children)
        works = [_Work(parent, call_id, index, request, tasks[index].goal) for index, request in enumerate(requests)]
        family.waiting.update({work.child_id for work in works} - set(family.allowances) - set(family.spent))
        try:
            async with asyncio.TaskGroup() as group:
                results = [group.create_task(self._result(work)) for work in works]
        finally:
            family.waiting.difference_update(work.child_id for work in works)
        return [result.result() for result in results]

    async def _model_of(self, parent: Active) -> str | None:
        if self.settings.model is not None or parent.request.model is not None:
            return self.settings.model or parent.request.model
        session = await self._conductor.database.read(session_store.get, parent.run.session_id)
        return None if session is None else session.model_choice

    def _request(self, parent: Active, context: ToolContext, task: DelegatedTask) -> RunRequest:
        asked = parent.request
        said = f"{task.goal}\n\nContext:\n{task.context}" if task.context else task.goal
        return RunRequest(
            owner=asked.owner,
            source=CHILD_SOURCE,
            messages=(Message("user", said),),
            session_key=context.session_key,
            is_stateless=asked.is_stateless,
            instructions=INSTRUCTIONS,
            toolsets=self._toolsets(asked, task.toolsets),
            disabled_toolsets=asked.disabled_toolsets,
            limits=Limits(max_steps=self.settings.max_steps),
            ask=asked.ask,
            may_clarify=False,
            is_durable=asked.is_durable,
            may_wait_forever=True,
            workdir=str(context.workdir),
            skip_context_files=asked.skip_context_files,
            skip_memory=True,
        )

    def _toolsets(self, asked: RunRequest, wanted: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Raises ToolFailed for what the parent does not have itself."""
        if wanted is None:
            return asked.toolsets
        agent = self._conductor.agent
        try:
            tools = agent.toolbox.select(wanted, asked.disabled_toolsets)
        except InvalidInput as error:
            raise ToolFailed(f"toolsets: {error.message}") from error
        missing = sorted(set(tools) - set(agent.tools(asked)))
        if missing:
            raise ToolFailed(f"toolsets: this run has no {', '.join(missing)}, so it cannot give them away.")
        return wanted

    async def _result(self, work: _Work) -> DelegatedResult:
        family = work.parent.family
        assert family.places is not None
        try:
            async with family.places:
                run = await self._ended(work)
        except (Fenced, StoreUnavailable):
            raise
        except HermesError as error:  # it could not begin: no model of that name, say
            return DelegatedResult(work.child_id, RunStatus.FAILED.value, "", error.message)
        finally:
            family.waiting.discard(work.child_id)
            family.allowances.pop(work.child_id, None)
        if run is None:
            return DelegatedResult(work.child_id, RunStatus.CANCELLED.value, "", "its session was deleted")
        family.spent[run.id] = run.usage
        await work.parent.desk.child_ended(run.id)
        result = DelegatedResult(run.id, run.status.value, run.output or "", _problem(run))
        await self._tell(work, _completed(work, run, result))
        return result

    async def _ended(self, work: _Work) -> Run | None:
        """The child's record, once it has ended; it is begun or taken up where it is neither. None: it was deleted."""
        conductor = self._conductor
        has_begun = (events.SubagentStarted.name, work.child_id) in work.parent.family.told
        while True:
            run = await conductor.database.read(run_store.get, work.child_id)
            if run is None and has_begun:
                return None
            if run is not None:
                await self._tell_start(work)
            if run is not None and run.status.is_final:
                return run
            if work.child_id not in conductor.active:
                await self._take_up(work, run)
            has_begun = True
            try:
                await self._tell_start(work)
            except BaseException:  # stopped before it was told: the child has begun, and is not left to itself
                await self._until_done(work, is_over=True)
                raise
            await self._until_done(work)

    async def _take_up(self, work: _Work, run: Run | None) -> None:
        """Cancelled in the middle, it is finished first: nothing that was begun may be left to itself."""
        family, mirror = work.parent.family, Mirror(work.parent.desk, work.call_id)
        if run is None:
            limits = self._share(work)
            family.allowances[work.child_id] = limits
            taking = asyncio.ensure_future(self._taken(work, self._begin(replace(work.request, limits=limits), mirror)))
        else:
            taking = asyncio.ensure_future(self._taken(work, self._go_on(run, mirror, CALL_STILL_OPEN)))
        family.waiting.discard(work.child_id)
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait((taking,))
            if not taking.cancelled() and taking.exception() is None:
                await self._until_done(work, is_over=True)
            raise

    async def _taken(self, work: _Work, taking: Awaitable[None]) -> None:
        await taking
        active = self._conductor.active.get(work.child_id)
        if active is not None and work.parent.why is not None:  # meanwhile, and perhaps nobody waits for it any more
            self._share_fate(active, work.parent)

    async def _until_done(self, work: _Work, *, is_over: bool = False) -> None:
        """`is_over`: its parent goes no further, so neither does it."""
        active = self._conductor.active.get(work.child_id)
        if active is None:
            return
        if is_over or work.parent.why is not None:
            self._share_fate(active, work.parent)
        try:
            await active.done.wait()
        except asyncio.CancelledError:
            self._share_fate(active, work.parent)
            await active.done.wait()
            raise

    def _share_fate(self, child: Active, parent: Active) -> None:
        if parent.is_lost:
            if not child.is_lost:
                self._conductor.lose(child)
        elif parent.is_parked:
            if child.why is None:
                child.is_parked = child.run.is_durable
            self._conductor.end(child, events.RunInterrupted("the gateway was stopped"))
        else:
            self._conductor.end(child, events.RunCancelled("the run that delegated it goes no further"))

    def _share(self, work: _Work) -> Limits:
        """Of the tokens and the money that the parent has left, an equal part for each child that has not begun. Its
        time needs no part: it ends them with itself."""
        parent, family = work.parent, work.parent.family
        used, allowed = parent.recorder.usage + family.used(), family.allowances.values()
        count = max(1, len(family.waiting))
        tokens, usd = parent.limits.max_tokens, parent.limits.max_usd
        if tokens is not None:
            tokens = max(0, tokens - used.total_tokens - sum(one.max_tokens or 0 for one in allowed)) // count
        if usd is not None:
            usd = max(0.0, usd - (used.cost_usd or 0.0) - sum(one.max_usd or 0.0 for one in allowed)) / count
        return replace(work.request.limits, max_tokens=tokens, max_usd=usd)

    async def _tell_start(self, work: _Work) -> None:
        goal = self._conductor.agent.redactor(work.goal)
        await self._tell(work, events.SubagentStarted(work.child_id, work.call_id, work.index, goal))

    async def _tell(self, work: _Work, event: RunEvent) -> None:
        told = (event.name, work.child_id)
        if told not in work.parent.family.told:
            work.parent.family.told.add(told)
            await work.parent.recorder.record(event)


@dataclass(frozen=True, slots=True)
class _Work:
    parent: Active
    call_id: str
    index: int
    request: RunRequest
    goal: str

    @property
    def child_id(self) -> str:
        assert self.request.child_of is not None
        return self.request.child_of.child_id


def child_id(run_id: str, tool_call_id: str, count: int, index: int) -> str:
    """The same whenever the call is made again. `count`: how often a call of that id had its result before."""
    text = "\x1f".join((run_id, tool_call_id, str(count), str(index)))
    return f"run_{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _problem(run: Run) -> str:
    match run.status:
        case RunStatus.COMPLETED:
            return "it stopped at a limit before it was done" if run.finish_reason == "length" else ""
        case RunStatus.FAILED:
            return str((run.error or {}).get("message") or "it failed")
        case RunStatus.CANCELLED:
            return "it was stopped"
        case _:
            return "the server stopped while it ran"


def _completed(work: _Work, run: Run, result: DelegatedResult) -> events.SubagentCompleted:
    text = result.text
    return events.SubagentCompleted(
        run.id,
        work.call_id,
        work.index,
        result.status,
        round((run.finished_at or run.updated_at) - (run.started_at or run.created_at), 3),
        text if len(text) <= SUMMARY_CHARACTERS else f"{text[: SUMMARY_CHARACTERS - 1]}…",
        result.problem or None,
        usage_data(run.usage),
    )
