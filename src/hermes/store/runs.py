"""Runs. A status changes only along `core.run.TRANSITIONS`, which the same UPDATE checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.ports import ApprovalAnswer
from hermes.core.run import TRANSITIONS, Run, RunStatus, Usage

from . import approvals, started_calls
from .encoding import clean, from_json, to_json
from .schema import BROKEN, events, runs
from .statement import Row, Statement

SETTABLE = frozenset({"model", "started_at", "resumed", "lease", "last_event", "last_seq", "request"})


@dataclass(frozen=True, slots=True)
class Ended:
    """`was_steered`: something was said to it, and may not have been heard."""

    was_steered: bool = False


def insert(conn: Connection, run: Run) -> None:
    """Its session must exist. Raises Conflict for an id that is taken."""
    values = {name: getattr(run, name) for name in _PLAIN}
    usage = run.usage
    for name in _USAGE:
        values[name] = getattr(usage, name)
    values["status"] = run.status.value
    values["error"] = None if run.error is None else to_json(run.error)
    values["request"] = to_json(run.request)
    _INSERT.run(conn, values)


def get(conn: Connection, run_id: str) -> Run | None:
    row = _GET.first(conn, {"run": run_id})
    return None if row is None else _run(row)


def set_status(conn: Connection, run_id: str, status: RunStatus, now: float, **fields: Any) -> bool:
    """`fields` are of SETTABLE. False, and nothing written, where its status does not lead to this one."""
    if "request" in fields:
        fields["request"] = to_json(fields["request"])
    values = {"run": run_id, "new_status": status.value, "now": now, **fields}
    return _set_status(status, frozenset(fields)).run(conn, values) == 1


def add_usage(conn: Connection, run_id: str, usage: Usage) -> None:
    """Of a step that is done, while the run goes on; `finish` writes the whole."""
    values: dict[str, Any] = {f"add_{name}": getattr(usage, name) for name in _USAGE}
    _ADD_USAGE.run(conn, values | {"run": run_id})


def set_resumed(conn: Connection, run_id: str, count: int, now: float) -> None:
    """It runs again, for the `count`th time; a question that it waited for is asked again. If it is being stopped by
    now, that stays so."""
    _SET_RESUMED.run(conn, {"run": run_id, "count": count, "now": now})


def finish(
    conn: Connection,
    run_id: str,
    status: RunStatus,
    now: float,
    output: str | None,
    finish_reason: str | None,
    usage: Usage,
    error: Mapping[str, Any] | None,
    last_event: str,
    last_seq: int,
    *,
    request: Mapping[str, Any] | None = None,
) -> Ended | None:
    """Ends it, and what still waited for an answer or a result in it. None, and nothing written, where it has ended
    already. Whoever steers it meanwhile was first, or is refused (`steers.add`). `request` is what is left of what was
    asked: nobody goes on with it.
    """
    if not status.is_final:
        raise ValueError(f"a run does not end as {status}")
    values = {name: getattr(usage, name) for name in _USAGE}
    values |= {
        "run": run_id,
        "new_status": status.value,
        "now": now,
        "output": None if output is None else clean(output),
        "finish_reason": finish_reason,
        "error": None if error is None else to_json(error),
        "last_event": last_event,
        "last_seq": last_seq,
        "request": to_json(request or {}),
    }
    rows = _finish(status).all(conn, values)
    if rows and status is not RunStatus.COMPLETED:
        approvals.resolve_all(conn, run_id, _NOBODY_ASKS, now)
        started_calls.forget_all(conn, run_id)
    return Ended(rows[0][0] is not None) if rows else None


def children(conn: Connection, run_id: str) -> list[Run]:
    """The runs that it delegated, oldest first."""
    return [_run(row) for row in _CHILDREN.all(conn, {"parent": run_id})]


def open_runs(conn: Connection) -> list[Run]:
    """Those that have not ended, oldest first."""
    return [_run(row) for row in _OPEN.all(conn, {})]


def list_runs(
    conn: Connection,
    owner: str,
    *,
    session_id: str | None = None,
    statuses: Collection[RunStatus] = (),
    limit: int = 50,
    before: tuple[float, str] | None = None,
) -> list[Run]:
    """The newest first. `before`: the (created_at, id) of the last one seen."""
    values: dict[str, Any] = {"owner": owner, "limit": limit}
    if session_id is not None:
        values["session"] = session_id
    if before is not None:
        values["before_time"], values["before_id"] = before
    statement = _list(session_id is not None, tuple(sorted(set(statuses))), before is not None)
    return [_run(row) for row in statement.all(conn, values)]


_NOBODY_ASKS = ApprovalAnswer("deny", "policy", None, "the run ended before somebody answered")
_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "api_calls",
    "cost_usd",
)
_PLAIN = (
    "id",
    "session_id",
    "owner",
    "source",
    "status",
    "created_at",
    "updated_at",
    "model",
    "started_at",
    "finished_at",
    "last_event",
    "last_seq",
    "output",
    "finish_reason",
    "error",
    "is_durable",
    "resumed",
    "request",
    "node",
    "parent_run_id",
)


def _run(row: Row) -> Run:
    values: dict[str, Any] = dict(zip(_PLAIN, row, strict=False))
    values["status"] = RunStatus(values["status"])
    values["error"] = None if values["error"] is None else from_json(values["error"])
    values["is_durable"] = bool(values["is_durable"])
    values["request"] = from_json(values["request"])
    used, delegated = row[len(_PLAIN) : len(_PLAIN) + len(_USAGE)], row[len(_PLAIN) + len(_USAGE) :]
    return Run(**values, usage=Usage(*used), delegated=None if delegated[0] is None else Usage(*delegated))


# While a run goes on, its events say what came last; the columns are written once, at its end.
_newest = sa.select(sa.func.max(events.c.seq)).where(events.c.run_id == runs.c.id).scalar_subquery()
_newest_name = (
    sa.select(events.c.name)
    .where(events.c.run_id == runs.c.id)
    .order_by(events.c.seq.desc())
    .limit(1)
    .scalar_subquery()
)
_COMPUTED = {
    "last_seq": sa.case((runs.c.finished_at.is_(None), sa.func.coalesce(_newest, 0)), else_=runs.c.last_seq),
    "last_event": sa.case((runs.c.finished_at.is_(None), _newest_name), else_=runs.c.last_event),
}
_children = runs.alias("children")
_delegated = [
    sa.select(sa.func.sum(_children.c[name])).where(_children.c.parent_run_id == runs.c.id).scalar_subquery()
    for name in _USAGE
]
_COLUMNS = [*(_COMPUTED.get(name, runs.c[name]) for name in (*_PLAIN, *_USAGE)), *_delegated]

_INSERT = Statement(
    sa.insert(runs).values({name: bindparam(name) for name in (*_PLAIN, *_USAGE)} | {"lease": sa.literal(0)})
)
_GET = Statement(sa.select(*_COLUMNS).where(runs.c.id == bindparam("run")))
_OPEN = Statement(sa.select(*_COLUMNS).where(runs.c.finished_at.is_(None)).order_by(runs.c.created_at, runs.c.id))
_CHILDREN = Statement(
    sa.select(*_COLUMNS).where(runs.c.parent_run_id == bindparam("parent")).order_by(runs.c.created_at, runs.c.id)
)
_SET_RESUMED = Statement(
    sa.update(runs)
    .where(runs.c.id == bindparam("run"), runs.c.finished_at.is_(None))
    .values(
        status=sa.case(
            (runs.c.status == sa.literal(RunStatus.STOPPING.value), runs.c.status),
            else_=sa.literal(RunStatus.RUNNING.value),
        ),
        resumed=bindparam("count"),
        updated_at=bindparam("now"),
    )
)
_ADD_USAGE = Statement(
    sa.update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(
        {name: runs.c[name] + bindparam(f"add_{name}") for name in _USAGE[:-1]}
        | {
            "cost_usd": sa.case(
                (sa.cast(bindparam("add_cost_usd"), sa.Float).is_(None), runs.c.cost_usd),
                else_=sa.func.coalesce(runs.c.cost_usd, 0.0) + bindparam("add_cost_usd"),
            )
        }
    )
)


def _may_become(status: RunStatus) -> Any:
    before = [sa.literal(one.value) for one, ways in TRANSITIONS.items() if status in ways]
    return runs.c.status.in_(before) if before else sa.false()


@cache
def _set_status(status: RunStatus, fields: frozenset[str]) -> Statement:
    if unknown := fields - SETTABLE:
        raise TypeError(f"set_status does not set {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {"status": bindparam("new_status"), "updated_at": bindparam("now")}
    if status.is_final:
        values["finished_at"] = bindparam("now")
    values |= {name: bindparam(name) for name in fields}
    return Statement(sa.update(runs).where(runs.c.id == bindparam("run"), _may_become(status)).values(values))


@cache
def _finish(status: RunStatus) -> Statement:
    values: dict[str, Any] = {
        name: bindparam(name)
        for name in (*_USAGE, "output", "finish_reason", "error", "last_event", "last_seq", "request")
    }
    values |= {
        "status": bindparam("new_status"),
        "updated_at": bindparam("now"),
        "finished_at": bindparam("now"),
    }
    ended = sa.update(runs).where(runs.c.id == bindparam("run"), _may_become(status)).values(values)
    return Statement(ended.returning(runs.c.steered_at))


# The condition of a partial index, word for word, and the statuses it covers: a few of an owner's many runs.
_SPARSE = (
    (sa.text("runs.finished_at IS NULL"), frozenset(status for status in RunStatus if not status.is_final)),
    (sa.text(f"runs.{BROKEN}"), frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED})),
)


@cache
def _list(of_session: bool, statuses: tuple[RunStatus, ...], after_one: bool) -> Statement:
    sparse = [condition for condition, covered in _SPARSE if covered.issuperset(statuses or RunStatus)]
    # a function around the column keeps SQLite from walking all of the owner's runs where a narrower index leads
    owner = sa.func.coalesce(runs.c.owner, "") if of_session or sparse else runs.c.owner
    query = sa.select(*_COLUMNS).where(owner == bindparam("owner"), *sparse)
    if of_session:
        query = query.where(runs.c.session_id == bindparam("session"))
    if statuses:
        query = query.where(runs.c.status.in_([sa.literal(status.value) for status in statuses]))
    if after_one:
        place = sa.tuple_(runs.c.created_at, runs.c.id)
        query = query.where(place < sa.tuple_(bindparam("before_time"), bindparam("before_id")))
    return Statement(query.order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(bindparam("limit")))
