"""Devices. A row stays when its device is revoked, so that what it did keeps a name."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Row, insert, or_, select, update

from hermeslink.core.device import Device, DeviceStatus, Platform, Scope

from .schema import devices, tokens


def add(
    conn: Connection,
    device_id: str,
    *,
    label: str,
    platform: Platform,
    model: str | None,
    scope: Scope,
    app_instance: str | None,
    now: float,
) -> None:
    """`app_instance`: the SHA-256 of what the app calls itself; another device's raises."""
    conn.execute(
        insert(devices).values(
            id=device_id,
            label=label,
            platform=platform.value,
            model=model,
            scope=scope.value,
            status=DeviceStatus.ACTIVE.value,
            app_instance=app_instance,
            paired_at=now,
            created_at=now,
            updated_at=now,
        )
    )


def pair_again(
    conn: Connection, device_id: str, *, label: str, platform: Platform, model: str | None, scope: Scope, now: float
) -> None:
    """The row is as new, under its old id and since when it was known."""
    _update(
        conn,
        device_id,
        label=label,
        platform=platform.value,
        model=model,
        scope=scope.value,
        status=DeviceStatus.ACTIVE.value,
        paired_at=now,
        updated_at=now,
        revoked_at=None,
        app_hidden_at=None,
    )


def get(conn: Connection, device_id: str) -> Device | None:
    row = conn.execute(select(devices).where(devices.c.id == device_id)).first()
    return None if row is None else _device(row)


def of_app_instance(conn: Connection, app_instance: str) -> Device | None:
    """By the SHA-256 of what the app calls itself."""
    row = conn.execute(select(devices).where(devices.c.app_instance == app_instance)).first()
    return None if row is None else _device(row)


def app_instance(conn: Connection, device_id: str) -> str | None:
    found: str | None = conn.execute(select(devices.c.app_instance).where(devices.c.id == device_id)).scalar()
    return found


def all_of(conn: Connection, *, hidden: bool = False) -> list[Device]:
    """Who paired last comes first. `hidden`: also those that were taken from the list."""
    query = select(devices).order_by(devices.c.paired_at.desc(), devices.c.id)
    if not hidden:
        query = query.where(devices.c.app_hidden_at.is_(None))
    return [_device(row) for row in conn.execute(query)]


def is_any_active(conn: Connection) -> bool:
    active = select(devices.c.id).where(devices.c.status == DeviceStatus.ACTIVE.value).limit(1)
    return conn.execute(active).first() is not None


def rename(conn: Connection, device_id: str, label: str, now: float) -> None:
    _update(conn, device_id, label=label, updated_at=now)


def revoke(conn: Connection, device_id: str, now: float) -> None:
    """Only the row; its tokens are `tokens.forget`'s."""
    _update(conn, device_id, status=DeviceStatus.REVOKED.value, revoked_at=now, updated_at=now)


def hide(conn: Connection, device_id: str, now: float) -> None:
    _update(conn, device_id, app_hidden_at=now, updated_at=now)


def set_expiries(conn: Connection, device_id: str, access: float | None, refresh: float | None, now: float) -> None:
    _update(conn, device_id, access_expires_at=access, refresh_expires_at=refresh, updated_at=now)


def seen(conn: Connection, device_id: str, now: float, at_most_every_seconds: float) -> None:
    was_before = devices.c.last_seen_at <= now - at_most_every_seconds
    conn.execute(
        update(devices)
        .where(devices.c.id == device_id, or_(devices.c.last_seen_at.is_(None), was_before))
        .values(last_seen_at=now)
    )


def without_tokens(conn: Connection, device_ids: Iterable[str]) -> set[str]:
    """Those of them that nobody can come in with: revoked, logged out, or unknown."""
    asked = set(device_ids)
    query = (
        select(tokens.c.device_id)
        .distinct()
        .join(devices, devices.c.id == tokens.c.device_id)
        .where(tokens.c.device_id.in_(asked), devices.c.status == DeviceStatus.ACTIVE.value)
    )
    return asked - set(conn.execute(query).scalars())


def _update(conn: Connection, device_id: str, **values: object) -> None:
    conn.execute(update(devices).where(devices.c.id == device_id).values(**values))


def _device(row: Row[tuple[object, ...]]) -> Device:
    values = dict(row._mapping)
    return Device(
        is_bound=values.pop("app_instance") is not None,
        scope=Scope(values.pop("scope")),
        status=DeviceStatus(values.pop("status")),
        platform=Platform(values.pop("platform")),
        **values,
    )
