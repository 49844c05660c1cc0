"""A fork: what is copied, where it may be cut, and that the source stays as it was."""

from __future__ import annotations

import pytest

from hermes.core.errors import Conflict, InvalidInput
from hermes.core.message import ImagePart, Message, TextPart, ToolCall
from hermes.core.run import Usage
from hermes.core.session import Session
from hermes.store import runs, sessions
from hermes.store.database import Database
from hermes.store.fork import fork
from tests.support.store import a_session, keep_run

TWO_CALLS = (ToolCall("c1", "look", "{}"), ToolCall("c2", "look", "{}"))
SAID = [
    Message("user", "first question"),  # 1
    Message("assistant", "", TWO_CALLS),  # 2
    Message("tool", "one", tool_call_id="c1", name="look"),  # 3
    Message("tool", "two", tool_call_id="c2", name="look"),  # 4
    Message("assistant", "first answer", reasoning="why"),  # 5
    Message("user", (TextPart("second"), ImagePart("data:image/png;base64,AAAA"))),  # 6
]


async def test_a_fork_holds_the_messages_as_they_were_said_and_the_source_is_untouched(database: Database) -> None:
    source = await _keep(database, SAID, usage=Usage(1, 2, 3, 4, 5, 6, 0.5))
    copy = await database.write(fork, source, a_session("copy", parent_session_id="s"))
    assert copy == a_session(
        "copy", parent_session_id="s", message_count=6, tool_call_count=2, preview="first question"
    )
    assert await database.read(sessions.get, "copy") == copy
    copied = await database.read(sessions.messages, "copy")
    assert [(one.id, one.run_id, one.created_at, one.message) for one in copied] == [
        (number, None, 2.0, message) for number, message in enumerate(SAID, 7)
    ]
    assert await database.read(sessions.get, "s") == source
    assert await database.read(lambda conn: runs.list_runs(conn, "alice", session_id="copy")) == []


@pytest.mark.parametrize(
    ("at", "last", "calls"),
    [(1, 1, 0), (2, 4, 2), (3, 4, 2), (4, 4, 2), (5, 5, 2), (6, 6, 2), (None, 6, 2)],
)
async def test_a_call_is_never_parted_from_its_results(
    database: Database, at: int | None, last: int, calls: int
) -> None:
    source = await _keep(database, SAID)
    copy = await database.write(fork, source, a_session("copy"), at)
    assert (copy.message_count, copy.tool_call_count) == (last, calls)
    assert await database.read(sessions.history, "copy") == SAID[:last]


@pytest.mark.parametrize("at", [2, 3, None])
async def test_a_copy_ends_before_a_call_that_has_no_result_yet(database: Database, at: int | None) -> None:
    source = await _keep(database, SAID[:3])
    copy = await database.write(fork, source, a_session("copy"), at)
    assert await database.read(sessions.history, "copy") == SAID[:1]
    assert copy.tool_call_count == 0


async def test_a_call_whose_result_was_lost_does_not_hold_back_what_was_said_later(database: Database) -> None:
    said = [*SAID[:3], Message("user", "go on"), Message("assistant", "well")]
    source = await _keep(database, said)
    await database.write(fork, source, a_session("copy"))
    assert await database.read(sessions.history, "copy") == said


async def test_an_empty_session_gives_an_empty_fork(database: Database) -> None:
    source = await _keep(database, [])
    copy = await database.write(fork, source, a_session("copy"))
    assert (copy.message_count, copy.preview) == (0, "")


async def test_a_message_of_another_session_and_a_taken_id_are_refused_and_nothing_is_left(database: Database) -> None:
    source = await _keep(database, SAID)
    with pytest.raises(InvalidInput, match="has no message 99") as refused:
        await database.write(fork, source, a_session("copy"), 99)
    assert refused.value.param == "at_message_id"
    assert await database.read(sessions.get, "copy") is None
    with pytest.raises(Conflict, match="exists already"):
        await database.write(fork, source, a_session("s"))


async def _keep(database: Database, said: list[Message], **fields: object) -> Session:
    await database.write(sessions.create, a_session("s", title="T", **fields))
    await database.write(lambda conn: keep_run(conn, "r", "s"))
    await database.write(sessions.add_messages, "s", "r", said, 2.0)
    source = await database.read(sessions.get, "s")
    assert source is not None
    return source
