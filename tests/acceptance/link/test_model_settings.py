"""Each field of a model that a phone can write is what the agent goes by, while the gateway runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.link.agent import PROFILE, Agent, Change, as_it_was, body_of, leaves, running_agent

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

PATH, DEFAULTS = "model-configs", "model-configs/defaults"
KEY = "sk-of-the-second"
SECOND: dict[str, Any] = {"id": "second", "provider": "custom", "base_url": "{second}", "api_key": KEY}
ANSWERS = {**SECOND, "set_default": True}
ROOM = 16_000
"""Tokens: a few long messages fill it."""

OTHERS: dict[str, ScriptedModelServer] = {}
"""The models of this module beside the gateway's own, while it runs."""


def effort(agent: Agent) -> str | None:
    agent.say("hello")
    found: str | None = OTHERS["second"].requests[-1].get("reasoning_effort")
    return found


def answer(agent: Agent) -> str:
    return agent.say("hello").output


def key(agent: Agent) -> str:
    agent.say("hello")
    return OTHERS["second"].received[-1].headers.get("authorization", "").removeprefix("Bearer ")


def api(agent: Agent) -> str:
    """What it was asked by; what it answers is not looked at."""
    count = len(OTHERS["second"].received)
    started = agent.gateway.client.post("/v1/runs", json={"input": "hello"}).raise_for_status().json()
    agent.gateway.client.get(f"/v1/runs/{started['run_id']}/events").raise_for_status()
    return OTHERS["second"].received[count].path


def names(agent: Agent) -> list[str]:
    """That a client may ask for."""
    listed = agent.gateway.client.get("/v1/models").raise_for_status().json()["data"]
    return sorted({one["id"] for one in listed} & {"second", "renamed"})


def window(agent: Agent) -> int | None:
    """Of the model that answered, as the conversation shows it."""
    conversation = agent.phone.conversation()
    agent.phone.ask(conversation, "hello")
    [found] = [one for one in agent.phone.get("/conversations")["conversations"] if one["id"] == conversation]
    size: int | None = found["stats"]["context_window"]
    return size


def who_shortens(agent: Agent) -> list[str]:
    """The models that were asked to write down a history that has grown too long."""
    every = {"first": agent.model, **OTHERS}
    counts = {name: len(model.requests) for name, model in every.items()}
    headers = {"X-Hermes-Session-Id": f"long-{sum(counts.values())}"}
    for number in range(6):
        body = {"messages": [{"role": "user", "content": f"{number}: {'many words ' * 1500}"}]}
        agent.gateway.client.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
    return [
        name
        for name, model in every.items()
        if any(not request.get("tools") for request in model.requests[counts[name] :])
    ]


TABLE = (
    Change("id provider base_url set_default", ANSWERS, answer, "The first.", "The second.", PATH, method="POST"),
    Change("api_key", {**SECOND, "api_key": "sk-another"}, key, KEY, "sk-another", PATH, ANSWERS, method="POST"),
    Change(
        "key_env",
        {**SECOND, "api_key": None, "key_env": "OTHER_KEY"},
        key,
        KEY,
        "sk-of-the-environment",
        PATH,
        ANSWERS,
        method="POST",
    ),
    Change(
        "reasoning_effort",
        {**SECOND, "reasoning_effort": "high"},
        effort,
        None,
        "high",
        PATH,
        ANSWERS,
        method="POST",
    ),
    Change("context_length", {**SECOND, "context_length": 54_321}, window, None, 54_321, PATH, ANSWERS, method="POST"),
    Change(
        "api_mode",
        {**SECOND, "api_mode": "anthropic_messages"},
        api,
        "/v1/chat/completions",
        "/v1/messages",
        PATH,
        ANSWERS,
        needs="" if find_spec("anthropic") else "the extra providers is not installed",
        method="POST",
    ),
    Change(
        "original_id",
        {**SECOND, "id": "renamed", "original_id": "second"},
        names,
        ["second"],
        ["renamed"],
        PATH,
        SECOND,
        method="POST",
    ),
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    root = tmp_path_factory.mktemp("models")
    with ScriptedModelServer([Step(text="The second.", times=0)]) as second:
        OTHERS["second"] = second
        script = (Step(text="The first.", times=0),)
        environ = {"OTHER_KEY": "sk-of-the-environment"}
        with running_agent(root, script, {}, environ, {"second": second.base_url}) as running:
            yield running
        OTHERS.clear()


@pytest.fixture(autouse=True)
def _as_it_was(agent: Agent) -> Iterator[None]:
    with as_it_was(agent):
        yield


@pytest.mark.parametrize("change", TABLE, ids=str)
def test_a_change_has_its_effect_with_the_next_run(agent: Agent, change: Change) -> None:
    if change.needs:
        pytest.skip(change.needs)
    change.check(agent)


def test_the_default_and_the_one_that_shortens_are_chosen(agent: Agent) -> None:
    agent.send(f"{PROFILE}/{PATH}", SECOND, "POST")
    assert answer(agent) == "The first."
    agent.send(f"{PROFILE}/{DEFAULTS}", {"task_model_id": "second"})
    assert answer(agent) == "The second."

    agent.send(f"{PROFILE}/{PATH}", {**SECOND, "context_length": ROOM}, "POST")
    assert who_shortens(agent) == ["second"]
    agent.send(f"{PROFILE}/{DEFAULTS}", {"compression_model_id": "scripted"})
    assert who_shortens(agent) == ["first"]


def test_no_field_of_a_model_is_missing_here(agent: Agent) -> None:
    document = agent.phone.client.get(f"{agent.phone.url}/api/openapi.json").json()
    here = {name for change in TABLE for name in change.names.split()}
    assert set(leaves(document, body_of(document, PATH, "post"))) == here
    assert set(leaves(document, body_of(document, DEFAULTS))) == {"task_model_id", "compression_model_id"}
