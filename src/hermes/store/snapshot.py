"""A database as a file to take along, and one that came from elsewhere."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import StoreCorrupt, StoreUnavailable
from hermes.core.job import JobState
from hermes.home.disk import is_full, is_read_only, no_room

from .connecting import BUSY_SECONDS, open_file
from .database import Database
from .problems import translated
from .schema import callbacks, idempotency, job_runs, jobs, keys
from .statement import Statement


def snapshot(source: Path, target: Path, *, with_keys: bool) -> None:
    """A copy as of now, also while a gateway has the database open. Without `with_keys` no named key is in it.

    Raises what opening a database raises.
    """
    try:
        # not read-only elsewhere: a log without its index could not be read
        conn = open_file(source) if is_read_only(source) else _open(source)
        try:
            conn.execute("VACUUM INTO ?", (str(target),))
        finally:
            conn.close()
    except sqlite3.Error as error:
        raise copy_problem(error, source, target) from error
    if not with_keys:
        database = Database.open_now(f"sqlite:///{target}")
        try:
            database.write_now(_forget_keys)
        finally:
            database.close_now()


def _open(source: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)


def copy_problem(error: sqlite3.Error, source: Path, target: Path) -> BaseException:
    """What is written is what finds no room."""
    is_out_of_room = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    if is_out_of_room or (is_full(target) and not is_full(source)):
        return StoreUnavailable(no_room(target.parent, f"the copy in {target.parent}"))
    return translated(error, str(source))


def adopt(path: Path, *, with_keys: bool) -> int:
    """Makes a database from elsewhere fit to be opened here: checked, at the newest schema, with its jobs paused and
    nothing waiting to be sent. How many jobs were paused.

    Raises StoreCorrupt or StoreUnavailable.
    """
    check_foreign(path, path.name)
    database = Database.open_now(f"sqlite:///{path}")
    try:
        if not with_keys:
            database.write_now(_forget_keys)
        return database.write_now(_quiet, time.time())
    finally:
        database.close_now()


def check_foreign(path: Path, name: str) -> None:
    """Before the first statement of ours: a trigger or view in it would run with that. Raises StoreCorrupt."""
    try:
        conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            conn.execute("PRAGMA trusted_schema=OFF")
            if conn.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise StoreCorrupt(f"the database {name} is damaged")
            found = conn.execute("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchone()
        finally:
            conn.close()
    except sqlite3.Error as error:
        raise translated(error, name) from error
    if found is not None:
        raise StoreCorrupt(f"the database {name} has a {found[0]} {found[1]!r}, which none of ours has")


def stop_sending(conn: Connection) -> int:
    """No webhook and no output of a job that waits is sent any more. How many there were."""
    return _STOP_CALLBACKS.run(conn, {}) + _STOP_DELIVERIES.run(conn, {})


def jobs_due(conn: Connection, now: float) -> int:
    row = _DUE.first(conn, {"now": now})
    return 0 if row is None else int(row[0])


def _forget_keys(conn: Connection) -> None:
    _DELETE_KEYS.run(conn, {})


def _quiet(conn: Connection, now: float) -> int:
    stop_sending(conn)
    _FORGET_CLAIMS.run(conn, {})
    return _PAUSE.run(conn, {"now": now})


_DELETE_KEYS = Statement(sa.delete(keys))
_STOP_CALLBACKS = Statement(
    sa.update(callbacks).where(callbacks.c.next_attempt_at.is_not(None)).values(next_attempt_at=sa.null())
)
_STOP_DELIVERIES = Statement(
    sa.update(job_runs).where(job_runs.c.delivery_due.is_not(None)).values(delivery_due=sa.null())
)
_DUE = Statement(sa.select(sa.func.count()).select_from(jobs).where(jobs.c.next_due <= bindparam("now")))
_FORGET_CLAIMS = Statement(sa.delete(idempotency))
_PAUSE = Statement(
    sa.update(jobs)
    .where(jobs.c.next_due.is_not(None))
    .values(
        state=sa.literal(JobState.PAUSED.value),
        next_due=sa.null(),
        paused_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
