"""The service behind /api/sessions: what an agent's tool or another way in may rely on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.message import Message
from hermes.core.run import RunStatus
from hermes.sessions import SEARCHES_AT_ONCE, Sessions
from hermes.store import keys as key_store
from hermes.store import runs as run_store
from hermes.store import search as search_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection, Database
from hermes.store.postgres import CONNECTIONS
from hermes.store.session_list import Listing
from hermes.store.sqlite import READERS
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.store import a_session, keep_run


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(new_url(tmp_path / "state.db"))
    yield database
    await database.close()


class Impatient(FakeClock):
    """Each look at it takes a second."""

    def monotonic(self) -> float:
        self.time += 1.0
        return self.time


class Restful(FakeClock):
    """Sleeping takes no time, and is counted."""

    rests = 0

    async def sleep(self, seconds: float) -> None:
        self.rests += 1


async def test_a_search_catches_up_first_and_finds_what_was_just_said(database: Database) -> None:
    sessions = Sessions(database, FakeClock())
    await sessions.create("alice", "test", session_id="s", title="T")
    await _say(database, "s", "the swordfish")
    found = await sessions.search("alice", "swordfish")
    assert [(hit.session_id, hit.title, hit.snippet) for hit in found.hits] == [("s", "T", "the >>>swordfish<<<")]
    assert (found.has_more, found.pending) == (False, 0)
    assert (await sessions.search("bob", "swordfish")).hits == []


async def test_a_search_that_would_wait_too_long_says_how_much_is_missing(database: Database) -> None:
    await database.write(session_store.create, a_session("s"))
    await _say(database, "s", *["word " * 20_000] * 5)  # each is a batch of its own
    found = await Sessions(database, Impatient()).search("alice", "word")
    assert (len(found.hits), found.pending) == (1, 4)
    assert (len((await Sessions(database, FakeClock()).search("alice", "word")).hits), found.has_more) == (5, False)


async def test_the_housekeeping_indexes_everything_and_rests_between_its_writes(database: Database) -> None:
    await database.write(session_store.create, a_session("s"))
    await _say(database, "s", *["word " * 20_000] * 3)
    clock = Restful()
    await Sessions(database, clock).tidy()
    assert await database.read(search_store.pending) == 0
    assert clock.rests == 3


async def test_the_housekeeping_makes_an_index_with_words_of_vanished_messages_anew(database: Database) -> None:
    sessions = Sessions(database, Restful())
    for name in ("s", "t"):
        await database.write(session_store.create, a_session(name))
        await _say(database, name, "swordfish")
    await sessions.tidy()
    await database.write(lambda conn: conn.exec_driver_sql("DELETE FROM messages WHERE session_id = 's'"))
    assert await database.read(search_store.has_orphans)
    await sessions.tidy()
    assert not await database.read(search_store.has_orphans)
    assert [hit.session_id for hit in (await sessions.search("alice", "swordfish")).hits] == ["t"]


@pytest.mark.sqlite("it puts its own LIKE into the connections of the readers; the next one is PostgreSQL's")
async def test_searches_leave_readers_for_the_others_however_many_come(database: Database) -> None:
    held, free, together = threading.Semaphore(0), threading.Event(), threading.Barrier(READERS)

    def hold(conn: Connection) -> None:
        together.wait(10)
        conn.connection.driver_connection.create_function("like", 3, wait)  # type: ignore[union-attr]

    def wait(*_: object) -> bool:
        held.release()
        return free.wait(10)

    await database.write(session_store.create, a_session("s"))
    await database.write(session_store.add_messages, "s", None, [Message("user", "日本")], 1.0)
    sessions = Sessions(database, FakeClock())
    await sessions.search("alice", "word")  # the index is made
    await asyncio.gather(*(database.read(hold) for _ in range(READERS)))
    many = [asyncio.ensure_future(sessions.search("alice", "日")) for _ in range(3 * READERS)]
    try:
        for _ in range(SEARCHES_AT_ONCE):
            assert await asyncio.to_thread(held.acquire, timeout=10)
        async with asyncio.timeout(5):
            assert await database.read(session_store.get, "s") is not None
    finally:
        free.set()
        assert {len((await one).hits) for one in many} == {1}


async def test_searches_leave_connections_to_a_postgres_for_the_others(postgres_url: str) -> None:
    database = await Database.open(postgres_url)
    await database.write(session_store.create, a_session("s"))
    await database.write(session_store.add_messages, "s", None, [Message("user", "日本")], 1.0)
    sessions = Sessions(database, FakeClock())
    await sessions.search("alice", "word")  # the index is made
    with psycopg.connect(postgres_url) as blocker, psycopg.connect(postgres_url, autocommit=True) as watcher:
        blocker.execute("LOCK TABLE sessions")
        many = [asyncio.ensure_future(sessions.search("alice", "日")) for _ in range(3 * CONNECTIONS)]
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        async with asyncio.timeout(10):
            while watcher.execute(blocked).fetchone() != (SEARCHES_AT_ONCE,):
                await asyncio.sleep(0.01)
            assert await database.read(key_store.list_keys) == []
        blocker.rollback()
        assert {len((await one).hits) for one in many} == {1}
    await database.close()


async def test_a_session_stays_while_a_run_goes_on_in_one_of_its_sub_agents_and_goes_with_all_of_them(
    database: Database,
) -> None:
    def fill(conn: Connection) -> None:
        keep_run(conn)
        keep_run(conn, "r1", "child", parent_run_id="r")
        keep_run(conn, "r2", "child")
        for run_id in ("r", "r1"):
            run_store.set_status(conn, run_id, RunStatus.CANCELLED, 2.0)

    await database.write(fill)
    forgotten: list[str] = []
    sessions = Sessions(database, FakeClock(), forget=noting(forgotten))
    with pytest.raises(Conflict, match=r"'child' has an open run; .*/runs/r2/stop"):
        await sessions.delete("alice", "s")
    await database.write(run_store.set_status, "r2", RunStatus.CANCELLED, 3.0)
    await sessions.delete("alice", "s")
    assert forgotten == ["s", "child"]


async def test_who_holds_something_of_a_session_is_told_when_it_is_deleted_and_only_then(database: Database) -> None:
    forgotten: list[str] = []
    sessions = Sessions(database, FakeClock(), forget=noting(forgotten))
    await database.write(session_store.create, a_session("s"))
    await database.write(lambda conn: keep_run(conn, "r", "s"))
    with pytest.raises(Conflict, match=r"POST /v1/runs/r/stop"):
        await sessions.delete("alice", "s")
    with pytest.raises(NotFound):
        await sessions.delete("bob", "s")
    assert forgotten == []
    await database.write(lambda conn: conn.exec_driver_sql("UPDATE runs SET finished_at = 2.0"))
    await sessions.delete("alice", "s")
    assert forgotten == ["s"]


async def test_a_new_session_under_a_chosen_id_begins_with_nothing_of_an_earlier_one(database: Database) -> None:
    forgotten: list[str] = []
    sessions = Sessions(database, FakeClock(), forget=noting(forgotten))
    await sessions.create("alice", "api", session_id="chosen")
    await sessions.fork("alice", "chosen", new_session_id="copy")
    with pytest.raises(Conflict):  # of one that lives, nothing is let go
        await sessions.create("bob", "api", session_id="chosen")
    await sessions.create("alice", "api")
    assert forgotten == ["chosen", "copy"]


def noting(forgotten: list[str]) -> Callable[[str], Awaitable[None]]:
    async def forget(session_id: str) -> None:
        forgotten.append(session_id)

    return forget


async def test_text_that_no_database_can_hold_is_mended(database: Database) -> None:
    sessions = Sessions(database, FakeClock())
    made = await sessions.create("alice", "test", title="a\ud800b", system_prompt="x\x00y")
    assert (made.title, made.system_prompt) == ("a\ufffdb", "x\ufffdy")
    assert await sessions.get("alice", made.id) == made
    assert '"title":"a\ufffdb"' in (await sessions.list("alice", Listing())).summaries[0]


async def test_a_fork_keeps_what_the_session_is_and_not_what_it_spent(database: Database) -> None:
    clock: Clock = FakeClock(5.0)
    sessions = Sessions(database, clock)
    source = a_session("s", title="T", model="m", model_choice="fast", session_key="key", system_prompt="Be brief.")
    await database.write(session_store.create, source)
    copy = await sessions.fork("alice", "s", new_session_id="c")
    assert copy == a_session(
        "c",
        title="T (fork)",
        model="m",
        model_choice="fast",
        session_key="key",
        system_prompt="Be brief.",
        parent_session_id="s",
        started_at=5.0,
        last_active=5.0,
    )
    with pytest.raises(NotFound, match="no session 's'"):
        await sessions.fork("bob", "s")
    with pytest.raises(InvalidInput):
        await sessions.fork("alice", "s", title="two\nlines")


async def test_changing_nothing_gives_the_session_as_it_is(database: Database) -> None:
    sessions = Sessions(database, FakeClock())
    made = await sessions.create("alice", "test", title="T")
    assert await sessions.change("alice", made.id, {}) == made
    with pytest.raises(NotFound):
        await sessions.change("bob", made.id, {"title": "mine"})


async def _say(database: Database, session_id: str, *texts: str) -> None:
    def say(conn: Connection) -> None:
        session_store.add_messages(conn, session_id, None, [Message("user", text) for text in texts], 1.0)

    await database.write(say)
