"""Callbacks: kept with their run, due once it has ended, until they are taken or given up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from .encoding import clean
from .schema import callbacks, runs
from .statement import Row, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """`attempts` were made so far. Neither `next_attempt_at` nor `delivered_at`: given up. Times are unix seconds."""

    id: str
    run_id: str
    url: str
    created_at: float
    attempts: int = 0
    next_attempt_at: float | None = None
    delivered_at: float | None = None
    last_error: str | None = None


def insert(conn: Connection, callback_id: str, run_id: str, url: str, now: float) -> None:
    """Due as soon as its run has ended. Call it in the write that keeps the run."""
    _INSERT.run(conn, {"id": callback_id, "run_id": run_id, "url": clean(url), "created_at": now})


def due(conn: Connection, now: float, limit: int) -> list[Callback]:
    """Those to be sent now, the longest due first."""
    return [_callback(row) for row in _DUE.all(conn, {"now": now, "limit": limit})]


def next_due_at(conn: Connection, now: float) -> float | None:
    """When the next one behind `now` is to be sent; None where none of an ended run waits."""
    row = _NEXT.first(conn, {"now": now})
    at: float | None = None if row is None else row[0]
    return at


def awaited_runs(conn: Connection) -> list[str]:
    """The open runs whose end somebody wants to be told of."""
    return [row[0] for row in _AWAITED.all(conn, {})]


def of_run(conn: Connection, run_id: str) -> list[Callback]:
    return [_callback(row) for row in _OF_RUN.all(conn, {"run": run_id})]


def claim(conn: Connection, callback: Callback, until: float) -> bool:
    """Nobody else tries it until then. False: it is another's, or was told."""
    return _CLAIM.run(conn, {"callback": callback.id, "seen": callback.next_attempt_at, "until": until}) == 1


def delivered(conn: Connection, callback_id: str, now: float) -> bool:
    return _tried(True).run(conn, {"callback": callback_id, "at": now, "error": None}) == 1


def failed(
    conn: Connection, callback_id: str, error: str, next_attempt_at: float | None, lease: float | None = None
) -> bool:
    """`next_attempt_at` None gives it up. `lease`: until when it was claimed; False where another has it since."""
    values = {"callback": callback_id, "at": next_attempt_at, "error": clean(error)}
    if lease is not None:
        values["lease"] = lease
    return _tried(False, lease is not None).run(conn, values) == 1


_COLUMNS = (
    "id",
    "run_id",
    "url",
    "created_at",
    "attempts",
    "next_attempt_at",
    "delivered_at",
    "last_error",
)


def _callback(row: Row) -> Callback:
    return Callback(**dict(zip(_COLUMNS, row, strict=True)))


_C = callbacks.c
_WITH_RUN = callbacks.join(runs, runs.c.id == _C.run_id)
_ALL = sa.select(*(_C[name] for name in _COLUMNS))

_INSERT = Statement(
    sa.insert(callbacks).values(
        {name: bindparam(name) for name in ("id", "run_id", "url", "created_at")}
        | {"attempts": sa.literal(0), "next_attempt_at": bindparam("created_at")}
    )
)
_DUE = Statement(
    _ALL.select_from(_WITH_RUN)
    .where(_C.next_attempt_at <= bindparam("now"), runs.c.finished_at.is_not(None))
    .order_by(_C.next_attempt_at, _C.id)
    .limit(bindparam("limit"))
)
_NEXT = Statement(
    sa.select(_C.next_attempt_at)
    .select_from(_WITH_RUN)
    .where(_C.next_attempt_at > bindparam("now"), runs.c.finished_at.is_not(None))
    .order_by(_C.next_attempt_at)
    .limit(1)
)
_AWAITED = Statement(
    sa.select(_C.run_id).select_from(_WITH_RUN).where(_C.next_attempt_at.is_not(None), runs.c.finished_at.is_(None))
)
_OF_RUN = Statement(_ALL.where(_C.run_id == bindparam("run")).order_by(_C.created_at, _C.id))


_CLAIM = Statement(
    sa.update(callbacks)
    .where(_C.id == bindparam("callback"), _C.next_attempt_at == bindparam("seen"))
    .values(next_attempt_at=bindparam("until"))
)


@cache
def _tried(is_delivered: bool, is_claimed: bool = False) -> Statement:
    at = {"delivered_at": bindparam("at"), "next_attempt_at": sa.null()} if is_delivered else None
    values = {"attempts": _C.attempts + 1, "last_error": bindparam("error")}
    values |= at or {"next_attempt_at": bindparam("at")}
    is_ours = _C.next_attempt_at == bindparam("lease") if is_claimed else _C.next_attempt_at.is_not(None)
    return Statement(sa.update(callbacks).where(_C.id == bindparam("callback"), is_ours).values(values))
