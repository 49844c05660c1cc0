"""Runs, and the statuses they may take."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from hermes.core.errors import Conflict
from hermes.core.event import KeptEvent, MessageDelta, RunStarted
from hermes.core.run import TRANSITIONS, RunStatus, Usage
from hermes.store import events, runs
from hermes.store.database import Connection, Database
from tests.support.database import new_url
from tests.support.store import a_run, keep_run


async def test_a_run_comes_back_whole(database: Database) -> None:
    run = a_run(
        status=RunStatus.FAILED,
        model="gpt",
        started_at=2.0,
        finished_at=3.0,
        last_event="run.failed",
        last_seq=7,
        output="half an ans",
        finish_reason="length",
        usage=Usage(1, 2, 3, 4, 5, 6, 0.5),
        error={"message": "no", "code": "upstream_error"},
        is_durable=True,
        resumed=2,
        request={"messages": [["user", "hello"]], "params": {"temperature": 0.5, "stop": None}},
    )
    await database.write(lambda conn: keep_run(conn, **_fields(run)))
    assert await database.read(runs.get, "r") == run


async def test_an_unknown_run_is_none(database: Database) -> None:
    assert await database.read(runs.get, "nobody") is None


async def test_a_run_of_an_unknown_session_is_refused(database: Database) -> None:
    with pytest.raises(Conflict, match=r"(?i)foreign key"):
        await database.write(runs.insert, a_run())


@pytest.mark.parametrize(("before", "after"), list(product(RunStatus, RunStatus)))
def test_a_status_changes_only_along_the_legal_transitions(before: RunStatus, after: RunStatus) -> None:
    database = Database.open_now(new_url())
    database.write_now(lambda conn: keep_run(conn, status=before))
    is_legal = after in TRANSITIONS[before]
    assert database.write_now(runs.set_status, "r", after, 5.0) is is_legal
    run = database.read_now(runs.get, "r")
    assert run is not None
    assert run.status is (after if is_legal else before)
    assert run.updated_at == (5.0 if is_legal else 1.0)
    assert run.finished_at == (5.0 if is_legal and after.is_final else None)
    database.close_now()


async def test_a_status_sets_the_fields_that_come_with_it(database: Database) -> None:
    await database.write(lambda conn: keep_run(conn, status=RunStatus.QUEUED, request={"messages": []}))
    changes: dict[str, Any] = {"started_at": 4.0, "model": "other", "resumed": 1, "lease": 3, "request": {}}
    assert await database.write(lambda conn: runs.set_status(conn, "r", RunStatus.RUNNING, 4.0, **changes))
    del changes["lease"]  # the record does not show it
    assert await database.read(runs.get, "r") == a_run(status=RunStatus.RUNNING, updated_at=4.0, **changes)


async def test_a_field_that_a_status_does_not_set_is_a_mistake_of_the_caller(database: Database) -> None:
    with pytest.raises(TypeError, match="owner"):
        await database.write(lambda conn: runs.set_status(conn, "r", RunStatus.RUNNING, 4.0, owner="mallory"))


async def test_the_status_of_an_unknown_run_does_not_change(database: Database) -> None:
    assert await database.write(runs.set_status, "nobody", RunStatus.FAILED, 1.0) is False


async def test_the_end_of_a_run_is_written_once(database: Database) -> None:
    await database.write(keep_run)
    assert await database.write(_finish, RunStatus.COMPLETED, "all of it") is True
    assert await database.write(_finish, RunStatus.CANCELLED, "too late") is False
    assert await database.read(runs.get, "r") == a_run(
        status=RunStatus.COMPLETED,
        updated_at=9.0,
        finished_at=9.0,
        output="all of it",
        finish_reason="stop",
        usage=Usage(1, 2, cost_usd=0.25),
        error={"code": "none"},
        last_event="run.completed",
        last_seq=4,
    )


async def test_a_run_does_not_end_in_a_status_that_is_no_end(database: Database) -> None:
    with pytest.raises(ValueError, match="running"):
        await database.write(_finish, RunStatus.RUNNING, "")


async def test_a_run_that_goes_on_shows_its_newest_event(database: Database) -> None:
    def go(conn: Connection) -> None:
        keep_run(conn)
        kept = [KeptEvent(1, 1.0, RunStarted("s", "m")), KeptEvent(2, 1.0, MessageDelta("hel"))]
        events.append(conn, "r", kept)

    await database.write(go)
    run = await database.read(runs.get, "r")
    assert run is not None
    assert (run.last_event, run.last_seq) == ("message.delta", 2)


async def test_open_runs_are_those_that_have_not_ended_oldest_first(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for number, status in enumerate(RunStatus):
            if status.is_final:
                keep_run(conn, status.value)
                runs.set_status(conn, status.value, status, 5.0)
            else:
                keep_run(conn, status.value, status=status, created_at=100.0 - number)

    await database.write(fill)
    assert [run.id for run in await database.read(runs.open_runs)] == [
        "stopping",
        "waiting_for_approval",
        "running",
        "queued",
    ]


async def test_a_list_of_runs_is_the_owners_own_the_newest_first(database: Database) -> None:
    await database.write(_keep_many)
    listed = await database.read(runs.list_runs, "alice")
    assert [run.id for run in listed] == [f"r{number}" for number in (8, 7, 6, 5, 4, 3, 2, 1, 0)]


async def test_a_list_of_runs_can_be_of_one_session_and_some_statuses(database: Database) -> None:
    await database.write(_keep_many)
    of_session = await database.read(lambda conn: runs.list_runs(conn, "alice", session_id="s1"))
    assert [run.id for run in of_session] == ["r7", "r4", "r1"]
    running = await database.read(
        lambda conn: runs.list_runs(conn, "alice", session_id="s1", statuses=[RunStatus.QUEUED])
    )
    assert [run.id for run in running] == ["r4"]


async def test_pages_of_runs_show_each_once(database: Database) -> None:
    await database.write(_keep_many)

    def by_cursor(conn: Connection) -> list[str]:
        seen: list[str] = []
        before: tuple[float, str] | None = None
        while page := runs.list_runs(conn, "alice", limit=4, before=before):
            seen += [run.id for run in page]
            before = (page[-1].created_at, page[-1].id)
        return seen

    assert await database.read(by_cursor) == [f"r{number}" for number in (8, 7, 6, 5, 4, 3, 2, 1, 0)]


@pytest.mark.sqlite("the plan is SQLite's")
@pytest.mark.parametrize(
    ("options", "index"),
    [
        ({}, "runs_of_owner"),
        ({"before": (5.0, "r")}, "runs_of_owner"),
        ({"session_id": "s1"}, "runs_of_session"),
        ({"statuses": [RunStatus.RUNNING, RunStatus.QUEUED]}, "runs_open"),
        ({"statuses": [RunStatus.FAILED]}, "runs_broken"),
        ({"statuses": [RunStatus.FAILED, RunStatus.CANCELLED], "before": (5.0, "r")}, "runs_broken"),
        ({"statuses": [RunStatus.COMPLETED, RunStatus.FAILED]}, "runs_of_owner"),
    ],
)
def test_a_list_of_runs_goes_along_an_index(options: dict[str, Any], index: str) -> None:
    database = Database.open_now(new_url())

    def plan(conn: Connection) -> str:
        driver: Any = conn.connection.driver_connection
        asked: list[str] = []
        driver.set_trace_callback(asked.append)
        runs.list_runs(conn, "alice", **options)
        driver.set_trace_callback(None)
        (query,) = [sql for sql in asked if sql.startswith("SELECT")]
        return " ".join(row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {query}"))

    found = database.write_now(plan)
    database.close_now()
    assert f"USING INDEX {index}" in found


def _finish(conn: Connection, status: RunStatus, output: str) -> bool:
    usage = Usage(1, 2, cost_usd=0.25)
    ended = runs.finish(conn, "r", status, 9.0, output, "stop", usage, {"code": "none"}, "run.completed", 4)
    return ended is not None


def _keep_many(conn: Connection) -> None:
    """r0 … r8 over three sessions, each pair created at one moment; every second one queued; one of somebody else."""
    for number in range(9):
        status = RunStatus.QUEUED if number % 2 == 0 else RunStatus.RUNNING
        keep_run(conn, f"r{number}", f"s{number % 3}", status=status, created_at=float(number // 2))
    keep_run(conn, "foreign", owner="bob", created_at=99.0)


def _fields(run: Any) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__slots__ if name not in ("id", "session_id", "is_replay")}
