"""Sub-agents through the real gateway: their events, their processes, what a kill of the gateway leaves of them."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, StartNodes
from tests.support import waiting
from tests.support.nodes import ended, events_of, following, names, reading, run_of, start

eventually = partial(waiting.eventually, seconds=20.0)


def delegates(*goals: str) -> Step:
    tasks = [{"goal": goal} for goal in goals]
    return Step(when="^go", after_tool=False, tool_calls=(Call("delegate_task", {"tasks": tasks}, id="call_1"),))


def of(happened: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [one for one in happened if one["event"] == name]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()


def test_two_children_work_side_by_side_and_report(gateway: Gateway, model: ScriptedModelServer):
    """Each of them waits for the file that the other makes."""
    meet = "touch {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo saw {1}"
    model.add(
        delegates("task a", "task b"),
        Step(when="task a", after_tool=False, tool_calls=(Call("terminal", {"command": meet.format("a", "b")}),)),
        Step(when="task b", after_tool=False, tool_calls=(Call("terminal", {"command": meet.format("b", "a")}),)),
        Step(when="task", after_tool=True, text="I did it: {{tool}}"),
        Step(when="^go", after_tool=True, text="Together: {{tool}}"),
    )
    run_id = start(gateway)
    happened = events_of(gateway, run_id)
    children = {one["subagent_id"]: one for one in of(happened, "subagent.start")}
    assert {one["goal"] for one in children.values()} == {"task a", "task b"}
    told = of(happened, "subagent.complete")
    assert {one["subagent_id"] for one in told} == set(children)
    assert [(one["status"], one["error"]) for one in told] == [("completed", None)] * 2
    assert "saw a" in happened[-1]["output"] and "saw b" in happened[-1]["output"]
    for child_id in children:
        child = run_of(gateway, child_id)
        assert (child["status"], child["parent_run_id"]) == ("completed", run_id)
        assert names(events_of(gateway, child_id)) == ["run.started", "tool.started", "tool.completed", "run.completed"]
    assert run_of(gateway, run_id)["delegated_usage"]["api_calls"] == 4
    shown = gateway.client.get("/api/sessions").json()["data"]
    whole = gateway.client.get("/api/sessions", params={"include_children": True}).json()["data"]
    assert {one["source"] for one in whole} - {one["source"] for one in shown} == {"subagent"}


def test_a_child_that_fails_is_told_to_the_model_and_the_events(gateway: Gateway, model: ScriptedModelServer):
    model.add(
        delegates("task a", "task b"),
        Step(when="task a", status=400, error="no such thing", times=0),
        Step(when="task b", text="Fine."),
        Step(when="^go", after_tool=True, text="I heard: {{tool}}"),
    )
    happened = events_of(gateway, start(gateway))
    told = {one["index"]: one for one in of(happened, "subagent.complete")}
    assert (told[0]["status"], told[1]["status"]) == ("failed", "completed")
    assert "no such thing" in told[0]["error"] and "no such thing" in happened[-1]["output"]
    assert "Fine." in happened[-1]["output"]


def test_sub_agents_may_have_a_model_of_their_own(start_gateway: StartGateway, model: ScriptedModelServer):
    with ScriptedModelServer(["From the other model."]) as other:
        route = {"default": "other", "provider": "custom", "base_url": other.base_url}
        gateway = start_gateway({"delegation": {"model": "small"}, "model_routes": {"small": route}})
        model.add(delegates("task a"), Step(when="^go", after_tool=True, text="I heard: {{tool}}"))
        assert "From the other model." in events_of(gateway, start(gateway))[-1]["output"]


def test_a_model_of_sub_agents_that_is_not_there_stops_the_start(start_gateway: StartGateway):
    with pytest.raises(AssertionError, match=r"delegation\.model: there is no 'nowhere' in model_routes"):
        start_gateway({"delegation": {"model": "nowhere"}})


def test_the_progress_of_a_chat_shows_the_sub_agents(gateway: Gateway, model: ScriptedModelServer):
    model.add(delegates("task a"), Step(when="task a", text="Fine."), Step(when="^go", after_tool=True, text="Done."))
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True}
    with reading(gateway, "POST", "/v1/chat/completions", json=body) as chat:
        shown = [one for one in chat.all() if one.get("tool") == "subagent"]
    assert [(one["status"], one["preview"]) for one in shown] == [("running", "task a"), ("completed", "Fine.")]


def test_stopping_the_parent_ends_the_command_of_its_child(gateway: Gateway, model: ScriptedModelServer):
    pid_file = gateway.workdir / "pid"
    command = "echo $$ > pid.new; mv pid.new pid; sleep 300"
    model.add(delegates("task a"), Step(when="task a", tool_calls=(Call("terminal", {"command": command}),)))
    run_id = start(gateway)
    eventually(pid_file.exists)
    pid = int(pid_file.read_text())
    assert is_alive(pid)
    assert gateway.client.post(f"/v1/runs/{run_id}/stop").status_code == 200
    waiting.eventually(lambda: not is_alive(pid), seconds=5.0)  # the promise is 1 s, on a machine that has the time
    assert ended(gateway, run_id)["status"] == "cancelled"
    [child] = of(events_of(gateway, run_id), "subagent.start")
    assert ended(gateway, child["subagent_id"])["status"] == "cancelled"


def test_a_chat_that_is_left_ends_its_sub_agents(gateway: Gateway, model: ScriptedModelServer):
    model.add(delegates("task a"), Step(when="task a", text="Ha", hang=True))
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as chat:
        run_id = chat.headers["x-hermes-run-id"]
        next(line for line in chat.iter_lines() if '"subagent"' in line)
    assert ended(gateway, run_id)["status"] == "cancelled"
    [child] = of(events_of(gateway, run_id), "subagent.start")
    assert ended(gateway, child["subagent_id"])["status"] == "cancelled"


def test_a_childs_dangerous_call_is_allowed_at_the_parent_and_for_its_session(
    gateway: Gateway, model: ScriptedModelServer
):
    for name in ("one", "two"):
        (gateway.workdir / name).mkdir()
    model.add(
        delegates("task a"),
        Step(when="task a", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf one"}),)),
        Step(when="task a", after_tool=True, text="Gone."),
        Step(when="^go", after_tool=True, text="Done."),
        Step(when="again", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf one"}),)),
        Step(when="again", after_tool=True, text="Once more."),
    )
    run_id = start(gateway, session_id="s1")
    run = eventually(lambda: (one := run_of(gateway, run_id))["approvals"] and one)
    [asked] = run["approvals"]
    assert (run["status"], asked["command"]) == ("waiting_for_approval", "rm -rf one")
    assert run_of(gateway, asked["subagent_id"])["status"] == "waiting_for_approval"
    assert gateway.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "session"}).json()["resolved"] == 1
    happened = events_of(gateway, run_id)
    assert names(happened)[2:6] == ["subagent.start", "approval.request", "approval.responded", "subagent.complete"]
    assert not (gateway.workdir / "one").exists()
    gateway.kill()
    gateway.start()
    (gateway.workdir / "one").mkdir()
    assert "approval.request" not in names(events_of(gateway, start(gateway, "again", session_id="s1")))
    assert not (gateway.workdir / "one").exists()


def test_after_a_kill_the_delegation_goes_on_where_it_was(gateway: Gateway, model: ScriptedModelServer):
    mark = gateway.workdir / "ran"
    write = Call("write_file", {"path": "ran", "content": "x"})
    model.add(
        delegates("task a", "task b"),
        Step(when="task a", text="First is done."),
        Step(when="task b", after_tool=False, tool_calls=(write,)),
        Step(when="task b", after_tool=True, text="Half", hang=True, times=1),
        Step(when="task b", after_tool=True, text="Second is done."),
        Step(when="^go", after_tool=True, text="Together: {{tool}}"),
    )
    run_id = start(gateway)
    with reading(gateway, "GET", f"/v1/runs/{run_id}/events") as reader:
        reader.until_event("subagent.complete")
    eventually(mark.exists)
    eventually(lambda: len(model.requests) >= 4)
    gateway.kill()
    gateway.start()
    happened = events_of(gateway, run_id)
    assert names(happened) == [
        "run.started",
        "tool.started",
        "subagent.start",
        "subagent.start",
        "subagent.complete",
        "run.resumed",
        "subagent.complete",
        "tool.completed",
        "run.completed",
    ]
    assert "First is done." in happened[-1]["output"] and "Second is done." in happened[-1]["output"]
    children = [one["subagent_id"] for one in of(happened, "subagent.start")]
    lists = {one["goal"]: names(events_of(gateway, one["subagent_id"])) for one in of(happened, "subagent.start")}
    assert lists == {
        "task a": ["run.started", "run.completed"],
        "task b": ["run.started", "tool.started", "tool.completed", "run.resumed", "run.completed"],
    }
    assert len(set(children)) == 2
    asked = [request["messages"][1]["content"] for request in model.requests]
    assert (asked.count("task a"), asked.count("task b"), len(asked)) == (1, 3, 6)


def test_a_killed_chat_leaves_no_open_sub_agent(gateway: Gateway, model: ScriptedModelServer):
    model.add(delegates("task a"), Step(when="task a", text="Ha", hang=True))
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as chat:
        run_id = chat.headers["x-hermes-run-id"]
        next(line for line in chat.iter_lines() if '"subagent"' in line)
        gateway.kill()
    gateway.start()
    assert run_of(gateway, run_id)["status"] == "interrupted"
    [child] = of(events_of(gateway, run_id), "subagent.start")
    assert run_of(gateway, child["subagent_id"])["status"] == "cancelled"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_another_node_takes_over_parent_and_children_and_answers_reach_them(
    start_nodes: StartNodes, model: ScriptedModelServer, number: signal.Signals
):
    one, two = start_nodes(2, {"api_server": {"drain_timeout": 0.2}, "approvals": {"timeout": 120}})
    build = two.workdir / "build"
    build.mkdir()
    model.add(
        delegates("task a", "task b"),
        Step(when="task a", after_tool=False, tool_calls=(Call("terminal", {"command": f"rm -rf {build}"}),)),
        Step(when="task a", after_tool=True, text="Gone."),
        Step(when="task b", text="Half", hang=True, times=1),
        Step(when="task b", text="Second is done."),
        Step(when="^go", after_tool=True, text="Together: {{tool}}"),
    )
    run_id = start(one)
    with following(two, run_id) as reader:
        asked = reader.until_event("approval.request")
        eventually(lambda: len(model.requests) >= 3)
        if number is signal.SIGKILL:
            one.kill()
        else:
            assert one.stop(number) == 0
        eventually(lambda: run_of(two, run_id)["resumed"] and run_of(two, run_id)["approvals"])
        body = {"choice": "once", "approval_id": asked["approval_id"]}
        two.client.post(f"/v1/runs/{run_id}/approval", json=body).raise_for_status()
        happened = reader.all()
    assert "Gone." in happened[-1]["output"] and "Second is done." in happened[-1]["output"]
    assert not build.exists()
    told = [run_of(two, child["subagent_id"]) for child in of(happened, "subagent.start")]
    assert [(child["status"], child["resumed"]) for child in told] == [("completed", 1)] * 2


def test_a_question_of_a_child_is_answered_and_a_stop_is_heard_on_another_node(
    start_nodes: StartNodes, model: ScriptedModelServer
):
    one, two = start_nodes(2)
    build = one.workdir / "build"
    build.mkdir()
    model.add(
        delegates("task a"),
        Step(when="task a", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf build"}),)),
        Step(when="task a", after_tool=True, text="Ha", hang=True),
    )
    run_id = start(one)
    run = eventually(lambda: (told := run_of(two, run_id))["approvals"] and told)
    two.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "once"}).raise_for_status()
    eventually(lambda: len(model.requests) >= 3)
    assert not build.exists()
    two.client.post(f"/v1/runs/{run_id}/stop").raise_for_status()
    assert ended(two, run_id)["status"] == "cancelled"
    assert ended(two, run["approvals"][0]["subagent_id"])["status"] == "cancelled"
