"""Statistics in front of a real gateway: what it offers is counted, and what its runs used."""

from __future__ import annotations

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Phone
from tests.support.waiting import eventually

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]


def test_what_the_gateway_offers_and_what_its_runs_used_is_counted(
    known_gateway: Gateway, phone: Phone, model: ScriptedModelServer
) -> None:
    model.add(Step(times=0, text="Fine."))
    conversation = phone.conversation()
    phone.ask(conversation, "How are you?")
    direct = phone.post("/runs", {"input": "And you?"})
    with phone.client.stream("GET", f"/runs/{direct['run_id']}/events") as events:
        assert "Fine." in events.read().decode()

    eventually(lambda: phone.get("/statistics")["statistics"]["runs"]["total"] == 2, 20)
    counts = phone.get("/statistics")["statistics"]
    tools = known_gateway.client.get("/v1/toolsets").json()["data"]
    enabled = {tool for toolset in tools if toolset["enabled"] for tool in toolset["tools"]}
    assert counts["tools"] == {"total": len(enabled)} != {"total": 0}
    assert counts["skills"] == {"total": len(known_gateway.client.get("/v1/skills").json()["data"])} != {"total": 0}
    assert counts["models"] == {"total": 1}
    assert (counts["conversations"], counts["profiles"]) == ({"total": 1, "active": 1}, {"total": 1})
    assert (counts["runs"], counts["messages"]) == ({"total": 2}, {"total": 4})

    usage = phone.get("/statistics/usage", days=1)["usage"]
    totals, own = usage["totals"], phone.get("/conversations")["conversations"][0]["stats"]
    assert (totals["run_count"], totals["message_count"], totals["conversation_count"]) == (2, 4, 1)
    assert totals["input_tokens"] > own["input_tokens"] > 0
    assert [one["profile"] for one in usage["profiles"]] == ["default"]
    assert len(usage["daily"]) == 1
