"""One dangerous call through every way in: the same gate, the same events (security: a path around the gate)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, make_gateway
from tests.support import waiting
from tests.support.editor import open_editor

DEADLINE_SECONDS = 20.0
PROMPT = "clean up"
DANGEROUS = Call("terminal", {"command": "rm -rf build"}, id="call_1")
SCRIPT = (Step(when=PROMPT, after_tool=False, tool_calls=(DANGEROUS,)), Step(after_tool=True, text="So be it."))

USER = [{"role": "user", "content": PROMPT}]


def session_path(gateway: Gateway, end: str) -> str:
    made = gateway.client.post("/api/sessions", json={})
    assert made.status_code == 201, made.text
    return f"/api/sessions/{made.json()['session']['id']}/{end}"


WAYS: dict[str, Callable[[Gateway], tuple[str, dict[str, Any]]]] = {
    "chat": lambda gateway: ("/v1/chat/completions", {"messages": USER, "stream": True}),
    "responses": lambda gateway: ("/v1/responses", {"input": PROMPT, "stream": True}),
    "background response": lambda gateway: ("/v1/responses", {"input": PROMPT, "background": True}),
    "runs": lambda gateway: ("/v1/runs", {"input": PROMPT}),
    "session chat": lambda gateway: (session_path(gateway, "chat"), {"message": PROMPT}),
    "session stream": lambda gateway: (session_path(gateway, "chat/stream"), {"message": PROMPT}),
}

ALLOWED = [
    ("run.started", None),
    ("tool.started", "terminal"),
    ("approval.request", "rm -rf build"),
    ("approval.responded", ("once", "owner", "user")),
    ("tool.completed", None),
    ("message", "So be it."),
    ("run.completed", "So be it."),
]


def denied(by: str | None, outcome: str) -> list[tuple[str, Any]]:
    refusal = {"user": "the user said no", "timeout": "nobody answered"}[outcome]
    return [*ALLOWED[:3], ("approval.responded", ("deny", by, outcome)), ("tool.completed", refusal), *ALLOWED[5:]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, module_database: str | None) -> Iterator[Gateway]:
    with ScriptedModelServer(SCRIPT) as model:
        gateway = make_gateway(tmp_path_factory.mktemp("gate"), model, database_url=module_database).start()
        yield gateway
        gateway.close()


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The runs of the tests before have ended: the newest run is the test's own."""
    assert newest(shared) is None or newest(shared, "running") is None
    return shared


@pytest.mark.parametrize("way", WAYS)
def test_the_call_waits_for_a_person_and_runs_when_it_is_allowed(gateway: Gateway, way: str):
    build = make_build(gateway)
    with asking(gateway, way) as (run_id, approval_id):
        assert build.exists()
        answer(gateway, run_id, {"choice": "approve", "approval_id": approval_id})
    assert happened(gateway, run_id) == ALLOWED
    assert not build.exists()


@pytest.mark.parametrize("way", WAYS)
def test_the_call_does_not_run_when_it_is_denied(gateway: Gateway, way: str):
    build = make_build(gateway)
    with asking(gateway, way) as (run_id, approval_id):
        answer(gateway, run_id, {"choice": "deny", "approval_id": approval_id})
    assert same(happened(gateway, run_id), denied("owner", "user"))
    assert build.exists()


@pytest.mark.parametrize("way", WAYS)
def test_silence_is_a_no_and_is_told_as_a_time_out(start_gateway: StartGateway, model: ScriptedModelServer, way: str):
    model.add(*SCRIPT)
    gateway = start_gateway({"approvals": {"timeout": 0.5}})
    build = make_build(gateway)
    with started(gateway, way) as run_id:
        pass
    assert same(happened(gateway, run_id), denied(None, "timeout"))
    assert build.exists()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", {"messages": USER}), ("/v1/responses", {"input": PROMPT})],
)
def test_where_nobody_can_be_shown_the_question_it_is_denied_at_once(gateway: Gateway, path: str, body: dict[str, Any]):
    build = make_build(gateway)
    told = gateway.client.post(path, json=body)
    assert told.status_code == 200, told.text
    assert "denied" in told.headers["x-hermes-warnings"]
    assert build.exists()


