"""What the database's own exceptions mean, in the words of `core.errors`.

It comes from the driver as it is, or wrapped by SQLAlchemy (`DBAPIError.orig`); both are read alike.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from hermes.core.errors import Conflict, StoreCorrupt, StoreUnavailable
from hermes.home.disk import is_full, is_read_only, no_room, read_only

from .holder import holder_of


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


def is_damage(error: BaseException) -> bool:
    """The file itself is broken; what else SQLite may say of it (a full disk, a lock) passes."""
    origin = _origin(error)
    return isinstance(origin, sqlite3.Error) and (_code(origin) in _DAMAGE or _is_undecodable(origin))


def may_be_done_again(error: BaseException) -> bool:
    """A PostgreSQL that went away, is just starting, has too many guests, became a standby just now, chose this
    transaction to end a deadlock, or did not wait any longer for a process that stood still."""
    origin = _origin(error)
    if not _is_postgres(origin):
        return False
    state = _state(origin)
    if state is None:
        return type(origin).__name__ in ("OperationalError", "ConnectionTimeout")
    return state.startswith(("08", "40")) or state in ("57P01", "57P02", "57P03", "57P05", "53300", READ_ONLY, *IDLE)


def was_idle(error: BaseException) -> bool:
    """The server ended a transaction in which nothing was asked for too long: nothing of it was kept."""
    return getattr(_origin(error), "sqlstate", None) in IDLE


def is_standby(error: BaseException) -> bool:
    """Another connection may find the primary."""
    return getattr(_origin(error), "sqlstate", None) == READ_ONLY


def standby(place: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the database {place} is read-only, as a standby is: name the primary in database.url (with several hosts, "
        "?target_session_attrs=read-write finds it)"
    )


READ_ONLY = "25006"
IDLE = ("25P03", "25P04")
_REFUSALS = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("is not permitted to log in", "28000"),
    ("does not exist", "3D000"),
    ("permission denied for database", "42501"),
)
"""A server that lets nobody in says why in words only; where it speaks another language, it counts as away."""


def _state(error: BaseException) -> str | None:
    """The SQLSTATE, also of a connection that was refused, for which the driver has none."""
    state: str | None = getattr(error, "sqlstate", None)
    if state is not None or "FATAL:" not in str(error):
        return state
    return next((known for words, known in _REFUSALS if words in str(error)), None)


def _is_postgres(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "psycopg"


def _postgres_problem(error: BaseException, place: str) -> BaseException:
    state = _state(error) or ""
    what, text = f"the database {place}", str(error).strip().partition("\n")[0]
    match state[:2]:
        case "25" if state == READ_ONLY:
            return standby(place)
        case "25" if state in IDLE:
            return StoreUnavailable(f"{what} did not wait for this process, which stood still: {text}. Try again")
        case "23":
            return Conflict(f"{what} refused a write: {text}")
        case "" if any(words in text for words in _CROWD):
            return StoreUnavailable(_TOO_MANY.format(what=what, text=text))
        case "53" if state == "53300":
            return StoreUnavailable(_TOO_MANY.format(what=what, text=text))
        case "" | "08" | "57" | "40" if type(error).__name__ != "ProgrammingError":
            return StoreUnavailable(
                f"{what} cannot be reached: {text}. Start the server, or mend database.url (HERMES_DATABASE_URL)"
            )
        case "28":
            return StoreUnavailable(
                f"{what} does not let us in: {text}. Mend user or password in database.url, or pg_hba.conf there"
            )
        case "3D":
            return StoreUnavailable(
                f"{what} does not let us in: {text}. Make it (createuser, createdb --owner), or mend database.url"
            )
        case "42" if state == "42501":
            return StoreUnavailable(f"{what} allows us too little: {text}. Its owner must be the user of database.url")
        case "53":
            return StoreUnavailable(f"{what} has no room left: {text}. Free some disk space on the server")
        case "XX":
            return StoreCorrupt(f"{what} is damaged: {text}. Restore a backup of the server's")
        case _:
            return error  # ours to mend, not the database's


_CROWD = ("too many clients", "too many connections", "connection slots")
_TOO_MANY = (
    "{what} has no connection left for us: {text}. Raise max_connections on the server, or stop what else uses it"
)


def is_orphan(error: BaseException) -> bool:
    """The row that this one hangs on is not there, or not any more."""
    origin = _origin(error)
    return getattr(origin, "sqlstate", None) == "23503" or (
        isinstance(origin, sqlite3.IntegrityError) and origin.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    )


def _origin(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: sqlite3.Error) -> int:
    """The low byte is the kind, the rest its finer reason."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_undecodable(error: sqlite3.Error) -> bool:
    """All text is written as UTF-8, so what cannot be read so was not written. The driver has no code for it."""
    return str(error).startswith("Could not decode to UTF-8")


def _unavailable(error: sqlite3.Error, place: str) -> StoreUnavailable:
    file, what = Path(place), f"the database {place}"
    if is_damage(error):
        why = "text in it is no text" if _is_undecodable(error) else str(error)  # the driver would quote that text
        return StoreCorrupt(
            f"{what} is damaged ({why}): stop the gateway and restore a backup (hermes db restore), or move the "
            "file away and begin with an empty one; `hermes db check` tells how bad it is"
        )
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return StoreUnavailable(no_room(file, what))
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if is_full(file):  # SQLite's files beside it found none
            return StoreUnavailable(no_room(file, what))
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY if is_read_only(file):
            return StoreUnavailable(read_only(file, what))
        case sqlite3.SQLITE_READONLY:
            return StoreUnavailable(f"{what} is read-only: make the file and its directory writable for this user")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreUnavailable(f"cannot open {what}: its directory must exist, and this user own both")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            holder = holder_of(file)
            who = f"another process ({holder})" if holder is not None else "another process"
            return StoreUnavailable(f"{who} holds {what} locked: try again when it is done, or stop it")
        case sqlite3.SQLITE_IOERR:
            return StoreUnavailable(f"the disk failed under {what} ({error}): the system's log says more (dmesg)")
        case _:
            return StoreUnavailable(f"{what} refused: {error}")
