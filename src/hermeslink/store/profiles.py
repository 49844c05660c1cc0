"""What Link keeps under the name of a profile, and what becomes of it when the profile has another or is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from .runs import OPEN
from .schema import conversations, direct_runs, messages, owed_stops, runs, sessions, usage_conversations, usage_days

NAMED = (conversations, messages, runs, direct_runs)
ALL = (*NAMED, sessions, owed_stops, usage_days, usage_conversations)


def open_runs(conn: Connection, profile: str) -> int:
    """Messages that it is to answer, or answers now."""
    query = select(func.count()).select_from(runs).where(runs.c.profile == profile, runs.c.status.in_(OPEN))
    return int(conn.execute(query).scalar_one())


def conversation_ids(conn: Connection, profile: str) -> list[str]:
    return list(conn.scalars(select(conversations.c.id).where(conversations.c.profile == profile)))


def rename(conn: Connection, moves: Mapping[str, str]) -> None:
    """Old → new, all at once: two may have changed places. What an earlier profile of a new name used is added up."""
    for number, old in enumerate(moves):
        _move(conn, old, _between(number))
    for number, new in enumerate(moves.values()):
        _move(conn, _between(number), new)


def forget(conn: Connection, profile: str) -> None:
    """Of one that is gone: another of its name knows none of its sessions and runs. What was said and used stays."""
    conn.execute(delete(sessions).where(sessions.c.profile == profile))
    conn.execute(delete(owed_stops).where(owed_stops.c.profile == profile))


def _between(number: int) -> str:
    """No profile is called so."""
    return f"\x01{number}"


def _move(conn: Connection, old: str, new: str) -> None:
    """Again, after a kill kept it from being noted, it takes nothing from who has the new name by now."""
    if not any(conn.execute(select(table.c.profile).where(table.c.profile == old).limit(1)).first() for table in ALL):
        return
    forget(conn, new)
    for table in (*NAMED, sessions, owed_stops):
        conn.execute(update(table).where(table.c.profile == old).values(profile=new))
    _move_days(conn, old, new)
    held, named = usage_conversations, usage_conversations.c
    columns = ("day", "profile", "model", "conversation_id")
    those = select(named.day, literal(new), named.model, named.conversation_id).where(named.profile == old)
    conn.execute(insert(held).prefix_with("OR IGNORE").from_select(columns, those))
    conn.execute(delete(held).where(named.profile == old))


def _move_days(conn: Connection, old: str, new: str) -> None:
    days = usage_days.c
    moved = [{**row._mapping, "profile": new} for row in conn.execute(select(usage_days).where(days.profile == old))]
    if not moved:
        return
    row = upsert(usage_days)
    more = row.excluded
    counts = ("input_tokens", "output_tokens", "message_count", "run_count")
    summed: dict[str, Any] = {name: days[name] + more[name] for name in counts}
    summed["cost_usd"] = func.coalesce(days.cost_usd + more.cost_usd, days.cost_usd, more.cost_usd)
    summed["updated_at"] = func.max(days.updated_at, more.updated_at)
    conn.execute(row.on_conflict_do_update(index_elements=["day", "profile", "model"], set_=summed), moved)
    conn.execute(delete(usage_days).where(days.profile == old))
