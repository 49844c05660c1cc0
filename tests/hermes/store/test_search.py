"""Full-text search: what is found, in which order, what a query may hold, and what deleting leaves behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.core.errors import InvalidInput
from hermes.core.message import Message, ToolCall
from hermes.store import search, sessions
from hermes.store.database import Connection, Database
from hermes.store.search import Filter, Hit
from hermes.store.snippet import Term
from tests.support.database import new_url
from tests.support.store import a_session, keep_session


async def test_a_hit_tells_where_it_was_said_and_marks_the_words(database: Database) -> None:
    await database.write(sessions.create, a_session("s", title="Colours", source="cli"))
    said = [Message("user", "Which is it?"), Message("tool", "a green door\nand a wall", tool_call_id="c", name="look")]
    await database.write(sessions.add_messages, "s", "run_1", said, 5.0)
    [hit] = await _find(database, "GREEN wall")
    assert hit == Hit(2, "s", "Colours", "cli", "run_1", "tool", "look", 5.0, "a >>>green<<< door\nand a >>>wall<<<")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("door", ["green door", "the door is green"]),
        ("door*", ["green door", "the door is green", "doorway"]),
        ('"green door"', ["green door"]),
        ('"green do"*', ["green door"]),
        ('"green do"', []),
        ("green door", ["green door", "the door is green"]),
        ("facade", ["la façade"]),
        ("FAÇADE", ["la façade"]),
        ("NOT door", []),
        ("door OR wall", []),
        ("snake_case", ["snake_case.py"]),
        ("case.py", ["snake_case.py"]),
        ("ЁЛКА", ["ёлка"]),
        ("東京", ["私は東京に住む"]),
        ("東京 door", []),
        ("100%", ["100% sure"]),
    ],
)
async def test_what_a_query_finds(database: Database, query: str, found: list[str]) -> None:
    texts = [
        "green door",
        "the door is green",
        "doorway",
        "la façade",
        "snake_case.py",
        "ёлка",
        "私は東京に住む",
        "100% sure",
    ]
    await database.write(_say, "s", *texts)
    hits = await _find(database, query)
    assert sorted(texts[hit.message_id - 1] for hit in hits) == sorted(found)


async def test_a_word_within_a_language_without_spaces_is_marked_too(database: Database) -> None:
    await database.write(_say, "s", "長" * 200 + "東京" + "い" * 200)
    [hit] = await _find(database, "東京")
    assert ">>>東京<<<" in hit.snippet
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) == 200 + len("……>>><<<")


async def test_the_newest_come_first_and_pages_by_id_show_each_once(database: Database) -> None:
    await database.write(_say, "s", *(f"number {number}" for number in range(10)))
    pages: list[list[int]] = []
    before: int | None = None
    while hits := await _find(database, "number", limit=4, before_id=before):
        pages.append([hit.message_id for hit in hits])
        before = hits[-1].message_id
    assert pages == [[10, 9, 8, 7], [6, 5, 4, 3], [2, 1]]


async def test_an_owner_finds_only_what_is_hers(database: Database) -> None:
    await database.write(_say, "s", "secret word")
    await database.write(lambda conn: keep_session(conn, "b", owner="bob"))
    await database.write(sessions.add_messages, "b", None, [Message("user", "secret too")], 1.0)
    assert [hit.session_id for hit in await _find(database, "secret")] == ["s"]
    assert [hit.session_id for hit in await _find(database, "secret", owner="bob")] == ["b"]
    assert await _find(database, "secret", owner="eve") == []


async def test_filters_narrow_and_stateless_chats_are_hidden_unless_asked_for(database: Database) -> None:
    stateful: dict[str, Any] = {}
    for name, fields in (("s", stateful), ("cli", {"source": "cli"}), ("stateless", {"is_stateless": True})):
        await database.write(sessions.create, a_session(name, **fields))
        said = [Message("user", "a word"), Message("assistant", "a word back")]
        await database.write(sessions.add_messages, name, None, said, 1.0)

    async def places(only: Filter) -> list[str]:
        return [f"{hit.session_id} {hit.role}" for hit in await _find(database, "word", only=only)]

    assert await places(Filter()) == ["cli assistant", "cli user", "s assistant", "s user"]
    assert await places(Filter(role="user")) == ["cli user", "s user"]
    assert await places(Filter(source="api")) == ["stateless assistant", "stateless user", "s assistant", "s user"]
    assert await places(Filter(session_id="stateless", role="user")) == ["stateless user"]
    assert await places(Filter(include_stateless=True, role="user")) == ["stateless user", "cli user", "s user"]


async def test_the_index_catches_up_in_bounded_batches_and_says_how_far_it_is(database: Database) -> None:
    texts = ["x " * 30_000] * 3 + [f"number {number}" for number in range(20)]
    await database.write(_say, "s", *texts)
    assert await database.read(search.pending) == 23
    assert await database.read(lambda conn: search.find(conn, "alice", [Term("number")], limit=5)) == []
    batches = []
    while count := await database.write(search.catch_up, 8):
        batches.append(count)
        assert await database.read(search.pending) == 23 - sum(batches)
    assert batches == [1, 1, 8, 8, 5], "a batch has at most 8 messages and, but for its first, 100,000 characters"
    assert await database.write(search.catch_up) == 0


async def test_a_word_that_is_said_50_000_times_in_a_message_holds_nobody_up(database: Database) -> None:
    await database.write(_say, "s", "a " * 50_000)
    began = time.monotonic()
    [hit] = await _find(database, "a*")
    assert hit.snippet.startswith(">>>a<<< >>>a<<<")
    assert time.monotonic() - began < 5, "FTS5's own snippet() takes minutes"


async def test_of_a_very_long_message_the_head_is_found_and_all_of_it_is_forgotten(database: Database) -> None:
    await database.write(_say, "s", "first " + "x" * 100_000 + " last")
    assert [len(await _find(database, word)) for word in ("first", "last")] == [1, 0]
    await database.write(sessions.delete, "s")
    assert not await database.read(search.has_orphans)


async def test_deleting_a_session_leaves_no_hit_and_no_word_behind(database: Database) -> None:
    await database.write(_say, "s", "the word is swordfish")
    await database.write(_say, "t", "another word")
    await _find(database, "word")
    await database.write(_say, "late", "swordfish again, not indexed yet")
    for name in ("s", "late"):
        assert await database.write(sessions.delete, name)
    assert not await database.read(search.has_orphans)
    assert await _find(database, "swordfish") == []
    assert [hit.session_id for hit in await _find(database, "word")] == ["t"]
    await database.write(_check_index)


async def test_purging_stateless_chats_takes_their_words_out(database: Database) -> None:
    await database.write(sessions.create, a_session("old", is_stateless=True))
    await database.write(sessions.add_messages, "old", None, [Message("user", "swordfish")], 1.0)
    assert len(await _find(database, "swordfish", only=Filter(include_stateless=True))) == 1
    assert await database.write(sessions.purge_stateless, 5.0) == 1
    assert not await database.read(search.has_orphans)
    await database.write(_check_index)


async def test_a_message_that_was_deleted_past_the_index_is_not_found_and_noticed(database: Database) -> None:
    await database.write(_say, "s", "swordfish")
    assert len(await _find(database, "swordfish")) == 1
    await database.write(lambda conn: conn.exec_driver_sql("DELETE FROM messages"))
    assert await _find(database, "swordfish") == []
    assert await database.read(search.has_orphans)
    await database.write(search.drop)
    await database.write(_say, "t", "swordfish anew")
    assert [hit.session_id for hit in await _find(database, "swordfish")] == ["t"]
    assert not await database.read(search.has_orphans)


async def test_a_turn_writes_nothing_into_the_index(database: Database) -> None:
    await _find(database, "anything")
    said = Message("assistant", "swordfish", (ToolCall("c", "look", "{}"),))
    await database.write(sessions.create, a_session("s"))
    await database.write(sessions.add_messages, "s", None, [said], 1.0)
    assert await database.read(search.pending) == 1
    assert await database.read(_triggers) == []


@pytest.mark.parametrize("query", ["", "   ", '"', '""', "*", "!!!", "- -", "\x00", '"*"*', "\ud800"])
def test_a_query_without_a_word_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput, match="no word") as refused:
        search.parse(query)
    assert refused.value.param == "q"


@pytest.mark.parametrize("query", ["x" * 1001, "x " * 33, '"' + "x " * 33 + '"', "x-" * 33])
def test_a_query_that_is_too_long_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput, match="the limit is"):
        search.parse(query)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(alphabet=st.one_of(st.sampled_from("\"*()^:-+{}[],.\\'%_ \x00aZé東\ud800"), st.characters()), max_size=60)
)
def test_no_query_is_syntax(memory: Database, query: str) -> None:
    try:
        terms = search.parse(query)
    except InvalidInput:
        return
    memory.read_now(lambda conn: search.find(conn, "alice", terms, limit=5))


@pytest.mark.parametrize(
    "query",
    ["AND", "a AND b", "NEAR(a b, 2)", "a NOT b", "content:a", "{content}:a", "^a", "a + b", "-a", "a'b", "a;b"],
)
def test_words_of_the_query_language_are_words(memory: Database, query: str) -> None:
    memory.write_now(_say, "said", query)
    while memory.write_now(search.catch_up):
        pass
    terms = search.parse(query)
    hits = memory.read_now(lambda conn: search.find(conn, "alice", terms, limit=5))
    assert len(hits) == 1


@pytest.fixture(scope="module")
def open_memory() -> Iterator[Database]:
    database = Database.open_now(new_url())
    database.write_now(search.catch_up)
    yield database
    database.close_now()


@pytest.fixture
def memory(open_memory: Database) -> Database:
    open_memory.write_now(lambda conn: sessions.delete(conn, "said"))
    return open_memory


async def _find(
    database: Database,
    query: str,
    owner: str = "alice",
    limit: int = 20,
    before_id: int | None = None,
    only: Filter = search.ANY,
) -> list[Hit]:
    while await database.write(search.catch_up):
        pass
    terms = search.parse(query)
    return await database.read(
        lambda conn: search.find(conn, owner, terms, limit=limit, before_id=before_id, only=only)
    )


def _say(conn: Connection, session_id: str, *texts: str) -> None:
    sessions.create(conn, a_session(session_id))
    sessions.add_messages(conn, session_id, None, [Message("user", text) for text in texts], 1.0)


def _triggers(conn: Connection) -> list[Any]:
    where = "sqlite_master WHERE type = 'trigger'" if conn.dialect.name == "sqlite" else "information_schema.triggers"
    return list(conn.exec_driver_sql(f"SELECT 1 FROM {where}").all())


def _check_index(conn: Connection) -> None:
    """FTS5's own check against the messages: raises where the index is not what they would make."""
    if search.pending(conn):
        while search.catch_up(conn):
            pass
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("INSERT INTO message_search(message_search, rank) VALUES ('integrity-check', 1)")
