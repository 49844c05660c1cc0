"""What a phone changes in memory and skills is what the agent goes by, while it writes there itself."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.acceptance.link.conftest import StartLink
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import tell_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

MEMORY = "/profiles/default/memory"
HELLO = Step(text="Hello.", times=0)


def instructions(model: ScriptedModelServer) -> str:
    return str(model.requests[-1]["messages"][0]["content"])


def entries(phone: Phone, target: str) -> list[str]:
    [store] = [store for store in phone.get(MEMORY)["stores"] if store["target"] == target]
    return [entry["content"] for entry in store["entries"]]


def test_an_entry_from_the_phone_is_told_in_the_next_conversation(phone: Phone, model: ScriptedModelServer) -> None:
    model.add(HELLO)
    before = phone.conversation()
    phone.ask(before, "hello")
    phone.post(f"{MEMORY}/entries", {"target": "user", "content": "Drives a tandem"})

    phone.ask(phone.conversation(), "hello")
    assert "Drives a tandem" in instructions(model)
    phone.ask(before, "hello again")
    assert "Drives a tandem" not in instructions(model), "a conversation keeps the beginning it has"

    phone.client.request("DELETE", MEMORY, json={"target": "all"}).raise_for_status()
    phone.ask(phone.conversation(), "hello")
    assert "Drives a tandem" not in instructions(model)


def test_what_the_agent_remembers_is_on_the_phone(phone: Phone, model: ScriptedModelServer) -> None:
    arguments = {"action": "add", "target": "memory", "content": "Deploys on Fridays"}
    model.add(Step(when="^remember", after_tool=False, tool_calls=(Call("memory", arguments),)), HELLO)
    phone.ask(phone.conversation(), "remember it")
    assert entries(phone, "memory") == ["Deploys on Fridays"]


def test_nothing_is_lost_when_the_agent_and_the_phone_write_at_once(
    start_gateway: StartGateway, start_link: StartLink, model: ScriptedModelServer
) -> None:
    model.add(
        Step(
            when="^remember (\\d+)",
            after_tool=False,
            tool_calls=(Call("memory", {"action": "add", "target": "memory", "content": "from the agent: {{1}}"}),),
        ),
        Step(times=0, text="Kept."),
    )
    gateway = start_gateway({"memory": {"memory_char_limit": 20_000}})
    tell_link(gateway)
    phone = start_link(gateway.home).phone()
    count = 25
    gateway.client.get("/health")  # the threads share one
    with ThreadPoolExecutor(6) as pool:
        asked: list[Future[Any]] = []
        for number in range(count):
            body = {"target": "memory", "content": f"from the phone: {number}"}
            skill = {"enabled": number % 2 == 0}
            asked += [
                pool.submit(phone.post, f"{MEMORY}/entries", body),
                pool.submit(_answered, gateway, f"remember {number}", f"session{number % 3}"),
                pool.submit(phone.patch, "/profiles/default/skills/hermes-agent", skill),
            ]
        for one in asked:
            one.result()

    wanted = {f"from the {who}: {number}" for who in ("phone", "agent") for number in range(count)}
    assert sorted(entries(phone, "memory")) == sorted(wanted)
    assert (gateway.home / "memories" / "MEMORY.md").stat().st_mode & 0o077 == 0
    assert "memory_char_limit" in (gateway.home / "config.yaml").read_text()


def _answered(gateway: Gateway, text: str, session: str) -> None:
    body = {"messages": [{"role": "user", "content": text}]}
    answer = gateway.client.post("/v1/chat/completions", json=body, headers={"X-Hermes-Session-Id": session})
    assert answer.json()["choices"][0]["message"]["content"] == "Kept.", answer.text


def test_a_skill_that_the_phone_switches_off_is_offered_no_more(phone: Phone, model: ScriptedModelServer) -> None:
    model.add(
        Step(when="^use", after_tool=False, tool_calls=(Call("skill_view", {"name": "hermes-agent"}),)),
        Step(when="^use", after_tool=True, text="{{tool}}"),
        HELLO,
    )
    skill, line = "/profiles/default/skills/hermes-agent", "\n- hermes-agent: "
    there = phone.conversation()
    phone.ask(there, "hello")
    assert line in instructions(model)
    assert phone.ask(there, "use it").startswith("[skill hermes-agent in ")

    phone.patch(skill, {"enabled": False})
    assert "no skill 'hermes-agent'" in phone.ask(there, "use it")
    phone.ask(phone.conversation(), "hello")
    assert line not in instructions(model)

    phone.patch(skill, {"enabled": True})
    assert phone.ask(there, "use it").startswith("[skill hermes-agent in ")
    phone.ask(phone.conversation(), "hello")
    assert line in instructions(model)
