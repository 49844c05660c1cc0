"""MCP servers behind a real gateway: their tools reach the model, their failures are told, nothing of them stays."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support.mcp_servers import in_config
from tests.support.waiting import eventually

TELL = Step(after_tool=True, text="{{tool}}")
SECRET = "tok-of-the-server-1"


def calls(when: str, *calls: Call) -> Step:
    return Step(when=when, after_tool=False, tool_calls=calls)


def ran(gateway: Gateway, text: str, session: str = "s", answer: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    """The output of a run and all its events; `answer` is given to each question."""
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {gateway.key}"}, timeout=60) as client:
        started = client.post("/v1/runs", json={"input": text, "session_id": session})
        assert started.status_code == 202, started.text
        run_id = started.json()["run_id"]
        events = []
        with client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    events.append(json.loads(line[6:]))
                    if events[-1]["event"] == "approval.request" and answer is not None:
                        client.post(f"/v1/runs/{run_id}/approval", json={"choice": answer}).raise_for_status()
    assert events[-1]["event"] == "run.completed", events[-1]
    return events[-1]["output"], events


def health(gateway: Gateway) -> dict[str, Any]:
    body = gateway.client.get("/health/detailed").raise_for_status().json()
    check: dict[str, Any] = body["readiness"]["checks"]["mcp"]
    return check


def connected(gateway: Gateway, name: str) -> None:
    eventually(lambda: f"{name}: connected" in health(gateway)["detail"], 60)


def test_tools_of_a_server_reach_the_model_once_a_person_said_yes(
    start_gateway: StartGateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    gateway = start_gateway(
        {
            "mcp_servers": {
                "notes": in_config("--legacy", env={"TOKEN": "${NOTES_TOKEN}"}, trust="read_only"),
                "dead": in_config("--dead"),
            },
            "approvals": {"deny": ["mcp_notes_evil", "mcp_notes_f*"]},
        },
        {"NOTES_TOKEN": SECRET},
    )
    model.add(
        calls("read (.+)", Call("mcp_notes_echo", {"text": "{{1}}"})),
        calls("write (.+)", Call("mcp_notes_write_note_v2", {"text": "{{1}}"})),
        calls("fail", Call("mcp_notes_fails")),
        calls("raise", Call("mcp_notes_raises")),
        calls("look", Call("mcp_notes_environment")),
        TELL,
    )
    connected(gateway, "notes")
    output, events = ran(gateway, "read a page")
    assert output == "echo: a page"
    assert [one["event"] for one in events if one["event"].startswith(("tool.", "approval."))] == [
        "tool.started",
        "tool.completed",
    ]
    names = [tool["function"]["name"] for tool in model.requests[0]["tools"]]
    assert "tool_search" in names or "mcp_notes_echo" in names

    output, events = ran(gateway, "write it down", answer="session")
    assert output == "noted: it down"
    question = next(one for one in events if one["event"] == "approval.request")
    assert question["command"] == 'mcp_notes_write_note_v2 {"text": "it down"}'
    assert question["description"] == (
        "This calls a tool of an MCP server that is not trusted (setting mcp_servers.NAME.trust)."
    )
    output, events = ran(gateway, "write more")
    assert output == "noted: more"
    assert "approval.request" not in [one["event"] for one in events]
    output, _ = ran(gateway, "write again", session="other", answer="deny")
    assert output.startswith("Not run: the user said no.")

    output, events = ran(gateway, "fail")
    assert output.startswith("Not run: the owner's deny list names it (mcp_notes_f*).")
    output, events = ran(gateway, "raise", answer="once")
    assert output == "The MCP server 'notes' refused the call: nothing of this is told"
    told = next(one for one in events if one["event"] == "tool.completed")
    assert told["error"] == output
    output, _ = ran(gateway, "look", answer="once")
    assert "'TOKEN': '[redacted]'" in output
    assert SECRET not in json.dumps(model.requests)
    assert "API_SERVER_KEY" not in output

    dead = "(it ended before it answered; it said last: this server cannot start: no licence)"
    eventually(lambda: dead in health(gateway)["detail"], 30)
    check = health(gateway)
    assert check["status"] == "degraded"
    assert check["detail"].startswith("notes: connected, 12 tools; dead: ")
    rows = {row["name"]: row for row in gateway.client.get("/v1/toolsets").json()["data"]}
    assert rows["mcp-notes"]["enabled"]
    assert "mcp_notes_echo" in rows["mcp-notes"]["tools"]
    assert not rows["mcp-dead"]["enabled"]
    assert not rows["mcp-dead"]["configured"]
    assert SECRET not in "".join(path.read_text() for path in (gateway.home / "logs").iterdir())


def test_a_gateway_starts_at_once_and_ends_with_its_servers(
    start_gateway: StartGateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    server = in_config(env={"MCP_TEST_MARK": str(mark)}, trust=True)
    gateway = start_gateway({"mcp_servers": {"one": server, "two": server}, "toolsets": ["mcp-one"]})
    model.add(
        calls("read", Call("mcp_one_echo", {"text": "x"})), calls("two", Call("mcp_two_echo", {"text": "x"})), TELL
    )
    connected(gateway, "one")
    assert ran(gateway, "read")[0] == "echo: x"
    assert ran(gateway, "two")[0].startswith("There is no tool 'mcp_two_echo'.")
    eventually(lambda: len(mark.read_text().split()) == 2, 30)
    began = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - began < 5
    assert not any(psutil.pid_exists(int(pid)) for pid in mark.read_text().split())


def test_a_killed_gateway_leaves_no_server_behind(
    start_gateway: StartGateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    gateway = start_gateway({"mcp_servers": {"one": in_config(env={"MCP_TEST_MARK": str(mark)})}})
    eventually(lambda: mark.exists() and mark.read_text().strip(), 30)
    pid = int(mark.read_text())
    gateway.kill()
    eventually(lambda: not psutil.pid_exists(pid), 10)


@pytest.mark.parametrize("tool", ["mcp_s_slow", "mcp_s_die"])
def test_a_run_that_is_stopped_or_whose_server_dies_goes_on_or_ends_at_once(
    start_gateway: StartGateway, model: ScriptedModelServer, tool: str
) -> None:
    gateway = start_gateway({"mcp_servers": {"s": in_config(trust="all")}})
    model.add(
        calls("go", Call(tool)),
        calls("how", Call("mcp_s_cancelled")),
        Step(after_tool=True, text="{{tool}}"),
    )
    connected(gateway, "s")
    if tool == "mcp_s_die":
        output, _ = ran(gateway, "go")
        assert output == "The MCP server 's' went away during the call; whether it took effect is not known."
        assert ran(gateway, "how")[0] == "(the tool gave nothing back)"
        return
    run_id = gateway.client.post("/v1/runs", json={"input": "go"}).json()["run_id"]
    eventually(lambda: '"tool.started"' in _kept(gateway, run_id), 30)
    began = time.monotonic()
    gateway.client.post(f"/v1/runs/{run_id}/stop").raise_for_status()
    eventually(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["status"] == "cancelled", 5)
    assert time.monotonic() - began < 2
    assert ran(gateway, "how")[0] == "slow"


def _kept(gateway: Gateway, run_id: str) -> str:
    with gateway.client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
        text = ""
        for line in stream.iter_lines():
            text += line
            if '"tool.started"' in text:
                break
        return text
