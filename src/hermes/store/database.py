"""The database of a home, at the newest schema: a file of SQLite's own, or a PostgreSQL that many nodes share.

Functions are plain `fn(conn, …)`. A write is one transaction: when `write` returns it is committed, and every
later read sees it. A function must not commit, and must touch nothing but the database: it may be rolled back and
called again.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from sqlalchemy import Connection as Connection  # also the type that operations of other layers take
from sqlalchemy import MetaData, Table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hermes.core.errors import ConfigError, StoreCorrupt
from hermes.core.tally import StoreTally

from .signals import NoSignals, Signals

__all__ = ["Connection", "Database", "Schema"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database. `version` is the one in which Alembic keeps the revision, and is among `metadata`'s;
    `migrations` names their folder as `package:folder`, and `program` who else's database it would be."""

    metadata: MetaData
    version: Table
    head: str
    migrations: str
    program: str


class Database(ABC):
    """Made by `open`, or by `open_now` where there is no event loop; the calls of both kinds work on either.

    Any number of event loops and threads may use one Database. `path` is None where it is no file.
    """

    path: Path | None = None
    is_shared: bool = False
    """Whether processes of other homes and machines may use it, too."""
    damage: StoreCorrupt | None = None
    """What a read met last; a start with a whole file forgets it."""

    @staticmethod
    async def open(url: str, schema: Schema | None = None) -> Database:
        """`sqlite:////absolute/path/state.db`, `sqlite://` in memory, or `postgresql://user@host/name`. Makes what is
        missing, or brings it to its newest revision. A server that is away, as while a machine starts, is waited for a
        little. `schema` is that of a hermes home where it is not said.

        Raises StoreUnavailable or StoreCorrupt, which name the place and the way out, or ConfigError.
        """
        database = _made(url, schema, is_patient=True)
        try:
            await asyncio.wrap_future(database.opened)
        except BaseException:
            database.give_up()
            raise
        return database

    @staticmethod
    def open_now(url: str, schema: Schema | None = None) -> Database:
        """The same, but a server that is away is told at once: somebody looks at a screen."""
        database = _made(url, schema)
        database.opened.result()
        return database

    @property
    @abstractmethod
    def opened(self) -> Future[None]:
        """Done when it can be used; raises what kept it from opening."""

    @abstractmethod
    def give_up(self) -> None:
        """Nobody waits for the opening any more."""

    @property
    @abstractmethod
    def tally(self) -> StoreTally:
        """What it did since it was opened, for /metrics."""

    @property
    @abstractmethod
    def queue_depth(self) -> int:
        """How many writes wait."""

    @abstractmethod
    async def write(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        """Runs it in a transaction and returns what it returned, once that is committed.

        `durable`: it survives a power cut, too, and not only a kill of the process. What it raises undoes this
        write alone. A caller that is cancelled stops waiting; the write happens all the same.
        """

    async def write_apart(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """`write` for what must not stand behind other calls, however many wait: a node's life is measured by it."""
        return await self.write(function, *args)

    @abstractmethod
    def write_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        """The same where there is no event loop: it blocks the thread."""

    @abstractmethod
    async def read(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Runs it in a reader's thread on one snapshot, which holds all that was committed before."""

    @abstractmethod
    def read_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T: ...

    def signals(self) -> Signals:
        """Made anew for each event loop, whose words it carries."""
        return NoSignals()

    @abstractmethod
    async def close(self) -> None:
        """Finishes the writes that were asked for before; later ones raise StoreUnavailable."""

    @abstractmethod
    def close_now(self) -> None: ...


def _made(url: str, schema: Schema | None, *, is_patient: bool = False) -> Database:
    parsed = parse_url(url)
    if schema is None:
        from .revisions import HERMES

        schema = HERMES
    if parsed.get_backend_name() == "sqlite":
        from .sqlite import SqliteDatabase

        return SqliteDatabase(parsed, schema)
    from .postgres import PostgresDatabase

    return PostgresDatabase(parsed, schema, is_patient=is_patient)


def parse_url(url: str) -> URL:
    """Raises ConfigError for what is no URL, or another database's."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the second of a port that is no number
        raise ConfigError(
            f"database.url {_shown(url)!r} is no URL: write sqlite:////path/state.db or postgresql://user@host/name"
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise ConfigError(
            f"database.url names {parsed.get_backend_name()!r}: data is kept in SQLite "
            "(sqlite:////absolute/path/state.db) or PostgreSQL (postgresql://user@host/name)"
        )
    return parsed


def without_password(url: URL) -> str:
    """The URL as people may see it. libpq takes a password among the parameters, too."""
    hidden = {name: "..." for name in url.query if "password" in name}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _shown(url: str) -> str:
    """Without what may be a password, in which there may be an @ as well."""
    url = url.partition("?")[0]
    return f"…{url[url.rindex('@') :]}" if "@" in url else url
