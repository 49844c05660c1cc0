"""Pairing sessions: a code that lets one device in, once, by whichever route it comes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, insert, select, update

from hermeslink.core.device import Scope

from .schema import pairing_sessions

KEEP_SECONDS = 86400.0
"""How long a session that is over is known as such."""


@dataclass(frozen=True, slots=True)
class PairingSession:
    """Times are unix seconds. `code_hash`: the SHA-256 of the connect token."""

    id: str
    code_hash: str
    scope: Scope
    created_at: float
    expires_at: float
    claimed_at: float | None
    device_id: str | None


def add(conn: Connection, session_id: str, code_hash: str, scope: Scope, now: float, expires_at: float) -> None:
    """Sessions that are long over go with the next new one."""
    conn.execute(delete(pairing_sessions).where(pairing_sessions.c.expires_at < now - KEEP_SECONDS))
    conn.execute(
        insert(pairing_sessions).values(
            id=session_id, code_hash=code_hash, scope=scope.value, created_at=now, expires_at=expires_at
        )
    )


def get(conn: Connection, session_id: str) -> PairingSession | None:
    return _session(conn.execute(select(pairing_sessions).where(pairing_sessions.c.id == session_id)).first())


def of_code(conn: Connection, code_hash: str) -> PairingSession | None:
    return _session(conn.execute(select(pairing_sessions).where(pairing_sessions.c.code_hash == code_hash)).first())


def consume(conn: Connection, session_id: str, now: float) -> bool:
    """False where somebody was quicker, or the time is over: of all who try, one gets True."""
    done = conn.execute(
        update(pairing_sessions)
        .where(
            pairing_sessions.c.id == session_id,
            pairing_sessions.c.claimed_at.is_(None),
            pairing_sessions.c.expires_at > now,
        )
        .values(claimed_at=now)
    )
    return done.rowcount == 1


def set_device(conn: Connection, session_id: str, device_id: str) -> None:
    conn.execute(update(pairing_sessions).where(pairing_sessions.c.id == session_id).values(device_id=device_id))


def _session(row: Row[tuple[object, ...]] | None) -> PairingSession | None:
    if row is None:
        return None
    values = dict(row._mapping)
    return PairingSession(scope=Scope(values.pop("scope")), **values)
