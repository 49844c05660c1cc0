"""A question waits for one answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hermes.core.ports import ApprovalAnswer, ApprovalQuestion
from hermes.store import approvals
from hermes.store.approvals import PendingApproval
from hermes.store.database import Connection, Database
from tests.support.store import keep_run

YES = ApprovalAnswer("once", "user", "alice", "it is fine")
NO = ApprovalAnswer("deny", "timeout")


async def test_an_open_question_is_pending_as_it_was_asked(database: Database) -> None:
    question = a_question(choices=("once", "deny"), allow_permanent=False)
    await database.write(_ask, question)
    assert await database.read(approvals.pending, "r") == [PendingApproval(question, 60.0)]


async def test_the_first_answer_counts_and_the_second_is_too_late(database: Database) -> None:
    await database.write(_ask, a_question())
    assert await database.read(approvals.get_answer, "a") is None
    assert await database.write(approvals.resolve, "a", YES, 2.0) is True
    assert await database.write(approvals.resolve, "a", NO, 3.0) is False
    assert await database.read(approvals.get_answer, "a") == YES
    assert await database.read(approvals.pending, "r") == []


async def test_an_unknown_question_cannot_be_answered(database: Database) -> None:
    assert await database.write(approvals.resolve, "nobody", YES, 2.0) is False


async def test_all_open_questions_of_a_run_can_be_answered_at_once(database: Database) -> None:
    for name in "abc":
        await database.write(_ask, a_question(name))
    await database.write(_ask, a_question("of another run", run_id="r2"))
    await database.write(approvals.resolve, "b", YES, 2.0)
    assert await database.write(approvals.resolve_all, "r", NO, 3.0) == 2
    answers = [await database.read(approvals.get_answer, name) for name in "abc"]
    assert answers == [NO, YES, NO]
    assert [one.question.id for one in await database.read(approvals.pending, "r2")] == ["of another run"]


async def test_what_was_allowed_for_a_session_holds_in_its_other_runs_and_nowhere_else(database: Database) -> None:
    for number, choice in enumerate(("once", "session", "always", "deny", "session")):
        question = a_question(f"a{number}", pattern=f"pattern {number % 4}")
        await database.write(_ask, question)
        await database.write(approvals.resolve, question.id, replace(YES, choice=choice), 2.0)
    await database.write(_ask, a_question("open", pattern="open"))
    assert await database.read(approvals.allowed, "s") == {"pattern 0", "pattern 1"}
    assert await database.read(approvals.allowed, "another") == set()


async def test_asking_again_under_the_same_id_gives_the_question_new_time(database: Database) -> None:
    question = a_question()
    await database.write(_ask, question)
    await database.write(approvals.ask, question, 120.0, 61.0)
    assert await database.read(approvals.pending, "r") == [PendingApproval(question, 120.0)]


async def test_questions_are_pending_in_the_order_they_were_asked(database: Database) -> None:
    for number, name in enumerate("cab"):
        await database.write(keep_run_once, "r")
        await database.write(approvals.ask, a_question(name), 60.0, float(number))
    assert [one.question.id for one in await database.read(approvals.pending, "r")] == ["c", "a", "b"]


def a_question(id: str = "a", **fields: Any) -> ApprovalQuestion:  # noqa: A002 the field's own name
    question = ApprovalQuestion(
        id=id,
        run_id="r",
        session_id="s",
        tool="terminal",
        tool_call_id="call_1",
        command="rm -rf build",
        description="deletes a directory",
        pattern="rm -rf",
    )
    return replace(question, **fields)


def keep_run_once(conn: Connection, run_id: str) -> None:
    from hermes.store import runs

    if runs.get(conn, run_id) is None:
        keep_run(conn, run_id)


def _ask(conn: Connection, question: ApprovalQuestion) -> None:
    keep_run_once(conn, question.run_id)
    approvals.ask(conn, question, 60.0, 1.0)
