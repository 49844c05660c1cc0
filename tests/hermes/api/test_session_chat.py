"""Talking to a session: the answer, the stream, who is asked, and what happens when the client leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.services import ApiSettings
from hermes.core.errors import UpstreamError, UpstreamRateLimited
from hermes.core.message import ImagePart, TextPart
from hermes.core.model import ReasoningDelta
from hermes.runs.runner import RunnerSettings
from tests.support.api import sse_events
from tests.support.live import Live, live
from tests.support.models import ScriptedModel, calls, says
from tests.support.tools import EchoTool

CHAT = "/api/sessions/s/chat"
STREAM = "/api/sessions/s/chat/stream"
LOOK = calls(("c1", "echo", '{"text": "one"}'), text="Looking.")


async def begin(server: Live) -> None:
    assert (await server.client.post("/api/sessions", json={"id": "s"})).status_code == 201


async def test_a_turn_is_answered_whole_and_goes_on_with_the_session() -> None:
    model = ScriptedModel([says("Hello", " there"), says("Again")])
    async with live(model) as server:
        await begin(server)
        first = await server.client.post(CHAT, json={"message": "hello"}, headers={"X-Hermes-Session-Key": "key"})
        told = first.json()
        run_id = first.headers["x-hermes-run-id"]
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "cache_read_tokens": 0}
        usage |= {"cache_write_tokens": 0, "reasoning_tokens": 0, "api_calls": 1, "cost_usd": None}  # type: ignore[dict-item]
        assert told == {
            "object": "hermes.session.chat.completion",
            "session_id": "s",
            "run_id": run_id,
            "model": "scripted",
            "message": {
                "id": f"msg_{run_id.removeprefix('run_')}",
                "role": "assistant",
                "content": "Hello there",
                "reasoning": None,
            },
            "finish_reason": "stop",
            "usage": usage,
            "created_at": told["created_at"],
        }
        assert (first.headers["x-hermes-session-id"], first.headers["x-hermes-session-key"]) == ("s", "key")
        assert (await server.run(run_id))["session_id"] == "s"
        await server.client.post(CHAT, json={"input": "and?", "system_message": "Be brief."})
        said = [(message.role, message.text) for message in model.requests[1].messages]
        assert said[1:] == [("user", "hello"), ("assistant", "Hello there"), ("user", "and?")]
        assert said[0][1].endswith("Be brief.")
        assert "Be brief." not in model.requests[0].messages[0].text


async def test_a_stream_is_the_run_as_named_events_in_order() -> None:
    answers = [
        [ReasoningDelta("hm"), *LOOK],
        says("It is", " one."),
    ]
    async with live(ScriptedModel(answers), EchoTool()) as server:
        await begin(server)
        response = await server.client.post(STREAM, json={"message": "look"})
        assert response.headers["content-type"].startswith("text/event-stream")
        run_id = response.headers["x-hermes-run-id"]
        sent = sse_events(response.text)
        assert [one.data["seq"] for one in sent] == list(range(1, len(sent) + 1))
        assert {(one.data["session_id"], one.data["run_id"]) for one in sent} == {("s", run_id)}
        times = [one.data["ts"] for one in sent]
        assert times == sorted(times)
        message_id = f"msg_{run_id.removeprefix('run_')}"
        tool = {"tool": "echo", "tool_name": "echo", "tool_call_id": "c1", "emoji": "🔌", "label": "echo"}
        tool |= {"preview": "one", "args": {"text": "one"}}  # type: ignore[dict-item]
        own = [(one.event, _own(one.data)) for one in sent]
        of_message = {"message_id": message_id}
        said = "".join(fields["delta"] for name, fields in own if name == "assistant.delta")
        assert said == "Looking.\n\nIt is one."
        duration = next(fields for name, fields in own if name == "tool.completed")["duration"]
        completed = next(fields for name, fields in own if name == "run.completed")
        messages = (await server.client.get("/api/sessions/s/messages")).json()["data"]
        assert [one for one in own if one[0] != "assistant.delta"] == [
            ("run.started", {"user_message": {"role": "user", "content": "look"}, "model": "scripted"}),
            ("message.started", {"message": {"id": message_id, "role": "assistant"}}),
            ("reasoning.delta", {**of_message, "delta": "hm"}),
            ("tool.started", {**of_message, **tool}),
            ("tool.completed", {**of_message, **tool, "preview": "echo: one", "duration": duration, "error": None}),
            (
                "assistant.completed",
                {**of_message, "content": "It is one.", "completed": True, "partial": False, "interrupted": False},
            ),
            (
                "run.completed",
                {
                    **of_message,
                    "completed": True,
                    "output": "It is one.",
                    "finish_reason": "stop",
                    "model": "scripted",
                    "usage": completed["usage"],
                    "messages": messages,
                    "warnings": [],
                },
            ),
            ("done", {}),
        ]
        assert completed["usage"]["total_tokens"] == 30
        assert [one["role"] for one in messages] == ["user", "assistant", "tool", "assistant"]


async def test_streaming_switched_off_sends_the_text_as_one_delta() -> None:
    async with live(ScriptedModel([says("Hello", " there")]), api=ApiSettings(is_streaming=False)) as server:
        await begin(server)
        sent = sse_events((await server.client.post(STREAM, json={"message": "hello"})).text)
        assert [one.data["delta"] for one in sent if one.event == "assistant.delta"] == ["Hello there"]


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_a_dangerous_call_is_asked_about_and_the_answer_reaches_it(path: str) -> None:
    answers = [calls(("c1", "echo", '{"text": "rm -rf x"}')), says("Done.")]
    tool = EchoTool(is_dangerous=True)
    async with live(ScriptedModel(answers), tool) as server:
        await begin(server)
        asking = asyncio.create_task(server.client.post(path, json={"message": "clean up"}))
        run = await _waiting(server)
        [question] = run["approvals"]
        assert (run["status"], question["command"], tool.ran) == ("waiting_for_approval", "rm -rf x", [])
        answer = {"choice": "once", "approval_id": question["approval_id"]}
        await server.client.post(f"/v1/runs/{run['run_id']}/approval", json=answer)
        response = await asking
        assert tool.ran == ["rm -rf x"]
        if path == STREAM:
            sent = {one.event: _own(one.data) for one in sse_events(response.text)}
            request = sent["approval.request"]
            assert (request["approval_id"], request["command"]) == (question["approval_id"], "rm -rf x")
            assert request["choices"] == ["once", "session", "always", "deny"]
            responded = sent["approval.responded"]
            assert (responded["choice"], responded["outcome"], responded["by"]) == ("once", "user", "owner")
        else:
            assert response.json()["message"]["content"] == "Done."


async def test_an_approval_nobody_answers_is_told_as_a_time_out() -> None:
    answers = [calls(("c1", "echo", '{"text": "rm -rf x"}')), says("I was not allowed.")]
    tool = EchoTool(is_dangerous=True)
    async with live(ScriptedModel(answers), tool, settings=RunnerSettings(approval_timeout_seconds=0.05)) as server:
        await begin(server)
        response = await server.client.post(CHAT, json={"message": "clean up"})
        assert (response.status_code, tool.ran) == (200, [])
        assert "denied: nobody answered in time" in response.headers["x-hermes-warnings"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UpstreamError("The model broke", is_retryable=False), 502, "upstream_error"),
        (UpstreamRateLimited("slow down", retry_after_seconds=7.0, is_retryable=False), 429, "upstream_rate_limited"),
    ],
)
async def test_a_failed_model_is_an_error(error: UpstreamError, status: int, code: str) -> None:
    async with live(ScriptedModel([[error], [error]])) as server:
        await begin(server)
        response = await server.client.post(CHAT, json={"message": "hello"})
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        sent = sse_events((await server.client.post(STREAM, json={"message": "hello"})).text)
        assert [one.event for one in sent] == ["run.started", "message.started", "error", "done"]
        assert sent[2].data["error"] == response.json()["error"]
        assert (sent[2].data["code"], sent[2].data["message"]) == (code, error.message)


async def test_a_stopped_run_ends_its_stream_with_an_error_and_its_plain_answer_with_409() -> None:
    never = asyncio.Event()
    for path in (CHAT, STREAM):
        async with live(ScriptedModel([[never]])) as server:
            await begin(server)
            asking = asyncio.create_task(server.client.post(path, json={"message": "hello"}))
            run = await _first_run(server)
            await server.client.post(f"/v1/runs/{run['run_id']}/stop")
            response = await asking
            if path == CHAT:
                assert (response.status_code, response.json()["error"]["code"]) == (409, "run_cancelled")
            else:
                sent = sse_events(response.text)
                assert [one.event for one in sent][-2:] == ["error", "done"]
                assert sent[-2].data["code"] == "run_cancelled"


async def test_the_run_goes_on_when_the_client_leaves_and_its_answer_is_in_the_session() -> None:
    goes_on = asyncio.Event()
    async with live(ScriptedModel([[goes_on, *says("late")]]), api=ApiSettings(disconnect_grace_seconds=0.0)) as server:
        await begin(server)
        async with server.client.stream("POST", STREAM, json={"message": "hello"}) as response:
            async for line in response.aiter_lines():
                if line == "event: message.started":
                    break
            run_id = response.headers["x-hermes-run-id"]
        goes_on.set()
        assert (await server.ended(run_id))["status"] == "completed"
        told = (await server.client.get("/api/sessions/s/messages")).json()["data"]
        assert [one["content"] for one in told] == ["hello", "late"]


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_the_same_key_and_body_give_the_same_answer_and_one_run(path: str) -> None:
    async with live(ScriptedModel([says("one", " two")])) as server:
        await begin(server)
        headers = {"Idempotency-Key": "k1"}
        first = await server.client.post(path, json={"message": "hello"}, headers=headers)
        again = await server.client.post(path, json={"message": "hello"}, headers=headers)
        if path == CHAT:
            assert again.content == first.content
        else:
            assert _text(again) == _text(first) == "one two"
            assert _shape(again) == _shape(first)
        assert again.headers["idempotency-replayed"] == "true"
        assert len((await server.client.get("/v1/runs")).json()["data"]) == 1
        other = await server.client.post(path, json={"message": "another"}, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_conflict")


async def test_a_silent_stream_is_kept_alive() -> None:
    goes_on = asyncio.Event()
    async with live(ScriptedModel([[goes_on, *says("late")]]), api=ApiSettings(keepalive_seconds=0.01)) as server:
        await begin(server)
        last = ""
        async with server.client.stream("POST", STREAM, json={"message": "hello"}) as response:
            async for line in response.aiter_lines():
                if line == ": keep-alive":
                    goes_on.set()
                last = line or last
        assert last.startswith("data: ")


async def test_images_beside_a_message_and_parts_of_one_reach_the_model() -> None:
    image = "data:image/png;base64,AAAA"
    model = ScriptedModel([says("one"), says("two"), says("three")])
    async with live(model) as server:
        await begin(server)
        assert (await server.client.post(CHAT, json={"message": "see", "images": [image]})).status_code == 200
        parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": image}}]
        assert (await server.client.post(CHAT, json={"input": parts})).status_code == 200
        body = {"images": [{"url": image, "detail": "low"}]}
        assert (await server.client.post(CHAT, json=body)).status_code == 200
        contents = [request.messages[-1].content for request in model.requests]
        assert contents == [
            (TextPart("see"), ImagePart(image)),
            (TextPart("see"), ImagePart(image)),
            (ImagePart(image, "low"),),
        ]


async def test_of_a_list_of_messages_the_last_turn_is_new() -> None:
    model = ScriptedModel([says("one")])
    async with live(model) as server:
        await begin(server)
        said = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "before"},
            {"role": "assistant", "content": "answer"},
            {"role": "user", "content": "now"},
        ]
        response = await server.client.post(CHAT, json={"messages": said})
        assert [message.text for message in model.requests[0].messages[1:]] == ["now"]
        assert model.requests[0].messages[0].text.endswith("Be brief.")
        assert "session's own history counts" in response.headers["x-hermes-warnings"]


async def test_parameters_of_the_model_are_handed_on_and_unknown_fields_are_named() -> None:
    model = ScriptedModel([says("one")])
    async with live(model) as server:
        await begin(server)
        response = await server.client.post(CHAT, json={"message": "hello", "temperature": 0.5, "stream": True})
        assert model.requests[0].params["temperature"] == 0.5
        assert response.headers["x-hermes-warnings"] == "not supported, ignored: stream"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_message", "message"),
        ({"message": "  "}, "missing_message", "message"),
        ({"input": []}, "missing_message", "input"),
        ({"message": [{"type": "text", "text": " "}]}, "missing_message", "message"),
        ({"message": 5}, "invalid_request", "message"),
        ({"message": [{"type": "text"}]}, "invalid_request", "message[0].text"),
        ({"message": [{"type": "video"}]}, "unsupported_content_type", "message[0].type"),
        ({"message": [5]}, "invalid_content_part", "message[0]"),
        ({"message": "x", "images": ["ftp://x"]}, "invalid_image_url", "images[0].image_url.url"),
        ({"message": "x", "images": ["https://127.0.0.1/x.png"]}, "invalid_image_url", "images[0].image_url.url"),
        ({"message": "x", "images": [None]}, "invalid_image_url", "images[0].image_url"),
        ({"message": "x", "images": "https://x"}, "invalid_request", "images"),
        ({"message": "x", "images": ["https://x"] * 51}, "invalid_request", "images"),
        ({"messages": [], "images": []}, "invalid_request", "images"),
        ({"messages": []}, "invalid_request", "messages"),
        ({"messages": [{"role": "user"}]}, "invalid_request", "messages[0].content"),
        ({"message": "x", "system_message": 5}, "invalid_system_message", "system_message"),
        ({"message": "x", "instructions": {}}, "invalid_system_message", "instructions"),
        ({"message": "x", "model": 5}, "invalid_request", "model"),
        ({"message": "x", "temperature": 3}, "invalid_request", "temperature"),
        ([], "invalid_request", None),
    ],
    ids=str,
)
async def test_what_cannot_be_said_is_refused_by_name(body: Any, code: str, param: str | None) -> None:
    async with live(ScriptedModel([])) as server:
        await begin(server)
        for path in (CHAT, STREAM):
            response = await server.client.post(path, json=body)
            error = response.json()["error"]
            assert (response.status_code, error["code"], error["param"]) == (400, code, param)
        assert (await server.client.get("/api/sessions/s/messages")).json()["data"] == []


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["message", "input", "messages", "system_message", "instructions", "images", "model", "stop"])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(FIELDS, JSON, max_size=4))
async def test_no_body_is_a_server_error(body: Any) -> None:
    async with live(ScriptedModel([lambda request: says("well")])) as server:
        await begin(server)
        response = await server.client.post(CHAT, json=body)
        assert response.status_code in (200, 400), response.text


def _own(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("session_id", "run_id", "seq", "ts")}


def _text(response: httpx.Response) -> str:
    return "".join(one.data["delta"] for one in sse_events(response.text) if one.event == "assistant.delta")


def _shape(response: httpx.Response) -> list[Any]:
    """What must be the same in a replay: everything but where the text was cut."""
    return [
        (one.event, {name: value for name, value in one.data.items() if name != "seq"})
        for one in sse_events(response.text)
        if one.event != "assistant.delta"
    ]


async def _first_run(server: Live) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            found: list[dict[str, Any]] = (await server.client.get("/v1/runs")).json()["data"]
            if found and found[0]["last_event"] is not None:
                return found[0]


async def _waiting(server: Live) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            run = await _first_run(server)
            if run["approvals"]:
                return run
