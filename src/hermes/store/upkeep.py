"""What is done to a database as a whole: upgraded, and given its space back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect

from hermes.core.errors import Conflict

from .connecting import reading, shown
from .database import Database, parse_url
from .problems import translated
from .revisions import has_version, revision
from .schema import HEAD, nodes


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Revisions. `before` None: it was empty."""

    place: str
    before: str | None
    after: str


def schema_of(url: str) -> str | None:
    """Its revision; None where there is nothing of ours. Changes nothing. Raises what opening a database raises."""
    place = shown(url)
    try:
        with reading(url) as conn:
            return revision(conn) if has_version(conn) else None
    except Exception as error:
        problem = translated(error, place)
        if problem is error:
            raise
        raise problem from error


def upgrade(url: str) -> Upgraded:
    """Raises StoreUnavailable for one that is not ours, or newer than this program."""
    before = schema_of(url)
    Database.open_now(url).close_now()
    return Upgraded(shown(url), before, HEAD)


def check_unused(url: str) -> None:
    """Raises Conflict `database_in_use` while another process has it open. What opens it next is not kept out."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _check_file_unused(Path(parsed.database or ""))
        return
    with reading(url) as conn:
        users = _connected(conn)
    if users:
        raise Conflict(
            f"{shown(url)} is in use by {', '.join(users)}: stop them, and try again", code="database_in_use"
        )


def _check_file_unused(path: Path) -> None:
    """Leaving the log behind needs the file alone; whoever opens it next goes back to the log. The log is part of the
    file then, which is whole without it."""
    try:
        with closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as conn:
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
