"""/api/sessions without talking: list, search, make, look at, change, delete, read, fork."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.services import ApiSettings
from hermes.core.message import ImagePart, Message, TextPart
from hermes.store import sessions as session_store
from tests.support.live import Live, live
from tests.support.models import ScriptedModel, calls, says
from tests.support.store import a_session
from tests.support.tools import EchoTool

SESSIONS = "/api/sessions"


@pytest.fixture
async def server() -> AsyncIterator[Live]:
    async with live(ScriptedModel([])) as running:
        yield running


async def test_a_session_is_made_of_nothing_and_told_whole(server: Live) -> None:
    response = await server.client.post(SESSIONS)
    assert response.status_code == 201
    made = response.json()["session"]
    at = made["started_at"]
    assert response.json() == {
        "object": "hermes.session",
        "session": {
            "id": made["id"],
            "source": "api",
            "user_id": None,
            "model": None,
            "title": None,
            "started_at": at,
            "ended_at": None,
            "end_reason": None,
            "message_count": 0,
            "tool_call_count": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "estimated_cost_usd": None,
            "actual_cost_usd": None,
            "api_call_count": 0,
            "parent_session_id": None,
            "has_system_prompt": False,
            "has_model_config": False,
            "last_active": at,
            "preview": "",
        },
    }
    assert made["id"].startswith("sess_")
    shown = await server.client.get(f"{SESSIONS}/{made['id']}")
    assert shown.json() == response.json()
    listed = (await server.client.get(SESSIONS)).json()
    assert listed == {
        "object": "list",
        "data": [made],
        "limit": 50,
        "offset": 0,
        "has_more": False,
        "next_cursor": None,
    }


async def test_a_session_is_made_with_what_is_said_of_it_and_only_once(server: Live) -> None:
    asked = {"id": "mine:1", "title": " Blue ", "model": "hermes-agent", "system_prompt": "Be brief."}
    made = (await server.client.post(SESSIONS, json=asked)).json()["session"]
    assert (made["id"], made["title"], made["has_system_prompt"], made["has_model_config"]) == (
        "mine:1",
        "Blue",
        True,
        False,
    )
    again = await server.client.post(SESSIONS, json={"id": "mine:1"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "session_exists")
    foreign = await server.other.post(SESSIONS, json={"id": "mine:1"})
    assert foreign.status_code == 409


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"id": "a b"}, "invalid_session_id", "id"),
        ({"id": ""}, "invalid_session_id", "id"),
        ({"id": "search"}, "invalid_session_id", "id"),
        ({"id": 5}, "invalid_session_id", "id"),
        ({"id": "x" * 257}, "invalid_session_id", "id"),
        ({"title": 5}, "invalid_title", "title"),
        ({"title": "x" * 201}, "invalid_title", "title"),
        ({"title": "two\nlines"}, "invalid_title", "title"),
        ({"system_prompt": ["no"]}, "invalid_system_prompt", "system_prompt"),
        ({"system_prompt": "x" * 100_001}, "invalid_system_prompt", "system_prompt"),
        ({"model": "gpt-99"}, "invalid_request", "model"),
        ({"model": 5}, "invalid_request", "model"),
        ([], "invalid_request", None),
    ],
)
async def test_what_cannot_be_made_is_refused_by_name(server: Live, body: Any, code: str, param: str | None) -> None:
    response = await server.client.post(SESSIONS, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert (await server.client.get(SESSIONS)).json()["data"] == []


async def test_an_alias_is_the_sessions_choice_until_a_model_has_answered() -> None:
    aliases = ApiSettings(model_aliases=("fast",))
    async with live(ScriptedModel([says("one")]), api=aliases) as server:
        made = (await server.client.post(SESSIONS, json={"id": "s", "model": "fast"})).json()["session"]
        assert (made["model"], made["has_model_config"]) == ("fast", True)
        await server.client.post(f"{SESSIONS}/s/chat", json={"message": "hello"})
        told = (await server.client.get(f"{SESSIONS}/s")).json()["session"]
        assert (told["model"], told["has_model_config"]) == ("scripted", True)


async def test_the_list_has_pages_by_offset_and_by_cursor(server: Live) -> None:
    for number in range(7):
        kept = a_session(f"s{number}", owner="owner", last_active=float(number))
        await server.database.write(session_store.create, kept)
    by_offset: list[str] = []
    offset = 0
    while page := (await server.client.get(SESSIONS, params={"limit": 3, "offset": offset})).json():
        by_offset += [one["id"] for one in page["data"]]
        assert page["offset"] == offset
        offset += 3
        if not page["has_more"]:
            break
    by_cursor: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await server.client.get(SESSIONS, params={"limit": 3, "cursor": cursor})).json()
        by_cursor += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
    assert by_offset == by_cursor == [f"s{number}" for number in range(6, -1, -1)]


async def test_the_list_is_narrowed_by_source_words_and_kind(server: Live) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "a": {"source": "cron", "title": "Nightly Report"},
        "b": {"source": "api", "is_stateless": True},
        "c": {"source": "api", "preview": "report this"},
        "d": {"source": "subagent", "parent_session_id": "c"},
    }
    for name, fields in kinds.items():
        await server.database.write(session_store.create, a_session(name, owner="owner", **fields))

    async def ids(**query: str) -> list[str]:
        return [one["id"] for one in (await server.client.get(SESSIONS, params=query)).json()["data"]]

    assert await ids() == ["c", "a"]
    assert await ids(source="api") == ["c", "b"]
    assert await ids(include_stateless="true") == ["c", "b", "a"]
    assert await ids(include_children="1") == ["d", "c", "a"]
    assert await ids(source="subagent") == ["d"]
    assert await ids(q="REPORT") == ["c", "a"]
    assert await ids(q="report", source="cron") == ["a"]
    assert await ids(q='"\x00%_') == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("offset=-1", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("include_children=perhaps", "include_children"),
        ("cursor=AAAA", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=" + "x" * 2000, "cursor"),
    ],
)
async def test_bad_numbers_and_cursors_of_a_list_are_400(server: Live, query: str, param: str) -> None:
    response = await server.client.get(f"{SESSIONS}?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_title_and_end_reason_can_be_changed_and_nothing_else(server: Live) -> None:
    await server.client.post(SESSIONS, json={"id": "s"})
    url = f"{SESSIONS}/s"
    ended = (await server.client.patch(url, json={"title": "New", "end_reason": "done"})).json()["session"]
    assert (ended["title"], ended["end_reason"], ended["ended_at"] is not None) == ("New", "done", True)
    assert (await server.client.get(url)).json()["session"] == ended
    opened = (await server.client.patch(url, json={"end_reason": None})).json()["session"]
    assert (opened["title"], opened["end_reason"], opened["ended_at"]) == ("New", None, None)
    assert (await server.client.patch(url, json={"title": ""})).json()["session"]["title"] is None
    assert (await server.client.patch(url, json={})).json()["session"]["id"] == "s"
    refused = (await server.client.patch(url, json={"title": "x", "source": "cli"})).json()["error"]
    assert (refused["code"], refused["param"]) == ("unsupported_session_field", "source")
    assert (await server.client.get(url)).json()["session"]["title"] is None
    bad = (await server.client.patch(url, json={"title": ["x"]})).json()["error"]
    assert (bad["code"], bad["param"]) == ("invalid_title", "title")


async def test_deleting_takes_everything_and_a_second_time_there_is_nothing() -> None:
    async with live(ScriptedModel([says("swordfish")])) as server:
        run_id = (await server.start("hello", session_id="s"))["run_id"]
        await server.ended(run_id)
        assert len((await server.client.get(f"{SESSIONS}/search?q=swordfish")).json()["data"]) == 1
        gone = await server.client.delete(f"{SESSIONS}/s")
        assert gone.json() == {"object": "hermes.session.deleted", "id": "s", "deleted": True}
        assert (await server.client.delete(f"{SESSIONS}/s")).status_code == 404
        assert (await server.client.get(f"/v1/runs/{run_id}")).status_code == 404
        assert (await server.client.get(f"{SESSIONS}/search?q=swordfish")).json()["data"] == []


async def test_a_session_with_an_open_run_is_not_deleted_and_the_answer_names_the_way_out() -> None:
    goes_on = asyncio.Event()
    async with live(ScriptedModel([[goes_on, *says("late")]])) as server:
        run_id = (await server.start("hello", session_id="s"))["run_id"]
        refused = await server.client.delete(f"{SESSIONS}/s")
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (409, "session_busy")
        assert f"/v1/runs/{run_id}/stop" in error["message"]
        goes_on.set()
        await server.ended(run_id)
        assert (await server.client.delete(f"{SESSIONS}/s")).status_code == 200


async def test_messages_are_told_with_calls_results_reasoning_and_their_run() -> None:
    answers = [calls(("c1", "echo", '{"text": "one"}'), text="Looking."), says("Done.")]
    async with live(ScriptedModel(answers), EchoTool()) as server:
        run_id = (await server.start("look", session_id="s"))["run_id"]
        await server.ended(run_id)
        told = (await server.client.get(f"{SESSIONS}/s/messages")).json()
        call = {"id": "c1", "type": "function", "function": {"name": "echo", "arguments": '{"text": "one"}'}}
        nothing: dict[str, Any] = {"tool_calls": None, "tool_call_id": None, "tool_name": None, "reasoning": None}
        expected: list[dict[str, Any]] = [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": "Looking.", "tool_calls": [call]},
            {"role": "tool", "content": "echo: one", "tool_call_id": "c1", "tool_name": "echo"},
            {"role": "assistant", "content": "Done."},
        ]
        times = [one["timestamp"] for one in told["data"]]
        about = {"session_id": "s", "run_id": run_id}
        assert told == {
            "object": "list",
            "session_id": "s",
            "data": [
                {"id": number, **about, **nothing, **one, "timestamp": at}
                for number, (one, at) in enumerate(zip(expected, times, strict=True), 1)
            ],
            "limit": 500,
            "has_more": False,
            "first_id": 1,
            "last_id": 4,
        }
        assert times == sorted(times)
        session = (await server.client.get(f"{SESSIONS}/s")).json()["session"]
        assert (session["message_count"], session["tool_call_count"], session["api_call_count"]) == (4, 1, 2)
        assert (session["input_tokens"], session["output_tokens"], session["model"]) == (20, 10, "scripted")


async def test_messages_are_paged_from_both_ends_by_id_and_by_offset(server: Live) -> None:
    await server.database.write(session_store.create, a_session("s", owner="owner"))
    said = [Message("user", str(number)) for number in range(10)]
    await server.database.write(session_store.add_messages, "s", None, said, 1.0)

    async def page(**query: Any) -> tuple[list[str], bool]:
        told = (await server.client.get(f"{SESSIONS}/s/messages", params=query)).json()
        return [one["content"] for one in told["data"]], told["has_more"]

    assert await page(limit=3) == (["7", "8", "9"], True)
    assert await page(limit=3, before=8) == (["4", "5", "6"], True)
    assert await page(limit=3, before=3) == (["0", "1"], False)
    assert await page(limit=3, order="oldest") == (["0", "1", "2"], True)
    assert await page(limit=3, after=3) == (["3", "4", "5"], True)
    assert await page(limit=3, after=8) == (["8", "9"], False)
    assert await page(limit=3, order="oldest", offset=8) == (["8", "9"], False)
    assert await page(limit=3, order="latest", offset=8) == (["0", "1"], False)
    assert await page(limit=3, after=2, before=5, order="latest") == (["2", "3"], False)
    for query in ("limit=0", "limit=501", "after=x", "before=-1", "order=up"):
        assert (await server.client.get(f"{SESSIONS}/s/messages?{query}")).status_code == 400


async def test_a_message_of_parts_is_told_in_parts(server: Live) -> None:
    await server.database.write(session_store.create, a_session("s", owner="owner"))
    parts = (TextPart("see"), ImagePart("data:image/png;base64,AAAA"))
    await server.database.write(session_store.add_messages, "s", None, [Message("user", parts)], 1.0)
    [told] = (await server.client.get(f"{SESSIONS}/s/messages")).json()["data"]
    assert told["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


async def test_a_fork_goes_on_by_itself_and_so_does_its_source() -> None:
    answers = [says("one"), says("of the fork"), says("of the source")]
    async with live(ScriptedModel(answers)) as server:
        await server.ended((await server.start("first", session_id="s"))["run_id"])
        await server.client.patch(f"{SESSIONS}/s", json={"title": "T"})
        response = await server.client.post(f"{SESSIONS}/s/fork")
        assert response.status_code == 201
        copy = response.json()["session"]
        assert (copy["title"], copy["parent_session_id"], copy["message_count"]) == ("T (fork)", "s", 2)
        assert (copy["input_tokens"], copy["api_call_count"], copy["model"]) == (0, 0, "scripted")
        assert (await server.client.get(f"/v1/runs?session_id={copy['id']}")).json()["data"] == []
        for session_id in (copy["id"], "s"):
            await server.ended((await server.start("next", session_id=session_id))["run_id"])
        said = {
            session_id: [
                one["content"] for one in (await server.client.get(f"{SESSIONS}/{session_id}/messages")).json()["data"]
            ]
            for session_id in ("s", copy["id"])
        }
        assert said == {
            "s": ["first", "one", "next", "of the source"],
            copy["id"]: ["first", "one", "next", "of the fork"],
        }
        assert (await server.client.get(f"{SESSIONS}/s")).json()["session"]["ended_at"] is None


async def test_a_fork_at_a_message_takes_the_results_of_its_calls_along() -> None:
    answers = [calls(("c1", "echo", '{"text": "one"}')), says("Done.")]
    async with live(ScriptedModel(answers), EchoTool()) as server:
        await server.ended((await server.start("look", session_id="s"))["run_id"])
        body = {"id": "copy", "title": "Mine", "at_message_id": 2}
        copy = (await server.client.post(f"{SESSIONS}/s/fork", json=body)).json()["session"]
        assert (copy["id"], copy["title"], copy["message_count"], copy["tool_call_count"]) == ("copy", "Mine", 3, 1)
        told = (await server.client.get(f"{SESSIONS}/copy/messages")).json()["data"]
        assert [(one["role"], one["run_id"]) for one in told] == [("user", None), ("assistant", None), ("tool", None)]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"at_message_id": 99}, 400, "invalid_request"),
        ({"at_message_id": "1"}, 400, "invalid_request"),
        ({"at_message_id": True}, 400, "invalid_request"),
        ({"at_message_id": -1}, 400, "invalid_request"),
        ({"at_message_id": 2**70}, 400, "invalid_request"),
        ({"id": "s"}, 409, "session_exists"),
        ({"id": "é"}, 400, "invalid_session_id"),
        ({"title": 1}, 400, "invalid_title"),
    ],
)
async def test_a_fork_that_cannot_be_is_refused(server: Live, body: Any, status: int, code: str) -> None:
    await server.client.post(SESSIONS, json={"id": "s"})
    response = await server.client.post(f"{SESSIONS}/s/fork", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_a_search_finds_what_was_said_by_whatever_way_it_came_in() -> None:
    async with live(ScriptedModel([says("a swordfish swims"), says("no fish")])) as server:
        await server.ended((await server.start("which fish?", session_id="s"))["run_id"])
        chat = {"messages": [{"role": "user", "content": "a swordfish?"}]}
        named = {"X-Hermes-Session-Id": "c"}
        assert (await server.client.post("/v1/chat/completions", json=chat, headers=named)).status_code == 200
        told = (await server.client.get(f"{SESSIONS}/search?q=swordfish&limit=1")).json()
        [hit] = told["data"]
        assert hit == {
            "message_id": 3,
            "session_id": "c",
            "session_title": None,
            "source": "api",
            "run_id": hit["run_id"],
            "role": "user",
            "tool_name": None,
            "timestamp": hit["timestamp"],
            "snippet": "a >>>swordfish<<<?",
        }
        assert {name: told[name] for name in ("object", "limit", "has_more", "next_cursor", "pending")} == {
            "object": "list",
            "limit": 1,
            "has_more": True,
            "next_cursor": "3",
            "pending": 0,
        }
        rest = (await server.client.get(f"{SESSIONS}/search?q=swordfish&cursor={told['next_cursor']}")).json()
        assert [(one["session_id"], one["role"]) for one in rest["data"]] == [("s", "assistant")]
        assert (rest["has_more"], rest["next_cursor"]) == (False, None)
        for query, found in (("role=assistant", ["s"]), ("session_id=c", ["c"]), ("source=api", ["c", "s"])):
            told = (await server.client.get(f"{SESSIONS}/search?q=swordfish&{query}")).json()
            assert [one["session_id"] for one in told["data"]] == found
        assert (await server.other.get(f"{SESSIONS}/search?q=swordfish")).json()["data"] == []


@pytest.mark.parametrize("query", ["", "?q=", "?q=%22", "?q=a&limit=101", "?q=a&cursor=x", "?q=a&role=god", "?q=%00"])
async def test_a_search_for_nothing_is_400(server: Live, query: str) -> None:
    response = await server.client.get(f"{SESSIONS}/search{query}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


ROUTES = [
    ("GET", "", None),
    ("PATCH", "", {"title": "mine"}),
    ("DELETE", "", None),
    ("GET", "/messages", None),
    ("POST", "/fork", None),
    ("POST", "/chat", {"message": "hello"}),
    ("POST", "/chat/stream", {"message": "hello"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[f"{method} {path}" for method, path, _ in ROUTES])
async def test_a_session_of_somebody_else_is_as_unknown_as_none(
    server: Live, method: str, path: str, body: Any
) -> None:
    await server.client.post(SESSIONS, json={"id": "sess_1"})
    for session_id in ("sess_1", "nope", "%20", "x" * 300):
        response = await server.other.request(method, f"{SESSIONS}/{session_id}{path}", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "session_not_found")
    assert (await server.client.get(f"{SESSIONS}/sess_1")).json()["session"]["title"] is None


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["id", "title", "model", "system_prompt", "at_message_id", "end_reason"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | st.dictionaries(FIELDS, JSON, max_size=4))
async def test_no_body_is_a_server_error(server: Live, body: Any) -> None:
    made = await server.client.post(SESSIONS, json=body)
    assert made.status_code in (201, 400, 409), made.text
    await server.client.post(SESSIONS, json={"id": "s"})
    for method, path in (("PATCH", "/s"), ("POST", "/s/fork")):
        response = await server.client.request(method, SESSIONS + path, json=body)
        assert response.status_code in (200, 201, 400, 409), response.text
