"""Lists of sessions: order, pages, what is hidden, and the two forms that must agree."""

from __future__ import annotations

import orjson
import pytest

from hermes.core.run import Usage
from hermes.store import sessions
from hermes.store.database import Connection, Database
from hermes.store.session_list import Listing, idle, list_sessions, summaries, summary
from tests.support.store import a_session, keep_run, keep_session


async def test_a_list_has_the_owners_own_sessions_the_most_recently_active_first(database: Database) -> None:
    await database.write(_keep_many, 10)
    await database.write(sessions.create, a_session("foreign", owner="bob", last_active=99.0))
    listed = await database.read(list_sessions, "alice")
    assert [session.id for session in listed] == [f"s{number}" for number in (8, 6, 4, 2, 0)]


async def test_stateless_sessions_are_listed_when_asked_for_or_named_by_their_source(database: Database) -> None:
    await database.write(_keep_many, 10)
    await database.write(sessions.create, a_session("cli", source="cli", last_active=50.0))
    everything = await database.read(lambda conn: list_sessions(conn, "alice", Listing(include_stateless=True)))
    assert [session.id for session in everything] == ["cli", *(f"s{number}" for number in range(9, -1, -1))]
    of_api = await database.read(lambda conn: list_sessions(conn, "alice", Listing(source="api")))
    assert [session.id for session in of_api] == [f"s{number}" for number in range(9, -1, -1)]


@pytest.mark.parametrize("include_stateless", [True, False])
async def test_pages_by_offset_and_by_cursor_show_each_session_once(
    database: Database, include_stateless: bool
) -> None:
    await database.write(_keep_many, 23)

    def by_offset(conn: Connection) -> list[str]:
        pages = [
            list_sessions(conn, "alice", Listing(limit=4, offset=offset, include_stateless=include_stateless))
            for offset in range(0, 28, 4)
        ]
        return [session.id for page in pages for session in page]

    def by_cursor(conn: Connection) -> list[str]:
        seen: list[str] = []
        before: tuple[float, str] | None = None
        while page := list_sessions(
            conn, "alice", Listing(limit=4, before=before, include_stateless=include_stateless)
        ):
            seen += [session.id for session in page]
            before = (page[-1].last_active, page[-1].id)
        return seen

    expected = [f"s{number}" for number in range(22, -1, -1) if include_stateless or number % 2 == 0]
    assert await database.read(by_offset) == expected
    assert await database.read(by_cursor) == expected


async def test_sessions_that_were_active_at_the_same_moment_are_paged_by_id(database: Database) -> None:
    for name in "abcd":
        await database.write(keep_session, name)
    first = await database.read(lambda conn: list_sessions(conn, "alice", Listing(limit=2)))
    rest = await database.read(lambda conn: list_sessions(conn, "alice", Listing(before=(1.0, first[-1].id))))
    assert [session.id for session in [*first, *rest]] == ["d", "c", "b", "a"]


async def test_a_summary_in_json_is_the_summary_of_the_session_to_the_last_digit(database: Database) -> None:
    await database.write(
        sessions.create,
        a_session(
            "whole",
            title='Quotes " and \\ and \N{GRINNING FACE} and \x1e\x07',
            preview="line",
            user_id="u",
            model="m",
            model_choice="fast",
            system_prompt="Be brief.",
            parent_session_id="p",
            started_at=1_700_000_000.1234567,
            last_active=1_763_797_931.254881,
            ended_at=1_763_797_932.000001,
            end_reason="done",
            message_count=3,
            tool_call_count=2,
            usage=Usage(1, 2, 3, 4, 5, 6, 0.1 + 0.2),
        ),
    )
    await database.write(sessions.create, a_session("bare", last_active=1e-7))
    await database.write(sessions.create, a_session("chosen", model_choice="fast"))

    def both(conn: Connection) -> tuple[list[object], list[object]]:
        texts = summaries(conn, "alice", Listing())
        return [orjson.loads(text) for text in texts], [summary(one) for one in list_sessions(conn, "alice")]

    in_json, told = await database.read(both)
    assert in_json == told
    assert [one["id"] for one in told] == ["whole", "chosen", "bare"]  # type: ignore[index]
    assert [one["model"] for one in told] == ["m", "fast", None]  # type: ignore[index]


