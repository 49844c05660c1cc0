"""SIGTERM, on every route: no new work, answers to the last, streams that say how they ended, and a quick exit."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from hermes.api.auth import Scope
from hermes.api.routes import ROUTES
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

EXIT_SECONDS = 12.0
HI = {"messages": [{"role": "user", "content": "Hi"}]}

BEGIN_RUNS: dict[str, dict[str, Any]] = {
    "chat_completions": HI,
    "runs": {"input": "Hi"},
    "responses": {"input": "Hi"},
    "responses_websocket": {"type": "response.create", "model": "hermes-agent", "input": "Hi"},
    "responses_compact": {"model": "hermes-agent", "input": "Hi"},
    "session_chat": {"message": "Hi"},
    "session_chat_stream": {"message": "Hi"},
    "job_run": {},
}
"""By name in the table of routes, with a body that starts a run."""

OTHER_WRITES = {
    *("run_approval", "run_clarify", "run_steer", "run_stop", "response_delete", "response_cancel"),
    *("session_create", "session_update", "session_delete", "session_fork"),
    *("job_create", "job_update", "job_delete", "job_pause", "job_resume"),
    *("files", "file_delete"),
}

READS = ("/v1/models", "/v1/capabilities", "/health/detailed", "/metrics", "/api/sessions", "/v1/runs")


@dataclass
class Open:
    """A run that is held open by its model, and the ids that routes ask for."""

    gateway: Gateway
    run_id: str
    ids: dict[str, str]

    def path(self, name: str) -> str:
        [route] = [route for route in ROUTES if route.name == name]
        return route.path.format(**self.ids)


def test_every_route_that_writes_is_known_here() -> None:
    """A new one is put where it belongs, and is tested if it starts runs."""
    writes = {
        route.name for route in ROUTES if route.method not in ("GET",) and route.scope in (Scope.CHAT, Scope.ADMIN)
    }
    assert writes == {*BEGIN_RUNS, *OTHER_WRITES}


@pytest.fixture
def draining(start_gateway: StartGateway, model: ScriptedModelServer) -> Iterator[Open]:
    """A gateway that was told to stop and waits for one run."""
    gateway = start_gateway({"api_server": {"drain_timeout": 9}})
    model.add(Step("I thi", hang=True, times=0))
    client = gateway.client
    session = client.post("/api/sessions", json={}).raise_for_status().json()["session"]["id"]
    job = (
        client.post("/api/jobs", json={"name": "n", "schedule": "every 24h", "prompt": "Hi"}).raise_for_status().json()
    )
    run_id = client.post("/v1/runs", json={"input": "hold"}).raise_for_status().json()["run_id"]
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGTERM)
    ids = {"session_id": session, "job_id": job["job"]["id"], "run_id": run_id}
    wait_for(lambda: client.get("/health/detailed").json()["gateway_state"] == "draining")
    yield Open(gateway, run_id, ids)


wait_for = partial(waiting.eventually, seconds=10)


def test_new_work_is_refused_on_every_route_while_reads_go_on_and_the_open_run_can_be_stopped(draining: Open) -> None:
    client = draining.gateway.client
    refused = {}
    for name, body in BEGIN_RUNS.items():
        if name != "responses_websocket":
            answer = client.post(draining.path(name), json=body)
            error = answer.json().get("error", {})
            refused[name] = (answer.status_code, error.get("code"), int(answer.headers.get("retry-after", 0)) > 0)
    assert refused == {name: (503, "gateway_draining", True) for name in BEGIN_RUNS if name != "responses_websocket"}
    assert {path: client.get(path).status_code for path in READS} == dict.fromkeys(READS, 200)
    assert client.get("/health").json()["status"] == "draining"
    assert client.get(f"/v1/runs/{draining.run_id}").json()["status"] == "running"
    assert client.get("/health/detailed?fail=degraded").status_code == 503
    began = time.monotonic()
    assert client.post(f"/v1/runs/{draining.run_id}/stop").status_code == 200
    assert draining.gateway.process is not None
    assert draining.gateway.process.wait(EXIT_SECONDS) == 0
    assert time.monotonic() - began < 5, "nothing was left to wait for"


def test_a_load_balancer_is_told_before_anything_is_refused(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway({"api_server": {"drain_delay": 60, "drain_timeout": 9}})
    model.add(Step("Still here.", times=0))
    assert gateway.client.get("/health").json()["status"] == "ok"
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGTERM)
    wait_for(lambda: gateway.client.get("/health").status_code == 503)
    told = gateway.client.post("/v1/chat/completions", json=HI)
    assert (told.status_code, told.headers["connection"]) == (200, "close")
    run_id = gateway.client.post("/v1/runs", json={"input": "Hi"}).raise_for_status().json()["run_id"]
    wait_for(lambda: gateway.client.get(f"/v1/runs/{run_id}").json()["status"] == "completed")
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(EXIT_SECONDS) == 0
    assert time.monotonic() - began < 5, "a second signal takes the delay away"


def test_a_websocket_is_told_too(draining: Open) -> None:
    url = draining.gateway.url.replace("http://", "ws://") + "/v1/responses"
    headers = {"Authorization": f"Bearer {draining.gateway.key}"}
    with connect(url, additional_headers=headers, open_timeout=10) as socket:
        socket.send(json.dumps(BEGIN_RUNS["responses_websocket"]))
        said = json.loads(socket.recv(timeout=10))
    assert (said["type"], said["error"]["code"]) == ("error", "gateway_draining")


STREAMS: dict[str, tuple[dict[str, Any], str]] = {
    "chat_completions": ({**HI, "stream": True}, "run_interrupted"),
    "responses": ({"input": "Hi", "stream": True}, "response.failed"),
    "session_chat_stream": ({"message": "Hi"}, "gateway_draining"),
}
"""What is asked, and what the stream's end must name: a chat ends with its process, a durable run only pauses."""


