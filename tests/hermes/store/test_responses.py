"""Responses and their chains: what is newest, what is copied, and what is dropped, whole."""

from __future__ import annotations

import pytest

from hermes.core.errors import Conflict
from hermes.core.message import Message, TextPart, ToolCall
from hermes.core.run import RunStatus
from hermes.store import responses, runs, sessions
from hermes.store.database import Connection, Database
from hermes.store.responses import KeptResponse, ToolOutput
from hermes.store.retention import purge
from tests.support.store import keep_run, keep_session


def keep(conn: Connection, number: int, session: str = "s", owner: str = "alice", ended: bool = True) -> KeptResponse:
    """A response with its run, which said something at that time."""
    if sessions.get(conn, session) is None:
        keep_session(conn, session, owner=owner, source="responses")
    run, now = f"run_{session}{number}", float(number)
    keep_run(conn, run, session, owner=owner, created_at=now)
    said = [Message("user", f"ask {number}"), Message("assistant", f"say {number}")]
    sessions.add_messages(conn, session, run, said, now)
    if ended:
        runs.set_status(conn, run, RunStatus.COMPLETED, now)
    responses.keep_chain(conn, session, owner, now)
    kept = KeptResponse(
        id=f"resp_{session}{number}",
        run_id=run,
        session_id=session,
        owner=owner,
        created_at=now,
        previous_response_id=None,
        request={"model": "m"},
        input=[{"type": "message"}],
    )
    responses.add(conn, kept)
    return kept


async def test_a_response_is_read_as_it_was_kept_and_by_its_owner_only(database: Database) -> None:
    kept = await database.write(keep, 1)
    assert await database.read(responses.get, kept.id, "alice") == kept
    assert await database.read(responses.get, kept.id, "bob") is None
    assert await database.write(responses.delete, kept.id, "bob") is False


async def test_the_newest_is_the_one_that_spoke_last_with_nobody_waiting(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn, 1)
        keep(conn, 2)

    await database.write(fill)
    assert await database.read(responses.is_newest, "s", "run_s1", "") is False
    assert await database.read(responses.is_newest, "s", "run_s2", "") is True
    await database.write(keep_run, "run_waiting", "s")
    assert await database.read(responses.is_newest, "s", "run_s2", "") is False
    assert await database.read(responses.is_newest, "s", "run_s2", "run_waiting") is True


async def test_one_that_still_runs_is_the_newest_until_another_waits_behind_it(database: Database) -> None:
    await database.write(keep, 1, "s", "alice", False)
    assert await database.read(responses.is_newest, "s", "run_s1", "") is True


async def test_a_branch_has_what_was_said_up_to_there_in_order(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn, 1)
        parts = Message("user", (TextPart("see"),))
        call = Message("assistant", "", (ToolCall("c", "f", "{}"),), reasoning="hm")
        sessions.add_messages(conn, "s", "run_s1", [parts, call, Message("tool", "out", tool_call_id="c")], 1.0)
        responses.add_system(conn, "s", "Be brief.")
        keep(conn, 2)
        keep_session(conn, "branch")
        responses.branch(conn, "s", "run_s1", "branch")

    await database.write(fill)
    copied = await database.read(sessions.history, "branch")
    assert copied == await database.read(responses.history_to, "s", "run_s1")
    assert copied == (await database.read(sessions.history, "s"))[:5]
    made = await database.read(sessions.get, "branch")
    assert made is not None
    assert (made.parent_session_id, made.system_prompt, made.message_count) == ("s", "Be brief.", 5)


async def test_a_run_that_said_nothing_ends_where_it_came(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn, 1)
        keep_run(conn, "run_silent", "s", created_at=1.5)
        keep(conn, 2)

    await database.write(fill)
    assert [m.text for m in await database.read(responses.history_to, "s", "run_silent")] == ["ask 1", "say 1"]


