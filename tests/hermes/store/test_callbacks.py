"""Callbacks: kept with a run, due when it has ended, gone with it."""

from __future__ import annotations

import pytest

from hermes.core.errors import Conflict
from hermes.core.run import RunStatus
from hermes.store import callbacks, runs, sessions
from hermes.store.callbacks import Callback
from hermes.store.database import Connection, Database
from tests.support.store import keep_run

URL = "https://example.org/hook"


def keep(conn: Connection, *ids: str, run_id: str = "r", now: float = 1.0) -> None:
    """A run with these callbacks."""
    if runs.get(conn, run_id) is None:
        keep_run(conn, run_id, created_at=now)
    for callback_id in ids:
        callbacks.insert(conn, callback_id, run_id, URL, now)


def end(conn: Connection, run_id: str = "r") -> None:
    runs.set_status(conn, run_id, RunStatus.COMPLETED, 2.0)


def due(conn: Connection, now: float = 10.0, limit: int = 9) -> list[str]:
    return [one.id for one in callbacks.due(conn, now, limit)]


async def test_a_callback_comes_back_whole(database: Database) -> None:
    await database.write(keep, "c")
    kept = Callback(id="c", run_id="r", url=URL, created_at=1.0, attempts=0, next_attempt_at=1.0)
    assert await database.read(callbacks.of_run, "r") == [kept]


async def test_a_callback_of_no_run_is_refused(database: Database) -> None:
    with pytest.raises(Conflict):
        await database.write(callbacks.insert, "c", "nobody", URL, 1.0)


async def test_it_is_due_when_its_run_has_ended_and_not_before(database: Database) -> None:
    await database.write(keep, "c")
    assert (await database.read(due), await database.read(callbacks.awaited_runs)) == ([], ["r"])
    await database.write(end)
    assert (await database.read(due), await database.read(callbacks.awaited_runs)) == (["c"], [])


async def test_the_longest_due_come_first_and_no_more_than_asked_for(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for run_id, now in (("r3", 3.0), ("r1", 1.0), ("r2", 2.0)):
            keep(conn, f"of-{run_id}", run_id=run_id, now=now)
            end(conn, run_id)

    await database.write(fill)
    assert await database.read(due, 2.5) == ["of-r1", "of-r2"]
    assert await database.read(due, 9.0, 1) == ["of-r1"]
    assert await database.read(callbacks.next_due_at, 2.5) == 3.0
    assert await database.read(callbacks.next_due_at, 3.0) is None


async def test_what_is_delivered_is_not_due_again(database: Database) -> None:
    await database.write(keep, "c")
    await database.write(end)
    assert await database.write(callbacks.failed, "c", "it answered 500", 5.0)
    assert await database.write(callbacks.delivered, "c", 6.0)
    assert not await database.write(callbacks.failed, "c", "too late", 7.0)
    (kept,) = await database.read(callbacks.of_run, "r")
    assert (kept.attempts, kept.next_attempt_at, kept.delivered_at, kept.last_error) == (2, None, 6.0, None)
    assert await database.read(due) == []


async def test_a_failed_one_is_due_later_or_given_up(database: Database) -> None:
    await database.write(keep, "again", "never")
    await database.write(end)
    await database.write(callbacks.failed, "again", "no answer", 50.0)
    await database.write(callbacks.failed, "never", "it wants no more\x00", None)
    assert (await database.read(due, 49.0), await database.read(due, 50.0)) == ([], ["again"])
    kept = {one.id: one for one in await database.read(callbacks.of_run, "r")}
    assert (kept["again"].attempts, kept["again"].last_error) == (1, "no answer")
    assert (kept["never"].next_attempt_at, kept["never"].delivered_at) == (None, None)
    assert kept["never"].last_error == "it wants no more\ufffd"


async def test_it_goes_with_its_session(database: Database) -> None:
    await database.write(keep, "c")
    await database.write(end)
    await database.write(sessions.delete, "s")
    assert await database.read(due) == []
