"""A Core expression that is compiled once and then costs what the driver costs.

`Connection.execute` spends 15–20 µs a statement on its own work, SQLite 2–4 (docs/adr/0010), and a chat turn takes a
dozen. So on SQLite a statement's SQL text, compiled once by SQLAlchemy, goes to the driver's connection directly; on
any other database it is executed as the expression it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Connection, Executable
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Row = Sequence[Any]

_SQLITE = SQLiteDialect_pysqlite(paramstyle="qmark")


class Statement:
    """Values go in under the names of the expression's bind parameters, as the driver's own types: no type of
    SQLAlchemy converts them on SQLite, so booleans come back as 0 and 1."""

    def __init__(self, expression: Executable) -> None:
        self.expression = expression
        self._sqlite: _Compiled | None = None

    def run(self, conn: Connection, values: Values) -> int:
        """How many rows it wrote."""
        if conn.dialect.name != "sqlite":
            return conn.execute(self.expression, dict(values)).rowcount
        compiled = self._sqlite or self._compile()
        count: int = _driver(conn).execute(compiled.sql, compiled.arguments(values)).rowcount
        return count

    def run_many(self, conn: Connection, rows: Sequence[Values]) -> None:
        if conn.dialect.name != "sqlite":
            conn.execute(self.expression, [dict(row) for row in rows])
            return
        compiled = self._sqlite or self._compile()
        _driver(conn).executemany(compiled.sql, [compiled.arguments(row) for row in rows])

    def all(self, conn: Connection, values: Values) -> Sequence[Row]:
        if conn.dialect.name != "sqlite":
            return conn.execute(self.expression, dict(values)).all()
        compiled = self._sqlite or self._compile()
        rows: list[Row] = _driver(conn).execute(compiled.sql, compiled.arguments(values)).fetchall()
        return rows

    def first(self, conn: Connection, values: Values) -> Row | None:
        if conn.dialect.name != "sqlite":
            return conn.execute(self.expression, dict(values)).first()
        compiled = self._sqlite or self._compile()
        row: Row | None = _driver(conn).execute(compiled.sql, compiled.arguments(values)).fetchone()
        return row

    def _compile(self) -> _Compiled:
        self._sqlite = compiled = _Compiled(self.expression)
        return compiled


class _Compiled:
    def __init__(self, expression: Executable) -> None:
        compiled = expression.compile(dialect=_SQLITE)  # type: ignore[attr-defined]
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
