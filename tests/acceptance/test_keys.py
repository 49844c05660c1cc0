"""Named keys and the owner's, changed by `hermes keys` in a second process while the gateway answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support.crossing import crossed, make_one_of_each

ASK = {"messages": [{"role": "user", "content": "hello"}]}


def hermes(gateway: Gateway, *arguments: str, code: int = 0, **environ: str) -> str:
    """A second process, whose environment does not hold the gateway's key."""
    own = {name: value for name, value in gateway.environ.items() if name != "API_SERVER_KEY"}
    done = subprocess.run(
        [sys.executable, "-m", "hermes", *arguments],
        env=own | environ,
        cwd=gateway.workdir,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def made(gateway: Gateway, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hermes(gateway, "keys", *arguments, "--json"))
    return found


def listed(gateway: Gateway, name: str) -> dict[str, Any]:
    return next(key for key in json.loads(hermes(gateway, "keys", "list", "--json")) if key["name"] == name)


def with_key(gateway: Gateway, key: str) -> httpx.Client:
    return httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=20)


def cut_of(gateway: Gateway, key: str, path: str, act: Any) -> tuple[str, float]:
    """What a stream of this key still said after its first line, and how many seconds after `act` it ended."""
    with with_key(gateway, key) as client, client.stream("GET", path) as stream:
        lines = stream.iter_lines()
        first = next(lines)
        worked = threading.Event()
        ended: list[float] = []

        def change() -> None:
            act()
            ended.append(time.monotonic())
            worked.set()

        threading.Thread(target=change).start()
        rest = "\n".join([first, *lines])
        worked.wait(30)
        return rest, time.monotonic() - ended[0]


@pytest.fixture
def owned(start_gateway: StartGateway) -> Gateway:
    """Its owner's key lies in .env, and not in its environment."""
    gateway = start_gateway({}, {})
    gateway.kill()
    del gateway.environ["API_SERVER_KEY"]
    (gateway.home / ".env").write_text(f"# mine\nAPI_SERVER_KEY={gateway.key}\n")
    (gateway.home / ".env").chmod(0o600)
    return gateway.start()


