"""`hermes mcp serve`, driven by the client of the package `mcp`: every tool, the gate, and an end without leftovers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, make_gateway

TELL = Step(after_tool=True, text="{{tool}}")
TOOLS = ["sessions_list", "session_messages", "session_search", "send", "run_wait", "run_status", "runs_list"]
TOOLS += ["run_stop", "run_steer", "approvals_list", "approval_answer"]


class Agent:
    """Another agent, which has this server."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard: list[str | None] = []

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer; of a failure, its text under `failed`."""

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            self.heard.append(message)

        result = await self.client.call_tool(tool, arguments, progress_callback=hear)
        [block] = result.content
        if result.is_error:
            return {"failed": block.text}  # type: ignore[union-attr]
        assert result.structured_content == json.loads(block.text)  # type: ignore[union-attr]
        return dict(result.structured_content or {})


@asynccontextmanager
async def serving(home: Gateway, *options: str, mode: str = "auto") -> AsyncIterator[Agent]:
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "hermes", "mcp", "serve", *options], env=home.environ, cwd=home.workdir
    )
    async with Client(server, mode=mode, read_timeout_seconds=60) as client:
        yield Agent(client)


@pytest.fixture
def home(tmp_path: Path, model: ScriptedModelServer) -> Gateway:
    """A home that nothing runs on."""
    return make_gateway(tmp_path, model)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_gives_work_and_reads_what_was_said(
    home: Gateway, model: ScriptedModelServer, mode: str
) -> None:
    model.add(
        Step(when="look", after_tool=False, tool_calls=(Call("search_files", {"pattern": "x"}),)),
        Step(after_tool=True, text="Nothing there."),
        Step(text="Hello {{user}}", times=0),
    )
    async with serving(home, mode=mode) as agent:
        listed = (await agent.client.list_tools()).tools
        assert [tool.name for tool in listed] == TOOLS
        assert all(tool.output_schema and tool.description for tool in listed)
        first = await agent("send", message="look around")
        assert (first["status"], first["output"], first["source"]) == ("completed", "Nothing there.", "mcp")
        assert [line.split(":")[0] for line in agent.heard if line] == ["search_files", "search_files is done"]
        second = await agent("send", message="again", session_id=first["session_id"])
        assert (second["output"], second["session_id"]) == ("Hello again", first["session_id"])
        [session] = (await agent("sessions_list"))["sessions"]
        assert (session["id"], session["source"], session["preview"]) == (first["session_id"], "mcp", "look around")
        read = await agent("session_messages", session_id=first["session_id"])
        assert [(one["role"], one["tool"]) for one in read["messages"]] == [
            ("user", None),
            ("assistant", None),
            ("tool", "search_files"),
            ("assistant", None),
            ("user", None),
            ("assistant", None),
        ]
        newest = await agent("session_messages", session_id=first["session_id"], limit=1)
        assert ([one["text"] for one in newest["messages"]], newest["has_more"]) == (["Hello again"], True)
        found = await agent("session_search", query="again")
        assert {hit["session_id"] for hit in found["hits"]} == {first["session_id"]}
        runs = (await agent("runs_list", session_id=first["session_id"]))["runs"]
        assert [run["run_id"] for run in runs] == [second["run_id"], first["run_id"]]
        assert (await agent("run_status", run_id=first["run_id"])) == first
        assert (await agent("run_wait", run_id=first["run_id"])) == first

        assert (await agent("send", message="x", session_id="none"))["failed"].startswith("session_not_found: ")
        assert (await agent("run_status", run_id="run_none"))["failed"] == "run_not_found: no run 'run_none'"
        assert (await agent("run_stop", run_id=first["run_id"]))["failed"].startswith("run_not_active: ")
        assert (await agent("session_messages", session="x"))["failed"].startswith("invalid_arguments: session_id: ")
        assert (await agent("nothing"))["failed"].startswith("unknown_tool: there is no tool 'nothing'")


async def test_a_dangerous_call_waits_for_an_answer_and_always_is_not_offered(
    home: Gateway, model: ScriptedModelServer
) -> None:
    model.add(
        Step(when="(.+)", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf {{1}}"}),)),
        TELL,
    )
    (home.workdir / "a").mkdir()
    (home.workdir / "b").mkdir()
    async with serving(home) as agent:
        asked = await agent("send", message="a")
        [question] = asked["approvals"]
        assert (asked["status"], question["command"]) == ("waiting_for_approval", "rm -rf a")
        assert question["choices"] == ["once", "session", "deny"]
        assert (await agent("approvals_list"))["approvals"] == [question]
        which = {"run_id": question["run_id"], "approval_id": question["approval_id"]}
        refused = await agent("approval_answer", **which, choice="always")
        assert refused["failed"].startswith("invalid_arguments: choice: ")
        assert await agent("approval_answer", **which, choice="deny", reason="not that one") == {"done": True}
        ended = await agent("run_wait", run_id=asked["run_id"])
        assert (ended["status"], (home.workdir / "a").exists()) == ("completed", True)
        assert "Not run: the user said no. Reason: not that one" in ended["output"]
        asked = await agent("send", message="b")
        [question] = asked["approvals"]
        which = {"run_id": question["run_id"], "approval_id": question["approval_id"]}
        assert await agent("approval_answer", **which, choice="once") == {"done": True}
        assert (await agent("run_wait", run_id=asked["run_id"]))["status"] == "completed"
        assert not (home.workdir / "b").exists()
        assert (await agent("approvals_list"))["approvals"] == []
    async with serving(home, "--no-approvals") as agent:
        assert [tool.name for tool in (await agent.client.list_tools()).tools] == TOOLS[:-2]
        ended = await agent("send", message="a")
        assert "nobody can be asked here" in ended["output"]
    async with serving(home, "--read-only") as agent:
        names = [tool.name for tool in (await agent.client.list_tools()).tools]
        assert names == [name for name in TOOLS[:-2] if name not in ("send", "run_stop", "run_steer")]
        assert (await agent("send", message="a"))["failed"].startswith("unknown_tool: ")


async def test_who_stops_waiting_stops_the_turn_and_who_waits_less_finds_it_again(
    home: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="never", hang="before"), Step(text="never", hang="before"))
    async with serving(home) as agent:
        going = await agent("send", message="one", wait_seconds=0.2)
        assert going["status"] == "running"
        assert (await agent("run_stop", run_id=going["run_id"]))["run_id"] == going["run_id"]
        assert (await agent("run_wait", run_id=going["run_id"]))["status"] == "cancelled"
        call = asyncio.create_task(agent("send", message="two"))
        async with asyncio.timeout(20):
            while len((await agent("runs_list"))["runs"]) < 2:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        [run, _] = (await agent("runs_list"))["runs"]
        assert (await agent("run_wait", run_id=run["run_id"]))["status"] == "cancelled"


async def test_a_question_of_the_model_is_answered_and_a_turn_that_goes_on_is_steered(
    home: Gateway, model: ScriptedModelServer
) -> None:
    asks = Call("clarify", {"question": "Which?", "choices": ["a", "b"]})
    model.add(Step(when="ask", after_tool=False, tool_calls=(asks,)), TELL)
    async with serving(home) as agent:
        asked = await agent("send", message="ask me")
        [question] = asked["questions"]
        assert (question["question"], question["choices"], asked["approvals"]) == ("Which?", ["a", "b"], [])
        assert await agent("run_steer", run_id=asked["run_id"], text="b") == {"done": True}
        ended = await agent("run_wait", run_id=asked["run_id"])
        assert (ended["status"], ended["questions"]) == ("completed", [])
        assert "b" in ended["output"]
        late = await agent("run_steer", run_id=asked["run_id"], text="c")
        assert late["failed"].startswith("run_not_accepting_steer: ")


async def test_it_stands_beside_a_running_gateway_and_sees_and_answers_its_runs(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway()
    model.add(Step(after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf x"}),)), TELL)
    (gateway.workdir / "x").mkdir()
    run_id = gateway.client.post("/v1/runs", json={"input": "go"}).json()["run_id"]
    async with serving(gateway) as agent:
        async with asyncio.timeout(20):
            while not (pending := (await agent("approvals_list"))["approvals"]):
                await asyncio.sleep(0.01)
        [question] = pending
        assert question["run_id"] == run_id
        await agent("approval_answer", run_id=run_id, approval_id=question["approval_id"], choice="once")
        assert (await agent("run_wait", run_id=run_id))["status"] == "completed"
    assert not (gateway.workdir / "x").exists()


def test_stdout_carries_the_protocol_alone_and_a_signal_ends_it_at_once(home: Gateway) -> None:
    argv = [sys.executable, "-m", "hermes", "mcp", "serve"]
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    with subprocess.Popen(
        argv, env=home.environ, cwd=home.workdir, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("no json\n")
        process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}) + "\n")
        process.stdin.flush()
        answers: list[dict[str, Any]] = []
        while not answers or answers[-1].get("id") != 1:
            answers.append(json.loads(process.stdout.readline()))
        assert answers[-1]["result"]["serverInfo"]["name"] == "hermes-server"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
