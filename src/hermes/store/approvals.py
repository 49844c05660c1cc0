"""Questions that wait for a person. A question is a row, so that it outlives the process that asked.

What the tool `clarify` asks stands in the same table (`store/clarifications.py`), and is no approval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, String, bindparam, cast, literal, select, union_all, update

from hermes.core.ports import CLARIFY, ApprovalAnswer, ApprovalQuestion

from .encoding import clean, from_json, to_json
from .schema import approvals, runs
from .statement import InsertInto, Row, Statement


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """`expires_at`: unix seconds."""

    question: ApprovalQuestion
    expires_at: float


def ask(conn: Connection, question: ApprovalQuestion, expires_at: float, now: float) -> None:
    """Asking again under the same id (after a restart) gives the open question new time, and leaves an answered one as
    it is."""
    if _EXTEND.run(conn, {"approval": question.id, "expires_at": expires_at}):
        return
    values: dict[str, Any] = {name: getattr(question, name) for name in _PLAIN}
    values["command"], values["description"] = clean(question.command), clean(question.description)
    values["pattern"] = clean(question.pattern)
    values["choices"] = to_json(question.choices)
    _INSERT.run(conn, values | {"created_at": now, "expires_at": expires_at})


def resolve(conn: Connection, approval_id: str, answer: ApprovalAnswer, now: float) -> bool:
    """False where it is unknown or answered already: of two answers one wins."""
    return _RESOLVE.run(conn, {"approval": approval_id, **_answer(answer, now)}) == 1


def resolve_all(conn: Connection, run_id: str, answer: ApprovalAnswer, now: float) -> int:
    """Answers all that is open of a run; how many."""
    return _RESOLVE_ALL.run(conn, {"run": run_id, **_answer(answer, now)})


def get_answer(conn: Connection, approval_id: str) -> ApprovalAnswer | None:
    """None while it is open, or unknown."""
    row = _ANSWER.first(conn, {"approval": approval_id})
    return None if row is None else ApprovalAnswer(*row)


def pending(conn: Connection, run_id: str) -> list[PendingApproval]:
    """Oldest first: the run's, and those of the runs that it delegated."""
    return [_pending(row) for row in _PENDING.all(conn, {"run": run_id})]


def allowed(conn: Connection, session_id: str) -> set[str]:
    """The patterns of the questions that somebody answered for the whole session, those of delegated runs, too.
    (`always` is an entry of the
    allow-list, which its owner may take out again.)"""
    return {str(pattern) for (pattern,) in _ALLOWED.all(conn, {"session": session_id})}


_PLAIN = (
    "id",
    "run_id",
    "session_id",
    "tool",
    "tool_call_id",
    "command",
    "description",
    "pattern",
    "choices",
    "allow_permanent",
)


def _pending(row: Row) -> PendingApproval:
    values: dict[str, Any] = dict(zip(_PLAIN, row, strict=False))
    values["choices"] = tuple(from_json(values["choices"]))
    values["allow_permanent"] = bool(values["allow_permanent"])
    return PendingApproval(ApprovalQuestion(**values), row[len(_PLAIN)])


def _answer(answer: ApprovalAnswer, now: float) -> dict[str, Any]:
    return {
        "choice": answer.choice,
        "outcome": answer.outcome,
        "answered_by": answer.by,
        "reason": None if answer.reason is None else clean(answer.reason),
        "resolved_at": now,
    }


def _insert(insert: InsertInto) -> Any:
    row: dict[str, Any] = {name: bindparam(name) for name in (*_PLAIN, "created_at", "expires_at")}
    return insert(approvals).values(row).on_conflict_do_nothing()


_INSERT = Statement(_insert)
_OPEN = approvals.c.resolved_at.is_(None)
_BY_ID = approvals.c.id == bindparam("approval")
_BY_RUN = approvals.c.run_id == bindparam("run")
_WITH_ANSWER: dict[str, Any] = {
    name: bindparam(name) for name in ("choice", "outcome", "answered_by", "reason", "resolved_at")
}
_EXTEND = Statement(update(approvals).where(_BY_ID, _OPEN).values(expires_at=bindparam("expires_at")))
_RESOLVE = Statement(update(approvals).where(_BY_ID, _OPEN).values(_WITH_ANSWER))
_RESOLVE_ALL = Statement(update(approvals).where(_BY_RUN, _OPEN).values(_WITH_ANSWER))
_ANSWER = Statement(
    select(approvals.c.choice, approvals.c.outcome, approvals.c.answered_by, approvals.c.reason).where(
        _BY_ID, approvals.c.resolved_at.is_not(None)
    )
)
_parents = runs.alias("parents")
_IN_SESSION = union_all(  # by the indexes of runs
    select(runs.c.id).where(runs.c.session_id == bindparam("session")),
    select(runs.c.id)
    .join(_parents, _parents.c.id == runs.c.parent_run_id)
    .where(_parents.c.session_id == bindparam("session")),
)
_ALLOWED = Statement(
    select(approvals.c.pattern)
    .where(approvals.c.run_id.in_(_IN_SESSION), approvals.c.choice == literal("session"))
    .distinct()
)
_WITH_CHILDREN = union_all(
    select(cast(bindparam("run"), String)), select(runs.c.id).where(runs.c.parent_run_id == bindparam("run"))
)
_PENDING = Statement(
    select(*(approvals.c[name] for name in _PLAIN), approvals.c.expires_at)
    .where(approvals.c.run_id.in_(_WITH_CHILDREN), _OPEN, approvals.c.tool != literal(CLARIFY))
    .order_by(approvals.c.created_at, approvals.c.id)
)
