"""Runs that clients started by themselves, outside of conversations: which profile has them, and whether they count."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from hermes.store.database import Connection
from hermeslink.core.usage import Used
from hermeslink.store import usage
from hermeslink.store.schema import direct_runs


@dataclass(frozen=True, slots=True)
class DirectRun:
    id: str
    profile: str


def insert_new(conn: Connection, run: DirectRun, device_id: str, now: float) -> bool:
    """Whether it is new; a request that was sent again has the run that it had."""
    row = insert(direct_runs).values(
        run_id=run.id, profile=run.profile, device_id=device_id, created_at=now, is_counted=False
    )
    return conn.execute(row.on_conflict_do_nothing()).rowcount > 0


def get(conn: Connection, run_id: str) -> DirectRun | None:
    row = conn.execute(
        select(direct_runs.c.run_id, direct_runs.c.profile).where(direct_runs.c.run_id == run_id)
    ).one_or_none()
    return None if row is None else DirectRun(*row)


def uncounted(conn: Connection) -> list[DirectRun]:
    """Those whose end was not seen yet."""
    rows = conn.execute(
        select(direct_runs.c.run_id, direct_runs.c.profile)
        .where(direct_runs.c.is_counted.is_(False))
        .order_by(direct_runs.c.created_at)
    )
    return [DirectRun(*row) for row in rows]


def count(conn: Connection, run_id: str, used: Used | None) -> None:
    """Its end: what it used is added up, once. None: nobody can tell any more."""
    if used is not None:
        usage.record(conn, used)
    conn.execute(update(direct_runs).where(direct_runs.c.run_id == run_id).values(is_counted=True))
