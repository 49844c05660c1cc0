"""The `session_search` tool: what it asks for, and how little it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hermes.core.clock import SystemClock
from hermes.core.errors import InvalidInput, NotFound, ToolFailed
from hermes.core.ports import Recalled, Said, ToolContext, ToolResult, Whose
from hermes.toolsets.session_search import SessionSearchTool
from tests.support.sessions import FakeSessions

CONTEXT = ToolContext("s", "run_1", "call_1", Path("/"), None, SystemClock(), {}, {}, "v1", "key_1")
ME = Whose(owner="key_1", session_key="v1", session_id="s", run_id="run_1")
HIT = Said(session_id="sess_1", title="Trip", role="user", created_at=1_700_000_000.0, text="to >>>Rome<<<\nby train")


async def call(sessions: FakeSessions | None, **arguments: Any) -> ToolResult:
    tool = SessionSearchTool(sessions)
    return await tool.run(tool.parse(json.dumps(arguments)), CONTEXT)


async def failure(sessions: FakeSessions | None, **arguments: Any) -> str:
    with pytest.raises(ToolFailed) as failed:
        await call(sessions, **arguments)
    return failed.value.message


async def test_a_hit_is_one_line_with_its_day_its_session_and_the_place() -> None:
    found = await call(FakeSessions(Recalled([HIT])), query="rome")
    assert found.content == "2023-11-14 22:13 user, sess_1 “Trip”: to >>>Rome<<< by train"
    assert found.preview == "1 result"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ({"query": " rome "}, ("recall", ME, "rome", 5, None)),
        ({"query": "rome", "limit": 2, "session_id": "sess_1"}, ("recall", ME, "rome", 2, "sess_1")),
        ({"query": "rome", "session_id": "current"}, ("recall", ME, "rome", 5, "s")),
        ({"session_id": "sess_1"}, ("last_said", ME, "sess_1", 5)),
        ({}, ("recent", ME, 5)),
        ({"query": None, "session_id": None}, ("recent", ME, 5)),
    ],
)
async def test_each_question_is_asked_for_whom_the_run_is(arguments: dict[str, Any], asked: tuple[object, ...]) -> None:
    sessions = FakeSessions()
    await call(sessions, **arguments)
    assert sessions.asked == [asked]


async def test_what_is_missing_is_said() -> None:
    assert (await call(FakeSessions(), query="x")).content == "Nothing was found; try fewer or other words."
    assert (await call(FakeSessions())).content == "Nothing was said before."
    more = await call(FakeSessions(Recalled([HIT], has_more=True, pending=1200)), query="x")
    assert more.content.splitlines()[1:] == [
        "[there is more: narrow the query, or raise limit]",
        "[1,200 recent messages are not in the index yet and may be missing]",
    ]


async def test_long_words_are_cut() -> None:
    long = Said(session_id="s", title="t" * 300, role="user", created_at=0.0, text="word " * 1000)
    assert len((await call(FakeSessions(Recalled([long] * 20)), session_id="s", limit=20)).content) < 20 * 800


async def test_failures_are_told_in_the_words_of_the_tool() -> None:
    wrong = FakeSessions(raises=InvalidInput("q has no word to look for", param="q"))
    assert await failure(wrong, query="!!") == "query has no word to look for"
    assert await failure(FakeSessions(raises=NotFound("no session 'x'")), session_id="x") == "no session 'x'"
    assert "limit: Input should be less than or equal to 20" in await failure(FakeSessions(), limit=21)
    assert await failure(None, query="x") == "No sessions are kept here."
