"""Whether a database is whole: asked from outside, without writing to it or changing its schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, inspect

from . import invariants, search
from .connecting import open_file, reading, shown
from .invariants import Finding
from .problems import is_damage, translated
from .revisions import has_version, revision
from .schema import HEAD, metadata

__all__ = ["Checked", "Finding", "Integrity", "check_database", "examine"]

MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Integrity:
    """`problems` as SQLite words them, none when the file is whole. `newest`: when the last session was active, unix
    seconds; None where that cannot be read or there is none. `revision`: of its schema, None where it is not ours.

    `refused`: why it could not be examined (a full disk, a lock). That says nothing of the file."""

    problems: tuple[str, ...]
    newest: float | None = None
    revision: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """`place` is without a password. `revision` None: it is damaged, or not ours. `examined`: what was looked at."""

    place: str
    revision: str | None
    findings: tuple[Finding, ...]
    examined: tuple[str, ...]


def examine(path: Path) -> Integrity:
    """Reads the whole file. It may be in use meanwhile; where it is not, no file is made beside it."""
    try:
        with closing(open_file(path)) as conn:
            rows = conn.execute(f"PRAGMA quick_check({MOST_TOLD})").fetchall()
            problems = tuple(str(row[0]) for row in rows if row[0] != "ok")
            return Integrity(problems) if problems else Integrity((), _newest(conn), _revision(conn))
    except sqlite3.Error as error:
        if is_damage(error):
            return Integrity((str(error),))
        return Integrity((), refused=str(translated(error, str(path))))


def check_database(url: str, *, is_full: bool = False) -> Checked:
    """All that can be found wrong, also while gateways use it: one snapshot of it is read. `is_full` compares every
    index with its table, too, which takes a few times as long (SQLite only).

    Damage is a finding. Raises NotFound `database_not_found`, StoreUnavailable or ConfigError where it cannot be asked.
    """
    place = shown(url)
    try:
        with reading(url) as conn:
            return _checked(conn, place, is_full)
    except (sqlite3.Error, sa.exc.DBAPIError) as error:
        if is_damage(error):
            return Checked(place, None, (_damaged([str(getattr(error, "orig", error))]),), ("pages",))
        problem = translated(error, place)
        if problem is error:
            raise
        raise problem from error


def _checked(conn: Connection, place: str, is_full: bool) -> Checked:
    examined = ["pages and indexes" if is_full else "pages"]
    if problems := _damage(conn, is_full):  # what else a damaged file says is not worth telling
        return Checked(place, None, (_damaged(problems),), tuple(examined))
    if not has_version(conn):
        return Checked(place, None, (_NOT_OURS,), tuple(examined))
    found = revision(conn)
    findings = list(_references(conn))
    examined.append("references")
    if found != HEAD:
        return Checked(place, found, (*findings, _other_schema(found)), tuple(examined))
    findings += _schema(conn)
    examined.append("schema")
    if not findings:
        findings += [*invariants.check(conn), *_search(conn)]
        examined += ["runs and events", "sessions and messages", "approvals", "jobs", "search index"]
    return Checked(place, found, tuple(findings), tuple(examined))


def _damage(conn: Connection, is_full: bool) -> list[str]:
    if conn.dialect.name != "sqlite":  # the server checks its own pages as it reads them
        rows = conn.exec_driver_sql(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid "
            "AND c.relnamespace = current_schema()::regnamespace"
        )
        return [f"the index {row[0]} is not valid" for row in rows]
    pragma = "integrity_check" if is_full else "quick_check"
    rows = conn.exec_driver_sql(f"PRAGMA {pragma}({MOST_TOLD})")
    return [str(row[0]) for row in rows if row[0] != "ok"]


def _references(conn: Connection) -> Iterator[Finding]:
    """PostgreSQL never lets one be broken."""
    if conn.dialect.name != "sqlite":
        return
    broken: dict[tuple[str, str], int] = {}
    for table, _, parent, _ in conn.exec_driver_sql("PRAGMA foreign_key_check"):
        broken[table, parent] = broken.get((table, parent), 0) + 1
    for (table, parent), count in sorted(broken.items()):
        yield Finding(
            "reference_broken", f"{count} rows of {table} belong to a row of {parent} that does not exist", _RESTORE
        )


def _schema(conn: Connection) -> Iterator[Finding]:
    found = inspect(conn)
    there = set(found.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in there:
            yield Finding("schema_differs", f"the table {table.name} is missing", _RESTORE)
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        if missing := sorted({column.name for column in table.columns} - columns):
            yield Finding("schema_differs", f"the table {table.name} has no {', '.join(missing)}", _RESTORE)
        indexes = {index["name"] for index in found.get_indexes(table.name)}
        if missing := sorted({str(index.name) for index in table.indexes} - indexes):
            yield Finding("schema_differs", f"the table {table.name} has no index {', '.join(missing)}", _RESTORE)


def _search(conn: Connection) -> Iterator[Finding]:
    if search.has_orphans(conn):
        yield Finding(
            "search_index_stale",
            "the search index holds words of messages that were deleted; they are never found",
            "hermes db vacuum makes it anew",
        )


def _damaged(problems: list[str]) -> Finding:
    return Finding(
        "damaged",
        f"the database is damaged: {'; '.join(problems)}",
        "stop the gateway and restore a backup (hermes db restore), or move the file away and begin with an empty one",
    )


def _other_schema(found: str | None) -> Finding:
    if found is not None and found < HEAD:
        return Finding(
            "old_schema",
            f"the schema is {found}, and this program's is {HEAD}: what is in it was not looked at",
            "hermes db upgrade; the next start of a gateway does the same",
        )
    return Finding(
        "newer_schema",
        f"the schema is {found!r}, and this program knows it up to {HEAD}: it is older than the database",
        "install the newer hermes-server again",
    )


_RESTORE = "hermes db restore a backup"
_NOT_OURS = Finding(
    "not_ours",
    "it is empty, or the database of another program",
    "start the gateway, which makes one, or look at database.url",
)


def _newest(conn: sqlite3.Connection) -> float | None:
    try:
        row = conn.execute("SELECT max(last_active) FROM sessions").fetchone()
    except sqlite3.OperationalError:  # of another version, or empty
        return None
    return float(row[0]) if row and row[0] is not None else None


def _revision(conn: sqlite3.Connection) -> str | None:
    try:
        row = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return str(row[0]) if row else None
