"""Runs of conversations, and those that are still to be stopped at their API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from hermeslink.core.run import Progress, Run, RunStatus

from .encoding import from_json, to_json
from .schema import messages, owed_stops, runs

OPEN = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)


def add(
    conn: Connection,
    *,
    run_id: str,
    conversation_id: str,
    user_message_id: str,
    assistant_message_id: str,
    status: RunStatus,
    profile: str,
    model: str | None,
    now: float,
) -> None:
    conn.execute(
        insert(runs).values(
            id=run_id,
            conversation_id=conversation_id,
            user_message_id=user_message_id,
            assistant_message_id=assistant_message_id,
            status=status.value,
            profile=profile,
            model=model,
            remote_seq=0,
            is_cancelled=False,
            created_at=now,
            started_at=now if status is RunStatus.RUNNING else None,
            sends_history=False,
            progress="{}",
        )
    )


def get(conn: Connection, run_id: str) -> Run | None:
    row = conn.execute(_GET, {"run": run_id}).one_or_none()
    return None if row is None else _run(row)


def current(conn: Connection, conversation_id: str) -> Run | None:
    """The oldest that has not ended."""
    row = conn.execute(_CURRENT, {"of": conversation_id}).first()
    return None if row is None else _run(row)


def open_runs(conn: Connection, conversation_id: str) -> list[Run]:
    """Those that have not ended, oldest first."""
    return [_run(row) for row in conn.execute(_CURRENT, {"of": conversation_id})]


def count_open(conn: Connection, conversation_id: str) -> int:
    return int(conn.execute(_COUNT_OPEN, {"of": conversation_id}).scalar_one())


def busy_conversations(conn: Connection) -> list[str]:
    """In which a run has not ended, the longest waiting first."""
    return list(
        conn.scalars(
            select(runs.c.conversation_id)
            .where(runs.c.status.in_(OPEN))
            .group_by(runs.c.conversation_id)
            .order_by(func.min(runs.c.number))
        )
    )


def begin(conn: Connection, run_id: str, now: float) -> None:
    """From the queue."""
    _change(conn, run_id, status=RunStatus.RUNNING.value, started_at=now)


def prepare(conn: Connection, run_id: str, session_id: str | None, sends_history: bool, now: float) -> None:
    _change(conn, run_id, session_id=session_id, sends_history=sends_history, prepared_at=now)


def unprepare(conn: Connection, run_id: str) -> None:
    """It is sure that the API server heard nothing of it."""
    _change(conn, run_id, prepared_at=None)


def accept(conn: Connection, run_id: str, remote_id: str) -> Run | None:
    """None: it went with its conversation meanwhile."""
    _change(conn, run_id, remote_id=remote_id)
    return get(conn, run_id)


def want_cancelled(conn: Connection, run_id: str) -> None:
    _change(conn, run_id, is_cancelled=True)


def advance(conn: Connection, run_id: str, remote_seq: int, progress: Progress) -> None:
    told = to_json({name: getattr(progress, name) for name in _PROGRESS})
    conn.execute(_ADVANCE, {"run": run_id, "seq": remote_seq, "told": told})


def end(conn: Connection, run_id: str, status: RunStatus, error: Mapping[str, Any] | None, now: float) -> None:
    _change(conn, run_id, status=status.value, finished_at=now, error=None if error is None else to_json(error))


def last_said_position(conn: Connection, conversation_id: str, before: int) -> int:
    """Of the messages before that position, the last that an API server took up; 0: there is none."""
    found = conn.execute(
        select(messages.c.position)
        .join(runs, runs.c.id == messages.c.run_id)
        .where(messages.c.conversation_id == conversation_id, messages.c.position < before, _IS_SAID)
        .order_by(messages.c.position.desc())
        .limit(1)
    ).scalar()
    return int(found or 0)


def said_runs(conn: Connection, conversation_id: str) -> set[str]:
    """Ids of those that an API server took up."""
    return set(conn.scalars(select(runs.c.id).where(runs.c.conversation_id == conversation_id, _IS_SAID)))


def owe_stop(conn: Connection, profile: str, remote_id: str, now: float) -> None:
    row = upsert(owed_stops).values(profile=profile, remote_id=remote_id, created_at=now)
    conn.execute(row.on_conflict_do_nothing())


def owe_stops(conn: Connection, conversation_id: str, now: float) -> None:
    """Of every run of a conversation that goes: nobody will follow them any more."""
    for run in open_runs(conn, conversation_id):
        if run.remote_id is not None:
            owe_stop(conn, run.profile, run.remote_id, now)


def owed(conn: Connection) -> list[tuple[str, str, float]]:
    """(profile, remote id, since when) of the runs that are to be stopped."""
    query = select(owed_stops.c.profile, owed_stops.c.remote_id, owed_stops.c.created_at)
    return [
        (row.profile, row.remote_id, row.created_at) for row in conn.execute(query.order_by(owed_stops.c.created_at))
    ]


def settle_stop(conn: Connection, profile: str, remote_id: str) -> None:
    conn.execute(delete(owed_stops).where(owed_stops.c.profile == profile, owed_stops.c.remote_id == remote_id))


def _change(conn: Connection, run_id: str, **values: Any) -> None:
    conn.execute(update(runs).where(runs.c.id == run_id).values(values))


def _run(row: Row[Any]) -> Run:
    values = dict(row._mapping)
    values["status"] = RunStatus(values["status"])
    values["error"] = None if values["error"] is None else from_json(values["error"])
    kept = from_json(values["progress"])
    values["progress"] = Progress(**{name: kept[name] for name in _PROGRESS if name in kept})
    return Run(**values)


_PROGRESS = tuple(one.name for one in fields(Progress))
_COLUMNS = tuple(runs.c[one.name] for one in fields(Run))
_GET = select(*_COLUMNS).where(runs.c.id == bindparam("run"))
_IS_SAID = func.json_extract(runs.c.progress, "$.is_said") == 1
_IS_OPEN = and_(runs.c.conversation_id == bindparam("of"), runs.c.status.in_(OPEN))
_CURRENT = (
    select(*_COLUMNS)
    .where(_IS_OPEN)
    .order_by(case((runs.c.status == RunStatus.RUNNING.value, 0), else_=1), runs.c.number)
)
_COUNT_OPEN = select(func.count()).select_from(runs).where(_IS_OPEN)
_ADVANCE = (
    update(runs).where(runs.c.id == bindparam("run")).values(remote_seq=bindparam("seq"), progress=bindparam("told"))
)
