"""Sessions of a real gateway: whatever they came in by, over HTTP and on the command line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.support import waiting

DEADLINE_SECONDS = 20.0
CLEAN_UP = Call("terminal", {"command": "rm -rf build"}, id="call_1")


until = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


def hermes(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermes", *arguments],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def ended(gateway: Gateway, run_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = gateway.client.get(f"/v1/runs/{run_id}").json()
        return run if run["status"] in ("completed", "failed", "cancelled", "interrupted") else None

    found: dict[str, Any] = until(look)
    return found


@pytest.mark.slow
def test_what_came_in_by_any_way_is_a_session_that_is_listed_read_searched_and_gone_on_with(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(when="swordfish", text="heard: {{user}}", times=0))
    client = gateway.client
    named = {"X-Hermes-Session-Id": "by-chat"}
    said = {"messages": [{"role": "user", "content": "swordfish by chat"}]}
    client.post("/v1/chat/completions", json=said, headers=named).raise_for_status()
    run = client.post("/v1/runs", json={"input": "swordfish by run", "session_id": "by-run"}).raise_for_status()
    ended(gateway, run.json()["run_id"])
    client.post("/v1/responses", json={"input": "swordfish by response"}).raise_for_status()
    client.post("/api/sessions", json={"id": "by-session"}).raise_for_status()
    client.post("/api/sessions/by-session/chat", json={"message": "swordfish by session"}).raise_for_status()
    job = {"name": "j", "schedule": "every 2h", "prompt": "swordfish by job"}
    job_id = client.post("/api/jobs", json=job).raise_for_status().json()["job"]["id"]
    client.post(f"/api/jobs/{job_id}/run").raise_for_status()

    def all_five() -> list[dict[str, Any]] | None:
        hits = client.get("/api/sessions/search", params={"q": "heard swordfish", "role": "assistant"}).json()
        return hits["data"] if len(hits["data"]) == 5 else None

    hits = until(all_five)
    assert sorted(hit["snippet"].rpartition(" ")[2] for hit in hits) == ["chat", "job", "response", "run", "session"]
    listed = {one["id"]: one for one in client.get("/api/sessions").json()["data"]}
    for hit in hits:
        session = listed[hit["session_id"]]
        assert (session["message_count"], session["model"]) == (2, "scripted")
        messages = client.get(f"/api/sessions/{hit['session_id']}/messages").json()["data"]
        assert [one["role"] for one in messages] == ["user", "assistant"]
        assert messages[1]["id"] == hit["message_id"]
        path = f"/api/sessions/{hit['session_id']}/chat"
        assert client.post(path, json={"message": "swordfish again"}).status_code == 200
    ids = {line.split()[0] for line in hermes(gateway, "sessions", "list").stdout.splitlines()[1:]}
    assert ids == set(listed)
    found = hermes(gateway, "sessions", "search", "by", "response", "--json")
    assert {hit["role"] for hit in json.loads(found.stdout)} == {"user", "assistant"}


def test_a_chat_that_re_sends_its_history_is_hidden_until_it_is_asked_for(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add("hello")
    said = {"messages": [{"role": "user", "content": "swordfish"}]}
    session_id = gateway.client.post("/v1/chat/completions", json=said).headers["x-hermes-session-id"]
    for query, ids in (("", []), ("?source=api", [session_id]), ("?include_stateless=true", [session_id])):
        listed = gateway.client.get(f"/api/sessions{query}").json()["data"]
        assert [one["id"] for one in listed] == ids
    assert gateway.client.get("/api/sessions/search?q=swordfish").json()["data"] == []


@pytest.mark.slow
def test_a_run_is_watched_live_approved_at_a_terminal_and_watched_again(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    (gateway.workdir / "build").mkdir()
    model.add(Step(after_tool=False, tool_calls=(CLEAN_UP,), text="I will."), Step(after_tool=True, text="All clean."))
    run_id = gateway.client.post("/v1/runs", json={"input": "clean up"}).json()["run_id"]
    watching = subprocess.Popen(
        [sys.executable, "-m", "hermes", "runs", "watch", run_id],
        env=gateway.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["approvals"])
    shown = hermes(gateway, "runs", "show", run_id)
    assert "waiting_for_approval" in shown.stdout
    assert "rm -rf build" in shown.stdout
    refused = hermes(gateway, "runs", "approve", run_id)
    assert (refused.returncode, "there is nobody to ask" in refused.stderr) == (2, True)
    assert (gateway.workdir / "build").exists()
    code, said = at_a_terminal(gateway, ("runs", "approve", run_id), "[n]o: ", "y\n")
    assert (code, "once: 1 question answered." in said) == (0, True), said
    out, _ = watching.communicate(timeout=DEADLINE_SECONDS)
    assert watching.returncode == 0
    lines = out.splitlines()
    assert lines[0] == "I will."
    assert "    rm -rf build" in lines
    assert "  ↳ once by owner (user)" in lines
    assert lines[-2] == "All clean."
    assert lines[-1].startswith("✓ completed: ")
    assert not (gateway.workdir / "build").exists()
    assert hermes(gateway, "runs", "watch", run_id).stdout == out
    gateway.stop()
    assert hermes(gateway, "runs", "watch", run_id).stdout == out


@pytest.mark.slow
def test_a_session_that_runs_is_not_deleted_until_its_run_is_stopped(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="and so on", hang=True))
    run_id = gateway.client.post("/v1/runs", json={"input": "go", "session_id": "busy"}).json()["run_id"]
    busy = hermes(gateway, "sessions", "delete", "busy", "--yes")
    assert (busy.returncode, f"hermes runs stop {run_id}" in busy.stderr) == (1, True)
    assert hermes(gateway, "runs", "stop", run_id).returncode == 0
    assert ended(gateway, run_id)["status"] == "cancelled"
    again = hermes(gateway, "runs", "stop", run_id)
    assert (again.returncode, "is not running" in again.stderr) == (1, True)
    done = hermes(gateway, "sessions", "delete", "busy", "--yes")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Deleted 1 session.")
    assert gateway.client.get("/api/sessions/busy").status_code == 404
    unknown = hermes(gateway, "runs", "watch", run_id)
    assert (unknown.returncode, "no run" in unknown.stderr) == (1, True)


@pytest.mark.slow
def test_what_a_killed_session_chat_had_said_stays_where_its_model_cannot_go_on(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="half of it", hang=True))
    gateway.client.post("/api/sessions", json={"id": "s"}).raise_for_status()
    with gateway.client.stream("POST", "/api/sessions/s/chat/stream", json={"message": "go"}) as response:
        said = ""
        for line in response.iter_lines():
            if line.startswith("data: ") and "delta" in (data := json.loads(line[6:])):
                said += data["delta"]
            if said == "half of it":
                break
        gateway.kill()
    gateway.start()

    def told() -> list[str] | None:
        messages = gateway.client.get("/api/sessions/s/messages").json()["data"]
        return [one["content"] for one in messages] if len(messages) == 2 else None

    assert until(told) == ["go", "half of it"]


def at_a_terminal(gateway: Gateway, arguments: tuple[str, ...], prompt: str, answer: str) -> tuple[int, str]:
    """Its exit code and all it wrote, when it is answered once it has asked."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes", *arguments],
        env=gateway.environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    said = b""
    has_answered = False
    with suppress(OSError):  # its end of the terminal is closed
        while piece := os.read(ours, 4096):
            said += piece
            if not has_answered and prompt.encode() in said:
                os.write(ours, answer.encode())
                has_answered = True
    os.close(ours)
    return process.wait(DEADLINE_SECONDS), said.decode()
