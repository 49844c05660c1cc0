"""A run's events: the list that every protocol projects from. Kept before sent."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select

from hermes.core.errors import NotFound
from hermes.core.event import KeptEvent, event_data, event_from_data

from .encoding import from_json, to_json
from .problems import is_orphan
from .schema import events
from .statement import Statement


def append(conn: Connection, run_id: str, kept: Sequence[KeptEvent]) -> None:
    """The caller numbers them. A number that is there already makes the whole write fail (Conflict), and so does a run
    that is not there, or was deleted while it ran (NotFound `run_not_found`).
    """
    rows = [
        {
            "run_id": run_id,
            "seq": one.seq,
            "timestamp": one.timestamp,
            "name": one.event.name,
            "data": to_json(event_data(one.event)),
        }
        for one in kept
    ]
    try:
        if len(rows) == 1:
            _APPEND.run(conn, rows[0])
        elif rows:
            _APPEND.run_many(conn, rows)
    except Exception as error:
        if is_orphan(error):
            raise NotFound(f"no run {run_id!r}: it was deleted", code="run_not_found") from error
        raise


def after(conn: Connection, run_id: str, after_seq: int = 0, limit: int = 1000) -> list[KeptEvent]:
    """In order. Empty for an unknown run as well."""
    rows = _AFTER.all(conn, {"run": run_id, "after": after_seq, "limit": limit})
    return [KeptEvent(seq, at, event_from_data(name, from_json(data))) for seq, at, name, data in rows]


_APPEND = Statement(insert(events).values({column.name: bindparam(column.name) for column in events.columns}))
_AFTER = Statement(
    select(events.c.seq, events.c.timestamp, events.c.name, events.c.data)
    .where(events.c.run_id == bindparam("run"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("limit"))
)
