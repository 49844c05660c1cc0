"""Jobs in a real gateway: they fire, survive kill -9, go through the gate, and are reached by `hermes cron`."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

TICK = 0.05


eventually = partial(waiting.eventually, seconds=20)


def make(gateway: Gateway, schedule: str, **fields: Any) -> str:
    response = gateway.client.post("/api/jobs", json={"schedule": schedule, "prompt": "Say it", **fields})
    assert response.status_code == 200, response.text
    job_id: str = response.json()["job"]["id"]
    return job_id


def history(gateway: Gateway, job_id: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = gateway.client.get(f"/api/jobs/{job_id}/runs").json()["runs"]
    return runs


def ended(gateway: Gateway, job_id: str) -> list[dict[str, Any]]:
    runs = history(gateway, job_id)
    return runs if runs and all(run["finished_at"] or not run["run_id"] for run in runs) else []


def cron(gateway: Gateway, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hermes", "cron", *arguments],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_job_fires_by_itself_and_its_run_is_like_any_other(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("It is done."))
    job_id = make(gateway, "1s", name="once")
    [entry] = eventually(lambda: ended(gateway, job_id))
    assert (entry["reason"], entry["status"], entry["output"]) == ("ran", "completed", "It is done.")
    run = gateway.client.get(f"/v1/runs/{entry['run_id']}").json()
    assert (run["status"], run["session_id"]) == ("completed", entry["session_id"])
    told = gateway.client.get(f"/v1/runs/{entry['run_id']}/events").text
    assert told.endswith(": stream closed\n\n")
    job = gateway.client.get(f"/api/jobs/{job_id}").json()["job"]
    assert (job["state"], job["last_status"]) == ("completed", "ok")


@pytest.mark.slow
def test_what_was_due_while_the_gateway_was_dead_fires_once_at_its_next_start(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step("Better late."))
    job_id = make(gateway, "2s")
    gateway.kill()
    time.sleep(2.1)  # its time passes with nothing there to see it
    gateway.start()
    [entry] = eventually(lambda: ended(gateway, job_id))
    assert (entry["reason"], entry["output"]) == ("ran", "Better late.")  # less than a minute behind is not late
    assert len(model.requests) == 1


@pytest.mark.slow
def test_a_job_in_the_middle_of_its_run_goes_on_after_kill_9(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(hang="before"), Step("The news."))
    job_id = make(gateway, "1s")
    eventually(lambda: model.requests)
    gateway.kill()
    gateway.start()
    [entry] = eventually(lambda: ended(gateway, job_id))
    assert (entry["reason"], entry["status"], entry["error"]) == ("ran", "completed", None)


@pytest.mark.parametrize(("mode", "is_there"), [("deny", True), ("approve", False)])
def test_a_dangerous_call_goes_by_cron_mode(
    start_gateway: StartGateway, model: ScriptedModelServer, mode: str, is_there: bool
) -> None:
    gateway = start_gateway({"approvals": {"cron_mode": mode}})
    victim = gateway.workdir / "victim"
    victim.mkdir()
    model.add(Step(tool_calls=[Call("terminal", {"command": f"rm -rf {victim}"})]))
    model.add(Step("I did what I could."))
    job_id = make(gateway, "1s")
    [entry] = eventually(lambda: ended(gateway, job_id))
    assert (entry["status"], victim.exists()) == ("completed", is_there)
    if mode == "deny":
        result = model.requests[1]["messages"][-1]["content"]
        assert "nobody can be asked here" in result


def test_a_webhook_is_told(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    model.add(Step("The news."))
    with receiver() as (url, got):
        gateway = start_gateway({"api_server": {"callback_hosts": ["127.0.0.1"]}})
        job_id = make(gateway, "1s", deliver=f"webhook:{url}")
        eventually(lambda: got)
        headers, body = got[0]
        assert (body["event"], body["job"]["id"], body["run"]["output"]) == ("job.completed", job_id, "The news.")
        assert headers["X-Hermes-Signature"].startswith("sha256=")
        eventually(lambda: history(gateway, job_id)[0]["delivery"]["state"] == "delivered")


def test_a_session_goes_on_with_what_a_job_said(gateway: Gateway, model: ScriptedModelServer) -> None:
    for text in ("Hello.", "The news.", "You are welcome."):
        model.add(Step(text))
    chat = {"messages": [{"role": "user", "content": "Hi"}]}
    headers = {"X-Hermes-Session-Id": "mine"}
    assert gateway.client.post("/v1/chat/completions", json=chat, headers=headers).status_code == 200
    job_id = make(gateway, "1s", deliver="session:mine")
    eventually(lambda: (found := history(gateway, job_id)) and found[0]["delivery"]["state"] == "delivered")
    gateway.client.post("/v1/chat/completions", json=chat, headers=headers)
    said = [message["content"] for message in model.requests[2]["messages"] if message["role"] == "assistant"]
    assert said[0] == "Hello."
    assert said[1].endswith("The news.")


@pytest.mark.slow
def test_the_command_line_goes_through_the_running_gateway(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("It is done."))
    job = json.loads(cron(gateway, "create", "every 1h", "Say it", "--name", "news", "--json"))
    assert [one["id"] for one in gateway.client.get("/api/jobs").json()["jobs"]] == [job["id"]]
    assert cron(gateway, "run", "news", "--wait").endswith("It is done.\n")
    assert "It is done." in cron(gateway, "runs", "news", "--output")
    assert "next" in cron(gateway, "status")
    assert cron(gateway, "pause", "news").startswith("Paused ")
    assert "gateway start" not in cron(gateway, "list", "--all")
    assert cron(gateway, "remove", "news").startswith("Removed ")
    assert gateway.client.get("/api/jobs?include_disabled=true").json() == {"jobs": []}


@contextmanager
def receiver() -> Iterator[tuple[str, list[tuple[Any, Any]]]]:
    got: list[tuple[Any, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/told", got
        server.shutdown()
