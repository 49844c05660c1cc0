"""Access and refresh tokens, by their SHA-256. The tokens of a device are one family: they go together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from hermeslink.core.device import DeviceStatus, Scope

from .schema import devices, tokens


class TokenKind(StrEnum):
    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who comes with an access token. `last_seen_at`: unix seconds."""

    device_id: str
    scope: Scope
    last_seen_at: float | None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """`rotated_at`: when it was used, None for the one that is to be used next. `salt` makes its successor."""

    hash: str
    device_id: str
    expires_at: float
    rotated_at: float | None
    salt: str | None


def add(conn: Connection, token_hash: str, kind: TokenKind, device_id: str, now: float, expires_at: float) -> None:
    conn.execute(
        insert(tokens).values(
            hash=token_hash, kind=kind.value, device_id=device_id, created_at=now, expires_at=expires_at
        )
    )


def bearer(conn: Connection, access_hash: str, now: float) -> Bearer | None:
    """None for a token that is unknown or expired, and for a device that is revoked."""
    row = conn.execute(_BEARER, {"access_hash": access_hash, "now": now}).first()
    return None if row is None else Bearer(row.id, Scope(row.scope), row.last_seen_at)


# Asked with every request: built once.
_BEARER = (
    select(devices.c.id, devices.c.scope, devices.c.last_seen_at)
    .join(tokens, tokens.c.device_id == devices.c.id)
    .where(
        tokens.c.hash == bindparam("access_hash"),
        tokens.c.kind == TokenKind.ACCESS.value,
        tokens.c.expires_at > bindparam("now"),
        devices.c.status == DeviceStatus.ACTIVE.value,
    )
)


def refresh_token(conn: Connection, refresh_hash: str) -> RefreshToken | None:
    """As it is kept, expired or not."""
    row = conn.execute(
        select(tokens).where(tokens.c.hash == refresh_hash, tokens.c.kind == TokenKind.REFRESH.value)
    ).first()
    return None if row is None else RefreshToken(row.hash, row.device_id, row.expires_at, row.rotated_at, row.salt)


def device_of(conn: Connection, token_hash: str) -> str | None:
    """Whose token it is or was, of either kind."""
    found: str | None = conn.execute(select(tokens.c.device_id).where(tokens.c.hash == token_hash)).scalar()
    return found


def rotate(conn: Connection, refresh_hash: str, salt: str, now: float) -> None:
    """Used: it stays, so that using it again shows."""
    conn.execute(update(tokens).where(tokens.c.hash == refresh_hash).values(rotated_at=now, salt=salt))


def forget_access(conn: Connection, device_id: str) -> None:
    conn.execute(delete(tokens).where(tokens.c.device_id == device_id, tokens.c.kind == TokenKind.ACCESS.value))


def forget_expired(conn: Connection, device_id: str, now: float) -> None:
    conn.execute(delete(tokens).where(tokens.c.device_id == device_id, tokens.c.expires_at <= now))


def forget(conn: Connection, device_id: str) -> None:
    """The whole family."""
    conn.execute(delete(tokens).where(tokens.c.device_id == device_id))
