"""What PostgreSQL has to itself: many writers, and text that it does not take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from hermes.core.errors import StoreUnavailable
from hermes.store import nodes, sessions
from hermes.store.database import Database
from hermes.store.postgres import CONNECTIONS
from hermes.store.session_list import Listing, list_sessions
from tests.support.store import keep_session


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = await Database.open(postgres_url)
    yield database
    await database.close()


async def test_a_write_that_waits_for_its_turn_happens_though_its_caller_is_cancelled(database: Database) -> None:
    free, busy = threading.Event(), threading.Barrier(CONNECTIONS + 1)

    def hold(_: Connection) -> None:
        busy.wait(10)
        free.wait(10)

    held = [asyncio.ensure_future(database.write(hold)) for _ in range(CONNECTIONS)]
    await asyncio.to_thread(busy.wait, 10)
    waiting = asyncio.ensure_future(database.write(keep_session, "waits"))
    await asyncio.sleep(0)
    assert database.queue_depth == CONNECTIONS + 1
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    free.set()
    await asyncio.gather(*held)
    async with asyncio.timeout(10):
        while database.queue_depth:
            await asyncio.sleep(0)
    assert await database.read(sessions.get, "waits") is not None


async def test_what_is_refused_because_it_is_closed_waits_for_nothing(database: Database) -> None:
    await database.close()
    with pytest.raises(StoreUnavailable, match="is closed"):
        await database.write(keep_session)
    assert database.queue_depth == 0


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "a\ud800"])
async def test_a_question_with_text_that_it_cannot_hold_finds_nothing(database: Database, text: str) -> None:
    await database.write(partial(keep_session, id="s", title="ab"))
    assert await database.read(sessions.get, text) is None
    assert await database.read(list_sessions, text, Listing(words=text)) == []
    assert await database.read(list_sessions, "alice", Listing(words=text)) == []


async def test_a_beat_stands_behind_none_of_the_calls_that_wait(database: Database) -> None:
    free, busy = threading.Event(), threading.Barrier(CONNECTIONS + 1)

    def hold(_: Connection) -> None:
        busy.wait(10)
        free.wait(10)

    held = [asyncio.ensure_future(database.read(hold)) for _ in range(CONNECTIONS)]
    await asyncio.to_thread(busy.wait, 10)
    async with asyncio.timeout(5):
        assert not await database.write_apart(nodes.beat, "node_x", 1.0, False)
    free.set()
    await asyncio.gather(*held)


async def test_a_transaction_that_the_server_ended_because_its_process_stood_still_is_done_again(
    database: Database,
) -> None:
    tries: list[int] = []

    def stand_still(conn: Connection, *, is_late: bool) -> None:
        tries.append(1)
        keep_session(conn, f"s{len(tries)}")
        if len(tries) == 1:
            driver: Any = conn.connection.driver_connection
            driver.execute("SET LOCAL idle_in_transaction_session_timeout = '50ms'")
            time.sleep(0.5)
            if not is_late:
                keep_session(conn, "never")

    for is_late in (False, True):
        tries.clear()
        await database.write(partial(stand_still, is_late=is_late))
        assert len(tries) == 2
        assert await database.read(sessions.get, "s1") is None
        assert await database.read(sessions.get, "s2") is not None
        await database.write(sessions.delete, "s2")
