"""What the database's own exceptions mean, in the words of `core.errors`.

It comes from the driver as it is, or wrapped by SQLAlchemy (`DBAPIError.orig`); both are read alike.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from hermes.core.errors import Conflict, StoreCorrupt, StoreUnavailable


def translated(error: BaseException, place: str) -> BaseException:
    """`error` itself unless it comes from the database; `place` is the path that the message names."""
    origin = _origin(error)
    match origin:
        case sqlite3.IntegrityError():
            return Conflict(f"the database {place} refused a write: {origin}")
        case sqlite3.ProgrammingError() | sqlite3.InterfaceError() | sqlite3.NotSupportedError() | sqlite3.DataError():
            return error  # ours to mend, not the database's
        case sqlite3.Error():
            return _unavailable(origin, place)
        case _ if _is_postgres(origin):
            return _postgres_problem(origin, place)
        case _:
            return error


def is_duplicate(error: BaseException) -> bool:
    """A primary key or unique index holds that value already."""
    origin = _origin(error)
    if getattr(origin, "sqlstate", None) == "23505":
        return True
    return isinstance(origin, sqlite3.IntegrityError) and origin.sqlite_errorcode in (
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    )


def may_be_done_again(error: BaseException) -> bool:
    """A PostgreSQL that went away, is just starting, or chose this transaction to end a deadlock."""
    origin = _origin(error)
    if not _is_postgres(origin):
        return False
    state = getattr(origin, "sqlstate", None)
    if state is None:
        return type(origin).__name__ in ("OperationalError", "ConnectionTimeout")
    return state.startswith(("08", "40")) or state in ("57P01", "57P02", "57P03", "53300")


def _is_postgres(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "psycopg"


def _postgres_problem(error: BaseException, place: str) -> BaseException:
    state: str = getattr(error, "sqlstate", None) or ""
    text = str(error).strip().partition("\n")[0]
    match state[:2]:
        case "23":
            return Conflict(f"the database {place} refused a write: {text}")
        case "" | "08" | "57" | "40" if type(error).__name__ != "ProgrammingError":
            return StoreUnavailable(f"the database {place} cannot be reached: {text}")
        case "28" | "3D":
            return StoreUnavailable(f"the database {place} does not let us in: {text}")
        case "53":
            return StoreUnavailable(f"the database {place} has no room left: {text}")
        case "XX":
            return StoreCorrupt(f"the database {place} is damaged: {text}")
        case "25" if state == "25006":
            return StoreUnavailable(f"the database {place} is read-only: it may be a standby")
        case _:
            return error  # ours to mend, not the database's


def is_orphan(error: BaseException) -> bool:
    """The row that this one hangs on is not there, or not any more."""
    origin = _origin(error)
    return getattr(origin, "sqlstate", None) == "23503" or (
        isinstance(origin, sqlite3.IntegrityError) and origin.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    )


def _origin(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _unavailable(error: sqlite3.Error, place: str) -> StoreUnavailable:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the low byte is the kind, the rest its finer reason
        case sqlite3.SQLITE_FULL:
            return StoreUnavailable(f"no room left for the database {place}: free some disk space")
        case sqlite3.SQLITE_READONLY:
            return StoreUnavailable(
                f"the database {place} is read-only: make the file and its directory writable for this user"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreUnavailable(
                f"cannot open the database {place}: its directory must exist, and this user own both"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailable(
                f"another process holds the database {place} locked: stop it, or try again when it is done"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt(
                f"the database {place} is damaged ({error}): restore a backup, "
                f"or move the file away and start with an empty one"
            )
        case sqlite3.SQLITE_IOERR:
            return StoreUnavailable(f"the disk failed under the database {place}: {error}")
        case _:
            return StoreUnavailable(f"the database {place} refused: {error}")
