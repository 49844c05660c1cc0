"""Commands of a real gateway in a sandbox; what one model calls, and what comes back to it and to the events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from hermes.toolsets.backends.bubblewrap import find_problem
from tests.acceptance.conftest import Gateway, StartGateway

TELL = Step(after_tool=True, text="{{tool}}")
NO_BUBBLEWRAP = find_problem()


def told(gateway: Gateway, text: str, session: str = "s", **fields: Any) -> tuple[str, list[Any]]:
    """The answer, and how the tool's call ended. `fields` are further ones of the run."""
    headers = {"X-Hermes-Session-Id": session}
    started = gateway.client.post("/v1/runs", json={"input": text, **fields}, headers=headers).raise_for_status()
    lines = gateway.client.get(f"/v1/runs/{started.json()['run_id']}/events").raise_for_status().text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert events[-1]["event"] == "run.completed", events[-1]
    return events[-1]["output"], [event["error"] for event in events if event["event"] == "tool.completed"]


def run(when: str, command: str) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call("terminal", {"command": command}),))


@pytest.mark.skipif(bool(NO_BUBBLEWRAP), reason=NO_BUBBLEWRAP)
def test_a_gateways_commands_run_in_a_sandbox(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    gateway = start_gateway({"terminal": {"backend": "bubblewrap"}, "approvals": {"mode": "off"}})
    (gateway.home / ".env").write_text("OPENAI_API_KEY=sk-secret-of-the-home\n")
    model.add(
        run("write", "echo hello > made.txt; cat made.txt; grep -c : /proc/net/dev"),
        run("read", f"cat {gateway.home}/config.yaml; env"),
        run("escape", "touch /usr/local/escaped"),
        TELL,
    )

    assert told(gateway, "write")[0] == "hello\n1\n[exit code 0]"
    assert (gateway.workdir / "made.txt").read_text() == "hello\n"
    answer, _ = told(gateway, "read")
    assert "No such file or directory" in answer
    assert gateway.key not in answer
    answer, errors = told(gateway, "escape")
    assert "Read-only file system" in answer
    assert errors == [answer.splitlines()[0]]
    assert not Path("/usr/local/escaped").exists()


def test_a_gateway_without_its_backend_starts_says_so_and_runs_nothing(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway({"terminal": {"backend": "ssh"}, "toolsets": ["terminal", "file"]})
    model.add(run("try", "touch ran"), TELL)
    problem = "terminal.backend is ssh, and terminal.ssh.host is not set"

    listed = {one["name"]: one for one in gateway.client.get("/v1/toolsets").raise_for_status().json()["data"]}
    answer, errors = told(gateway, "try", toolsets=["terminal"])

    assert listed["terminal"]["configured"] is False
    assert answer == f"No command runs: {problem}."
    assert errors == [answer]
    assert told(gateway, "try", "another")[0].startswith("There is no tool 'terminal'."), "the settings' list offers it"
    assert not (gateway.workdir / "ran").exists()
    assert problem in (gateway.home / "logs" / "gateway.log").read_text()
