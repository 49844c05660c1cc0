"""Questions of runs that wait for a person, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from .encoding import from_json, to_json
from .schema import approvals


@dataclass(frozen=True, slots=True)
class Approval:
    """`remote_id` is the API server's name of it. `decision`: approve, deny; None: it waits. `scope`: once, session,
    always. `device_id`: who decided, None where it was decided elsewhere."""

    id: str
    conversation_id: str
    run_id: str
    remote_id: str
    payload: Mapping[str, Any]
    expires_at: float | None
    decision: str | None
    scope: str | None
    device_id: str | None
    resolved_at: float | None


def get(conn: Connection, conversation_id: str, approval_id: str) -> Approval | None:
    query = select(approvals).where(approvals.c.id == approval_id, approvals.c.conversation_id == conversation_id)
    return _approval(conn.execute(query).one_or_none())


def of_remote(conn: Connection, run_id: str, remote_id: str) -> Approval | None:
    query = select(approvals).where(approvals.c.run_id == run_id, approvals.c.remote_id == remote_id)
    return _approval(conn.execute(query).one_or_none())


def waiting(conn: Connection, run_id: str) -> list[Approval]:
    query = select(approvals).where(approvals.c.run_id == run_id, approvals.c.decision.is_(None))
    return [Approval(**_values(row)) for row in conn.execute(query.order_by(approvals.c.id))]


def add(
    conn: Connection,
    *,
    approval_id: str,
    conversation_id: str,
    run_id: str,
    remote_id: str,
    payload: Mapping[str, Any],
    expires_at: float | None,
) -> None:
    conn.execute(
        insert(approvals).values(
            id=approval_id,
            conversation_id=conversation_id,
            run_id=run_id,
            remote_id=remote_id,
            payload=to_json(payload),
            expires_at=expires_at,
        )
    )


def ask_again(conn: Connection, approval_id: str, expires_at: float | None) -> None:
    """The API server waits for an answer anew, as after its restart."""
    _change(conn, approval_id, expires_at=expires_at, decision=None, scope=None, device_id=None, resolved_at=None)


def resolve(
    conn: Connection, approval_id: str, decision: str, scope: str | None, device_id: str | None, now: float
) -> None:
    _change(conn, approval_id, decision=decision, scope=scope, device_id=device_id, resolved_at=now)


def _change(conn: Connection, approval_id: str, **values: Any) -> None:
    conn.execute(update(approvals).where(approvals.c.id == approval_id).values(values))


def _approval(row: Row[Any] | None) -> Approval | None:
    return None if row is None else Approval(**_values(row))


def _values(row: Row[Any]) -> dict[str, Any]:
    values = dict(row._mapping)
    values["payload"] = from_json(values["payload"])
    return values
