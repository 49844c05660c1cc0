"""A durable run outlives its process: it goes on by itself, repeats nothing that was finished, and says so."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

DEADLINE_SECONDS = 15.0
LOST = "[no result: the call was interrupted before it finished; whether it took effect is unknown]"


def chat(text: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **options}


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


def data_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def read_until(stream: Iterator[dict[str, Any]], is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return next(one for one in stream if is_it(one))


def says(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda chunk: text in chunk["choices"][0]["delta"].get("content", "")


def events_of(gateway: Gateway, run_id: str) -> list[dict[str, Any]]:
    """The whole list; returns when the run has ended."""
    with gateway.client.stream("GET", f"/v1/runs/{run_id}/events", timeout=DEADLINE_SECONDS) as stream:
        return list(data_of(stream))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_goes_on_after_its_process_ended(
    start_gateway: StartGateway, model: ScriptedModelServer, number: signal.Signals
):
    gateway = start_gateway({"api_server": {"drain_timeout": 0.2}})
    model.add(Step("Half of the", hang=True), Step("The whole answer."))
    with gateway.client.stream(
        "POST", "/v1/chat/completions", json=chat("go", stream=True), headers=keyed("a")
    ) as answer:
        run_id = answer.headers["x-hermes-run-id"]
        read_until(data_of(answer), says("the"))
        if number is signal.SIGKILL:
            gateway.kill()
        else:
            assert gateway.stop(number) == 0
    gateway.start()
    happened = events_of(gateway, run_id)
    assert [one["event"] for one in happened if one["event"] != "message.delta"] == [
        "run.started",
        "run.resumed",
        "run.completed",
    ]
    assert [one["seq"] for one in happened] == list(range(1, len(happened) + 1))
    run = gateway.client.get(f"/v1/runs/{run_id}").json()
    assert (run["status"], run["output"], run["resumed"]) == ("completed", "The whole answer.", 1)
    again = gateway.client.post("/v1/chat/completions", json=chat("go", stream=True), headers=keyed("a"))
    assert again.headers["idempotency-replayed"] == "true"
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in data_of(again) if one["choices"])
    assert text == "The whole answer."


def test_a_command_that_ran_is_told_as_unknown_and_is_not_run_again(gateway: Gateway, model: ScriptedModelServer):
    mark = gateway.workdir / "ran"
    command = "echo once >> ran; sleep 60"
    model.add(
        Step(after_tool=False, tool_calls=(Call("terminal", {"command": command}, id="call_1"),)),
        Step(after_tool=True, text="I heard: {{tool}}"),
    )
    with gateway.client.stream(
        "POST", "/v1/chat/completions", json=chat("go", stream=True), headers=keyed("a")
    ) as answer:
        run_id = answer.headers["x-hermes-run-id"]
        read_until(data_of(answer), lambda chunk: chunk.get("status") == "running")
        eventually(mark.exists)
        gateway.kill()
    gateway.start()
    happened = events_of(gateway, run_id)
    assert [one["event"] for one in happened if one["event"] != "message.delta"] == [
        "run.started",
        "tool.started",
        "run.resumed",
        "tool.completed",
        "run.completed",
    ]
    assert happened[-1]["output"] == f"I heard: {LOST}"
    assert mark.read_text() == "once\n"
    assert len(model.requests) == 2


def test_a_question_outlives_the_process_under_its_id(start_gateway: StartGateway, model: ScriptedModelServer):
    gateway = start_gateway()
    build = gateway.workdir / "build"
    build.mkdir()
    model.add(
        Step(after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf build"}, id="call_1"),)),
        Step(after_tool=True, text="Gone."),
    )
    with gateway.client.stream(
        "POST", "/v1/chat/completions", json=chat("go", stream=True), headers=keyed("a")
    ) as answer:
        run_id = answer.headers["x-hermes-run-id"]
        asked = read_until(data_of(answer), lambda chunk: "approval_id" in chunk)
        gateway.kill()
    gateway.start()
    run = eventually(lambda: (one := gateway.client.get(f"/v1/runs/{run_id}").json())["approvals"] and one)
    assert (run["status"], run["approvals"][0]["approval_id"]) == ("waiting_for_approval", asked["approval_id"])
    assert build.exists()
    body = {"choice": "once", "approval_id": asked["approval_id"]}
    assert gateway.client.post(f"/v1/runs/{run_id}/approval", json=body).json()["resolved"] == 1
    assert events_of(gateway, run_id)[-1]["output"] == "Gone."
    assert not build.exists()
    assert len(model.requests) == 2
