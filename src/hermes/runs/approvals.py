"""Where a question waits for a person. Question and answer are events of the run and rows of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import Conflict, InvalidInput
from hermes.core.ports import ApprovalAnswer, ApprovalQuestion
from hermes.core.run import Run, RunStatus
from hermes.runs.events import Recorder
from hermes.runs.questions import Questions
from hermes.store import approvals as approval_store
from hermes.store import audit
from hermes.store import runs as run_store
from hermes.store.database import Connection, Database

ALIASES = {"approve": "once", "approved": "once", "allow": "once", "denied": "deny", "reject": "deny"}
CHOICES = ("once", "session", "always", "deny")

Asked = Mapping[str, tuple[str, ApprovalAnswer | None]]
"""By the id of a tool call: the id of the question about it, and its answer when there is one."""


def parse_choice(choice: object) -> str:
    """The published choices and their aliases. Raises InvalidInput `invalid_approval_choice`."""
    word = ALIASES.get(choice, choice) if isinstance(choice, str) else choice
    if word not in CHOICES:
        raise InvalidInput(
            f"choice must be one of {', '.join(CHOICES)}", code="invalid_approval_choice", param="choice"
        )
    return str(word)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where else the questions of a child run are shown: on the desk of its parent, as of the call that delegated."""

    desk: Desk
    tool_call_id: str

    async def asked(self, requested: events.ApprovalRequested, run_id: str) -> None:
        await self.desk.child_asked(replace(requested, tool_call_id=self.tool_call_id, subagent_id=run_id))


class Desk:
    """The approvals of one run (`core.ports.ApprovalDesk`). The answer is the question's row, whoever wrote it.

    `asked` gives what an earlier process asked about a call: a question that is still open is asked again under its
    id, an answer that was given holds.
    """

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        clock: Clock,
        timeout_seconds: float,
        asked: Asked | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._asked = dict(asked or {})
        self._mirror = mirror
        self._of_children: dict[str, str] = {}
        self._questions = Questions(
            database,
            recorder,
            clock,
            timeout_seconds,
            get_answer=approval_store.get_answer,
            resolve=approval_store.resolve,
            tell=self._tell,
            late=ApprovalAnswer("deny", "timeout", None, f"nobody answered within {timeout_seconds:g} s"),
        )

    async def ask(self, question: ApprovalQuestion) -> ApprovalAnswer:
        earlier = self._asked.pop(question.tool_call_id, None)
        if earlier is None:
            return await self._ask(question)
        approval_id, answer = earlier
        answer = answer or await self._questions.given(approval_id)
        return answer or await self._ask(replace(question, id=approval_id))

    async def _ask(self, question: ApprovalQuestion) -> ApprovalAnswer:
        async def record(now: float, expires_at: float, before_sent: Callable[[], None]) -> None:
            requested = _requested(question, expires_at)
            recorded = self._recorder.record(
                requested,
                operations=(
                    lambda conn: approval_store.ask(conn, question, expires_at, now),
                    self._set_status(RunStatus.WAITING_FOR_APPROVAL),
                ),
                is_durable=True,
                before_sent=before_sent,
            )
            mirrored = () if self._mirror is None else (self._mirror.asked(requested, self._recorder.run_id),)
            await asyncio.gather(recorded, *mirrored)  # at once, so that one transaction keeps both

        return await self._questions.ask(question.id, record)

    async def settle(self) -> None:
        await self._questions.settle()

    async def _tell(self, approval_id: str, answer: ApprovalAnswer) -> None:
        responded = events.ApprovalResponded(approval_id, answer.choice, answer.by, answer.outcome)
        mirrored = () if self._mirror is None else (self._mirror.desk.child_answered(responded),)
        await asyncio.gather(self._record_answer(responded), *mirrored)

    async def _record_answer(self, responded: events.ApprovalResponded) -> None:
        is_over = not self._questions.are_open and not self._of_children
        operations = (self._set_status(RunStatus.RUNNING),) if is_over else ()
        await self._recorder.record(responded, operations=operations, is_durable=True)

    async def child_asked(self, requested: events.ApprovalRequested) -> None:
        """A run that this one delegated asks: whoever follows this one sees it, and can answer it here."""
        assert requested.subagent_id is not None
        self._of_children[requested.approval_id] = requested.subagent_id
        operations = (self._set_status(RunStatus.WAITING_FOR_APPROVAL),)
        await self._recorder.record(requested, operations=operations, is_durable=True)

    async def child_answered(self, responded: events.ApprovalResponded) -> None:
        if self._of_children.pop(responded.approval_id, None) is not None:
            await self._record_answer(responded)

    async def child_ended(self, run_id: str) -> None:
        """What it had asked needs no answer any more."""
        for approval_id in [one for one, child in self._of_children.items() if child == run_id]:
            await self.child_answered(events.ApprovalResponded(approval_id, "deny", None, "policy"))

    def _set_status(self, status: RunStatus) -> Callable[[Connection], object]:
        run_id, now = self._recorder.run_id, self._clock.now()
        return lambda conn: run_store.set_status(conn, run_id, status, now)


def give_answer(
    conn: Connection,
    run: Run,
    answer: ApprovalAnswer,
    *,
    approval_id: str | None,
    all_pending: bool,
    now: float,
) -> int:
    """Answers the named question of the run, or the oldest that waits, or all that wait: how many.

    Raises Conflict `approval_not_active` when nothing waits, `approval_not_pending` when that one does not.
    """
    waiting = [one.question for one in approval_store.pending(conn, run.id)]
    if approval_id is not None:
        chosen = [question for question in waiting if question.id == approval_id]
    else:
        chosen = waiting if all_pending else waiting[:1]
    given = [question for question in chosen if approval_store.resolve(conn, question.id, answer, now)]
    if approval_id is not None and not given:
        raise Conflict(f"approval {approval_id!r} is not pending", code="approval_not_pending", param="approval_id")
    if not given:
        raise Conflict("nothing waits for an approval in this run", code="approval_not_active")
    if answer.choice == "always":
        for question in given:
            told = {"approval_id": question.id, "run_id": run.id}
            audit.record(conn, now, answer.by or run.owner, "approval.always", question.pattern, told)
    return len(given)


def _requested(question: ApprovalQuestion, expires_at: float) -> events.ApprovalRequested:
    return events.ApprovalRequested(
        question.id,
        question.tool,
        question.tool_call_id,
        question.command,
        question.description,
        question.choices,
        question.allow_permanent,
        expires_at,
    )
