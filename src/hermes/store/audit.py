"""Who changed what: keys, profiles, approvals that hold for always. Never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from .encoding import clean, from_json, to_json
from .schema import audit
from .statement import Row, Statement


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`at`: unix seconds. `actor`: the name of a key, or `cli`. `action`: `key.revoked`, `profile.renamed`, …"""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


def record(
    conn: Connection, at: float, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Call it in the write that does what it tells of."""
    values = {"at": at, "actor": clean(actor), "action": action, "subject": clean(subject)}
    _INSERT.run(conn, values | {"detail": to_json(dict(detail)) if detail else None})


def newest(conn: Connection, limit: int = 100) -> list[AuditEntry]:
    """The newest last."""
    rows = _NEWEST.all(conn, {"limit": limit})
    return [_entry(row) for row in reversed(rows)]


def _entry(row: Row) -> AuditEntry:
    number, at, actor, action, subject, detail = row
    return AuditEntry(number, at, actor, action, subject, from_json(detail) if detail else {})


_COLUMNS = ("id", "at", "actor", "action", "subject", "detail")
_INSERT = Statement(insert(audit).values({name: bindparam(name) for name in _COLUMNS[1:]}))
_NEWEST = Statement(select(*(audit.c[name] for name in _COLUMNS)).order_by(audit.c.id.desc()).limit(bindparam("limit")))
