"""How much there is. What conversations held is added up from the days (`store.usage`), so nothing reads them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, true

from hermes.store.database import Connection
from hermeslink.store.schema import blobs, conversations, devices, usage_days


@dataclass(frozen=True, slots=True)
class Stored:
    """`messages` and `runs` have been, also those of conversations that are deleted and of direct runs; the others are
    there. `blob_bytes` are on the disk: equal contents lie there once."""

    conversations: int
    active_conversations: int
    messages: int
    runs: int
    devices: int
    blobs: int
    blob_bytes: int


def read(conn: Connection, profile: str | None = None) -> Stored:
    """Of one profile, or of all; devices belong to none."""
    by_status: dict[str, int] = {
        row[0]: row[1]
        for row in conn.execute(
            select(conversations.c.status, func.count())
            .where(_of(conversations, profile))
            .group_by(conversations.c.status)
        )
    }
    messages, runs = conn.execute(
        select(
            func.coalesce(func.sum(usage_days.c.message_count), 0),
            func.coalesce(func.sum(usage_days.c.run_count), 0),
        ).where(_of(usage_days, profile))
    ).one()
    blob_count, blob_bytes = _blobs(conn, profile)
    listed = select(func.count()).select_from(devices).where(devices.c.app_hidden_at.is_(None))
    return Stored(
        conversations=sum(by_status.values()),
        active_conversations=by_status.get("active", 0),
        messages=messages,
        runs=runs,
        devices=conn.execute(listed).scalar_one(),
        blobs=blob_count,
        blob_bytes=blob_bytes,
    )


def _blobs(conn: Connection, profile: str | None) -> tuple[int, int]:
    there = select(blobs.c.sha256, func.count().label("count"), func.max(blobs.c.size).label("size"))
    if profile is not None:
        there = there.join(conversations, conversations.c.id == blobs.c.conversation_id)
        there = there.where(conversations.c.profile == profile)
    contents = there.group_by(blobs.c.sha256).subquery()
    count, size = conn.execute(
        select(func.coalesce(func.sum(contents.c.count), 0), func.coalesce(func.sum(contents.c.size), 0))
    ).one()
    return count, size


def _of(table: Any, profile: str | None) -> ColumnElement[bool]:
    return true() if profile is None else table.c.profile == profile
