"""What is found, in which scripts, and what is shown of it."""

from __future__ import annotations

import time

import pytest

from hermeslink.core.conversation import MessageStatus, Role
from hermeslink.store import conversation_list, conversations, messages
from hermeslink.store.conversation_list import Listing
from hermeslink.store.snippet import snippet, terms_of
from tests.support.link_conversations import conversation, keep, link_database, message

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

CONV = "conv_" + "c" * 32


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("The quick brown fox", "QUICK"),
        ("The quick brown fox", "bro"),  # a word by its beginning
        ("The quick brown fox", "fox the"),
        ("The quick brown fox", '"quick brown"'),
        ("Un café façade", "facade cafe"),
        ("今天天气很好", "天气"),
        ("今天天气很好", "好"),
        ("我的iPhone手机", "iphone"),
        ("我的iPhone手机", "iPhone手机"),
        ("東京タワーへ行く", "タワー"),
        ("สวัสดีครับ", "ครับ"),
        ("안녕하세요 세계", "안녕"),
        ("error: FOO_BAR-17 failed", "foo_bar-17"),
        ("see example.com/a?b=c", "example.com/a?b=c"),
    ],
)
async def test_is_found(text: str, question: str) -> None:
    assert await found(text, question) == [snippet(text, terms_of(question))]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("The quick brown fox", "uick"),
        ("The quick brown fox", "quick wolf"),
        ("The quick brown fox", '"brown quick"'),
        ("今天天气很好", "天很"),
        ("NEAR AND OR NOT", 'NEAR("x"'),
    ],
)
async def test_is_not_found(text: str, question: str) -> None:
    assert await found(text, question) == []


@pytest.mark.parametrize("question", ["", "   ", '"', "***", '"" -- !?', "\x00", "_"])
def test_there_is_nothing_to_look_for(question: str) -> None:
    assert terms_of(question) == ()


@pytest.mark.parametrize("question", ['a"b', "a AND", "a*", "(a", "a:b", "^a", "-a", "a\x00b", "'a'; DROP TABLE a"])
async def test_nothing_in_a_question_is_syntax(question: str) -> None:
    await found("The quick brown fox", question)


async def test_titles_are_found_and_follow_their_conversation() -> None:
    async with link_database() as database:
        await database.write(keep, conversation(CONV, title="Rome in spring"), message(CONV, "Hello"))
        assert await search(database, "spring") == [(CONV, [])]
        await database.write(lambda conn: conversations.set_title(conn, CONV, "Rom im Frühling", 1.0, is_own=True))
        assert await search(database, "spring") == []
        assert await search(database, "fruhling") == [(CONV, [])]


async def test_an_answer_is_found_when_it_is_whole() -> None:
    async with link_database() as database:
        answer = message(CONV, role=Role.ASSISTANT, status=MessageStatus.STREAMING)
        await database.write(keep, conversation(CONV), answer)
        assert await search(database, "wonder") == []
        for _ in range(2):
            await database.write(
                lambda conn: messages.finish(conn, answer.id, MessageStatus.COMPLETED, 1.0, text="Wonderful")
            )
        assert await search(database, "wonder") == [(CONV, ["Wonderful"])]


async def test_of_many_matches_the_newest_are_shown() -> None:
    async with link_database() as database:
        await database.write(keep, conversation(CONV), *(message(CONV, f"word {n}") for n in range(5)))
        assert await search(database, "word") == [(CONV, ["word 4", "word 3", "word 2"])]


def test_a_snippet_is_one_line_around_the_first_word() -> None:
    text = "a " * 100 + "The\n\nneedle " + "b " * 100
    shown = snippet(text, terms_of("needle"))
    assert "The needle b" in shown
    assert (shown[0], shown[-1], len(shown) <= 162) == ("…", "…", True)


def test_a_snippet_of_a_long_message_takes_no_time() -> None:
    began = time.perf_counter()
    snippet("aa " * 100_000, terms_of('"aa bb" cc dd ' + "a" * 900))
    assert time.perf_counter() - began < 2


async def found(text: str, question: str) -> list[str]:
    async with link_database() as database:
        await database.write(keep, conversation(CONV), message(CONV, text))
        return [shown for _, matches in await search(database, question) for shown in matches]


async def search(database, question: str) -> list[tuple[str, list[str]]]:
    listing = Listing(device_id="dev", limit=10, terms=terms_of(question))
    rows = await database.read(conversation_list.page, listing)
    return [(row.conversation.id, [match.snippet for match in row.matches]) for row in rows]
