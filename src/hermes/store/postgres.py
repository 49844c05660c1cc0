"""PostgreSQL: many nodes on one database (docs/adr/0091).

Each thread of a pool has a connection of its own; a write is a transaction there. A statement's text, compiled once,
goes to the driver directly, as on SQLite. What the server loses (a restart, a deadlock) before COMMIT was sent is done
again, since functions touch nothing but the database; behind COMMIT nobody knows, and the caller is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.pool import NullPool

from hermes.core.errors import ConfigError, StoreUnavailable
from hermes.core.tally import StoreTally

from .database import Database, Schema, without_password
from .problems import is_standby, may_be_done_again, standby, translated, was_idle
from .revisions import bring_to_head
from .signals import Signals

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CONNECTIONS = 8
"""Of one node, beside the one of its heart beat. A write holds one for a millisecond."""
PATIENCE_SECONDS = 20.0
"""How long a call waits for a server that is gone, as one is while it restarts."""
OPEN_SECONDS = 15.0
"""How long a start waits for it."""
OPEN_PAUSE_SECONDS = 0.5
CONNECT_SECONDS = 5
OLDEST = 14
"""The first version of PostgreSQL that will do."""


class PostgresDatabase(Database):
    is_shared = True

    def __init__(self, url: URL, schema: Schema, *, is_patient: bool = False) -> None:
        """Connects in a thread of the pool; `opened` says how that went."""
        self._place = without_password(url)
        self._schema = schema
        self._engine = make_engine(url)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="hermes-store")
        self._apart = ThreadPoolExecutor(1, thread_name_prefix="hermes-store-apart")  # its thread comes with a call
        self._local = threading.local()
        self._open: set[Connection] = set()
        self._tally = StoreTally()
        self._depth = 0
        self._counting = threading.Lock()
        self._is_closed = False
        self._is_patient = is_patient
        self._opened = self._threads.submit(self._bring_to_head)

    @property
    def opened(self) -> Future[None]:
        return self._opened

    def give_up(self) -> None:
        self._is_closed = True
        self._threads.shutdown(wait=False)
        self._apart.shutdown(wait=False)

    @property
    def tally(self) -> StoreTally:
        return self._tally

    @property
    def queue_depth(self) -> int:
        return self._depth

    async def write(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        # Shielded, for a write that still waits for its turn would be taken back with its caller.
        return await asyncio.shield(asyncio.wrap_future(self._write(function, args, durable)))

    async def write_apart(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        def write() -> T:
            return self._patiently(lambda conn: _in_transaction(conn, function, args, False))

        return await asyncio.shield(asyncio.wrap_future(self._submit(write, self._apart)))

    def write_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts, durable: bool = False) -> T:
        return self._write(function, args, durable).result()

    async def read(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        return await asyncio.wrap_future(self._submit(lambda: self._read_here(function, args)))

    def read_now(self, function: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        return self._submit(lambda: self._read_here(function, args)).result()

    def signals(self) -> Signals:
        from .postgres_signals import PostgresSignals

        _, arguments = self._engine.dialect.create_connect_args(self._engine.url)
        return PostgresSignals({"connect_timeout": CONNECT_SECONDS, **arguments}, self._place)

    async def close(self) -> None:
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        self._is_closed = True
        self._threads.shutdown()
        self._apart.shutdown()
        for conn in self._open:
            with contextlib.suppress(Exception):
                conn.close()
        self._open.clear()
        self._engine.dispose()

    def _submit(self, work: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> Future[T]:
        if self._is_closed:
            raise StoreUnavailable(f"the database {self._place} is closed")
        try:
            return (threads or self._threads).submit(work)
        except RuntimeError as error:  # closed since we looked
            raise StoreUnavailable(f"the database {self._place} is closed") from error

    def _bring_to_head(self) -> None:
        began = time.monotonic()
        while True:
            try:
                conn = self._connection()
                _check_server(conn, self._place)
                bring_to_head(conn, self._place, self._schema)
                return
            except Exception as error:
                self._drop()
                problem = translated(error, self._place)
                is_over = not self._is_patient or self._is_closed or time.monotonic() - began > OPEN_SECONDS
                if is_over or not may_be_done_again(error):
                    if problem is error:
                        raise
                    raise problem from error
                log.warning("%s; waiting for it up to %g s", problem, OPEN_SECONDS)
                time.sleep(OPEN_PAUSE_SECONDS)

    def _write(self, function: Callable[..., T], args: tuple[Any, ...], durable: bool) -> Future[T]:
        asked_at = time.perf_counter()
        with self._counting:
            self._depth += 1

        def write() -> T:
            try:
                return self._patiently(lambda conn: _in_transaction(conn, function, args, durable))
            finally:
                with self._counting:
                    self._depth -= 1
                    self._tally.write.observe(time.perf_counter() - asked_at)

        try:
            return self._submit(write)
        except BaseException:
            with self._counting:
                self._depth -= 1
            raise

    def _read_here(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        return self._patiently(lambda conn: _in_snapshot(conn, function, args))

    def _patiently(self, work: Callable[[Connection], T]) -> T:
        """Again, on a new connection, for as long as that can help."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        for attempt in itertools.count():
            try:
                return work(self._connection())
            except _CommitLost as lost:
                self._drop()
                raise StoreUnavailable(
                    f"the database {self._place} went away in the middle of a write: whether it was kept is unknown"
                ) from lost.__cause__
            except Exception as error:
                is_again = may_be_done_again(error) and time.monotonic() < give_up_at and not self._is_closed
                if self._is_broken() or is_standby(error):
                    self._drop()
                if is_again:
                    time.sleep(min(0.05 * 2**attempt, 1.0))
                    continue
                problem = translated(error, self._place)
                if problem is error:
                    raise
                raise problem from error
        raise AssertionError("unreachable")

    def _connection(self) -> Connection:
        """This thread's own."""
        conn: Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            from .postgres_text import mend_text

            conn = self._engine.connect()
            driver: Any = conn.connection.driver_connection
            mend_text(driver)
            driver.execute("SET synchronous_commit = off")  # what must outlive a power cut says so, write by write
            # a node that stands still in the middle of a write must not hold up the others for longer than that
            driver.execute("SET idle_in_transaction_session_timeout = '3s'")
            self._local.conn = conn
            self._open.add(conn)
        return conn

    def _is_broken(self) -> bool:
        conn: Connection | None = getattr(self._local, "conn", None)
        return conn is None or bool(conn.connection.driver_connection.closed)  # type: ignore[union-attr]

    def _drop(self) -> None:
        conn: Connection | None = getattr(self._local, "conn", None)
        self._local.conn = None
        if conn is not None:
            self._open.discard(conn)
            with contextlib.suppress(Exception):
                conn.invalidate()
                conn.close()


