"""What the model asks the person: rows beside those of approvals, with the same life (docs/adr/0108)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, literal, select

from hermes.core.ports import CLARIFY, ApprovalAnswer, ApprovalQuestion, ClarifyAnswer

from . import approvals as approval_store
from .encoding import from_json
from .schema import approvals
from .statement import Statement


@dataclass(frozen=True, slots=True)
class PendingClarification:
    """`expires_at`: unix seconds."""

    id: str
    question: str
    choices: tuple[str, ...]
    expires_at: float


def ask(
    conn: Connection,
    clarify_id: str,
    run_id: str,
    session_id: str,
    tool_call_id: str,
    question: str,
    choices: Sequence[str],
    expires_at: float,
    now: float,
) -> None:
    """Asking again under the same id gives the open question new time."""
    row = ApprovalQuestion(
        id=clarify_id,
        run_id=run_id,
        session_id=session_id,
        tool=CLARIFY,
        tool_call_id=tool_call_id,
        command=question,
        description="",
        pattern="",
        choices=tuple(choices),
        allow_permanent=False,
    )
    approval_store.ask(conn, row, expires_at, now)


def resolve(conn: Connection, clarify_id: str, answer: ClarifyAnswer, now: float) -> bool:
    """False where it is unknown or answered already: of two answers one wins."""
    choice = "unanswered" if answer.text is None else "answered"
    kept = ApprovalAnswer(choice, answer.outcome, answer.by, answer.text)
    return approval_store.resolve(conn, clarify_id, kept, now)


def get_answer(conn: Connection, clarify_id: str) -> ClarifyAnswer | None:
    """None while it is open, or unknown."""
    kept = approval_store.get_answer(conn, clarify_id)
    if kept is None:
        return None
    return ClarifyAnswer(kept.reason if kept.choice == "answered" else None, kept.outcome, kept.by)


def pending(conn: Connection, run_id: str) -> list[PendingClarification]:
    """Oldest first."""
    rows = _PENDING.all(conn, {"run": run_id})
    return [PendingClarification(id_, question, tuple(from_json(given)), at) for id_, question, given, at in rows]


_PENDING = Statement(
    select(approvals.c.id, approvals.c.command, approvals.c.choices, approvals.c.expires_at)
    .where(
        approvals.c.run_id == bindparam("run"),
        approvals.c.resolved_at.is_(None),
        approvals.c.tool == literal(CLARIFY),
    )
    .order_by(approvals.c.created_at, approvals.c.id)
)
