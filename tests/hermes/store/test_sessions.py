"""Sessions, their messages, their totals, their lists."""

from __future__ import annotations

from functools import partial

import pytest

from hermes.core.errors import Conflict
from hermes.core.event import KeptEvent, RunSteered
from hermes.core.message import Message
from hermes.core.run import Usage
from hermes.core.session import KeptMessage
from hermes.store import events, runs, sessions
from hermes.store.database import Connection, Database
from tests.support.store import a_session, keep_run, keep_session


async def test_a_session_comes_back_whole(database: Database) -> None:
    session = a_session(
        title="Naïve \N{GRINNING FACE}",
        model="gpt",
        user_id="u",
        session_key="k",
        system_prompt="Be brief.",
        parent_session_id="before",
        ended_at=9.5,
        end_reason="user",
        is_stateless=True,
        message_count=3,
        tool_call_count=2,
        usage=Usage(1, 2, 3, 4, 5, 6, 0.75),
        preview="hello",
    )
    await database.write(sessions.create, session)
    assert await database.read(sessions.get, "s") == session


async def test_an_unknown_session_is_none_and_has_no_history(database: Database) -> None:
    assert await database.read(sessions.get, "nobody") is None
    assert await database.read(sessions.history, "nobody") == []


async def test_an_id_that_is_taken_is_a_conflict_and_the_first_session_stays(database: Database) -> None:
    await database.write(sessions.create, a_session(title="first"))
    with pytest.raises(Conflict) as caught:
        await database.write(sessions.create, a_session(title="second"))
    assert caught.value.code == "session_exists"
    assert await database.read(sessions.get, "s") == a_session(title="first")


async def test_messages_count_and_move_the_session_forward_and_the_first_of_the_user_is_its_preview(
    database: Database,
) -> None:
    await database.write(sessions.create, a_session())
    said = [Message("system", "Be brief."), Message("user", "  What\n is\tthis?  "), Message("assistant", "A test.")]
    await database.write(sessions.add_messages, "s", "r", said, 5.0)
    await database.write(sessions.add_messages, "s", "r", [Message("user", "And that?")], 6.0)
    expected = a_session(message_count=4, last_active=6.0, preview="What is this?")
    assert await database.read(sessions.get, "s") == expected


async def test_a_preview_is_one_short_line(database: Database) -> None:
    await database.write(sessions.create, a_session())
    await database.write(sessions.add_messages, "s", "r", [Message("user", "word " * 10_000)], 5.0)
    session = await database.read(sessions.get, "s")
    assert session is not None
    assert len(session.preview) == sessions.PREVIEW_CHARACTERS
    assert session.preview.endswith("…")


async def test_messages_of_an_unknown_session_are_refused(database: Database) -> None:
    with pytest.raises(Conflict, match=r"(?i)foreign key"):
        await database.write(sessions.add_messages, "nobody", None, [Message("user", "hello")], 1.0)


async def test_a_page_of_messages_has_ids_that_the_next_page_starts_after(database: Database) -> None:
    await database.write(sessions.create, a_session())
    said = [Message("user", str(number)) for number in range(5)]
    await database.write(sessions.add_messages, "s", "r", said, 2.0)
    seen: list[KeptMessage] = []
    while page := await database.read(sessions.messages, "s", seen[-1].id if seen else 0, 2):
        seen += page
    assert [(one.session_id, one.run_id, one.created_at, one.message) for one in seen] == [
        ("s", "r", 2.0, message) for message in said
    ]
    assert [one.id for one in seen] == sorted({one.id for one in seen})


async def test_the_id_of_a_deleted_message_is_never_given_again(database: Database) -> None:
    await database.write(_say_in_new_session, "first")
    before = await database.read(sessions.messages, "first")
    assert await database.write(sessions.delete, "first")
    await database.write(_say_in_new_session, "second")
    after = await database.read(sessions.messages, "second")
    assert after[0].id > before[-1].id


async def test_usage_adds_up_and_an_unknown_price_leaves_the_known_cost(database: Database) -> None:
    await database.write(sessions.create, a_session(model="first"))
    await database.write(sessions.add_usage, "s", Usage(1, 2, 3, 4, 5, 1), 2, 5.0)
    assert await database.read(sessions.get, "s") == a_session(
        model="first", last_active=5.0, tool_call_count=2, usage=Usage(1, 2, 3, 4, 5, 1, None)
    )
    await database.write(sessions.add_usage, "s", Usage(10, 20, 30, 40, 50, 1, 0.5), 1, 6.0, "second")
    await database.write(sessions.add_usage, "s", Usage(api_calls=1), 0, 7.0)
    assert await database.read(sessions.get, "s") == a_session(
        model="second", last_active=7.0, tool_call_count=3, usage=Usage(11, 22, 33, 44, 55, 3, 0.5)
    )


async def test_deleting_a_session_takes_its_messages_runs_and_events_with_it(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_run(conn)
        sessions.add_messages(conn, "s", "r", [Message("user", "hello")], 1.0)
        events.append(conn, "r", [KeptEvent(1, 1.0, RunSteered("x"))])

    await database.write(fill)
    assert await database.write(sessions.delete, "s") is True
    assert await database.write(sessions.delete, "s") is False
    assert await database.read(sessions.get, "s") is None
    assert await database.read(sessions.history, "s") == []
    assert await database.read(runs.get, "r") is None
    assert await database.read(events.after, "r") == []


async def test_deleting_a_session_takes_those_of_delegated_runs_and_what_these_delegated(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_run(conn)
        keep_run(conn, "r1", "child", parent_run_id="r")
        keep_run(conn, "r2", "child")
        keep_run(conn, "r3", "grandchild", parent_run_id="r2")
        keep_session(conn, "other")

    await database.write(fill)
    assert await database.read(sessions.family, "s") == ["s", "child", "grandchild"]
    assert await database.write(sessions.delete, "s") is True
    left = [await database.read(sessions.get, one) for one in ("s", "child", "grandchild", "other")]
    assert [one and one.id for one in left] == [None, None, None, "other"]


def _say_in_new_session(conn: Connection, session_id: str) -> None:
    keep_session(conn, session_id)
    sessions.add_messages(conn, session_id, None, [Message("user", "hello")], 1.0)


async def test_a_cursor_beyond_every_row_is_the_end_and_no_error(database: Database):
    for far in (2**31, 2**63 - 1):
        before = partial(sessions.messages, session_id="s", before_id=far)
        assert await database.read(before) == []
        assert await database.read(sessions.messages, "s", far) == []
