"""Transactions of two nodes at one thing: what SQLite's one writer keeps apart by itself holds on PostgreSQL, too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from hermes.core.clock import SystemClock
from hermes.core.errors import Conflict
from hermes.core.message import Message
from hermes.sessions import Sessions
from hermes.store import responses, runs, search, sessions, turns
from hermes.store.database import Database
from hermes.store.responses import KeptResponse
from tests.support.clock import FakeClock
from tests.support.store import a_run, keep_run, keep_session


class Held:
    """A write that has done `work` and commits when it is let go."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._let_go = threading.Event()
        self.reached = threading.Event()

    async def begin(self, work: object) -> asyncio.Task[None]:
        def hold(conn: Connection) -> None:
            work(conn)  # type: ignore[operator]
            self.reached.set()
            assert self._let_go.wait(10)

        task = asyncio.ensure_future(self._database.write(hold))
        await asyncio.to_thread(self.reached.wait, 10)
        return task

    def let_go(self) -> None:
        self._let_go.set()


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[list[Database]]:
    opened = [await Database.open(postgres_url) for _ in range(2)]
    yield opened
    for one in opened:
        await one.close()


async def as_far_as_it_goes(task: asyncio.Future[Any], database: Database) -> None:
    """Until it is done, or waits for a lock of the other."""
    async with asyncio.timeout(10):
        while not task.done() and not await database.read(_waits):
            await asyncio.sleep(0.01)


def _waits(conn: Connection) -> bool:
    here = "SELECT oid FROM pg_database WHERE datname = current_database()"
    waiting = sa.text(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND (database = ({here}) OR database IS NULL)")
    return bool(conn.execute(waiting).scalar())


def begins(conn: Connection) -> None:
    """As a run of that session does."""
    turns.wait_for(conn, "session", "s")
    runs.insert(conn, a_run("r2"))


async def test_a_run_that_begins_on_one_node_keeps_its_session_from_being_deleted_on_another(
    nodes: list[Database],
) -> None:
    await nodes[0].write(keep_session)
    held = Held(nodes[0])
    beginning = await held.begin(begins)
    deleting = asyncio.ensure_future(Sessions(nodes[1], FakeClock()).delete("alice", "s"))
    await as_far_as_it_goes(deleting, nodes[0])
    held.let_go()
    await beginning
    with pytest.raises(Conflict) as refused:
        await deleting
    assert refused.value.code == "session_busy"
    assert await nodes[1].read(runs.get, "r2") is not None


async def test_what_is_tidied_away_leaves_a_session_in_which_a_run_just_begins(nodes: list[Database]) -> None:
    await nodes[0].write(lambda conn: keep_session(conn, is_stateless=True, last_active=1.0))
    await nodes[0].write(lambda conn: keep_session(conn, "old", is_stateless=True, last_active=1.0))
    held = Held(nodes[0])
    beginning = await held.begin(begins)
    assert await nodes[1].write(sessions.purge_stateless, 100.0) == 1  # and it does not wait
    held.let_go()
    await beginning
    assert await nodes[1].read(sessions.get, "s") is not None
    assert await nodes[1].read(sessions.get, "old") is None


def keep_response(conn: Connection) -> None:
    keep_run(conn, "r1")
    responses.keep_chain(conn, "s", "alice", 1.0)
    responses.add(
        conn,
        KeptResponse(id="resp_1", run_id="r1", session_id="s", owner="alice", created_at=1.0, request={}, input=[]),
    )


async def test_the_last_response_that_goes_does_not_take_the_chain_from_one_that_just_begins(
    nodes: list[Database],
) -> None:
    await nodes[0].write(lambda conn: keep_session(conn, source="responses"))
    await nodes[0].write(keep_response)
    held = Held(nodes[0])

    def goes_on(conn: Connection) -> None:
        begins(conn)
        responses.add(
            conn,
            KeptResponse(id="resp_2", run_id="r2", session_id="s", owner="alice", created_at=2.0, request={}, input=[]),
        )

    beginning = await held.begin(goes_on)
    deleting = asyncio.ensure_future(nodes[1].write(responses.delete, "resp_1", "alice"))
    await as_far_as_it_goes(deleting, nodes[0])
    held.let_go()
    await beginning
    assert await deleting
    assert await nodes[1].read(responses.get, "resp_2", "alice") is not None


async def test_a_message_that_comes_into_sight_behind_a_later_one_is_found(nodes: list[Database]) -> None:
    """Its id was given first, and its write took longer: an index that goes by ids would have passed it by."""
    for name in ("s", "t"):
        await nodes[0].write(keep_session, name)
    held = Held(nodes[0])
    slow = await held.begin(lambda conn: sessions.add_messages(conn, "s", None, [Message("user", "apple")], 1.0))
    await nodes[1].write(sessions.add_messages, "t", None, [Message("user", "pear")], 2.0)
    catching_up = asyncio.ensure_future(nodes[1].write(search.catch_up))
    await as_far_as_it_goes(catching_up, nodes[0])
    held.let_go()
    await slow
    await catching_up
    while await nodes[1].write(search.catch_up):
        pass
    assert [await found(nodes[1], word) for word in ("pear", "apple")] == [1, 1]


async def test_two_nodes_that_keep_the_index_at_once_make_it_once(nodes: list[Database]) -> None:
    await nodes[0].write(keep_session)
    for number in range(30):
        await nodes[0].write(sessions.add_messages, "s", None, [Message("user", f"word{number}")], 1.0)
    await asyncio.gather(*(node.write(search.catch_up) for node in nodes for _ in range(4)))
    await asyncio.gather(*(node.write(search.drop) for node in nodes))
    await asyncio.gather(*(Sessions(node, SystemClock()).tidy() for node in nodes))
    assert await nodes[0].read(search.pending) == 0
    assert await found(nodes[1], "word7") == 1


async def found(database: Database, word: str) -> int:
    return len(await database.read(lambda conn: search.find(conn, "alice", search.parse(word), limit=5)))
