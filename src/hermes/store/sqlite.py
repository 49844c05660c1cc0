"""SQLite: one file and no service. One writer with group commit, readers beside it (docs/adr/0010)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from hermes.core.errors import StoreCorrupt, StoreUnavailable
from hermes.core.tally import StoreTally
from hermes.home.disk import refusal

from .database import Database, Schema
from .problems import translated
from .revisions import bring_to_head
from .writer import Call, Writer

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


class SqliteDatabase(Database):
    """One writer thread with group commit, readers beside it. A write is in the file for every later read."""

    def __init__(self, url: URL, schema: Schema) -> None:
        """Starts the writer, which opens the file; `opened` says how that went."""
        self._url = url.set(drivername="sqlite")
        self._schema = schema
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

    @property
    def opened(self) -> Future[None]:
        return self._writer.opened

    def give_up(self) -> None:
        self._writer.close()

    @property
    def tally(self) -> StoreTally:
        return self._writer.tally

    @property
    def queue_depth(self) -> int:
        return self._writer.depth

    async def write(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._writer.put(Call(function, args, durable, future, loop))
        return await future

    def write_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        future: Future[T] = Future()
        self._writer.put(Call(function, args, durable, future, None))
        return future.result()

    async def read(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        if self.path is None:  # a database in memory has one connection
            return await self.write(function, *args)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool(), self._read_here, function, *args)

    def read_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        if self.path is None:
            return self.write_now(function, *args)
        return self._pool().submit(lambda: self._read_here(function, *args)).result()

    async def close(self) -> None:
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
            if isinstance(problem, StoreCorrupt):
                self.damage = problem
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
            bring_to_head(conn, self._place, self._schema)
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


def _is_in_memory(url: URL) -> bool:
    return url.database in (None, "", ":memory:")


def _make_file(path: Path) -> None:
    """Owner only; SQLite gives its log files the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "Permission denied", str(path.parent))
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise StoreUnavailable(refusal(error, path)) from error
        raise StoreUnavailable(
            f"cannot open the database {path} for writing ({error.strerror or error}): {_way_out(error)}"
        ) from error


def _way_out(error: OSError) -> str:
    if error.errno == errno.EISDIR:
        return "move that directory away"
    return "its directory must exist, and this user must own both"
