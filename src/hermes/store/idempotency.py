"""Idempotency keys: the first run that claims one has it for a day; the others are told which run that was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, or_, select, tuple_, update

from . import turns
from .schema import idempotency, runs
from .statement import InsertInto, Statement

TTL_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What the key stands for already. Another `fingerprint` than one's own is a conflict."""

    run_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """`body` as it was sent."""

    status: int
    body: bytes


def claim(
    conn: Connection,
    owner: str,
    key: str,
    fingerprint: str,
    run_id: str,
    now: float,
    ttl_seconds: float = TTL_SECONDS,
) -> Claim | None:
    """None: it is yours now. Call it in the write that inserts the run, so that both are there or neither.

    A key that has expired, or whose run was deleted, is free again.
    """
    values = {
        "owner": owner,
        "key": key,
        "fingerprint": fingerprint,
        "run_id": run_id,
        "created_at": now,
        "expires_at": now + ttl_seconds,
        "now": now,
    }
    turns.wait_for(conn, "idempotency", owner, key)
    if _CLAIM.run(conn, values):
        return None
    row = _CLAIMED.first(conn, {"owner": owner, "key": key})
    assert row is not None
    return Claim(*row)


def keep(conn: Connection, owner: str, key: str, status: int, body: bytes) -> None:
    """The answer that a replay gets."""
    _KEEP.run(conn, {"of_owner": owner, "of_key": key, "status": status, "body": body})


def kept(conn: Connection, owner: str, key: str) -> KeptAnswer | None:
    row = _KEPT.first(conn, {"owner": owner, "key": key})
    return None if row is None else KeptAnswer(row[0], bytes(row[1]))


def purge_expired(conn: Connection, now: float, limit: int = 1000) -> int:
    """How many were deleted; call again until it is 0."""
    return _PURGE.run(conn, {"now": now, "limit": limit})


_ROW = ("owner", "key", "fingerprint", "run_id", "created_at", "expires_at")


def _claim(insert: InsertInto) -> Any:
    row = insert(idempotency).values({name: bindparam(name) for name in _ROW})
    return row.on_conflict_do_update(
        index_elements=["owner", "key"],
        set_={name: row.excluded[name] for name in _ROW[2:]} | {"status": None, "body": None},
        where=or_(
            idempotency.c.expires_at <= bindparam("now"),
            ~exists().where(runs.c.id == idempotency.c.run_id),
        ),
    )


_CLAIM = Statement(_claim)
_KEY = (idempotency.c.owner, idempotency.c.key)
_MINE = (idempotency.c.owner == bindparam("owner"), idempotency.c.key == bindparam("key"))
_CLAIMED = Statement(select(idempotency.c.run_id, idempotency.c.fingerprint).where(*_MINE))
_KEEP = Statement(
    update(idempotency)
    .where(idempotency.c.owner == bindparam("of_owner"), idempotency.c.key == bindparam("of_key"))
    .values(status=bindparam("status"), body=bindparam("body"))
)
_KEPT = Statement(select(idempotency.c.status, idempotency.c.body).where(*_MINE, idempotency.c.status.is_not(None)))
_PURGE = Statement(
    delete(idempotency).where(
        tuple_(*_KEY).in_(select(*_KEY).where(idempotency.c.expires_at <= bindparam("now")).limit(bindparam("limit")))
    )
)
