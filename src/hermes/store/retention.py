"""What is not kept for ever. The gateway calls `purge` at its start and every hour.

Never removed: a session with an open run, one that a job writes to, what is still to be sent or delivered.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from . import facts, idempotency, responses, sessions, turns
from .database import Database
from .invariants import EVENTS_REMOVED_BEFORE
from .schema import audit, callbacks, events, job_runs, jobs, response_chains, runs
from .schema import responses as response_rows
from .schema import sessions as session_rows
from .statement import Statement

DAY_SECONDS = 86_400.0
FOUND_AT_ONCE = 1000
DELETED_AT_ONCE = 20
"""Sessions, or runs with their events, in one write."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Days that something is kept; None: for ever.

    `sessions_days` since a session was last active. `events_days` since the end of a run: its last event stays, which
    has its output. `audit_days` and `job_runs_days` since the entry was made; the newest of each job stays.
    """

    sessions_days: float | None = None
    events_days: float | None = None
    audit_days: float | None = None
    job_runs_days: float | None = None


FOR_EVER = Rules()


@dataclass(frozen=True, slots=True)
class Purged:
    """`sessions` are stateless ones, `old_sessions` others; `event_lists` the runs that have only their last event."""

    sessions: int
    idempotency_keys: int
    response_chains: int = 0
    old_sessions: int = 0
    event_lists: int = 0
    audit_entries: int = 0
    job_runs: int = 0


async def purge(
    database: Database, now: float, stateless_days: float = 30.0, keep_chains: int = 100, rules: Rules = FOR_EVER
) -> Purged:
    """Deletes stateless sessions that were idle for so long, with all that hangs on them, expired idempotency keys,
    each owner's chains of responses beyond the most recently used ones, and what `rules` say.

    In small writes, so that no turn waits long behind it.
    """
    idle_since = now - stateless_days * DAY_SECONDS
    purged_sessions = purged_keys = purged_chains = 0
    while count := await database.write(sessions.purge_stateless, idle_since):
        purged_sessions += count
    while count := await database.write(idempotency.purge_expired, now):
        purged_keys += count
    while count := await database.write(responses.purge_chains, keep_chains):
        purged_chains += count
    removed = {name: await _remove(database, name, before) for name, before in _cutoffs(rules, now)}
    return Purged(
        purged_sessions,
        purged_keys,
        purged_chains,
        removed.get("sessions_days", 0),
        removed.get("events_days", 0),
        removed.get("audit_days", 0),
        removed.get("job_runs_days", 0),
    )


def due(conn: Connection, rules: Rules, now: float) -> dict[str, int]:
    """By the name of each rule that is set: how many sessions, lists of events or entries it would remove now."""
    counts = {}
    for name, before in _cutoffs(rules, now):
        row = _count(name).first(conn, {"before": before})
        counts[name] = 0 if row is None else int(row[0])
    return counts


def _cutoffs(rules: Rules, now: float) -> list[tuple[str, float]]:
    days = {field.name: getattr(rules, field.name) for field in fields(rules)}
    return [(name, now - kept * DAY_SECONDS) for name, kept in days.items() if kept is not None]


async def _remove(database: Database, name: str, before: float) -> int:
    """Found by reading, which holds up nobody; looked at once more where it is deleted."""
    removed = 0
    while ids := [row[0] for row in await database.read(_find(name).all, {"before": before, "most": FOUND_AT_ONCE})]:
        step = DELETED_AT_ONCE if name in ("sessions_days", "events_days") else FOUND_AT_ONCE
        done = 0
        for start in range(0, len(ids), step):
            done += await database.write(_delete, name, before, ids[start : start + step])
        removed += done
        if not done:  # all of them are in use again
            break
    return removed


def _delete(conn: Connection, name: str, before: float, ids: list[str | int]) -> int:
    condition, table = _CONDITIONS[name], _TABLES[name]
    if name == "sessions_days":  # one in which a run begins just now is not idle
        ids = [one for one in ids if turns.is_free(conn, "session", str(one))]
    still = [
        row[0] for row in conn.execute(sa.select(table.c.id).where(condition, table.c.id.in_(ids)), {"before": before})
    ]
    if name == "sessions_days":
        return sum(sessions.delete(conn, session_id) for session_id in still)
    if name == "events_days":
        _note(conn, before)
        for run_id in still:
            _DELETE_EVENTS.run(conn, {"run": run_id, "of_run": run_id})
        return len(still)
    conn.execute(sa.delete(table).where(table.c.id.in_(still)))
    return len(still)


def _note(conn: Connection, before: float) -> None:
    """So that nobody takes it for a loss (`invariants`)."""
    known = facts.get(conn, EVENTS_REMOVED_BEFORE)
    if known is None or float(known) < before:
        facts.put(conn, EVENTS_REMOVED_BEFORE, repr(before))


_BEFORE: sa.BindParameter[float] = bindparam("before", type_=sa.Float)
_TABLES = {"sessions_days": session_rows, "events_days": runs, "audit_days": audit, "job_runs_days": job_runs}


def _idle_sessions() -> sa.ColumnElement[bool]:
    of_session = runs.c.session_id == session_rows.c.id
    return sa.and_(
        ~session_rows.c.is_stateless,
        session_rows.c.last_active < _BEFORE,
        ~sa.exists().where(of_session, runs.c.finished_at.is_(None)),
        ~sa.exists().where(of_session, runs.c.id == callbacks.c.run_id, callbacks.c.next_attempt_at.is_not(None)),
        ~sa.exists().where(of_session, runs.c.id == job_runs.c.run_id, job_runs.c.delivery_due.is_not(None)),
        ~sa.exists().where(response_chains.c.session_id == session_rows.c.id, response_chains.c.used_at >= _BEFORE),
        ~sa.exists().where(jobs.c.deliver == sa.literal("session:") + session_rows.c.id),
    )


def _ended_runs() -> sa.ColumnElement[bool]:
    """With more than one event. A response is drawn from its run's events for as long as it is kept."""
    return sa.and_(
        runs.c.finished_at < _BEFORE,
        sa.exists().where(events.c.run_id == runs.c.id, events.c.seq < runs.c.last_seq),
        ~sa.exists().where(response_rows.c.run_id == runs.c.id),
        ~sa.exists().where(callbacks.c.run_id == runs.c.id, callbacks.c.next_attempt_at.is_not(None)),
        ~sa.exists().where(job_runs.c.run_id == runs.c.id, job_runs.c.delivery_due.is_not(None)),
    )


