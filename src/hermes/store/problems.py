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
        case _:
            return error


def is_duplicate(error: BaseException) -> bool:
    """A primary key or unique index holds that value already."""
    origin = _origin(error)
    return isinstance(origin, sqlite3.IntegrityError) and origin.sqlite_errorcode in (
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    )


def is_orphan(error: BaseException) -> bool:
    """The row that this one hangs on is not there, or not any more."""
    origin = _origin(error)
    return (
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
