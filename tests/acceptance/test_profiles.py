"""Two homes behind one listener: each answers to its own keys, and nobody can tell which others there are."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from hermes.home.env import read_env, set_env
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.support import waiting
from tests.support.crossing import crossed, make_one_of_each

ASK = {"messages": [{"role": "user", "content": "hello"}]}


def hermes(gateway: Gateway, *arguments: str, code: int = 0) -> str:
    own = {name: value for name, value in gateway.environ.items() if name != "API_SERVER_KEY"}
    command = [sys.executable, "-m", "hermes", *arguments]
    done = subprocess.run(command, env=own, cwd=gateway.workdir, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def profile(gateway: Gateway, name: str) -> Path:
    return gateway.home / "profiles" / name


def key_of(gateway: Gateway, name: str) -> str:
    return read_env(profile(gateway, name) / ".env")["API_SERVER_KEY"]


def client_of(gateway: Gateway, key: str, path: str = "") -> httpx.Client:
    return httpx.Client(base_url=gateway.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=20)


until = partial(waiting.eventually, seconds=10.0)


@pytest.fixture
def alice(gateway: Gateway) -> Iterator[httpx.Client]:
    """A profile with the same model, asked through the default's listener."""
    hermes(gateway, "profile", "create", "alice", "--clone")
    with client_of(gateway, key_of(gateway, "alice"), "/p/alice") as client:
        yield client


def test_a_profile_answers_to_its_own_keys_and_to_no_others(
    gateway: Gateway, alice: httpx.Client, model: ScriptedModelServer
) -> None:
    model.add(Step("Hello.", times=0))
    assert alice.get("/v1/models").json()["data"][0]["id"] == "alice"
    assert alice.post("/v1/chat/completions", json=ASK).status_code == 200
    assert gateway.client.get("/p/alice/v1/models").status_code == 401
    with client_of(gateway, key_of(gateway, "alice")) as at_the_default:
        assert at_the_default.get("/v1/models").status_code == 401
    assert gateway.client.get("/p/default/v1/models").json() == gateway.client.get("/v1/models").json()


def test_a_named_key_of_a_profile_opens_it_before_anybody_else_did(gateway: Gateway, alice: httpx.Client) -> None:
    named = json.loads(hermes(gateway, "keys", "add", "bot", "--scope", "read", "--profile", "alice", "--json"))
    assert gateway.client.get("/v1/models").status_code == 200
    with client_of(gateway, named["key"], "/p/alice") as bot:
        assert bot.get("/v1/models").status_code == 200
        assert bot.post("/v1/chat/completions", json=ASK).status_code == 403
        hermes(gateway, "-p", "alice", "keys", "revoke", "bot")
        assert bot.get("/v1/models").status_code == 401


@pytest.mark.slow
def test_whether_a_profile_is_there_is_told_to_nobody_without_its_key(gateway: Gateway, alice: httpx.Client) -> None:
    for name in ("closed", "keyless", "off"):
        hermes(gateway, "profile", "create", name)
    (profile(gateway, "keyless") / ".env").unlink()
    set_env(profile(gateway, "off") / ".env", "API_SERVER_ENABLED", "false")
    (profile(gateway, "linked")).symlink_to(profile(gateway, "alice"))

    anybody = httpx.Client(base_url=gateway.url)

    def heard(path: str, key: str | None, method: str = "GET") -> tuple[int, object, str]:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer = anybody.request(method, path, headers=headers)
        told = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
        return answer.status_code, told, answer.text

    names = ("alice", "closed", "keyless", "linked", "nobody", "UPPER", "..%2Falice", "a" * 70, "")
    for method, rest in (
        ("GET", "/v1/models"),
        ("POST", "/v1/runs"),
        ("OPTIONS", "/nothing"),
        ("GET", "/v1/runs/run_1"),
    ):
        for key in (None, "wrong", gateway.key):
            answers = [heard(f"/p/{name}{rest}", key, method) for name in names]
            assert answers[0][0] == 401
            assert [one for one in answers if one != answers[0]] == []
    single = [name for name in names if "/" not in name and "%" not in name]
    assert [heard(f"/p/{name}/health", None) for name in single] == [heard("/health", None)] * len(single)
    assert heard("/p/off/v1/models", key_of(gateway, "off"))[0] == 401
    assert heard("/p/linked/v1/models", key_of(gateway, "alice"))[0] == 401
    assert not (profile(gateway, "alice") / "state.db").exists()  # nobody with a key came
    anybody.close()


