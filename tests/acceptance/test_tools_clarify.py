"""The model asks the person something, through the real gateway: whoever can answer is asked, the others are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from hermes.toolsets.clarify import NOBODY
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

eventually = partial(waiting.eventually, seconds=20.0)

QUESTION = Call("clarify", {"question": "Which colour?", "choices": ["red", "blue"]}, id="call_1")
SCRIPT = (Step(after_tool=False, tool_calls=(QUESTION,)), Step(after_tool=True, text="I heard: {{tool}}"))
USER = [{"role": "user", "content": "paint it"}]


def data_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def events_of(gateway: Gateway, run_id: str) -> list[dict[str, Any]]:
    """The whole list; returns when the run has ended."""
    with gateway.client.stream("GET", f"/v1/runs/{run_id}/events", timeout=20) as stream:
        return list(data_of(stream))


def waits(gateway: Gateway, run_id: str) -> dict[str, Any]:
    """The run, once it asks."""

    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = gateway.client.get(f"/v1/runs/{run_id}").json()
        return run if run["clarifications"] else None

    run: dict[str, Any] = eventually(look)
    return run


def names(happened: list[dict[str, Any]]) -> list[str]:
    return [one["event"] for one in happened if one["event"] != "message.delta"]


@pytest.mark.parametrize(("route", "field"), [("clarify", "answer"), ("steer", "input")])
def test_a_run_goes_on_with_what_the_person_says(gateway: Gateway, model: ScriptedModelServer, route: str, field: str):
    model.add(*SCRIPT)
    run_id = gateway.client.post("/v1/runs", json={"input": "paint it"}).json()["run_id"]
    run = waits(gateway, run_id)
    [asked] = run["clarifications"]
    assert (run["status"], run["approvals"], asked["question"], asked["choices"]) == (
        "running",
        [],
        "Which colour?",
        ["red", "blue"],
    )
    answered = gateway.client.post(f"/v1/runs/{run_id}/{route}", json={field: "green"})
    assert answered.status_code == 200, answered.text
    happened = events_of(gateway, run_id)
    assert names(happened) == [
        "run.started",
        "tool.started",
        "clarify.request",
        "clarify.responded",
        "tool.completed",
        "run.completed",
    ]
    assert [happened[3][name] for name in ("clarify_id", "answer", "by", "outcome")] == [
        asked["clarify_id"],
        "green",
        "owner",
        "user",
    ]
    assert happened[-1]["output"] == "I heard: The user answered: green"
    late = gateway.client.post(f"/v1/runs/{run_id}/clarify", json={"answer": "red"})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "clarify_not_active")


def test_a_streamed_chat_is_asked_on_its_stream(gateway: Gateway, model: ScriptedModelServer):
    model.add(*SCRIPT)
    with gateway.client.stream("POST", "/v1/chat/completions", json={"messages": USER, "stream": True}) as chat:
        chunks = data_of(chat)
        asked = next(one for one in chunks if "clarify_choices" in one)
        body = {"answer": "red", "clarify_id": asked["clarify_id"]}
        told = gateway.client.post(f"/v1/runs/{asked['run_id']}/clarify", json=body).json()
        assert told == {"object": "hermes.run.clarify_response", "run_id": asked["run_id"], **body}
        text = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks if one["choices"])
    assert text == "I heard: The user answered: red"


def test_a_session_stream_and_a_streamed_response_tell_the_question(gateway: Gateway, model: ScriptedModelServer):
    model.add(*SCRIPT, *SCRIPT)
    session = gateway.client.post("/api/sessions", json={}).json()["session"]["id"]
    ways = (
        (f"/api/sessions/{session}/chat/stream", {"message": "paint it"}, lambda one: one),
        ("/v1/responses", {"input": "paint it", "stream": True}, lambda one: one.get("hermes", {})),
    )
    for path, body, ours in ways:
        with gateway.client.stream("POST", path, json=body) as stream:
            told = map(ours, data_of(stream))
            asked = next(one for one in told if one.get("question"))
            assert asked["choices"] == ["red", "blue"]
            gateway.client.post(f"/v1/runs/{asked['run_id']}/clarify", json={"answer": "red"}).raise_for_status()
            assert next(one for one in told if one.get("answer"))["outcome"] == "user"


def test_a_plain_chat_and_a_job_are_told_at_once_that_nobody_can_be_asked(gateway: Gateway, model: ScriptedModelServer):
    model.add(*SCRIPT)
    chat = gateway.client.post("/v1/chat/completions", json={"messages": USER}).json()
    assert chat["choices"][0]["message"]["content"] == f"I heard: {NOBODY}"
    job = gateway.client.post("/api/jobs", json={"schedule": "every 1h", "prompt": "paint it"}).json()["job"]["id"]
    run_id = gateway.client.post(f"/api/jobs/{job}/run").json()["run_id"]
    assert events_of(gateway, run_id)[-1]["output"] == f"I heard: {NOBODY}"


def test_silence_is_told_to_the_model_and_the_events(start_gateway: StartGateway, model: ScriptedModelServer):
    gateway = start_gateway({"approvals": {"timeout": 0.3}})
    model.add(*SCRIPT)
    run_id = gateway.client.post("/v1/runs", json={"input": "paint it"}).json()["run_id"]
    happened = events_of(gateway, run_id)
    assert [(one["answer"], one["outcome"]) for one in happened if one["event"] == "clarify.responded"] == [
        (None, "timeout")
    ]
    assert "Nobody answered in time" in happened[-1]["output"]


def test_a_question_outlives_a_kill_under_its_id(gateway: Gateway, model: ScriptedModelServer):
    model.add(*SCRIPT)
    run_id = gateway.client.post("/v1/runs", json={"input": "paint it"}).json()["run_id"]
    [asked] = waits(gateway, run_id)["clarifications"]
    gateway.kill()
    gateway.start()
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(events_of, gateway, run_id)
        [again] = waits(gateway, run_id)["clarifications"]
        assert again["clarify_id"] == asked["clarify_id"]
        eventually(lambda: gateway.client.post(f"/v1/runs/{run_id}/clarify", json={"answer": "red"}).is_success)
        happened = reading.result()
    assert happened[-1]["output"] == "I heard: The user answered: red"
    assert len(model.requests) == 2
