"""Jobs and their history.

A due time is claimed by changing `next_due` from the value that was read: of any number of processes that saw it, one
succeeds. The entry of the history, the run and the claim are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import NotFound
from hermes.core.job import CatchUp, Job, JobRun, JobState, Reason
from hermes.core.run import RunStatus

from .encoding import clean, from_json, row_number, to_json
from .schema import job_runs, jobs, runs, sessions
from .statement import Row, Statement


def insert(conn: Connection, job: Job) -> None:
    _INSERT.run(conn, _values(job))


def get(conn: Connection, job_id: str) -> Job | None:
    row = _GET.first(conn, {"job": job_id})
    return None if row is None else _job(row)


def owned(conn: Connection, job_id: str, owner: str, *, is_held: bool = False) -> Job:
    """Raises NotFound `job_not_found`; someone else's job is as unknown as none.

    `is_held`: until this write ends, no other changes, claims or deletes it.
    """
    row = (_HOLD if is_held else _GET).first(conn, {"job": job_id})
    job = None if row is None else _job(row)
    if job is None or job.owner != owner:
        raise NotFound(f"no job {job_id[:80]!r}; list them with: hermes cron list", code="job_not_found")
    return job


def list_jobs(conn: Connection, owner: str, *, include_disabled: bool = False) -> list[Job]:
    """The oldest first. Those that do not fire by themselves, any more, are left out unless asked for."""
    return [_job(row) for row in _list(include_disabled).all(conn, {"owner": owner})]


def change(conn: Connection, job_id: str, owner: str, function: Callable[[Job], Job]) -> Job:
    """What `function` makes of the job is kept. Raises NotFound, and what it raises; then nothing has changed."""
    changed = function(owned(conn, job_id, owner, is_held=True))
    _UPDATE.run(conn, {"of_job": job_id, **_values(changed)})
    return changed


def delete(conn: Connection, job_id: str, owner: str) -> None:
    """With its history; its runs and their sessions stay. Raises NotFound."""
    owned(conn, job_id, owner, is_held=True)
    _DELETE.run(conn, {"job": job_id})


def due(conn: Connection, now: float, limit: int = 100) -> list[Job]:
    """The longest due first."""
    return [_job(row) for row in _DUE.all(conn, {"now": now, "limit": limit})]


def next_due_at(conn: Connection) -> float | None:
    row = _NEXT_DUE.first(conn, {})
    return row[0] if row else None


def claim(conn: Connection, seen: Job, then: Job) -> bool:
    """Of the job as it was read, the due time; `then` says what is due next. False: it was claimed or changed since."""
    values = {
        "of_job": seen.id,
        "seen_due": seen.next_due,
        "seen_at": seen.updated_at,
        **{name: getattr(then, name) for name in ("fired", "last_due", "next_due")},
        "state": then.state.value,
    }
    return _CLAIM.run(conn, values) == 1


def add_run(conn: Connection, entry: JobRun, keep: int) -> None:
    """Puts it into the history, whatever its `id` says, and drops what is older than the newest `keep` of the job.

    What is still to be delivered is never dropped.
    """
    values = {name: getattr(entry, name) for name in _RUN_COLUMNS[1:]} | {"reason": entry.reason.value}
    values["detail"] = None if entry.detail is None else clean(entry.detail)
    _ADD_RUN.run(conn, values)
    _PRUNE.run(conn, {"of_job": entry.job_id, "job": entry.job_id, "keep": keep - 1})


def runs_of(conn: Connection, job_id: str, limit: int = 50, before_id: int | None = None) -> list[JobRun]:
    """The newest first. `before_id`: the last one seen."""
    values: dict[str, Any] = {"job": job_id, "limit": limit}
    if before_id is not None:
        values["before"] = row_number(before_id)
    return [_run(row) for row in _runs_of(before_id is not None).all(conn, values)]


def last_runs(conn: Connection, owner: str) -> dict[str, JobRun]:
    """Of each job the newest entry that was not skipped."""
    return {row[1]: _run(row) for row in _LAST_RUNS.all(conn, {"owner": owner})}


def last_run(conn: Connection, job_id: str) -> JobRun | None:
    row = _LAST_RUN.first(conn, {"job": job_id})
    return None if row is None else _run(row)


def to_deliver(conn: Connection, now: float, limit: int = 16) -> list[tuple[Job, JobRun]]:
    """What is due and has ended, or never began."""
    rows = _TO_DELIVER.all(conn, {"now": now, "limit": limit})
    return [(_job(row[: len(_COLUMNS)]), _run(row[len(_COLUMNS) :])) for row in rows]


def next_delivery_at(conn: Connection, now: float) -> float | None:
    """When something that has ended is due that is not yet."""
    row = _NEXT_DELIVERY.first(conn, {"now": now})
    return row[0] if row else None


def claim_delivery(conn: Connection, entry: JobRun, until: float) -> bool:
    """Another process leaves it alone until then. False: one of them has it."""
    values = {"entry": entry.id, "seen_due": entry.delivery_due, "until": until}
    return _CLAIM_DELIVERY.run(conn, values) == 1


def note_delivery(
    conn: Connection,
    entry_id: int,
    attempts: int,
    *,
    delivered_at: float | None = None,
    error: str | None = None,
    next_at: float | None = None,
    lease: float | None = None,
) -> bool:
    """What became of a try. Without a `next_at` nothing more is tried.

    `lease`: until when it was claimed. False, and nothing noted, where another has claimed it since, or told it.
    """
    values: dict[str, Any] = {
        "entry": entry_id,
        "attempts": attempts,
        "at": delivered_at,
        "error": None if error is None else clean(error),
        "next_at": next_at,
    }
    if lease is not None:
        values["lease"] = lease
    return _note_delivery(lease is not None).run(conn, values) == 1


def is_session_free(conn: Connection, session_id: str) -> bool:
    """No run is in the middle of a turn there: a message put in between would tear its calls from their results."""
    return _BUSY.first(conn, {"session": session_id}) is None


def name_session(conn: Connection, session_id: str, title: str) -> None:
    _NAME_SESSION.run(conn, {"session": session_id, "new_title": title})


_COLUMNS = (
    "id",
    "owner",
    "name",
    "schedule",
    "timezone",
    "anchor",
    "prompt",
    "deliver",
    "skills",
    "repeat",
    "model",
    "enabled_toolsets",
    "workdir",
    "catch_up",
    "state",
    "created_at",
    "updated_at",
    "paused_at",
    "fired",
    "last_due",
    "next_due",
)
_RUN_COLUMNS = (
    "id",
    "job_id",
    "due_at",
    "fired_at",
    "reason",
    "is_manual",
    "run_id",
    "detail",
    "deliver",
    "delivery_attempts",
    "delivery_due",
    "delivered_at",
    "delivery_error",
)
_OF_RUN = ("status", "session_id", "output", "error", "finished_at")


def _values(job: Job) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in _COLUMNS}
    values["name"], values["prompt"] = clean(job.name), clean(job.prompt)
    values["skills"] = to_json(job.skills)
    values["enabled_toolsets"] = None if job.enabled_toolsets is None else to_json(job.enabled_toolsets)
    values["catch_up"], values["state"] = job.catch_up.value, job.state.value
    return values


def _job(row: Row) -> Job:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    values["skills"] = tuple(from_json(values["skills"]))
    toolsets = values["enabled_toolsets"]
    values["enabled_toolsets"] = None if toolsets is None else tuple(from_json(toolsets))
    values["catch_up"], values["state"] = CatchUp(values["catch_up"]), JobState(values["state"])
    return Job(**values)


def _run(row: Row) -> JobRun:
    values: dict[str, Any] = dict(zip((*_RUN_COLUMNS, *_OF_RUN), row, strict=True))
    values["reason"] = Reason(values["reason"])
    values["is_manual"] = bool(values["is_manual"])
    values["status"] = None if values["status"] is None else RunStatus(values["status"])
    values["error"] = None if values["error"] is None else from_json(values["error"])
    return JobRun(**values)


_JOB = [jobs.c[name] for name in _COLUMNS]
_RUN = [*(job_runs.c[name] for name in _RUN_COLUMNS), *(runs.c[name] for name in _OF_RUN)]
_THIS = jobs.c.id == bindparam("job")

_INSERT = Statement(sa.insert(jobs).values({name: bindparam(name) for name in _COLUMNS}))
_GET = Statement(sa.select(*_JOB).where(_THIS))
_HOLD = Statement(sa.select(*_JOB).where(_THIS).with_for_update())
_UPDATE = Statement(
    sa.update(jobs)
    .where(jobs.c.id == bindparam("of_job"))
    .values({name: bindparam(name) for name in _COLUMNS if name not in ("id", "owner", "created_at")})
)
_DELETE = Statement(sa.delete(jobs).where(_THIS))
_DUE = Statement(
    sa.select(*_JOB).where(jobs.c.next_due <= bindparam("now")).order_by(jobs.c.next_due).limit(bindparam("limit"))
)
_NEXT_DUE = Statement(sa.select(sa.func.min(jobs.c.next_due)))
_CLAIM = Statement(
    sa.update(jobs)
    .where(
        jobs.c.id == bindparam("of_job"),
        jobs.c.next_due == bindparam("seen_due"),
        jobs.c.updated_at == bindparam("seen_at"),
    )
    .values({name: bindparam(name) for name in ("fired", "last_due", "next_due", "state")})
)


@cache
def _list(include_disabled: bool) -> Statement:
    query = sa.select(*_JOB).where(jobs.c.owner == bindparam("owner"))
    if not include_disabled:
        query = query.where(jobs.c.state == sa.literal(JobState.SCHEDULED.value))
    return Statement(query.order_by(jobs.c.created_at, jobs.c.id))


_ADD_RUN = Statement(sa.insert(job_runs).values({name: bindparam(name) for name in _RUN_COLUMNS[1:]}))
_OLDEST_KEPT = (
    sa.select(job_runs.c.id)
    .where(job_runs.c.job_id == bindparam("job"))
    .order_by(job_runs.c.id.desc())
    .limit(1)
    .offset(bindparam("keep"))
    .scalar_subquery()
)
_PRUNE = Statement(
    sa.delete(job_runs).where(
        job_runs.c.job_id == bindparam("of_job"), job_runs.c.id < _OLDEST_KEPT, job_runs.c.delivery_due.is_(None)
    )
)
_WITH_RUN = sa.outerjoin(job_runs, runs, job_runs.c.run_id == runs.c.id)


@cache
def _runs_of(after_one: bool) -> Statement:
    query = sa.select(*_RUN).select_from(_WITH_RUN).where(job_runs.c.job_id == bindparam("job"))
    if after_one:
        query = query.where(job_runs.c.id < bindparam("before"))
    return Statement(query.order_by(job_runs.c.id.desc()).limit(bindparam("limit")))


_SKIPPED = job_runs.c.reason == sa.literal(Reason.SKIPPED.value)
_LAST_RUN = Statement(
    sa.select(*_RUN)
    .select_from(_WITH_RUN)
    .where(job_runs.c.job_id == bindparam("job"), ~_SKIPPED)
    .order_by(job_runs.c.id.desc())
    .limit(1)
)
_newer = job_runs.alias()
_newest_of_job = (
    sa.select(sa.func.max(_newer.c.id))
    .where(_newer.c.job_id == jobs.c.id, _newer.c.reason != sa.literal(Reason.SKIPPED.value))
    .scalar_subquery()
)
_LAST_RUNS = Statement(
    sa.select(*_RUN)
    .select_from(sa.join(_WITH_RUN, jobs, job_runs.c.job_id == jobs.c.id))
    .where(jobs.c.owner == bindparam("owner"), job_runs.c.id == _newest_of_job)
)

_HAS_ENDED = sa.or_(job_runs.c.run_id.is_(None), runs.c.finished_at.is_not(None))
_TO_DELIVER = Statement(
    sa.select(*_JOB, *_RUN)
    .select_from(sa.join(_WITH_RUN, jobs, job_runs.c.job_id == jobs.c.id))
    .where(job_runs.c.delivery_due <= bindparam("now"), _HAS_ENDED)
    .order_by(job_runs.c.delivery_due)
    .limit(bindparam("limit"))
)
_NEXT_DELIVERY = Statement(  # the first one, not the least of all: PostgreSQL would read all runs for that
    sa.select(job_runs.c.delivery_due)
    .select_from(_WITH_RUN)
    .where(job_runs.c.delivery_due > bindparam("now"), _HAS_ENDED)
    .order_by(job_runs.c.delivery_due)
    .limit(1)
)
_CLAIM_DELIVERY = Statement(
    sa.update(job_runs)
    .where(job_runs.c.id == bindparam("entry"), job_runs.c.delivery_due == bindparam("seen_due"))
    .values(delivery_due=bindparam("until"))
)


@cache
def _note_delivery(is_claimed: bool) -> Statement:
    is_ours = [job_runs.c.delivery_due == bindparam("lease")] if is_claimed else []
    return Statement(
        sa.update(job_runs)
        .where(job_runs.c.id == bindparam("entry"), *is_ours)
        .values(
            delivery_attempts=bindparam("attempts"),
            delivery_due=bindparam("next_at"),
            delivered_at=bindparam("at"),
            delivery_error=bindparam("error"),
        )
    )


_BUSY = Statement(
    sa.select(runs.c.id)
    .where(
        runs.c.session_id == bindparam("session"),
        runs.c.finished_at.is_(None),
        runs.c.status != sa.literal(RunStatus.QUEUED.value),
    )
    .limit(1)
)
_NAME_SESSION = Statement(
    sa.update(sessions)
    .where(sessions.c.id == bindparam("session"), sessions.c.title.is_(None))
    .values(title=bindparam("new_title"))
)
