"""What was done to who may come in, and in whose name: rows are added and never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from .schema import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`device_id`: who did it, None for somebody at the machine or nobody known. `subject`: the id of what it was done
    to. `at`: unix seconds."""

    id: int
    at: float
    action: str
    device_id: str | None
    subject: str | None
    address: str | None
    details: dict[str, object]


def write(
    conn: Connection,
    action: str,
    now: float,
    *,
    device_id: str | None = None,
    subject: str | None = None,
    address: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """`action` is a noun and what was done to it: `device.revoked`. Belongs into the transaction of the act itself.
    No secret may be among the details."""
    conn.execute(
        insert(audit).values(
            at=now,
            action=action,
            device_id=device_id,
            subject=subject,
            address=address,
            details=json.dumps(details) if details else None,
        )
    )


def page(conn: Connection, limit: int, before: int | None) -> list[AuditEntry]:
    """Newest first, those older than the entry `before`."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [
        AuditEntry(
            id=row.id,
            at=row.at,
            action=row.action,
            device_id=row.device_id,
            subject=row.subject,
            address=row.address,
            details=json.loads(row.details) if row.details else {},
        )
        for row in conn.execute(query)
    ]
