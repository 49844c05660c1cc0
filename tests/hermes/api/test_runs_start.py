"""POST /v1/runs: what of the body becomes of the run, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.runs.documentation import RunAccepted, RunBody
from hermes.api.services import ApiSettings
from hermes.core.message import ImagePart, Message, TextPart
from hermes.core.model import ModelRequest
from hermes.core.run import Ask, Limits, RunRequest, RunStatus
from tests.support.api import FakeRunner, Server, make_services, serving
from tests.support.live import TOOLSETS, live
from tests.support.models import ScriptedModel, says

RUN_ID = f"run_{1:032x}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(make_services(toolsets=lambda: TOOLSETS)) as running:
        yield running


async def asked(server: Server, headers: dict[str, str] | None = None, **body: Any) -> RunRequest:
    """What reached the runner."""
    response = await server.client.post("/v1/runs", json={"input": "hello", **body}, headers=headers)
    assert response.status_code == 202, response.text
    return server.runner.requests[-1]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def test_a_run_is_accepted_with_its_names_in_body_and_headers(server: Server) -> None:
    response = await server.client.post("/v1/runs", json={"input": "hello"})
    answer = {"run_id": RUN_ID, "status": "started", "session_id": "sess_1", "replayed": False}
    assert (response.status_code, response.json()) == (202, answer)
    assert (response.headers["x-hermes-run-id"], response.headers["x-hermes-session-id"]) == (RUN_ID, "sess_1")
    assert "x-hermes-warnings" not in response.headers
    RunAccepted.model_validate(answer)


async def test_a_run_is_durable_asks_and_waits_for_ever(server: Server) -> None:
    assert await asked(server) == RunRequest(
        owner="owner",
        source="api",
        messages=(Message("user", "hello"),),
        limits=Limits(max_steps=None),
        ask=Ask.WAIT,
        is_durable=True,
        may_wait_forever=True,
    )


@pytest.mark.parametrize("place", ["header", "body", "both"])
async def test_the_session_is_named_by_header_or_body(server: Server, place: str) -> None:
    headers = {"X-Hermes-Session-Id": "mine", "X-Hermes-Session-Key": "k"} if place != "body" else {}
    body = {"session_id": "mine"} if place != "header" else {}
    request = await asked(server, headers, **body)
    assert (request.session_id, request.history) == ("mine", None)
    assert request.session_key == headers.get("X-Hermes-Session-Key")


async def test_of_a_list_what_follows_the_last_answer_is_new_and_the_rest_history(server: Server) -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        user("my colour is blue"),
        {"role": "assistant", "content": "Noted."},
        user("and mine?"),
        user("quick"),
    ]
    request = await asked(server, input=said, instructions="Rhyme.")
    assert request.history == (Message("user", "my colour is blue"), Message("assistant", "Noted."))
    assert request.messages == (Message("user", "and mine?"), Message("user", "quick"))
    assert request.instructions == "Rhyme.\n\nBe brief."


async def test_a_named_session_has_a_history_of_its_own_and_a_sent_one_is_told_as_unused(server: Server) -> None:
    said = [user("one"), {"role": "assistant", "content": "two"}, user("three")]
    response = await server.client.post("/v1/runs", json={"input": said, "session_id": "mine"})
    request = server.runner.requests[-1]
    assert (request.history, request.messages) == (None, (Message("user", "three"),))
    assert "before the last turn of input are not used" in response.headers["x-hermes-warnings"]


async def test_conversation_history_stands_in_for_the_stored_one_even_in_a_named_session(server: Server) -> None:
    request = await asked(server, session_id="mine", conversation_history=[user("one"), user("two")])
    assert (request.session_id, request.history) == ("mine", (Message("user", "one"), Message("user", "two")))
    empty = await asked(server, session_id="mine", conversation_history=[])
    assert empty.history == ()


async def test_an_image_in_the_input_stays_a_part_of_the_message(server: Server) -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    (message,) = (await asked(server, input=[{"role": "user", "content": parts}])).messages
    assert isinstance(message.content, tuple)
    assert message.content[0] == TextPart("what is it?")
    assert isinstance(message.content[1], ImagePart)


async def test_limits_and_toolsets_are_handed_on(server: Server) -> None:
    limits = {"max_steps": 3, "max_tokens": 1000, "max_seconds": 1.5, "max_usd": 0.25}
    request = await asked(server, limits=limits, toolsets=["echo", "echo"])
    assert request.limits == Limits(3, 1000, 1.5, 0.25)
    assert request.toolsets == ("echo",)
    assert (await asked(server, toolsets=[])).toolsets == ()


async def test_model_options_are_the_parameters_of_a_chat(server: Server) -> None:
    request = await asked(server, model_options={"temperature": 0.5, "max_completion_tokens": 7, "magic": 1})
    assert request.params == {"temperature": 0.5, "max_tokens": 7}
    assert request.warnings == ("not supported, ignored: model_options.magic",)


async def test_what_is_not_known_is_told_and_not_dropped_in_silence(server: Server) -> None:
    response = await server.client.post("/v1/runs", json={"input": "hi", "stream": True, "wat": 1, "nothing": None})
    assert response.headers["x-hermes-warnings"] == "not supported, ignored: stream; not supported, ignored: wat"


async def test_a_limit_that_there_is_not_is_told(server: Server) -> None:
    response = await server.client.post("/v1/runs", json={"input": "hi", "limits": {"max_steps": 3, "max_step": 1}})
    assert response.headers["x-hermes-warnings"] == "not supported, ignored: limits.max_step"


@pytest.mark.parametrize(
    ("sent", "model", "warning"),
    [
        ({"model": "hermes-agent"}, None, ""),
        ({"model": "fast"}, "fast", ""),
        ({"model": "gpt-9"}, None, "model is not used"),
        ({"model": "fast", "provider": "openai"}, "fast", "provider is not used: the model is an alias"),
        ({"model": "gpt-9", "provider": "openai"}, None, "provider is not used: direct_model_requests is off"),
    ],
)
async def test_a_model_that_cannot_be_chosen_is_told(sent: Any, model: str | None, warning: str) -> None:
    async with serving(make_services(settings=ApiSettings(model_aliases=("fast",)))) as server:
        request = await asked(server, **sent)
        assert request.model == model
        assert warning in "; ".join(request.warnings)
        assert bool(request.warnings) is bool(warning)


async def test_where_models_may_be_named_so_may_their_provider() -> None:
    async with serving(make_services(settings=ApiSettings(is_direct_model=True))) as server:
        request = await asked(server, model="gpt-9", provider="openai")
        assert (request.model, request.warnings) == ("openai:gpt-9", ())
        assert (await asked(server, model="gpt-9")).model == "gpt-9"
        for sent, param in (({"provider": "nobody", "model": "m"}, "provider"), ({"provider": "openai"}, "model")):
            refused = await server.client.post("/v1/runs", json={"input": "hi", **sent})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "invalid_request", "input"),
        ({"input": ""}, 400, "invalid_request", "input"),
        ({"input": " \n"}, 400, "invalid_request", "input"),
        ({"input": 1}, 400, "invalid_request", "input"),
        ({"input": []}, 400, "invalid_request", "input"),
        ({"input": [{"role": "system", "content": "x"}]}, 400, "invalid_request", "input"),
        ({"input": [{"role": "user", "content": 1}]}, 400, "invalid_request", "input[0].content"),
        ({"input": "x", "session_id": "a/b"}, 400, "invalid_session_id", "session_id"),
        ({"input": "x", "session_id": "a\n"}, 400, "invalid_session_id", "session_id"),
        ({"input": "x", "session_id": 1}, 400, "invalid_request", "session_id"),
        ({"input": "x", "instructions": []}, 400, "invalid_request", "instructions"),
        ({"input": "x", "conversation_history": "x"}, 400, "invalid_request", "conversation_history"),
        (
            {"input": "x", "conversation_history": [{"role": "tool", "tool_call_id": "c", "content": "x"}]},
            400,
            "invalid_request",
            "conversation_history[0].tool_call_id",
        ),
        (
            {"input": [{"role": "tool", "tool_call_id": "c", "content": "x"}]},
            400,
            "invalid_request",
            "input[0].tool_call_id",
        ),
        ({"input": "x", "model": "m" * 300}, 400, "invalid_request", "model"),
        ({"input": "x", "model_options": {"temperature": 9}}, 400, "invalid_request", "model_options.temperature"),
        ({"input": "x", "model_options": {"n": 2}}, 400, "unsupported_parameter", "model_options.n"),
        ({"input": "x", "model_options": []}, 400, "invalid_request", "model_options"),
        ({"input": "x", "toolsets": "echo"}, 400, "invalid_request", "toolsets"),
        ({"input": "x", "toolsets": ["echo", "nope"]}, 400, "unknown_toolset", "toolsets[1]"),
        ({"input": "x", "toolsets": ["vault"]}, 403, "forbidden", "toolsets[0]"),
        ({"input": "x", "limits": {"max_steps": 0}}, 400, "invalid_request", "limits.max_steps"),
        ({"input": "x", "limits": {"max_steps": "3"}}, 400, "invalid_request", "limits.max_steps"),
        ({"input": "x", "limits": {"max_usd": -1}}, 400, "invalid_request", "limits.max_usd"),
        ({"input": "x", "callback_url": 5}, 400, "invalid_request", "callback_url"),
    ],
)
async def test_a_wrong_field_is_named(server: Server, body: Any, status: int, code: str, param: str) -> None:
    response = await server.client.post("/v1/runs", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert server.runner.requests == []


async def test_two_names_for_the_session_are_refused(server: Server) -> None:
    headers = {"X-Hermes-Session-Id": "mine"}
    response = await server.client.post("/v1/runs", json={"input": "hi", "session_id": "yours"}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_session_id")


async def test_the_session_key_comes_back(server: Server) -> None:
    response = await server.client.post("/v1/runs", json={"input": "hi"}, headers={"X-Hermes-Session-Key": "anna"})
    assert response.headers["x-hermes-session-key"] == "anna"


async def test_a_limit_of_money_is_told_in_the_header_too_where_no_price_is_known() -> None:
    class Unpriced(ScriptedModel):
        async def has_price(self) -> bool:
            return False

    async with live(Unpriced([says("Done.")])) as here:
        body = {"input": "hi", "limits": {"max_usd": 1}}
        for _ in range(2):
            response = await here.client.post("/v1/runs", json=body, headers={"Idempotency-Key": "once"})
            assert response.headers["x-hermes-warnings"] == (
                "the price of scripted is not known, so max_usd counts only what its provider says it cost"
            )
            await here.ended(response.json()["run_id"])


async def test_the_same_key_and_body_is_the_same_run(server: Server) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await server.client.post("/v1/runs", json={"input": "hi"}, headers=headers)
    again = await server.client.post("/v1/runs", json={"input": "hi"}, headers=headers)
    other = await server.client.post("/v1/runs", json={"input": "ho"}, headers=headers)
    assert again.json() == first.json() | {"replayed": True}
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert "idempotency-replayed" not in first.headers
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_conflict")


async def test_a_run_that_waits_is_queued(server: Server) -> None:
    class Waiting(FakeRunner):
        async def start(self, request: RunRequest) -> Any:
            return replace(await super().start(request), status=RunStatus.QUEUED)

    server.services.runner = Waiting()
    assert (await server.client.post("/v1/runs", json={"input": "hi"})).json()["status"] == "queued"


async def test_a_previous_response_leads_to_its_session(server: Server) -> None:
    async with live(ScriptedModel([says("One."), says("Two.")])) as here:
        first = await here.start("one")
        await here.ended(first["run_id"])
        await here.database.write(_keep_response, "resp_1", first["run_id"], first["session_id"], "owner")
        second = await here.start("two", previous_response_id="resp_1")
        assert second["session_id"] == first["session_id"]
        refused = [
            await here.client.post("/v1/runs", json={"input": "x", "previous_response_id": "resp_9"}),
            await here.other.post("/v1/runs", json={"input": "x", "previous_response_id": "resp_1"}),
        ]
        assert [(one.status_code, one.json()["error"]["code"]) for one in refused] == [
            (404, "previous_response_not_found")
        ] * 2
        both = {"input": "x", "previous_response_id": "resp_1", "session_id": "another"}
        assert (await here.client.post("/v1/runs", json=both)).status_code == 400


def _keep_response(conn: Any, response_id: str, run_id: str, session_id: str, owner: str) -> None:
    from sqlalchemy import text

    values = {"id": response_id, "run": run_id, "session": session_id, "owner": owner}
    conn.execute(text("INSERT INTO response_chains (session_id, owner, used_at) VALUES (:session, :owner, 0)"), values)
    conn.execute(
        text(
            "INSERT INTO responses (id, run_id, session_id, owner, created_at, request, input) "
            "VALUES (:id, :run, :session, :owner, 0, '{}', '[]')"
        ),
        values,
    )


def answer_anything(request: ModelRequest) -> Any:
    return says("ok")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = dict.fromkeys((*RunBody.model_fields, "choice", "all", "approval_id", "message", "text"), JSON)
BODIES = JSON | st.fixed_dictionaries({}, optional=FIELDS)
SENT = st.tuples(st.sampled_from(["", "", "/ID/steer", "/ID/approval"]), BODIES)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(sent=st.lists(SENT, max_size=20))
def test_no_json_that_a_client_can_send_is_a_server_error(sent: list[tuple[str, Any]]) -> None:
    async def send() -> None:
        async with live(ScriptedModel([answer_anything] * 99)) as here:
            run_id = (await here.start())["run_id"]
            for path, body in sent:
                response = await here.client.post("/v1/runs" + path.replace("ID", run_id), json=body)
                assert response.status_code < 500, response.text
                assert response.is_success or response.json()["error"]["code"], response.text

    asyncio.run(send())
