"""A database with rows in every table and a value in every column, whatever tables there are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Boolean, Connection, Float, Integer, LargeBinary, Table

from hermes.store.schema import alembic_version, metadata, nodes

TABLES = [table for table in metadata.sorted_tables if table not in (alembic_version, nodes)]
"""All that is kept for longer than a process lives."""


def fill(conn: Connection, rows: int = 3) -> None:
    for table in TABLES:
        conn.execute(sa.insert(table), [_row(table, number) for number in range(1, rows + 1)])


def everything(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Each table's rows, sorted, as values that are the same on both databases."""
    found = {}
    for table in TABLES:
        rows = [
            tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
            for row in conn.execute(table.select())
        ]
        found[table.name] = sorted(rows, key=repr)
    return found


def _row(table: Table, number: int) -> dict[str, Any]:
    return {column.name: _value(column, number) for column in table.columns}


def _value(column: sa.Column[Any], number: int) -> Any:
    name = f"{column.table.name}.{column.name}"
    match column.type:
        case Boolean():
            return number % 2 == 0
        case Float():
            return number + 0.1
        case Integer():
            return 10 * number
        case LargeBinary():
            return bytes([number, 0, 255])
        case _ if column.foreign_keys:
            (parent,) = column.foreign_keys
            return _value(parent.column, number)
        case _:
            return f"{name} {number} “✓” \\ \t\n'"