def _check_server(conn: Connection, place: str) -> None:
    """Raises StoreUnavailable for one that is too old, or that takes no writes."""
    driver: Any = conn.connection.driver_connection
    check_version(driver.info.server_version, place)
    if driver.execute("SHOW transaction_read_only").fetchone()[0] == "on":
        raise standby(place)


def check_version(number: int, place: str) -> None:
    """`number` as libpq has it, 140011 for 14.11."""
    if number < OLDEST * 10_000:
        raise StoreUnavailable(
            f"the database {place} is a PostgreSQL {number // 10_000}, which is too old: {OLDEST} or newer will do"
        )


class _CommitLost(Exception):
    """The connection broke while COMMIT was under way."""


def _in_transaction(conn: Connection, function: Callable[..., T], args: tuple[Any, ...], durable: bool) -> T:
    driver: Any = conn.connection.driver_connection
    # one way to the server and back, not two; what is prepared can be one statement only
    driver.execute("BEGIN; SET LOCAL synchronous_commit = on" if durable else "BEGIN", prepare=False)
    try:
        result = function(conn, *args)
    except BaseException:
        _roll_back(driver)
        raise
    try:
        driver.execute("COMMIT")
    except Exception as error:
        if driver.closed and not was_idle(error):
            raise _CommitLost from error
        _roll_back(driver)
        raise
    return result


def _in_snapshot(conn: Connection, function: Callable[..., T], args: tuple[Any, ...]) -> T:
    driver: Any = conn.connection.driver_connection
    driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return function(conn, *args)
    finally:
        _roll_back(driver)


def _roll_back(driver: Any) -> None:
    with contextlib.suppress(Exception):  # a broken connection has rolled back by itself
        driver.execute("ROLLBACK")


_ALIVE = {"keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000}
"""A server whose machine is gone says nothing: without these a call would wait for a quarter of an hour."""


def make_engine(url: URL) -> Any:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",  # BEGIN and COMMIT are written here
            connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "hermes", **_ALIVE},
        )
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigError(
            "database.url names a PostgreSQL, and its driver is not installed: pip install 'hermes-server[postgres]'"
        ) from error
