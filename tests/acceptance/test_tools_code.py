"""`execute_code` through a real gateway: a model's code, what comes back, and the tools that the code calls."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

TELL = Step(after_tool=True, text="{{tool}}")
eventually = partial(waiting.eventually, seconds=30)


def code(when: str, *lines: str) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call("execute_code", {"code": "\n".join(lines)}),))


def start(gateway: Gateway, text: str) -> str:
    return str(gateway.client.post("/v1/runs", json={"input": text}).raise_for_status().json()["run_id"])


def told(gateway: Gateway, run_id: str) -> tuple[str, list[Any]]:
    """The answer, and what happened with tools and approvals."""
    lines = gateway.client.get(f"/v1/runs/{run_id}/events").raise_for_status().text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert events[-1]["event"] == "run.completed", events[-1]
    happened = [
        (one["event"], one.get("tool"), one.get("error")) for one in events if one["event"][:4] in ("tool", "appr")
    ]
    return events[-1]["output"], happened


def test_code_runs_and_its_failure_is_told_to_the_model_and_the_events(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(
        code("compute", "import math", "print('hello')", "math.comb(10, 3)"), code("fail", "open('/etc/passwd')"), TELL
    )

    answer, happened = told(gateway, start(gateway, "compute"))
    assert answer == "hello\n120"
    assert happened == [("tool.started", "execute_code", None), ("tool.completed", "execute_code", None)]
    answer, happened = told(gateway, start(gateway, "fail"))
    assert answer.endswith("PermissionError: Permission denied: '/etc/passwd'")
    assert happened[-1] == ("tool.completed", "execute_code", "Traceback (most recent call last):")


def test_code_calls_tools_that_are_told_of_and_pass_the_gate(gateway: Gateway, model: ScriptedModelServer) -> None:
    (gateway.workdir / "numbers.txt").write_text("1\n2\n39\n")
    model.add(
        code(
            "sum",
            "text = read_file(path='numbers.txt')",
            "sum(int(line.split('|')[-1]) for line in text.splitlines() if line.split('|')[-1].strip().isdigit())",
        ),
        code("delete", "terminal(command='rm -rf /etc/x/../y')"),
        TELL,
    )

    answer, happened = told(gateway, start(gateway, "sum"))
    assert answer == "42"
    assert [one[:2] for one in happened] == [
        ("tool.started", "execute_code"),
        ("tool.started", "read_file"),
        ("tool.completed", "read_file"),
        ("tool.completed", "execute_code"),
    ]
    run_id = start(gateway, "delete")
    [question] = eventually(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["approvals"])
    assert (question["tool"], question["command"]) == ("terminal", "rm -rf /etc/x/../y")
    gateway.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "deny"}).raise_for_status()
    answer, happened = told(gateway, run_id)
    assert "RuntimeError: " in answer
    assert [one[:2] for one in happened] == [
        ("tool.started", "execute_code"),
        ("tool.started", "terminal"),
        ("approval.request", "terminal"),
        ("approval.responded", None),
        ("tool.completed", "terminal"),
        ("tool.completed", "execute_code"),
    ]


def test_a_response_shows_the_calls_of_code_beside_its_own(gateway: Gateway, model: ScriptedModelServer) -> None:
    (gateway.workdir / "a.txt").write_text("hello\n")
    model.add(code("read", "len(read_file('a.txt'))"), TELL, Step(when="hi", text="Hello."))

    response = gateway.client.post("/v1/responses", json={"input": "read"}).raise_for_status().json()

    items = [(item["type"], item.get("name")) for item in response["output"]]
    assert items == [
        ("function_call", "execute_code"),
        ("function_call", "read_file"),
        ("function_call_output", None),
        ("function_call_output", None),
        ("message", None),
    ]
    again = gateway.client.post("/v1/responses", json={"input": "hi", "previous_response_id": response["id"]})
    assert again.status_code == 200


def test_an_endless_loop_is_stopped_with_its_run(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    gateway = start_gateway({"code_execution": {"timeout": 600}})
    model.add(code("loop", "while True: pass"))
    run_id = start(gateway, "loop")
    eventually(lambda: "tool.started" in _so_far(gateway, run_id))

    gateway.client.post(f"/v1/runs/{run_id}/stop").raise_for_status()

    ended = waiting.eventually(
        lambda: (run := gateway.client.get(f"/v1/runs/{run_id}").json())["status"] == "cancelled" and run, seconds=2
    )
    assert ended["status"] == "cancelled"


def _so_far(gateway: Gateway, run_id: str) -> str:
    text = ""
    with gateway.client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
        for line in stream.iter_lines():
            text += line
            if "tool.started" in line:
                break
    return text