@pytest.mark.parametrize(("mode", "is_run"), [("deny", False), ("approve", True)])
def test_a_job_is_decided_by_cron_mode(
    start_gateway: StartGateway, model: ScriptedModelServer, mode: str, is_run: bool
):
    model.add(*SCRIPT)
    gateway = start_gateway({"approvals": {"cron_mode": mode}})
    build = make_build(gateway)
    made = gateway.client.post("/api/jobs", json={"name": "tidy", "schedule": "@yearly", "prompt": PROMPT})
    assert made.status_code in (200, 201), made.text
    job_id = made.json()["job"]["id"]
    fired = gateway.client.post(f"/api/jobs/{job_id}/run")
    assert fired.status_code < 300, fired.text
    run = eventually(lambda: newest(gateway, "completed"))
    names = [name for name, _ in happened(gateway, run["run_id"])]
    assert [name for name in names if name.startswith("tool.")] == ["tool.started", "tool.completed"]
    assert build.exists() is not is_run


def ruling(decision: str) -> Step:
    """What the model says that judges; its request holds the rules that flagged the action."""
    return Step(when='"flagged_by"', after_tool=False, text=json.dumps({"decision": decision, "reason": "because"}))


@pytest.mark.parametrize("way", WAYS)
def test_in_the_mode_smart_a_model_may_allow_it(start_gateway: StartGateway, model: ScriptedModelServer, way: str):
    model.add(*SCRIPT, ruling("allow"))
    gateway = start_gateway({"approvals": {"mode": "smart"}})
    build = make_build(gateway)
    with started(gateway, way) as run_id:
        pass
    assert happened(gateway, run_id) == [
        *ALLOWED[:2],
        ("approval.responded", ("once", "smart", "policy")),
        *ALLOWED[4:],
    ]
    assert not build.exists()
    assert get(gateway, run_id)["usage"]["api_calls"] == 3, "the judge's call is the run's, too"


def test_in_the_mode_smart_a_model_may_deny_it(start_gateway: StartGateway, model: ScriptedModelServer):
    model.add(*SCRIPT, ruling("deny"))
    gateway = start_gateway({"approvals": {"mode": "smart"}})
    build = make_build(gateway)
    with started(gateway, "runs") as run_id:
        pass
    told = happened(gateway, run_id)
    assert [name for name, _ in told] == [
        "run.started",
        "tool.started",
        "approval.responded",
        "run.warning",
        "tool.completed",
        "message",
        "run.completed",
    ]
    assert told[2][1] == ("deny", "smart", "policy")
    assert "Reason: because" in told[4][1]
    assert build.exists()


@pytest.mark.parametrize(
    "judge",
    [ruling("ask"), Step(when='"flagged_by"', text="It is safe."), Step(when='"flagged_by"', status=400)],
    ids=["unsure", "garbage", "error"],
)
def test_in_the_mode_smart_a_person_is_asked_when_the_model_is_not_sure(
    start_gateway: StartGateway, model: ScriptedModelServer, judge: Step
):
    model.add(*SCRIPT, judge)
    gateway = start_gateway({"approvals": {"mode": "smart"}})
    build = make_build(gateway)
    with asking(gateway, "runs") as (run_id, approval_id):
        answer(gateway, run_id, {"choice": "approve", "approval_id": approval_id})
    assert happened(gateway, run_id) == ALLOWED
    assert not build.exists()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", {"messages": USER}), ("/v1/responses", {"input": PROMPT})],
)
def test_in_the_mode_smart_nothing_is_judged_where_nobody_can_be_asked(
    start_gateway: StartGateway, model: ScriptedModelServer, path: str, body: dict[str, Any]
):
    model.add(*SCRIPT, ruling("allow"))
    gateway = start_gateway({"approvals": {"mode": "smart"}})
    build = make_build(gateway)
    told = gateway.client.post(path, json=body)
    assert "nobody can be asked here" in told.headers["x-hermes-warnings"]
    assert build.exists()
    assert not any("flagged_by" in str(request["messages"]) for request in model.requests)


@pytest.mark.parametrize("mode", ["manual", "smart", "off"])
def test_the_deny_list_holds_in_every_mode(start_gateway: StartGateway, model: ScriptedModelServer, mode: str):
    model.add(*SCRIPT, ruling("allow"))
    gateway = start_gateway({"approvals": {"mode": mode, "deny": ["rm *build"]}, "command_allowlist": ["*"]})
    build = make_build(gateway)
    with started(gateway, "runs") as run_id:
        pass
    completed = [said for name, said in happened(gateway, run_id) if name == "tool.completed"]
    assert len(completed) == 1 and "the owner's deny list names it (rm *build)" in completed[0]
    assert build.exists()


