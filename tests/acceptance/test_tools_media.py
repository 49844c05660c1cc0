"""Pictures, sound and a home through a real gateway: asked for by the model, answered, refused, and told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from hermes.agent.history import LOST
from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting
from tests.support.home_assistant import TOKEN, HomeAssistant
from tests.support.media_services import KEY, MP3, PNG, WAV, MediaServices
from tests.support.stand_in import NEVER, Answer

eventually = partial(waiting.eventually, seconds=30.0)
TELL = Step(after_tool=True, text="{{tool}}")


@pytest.fixture
def services() -> Iterator[MediaServices]:
    with MediaServices() as services:
        yield services


@pytest.fixture
def home() -> Iterator[HomeAssistant]:
    with HomeAssistant() as home:
        yield home


@pytest.fixture
def gateway(start_gateway: StartGateway, services: MediaServices, home: HomeAssistant) -> Gateway:
    endpoint = {"base_url": services.base_url, "model": "painter", "key_env": "MEDIA_KEY"}
    config = {"image_gen": endpoint, "stt": endpoint, "tts": endpoint, "homeassistant": {"url": home.url}}
    gateway = start_gateway(config, {"MEDIA_KEY": KEY, "HASS_TOKEN": TOKEN})
    (gateway.workdir / "dot.png").write_bytes(PNG)
    (gateway.workdir / "talk.wav").write_bytes(WAV)
    return gateway


def calls(tool: str, when: str, **arguments: Any) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call(tool, arguments),))


def start(gateway: Gateway, text: str) -> str:
    started = gateway.client.post("/v1/runs", json={"input": text})
    assert started.status_code == 202, started.text
    return str(started.json()["run_id"])


def ended(gateway: Gateway, run_id: str) -> tuple[str, list[tuple[str, Any]]]:
    """What the model was told and answered with, and what happened with tools and approvals."""
    lines = gateway.client.get(f"/v1/runs/{run_id}/events").raise_for_status().text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert events[-1]["event"] == "run.completed", events[-1]
    happened = [(event["event"], event.get("error")) for event in events if event["event"][:5] in ("tool.", "appro")]
    return events[-1]["output"], happened


def asked(gateway: Gateway, text: str) -> tuple[str, list[tuple[str, Any]]]:
    return ended(gateway, start(gateway, text))


def test_each_service_answers_the_model(
    gateway: Gateway, model: ScriptedModelServer, services: MediaServices, home: HomeAssistant
) -> None:
    model.add(
        calls("vision_analyze", "^look", image_url="dot.png", question="Which colour?"),
        calls("image_generate", "^draw", prompt="A fox", path="fox.png"),
        calls("text_to_speech", "^speak", text="Good day", path="day.mp3"),
        calls("speech_to_text", "^listen", audio="talk.wav"),
        calls("ha_list_entities", "^home", area="Kitchen"),
        Step(when="^Which colour", text="A dark dot."),
        TELL,
    )
    workdir = gateway.workdir.resolve()
    said = {text: asked(gateway, text)[0] for text in ("draw", "speak", "listen", "home")}
    look = start(gateway, "look")
    said["look"] = ended(gateway, look)[0]
    assert gateway.client.get(f"/v1/runs/{look}").json()["usage"]["api_calls"] == 3, "what looked counts with the run"

    assert "A dark dot." in said["look"]
    [looked] = [
        r
        for r in model.requests
        if "Which colour" in json.dumps(r["messages"][-1]) and r["messages"][-1]["role"] == "user"
    ]
    assert looked["messages"][-1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert f"Saved {workdir}/fox.png (png, {len(PNG)} bytes)." in said["draw"]
    assert (workdir / "fox.png").read_bytes() == PNG
    assert (workdir / "day.mp3").read_bytes() == MP3 + b"Good day"
    assert "Hello there." in said["listen"]
    assert "light.kitchen: off (Kitchen light)" in said["home"]
    assert [request.path for request in services.asked] == [
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
    ]
    toolsets = {each["name"]: each for each in gateway.client.get("/v1/toolsets").json()["data"]}
    assert all(toolsets[name]["configured"] for name in ("vision", "image_gen", "stt", "tts", "homeassistant"))


def test_a_failure_is_told_to_the_model_and_in_the_events_without_the_key(
    gateway: Gateway, model: ScriptedModelServer, services: MediaServices
) -> None:
    model.add(
        calls("image_generate", "^draw", prompt="A fox"), calls("vision_analyze", "^look", image_url="no.png"), TELL
    )
    refused = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    services.next += [Answer.of(refused, 401)]
    answer, happened = asked(gateway, "draw")
    assert f"{services.host} does not accept MEDIA_KEY (401): Incorrect API key provided: " in answer
    assert [name for name, _ in happened] == ["tool.started", "tool.completed"] and happened[1][1]
    told = gateway.client.get("/v1/runs").text + gateway.errors + json.dumps(model.requests) + json.dumps(happened)
    assert KEY not in told + answer
    answer, happened = asked(gateway, "look")
    assert "no.png does not exist" in answer and happened[1][1]


def test_a_light_is_switched_a_lock_asks_and_code_is_blocked(
    gateway: Gateway, model: ScriptedModelServer, home: HomeAssistant
) -> None:
    model.add(
        calls("ha_call_service", "^light", domain="light", service="turn_on", entity_id="light.kitchen"),
        calls("ha_call_service", "^door", domain="lock", service="unlock", entity_id="lock.front_door"),
        calls("ha_call_service", "^code", domain="shell_command", service="wipe"),
        TELL,
    )
    assert "light.kitchen: on (Kitchen light)" in asked(gateway, "light")[0]

    run_id = start(gateway, "door")
    [question] = eventually(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["approvals"])
    assert question["command"] == "lock.unlock lock.front_door"
    assert home.states["lock.front_door"]["state"] == "locked"
    gateway.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "once"}).raise_for_status()
    assert "lock.front_door: unlocked (Front door)" in ended(gateway, run_id)[0]

    answer, happened = asked(gateway, "code")
    assert "The rule home-code blocks it in every mode" in answer
    assert [name for name, _ in happened] == ["tool.started", "tool.completed"]
    assert [request.path for request in home.asked if request.method == "POST"] == [
        "/api/services/light/turn_on",
        "/api/services/lock/unlock",
    ]


def test_a_picture_outside_of_the_working_directory_asks_before_it_is_paid_for(
    gateway: Gateway, model: ScriptedModelServer, services: MediaServices
) -> None:
    model.add(calls("image_generate", "^draw", prompt="A fox", path="/opt/fox.png"), TELL)
    run_id = start(gateway, "draw")
    [question] = eventually(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["approvals"])
    assert question["command"] == "write a picture into /opt/fox.png"
    gateway.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "deny"}).raise_for_status()
    assert "the user said no" in ended(gateway, run_id)[0]
    assert services.asked == []


def test_a_stopped_run_lets_go_of_the_service_within_a_second(
    gateway: Gateway, model: ScriptedModelServer, services: MediaServices
) -> None:
    model.add(calls("image_generate", "^draw", prompt="A fox"), TELL)
    services.next.append(NEVER)
    run_id = start(gateway, "draw")
    assert services.came.wait(30)
    began = time.monotonic()
    gateway.client.post(f"/v1/runs/{run_id}/stop").raise_for_status()
    eventually(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["status"] == "cancelled")
    assert time.monotonic() - began < 1
    assert not list(gateway.workdir.glob("image-*"))


def test_after_a_kill_the_model_is_told_that_a_call_that_acts_may_have_been_done(
    gateway: Gateway, model: ScriptedModelServer, home: HomeAssistant
) -> None:
    model.add(calls("ha_call_service", "^light", domain="light", service="turn_on", entity_id="light.kitchen"), TELL)
    home.next.append(NEVER)
    run_id = start(gateway, "light")
    assert home.came.wait(30)
    gateway.kill()
    gateway.start()
    answer, _ = ended(gateway, run_id)
    assert LOST in answer
    assert len(home.asked) == 1, "what acts on the world is not done again"
