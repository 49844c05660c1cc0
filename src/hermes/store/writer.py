"""The one thread that writes to SQLite: it takes all that waits, and commits it as one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from hermes.core.errors import StoreUnavailable
from hermes.core.tally import StoreTally

from .problems import translated

MOST_AT_ONCE = 256
"""So that the first of a batch does not wait for an endless queue behind it."""


@dataclass(slots=True)
class Call:
    """A function that waits for the thread. `loop` is None where a thread waits instead of a coroutine."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    is_durable: bool
    future: asyncio.Future[Any] | Future[Any]
    loop: asyncio.AbstractEventLoop | None
    result: Any = None
    error: BaseException | None = None
    asked_at: float = field(default_factory=time.perf_counter)


class Writer:
    """`connect` is called in the thread, so that opening blocks no loop either; `committed`, with the driver's
    connection, after each transaction."""

    def __init__(self, connect: Callable[[], Connection], committed: Callable[[Any], None], place: str) -> None:
        self.opened: Future[None] = Future()
        self.tally = StoreTally()
        self._connect = connect
        self._committed = committed
        self._place = place
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self.is_closed = False
        self._has_end_mark = False
        self._driver: Any = None
        self._synchronous = ""
        self._thread = threading.Thread(target=self._live, name="hermes-store-writer", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many calls wait."""
        return self._queue.qsize()

    def put(self, call: Call) -> None:
        """Raises StoreUnavailable once it is closed."""
        with self._closing:  # nothing may come behind the end mark, where nobody would answer it
            if self.is_closed:
                raise StoreUnavailable(f"the database {self._place} is closed")
            self._queue.put(call)

    def refuse(self) -> None:
        """No more calls are taken; those before are still done, and the connection stays open."""
        with self._closing:
            self.is_closed = True

    def close(self) -> None:
        """Refuses, and ends behind the calls before; returns at once. `join` waits until that is done."""
        with self._closing:
            self.is_closed = True
            if not self._has_end_mark:
                self._has_end_mark = True
                self._queue.put(None)

    def join(self) -> None:
        self._thread.join()

    def _live(self) -> None:
        self.opened.set_running_or_notify_cancel()  # from here on a waiter that gives up cannot cancel it
        try:
            self._open()
        except BaseException as error:  # noqa: BLE001 whoever opens it is told
            self.is_closed = True
            self.opened.set_exception(translated(error, self._place))
            return
        self.opened.set_result(None)
        is_open = True
        while is_open:
            batch, is_open = self._take()
            if batch:
                self._commit(batch)
                self._count(batch)
                _deliver(batch)
                if self._driver is not None:
                    self._committed(self._driver)
        self._close()

    def _count(self, batch: Sequence[Call]) -> None:
        now = time.perf_counter()
        for call in batch:
            self.tally.write.observe(now - call.asked_at)

    def _open(self) -> None:
        self._conn = self._connect()
        self._driver = self._conn.connection.driver_connection
        self._synchronous = ""

    def _close(self) -> None:
        self._driver = None
        with contextlib.suppress(Exception):
            self._conn.close()

    def _take(self) -> tuple[list[Call], bool]:
        """What waits now, at least one call; and whether more may come."""
        batch: list[Call] = []
        call = self._queue.get()
        while call is not None:
            batch.append(call)
            if len(batch) == MOST_AT_ONCE:
                return batch, True
            try:
                call = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: Sequence[Call]) -> None:
        """Runs all of them in one transaction. A call that raises is undone alone. If the transaction itself is
        lost (no room, no lock, a broken disk), none of them was written, and all are told so."""
        try:
            if self._driver is None:
                self._open()
            driver = self._driver
            self._set_synchronous("FULL" if any(call.is_durable for call in batch) else "NORMAL")
            driver.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:
                self._apply(batch[0])
                if batch[0].error is not None:
                    self._roll_back()
                    return
            else:
                for call in batch:
                    driver.execute("SAVEPOINT one")
                    self._apply(call)
                    if call.error is not None:
                        if not driver.in_transaction:  # SQLite gave up the whole of it
                            raise call.error
                        driver.execute("ROLLBACK TO one")
                    driver.execute("RELEASE one")
            driver.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 whoever waits is told, and the thread lives on
            self._roll_back()
            for call in batch:
                call.error = translated(error, self._place)

    def _apply(self, call: Call) -> None:
        try:
            call.result = call.function(self._conn, *call.arguments)
        except StopIteration as error:  # no future takes one
            call.error = RuntimeError(f"{call.function} raised StopIteration")
            call.error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 its caller gets it
            call.error = translated(error, self._place)

    def _set_synchronous(self, level: str) -> None:
        if level != self._synchronous:
            self._driver.execute(f"PRAGMA synchronous={level}")
            self._synchronous = level

    def _roll_back(self) -> None:
        try:
            if self._driver is not None and self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 whatever is wrong with this connection, the next batch opens another
            self._close()


def _deliver(batch: Sequence[Call]) -> None:
    """One wake-up a loop, however many waited."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Call]] = {}
    for call in batch:
        if call.loop is None:
            _settle([call])
        else:
            by_loop.setdefault(call.loop, []).append(call)
    for loop, calls in by_loop.items():
        with contextlib.suppress(RuntimeError):  # that loop is closed, and with it whoever waited
            loop.call_soon_threadsafe(_settle, calls)


def _settle(calls: Sequence[Call]) -> None:
    for call in calls:
        future = call.future
        if future.done():  # its waiter was cancelled; the write stands all the same
            continue
        if call.error is not None:
            future.set_exception(call.error)
        else:
            future.set_result(call.result)