@pytest.mark.slow
def test_a_key_works_on_the_next_request_and_a_revoked_one_no_more(gateway: Gateway) -> None:
    key = made(gateway, "add", "bot", "--scope", "read")
    assert key["key"].startswith("hk_")
    assert len(key["key"]) >= 3 + 32
    assert key["id"].removeprefix("key_") not in key["key"]
    with with_key(gateway, key["key"]) as client:
        assert client.get("/v1/models").status_code == 200
        refused = client.post("/v1/chat/completions", json=ASK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
        hermes(gateway, "keys", "revoke", "bot")
        assert client.get("/v1/models").status_code == 401
    assert listed(gateway, "bot")["revoked_at"] is not None
    again = made(gateway, "add", "bot")
    assert again["id"] != key["id"]
    holders = [path for path in gateway.home.rglob("*") if path.is_file() and key["key"].encode() in path.read_bytes()]
    assert holders == []


def test_an_open_stream_ends_within_a_second_of_the_revocation(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(hang="before", times=0))
    key = made(gateway, "add", "watcher")["key"]
    with with_key(gateway, key) as client:
        run_id = client.post("/v1/runs", json={"input": "wait"}).json()["run_id"]
    said, seconds = cut_of(
        gateway, key, f"/v1/runs/{run_id}/events", lambda: hermes(gateway, "keys", "revoke", "watcher")
    )
    assert seconds < 1.0
    assert '"code":"invalid_api_key"' in said


def test_a_rotated_key_keeps_what_it_made_and_ends_the_streams_of_its_old_value(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(hang="before", times=0))
    old = made(gateway, "add", "bot")
    with with_key(gateway, old["key"]) as client:
        run_id = client.post("/v1/runs", json={"input": "wait"}).json()["run_id"]
    new: list[dict[str, Any]] = []
    _, seconds = cut_of(
        gateway, old["key"], f"/v1/runs/{run_id}/events", lambda: new.append(made(gateway, "rotate", "bot"))
    )
    assert seconds < 1.0
    assert new[0]["id"] == old["id"]
    with with_key(gateway, old["key"]) as client:
        assert client.get("/v1/models").status_code == 401
    with with_key(gateway, new[0]["key"]) as client:
        assert client.get(f"/v1/runs/{run_id}").status_code == 200


def test_rotating_the_owner_writes_env_and_needs_no_restart(owned: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(hang="before", times=0))
    run_id = owned.client.post("/v1/runs", json={"input": "wait"}).json()["run_id"]
    rotated: list[dict[str, Any]] = []
    said, seconds = cut_of(
        owned, owned.key, f"/v1/runs/{run_id}/events", lambda: rotated.append(made(owned, "rotate", "owner"))
    )
    assert seconds < 1.5  # `rotate` looks whether the gateway took it before it returns
    assert "invalid_api_key" in said
    new = rotated[0]["key"]
    assert (owned.home / ".env").read_text() == f"# mine\nAPI_SERVER_KEY={new}\n"
    assert owned.client.get("/v1/models").status_code == 401
    with with_key(owned, new) as client:
        assert client.get(f"/v1/runs/{run_id}").json()["run_id"] == run_id
    assert new not in owned.errors + "".join(owned.output)
    assert new not in (owned.home / "logs" / "gateway.log").read_text()


def test_a_key_from_the_environment_is_said_not_to_rotate(gateway: Gateway) -> None:
    refused = hermes(gateway, "keys", "rotate", "owner", code=2, API_SERVER_KEY=gateway.key)
    assert "is set in the environment, which beats .env" in refused
    told = hermes(gateway, "keys", "rotate", "owner", code=1)
    assert "its API_SERVER_KEY comes from the environment it was started with" in told
    assert gateway.client.get("/v1/models").status_code == 200


def test_a_key_past_its_budget_starts_no_run_and_still_reads(gateway: Gateway, model: ScriptedModelServer) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.75}
    model.add(Step("one", usage=usage), Step("two", usage=usage))
    key = made(gateway, "add", "guest", "--budget-usd", "1")
    with with_key(gateway, key["key"]) as client:
        first = client.post("/v1/chat/completions", json=ASK, headers={"Idempotency-Key": "first"})
        assert first.status_code == 200
        assert "max_usd" in first.headers["x-hermes-warnings"]  # the price is the provider's word alone
        assert client.post("/v1/chat/completions", json=ASK).status_code == 200
        for path, body in (("/v1/chat/completions", ASK), ("/v1/runs", {"input": "hello"})):
            refused = client.post(path, json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
            assert refused.headers["x-should-retry"] == "false"
        assert client.get("/v1/models").status_code == 200
        repeated = client.post("/v1/chat/completions", json=ASK, headers={"Idempotency-Key": "first"})
        assert (repeated.status_code, repeated.headers["idempotency-replayed"]) == (200, "true")
    assert listed(gateway, "guest")["spent_usd"] == pytest.approx(1.5)
    assert "1.5000 / 1" in hermes(gateway, "keys", "list")


def test_what_was_changed_is_in_the_audit_log_without_a_secret(gateway: Gateway) -> None:
    keys = [made(gateway, "add", "bot")["key"], made(gateway, "rotate", "bot")["key"]]
    hermes(gateway, "keys", "revoke", "bot")
    told = hermes(gateway, "keys", "audit", "--json")
    assert [(one["actor"], one["action"], one["subject"]) for one in json.loads(told)] == [
        ("cli", "key.added", "bot"),
        ("cli", "key.rotated", "bot"),
        ("cli", "key.revoked", "bot"),
    ]
    assert not any(key in told for key in keys)


@pytest.mark.slow
def test_what_one_key_made_another_cannot_tell_from_what_nobody_made(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step("Hello.", times=0))
    first, second = (made(gateway, "add", name, "--scope", "admin")["key"] for name in ("first", "second"))
    with with_key(gateway, first) as mine, with_key(gateway, second) as theirs:
        ids = make_one_of_each(mine)
        for outsider in (theirs, gateway.client):
            assert [found for one in crossed(outsider, ids) if (found := one.problem()) is not None] == []
        lists = ("/v1/runs", "/api/sessions?include_stateless=true", "/v1/files", "/api/jobs?include_disabled=true")
        for path in lists:
            assert not any(one in theirs.get(path).text for one in ids.values()), path
            assert any(one in mine.get(path).text for one in ids.values()), path


def test_a_websocket_closes_within_a_second_of_the_revocation(gateway: Gateway) -> None:
    key = made(gateway, "add", "talker")["key"]
    address = gateway.url.replace("http://", "ws://") + "/v1/responses"
    with connect(address, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
        hermes(gateway, "keys", "revoke", "talker")
        began = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(timeout=10)
    assert time.monotonic() - began < 1.0
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