def test_every_stream_ends_with_the_reason_and_the_process_within_twelve_seconds(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway({"api_server": {"drain_timeout": 1}})
    # one word is one delta: two may come in events of their own
    model.add(Step("Mumbling", hang=True, times=0))
    session = gateway.client.post("/api/sessions", json={}).raise_for_status().json()["session"]["id"]
    run_id = gateway.client.post("/v1/runs", json={"input": "hold"}).raise_for_status().json()["run_id"]
    ended: dict[str, str] = {}
    begun = threading.Semaphore(0)

    def read(name: str, method: str, path: str, body: dict[str, Any] | None) -> None:
        """To the end, which must be a proper one: a connection that breaks off raises."""
        headers = {"Authorization": f"Bearer {gateway.key}"}
        with httpx.stream(method, f"{gateway.url}{path}", json=body, headers=headers, timeout=30) as answer:
            text = ""
            for piece in answer.iter_text():
                if "Mumbling" not in text and "Mumbling" in text + piece:
                    begun.release()
                text += piece
        ended[name] = text

    paths = {route.name: route.path.format(session_id=session) for route in ROUTES if route.name in STREAMS}
    readers = [
        *(threading.Thread(target=read, args=(name, "POST", paths[name], body)) for name, (body, _) in STREAMS.items()),
        threading.Thread(target=read, args=("run_events", "GET", f"/v1/runs/{run_id}/events", None)),
    ]
    for reader in readers:
        reader.start()
    for _ in readers:
        assert begun.acquire(timeout=20)
    began = time.monotonic()
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGTERM)
    for reader in readers:
        reader.join(EXIT_SECONDS)
    assert gateway.process.wait(EXIT_SECONDS) == 0
    assert time.monotonic() - began < EXIT_SECONDS
    expected = {name: word for name, (_, word) in STREAMS.items()} | {"run_events": "gateway_draining"}
    missing = {
        name: ended.get(name, "it never ended")[-300:]
        for name, word in expected.items()
        if word not in ended.get(name, "")
    }
    assert missing == {}
    assert "[DONE]" not in ended["chat_completions"]


def test_a_second_signal_takes_the_time_of_the_open_runs_away(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway({"api_server": {"drain_timeout": 60}})
    model.add(Step("I thi", hang=True))
    gateway.client.post("/v1/runs", json={"input": "hold"}).raise_for_status()
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGINT)
    wait_for(lambda: gateway.client.get("/health/detailed").json()["gateway_state"] == "draining")
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.process.wait(EXIT_SECONDS) == 0
    assert time.monotonic() - began < 5


def test_a_gateway_without_work_stops_at_once(gateway: Gateway) -> None:
    with contextlib.closing(httpx.Client(base_url=gateway.url)) as idle:
        idle.get("/health")  # a connection that is kept alive holds nobody up
        began = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - began < 3
