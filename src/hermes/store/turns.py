"""Taking turns: what must not be done by two transactions at once.

SQLite has one writer, so they never are; on PostgreSQL a transaction holds the name's lock until it ends.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select

from .statement import Statement


def wait_for(conn: Connection, kind: str, *names: str) -> None:
    """Returns when no other transaction holds this name; later statements see what that one did."""
    if conn.dialect.name == "postgresql":
        _LOCK.first(conn, {"name": "\x1f".join((kind, *names))})


def is_free(conn: Connection, kind: str, *names: str) -> bool:
    """Takes the name as `wait_for` does, unless another transaction holds it: what can wait for another day does not
    stand in the way, nor in a circle."""
    if conn.dialect.name != "postgresql":
        return True
    row = _TRY.first(conn, {"name": "\x1f".join((kind, *names))})
    return row is not None and bool(row[0])


_LOCK = Statement(select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name"), 0))))
_TRY = Statement(select(func.pg_try_advisory_xact_lock(func.hashtextextended(bindparam("name"), 0))))
