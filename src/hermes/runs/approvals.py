"""Where a question waits for a person. Question and answer are events of the run and rows of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import Conflict, InvalidInput
from hermes.core.ports import ApprovalAnswer, ApprovalQuestion
from hermes.core.run import RunStatus
from hermes.runs.events import Operation, Recorder
from hermes.store import approvals as approval_store
from hermes.store import audit
from hermes.store import runs as run_store
from hermes.store.approvals import PendingApproval
from hermes.store.database import Connection

ALIASES = {"approve": "once", "approved": "once", "allow": "once", "denied": "deny", "reject": "deny"}
CHOICES = ("once", "session", "always", "deny")

Asked = Mapping[str, tuple[str, ApprovalAnswer | None]]
"""By the id of a tool call: the id of the question about it, and its answer when there is one."""


@dataclass(slots=True)
class _Waiting:
    pending: PendingApproval
    answer: asyncio.Future[ApprovalAnswer]
    is_kept: bool = False


def parse_choice(choice: object) -> str:
    """The published choices and their aliases. Raises InvalidInput `invalid_approval_choice`."""
    word = ALIASES.get(choice, choice) if isinstance(choice, str) else choice
    if word not in CHOICES:
        raise InvalidInput(
            f"choice must be one of {', '.join(CHOICES)}", code="invalid_approval_choice", param="choice"
        )
    return str(word)


class Desk:
    """The approvals of one run (`core.ports.ApprovalDesk`).

    `asked` gives what an earlier process asked about a call: a question that is still open is asked again under its
    id, an answer that was given holds.
    """

    def __init__(self, recorder: Recorder, clock: Clock, timeout_seconds: float, asked: Asked | None = None) -> None:
        self._recorder = recorder
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._asked = dict(asked or {})
        self._waiting: dict[str, _Waiting] = {}

    @property
    def pending(self) -> list[PendingApproval]:
        return [waiting.pending for waiting in self._waiting.values() if waiting.is_kept]

    async def ask(self, question: ApprovalQuestion) -> ApprovalAnswer:
        earlier = self._asked.pop(question.tool_call_id, None)
        if earlier is not None:
            approval_id, answer = earlier
            if answer is not None:
                return answer
            question = replace(question, id=approval_id)
        return await self._ask(question)

    async def _ask(self, question: ApprovalQuestion) -> ApprovalAnswer:
        now = self._clock.now()
        expires_at = now + self._timeout_seconds
        waiting = _Waiting(PendingApproval(question, expires_at), asyncio.get_running_loop().create_future())

        def show() -> None:
            self._waiting[question.id] = waiting

        try:
            await self._recorder.record(
                _requested(question, expires_at),
                operations=(
                    lambda conn: approval_store.ask(conn, question, expires_at, now),
                    self._set_status(RunStatus.WAITING_FOR_APPROVAL),
                ),
                is_durable=True,
                before_sent=show,
            )
            waiting.is_kept = True
            timer = asyncio.ensure_future(self._clock.sleep(self._timeout_seconds))
            try:
                await asyncio.wait((waiting.answer, timer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
            if not waiting.answer.done() and self._waiting.pop(question.id, None) is not None:
                answer = ApprovalAnswer("deny", "timeout", None, f"nobody answered within {self._timeout_seconds:g} s")
                await self._resolve(question.id, answer)
                return answer
            return await waiting.answer
        finally:
            self._waiting.pop(question.id, None)

    async def answer(
        self, choice: str, *, approval_id: str | None, all_pending: bool, by: str | None, reason: str | None
    ) -> int:
        """How many questions this answered. It is kept when this returns.

        Raises Conflict `approval_not_active` when nothing waits, `approval_not_pending` when that one does not.
        """
        if approval_id is not None and approval_id not in self._waiting:
            raise Conflict(f"approval {approval_id!r} is not pending", code="approval_not_pending", param="approval_id")
        if not self._waiting:
            raise Conflict("nothing waits for an approval in this run", code="approval_not_active")
        if approval_id is not None:
            chosen = [approval_id]
        else:
            chosen = list(self._waiting) if all_pending else [next(iter(self._waiting))]
        answer = ApprovalAnswer(choice, "user", by, reason)
        for one in chosen:
            waiting = self._waiting.pop(one)
            try:
                await self._resolve(one, answer, waiting.pending.question)
            except BaseException:
                self._waiting[one] = waiting  # not kept, so not given
                raise
            waiting.answer.set_result(answer)
        return len(chosen)

    async def _resolve(
        self, approval_id: str, answer: ApprovalAnswer, question: ApprovalQuestion | None = None
    ) -> None:
        now = self._clock.now()
        operations: list[Operation] = [lambda conn: approval_store.resolve(conn, approval_id, answer, now)]
        if answer.choice == "always" and question is not None:
            pattern, who = question.pattern, answer.by or self._recorder.owner
            told = {"approval_id": approval_id, "run_id": question.run_id}
            operations.append(lambda conn: audit.record(conn, now, who, "approval.always", pattern, told))
        if not self._waiting:
            operations.append(self._set_status(RunStatus.RUNNING))
        await self._recorder.record(
            events.ApprovalResponded(approval_id, answer.choice, answer.by, answer.outcome),
            operations=operations,
            is_durable=True,
        )

    def _set_status(self, status: RunStatus) -> Callable[[Connection], object]:
        run_id, now = self._recorder.run_id, self._clock.now()
        return lambda conn: run_store.set_status(conn, run_id, status, now)


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