@pytest.mark.parametrize("include_stateless", [True, False])
async def test_summaries_are_paged_like_the_list(database: Database, include_stateless: bool) -> None:
    await database.write(_keep_many, 23)

    def by_cursor(conn: Connection) -> list[str]:
        seen: list[str] = []
        before: tuple[float, str] | None = None
        while texts := summaries(conn, "alice", Listing(limit=4, before=before, include_stateless=include_stateless)):
            page = [orjson.loads(text) for text in texts]
            seen += [one["id"] for one in page]
            before = (page[-1]["last_active"], page[-1]["id"])
        return seen

    def by_offset(conn: Connection) -> list[str]:
        asked = [Listing(limit=4, offset=offset, include_stateless=include_stateless) for offset in range(0, 28, 4)]
        return [orjson.loads(text)["id"] for one in asked for text in summaries(conn, "alice", one)]

    expected = [f"s{number}" for number in range(22, -1, -1) if include_stateless or number % 2 == 0]
    assert await database.read(by_cursor) == expected
    assert await database.read(by_offset) == expected


async def test_children_are_listed_when_asked_for_or_named_by_their_source_and_forks_always(
    database: Database,
) -> None:
    for name, source in (("top", "api"), ("fork", "api"), ("sub", "subagent")):
        parent = None if name == "top" else "top"
        await database.write(sessions.create, a_session(name, source=source, parent_session_id=parent))
    listings = Listing(), Listing(include_children=True), Listing(source="subagent")

    def listed(conn: Connection) -> list[list[str]]:
        return [[one.id for one in list_sessions(conn, "alice", listing)] for listing in listings]

    assert await database.read(listed) == [["top", "fork"], ["top", "sub", "fork"], ["sub"]]


async def test_words_of_the_title_or_the_preview_choose_and_nothing_in_them_stands_for_anything_else(
    database: Database,
) -> None:
    await database.write(sessions.create, a_session("a", title="100% Blue"))
    await database.write(sessions.create, a_session("b", preview="a blue_bird"))
    await database.write(sessions.create, a_session("c", title="100 blues \\"))

    def found(conn: Connection, words: str) -> list[str]:
        return [orjson.loads(text)["id"] for text in summaries(conn, "alice", Listing(words=words))]

    assert await database.read(found, "BLUE") == ["c", "b", "a"]
    assert await database.read(found, "0%") == ["a"]
    assert await database.read(found, "e_b") == ["b"]
    assert await database.read(found, "\\") == ["c"]
    assert await database.read(found, "red") == []


async def test_idle_sessions_are_those_without_an_open_run_oldest_first(database: Database) -> None:
    for number in range(4):
        await database.write(lambda conn, at: keep_session(conn, f"s{at}", last_active=float(at)), number)
    await database.write(lambda conn: keep_session(conn, "cron", source="cron", last_active=0.5))
    await database.write(lambda conn: keep_run(conn, "open", "s1"))
    await database.write(lambda conn: keep_run(conn, "ended", "s2", finished_at=9.0))
    assert [one[0] for one in await database.read(idle, "alice", 3.0)] == ["s0", "cron", "s2"]
    assert await database.read(lambda conn: idle(conn, "alice", 3.0, source="cron")) == [("cron", None, 0.5)]
    assert await database.read(idle, "bob", 3.0) == []


def _keep_many(conn: Connection, count: int) -> None:
    """s0, s1, …, each active a second after the one before; the odd ones are stateless."""
    for number in range(count):
        session = a_session(f"s{number}", last_active=float(number), is_stateless=number % 2 == 1)
        sessions.create(conn, session)
