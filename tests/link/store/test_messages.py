"""A message is as it was put in; an answer that streams is what its events say, until it is whole."""

from __future__ import annotations

import pytest

from hermes.core.errors import NotFound
from hermeslink.core.conversation import AgentEvent, MessageStatus, NewEvent, Role
from hermeslink.store import conversations as conversation_store
from hermeslink.store import events as event_store
from hermeslink.store import messages as message_store
from tests.support.link_conversations import conversation, keep, link_database, message

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

CONV = "conv_" + "c" * 32


def delta(message_id: str, **payload: str) -> NewEvent:
    return NewEvent("message.delta", payload, message_id, "run_1")


async def test_messages_have_places_and_move_their_conversation():
    async with link_database() as database:
        first, second = await database.write(
            keep, conversation(CONV), message(CONV, "Hello", at=5.0), message(CONV, at=6.0)
        )
        assert (first.position, second.position) == (1, 2)
        assert await database.read(message_store.page, CONV, 10) == [first, second]
        assert await database.read(message_store.page, CONV, 1) == [second]
        assert await database.read(message_store.page, CONV, 5, 2) == [first]
        found = await database.read(conversation_store.get, CONV)
        assert (found.stats.message_count, found.updated_at) == (2, 6.0)


async def test_an_answer_that_streams_is_its_deltas_and_the_row_has_it_at_the_end():
    async with link_database() as database:
        answer = message(CONV, role=Role.ASSISTANT, status=MessageStatus.STREAMING)
        await database.write(keep, conversation(CONV), answer)
        new = [delta(answer.id, reasoning="hm"), delta(answer.id, text="Hel"), delta(answer.id, text="lo \ud83d")]
        await database.write(event_store.append, CONV, new, 1.0)
        found = await database.read(message_store.get, answer.id)
        assert found is not None
        assert (found.text, found.reasoning, found.status) == ("Hello \ufffd", "hm", "streaming")
        await database.write(
            lambda conn: message_store.finish(
                conn, answer.id, MessageStatus.FAILED, 2.0, error={"code": "x"}, usage={"input_tokens": 1}
            )
        )
        done = await database.read(message_store.get, answer.id)
        assert done is not None
        assert (done.text, done.reasoning, done.status) == ("Hello \ufffd", "hm", "failed")
        assert (done.error, done.usage, done.updated_at) == ({"code": "x"}, {"input_tokens": 1}, 2.0)


async def test_an_answer_that_is_taken_back_goes_on_where_it_is_then():
    async with link_database() as database:
        answer = message(CONV, role=Role.ASSISTANT, status=MessageStatus.STREAMING)
        await database.write(keep, conversation(CONV), answer)
        said = [delta(answer.id, text="Hello Bo"), delta(answer.id, reasoning="hm")]
        await database.write(event_store.append, CONV, said, 1.0)
        await database.write(message_store.rewind, answer.id, 6, 0, 2.0)
        await database.write(event_store.append, CONV, [delta(answer.id, text="Bob")], 3.0)
        assert await database.read(message_store.said_so_far, answer.id) == ("Hello Bob", "")
        await database.write(message_store.rewind, answer.id, 5, 0, 4.0)
        await database.write(lambda conn: message_store.finish(conn, answer.id, MessageStatus.COMPLETED, 5.0))
        done = await database.read(message_store.get, answer.id)
        assert done is not None and done.text == "Hello"


async def test_what_the_agent_did_is_told_once_in_the_order_in_which_it_began():
    async with link_database() as database:
        answer = message(CONV, role=Role.ASSISTANT)
        await database.write(keep, conversation(CONV), answer)
        for name in ("b", "a", "b"):
            call = AgentEvent(id=name, type="tool", status="running", started_at=1.0, payload={"tool": name})
            await database.write(message_store.start_agent_event, answer.id, call)
        await database.write(message_store.finish_agent_event, answer.id, "b", "completed", 3.0, {"result": "ok"})
        found = await database.read(message_store.get, answer.id)
        assert found is not None
        assert [(one.id, one.status, one.completed_at, one.payload) for one in found.agent_events] == [
            ("b", "completed", 3.0, {"tool": "b", "result": "ok"}),
            ("a", "running", None, {"tool": "a"}),
        ]


async def test_nothing_is_put_into_a_conversation_that_is_not_there():
    async with link_database() as database:
        with pytest.raises(NotFound) as told:
            await database.write(message_store.insert, message(CONV, "Hello"))
        assert told.value.code == "conversation_not_found"
        with pytest.raises(NotFound):
            await database.write(event_store.append, CONV, [delta("msg_1", text="x")], 0.0)


async def test_a_deleted_conversation_leaves_one_event_and_nothing_else():
    def left(conn) -> dict[str, int]:
        names = ["conversations", "messages", "events", "title_search", "message_search", "agent_events"]
        return {name: conn.exec_driver_sql("SELECT count(*) FROM " + name).scalar() for name in names}

    async with link_database() as database:
        answer = message(CONV, "Words", role=Role.ASSISTANT)
        await database.write(keep, conversation(CONV, title="Title"), message(CONV, "Hello"), answer)
        await database.write(event_store.append, CONV, [delta(answer.id, text="Words")], 0.0)
        call = AgentEvent(id="a", type="tool", status="running", started_at=1.0)
        await database.write(message_store.start_agent_event, answer.id, call)
        assert all((await database.read(left)).values())
        blobs, [gone] = await database.write(conversation_store.delete, CONV, 9.0)
        assert (blobs, gone.seq, gone.type) == ([], 2, "conversation.deleted")
        assert {name: count for name, count in (await database.read(left)).items() if count} == {"events": 1}


async def test_a_made_title_does_not_replace_a_persons():
    async with link_database() as database:
        await database.write(keep, conversation(CONV))

        async def set_title(title: str, *, is_own: bool) -> str:
            def change(conn) -> str:
                conversation_store.set_title(conn, CONV, title, 1.0, is_own=is_own)
                return conversation_store.get(conn, CONV).title

            return await database.write(change)

        assert await set_title("made", is_own=False) == "made"
        assert await set_title("mine", is_own=True) == "mine"
        assert await set_title("made again", is_own=False) == "mine"
