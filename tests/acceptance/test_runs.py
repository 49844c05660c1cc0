"""/v1/runs against a real gateway: what is stopped is gone, what was promised is told, kill -9 loses nothing."""

from __future__ import annotations

import http.server
import json
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

T = TypeVar("T")

DEADLINE_SECONDS = 15.0


eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


def start(gateway: Gateway, text: str = "go", **fields: Any) -> dict[str, Any]:
    response = gateway.client.post("/v1/runs", json={"input": text, **fields})
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def run_of(gateway: Gateway, run_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = gateway.client.get(f"/v1/runs/{run_id}").raise_for_status().json()
    return answer


def ended(gateway: Gateway, run_id: str) -> dict[str, Any]:
    gateway.client.get(f"/v1/runs/{run_id}/events").raise_for_status()
    return run_of(gateway, run_id)


def processes_with(marker: str) -> list[int]:
    """Those whose command line says it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_run_is_started_followed_and_listed(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("Hello."), Step("Again."))
    first = start(gateway, session_id="mine")
    assert first == {"run_id": first["run_id"], "status": "started", "session_id": "mine", "replayed": False}
    assert (ended(gateway, first["run_id"])["status"], run_of(gateway, first["run_id"])["output"]) == (
        "completed",
        "Hello.",
    )
    second = start(gateway, "and now?", session_id="mine")
    ended(gateway, second["run_id"])
    said = [(message["role"], message["content"]) for message in model.requests[-1]["messages"][1:]]
    assert said == [("user", "go"), ("assistant", "Hello."), ("user", "and now?")]
    listed = gateway.client.get("/v1/runs?session_id=mine&limit=1").json()
    assert ([run["run_id"] for run in listed["data"]], listed["has_more"]) == ([second["run_id"]], True)


def test_within_a_second_of_stop_no_process_of_the_run_is_left(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    gateway = start_gateway({"approvals": {"mode": "off"}})
    marker = f"{secrets.randbelow(10**8)}.25"
    command = (
        f"setsid sleep 1{marker} & setsid sh -c 'sleep 2{marker} & setsid sleep 3{marker} & wait' & "
        f"(trap '' TERM HUP; nohup sleep 4{marker} >/dev/null 2>&1 & wait) & sleep 5{marker}"
    )
    model.add(Step(tool_calls=(Call("terminal", {"command": command}),)))
    run_id = start(gateway)["run_id"]
    eventually(lambda: len({pid for n in range(1, 6) for pid in processes_with(f"sleep\0{n}{marker}")}) == 5)
    began = time.monotonic()
    assert gateway.client.post(f"/v1/runs/{run_id}/stop").json() == {"run_id": run_id, "status": "stopping"}
    eventually(lambda: not processes_with(marker), seconds=1.0 - (time.monotonic() - began))
    run = eventually(lambda: (found := run_of(gateway, run_id))["status"] == "cancelled" and found)
    assert run["last_event"] == "run.cancelled"
    assert gateway.client.post(f"/v1/runs/{run_id}/stop").json()["error"]["code"] == "run_not_active"


def test_within_a_second_of_stop_the_model_is_not_asked_any_more(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("Half of the ans", hang=True))
    run_id = start(gateway)["run_id"]
    eventually(lambda: run_of(gateway, run_id)["last_event"] == "message.delta")
    gateway.client.post(f"/v1/runs/{run_id}/stop")
    eventually(lambda: model.disconnects == 1, seconds=1.0)
    assert ended(gateway, run_id)["output"] == "Half of the ans"


def test_a_run_goes_on_without_a_reader_and_is_there_after_a_restart(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step("Done."), Step("I thi", hang=True), Step("I think so."), Step("Behind."))
    finished, open_one = start(gateway), None
    ended(gateway, finished["run_id"])
    open_one = start(gateway, session_id="s")
    waiting = start(gateway, "behind it", session_id="s")
    eventually(lambda: run_of(gateway, open_one["run_id"])["last_event"] == "message.delta")
    events = gateway.client.get(f"/v1/runs/{finished['run_id']}/events").text
    gateway.kill()
    gateway.start()
    eventually(lambda: run_of(gateway, waiting["run_id"])["status"] == "completed")
    assert gateway.client.get(f"/v1/runs/{finished['run_id']}/events").text == events
    told = [(run["status"], run["output"], run["resumed"]) for run in gateway.client.get("/v1/runs").json()["data"]]
    assert told == [("completed", "Behind.", 0), ("completed", "I think so.", 1), ("completed", "Done.", 0)]


def test_the_same_key_is_the_same_run_after_a_restart(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("Once."))
    headers = {"Idempotency-Key": "once-only"}
    first = gateway.client.post("/v1/runs", json={"input": "go"}, headers=headers).json()
    ended(gateway, first["run_id"])
    gateway.kill()
    gateway.start()
    again = gateway.client.post("/v1/runs", json={"input": "go"}, headers=headers)
    assert (again.status_code, again.json()) == (202, first | {"replayed": True})
    assert len(model.requests) == 1


def test_a_limit_of_the_request_ends_the_run_and_says_so(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(*[Step(tool_calls=(Call("terminal", {"command": "true"}),))] * 3)
    run = ended(gateway, start(gateway, limits={"max_steps": 1})["run_id"])
    assert (run["status"], run["finish_reason"], len(model.requests)) == ("completed", "length", 1)


def test_a_run_is_offered_the_toolsets_it_names_and_no_others(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("a"), Step("b"))
    ended(gateway, start(gateway, toolsets=["terminal"])["run_id"])
    ended(gateway, start(gateway, toolsets=[])["run_id"])
    offered = [[tool["function"]["name"] for tool in request.get("tools", ())] for request in model.requests]
    assert "terminal" in offered[0]
    assert "read_file" not in offered[0]
    assert offered[1] == []


class _Hook(http.server.BaseHTTPRequestHandler):
    """Puts what comes into `posts`, and answers with the next of `statuses`."""

    posts: queue.Queue[tuple[dict[str, str], bytes]]
    statuses: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posts.put(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.statuses.pop(0) if self.statuses else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class calls it so
        pass


@contextmanager
def hook(*statuses: int) -> Iterator[tuple[str, queue.Queue[tuple[dict[str, str], bytes]]]]:
    posts: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
    handler = type("Hook", (_Hook,), {"posts": posts, "statuses": list(statuses)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", posts
        finally:
            server.shutdown()
            thread.join()


def documented_check() -> Callable[[str, dict[str, str], bytes], bool]:
    """The function that docs/runs.md gives to receivers."""
    text = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    check: Callable[[str, dict[str, str], bytes], bool] = names["is_genuine"]
    return check


def secret_of(gateway: Gateway) -> str:
    shown = subprocess.run(
        [sys.executable, "-m", "hermes", "config", "get", "API_SERVER_CALLBACK_SECRET", "--reveal"],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return shown.stdout.strip()


def test_the_end_of_a_run_is_posted_with_a_signature_that_the_owner_can_check(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    model.add(Step("Told."))
    with hook() as (url, posts):
        gateway = start_gateway({"api_server": {"callback_hosts": ["127.0.0.1"]}})
        run_id = start(gateway, callback_url=url)["run_id"]
        headers, body = posts.get(timeout=DEADLINE_SECONDS)
        is_genuine, secret = documented_check(), secret_of(gateway)
        assert is_genuine(secret, headers, body)
        assert not is_genuine(secret, headers, body + b" ")
        assert not is_genuine(secret[1:], headers, body)
        assert not is_genuine(secret, {**headers, "x-hermes-timestamp": "1700000000"}, body)
        assert json.loads(body) == {"event": "run.completed", **run_of(gateway, run_id)}


@pytest.mark.slow
def test_a_callback_that_failed_is_sent_again_after_a_restart_under_the_same_id(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    model.add(Step("Told."))
    with hook(500) as (url, posts):
        gateway = start_gateway({"api_server": {"callback_hosts": ["127.0.0.1"]}})
        start(gateway, callback_url=url)
        first, body = posts.get(timeout=DEADLINE_SECONDS)
        eventually(
            lambda: "again in 5 s" in "".join(path.read_text() for path in (gateway.home / "logs").glob("*.log"))
        )
        gateway.kill()
        gateway.start()
        second, same = posts.get(timeout=DEADLINE_SECONDS)
        assert (second["x-hermes-delivery"], same) == (first["x-hermes-delivery"], body)
        assert second["x-hermes-signature"] != first["x-hermes-signature"]


def test_a_callback_into_the_owners_network_is_refused_unless_he_names_the_host(gateway: Gateway) -> None:
    for url in ("http://127.0.0.1:9/", "https://127.0.0.1/", "https://169.254.169.254/", "file:///etc/passwd"):
        refused = gateway.client.post("/v1/runs", json={"input": "go", "callback_url": url})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_callback_url")
    assert gateway.client.get("/v1/runs").json()["data"] == []


def test_what_one_key_started_another_cannot_see_stop_or_continue(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("Mine.", hang=True))
    mine = start(gateway, session_id="mine")
    added = subprocess.run(
        [sys.executable, "-m", "hermes", "keys", "add", "other", "--scope", "chat"],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    if added.returncode != 0:
        pytest.skip(f"hermes keys: {added.stderr}")
    key = next(word for word in added.stdout.split() if word.startswith("hk_"))
    with closing(httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)) as other:
        for method, path in (
            ("GET", ""),
            ("GET", "/events"),
            ("POST", "/stop"),
            ("POST", "/steer"),
            ("POST", "/approval"),
        ):
            sent = {"input": "x", "choice": "once"} if method == "POST" else None
            refused = other.request(method, f"/v1/runs/{mine['run_id']}{path}", json=sent)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "run_not_found")
        assert other.get("/v1/runs").json()["data"] == []
        taken = other.post("/v1/runs", json={"input": "x", "session_id": "mine"})
        assert (taken.status_code, taken.json()["error"]["code"]) == (404, "session_not_found")
    gateway.client.post(f"/v1/runs/{mine['run_id']}/stop")
