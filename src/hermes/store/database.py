"""The database of a home: one writer with group commit, readers beside it, at the newest schema.

Functions are plain `fn(conn, …)`. A write is one transaction: when `write` returns it is committed, and every
later read sees it. A function must not commit, and must touch nothing but the database: it may be rolled back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar, TypeVarTuple

from sqlalchemy import Connection as Connection  # also the type that operations of other layers take
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from hermes.core.errors import ConfigError, StoreUnavailable
from hermes.core.tally import StoreTally

from .problems import translated
from .revisions import bring_to_head
from .writer import Call, Writer

__all__ = ["Connection", "Database"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

READERS = 4
FOLD_AFTER_ROWS = 1000
"""How many rows are written before a reader copies the log back into the file."""
BUSY_SECONDS = 5.0
"""How long a write waits for the write of another process."""

_FOR_ALL = ("PRAGMA foreign_keys=ON", "PRAGMA temp_store=MEMORY")
_FOR_WRITER = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA wal_autocheckpoint=8000",  # pages: where _fold_log does not keep up, the writer does it itself at 32 MB
    "PRAGMA journal_size_limit=33554432",  # a log that grew behind a slow reader is cut again
    "PRAGMA cache_size=-8192",
)
_FOR_READER = ("PRAGMA query_only=ON", "PRAGMA cache_size=-4096")


class Database:
    """Made by `open`, or by `open_now` where there is no event loop; the calls of both kinds work on either.

    Any number of event loops and threads may use one Database.
    """

    def __init__(self, url: str) -> None:
        """Starts the writer, which opens the file; `open` and `open_now` wait for it."""
        self._url = _parse(url)
        self.path = None if _is_in_memory(self._url) else Path(self._url.database or "")
        self._place = "in memory" if self.path is None else str(self.path)
        self._engine = create_engine(
            self._url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",  # BEGIN and COMMIT are the writer's and _read_here's
            connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
        )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hermes-store-reader")
        self._local = threading.local()
        self._reading: list[Connection] = []
        self._folded_rows = 0
        self._is_folding = False
        self._writer = Writer(self._connect_writer, self._after_commit, self._place)

    @classmethod
    async def open(cls, url: str) -> Self:
        """`sqlite:////absolute/path/state.db`, or `sqlite://` in memory. Makes it, or brings it to HEAD.

        Raises StoreUnavailable or StoreCorrupt, which name the path and the way out, or ConfigError.
        """
        database = cls(url)
        try:
            await asyncio.wrap_future(database._writer.opened)
        except BaseException:
            database._writer.close()
            raise
        return database

    @classmethod
    def open_now(cls, url: str) -> Self:
        database = cls(url)
        database._writer.opened.result()
        return database

    @property
    def tally(self) -> StoreTally:
        return self._writer.tally

    @property
    def queue_depth(self) -> int:
        """How many writes wait."""
        return self._writer.depth

    async def write(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        """Runs it in the writer's next transaction and returns what it returned, once that is committed.

        `durable`: it survives a power cut, too, and not only a kill of the process. What it raises undoes this
        write alone. A caller that is cancelled stops waiting; the write happens all the same.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._writer.put(Call(function, args, durable, future, loop))
        return await future

    def write_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        """The same where there is no event loop: it blocks the thread."""
        future: Future[T] = Future()
        self._writer.put(Call(function, args, durable, future, None))
        return future.result()

    async def read(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Runs it in a reader's thread on one snapshot, which holds all that was committed before."""
        if self.path is None:  # a database in memory has one connection
            return await self.write(function, *args)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool(), self._read_here, function, *args)

    def read_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        if self.path is None:
            return self.write_now(function, *args)
        return self._pool().submit(lambda: self._read_here(function, *args)).result()

    async def close(self) -> None:
        """Finishes the writes that were asked for before; later ones raise StoreUnavailable."""
        self._writer.refuse()
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        self._writer.refuse()
        self._readers.shutdown()
        while self._reading:
            with contextlib.suppress(Exception):
                self._reading.pop().close()
        self._writer.close()  # last: SQLite folds its log back when the last connection closes, if that one may write
        self._writer.join()
        self._engine.dispose()

    def _after_commit(self, driver: Any) -> None:
        """In the writer's thread. Copying the log back takes tens of milliseconds: a reader does it meanwhile."""
        if self.path is None or self._is_folding or driver.total_changes - self._folded_rows < FOLD_AFTER_ROWS:
            return
        self._folded_rows = driver.total_changes
        self._is_folding = True
        with contextlib.suppress(RuntimeError):  # it is closing, which folds the log anyway
            self._readers.submit(self._fold_log)

    def _fold_log(self) -> None:
        try:
            driver = self._reader().connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            self._is_folding = False

    def _pool(self) -> ThreadPoolExecutor:
        if self._writer.is_closed:
            raise StoreUnavailable(f"the database {self._place} is closed")
        return self._readers

    def _read_here(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        try:
            conn = self._reader()
            driver = conn.connection.driver_connection
            assert driver is not None
            driver.execute("BEGIN")
            try:
                return function(conn, *args)
            finally:
                driver.execute("ROLLBACK")
        except Exception as error:
            problem = translated(error, self._place)
            if problem is error:
                raise
            raise problem from error

    def _reader(self) -> Connection:
        """This thread's own connection."""
        conn: Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self._connect(_FOR_ALL + _FOR_READER)
            self._reading.append(conn)
        return conn

    def _connect_writer(self) -> Connection:
        if self.path is not None:
            _make_file(self.path)
        conn = self._connect(_FOR_ALL + _FOR_WRITER)
        try:
            bring_to_head(conn, self._place)
        except BaseException:
            conn.close()
            raise
        return conn

    def _connect(self, pragmas: tuple[str, ...]) -> Connection:
        conn = self._engine.connect()
        driver = conn.connection.driver_connection
        assert driver is not None
        try:
            for pragma in pragmas:
                driver.execute(pragma)
        except BaseException:
            conn.close()
            raise
        return conn


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"database.url {url!r} is no URL: write sqlite:////path/state.db") from error
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(
            f"database.url names {parsed.get_backend_name()!r}: this version keeps its data in SQLite only "
            "(sqlite:////absolute/path/state.db)"
        )
    return parsed.set(drivername="sqlite")


def _is_in_memory(url: URL) -> bool:
    return url.database in (None, "", ":memory:")


def _make_file(path: Path) -> None:
    """Owner only; SQLite gives its log files the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(f"{path.parent} is not writable")
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open the database {path} for writing ({error.strerror or error}): "
            "its directory must exist, and this user must own both"
        ) from error