def test_wrong_keys_slow_down_over_all_profiles_together(gateway: Gateway, alice: httpx.Client) -> None:
    for number in range(12):
        httpx.get(f"{gateway.url}/p/nobody/v1/models", headers={"x-api-key": f"guess-{number}"})
    late = httpx.get(f"{gateway.url}/p/alice/v1/models", headers={"x-api-key": "guess-99"})
    assert late.status_code == 429
    assert alice.get("/v1/models").status_code == 200  # on loopback the right key never waits


@pytest.mark.slow
def test_what_is_of_one_profile_another_cannot_tell_from_what_nobody_has(
    gateway: Gateway, alice: httpx.Client, model: ScriptedModelServer
) -> None:
    model.add(Step("Hello.", times=0))
    of_alice, of_default = make_one_of_each(alice), make_one_of_each(gateway.client)
    problems = [one.problem() for one in (*crossed(gateway.client, of_alice), *crossed(alice, of_default))]
    assert [problem for problem in problems if problem is not None] == []


def test_the_environment_of_the_process_opens_no_other_profile(gateway: Gateway) -> None:
    """API_SERVER_KEY of this gateway is in its environment, which beats every .env, but for its own home alone."""
    hermes(gateway, "profile", "create", "bob")
    (profile(gateway, "bob") / ".env").unlink()
    assert gateway.client.get("/p/bob/v1/models").status_code == 401


def test_a_profile_whose_own_gateway_runs_is_there_and_says_so_to_its_own(
    gateway: Gateway, alice: httpx.Client
) -> None:
    environ = {name: value for name, value in gateway.environ.items() if not name.startswith("API_SERVER_")}
    own = Gateway(
        profile(gateway, "alice"),
        gateway.workdir,
        environ,
        key_of(gateway, "alice"),
        arguments=("-p", "alice", "gateway"),
    )
    environ |= {"API_SERVER_ENABLED": "true", "API_SERVER_PORT": "0"}
    own.start()
    try:
        until(lambda: own.url in alice.get("/v1/models").text)  # it says so once its start is over
        refused = alice.get("/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "profile_elsewhere")
        assert gateway.client.get("/p/alice/v1/models").status_code == 401
        assert own.stop() == 0
        assert alice.get("/v1/models").status_code == 200
        assert "runs" in hermes(gateway, "-p", "alice", "gateway", code=1)
    finally:
        own.close()


def test_an_open_profile_drains_and_closes_with_the_gateway(
    gateway: Gateway, alice: httpx.Client, model: ScriptedModelServer
) -> None:
    model.add(Step(["Hel", "lo."], delay_ms=300, times=0))
    with alice.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        assert "data: [DONE]" in list(lines)
    assert gateway.process.wait(15) == 0
    assert sorted(path.name for path in profile(gateway, "alice").glob("state.db*")) == ["state.db"]
    assert gateway.errors == ""
    shutil.rmtree(profile(gateway, "alice"))  # nothing holds it any more


def test_commands_of_a_profile_reach_it_through_the_default_gateway(gateway: Gateway, alice: httpx.Client) -> None:
    assert alice.get("/v1/models").status_code == 200
    shown = json.loads(hermes(gateway, "profile", "show", "alice", "--json"))
    assert shown["url"] == f"{gateway.url}/p/alice"


def test_an_open_profile_that_nobody_uses_is_renamed_and_deleted_while_the_gateway_runs(
    gateway: Gateway, alice: httpx.Client, model: ScriptedModelServer
) -> None:
    model.add(Step("Hello.", times=0))
    assert alice.post("/v1/chat/completions", json=ASK).status_code == 200
    key = key_of(gateway, "alice")
    hermes(gateway, "profile", "rename", "alice", "bob")
    assert alice.get("/v1/models").status_code == 401
    with client_of(gateway, key, "/p/bob") as bob:
        assert bob.post("/v1/chat/completions", json=ASK).status_code == 200
        assert bob.get("/v1/models").json()["data"][0]["id"] == "bob"
        hermes(gateway, "profile", "delete", "bob")
        assert bob.get("/v1/models").status_code == 401
    assert gateway.errors == ""


def test_an_open_profile_that_is_at_work_stays_where_it_is(
    gateway: Gateway, alice: httpx.Client, model: ScriptedModelServer
) -> None:
    model.add(Step("Hello.", times=0, delay_ms=60_000))
    run = alice.post("/v1/runs", json={"input": "hello"}).json()["run_id"]
    assert "is at work" in hermes(gateway, "profile", "rename", "alice", "bob", code=1)
    assert "is at work" in hermes(gateway, "profile", "delete", "alice", code=1)
    assert alice.get(f"/v1/runs/{run}").json()["status"] == "running"
    assert alice.post(f"/v1/runs/{run}/stop", json={}).status_code == 200
    until(lambda: alice.get(f"/v1/runs/{run}").json()["status"] == "cancelled")
    hermes(gateway, "profile", "delete", "alice")
