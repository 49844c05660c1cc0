"""A gateway whose data is in PostgreSQL: the same program, the same promises."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest

from hermes.home.env import read_env
from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from hermes.store import facts
from hermes.store.database import Database
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

DEADLINE_SECONDS = 20.0
USER = [{"role": "user", "content": "go"}]


@pytest.fixture
def gateway(start_gateway: StartGateway, postgres_url: str) -> Gateway:
    return start_gateway({"database": {"url": postgres_url}})


def test_chats_sessions_search_and_chains_work(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("A green door."), Step("Twice green."), Step("And once more."))
    chat = {"messages": [{"role": "user", "content": "Which door?"}]}
    told = gateway.client.post("/v1/chat/completions", json=chat, headers={"X-Hermes-Session-Id": "mine"})
    assert told.json()["choices"][0]["message"]["content"] == "A green door."
    first = gateway.client.post("/v1/responses", json={"input": "again"}).raise_for_status().json()
    body = {"input": "and again", "previous_response_id": first["id"]}
    assert gateway.client.post("/v1/responses", json=body).raise_for_status().json()["status"] == "completed"
    said = [(one["role"], one["content"]) for one in model.requests[-1]["messages"][1:]]
    assert said == [("user", "again"), ("assistant", "Twice green."), ("user", "and again")]
    listed = gateway.client.get("/api/sessions").raise_for_status().json()["data"]
    assert {one["id"] for one in listed} >= {"mine"}
    found = gateway.client.get("/api/sessions/search", params={"q": "green door"}).raise_for_status().json()["data"]
    assert [one["session_id"] for one in found] == ["mine"]
    assert not (gateway.home / "state.db").exists()


def test_a_killed_gateway_goes_on_with_its_runs(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("Half", hang=True), Step(tool_calls=(Call("terminal", {"command": "echo done"}),)), Step("Whole."))
    run_id = gateway.client.post("/v1/runs", json={"input": "go"}).raise_for_status().json()["run_id"]
    eventually(lambda: run_of(gateway, run_id)["last_event"] == "message.delta")
    gateway.kill()
    gateway.start()
    run = eventually(lambda: (one := run_of(gateway, run_id))["status"] == "completed" and one)
    assert (run["output"], run["resumed"]) == ("Whole.", 1)
    names = [one["event"] for one in events_of(gateway, run_id) if one["event"] != "message.delta"]
    assert names == ["run.started", "run.resumed", "tool.started", "tool.completed", "run.completed"]


def test_a_server_that_ends_all_connections_costs_nothing_but_time(
    gateway: Gateway, model: ScriptedModelServer, postgres: str
) -> None:
    model.add(Step("Noted: {{user}}", times=0))
    kept: list[str] = []
    with psycopg.connect(postgres, autocommit=True) as conn:
        for number in range(12):
            if number % 3 == 1:
                conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hermes'")
            chat = {"messages": [{"role": "user", "content": f"number {number}"}]}
            told = gateway.client.post("/v1/chat/completions", json=chat, headers={"X-Hermes-Session-Id": "mine"})
            if told.status_code == 200:
                kept.append(f"number {number}")
            else:  # the connection broke while COMMIT was under way: said to be unknown, never said to be kept
                assert told.json()["error"]["code"] == "store_unavailable"
    messages = (
        gateway.client.get("/api/sessions/mine/messages", params={"limit": 100}).raise_for_status().json()["data"]
    )
    said = [one["content"] for one in messages if one["role"] == "user"]
    assert [text for text in said if text in kept] == kept
    assert len(kept) >= 8


def test_a_server_that_is_not_there_is_said_and_no_password_with_it(start_gateway: StartGateway) -> None:
    url = "postgresql://hermes:top-secret-word@127.0.0.1:1/hermes"
    with pytest.raises(AssertionError, match=r"did not start: .*127\.0\.0\.1:1/hermes cannot be reached") as caught:
        start_gateway({"database": {"url": url}})
    assert "top-secret-word" not in str(caught.value)


def hermes(gateway: Gateway, *arguments: str) -> tuple[int, str]:
    """The exit code, and what it said."""
    own = {name: value for name, value in gateway.environ.items() if not name.startswith("API_SERVER_")}
    command = [sys.executable, "-m", "hermes", *arguments]
    done = subprocess.run(command, env=own, cwd=gateway.workdir, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def run_of(gateway: Gateway, run_id: str) -> dict[str, Any]:
    return gateway.client.get(f"/v1/runs/{run_id}").raise_for_status().json()


def events_of(gateway: Gateway, run_id: str) -> list[dict[str, Any]]:
    text = httpx.get(
        f"{gateway.url}/v1/runs/{run_id}/events", headers={"Authorization": f"Bearer {gateway.key}"}, timeout=20
    ).text
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


def test_another_profile_is_refused_on_the_database_of_the_first(
    start_gateway: StartGateway, postgres_url: str
) -> None:
    """HERMES_DATABASE_URL speaks for every command; it must not make two profiles one."""
    gateway = start_gateway(environ={"HERMES_DATABASE_URL": postgres_url})
    assert hermes(gateway, "profile", "create", "alice", "--clone")[0] == 0
    code, said = hermes(gateway, "-p", "alice", "gateway")
    assert (code, "has the data of the profile 'default'" in said) == (2, True), said
    assert "hermes -p alice config set database.url" in said
    code, said = hermes(gateway, "-p", "alice", "sessions", "list")
    assert (code, "has the data of the profile 'default'" in said) == (2, True), said
    assert hermes(gateway, "sessions", "list")[0] == 0
    with httpx.Client(base_url=f"{gateway.url}/p/alice", timeout=20) as alice:
        key = read_env(gateway.home / "profiles" / "alice" / ".env")["API_SERVER_KEY"]
        assert alice.get("/api/sessions", headers={"Authorization": f"Bearer {key}"}).json()["data"] == []
    assert (gateway.home / "profiles" / "alice" / "state.db").exists()  # behind the same door it has its own


def test_a_renamed_profile_takes_its_database_along(start_gateway: StartGateway, postgres_url: str) -> None:
    gateway = start_gateway()
    for words in (("profile", "create", "alice"), ("-p", "alice", "config", "set", "database.url", postgres_url)):
        assert hermes(gateway, *words)[0] == 0
    database = Database.open_now(postgres_url)
    database.write_now(facts.belongs_to, "alice")
    assert hermes(gateway, "profile", "rename", "alice", "bob")[0] == 0
    assert database.read_now(facts.get, facts.PROFILE) == "bob"
    database.close_now()
    assert hermes(gateway, "-p", "bob", "sessions", "list")[0] == 0
