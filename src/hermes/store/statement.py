"""A Core expression that is compiled once and then costs what the driver costs.

`Connection.execute` spends 15–20 µs a statement on its own work, SQLite 2–4 (docs/adr/0010), and a chat turn takes a
dozen. So a statement's SQL text, compiled once by SQLAlchemy, goes to the driver's connection directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Row = Sequence[Any]
InsertInto = Callable[[Table], Any]


class Statement:
    """Values go in under the names of the expression's bind parameters, as the driver's own types: no type of
    SQLAlchemy converts them, so SQLite's booleans come back as 0 and 1.

    An expression with ON CONFLICT is given as a function of the dialect's own `insert`:
    `Statement(lambda insert: insert(table).values(…).on_conflict_do_nothing())`.
    """

    def __init__(self, expression: Executable | Callable[[InsertInto], Executable]) -> None:
        self.expression = expression
        self._compiled: dict[str, _Compiled] = {}

    def run(self, conn: Connection, values: Values) -> int:
        """How many rows it wrote."""
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn)
        count: int = _driver(conn).execute(compiled.sql, compiled.arguments(values)).rowcount
        return count

    def run_many(self, conn: Connection, rows: Sequence[Values]) -> None:
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn)
        _driver(conn).cursor().executemany(compiled.sql, [compiled.arguments(row) for row in rows])

    def all(self, conn: Connection, values: Values) -> Sequence[Row]:
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn)
        rows: list[Row] = _driver(conn).execute(compiled.sql, compiled.arguments(values)).fetchall()
        return rows

    def first(self, conn: Connection, values: Values) -> Row | None:
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn)
        row: Row | None = _driver(conn).execute(compiled.sql, compiled.arguments(values)).fetchone()
        return row

    def _compile(self, conn: Connection) -> _Compiled:
        name = conn.dialect.name
        insert, dialect = _sqlite() if name == "sqlite" else _postgres()
        expression = self.expression if isinstance(self.expression, Executable) else self.expression(insert)
        compiled = self._compiled[name] = _Compiled(expression, dialect)
        return compiled


def _sqlite() -> tuple[InsertInto, Dialect]:
    return sqlite.insert, SQLiteDialect_pysqlite(paramstyle="qmark")


def _postgres() -> tuple[InsertInto, Dialect]:
    from sqlalchemy.dialects import postgresql  # 25 ms of a start that needs it
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    return postgresql.insert, PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]


class _Compiled:
    def __init__(self, expression: Executable, dialect: Dialect) -> None:
        compiled = expression.compile(dialect=dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        names = compiled.positiontup or []
        fixed = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self.sql = compiled.string
        self.arguments = _arguments(names, fixed)


class _Arguments(Protocol):
    def __call__(self, values: Values, /) -> Sequence[Any]: ...


def _arguments(names: Sequence[str], fixed: Values) -> _Arguments:
    """What turns values by name into positions; `fixed` are the literals within the expression."""
    if fixed:
        return lambda values: [values[name] if name in values else fixed[name] for name in names]
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection
