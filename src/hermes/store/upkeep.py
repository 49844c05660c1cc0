"""What is done to a database as a whole: upgraded, and given its space back."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from hermes.core.errors import Conflict

from . import search
from .connecting import BUSY_SECONDS, asking, shown
from .database import Database, parse_url
from .postgres import make_engine
from .problems import translated
from .revisions import has_version, revision
from .schema import HEAD, approvals, metadata, nodes, runs, started_calls

LEAVING_SECONDS = 5.0
"""How long the server may take to notice that a process which just ended has left."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Revisions. `before` None: it was empty."""

    place: str
    before: str | None
    after: str


def schema_of(url: str) -> str | None:
    """Its revision; None where there is nothing of ours. Changes nothing. Raises what opening a database raises."""
    with asking(url) as conn:
        return revision(conn) if has_version(conn) else None


def is_newest(url: str) -> bool:
    return schema_of(url) == HEAD


def upgrade(url: str) -> Upgraded:
    """Raises StoreUnavailable for one that is not ours, or newer than this program."""
    before = schema_of(url)
    Database.open_now(url).close_now()
    return Upgraded(shown(url), before, HEAD)


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """Bytes on the disk. `free`: what a rewrite would give back. `removed`: rows that ended runs left behind."""

    place: str
    before: int
    after: int
    free: int
    removed: int


def vacuum(url: str, *, is_rewriting: bool) -> Vacuumed:
    """Removes what nothing needs, folds the log, gives the free pages of a file back. `is_rewriting`: the file, or each
    table of a PostgreSQL, is written anew, while which nobody else may write; without it others go on undisturbed.

    Raises StoreUnavailable.
    """
    place = shown(url)
    database = Database.open_now(url)
    try:
        removed = database.write_now(_remove_leftovers)
        if database.read_now(search.has_orphans):
            database.write_now(search.drop)
            while database.write_now(search.catch_up):
                pass
    finally:
        database.close_now()
    parsed = parse_url(url)
    try:
        if parsed.get_backend_name() != "sqlite":
            with closing(make_engine(parsed).connect()) as conn:
                return _vacuum_tables(conn, place, is_rewriting, removed)
        return _vacuum_file(Path(parsed.database or ""), is_rewriting, removed)
    except (sqlite3.Error, DBAPIError) as error:
        raise translated(error, place) from error


def _remove_leftovers(conn: Connection) -> int:
    """Of runs that ended; this version's own runs leave none."""
    ended = sa.select(runs.c.id).where(runs.c.finished_at.is_not(None))
    calls = conn.execute(sa.delete(started_calls).where(started_calls.c.run_id.in_(ended))).rowcount
    asked = sa.delete(approvals).where(approvals.c.resolved_at.is_(None), approvals.c.run_id.in_(ended))
    return calls + conn.execute(asked).rowcount


def _vacuum_file(path: Path, is_rewriting: bool, removed: int) -> Vacuumed:
    before = _size(path)
    with closing(_open_there(path, BUSY_SECONDS)) as conn:
        if is_rewriting:
            conn.execute("VACUUM")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        conn.execute("PRAGMA optimize")
        pages, size = (conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return Vacuumed(str(path), before, _size(path), pages * size, removed)


def _size(path: Path) -> int:
    """With its log."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _vacuum_tables(conn: Connection, place: str, is_rewriting: bool, removed: int) -> Vacuumed:
    before = _bytes_of_tables(conn)
    options = "FULL, ANALYZE" if is_rewriting else "ANALYZE"
    for table in metadata.sorted_tables:
        conn.exec_driver_sql(f"VACUUM ({options}) {table.name}")
    return Vacuumed(place, before, _bytes_of_tables(conn), 0, removed)


def _bytes_of_tables(conn: Connection) -> int:
    names = [table.name for table in metadata.sorted_tables]
    row = conn.exec_driver_sql(
        "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(%s::text[]) AS name", (names,)
    )
    return int(row.scalar() or 0)


def check_unused(url: str) -> None:
    """Raises Conflict `database_in_use` while another process has it open. What opens it next is not kept out."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _check_file_unused(Path(parsed.database or ""))
        return
    give_up_at = time.monotonic() + LEAVING_SECONDS
    while users := _users_of(url):
        if time.monotonic() > give_up_at:
            break
        time.sleep(0.1)
    if users:
        raise Conflict(
            f"{shown(url)} is in use by {', '.join(users)}: stop them, and try again", code="database_in_use"
        )


def _check_file_unused(path: Path) -> None:
    """Leaving the log behind needs the file alone; whoever opens it next goes back to the log. The log is part of the
    file then, which is whole without it."""
    if not path.exists():
        return
    try:
        with closing(_open_there(path, 0.2)) as conn:
            (mode,) = conn.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise translated(error, str(path)) from error
        mode = "busy"
    except sqlite3.DatabaseError as error:
        raise translated(error, str(path)) from error
    if mode != "delete":
        raise Conflict(
            f"another process has {path} open: stop it (hermes gateway stop), and try again", code="database_in_use"
        )


def _open_there(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A file that is not there is not made: it would be readable by all."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=busy_seconds, isolation_level=None)


def _users_of(url: str) -> list[str]:
    """In a transaction of its own: within one, the server says the same again."""
    with asking(url) as conn:
        return _connected(conn)


def _connected(conn: Connection) -> list[str]:
    """The nodes of the database; where none is known, the processes that are connected."""
    rows = conn.exec_driver_sql(
        "SELECT pid, coalesce(client_hostname, host(client_addr), 'this machine') FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'hermes%%' AND pid <> pg_backend_pid()"
    ).fetchall()
    if not rows:
        return []
    known: list[str] = []
    if inspect(conn).has_table(nodes.name):
        known = [
            f"{host} (pid {pid})"
            for host, pid in conn.execute(nodes.select().with_only_columns(nodes.c.host, nodes.c.pid))
        ]
    return known or sorted({f"a process on {where}" for _, where in rows})
