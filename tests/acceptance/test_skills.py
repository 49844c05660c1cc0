"""Skills through a real gateway: told of, read, and written down only with a person's yes."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.support import waiting

DEADLINE_SECONDS = 30.0
TEA = "---\nname: brew-tea\ndescription: Make tea\n---\nBoil water.\n"
TELL = Step(after_tool=True, text="{{tool}}")

eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


def calls(tool: str, when: str, **arguments: Any) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call(tool, arguments),))


def start(gateway: Gateway, text: str, session: str) -> str:
    started = gateway.client.post("/v1/runs", json={"input": text}, headers={"X-Hermes-Session-Id": session})
    assert started.status_code == 202, started.text
    return str(started.json()["run_id"])


def told(gateway: Gateway, run_id: str) -> tuple[str, list[tuple[str, Any]]]:
    """The answer, and what happened with tools and approvals."""
    lines = gateway.client.get(f"/v1/runs/{run_id}/events").raise_for_status().text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert events[-1]["event"] == "run.completed", events[-1]
    happened = [(event["event"], event.get("error")) for event in events if event["event"][:5] in ("tool.", "appro")]
    return events[-1]["output"], happened


def test_a_skill_is_told_of_read_and_written_down_with_a_yes(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(
        calls("skill_view", "use", name="brew-tea"),
        calls("skill_manage", "write", action="create", name="brew-tea", content=TEA),
        calls("skills_list", "list"),
        TELL,
        Step(text="Hello.", times=0),
    )
    told(gateway, start(gateway, "hello", "first"))
    assert "\n- hermes-agent: Use, configure and call this very server" in model.requests[-1]["messages"][0]["content"]
    answer, happened = told(gateway, start(gateway, "use it", "first"))
    assert answer.startswith("no skill 'brew-tea'")
    assert happened == [("tool.started", None), ("tool.completed", answer)]

    run_id = start(gateway, "write it down", "first")
    [question] = eventually(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["approvals"])
    assert question["command"] == "create the skill brew-tea"
    assert not (gateway.home / "skills" / "brew-tea").exists()
    gateway.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "once"}).raise_for_status()
    answer, happened = told(gateway, run_id)
    assert answer == f"Made {os.path.realpath(gateway.home)}/skills/brew-tea/SKILL.md."
    assert [name for name, _ in happened] == [
        "tool.started",
        "approval.request",
        "approval.responded",
        "tool.completed",
    ]
    answer, _ = told(gateway, start(gateway, "use it", "first"))
    assert answer.endswith(TEA)
    assert "\nbrew-tea: Make tea" in "\n" + told(gateway, start(gateway, "list them", "first"))[0]
    assert {"name": "brew-tea", "description": "Make tea", "category": None} in gateway.client.get("/v1/skills").json()[
        "data"
    ]


def test_no_answer_writes_nothing(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(calls("skill_manage", "write", action="create", name="brew-tea", content=TEA), TELL)
    chat = {"messages": [{"role": "user", "content": "write it down"}]}
    answer = gateway.client.post("/v1/chat/completions", json=chat).raise_for_status()
    assert "denied" in answer.headers["x-hermes-warnings"]
    assert not (gateway.home / "skills" / "brew-tea").exists()
