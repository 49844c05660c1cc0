"""What was one process's own and is every node's now: files, jobs, webhooks, named keys."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from hermes.home.env import read_env
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartNodes
from tests.support import waiting

DEADLINE_SECONDS = 40.0
CONFIG = {"api_server": {"callback_hosts": ["127.0.0.1"]}}
eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


@contextmanager
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Its URL, and headers (names in lower case) and bodies of what came."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/told", got
    finally:
        server.shutdown()
        server.server_close()


def test_a_file_that_one_node_took_is_read_given_to_the_model_and_deleted_by_another(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    one, two = start_nodes(2)
    data = random.Random(1).randbytes(3 << 20)
    made = one.client.post("/v1/files", files={"file": ("a.bin", data)}, data={"purpose": "user_data"}).json()
    assert [file["id"] for file in two.client.get("/v1/files").json()["data"]] == [made["id"]]
    whole = two.client.get(f"/v1/files/{made['id']}/content")
    assert (whole.content == data, whole.headers["etag"]) == (True, f'"{hashlib.sha256(data).hexdigest()}"')
    part = two.client.get(f"/v1/files/{made['id']}/content", headers={"Range": "bytes=1000000-1000009"})
    assert (part.status_code, part.content) == (206, data[1_000_000:1_000_010])
    plan = {"file": ("plan.txt", b"the plan is green")}
    told = one.client.post("/v1/files", files=plan, data={"purpose": "user_data"})
    model.add(Step("Green."))
    said = [{"type": "file", "file": {"file_id": told.json()["id"]}}, {"type": "text", "text": "Which colour?"}]
    two.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": said}]}).raise_for_status()
    assert "the plan is green" in str(model.requests[-1])
    assert two.client.delete(f"/v1/files/{made['id']}").status_code == 200
    assert one.client.get(f"/v1/files/{made['id']}/content").status_code == 404
    assert [path.name for node in (one, two) for path in (node.home / "files").iterdir()] == []


def history(node: Gateway, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = node.client.get(f"/api/jobs/{job_id}/runs").json()["runs"]
    return found


@pytest.mark.slow
def test_due_times_fire_once_over_nodes_one_of_which_is_killed(
    start_nodes: StartNodes, model: ScriptedModelServer
) -> None:
    one, two, three = start_nodes(3)
    model.add(*[Step(f"Done {number}.") for number in range(60)])
    jobs = []
    for number in range(12):
        node = (one, two, three)[number % 3]
        made = node.client.post("/api/jobs", json={"schedule": "6s", "prompt": "Say it", "name": f"job {number}"})
        jobs.append(made.raise_for_status().json()["job"]["id"])
    eventually(lambda: any(history(one, job) for job in jobs))
    three.kill()

    def all_done() -> bool:
        return all((runs := history(two, job)) and runs[0]["status"] == "completed" for job in jobs)

    eventually(all_done)
    entries = [entry for job in jobs for entry in history(one, job)]
    assert len(entries) == len({entry["run_id"] for entry in entries}) == 12
    shown = [node.client.get("/api/jobs?include_disabled=true").json()["jobs"] for node in (one, two)]
    assert shown[0] == shown[1]
    assert {job["state"] for job in shown[0]} == {"completed"}


def test_each_end_is_told_once_and_all_nodes_sign_alike(start_nodes: StartNodes, model: ScriptedModelServer) -> None:
    one, two = start_nodes(2, CONFIG)
    model.add(*[Step(f"Done {number}.") for number in range(8)])
    with receiver() as (url, got):
        for number in range(6):
            asked = {"input": "go", "callback_url": url}
            (one, two)[number % 2].client.post("/v1/runs", json=asked).raise_for_status()
        eventually(lambda: len(got) >= 6)
        made = one.client.post("/api/jobs", json={"schedule": "1s", "prompt": "Say it", "deliver": f"webhook:{url}"})
        job_id = made.raise_for_status().json()["job"]["id"]
        eventually(lambda: (runs := history(two, job_id)) and runs[0]["delivery"]["state"] == "delivered")
    secrets = {read_env(node.home / ".env").get("API_SERVER_CALLBACK_SECRET") for node in (one, two)} - {None}
    assert len(secrets) == 1
    secret = str(secrets.pop()).encode()
    assert len(got) == len({headers["x-hermes-delivery"] for headers, _ in got}) == 7
    for headers, body in got:
        mac = hmac.new(secret, headers["x-hermes-timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
        assert headers["x-hermes-signature"] == f"sha256={mac}"


def test_a_key_that_one_node_made_opens_another_until_it_is_revoked_there(start_nodes: StartNodes) -> None:
    one, two = start_nodes(2)
    made = hermes(one, "keys", "add", "bot")
    key = next(word for word in made.split() if word.startswith("hk_"))
    with httpx.Client(base_url=two.url, headers={"Authorization": f"Bearer {key}"}, timeout=20) as bot:
        assert bot.get("/v1/models").status_code == 200
        hermes(one, "keys", "revoke", "bot")
        assert bot.get("/v1/models").status_code == 401


def hermes(gateway: Gateway, *arguments: str) -> str:
    command = [sys.executable, "-m", "hermes", *arguments]
    done = subprocess.run(command, env=gateway.environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
