"""Plans: which conversations are to be deleted or archived, listed before it is done."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from hermeslink.core.plan import Plan, PlanKind

from .encoding import from_json, to_json
from .schema import plans

KEPT_SECONDS = 7 * 86400.0
"""How long one is kept that can be executed no more."""


def add(conn: Connection, plan: Plan) -> None:
    conn.execute(delete(plans).where(plans.c.expires_at < plan.created_at - KEPT_SECONDS))
    conn.execute(
        insert(plans).values(
            id=plan.id,
            kind=plan.kind.value,
            status="pending",
            conversation_ids=to_json(plan.conversation_ids),
            total_count=plan.total_count,
            created_at=plan.created_at,
            expires_at=plan.expires_at,
            done_count=0,
        )
    )


def get(conn: Connection, kind: PlanKind, plan_id: str) -> Plan | None:
    row = conn.execute(select(plans).where(plans.c.id == plan_id, plans.c.kind == kind.value)).one_or_none()
    if row is None:
        return None
    return Plan(
        id=row.id,
        kind=PlanKind(row.kind),
        conversation_ids=tuple(from_json(row.conversation_ids)),
        total_count=row.total_count,
        created_at=row.created_at,
        expires_at=row.expires_at,
        completed_at=row.completed_at,
        done_count=row.done_count,
    )


def count_done(conn: Connection, plan_id: str) -> None:
    conn.execute(update(plans).where(plans.c.id == plan_id).values(done_count=plans.c.done_count + 1))


def complete(conn: Connection, plan_id: str, now: float) -> None:
    conn.execute(update(plans).where(plans.c.id == plan_id).values(status="completed", completed_at=now))