def _old_entries() -> sa.ColumnElement[bool]:
    newer = job_runs.alias("newer")
    newest = sa.select(sa.func.max(newer.c.id)).where(newer.c.job_id == job_runs.c.job_id).scalar_subquery()
    return sa.and_(
        job_runs.c.fired_at < _BEFORE,
        job_runs.c.delivery_due.is_(None),
        job_runs.c.id < newest,
        ~sa.exists().where(runs.c.id == job_runs.c.run_id, runs.c.finished_at.is_(None)),
    )


_CONDITIONS = {
    "sessions_days": _idle_sessions(),
    "events_days": _ended_runs(),
    "audit_days": audit.c.at < _BEFORE,
    "job_runs_days": _old_entries(),
}


@cache
def _find(name: str) -> Statement:
    table = _TABLES[name]
    return Statement(sa.select(table.c.id).where(_CONDITIONS[name]).order_by(table.c.id).limit(bindparam("most")))


@cache
def _count(name: str) -> Statement:
    return Statement(sa.select(sa.func.count()).select_from(_TABLES[name]).where(_CONDITIONS[name]))


_LAST = sa.select(sa.func.max(events.c.seq)).where(events.c.run_id == bindparam("of_run")).scalar_subquery()
_DELETE_EVENTS = Statement(sa.delete(events).where(events.c.run_id == bindparam("run"), events.c.seq < _LAST))
