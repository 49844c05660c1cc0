"""LISTEN and NOTIFY (docs/adr/0097).

One connection listens, since psycopg gives one to whoever waits on it; another sends. Both are the event loop's: a word
needs no thread on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from .signals import EVERYONE, LONGEST_WORD

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.02
MOST_WAITING = 10_000
"""Words for one batch; more are dropped, and that is told."""
CLOSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 2.0

LOST = ""
"""The word that says that others were dropped."""
_NOTIFY = "SELECT pg_notify(c, w) FROM unnest(%s::text[], %s::text[]) AS batch(c, w)"
_SOON_KNOWN_TO_BE_GONE: Mapping[str, Any] = {  # a peer behind a cut cable says nothing
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class PostgresSignals:
    """Of one event loop."""

    def __init__(self, connect_arguments: Mapping[str, Any], place: str) -> None:
        """`connect_arguments` are psycopg's own; `place` is how the database is called in the log."""
        self._arguments = {**_SOON_KNOWN_TO_BE_GONE, **connect_arguments, "application_name": "hermes signals"}
        self._place = place
        self._me = ""
        self._hearing: asyncio.Timeout | None = None
        self._waiting: dict[tuple[str, str], None] = {}
        self._has_words = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._is_closed = False

    def send(self, to: str, word: str) -> None:
        if not 0 < len(word) <= LONGEST_WORD or not (word.isascii() and word.isprintable()):
            raise ValueError(f"{word!r} is no word of 1 to {LONGEST_WORD} printable ASCII characters")
        if self._is_closed:
            return
        self._waiting[_channel(to), word] = None
        if len(self._waiting) > MOST_WAITING:
            self._drop_words()
        self._has_words.set()
        self._be_ready_to_send()

    async def listen(self, me: str, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        self._me = me
        self._be_ready_to_send()  # the first word waits for no connection
        pause = _Pause()
        while True:
            try:
                conn = await self._connect()
                try:
                    await self._listen_on(conn, heard, missed, pause)
                finally:
                    await conn.close()
            except (psycopg.Error, OSError) as error:
                if pause.failures == 0:
                    log.warning("no signals from %s, connecting again: %s", self._place, " ".join(str(error).split()))
                await pause.take()

    def rename(self, me: str) -> None:
        self._me = me
        if self._hearing is not None and not self._hearing.expired():
            self._hearing.reschedule(asyncio.get_running_loop().time())

    async def close(self) -> None:
        self._is_closed = True
        if self._sending is None:
            return
        self._has_words.set()
        await asyncio.wait({self._sending}, timeout=CLOSE_SECONDS)
        while not self._sending.done():  # psycopg answers the first by asking the server, the second by hanging up
            self._sending.cancel()
            await asyncio.wait({self._sending}, timeout=CLOSE_SECONDS / 5)
        with contextlib.suppress(asyncio.CancelledError):
            await self._sending

    async def _listen_on(
        self, conn: AsyncConnection, heard: Callable[[str], None], missed: Callable[[], None], pause: _Pause
    ) -> None:
        """Until the connection breaks."""
        while True:
            me = self._me
            channels = (sql.Identifier(_channel(me)), sql.Identifier(_channel(EVERYONE)))
            await conn.execute(sql.SQL("UNLISTEN *; LISTEN {}; LISTEN {}").format(*channels))
            if me != self._me:
                continue
            pause.failures = 0
            missed()
            self._hearing = hearing = asyncio.timeout(None)
            try:
                async with hearing, aclosing(conn.notifies()) as notifies:
                    async for notify in notifies:
                        if notify.payload == LOST:
                            missed()
                        else:
                            heard(notify.payload)
            except TimeoutError:
                if not hearing.expired():
                    raise
            finally:
                self._hearing = None

    def _be_ready_to_send(self) -> None:
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send_batches(), name="signals: send")

    async def _send_batches(self) -> None:
        conn: AsyncConnection | None = None
        pause = _Pause()
        batch: dict[tuple[str, str], None] = {}
        try:
            while self._waiting or not self._is_closed:
                try:
                    if conn is None:
                        conn = await self._connect()
                    await self._has_words.wait()
                    self._has_words.clear()
                    batch, self._waiting = self._waiting, {}  # a word of now is not merged into what is under way
                    if not batch:
                        continue
                    await conn.execute(_NOTIFY, ([to for to, _ in batch], [word for _, word in batch]))
                    batch, pause.failures = {}, 0
                    await asyncio.sleep(BATCH_SECONDS)
                except (psycopg.Error, OSError) as error:
                    log.debug("words for %s were dropped: %s", self._place, error)
                    if conn is not None:
                        await conn.close()
                        conn = None
                    if self._is_closed:
                        return
                    self._waiting, batch = batch | self._waiting, {}
                    self._drop_words()
                    await pause.take()
        finally:
            if conn is not None:
                await conn.close()

    def _drop_words(self) -> None:
        """Leaves, for each channel, that there were some."""
        self._waiting = {(to, LOST): None for to, _ in self._waiting}
        if self._waiting:
            self._has_words.set()

    async def _connect(self) -> AsyncConnection:
        return await AsyncConnection.connect(**self._arguments, autocommit=True)


class _Pause:
    """Before the next connection: longer and longer."""

    def __init__(self) -> None:
        self.failures = 0

    async def take(self) -> None:
        seconds = min(0.05 * 2 ** min(self.failures, 10), LONGEST_PAUSE_SECONDS)
        self.failures += 1
        await asyncio.sleep(seconds)


def _channel(to: str) -> str:
    """Raises ValueError for what PostgreSQL would cut short."""
    channel = f"hermes.{to}"
    if len(channel.encode()) > 63:
        raise ValueError(f"the node's id {to!r} is too long for a channel's name")
    return channel