def test_what_the_allow_list_names_runs_without_a_question(start_gateway: StartGateway, model: ScriptedModelServer):
    model.add(*SCRIPT)
    gateway = start_gateway({"command_allowlist": ["recursive-delete"]})
    build = make_build(gateway)
    with started(gateway, "runs") as run_id:
        pass
    assert happened(gateway, run_id) == [*ALLOWED[:2], *ALLOWED[4:]]
    assert not build.exists()


@pytest.mark.parametrize("choice", ["once", "deny"])
async def test_an_editor_meets_the_same_gate(gateway: Gateway, choice: str):
    build = make_build(gateway)
    async with open_editor(gateway) as editor:
        editor.window.answer = lambda call: choice
        told = await editor.say(await editor.new(gateway.workdir), PROMPT)
        assert told.stop_reason == "end_turn"
    run = newest(gateway)
    assert run is not None
    by = "Test editor"
    responded = ("approval.responded", (choice, by, "user"))
    expected = [*ALLOWED[:3], responded, *ALLOWED[4:]] if choice == "once" else denied(by, "user")
    if choice == "deny":
        assert same(happened(gateway, run["run_id"]), expected)
    else:
        assert happened(gateway, run["run_id"]) == expected
    assert build.exists() is (choice == "deny")


def make_build(gateway: Gateway) -> Path:
    build = gateway.workdir / "build"
    build.mkdir(exist_ok=True)
    return build


@contextmanager
def started(gateway: Gateway, way: str) -> Iterator[str]:
    """The id of the run; its request is read to the end behind it, and must have succeeded."""
    path, body = WAYS[way](gateway)
    before = newest(gateway)
    with ThreadPoolExecutor(1) as threads:
        answered: Future[httpx.Response] = threads.submit(
            httpx.post,
            gateway.url + path,
            json=body,
            headers={"Authorization": f"Bearer {gateway.key}"},
            timeout=DEADLINE_SECONDS,
        )

        def begun() -> Any:
            is_over = answered.done()
            run = newest(gateway)
            if run is not None and run["run_id"] != (before and before["run_id"]):
                return run
            return is_over and pytest.fail(answered.result().text)

        run = eventually(begun)
        yield run["run_id"]
        told = answered.result()
        assert told.status_code in (200, 202), told.text


@contextmanager
def asking(gateway: Gateway, way: str) -> Iterator[tuple[str, str]]:
    with started(gateway, way) as run_id:
        run = eventually(lambda: (one := get(gateway, run_id))["approvals"] and one)
        assert run["status"] == "waiting_for_approval"
        yield run_id, run["approvals"][0]["approval_id"]


def answer(gateway: Gateway, run_id: str, body: dict[str, Any]) -> None:
    told = gateway.client.post(f"/v1/runs/{run_id}/approval", json=body)
    assert (told.status_code, told.json()["resolved"]) == (200, 1), told.text


def get(gateway: Gateway, run_id: str) -> dict[str, Any]:
    return gateway.client.get(f"/v1/runs/{run_id}").raise_for_status().json()


def newest(gateway: Gateway, status: str | None = None) -> dict[str, Any] | None:
    query = {"limit": 1} | ({"status": status} if status else {})
    found = gateway.client.get("/v1/runs", params=query).raise_for_status().json()["data"]
    return found[0] if found else None


def happened(gateway: Gateway, run_id: str) -> list[tuple[str, Any]]:
    """The run's whole list of events, with what must be the same on every way in; deltas as one message."""
    told: list[tuple[str, Any]] = []
    with gateway.client.stream("GET", f"/v1/runs/{run_id}/events", timeout=DEADLINE_SECONDS) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data: "):
                continue
            event = json.loads(line[6:])
            match event["event"]:
                case "message.delta" if told[-1][0] == "message":
                    told[-1] = ("message", told[-1][1] + event["delta"])
                case "message.delta":
                    told.append(("message", event["delta"]))
                case "tool.started" as name:
                    told.append((name, event["tool"]))
                case "tool.completed" as name:
                    told.append((name, event["error"]))
                case "approval.request" as name:
                    told.append((name, event["command"]))
                case "approval.responded" as name:
                    told.append((name, (event["choice"], event["by"], event["outcome"])))
                case name:
                    told.append((name, event.get("output")))
    return told


def same(told: list[tuple[str, Any]], expected: list[tuple[str, Any]]) -> bool:
    """Refusals are compared by a word of them."""
    assert [name for name, _ in told] == [name for name, _ in expected]
    for (name, said), (_, wanted) in zip(told, expected, strict=True):
        if name == "tool.completed":
            assert wanted in said
        else:
            assert said == wanted
    return True


eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)
