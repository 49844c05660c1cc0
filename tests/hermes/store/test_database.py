"""Writes are grouped, read back at once, undone alone; the writer outlives every failure."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from hermes.core.errors import ConfigError, StoreUnavailable
from hermes.store import sessions
from hermes.store.database import Database
from tests.support.store import a_session, keep_session

pytestmark = pytest.mark.sqlite("one writer, readers, and their file")


@pytest.fixture
async def on_disk(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url)
    yield database
    await database.close()


async def test_what_was_written_is_read_back_at_once(database: Database) -> None:
    for number in range(50):
        await database.write(keep_session, f"s{number}")
        assert await database.read(sessions.get, f"s{number}") == a_session(f"s{number}")


async def test_what_was_written_is_there_after_opening_again(url: str) -> None:
    database = await Database.open(url)
    await database.write(keep_session)
    await database.close()
    database = await Database.open(url)
    assert await database.read(sessions.get, "s") == a_session()
    await database.close()


async def test_a_write_returns_what_its_function_returns(database: Database) -> None:
    assert await database.write(lambda conn: conn.execute(text("SELECT 40 + :two"), {"two": 2}).scalar()) == 42


async def test_a_failed_write_leaves_nothing_and_raises_its_own_error(database: Database) -> None:
    with pytest.raises(LookupError, match="after the insert"):
        await database.write(_keep_and_fail, "s")
    assert await database.read(sessions.get, "s") is None


async def test_writes_that_wait_together_are_one_transaction(on_disk: Database) -> None:
    said = await _traced(on_disk)
    async with _held(on_disk) as waiting:
        waiting += [asyncio.create_task(on_disk.write(keep_session, f"s{number}")) for number in range(50)]
    assert said.count("BEGIN IMMEDIATE") == 2  # the one that held the writer, and the fifty
    assert said.count("COMMIT") == 2
    assert len(await on_disk.read(_ids)) == 50


async def test_a_failure_among_grouped_writes_undoes_that_one_alone(on_disk: Database) -> None:
    async with _held(on_disk) as waiting:
        waiting += [
            asyncio.create_task(on_disk.write(keep_session, "before")),
            asyncio.create_task(on_disk.write(_keep_and_fail, "failed")),
            asyncio.create_task(on_disk.write(keep_session, "after")),
        ]
    outcomes = [task.exception() for task in waiting]
    assert isinstance(outcomes[1], LookupError)
    assert [outcomes[0], outcomes[2]] == [None, None]
    assert await on_disk.read(_ids) == ["after", "before"]


async def test_when_a_transaction_is_lost_all_its_writes_are_told_and_the_writer_goes_on(on_disk: Database) -> None:
    async with _held(on_disk) as waiting:
        waiting += [
            asyncio.create_task(on_disk.write(keep_session, "first")),
            asyncio.create_task(on_disk.write(_lose_the_transaction)),
            asyncio.create_task(on_disk.write(keep_session, "last")),
        ]
    assert [type(task.exception()) for task in waiting] == [OSError, OSError, OSError]
    await on_disk.write(keep_session, "later")
    assert await on_disk.read(_ids) == ["later"]


async def test_a_durable_write_is_synced_and_the_next_ordinary_one_is_not(on_disk: Database) -> None:
    said = await _traced(on_disk)
    await on_disk.write(keep_session, "kept", durable=True)
    await on_disk.write(keep_session, "ordinary")
    of_interest = [line for line in said if line.startswith(("PRAGMA", "COMMIT"))]
    assert of_interest == ["PRAGMA synchronous=FULL", "COMMIT", "PRAGMA synchronous=NORMAL", "COMMIT"]


async def test_one_durable_write_makes_its_whole_group_durable(on_disk: Database) -> None:
    said = await _traced(on_disk)
    async with _held(on_disk) as waiting:
        waiting += [asyncio.create_task(on_disk.write(keep_session, f"s{n}", durable=n == 3)) for n in range(5)]
    assert [line for line in said if line.startswith(("PRAGMA", "COMMIT"))] == [
        "COMMIT",
        "PRAGMA synchronous=FULL",
        "COMMIT",
    ]


async def test_a_cancelled_writer_stops_waiting_but_its_write_happens(on_disk: Database) -> None:
    async with _held(on_disk):
        abandoned = asyncio.create_task(on_disk.write(keep_session, "abandoned"))
        await asyncio.sleep(0)  # it is in the queue now
        abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    await on_disk.write(keep_session, "next")
    assert await on_disk.read(_ids) == ["abandoned", "next"]


async def test_queue_depth_counts_the_writes_that_wait(on_disk: Database) -> None:
    async with _held(on_disk) as waiting:
        assert on_disk.queue_depth == 0
        waiting += [asyncio.create_task(on_disk.write(keep_session, f"s{number}")) for number in range(3)]
        await asyncio.sleep(0)
        assert on_disk.queue_depth == 3


async def test_closing_finishes_what_waits_and_refuses_what_comes_later(url: str) -> None:
    database = await Database.open(url)
    async with _held(database) as waiting:
        waiting += [asyncio.create_task(database.write(keep_session, f"s{number}")) for number in range(20)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(database.close())
    await closing
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.write(keep_session, "late")
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.read(_ids)
    again = await Database.open(url)
    assert len(await again.read(_ids)) == 20
    await again.close()


async def test_closing_leaves_one_file(url: str, tmp_path: Path) -> None:
    database = await Database.open(url)
    await database.write(keep_session)
    await database.read(_ids)
    await database.close()
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


def test_several_loops_and_threads_share_one_database(url: str) -> None:
    database = Database.open_now(url)

    async def write_some(name: str) -> None:
        await asyncio.gather(*(database.write(keep_session, f"{name}{number:02}") for number in range(50)))
        assert len([one for one in await database.read(_ids) if one.startswith(name)]) == 50

    def write_some_now() -> None:
        for number in range(50):
            database.write_now(keep_session, f"now{number:02}")
        assert len([one for one in database.read_now(_ids) if one.startswith("now")]) == 50

    failures: list[BaseException] = []
    works: list[Callable[[], None]] = [lambda name=name: asyncio.run(write_some(name)) for name in ("a", "b", "c")]  # type: ignore[misc]
    threads = [threading.Thread(target=_noting(failures, work)) for work in [*works, write_some_now]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(database.read_now(_ids)) == 200
    database.close_now()


async def test_a_read_sees_one_moment_only(on_disk: Database) -> None:
    await on_disk.write(keep_session, "first")
    has_looked, may_look_again = threading.Event(), threading.Event()

    def look_twice(conn: Connection) -> tuple[list[str], list[str]]:
        first = _ids(conn)
        has_looked.set()
        may_look_again.wait()
        return first, _ids(conn)

    looking = asyncio.create_task(on_disk.read(look_twice))
    await asyncio.to_thread(has_looked.wait)
    await on_disk.write(keep_session, "second")
    may_look_again.set()
    assert await looking == (["first"], ["first"])
    assert await on_disk.read(_ids) == ["first", "second"]


async def test_a_read_cannot_write(on_disk: Database) -> None:
    with pytest.raises(StoreUnavailable, match="read-only"):
        await on_disk.read(keep_session)


async def test_a_bug_in_a_function_is_not_called_a_store_failure(database: Database) -> None:
    with pytest.raises(Exception, match=r"binding parameter|cannot adapt") as caught:
        await database.write(lambda conn: sessions.create(conn, a_session(title={"no": "text"})))
    assert not isinstance(caught.value, StoreUnavailable)


async def test_a_log_that_grows_is_copied_back_beside_the_writer(url: str, tmp_path: Path) -> None:
    database = await Database.open(url)
    for batch in range(4):
        await database.write(_keep_many, batch)
    async with asyncio.timeout(30):
        while (tmp_path / "state.db").stat().st_size < 100_000:
            await database.read(_ids)
    await database.close()


async def test_the_files_are_the_owners_alone(url: str, tmp_path: Path) -> None:
    database = await Database.open(url)
    await database.write(keep_session)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    await database.close()


@pytest.mark.parametrize("url", ["mysql://localhost/hermes", "state.db", ""])
async def test_a_url_of_no_database_that_is_known_says_what_to_write(url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:////"):
        await Database.open(url)


@asynccontextmanager
async def _held(database: Database) -> AsyncIterator[list[asyncio.Task[None]]]:
    """The writer stands still inside; what is asked of it meanwhile waits. At the end it goes on, and all is done."""
    is_held, may_go = threading.Event(), threading.Event()

    def hold(conn: Connection) -> None:
        is_held.set()
        may_go.wait()

    holding = asyncio.create_task(database.write(hold))
    await asyncio.to_thread(is_held.wait)
    waiting: list[asyncio.Task[None]] = []
    try:
        yield waiting
        await asyncio.sleep(0)  # the tasks come to their first await: they are in the queue
    finally:
        may_go.set()
        await asyncio.gather(holding, *waiting, return_exceptions=True)


async def _traced(database: Database) -> list[str]:
    """Every statement of the writer from now on."""
    said: list[str] = []
    await database.write(lambda conn: _driver(conn).set_trace_callback(said.append))
    said.clear()
    return said


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection


def _keep_many(conn: Connection, batch: int) -> None:
    for number in range(500):
        keep_session(conn, f"s{batch}-{number}")


def _keep_and_fail(conn: Connection, session_id: str) -> None:
    keep_session(conn, session_id)
    raise LookupError("after the insert")


def _lose_the_transaction(conn: Connection) -> None:
    """What SQLite does by itself when the disk is full at a bad moment."""
    _driver(conn).execute("ROLLBACK")
    raise OSError("no transaction any more")


def _ids(conn: Connection) -> list[str]:
    return list(conn.execute(text("SELECT id FROM sessions ORDER BY id")).scalars())


def _noting(failures: list[BaseException], work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 the test looks at it
            failures.append(error)

    return run
