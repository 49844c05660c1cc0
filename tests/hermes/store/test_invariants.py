"""What must hold of our data: a database that was really used has no finding, and each way to break it has its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from hermes.core import event as run_events
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.message import Message
from hermes.core.ports import ApprovalQuestion
from hermes.core.run import RunStatus, Usage
from hermes.store import approvals, events, runs, sessions, started_calls
from hermes.store.database import Database
from hermes.store.invariants import EVENTS_REMOVED_BEFORE, check
from tests.support.store import keep_run

STARTED = run_events.RunStarted("s", "m")
DELTA = run_events.MessageDelta("a")
COMPLETED = run_events.RunCompleted("a", {})


def told(conn: Connection, run_id: str, *happened: RunEvent, after: int = 0) -> None:
    events.append(conn, run_id, [KeptEvent(seq, 1.0, event) for seq, event in enumerate(happened, after + 1)])


def end(conn: Connection, run_id: str, last_seq: int = 3, status: RunStatus = RunStatus.COMPLETED) -> None:
    runs.finish(conn, run_id, status, 9.0, None, None, Usage(), None, f"run.{status}", last_seq)


def fill(conn: Connection) -> None:
    """An ended run, one at work that waits for an answer in the middle of a call, and one that waits in line."""
    keep_run(conn, "ended")
    told(conn, "ended", STARTED, DELTA, COMPLETED)
    end(conn, "ended")
    keep_run(conn, "open", "s2")
    told(conn, "open", STARTED, DELTA)
    started_calls.mark(conn, "open", "c1", 1.0)
    approvals.ask(conn, a_question(), 60.0, 1.0)
    keep_run(conn, "queued", "s2", status=RunStatus.QUEUED)
    sessions.add_messages(conn, "s", "ended", [Message("user", "x"), Message("assistant", "y")], 1.0)


def a_question(id: str = "a1", run_id: str = "open") -> ApprovalQuestion:  # noqa: A002 the field's own name
    return ApprovalQuestion(
        id=id,
        run_id=run_id,
        session_id="s2",
        tool="terminal",
        tool_call_id="c1",
        command="rm -r x",
        description="deletes",
        pattern="rm",
    )


async def names(database: Database) -> list[str]:
    return [finding.name for finding in await database.read(check)]


def sql(text: str) -> Callable[[Connection], None]:
    def run(conn: Connection) -> None:
        conn.exec_driver_sql(text)

    return run


async def test_nothing_is_found_in_an_empty_database_nor_in_one_at_work(database: Database) -> None:
    assert await names(database) == []
    await database.write(fill)
    assert await names(database) == []


BREAKS: dict[str, list[Callable[[Connection], None]]] = {
    "event_gap": [
        sql("DELETE FROM events WHERE run_id = 'ended' AND seq = 1"),
        sql("DELETE FROM events WHERE run_id = 'open' AND seq = 1"),
        sql("UPDATE events SET seq = 4 WHERE run_id = 'ended' AND seq = 3"),
    ],
    "event_behind_the_end": [
        lambda conn: told(conn, "ended", DELTA, after=3),
        lambda conn: told(conn, "ended", COMPLETED, after=3),
    ],
    "open_with_final_event": [lambda conn: told(conn, "open", COMPLETED, after=2)],
    "no_final_event": [
        sql("DELETE FROM events WHERE run_id = 'ended'"),
        sql("DELETE FROM events WHERE run_id = 'ended' AND seq = 3"),
        sql("UPDATE runs SET status = 'failed' WHERE id = 'ended'"),
        sql("UPDATE events SET name = 'run.failed' WHERE run_id = 'ended' AND seq = 3"),
    ],
    "last_event_differs": [
        sql("UPDATE runs SET last_seq = 2 WHERE id = 'ended'"),
        sql("UPDATE runs SET last_event = NULL WHERE id = 'ended'"),
    ],
    "status_and_end_differ": [
        sql("UPDATE runs SET finished_at = NULL WHERE id = 'ended'"),
        sql("UPDATE runs SET finished_at = 1.0 WHERE id = 'open'"),
    ],
    "two_runs_at_once": [sql("UPDATE runs SET status = 'running', started_at = 1 WHERE session_id = 's2'")],
    "message_count_differs": [
        sql("DELETE FROM messages WHERE role = 'user'"),
        sql("INSERT INTO messages (session_id, created_at, role, content, reasoning) VALUES ('s', 1, 'user', '', '')"),
    ],
    "chain_of_another_owner": [sql("INSERT INTO response_chains (session_id, owner, used_at) VALUES ('s', 'bob', 1)")],
}


@pytest.mark.parametrize(("name", "break_it"), [(name, one) for name, ways in BREAKS.items() for one in ways])
async def test_each_way_to_break_it_has_its_finding(
    database: Database, name: str, break_it: Callable[[Connection], None]
) -> None:
    await database.write(fill)
    await database.write(break_it)
    assert name in await names(database)


async def test_one_that_is_stopped_while_it_waits_is_not_at_work(database: Database) -> None:
    await database.write(fill)
    await database.write(sql("UPDATE runs SET status = 'stopping' WHERE id = 'queued'"))
    assert await names(database) == []


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.INTERRUPTED])
async def test_a_run_that_is_ended_leaves_no_question_and_no_call_behind(database: Database, status: RunStatus) -> None:
    def stop(conn: Connection) -> None:
        kinds: dict[RunStatus, RunEvent] = {
            RunStatus.CANCELLED: run_events.RunCancelled("stopped"),
            RunStatus.FAILED: run_events.RunFailed({}),
            RunStatus.INTERRUPTED: run_events.RunInterrupted("killed"),
        }
        told(conn, "open", kinds[status], after=2)
        end(conn, "open", status=status)

    await database.write(fill)
    await database.write(stop)
    assert await names(database) == []
    answer = await database.read(approvals.get_answer, "a1")
    assert answer is not None
    assert (answer.choice, answer.outcome, answer.reason) == (
        "deny",
        "policy",
        "the run ended before somebody answered",
    )


async def test_what_an_ended_run_left_behind_is_found(database: Database) -> None:
    def leave(conn: Connection) -> None:
        started_calls.mark(conn, "ended", "c1", 1.0)
        approvals.ask(conn, a_question("a2", "ended"), 60.0, 1.0)

    await database.write(fill)
    await database.write(leave)
    assert await names(database) == ["call_of_an_ended_run", "approval_of_an_ended_run"]


async def test_events_that_were_removed_for_their_age_are_no_finding_and_newer_losses_are(database: Database) -> None:
    await database.write(fill)
    await database.write(sql("DELETE FROM events WHERE run_id = 'ended' AND seq < 3"))
    await database.write(sql(f"INSERT INTO facts (name, value) VALUES ('{EVENTS_REMOVED_BEFORE}', '9.5')"))
    assert await names(database) == []
    await database.write(sql("UPDATE facts SET value = '8.5'"))
    assert await names(database) == ["event_gap"]
    await database.write(sql("UPDATE facts SET value = '9.5'"))
    await database.write(sql("DELETE FROM events WHERE run_id = 'ended'"))
    assert await names(database) == ["no_final_event"]
    await database.write(lambda conn: told(conn, "ended", DELTA, COMPLETED, after=1))
    assert await names(database) == ["event_gap"]


async def test_jobs_that_never_fire_or_would_fire_too_much_are_found(database: Database) -> None:
    def add(conn: Connection) -> None:
        for job_id, state, due in (
            ("good", "scheduled", "5"),
            ("never", "scheduled", "NULL"),
            ("much", "paused", "5"),
            ("done", "completed", "NULL"),
        ):
            conn.exec_driver_sql(
                "INSERT INTO jobs (id, owner, name, schedule, timezone, anchor, prompt, deliver, skills, catch_up,"
                " state, created_at, updated_at, fired, next_due) VALUES"
                f" ('{job_id}', 'owner', 'j', '1h', 'UTC', 0, 'p', 'local', '[]', 'one', '{state}', 1, 1, 0, {due})"
            )

    await database.write(add)
    found = await database.read(check)
    assert [(one.name, one.ids) for one in found] == [
        ("job_never_due", ("never",)),
        ("job_due_and_not_scheduled", ("much",)),
    ]


async def test_of_many_the_first_are_named_and_all_are_counted(database: Database) -> None:
    def add(conn: Connection) -> None:
        for number in range(7):
            keep_run(conn, f"r{number}", f"s{number}")
            end(conn, f"r{number}", last_seq=1)

    await database.write(add)
    (found,) = await database.read(check)
    assert found.ids == ("r0", "r1", "r2", "r3", "r4")
    assert found.text == "7 ended runs whose last event does not tell that end: r0, r1, r2, r3, r4, …"
