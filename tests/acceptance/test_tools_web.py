"""The web through a real gateway: a page of this machine is read when the owner allows its host, and not otherwise."""

from __future__ import annotations

import json
from typing import Any

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support.stand_in import Answer, Asked, Pages

TELL = Step(after_tool=True, text="{{tool}}")
PAGE = Answer(200, b"<html><body><h1>Tea</h1><p>Boil the water first.</p></body></html>", "text/html")


def calls(tool: str, when: str, **arguments: Any) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call(tool, arguments),))


def told(gateway: Gateway, text: str) -> tuple[str, list[tuple[str, Any]]]:
    """What the model was told, and what happened with tools."""
    run_id = gateway.client.post("/v1/runs", json={"input": text}).raise_for_status().json()["run_id"]
    lines = gateway.client.get(f"/v1/runs/{run_id}/events").raise_for_status().text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert events[-1]["event"] == "run.completed", events[-1]
    return events[-1]["output"], [(one["event"], one.get("error")) for one in events if one["event"][:5] == "tool."]


class Wiki(Pages):
    """A SearXNG and the page that it finds."""

    def __init__(self) -> None:
        super().__init__({"/tea": PAGE})

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/search":
            return Answer.of({"results": [{"title": "Tea", "url": f"{self.url}/tea", "content": "Boil"}]})
        return super().answer(asked)


def test_a_search_and_its_page_reach_the_model(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    with Wiki() as wiki:
        gateway = start_gateway({"web": {"searxng_url": wiki.url, "allow_private_hosts": [wiki.host]}})
        model.add(
            calls("web_search", "search", query="tea"), calls("web_extract", "read", urls=[f"{wiki.url}/tea"]), TELL
        )
        answer, happened = told(gateway, "search it")
        assert f"1. Tea\n   {wiki.url}/tea\n   Boil" in answer
        assert happened == [("tool.started", None), ("tool.completed", None)]
        answer, _ = told(gateway, "read it")
        assert f"# Tea\nURL: {wiki.url}/tea\n\nBoil the water first." in answer
        assert [asked.path for asked in wiki.asked] == ["/search", "/tea"]


def test_an_address_of_this_network_is_refused_in_words(gateway: Gateway, model: ScriptedModelServer) -> None:
    with Wiki() as wiki:
        model.add(calls("web_extract", "read", urls=[f"{wiki.url}/tea", "http://169.254.169.254/a"]), TELL)
        answer, happened = told(gateway, "read it")
        assert wiki.asked == []
    first = f"{wiki.url}/tea: the host '127.0.0.1' does not lead to a public address."
    second = "the host '169.254.169.254' leads to an address that hands out credentials of this machine."
    assert f"{first}\nhttp://169.254.169.254/a: {second}" in answer
    assert happened == [("tool.started", None), ("tool.completed", first)]


def test_safe_reads_memory_and_offers_nothing_that_writes_or_runs(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway({"toolsets": ["terminal", "memory", "todo", "web"]})
    (gateway.home / "memories").mkdir(exist_ok=True)
    (gateway.home / "memories" / "USER.md").write_text("Likes green tea")
    model.add(Step(text="Hello.", times=0))
    run = {"input": "hello", "toolsets": ["safe"]}
    started = gateway.client.post("/v1/runs", json=run).raise_for_status().json()["run_id"]
    gateway.client.get(f"/v1/runs/{started}/events").raise_for_status()
    asked = model.requests[-1]
    assert "Likes green tea" in asked["messages"][0]["content"]
    # what the owner has not switched on (clarify) is not in it either
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["web_search", "web_extract", "todo"]
    listed = {one["name"]: one for one in gateway.client.get("/v1/toolsets").json()["data"]}
    assert (listed["safe"]["enabled"], listed["clarify"]["enabled"]) == (True, False)


def test_safe_is_refused_where_nothing_of_it_is_on(start_gateway: StartGateway) -> None:
    gateway = start_gateway({"toolsets": ["terminal"]})
    refused = gateway.client.post("/v1/runs", json={"input": "hello", "toolsets": ["safe"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")


def test_safe_is_a_toolset_of_a_home_of_a_way_in_and_of_a_job(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway({"platform_toolsets": {"api_server": ["safe"]}})
    model.add(Step(text="Hello.", times=0))
    gateway.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    names = {tool["function"]["name"] for tool in model.requests[-1]["tools"]}
    assert names >= {"todo", "web_search", "web_extract", "clarify"}
    assert not names & {"terminal", "memory", "write_file", "skill_manage", "process"}
    job = {"name": "tea", "schedule": "0 9 * * mon", "prompt": "hello", "enabled_toolsets": ["safe"]}
    assert gateway.client.post("/api/jobs", json=job).status_code < 300
    assert gateway.client.post("/api/jobs", json={**job, "enabled_toolsets": ["file"]}).status_code == 400
