"""Several processes on one SQLite home: a gateway under load, commands, a script. None waits long or loses anything."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.support import waiting
from tests.support.load import load_on

pytestmark = pytest.mark.sqlite("processes on one file")

DEADLINE_SECONDS = 40.0
WRITE_SECONDS = 4.0
"""What a write of another process may take beside a gateway under load; on an idle machine it takes milliseconds."""

WRITES = """
import sys, time
from hermes.core.session import Session
from hermes.store import sessions
from hermes.store.database import Database

database = Database.open_now(f"sqlite:///{sys.argv[1]}")
for number in range(int(sys.argv[3])):
    began = time.monotonic()
    session = Session(id=f"{sys.argv[2]}-{number}", owner="owner", source="test", started_at=1.0, last_active=1.0)
    database.write_now(sessions.create, session, durable=True)
    print(time.monotonic() - began, flush=True)
database.close_now()
"""

SCRIPT = """
import sys
from run_agent import AIAgent

agent = AIAgent(store=sys.argv[1], model="scripted", base_url=sys.argv[2], api_key="k", session_id="of-a-script")
for number in range(3):
    print(agent.chat(f"number {number}"))
"""

eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


@pytest.mark.slow
def test_commands_and_scripts_work_beside_a_gateway_under_load(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step("word " * 50, times=0))
    file = str(gateway.home / "state.db")
    with load_on(gateway.url, gateway.key, kinds=("chats", "streams", "starts")) as load:
        eventually(lambda: load.has("chat ok", "stream ok", "run ok"))
        seconds = [float(line) for line in python(gateway, WRITES, file, "beside", "10").splitlines()]
        assert max(seconds) < WRITE_SECONDS
        assert python(gateway, SCRIPT, file, model.base_url).count("word") == 150
        for command in (
            ("sessions", "list"),
            ("sessions", "show", "session-0-0"),
            ("runs", "list"),
            ("cron", "create", "daily at 9am", "Say hello"),
            ("cron", "list"),
            ("keys", "add", "guest"),
            ("keys", "list"),
            ("config", "set", "API_SERVER_CORS_ORIGINS", "https://a.example"),
            ("db", "check"),
            ("status",),
        ):
            hermes(gateway, *command)
        second = subprocess.run(
            [sys.executable, "-m", "hermes", "gateway"],
            env=gateway.environ | {"API_SERVER_PORT": "0"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        assert second.returncode == 1
        assert f"already runs at {gateway.url} (pid {gateway.pid}); use that one, stop it with:" in second.stderr
    assert load.broken == []
    assert [told for told in load.told if "ok" not in told] == []
    assert load.missing() == []
    shown = hermes(gateway, "sessions", "show", "of-a-script")
    assert [f"number {number}" in shown for number in range(3)] == [True] * 3
    assert gateway.client.get("/api/sessions/beside-9").status_code == 200


@pytest.mark.slow
def test_eight_processes_that_hammer_one_file_lose_no_row(gateway: Gateway) -> None:
    file = str(gateway.home / "state.db")
    children = [
        subprocess.Popen([sys.executable, "-c", WRITES, file, name, "60"], stdout=subprocess.PIPE, text=True)
        for name in "abcdefgh"
    ]
    said = [child.communicate(timeout=DEADLINE_SECONDS)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 8
    assert [len(lines.splitlines()) for lines in said] == [60] * 8
    found = [
        gateway.client.get(f"/api/sessions/{name}-{number}").status_code for name in "abcdefgh" for number in (0, 59)
    ]
    assert found == [200] * 16
    assert "Nothing is wrong" in hermes(gateway, "doctor", "--offline")


def test_the_lock_of_a_killed_gateway_holds_nobody_up(gateway: Gateway) -> None:
    gateway.kill()
    assert (gateway.home / "run" / "gateway.pid").read_text()
    began = time.monotonic()
    gateway.start()
    assert gateway.client.get("/health").status_code == 200
    assert time.monotonic() - began < DEADLINE_SECONDS


def test_a_gateway_leaves_the_run_of_a_living_script_alone_and_ends_that_of_a_killed_one(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    gateway.stop()
    model.add(Step("Half of the", hang=True))
    file = str(gateway.home / "state.db")
    with subprocess.Popen([sys.executable, "-c", SCRIPT, file, model.base_url], env=gateway.environ) as script:
        eventually(lambda: model.requests)
        gateway.start()
        model.add(Step("Mine."))
        body = {"messages": [{"role": "user", "content": "hello"}]}
        gateway.client.post("/v1/chat/completions", json=body).raise_for_status()
        (run,) = gateway.client.get("/v1/runs", params={"session_id": "of-a-script"}).raise_for_status().json()["data"]
        assert run["status"] == "running"
        script.kill()
    ended = eventually(
        lambda: (one := gateway.client.get(f"/v1/runs/{run['run_id']}").json())["status"] != "running" and one
    )
    assert ended["status"] == "interrupted"
    assert len(model.requests) == 2


def hermes(gateway: Gateway, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hermes", *arguments],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def python(gateway: Gateway, script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=gateway.environ,
        cwd=Path(gateway.workdir),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
