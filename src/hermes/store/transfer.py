"""All that is in one database, into another: SQLite to PostgreSQL, back, or each to its own kind.

One transaction, so the target holds everything or nothing. Rows stream through one by one; as they pass, each table's
are counted and digested, and compared with what can be read of the target before it commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Boolean, Connection, Float, Integer, LargeBinary, Table

from hermes.core.errors import Conflict, HermesError

from . import search
from .database import Database
from .encoding import clean
from .schema import alembic_version, facts, file_chunks, metadata, nodes, runs

AT_ONCE = 500
BIG_AT_ONCE = 16
"""Rows that PostgreSQL sends at once; the second of tables whose rows are large."""

Told = Callable[[str, int], None]
"""The name of a table and how many of its rows were copied."""


@dataclass(frozen=True, slots=True)
class Copied:
    """`mended` counts texts with what PostgreSQL does not hold, and our own writers let through nowhere (NUL, half a
    character): it became U+FFFD."""

    rows: dict[str, int]
    mended: int

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def transfer(
    source: Connection,
    target: Database,
    *,
    replaces: bool = False,
    also: Callable[[Connection], object] | None = None,
    told: Told | None = None,
) -> Copied:
    """`source` is one snapshot at the newest schema (`connecting.reading`). `also` is done in the same transaction.

    Processes are not copied: open runs are nobody's in the target, so the first gateway that starts there resumes them.
    Raises Conflict `database_not_empty` unless the target is empty, or `replaces`; HermesError `transfer_failed` for
    what it refuses, or where it does not give back what was written.
    """
    return target.write_now(_copy_all, source, replaces, also, told, durable=True)


def is_empty(conn: Connection) -> bool:
    """Whether nobody has kept anything in it."""
    return not any(
        conn.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() for table in _kept_tables()
    )


@dataclass(slots=True)
class _Sum:
    """Of a table's rows, whatever their order."""

    rows: int = 0
    digest: int = 0

    def add(self, row: Sequence[Any]) -> None:
        self.rows += 1
        value = blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self.digest = (self.digest + int.from_bytes(value, "big")) & _MASK


_MASK = (1 << 128) - 1


@dataclass(slots=True)
class _Reading:
    """A table as its rows pass."""

    table: Table
    sum: _Sum = field(default_factory=_Sum)
    mended: int = 0

    def rows(self, conn: Connection) -> Generator[tuple[Any, ...], None, None]:
        plain = [_plain_of(column) for column in self.table.columns]
        for row in _stream(conn, self.table):
            values = []
            for value, make in zip(row, plain, strict=True):
                made = None if value is None else make(value)
                self.mended += isinstance(made, str) and made != value and made.encode() != value
                values.append(made)
            passed = tuple(values)
            self.sum.add(passed)
            yield passed


def _copy_all(
    target: Connection,
    source: Connection,
    replaces: bool,
    also: Callable[[Connection], object] | None,
    told: Told | None,
) -> Copied:
    if replaces:
        _clear(target)
    elif not is_empty(target):
        raise Conflict("the database is not empty: what is in it would be lost", code="database_not_empty")
    for table in (facts, nodes):
        target.execute(sa.delete(table))
    rows: dict[str, int] = {}
    mended = 0
    for table in _copied_tables():
        reading = _Reading(table)
        try:
            with closing(reading.rows(source)) as passing:
                _insert(target, table, passing)
        except HermesError:
            raise
        except Exception as error:
            if _has_no_room(error):  # the database that is written says where
                raise
            raise HermesError(f"the table {table.name} was refused: {error}", code="transfer_failed") from error
        _compare(target, table, reading.sum)
        _go_on_counting(source, target, table)
        rows[table.name] = reading.sum.rows
        mended += reading.mended
        if told is not None:
            told(table.name, reading.sum.rows)
    if also is not None:
        also(target)
    return Copied(rows, mended)


def _has_no_room(error: Exception) -> bool:
    is_full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return is_full or getattr(error, "sqlstate", None) == "53100"


def _copied_tables() -> list[Table]:
    """Parents before their children. Alembic's own is the target's; nodes are processes."""
    return [table for table in metadata.sorted_tables if table not in (alembic_version, nodes)]


def _kept_tables() -> list[Table]:
    return [table for table in _copied_tables() if table is not facts]


def _clear(conn: Connection) -> None:
    search.drop(conn)
    for table in reversed(_copied_tables()):
        conn.execute(sa.delete(table))


def _compare(target: Connection, table: Table, expected: _Sum) -> None:
    there = _Reading(table)
    for _ in there.rows(target):
        pass
    if there.sum != expected:
        raise HermesError(
            f"the table {table.name} does not read as it was written: {there.sum.rows} rows of {expected.rows}; "
            "nothing was kept",
            code="transfer_failed",
        )


def _plain_of(column: sa.Column[Any]) -> Callable[[Any], Any]:
    """The same Python value, whichever database it comes from."""
    if column is runs.c.node:
        return lambda value: None
    match column.type:
        case Boolean():
            return bool
        case Float():
            return float
        case Integer():
            return int
        case LargeBinary():
            return bytes
        case _:
            return _text


def _text(value: str | bytes) -> str:
    return clean(value if isinstance(value, str) else value.decode("utf-8", "replace"))


def _stream(conn: Connection, table: Table) -> Iterator[Sequence[Any]]:
    query = f"SELECT {_names(conn, table)} FROM {table.name}"  # noqa: S608 names of our own schema
    driver: Any = conn.connection.driver_connection
    if conn.dialect.name == "sqlite":
        before, driver.text_factory = driver.text_factory, bytes  # what is not UTF-8 is mended, and not a failure
        try:
            yield from driver.execute(query)
        finally:
            driver.text_factory = before
        return
    with driver.cursor(name="hermes_transfer") as cursor:
        cursor.itersize = BIG_AT_ONCE if table is file_chunks else AT_ONCE
        yield from cursor.execute(query)


def _insert(conn: Connection, table: Table, rows: Iterator[tuple[Any, ...]]) -> None:
    driver: Any = conn.connection.driver_connection
    names = _names(conn, table)
    if conn.dialect.name == "sqlite":
        places = ", ".join("?" for _ in table.columns)
        driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({places})", rows)  # noqa: S608 as above
        return
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _names(conn: Connection, table: Table) -> str:
    quote = conn.dialect.identifier_preparer.quote
    return ", ".join(quote(column.name) for column in table.columns)


def _go_on_counting(source: Connection, target: Connection, table: Table) -> None:
    """An id that was given once is not given again, whether or not its row is still there."""
    column = table.autoincrement_column
    if column is None:
        return
    newest = target.execute(sa.select(sa.func.max(column))).scalar() or 0
    last = max(newest, _last_given(source, table))
    if target.dialect.name == "sqlite":
        target.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
        target.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, last))
        return
    target.exec_driver_sql(
        "SELECT setval(pg_get_serial_sequence(%s, %s), %s, %s)", (table.name, column.name, max(last, 1), last > 0)
    )


def _last_given(conn: Connection, table: Table) -> int:
    column = table.autoincrement_column
    assert column is not None
    if conn.dialect.name == "sqlite":
        row = conn.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,)).first()
        return 0 if row is None else int(row[0])
    sequence = conn.exec_driver_sql("SELECT pg_get_serial_sequence(%s, %s)", (table.name, column.name)).scalar()
    last, is_called = conn.exec_driver_sql(f"SELECT last_value, is_called FROM {sequence}").one()  # noqa: S608 as above
    return int(last) if is_called else 0