async def test_a_conversations_name_is_one_sessions(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_session(conn, "a")
        keep_session(conn, "b")
        responses.keep_chain(conn, "a", "alice", 1.0)
        responses.keep_chain(conn, "a", "alice", 2.0, "plans")
        responses.keep_chain(conn, "b", "bob", 2.0, "plans")

    await database.write(fill)
    assert await database.read(responses.chain_named, "alice", "plans") == "a"
    assert await database.read(responses.chain_named, "bob", "plans") == "b"
    assert await database.read(responses.chain_named, "carol", "plans") is None
    for session, name in (("new", "plans"), ("a", "another")):
        await database.write(keep_session, "new") if session == "new" else None
        with pytest.raises(Conflict) as raised:
            await database.write(responses.keep_chain, session, "alice", 3.0, name)
        assert raised.value.code == "conversation_taken"


async def test_system_text_is_said_once(database: Database) -> None:
    await database.write(keep_session, "s")
    for text in ("one", "two", "one"):
        await database.write(responses.add_system, "s", text)
    session = await database.read(sessions.get, "s")
    assert session is not None
    assert session.system_prompt == "one\n\ntwo"


async def test_outputs_of_a_runs_tools_come_in_order_behind_a_place(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn, 1)
        told = [Message("tool", text, tool_call_id="c") for text in ("first", "second")]
        sessions.add_messages(conn, "s", "run_s1", told, 1.0)
        keep(conn, 2)

    await database.write(fill)
    first, second = await database.read(responses.tool_outputs, "s", "run_s1")
    assert ((first.content, first.tool_call_id), second.content) == (("first", "c"), "second")
    assert await database.read(responses.tool_outputs, "s", "run_s1", first.place) == [
        ToolOutput(second.place, "c", "second")
    ]


async def test_the_last_response_takes_its_chain_and_session_along(database: Database) -> None:
    await database.write(keep, 1)
    await database.write(keep, 2)
    assert await database.write(responses.delete, "resp_s1", "alice") is True
    assert await database.read(sessions.get, "s") is not None
    assert await database.write(responses.delete, "resp_s2", "alice") is True
    assert await database.read(sessions.get, "s") is None
    assert await database.read(runs.get, "run_s1") is None


async def test_the_sessions_of_delegated_runs_go_with_the_chain(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn, 1)
        keep_session(conn, "child", source="subagent", parent_session_id="s")
        keep_run(conn, "run_child", "child", parent_run_id="run_s1")

    await database.write(fill)
    assert await database.write(responses.delete, "resp_s1", "alice") is True
    assert await database.read(sessions.get, "child") is None


async def test_a_session_of_another_way_in_stays_when_its_chain_goes(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_session(conn, "chat", source="api")
        keep(conn, 1, "chat")

    await database.write(fill)
    await database.write(responses.delete, "resp_chat1", "alice")
    assert await database.read(responses.used_at, "chat") is None
    assert len(await database.read(sessions.history, "chat")) == 2


async def test_the_chains_used_last_are_kept_whole_and_each_owners_are_counted_apart(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for number, session in enumerate(("a", "b", "c", "d"), 1):
            keep(conn, number, session)
            keep(conn, number + 10, session)
        keep(conn, 1, "bobs", "bob")
        keep(conn, 1, "busy", ended=False)
        keep_session(conn, "no chain", last_active=0.0, source="responses")
        responses.touch(conn, "a", 100.0)

    await database.write(fill)
    assert (await purge(database, 200.0, keep_chains=2)).response_chains == 2
    assert (await purge(database, 200.0, keep_chains=2)).response_chains == 0
    left = {
        name
        for name in ("a", "b", "c", "d", "bobs", "busy", "no chain")
        if await database.read(sessions.get, name) is not None
    }
    assert left == {"a", "d", "bobs", "busy", "no chain"}
    assert await database.read(responses.get, "resp_a1", "alice") is not None
    assert await database.read(responses.get, "resp_b11", "alice") is None


async def test_more_chains_than_one_batch_are_dropped(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for number in range(120):
            keep(conn, number, f"s{number:03}")

    await database.write(fill)
    assert (await purge(database, 200.0, keep_chains=10)).response_chains == 110
    assert await database.read(sessions.get, "s110") is not None
