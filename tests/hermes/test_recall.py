"""What the agent's own tools see of sessions: everything of the one it works for, and nothing of anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from hermes.core.errors import InvalidInput, NotFound, ToolFailed
from hermes.core.message import Message, ToolCall
from hermes.core.ports import Recalled, Whose
from hermes.core.todo import Todo, TodoStatus
from hermes.sessions import Sessions
from hermes.store import sessions as session_store
from hermes.store import todos as todo_store
from hermes.store.database import Database
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.store import a_session, keep_run

ME = Whose(owner="alice", session_key=None, session_id="now", run_id="run_now")
PLAN = (Todo("1", "read"), Todo("2", "wri\x00te", TodoStatus.IN_PROGRESS))


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    database = await Database.open(new_url())
    yield database
    await database.close()


@pytest.fixture
async def sessions(database: Database) -> Sessions:
    """`now` is the running session, with a run that has begun."""
    await keep(database, "now", "earlier swordfish in the running session", at=50.0, title="Now")
    await database.write(lambda conn: keep_run(conn, "run_now", "now"))
    await database.write(session_store.add_messages, "now", "run_now", [Message("user", "find the swordfish")], 60.0)
    return Sessions(database, FakeClock(100.0))


async def keep(database: Database, session_id: str, *texts: str, at: float = 1.0, **fields: object) -> None:
    said = [Message("user", text) for text in texts]
    await database.write(session_store.create, a_session(session_id, **fields))
    await database.write(session_store.add_messages, session_id, None, said, at)


def told(found: Recalled) -> list[tuple[str, str]]:
    return [(one.session_id, one.text) for one in found.said]


async def test_other_sessions_are_searched_and_the_running_one_when_it_is_named(
    sessions: Sessions, database: Database
) -> None:
    await keep(database, "old", "a swordfish", at=10.0, title="Fish")
    await keep(database, "chat", "swordfish again", at=20.0, is_stateless=True)
    found = await sessions.recall(ME, "swordfish", limit=5)
    assert told(found) == [("chat", ">>>swordfish<<< again"), ("old", "a >>>swordfish<<<")]
    assert [(one.title, one.role, one.created_at) for one in found.said] == [("", "user", 20.0), ("Fish", "user", 10.0)]
    assert told(await sessions.recall(ME, "swordfish", limit=5, session_id="old")) == [("old", "a >>>swordfish<<<")]
    current = told(await sessions.recall(ME, "swordfish", limit=5, session_id="now"))
    assert current == [("now", "earlier >>>swordfish<<< in the running session")]  # what the run was asked is left out
    assert (await sessions.recall(ME, "swordfish", limit=1)).has_more


async def test_what_tools_returned_is_not_what_was_said(sessions: Sessions, database: Database) -> None:
    await keep(database, "old", "look it up")
    done = [
        Message("assistant", "", (ToolCall("c", "read_file", "{}"),)),
        Message("tool", "swordfish recipe", tool_call_id="c", name="read_file"),
        Message("assistant", "It is a swordfish."),
    ]
    await database.write(session_store.add_messages, "old", None, done, 2.0)
    assert told(await sessions.recall(ME, "swordfish", limit=5)) == [("old", "It is a >>>swordfish<<<.")]
    assert told(await sessions.last_said(ME, "old", limit=5)) == [("old", "look it up"), ("old", "It is a swordfish.")]


async def test_nobody_elses_sessions_are_found(sessions: Sessions, database: Database) -> None:
    await keep(database, "bobs", "swordfish of bob", owner="bob")
    await keep(database, "visitors", "swordfish of a visitor", session_key="v1")
    await keep(database, "others", "swordfish of another", session_key="v2")
    visitor = replace(ME, session_key="v1")
    assert told(await sessions.recall(visitor, "swordfish", limit=5)) == [("visitors", ">>>swordfish<<< of a visitor")]
    assert [one.session_id for one in (await sessions.recent(visitor, limit=5)).said] == ["visitors"]
    mine = {one.session_id for one in (await sessions.recall(ME, "swordfish", limit=5)).said}
    assert mine == {"visitors", "others"}  # whoever has the key without a visitor's name sees all it was used for
    for whose, session_id in ((ME, "bobs"), (ME, "none"), (visitor, "others"), (visitor, "now")):
        with pytest.raises(NotFound, match=f"no session '{session_id}'"):
            await sessions.recall(whose, "swordfish", limit=5, session_id=session_id)
        with pytest.raises(NotFound, match=f"no session '{session_id}'"):
            await sessions.last_said(whose, session_id, limit=5)


async def test_the_end_of_a_session_is_read_oldest_first(sessions: Sessions, database: Database) -> None:
    await keep(database, "old", "one", "two", "three", title="T")
    found = await sessions.last_said(ME, "old", limit=2)
    assert (told(found), found.has_more) == ([("old", "two"), ("old", "three")], True)
    assert told(await sessions.last_said(ME, "now", limit=5)) == [("now", "earlier swordfish in the running session")]


async def test_the_latest_sessions_are_told_with_how_they_began(sessions: Sessions, database: Database) -> None:
    await keep(database, "old", "first", "second", at=10.0)
    await keep(database, "newer", "hello", at=20.0, title="Greeting")
    await keep(database, "child", "work of a sub-agent", at=30.0, source="subagent")
    found = await sessions.recent(ME, limit=2)
    assert [(one.session_id, one.title, one.text, one.created_at) for one in found.said] == [
        ("newer", "Greeting", "hello", 20.0),
        ("old", "", "first", 10.0),
    ]
    assert not found.has_more and (await sessions.recent(ME, limit=1)).has_more


async def test_a_query_without_a_word_is_refused(sessions: Sessions) -> None:
    with pytest.raises(InvalidInput) as refused:
        await sessions.recall(ME, "!!", limit=5)
    assert refused.value.param == "q"


async def test_todos_stay_with_their_session_and_go_with_it(sessions: Sessions, database: Database) -> None:
    assert await sessions.change_todos("now", lambda known: PLAN) == PLAN
    again = Sessions(database, FakeClock())
    assert await again.change_todos("now", lambda known: known) == PLAN
    assert await again.change_todos("now", lambda known: known[1:]) == PLAN[1:]
    await database.write(session_store.delete, "now")
    assert await database.read(todo_store.get, "now") == ()
    with pytest.raises(NotFound, match="it was deleted"):
        await sessions.change_todos("now", lambda known: PLAN)


async def test_a_change_that_is_refused_leaves_the_list(sessions: Sessions) -> None:
    def refuse(known: Sequence[Todo]) -> Sequence[Todo]:
        raise ToolFailed("no")

    await sessions.change_todos("now", lambda known: PLAN)
    with pytest.raises(ToolFailed):
        await sessions.change_todos("now", refuse)
    assert await sessions.change_todos("now", lambda known: known) == PLAN


async def test_a_whole_fork_has_the_list_and_a_part_has_none(sessions: Sessions, database: Database) -> None:
    await sessions.change_todos("now", lambda known: PLAN)
    first = (await sessions.messages("alice", "now", limit=1)).messages[0].id
    await sessions.fork("alice", "now", new_session_id="whole")
    await sessions.fork("alice", "now", new_session_id="part", at_message_id=first)
    assert await database.read(todo_store.get, "whole") == PLAN
    assert await database.read(todo_store.get, "part") == ()
