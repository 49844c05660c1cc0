"""Runs are taken up in the order they came; what was said where is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hermes.store.database import Connection
from hermeslink.core.conversation import Role
from hermeslink.core.ids import new_id
from hermeslink.core.run import Progress, RunStatus
from hermeslink.store import messages as message_store
from hermeslink.store import runs as run_store
from hermeslink.store import sent as sent_store
from hermeslink.store import sessions as session_store
from hermeslink.store.sent import Sent
from hermeslink.store.sessions import Session
from tests.support.link_conversations import conversation, keep, link_database, message

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

CONV = "conv_" + "c" * 32


def exchange(conn: Connection, status: RunStatus = RunStatus.QUEUED, at: float = 1.0) -> str:
    """A question and the place of its answer; the id of the run."""
    run_id = new_id("run")
    question = replace(message(CONV, "Q", at=at), run_id=run_id)
    answer = replace(message(CONV, role=Role.ASSISTANT, at=at), run_id=run_id)
    for one in (question, answer):
        message_store.insert(conn, one)
    run_store.add(
        conn,
        run_id=run_id,
        conversation_id=CONV,
        user_message_id=question.id,
        assistant_message_id=answer.id,
        status=status,
        profile="default",
        model=None,
        now=at,
    )
    return run_id


async def test_the_one_that_runs_comes_first_then_the_order_in_which_they_came() -> None:
    async with link_database() as database:
        await database.write(keep, conversation(CONV))
        ids = [await database.write(exchange) for _ in range(3)]
        assert await database.read(run_store.busy_conversations) == [CONV]
        for run_id in ids:
            found = await database.read(run_store.current, CONV)
            assert found is not None and found.id == run_id
            await database.write(run_store.begin, run_id, 2.0)
            assert [run.id for run in await database.read(run_store.open_runs, CONV)] == ids[ids.index(run_id) :]
            await database.write(run_store.end, run_id, RunStatus.COMPLETED, None, 3.0)
        assert await database.read(run_store.current, CONV) is None
        assert await database.read(run_store.busy_conversations) == []


async def test_a_run_is_as_it_was_kept() -> None:
    async with link_database() as database:
        await database.write(keep, conversation(CONV))
        run_id = await database.write(exchange)
        progress = Progress(index=3, text_length=9, is_said=True, model="m", open_calls={"c": "tool_4"})
        await database.write(run_store.prepare, run_id, "session", True, 5.0)
        await database.write(run_store.accept, run_id, "run_there")
        await database.write(run_store.advance, run_id, 7, progress)
        await database.write(run_store.want_cancelled, run_id)
        found = await database.read(run_store.get, run_id)
        assert found is not None
        assert (found.session_id, found.sends_history, found.prepared_at) == ("session", True, 5.0)
        assert (found.remote_id, found.remote_seq, found.progress) == ("run_there", 7, progress)
        assert found.is_cancelled


async def test_what_no_server_took_up_was_not_said() -> None:
    async with link_database() as database:
        await database.write(keep, conversation(CONV))
        first, _second = [await database.write(exchange) for _ in range(2)]
        assert await database.read(run_store.last_said_position, CONV, 5) == 0
        await database.write(run_store.advance, first, 1, Progress(is_said=True))
        assert await database.read(run_store.last_said_position, CONV, 5) == 2
        assert await database.read(run_store.last_said_position, CONV, 2) == 1
        assert await database.read(run_store.said_runs, CONV) == {first}


async def test_a_conversation_has_one_session_with_each_profile() -> None:
    async with link_database() as database:
        await database.write(keep, conversation(CONV))
        await database.write(session_store.put, CONV, "a", Session("one", 0))
        await database.write(session_store.put, CONV, "b", Session("two", 4))
        await database.write(session_store.put, CONV, "a", Session("three", 2))
        await database.write(session_store.set_title, CONV, "a", "Garden")
        assert await database.read(session_store.get, CONV, "a") == Session("three", 2, "Garden")
        assert await database.read(session_store.get, CONV, "b") == Session("two", 4)
        assert await database.read(session_store.get, CONV, "c") is None


async def test_what_was_sent_is_known_by_its_name_for_a_time() -> None:
    async with link_database() as database:
        await database.write(keep, conversation(CONV))
        await database.write(sent_store.put, "key", CONV, Sent("f", "{}"), 10.0)
        assert await database.read(sent_store.get, "key") == Sent("f", "{}")
        assert await database.write(sent_store.forget_before, 11.0) == 1
        assert await database.read(sent_store.get, "key") is None


async def test_a_run_is_owed_its_stop_once() -> None:
    async with link_database() as database:
        for at in (1.0, 2.0):
            await database.write(run_store.owe_stop, "default", "run_there", at)
        assert await database.read(run_store.owed) == [("default", "run_there", 1.0)]
        await database.write(run_store.settle_stop, "default", "run_there")
        assert await database.read(run_store.owed) == []
