"""`hermes db` beside and between real gateways: a backup under load, a restore, a move to a server and back."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support.postgres import postgres_database
from tests.support.waiting import eventually

pytestmark = pytest.mark.sqlite("each test runs on both by itself: a backup is an SQLite file")

DEADLINE_SECONDS = 60.0
CLIENTS = 3


@pytest.fixture
def server_url(postgres: str) -> Iterator[str]:
    with postgres_database(postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def gateway(request: pytest.FixtureRequest, start_gateway: StartGateway) -> Gateway:
    if request.param == "sqlite":
        return start_gateway()
    return start_gateway(database_url=request.getfixturevalue("server_url"))


@pytest.mark.slow
def test_a_backup_under_load_has_all_that_was_acknowledged_before_and_comes_back(
    gateway: Gateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    model.add(Step("Noted: {{user}}", times=0))
    chat(gateway.client, "first", "hello")
    acknowledged: list[list[str]] = [[] for _ in range(CLIENTS)]
    is_over = threading.Event()
    talking = [
        threading.Thread(target=talk_on, args=(gateway, place, acknowledged[place], is_over))
        for place in range(CLIENTS)
    ]
    for thread in talking:
        thread.start()
    try:
        eventually(lambda: all(len(said) >= 3 for said in acknowledged), DEADLINE_SECONDS)
        before = [list(said) for said in acknowledged]
        hermes(gateway, "backup", str(tmp_path / "one.db"))
        eventually(
            lambda: all(len(said) > len(old) for said, old in zip(acknowledged, before, strict=True)), DEADLINE_SECONDS
        )
        assert "is whole" in hermes(gateway, "check")  # while it is written, too
    finally:
        is_over.set()
        for thread in talking:
            thread.join()
    refused = hermes(gateway, "restore", str(tmp_path / "one.db"), "--force", code=1)
    assert "already runs" in refused
    gateway.stop()

    hermes(gateway, "restore", str(tmp_path / "one.db"), "--force")
    assert "is whole" in hermes(gateway, "check", "--full")
    gateway.start()
    for place, (old, said) in enumerate(zip(before, acknowledged, strict=True)):
        kept = messages(gateway, f"s{place}")
        asked = [text for text in kept if not text.startswith("Noted: ")]
        assert asked[: len(old)] == old  # all that was acknowledged when the backup began
        assert asked == said[: len(asked)]  # and then in order, nothing between left out, nothing twice
        assert all(f"Noted: {text}" in kept for text in old)
    chat(gateway.client, "s0", "after")
    assert messages(gateway, "s0")[-1] == "Noted: after"


def test_a_home_goes_to_a_server_with_its_open_runs_keys_files_and_search(
    start_gateway: StartGateway, model: ScriptedModelServer, server_url: str
) -> None:
    gateway = start_gateway()
    model.add(
        Step("The swordfish hangs in the hall."),
        Step("Half", hang=True),
        Step(tool_calls=(Call("terminal", {"command": "echo done"}),)),
        Step("Whole."),
    )
    chat(gateway.client, "old", "Where is the swordfish?")
    key = json.loads(run(gateway, "keys", "add", "bot", "--json"))["key"]
    uploaded = gateway.client.post(
        "/v1/files", files={"file": ("a.txt", b"swordfish\n" * 100_000)}, data={"purpose": "user_data"}
    )
    file_id = uploaded.raise_for_status().json()["id"]
    run_id = gateway.client.post("/v1/runs", json={"input": "go"}).raise_for_status().json()["run_id"]
    eventually(lambda: run_of(gateway, run_id)["last_event"] == "message.delta", DEADLINE_SECONDS)
    gateway.kill()

    told = hermes(gateway, "migrate", "--to", server_url)
    assert "rows, the same in both" in told
    gateway.environ["HERMES_DATABASE_URL"] = server_url
    (gateway.home / "state.db").rename(gateway.home / "left.db")
    for file in (gateway.home / "files").iterdir():
        file.unlink()
    gateway.start()
    done = eventually(lambda: (one := run_of(gateway, run_id))["status"] == "completed" and one, DEADLINE_SECONDS)
    assert (done["output"], done["resumed"]) == ("Whole.", 1)
    assert messages(gateway, "old") == [
        "Where is the swordfish?",
        "The swordfish hangs in the hall.",
    ]
    found = gateway.client.get("/api/sessions/search", params={"q": "swordfish"}).raise_for_status().json()["data"]
    assert {one["session_id"] for one in found} >= {"old"}
    content = gateway.client.get(f"/v1/files/{file_id}/content").raise_for_status().content
    assert content == b"swordfish\n" * 100_000
    theirs = gateway.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert theirs.status_code == 200
    assert "is whole" in hermes(gateway, "check")
    assert not (gateway.home / "state.db").exists()
    model.add(Step("Still there."))
    chat(gateway.client, "old", "And now?")
    assert len(messages(gateway, "old")) == 4

    assert "already runs" in hermes(gateway, "migrate", "--to", f"sqlite:///{gateway.home / 'state.db'}", code=1)
    gateway.stop()
    hermes(gateway, "migrate", "--to", f"sqlite:///{gateway.home / 'state.db'}")
    del gateway.environ["HERMES_DATABASE_URL"]
    gateway.start()
    assert len(messages(gateway, "old")) == 4
    assert gateway.client.get(f"/v1/files/{file_id}/content").raise_for_status().content == content


def talk_on(gateway: Gateway, place: int, acknowledged: list[str], is_over: threading.Event) -> None:
    with httpx.Client(base_url=gateway.url, headers=dict(gateway.client.headers), timeout=120) as client:
        while not is_over.is_set():
            text = f"{place}-{len(acknowledged)}"
            chat(client, f"s{place}", text)
            acknowledged.append(text)


def chat(client: httpx.Client, session_id: str, text: str) -> None:
    body = {"messages": [{"role": "user", "content": text}]}
    client.post("/v1/chat/completions", json=body, headers={"X-Hermes-Session-Id": session_id}).raise_for_status()


def messages(gateway: Gateway, session_id: str) -> list[str]:
    """What was said, as the gateway gives it a page at a time."""
    said: list[str] = []
    while True:
        page = {"limit": 200, "offset": len(said)}
        told = gateway.client.get(f"/api/sessions/{session_id}/messages", params=page).raise_for_status().json()["data"]
        said += [one["content"] for one in told]
        if len(told) < 200:
            return said


def run_of(gateway: Gateway, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get(f"/v1/runs/{run_id}").raise_for_status().json()
    return found


def hermes(gateway: Gateway, *arguments: str, code: int = 0) -> str:
    return run(gateway, "db", *arguments, code=code)


def run(gateway: Gateway, *arguments: str, code: int = 0) -> str:
    """What the command printed, in a process of its own with the gateway's environment."""
    done = subprocess.run(
        [sys.executable, "-m", "hermes", *arguments],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr
