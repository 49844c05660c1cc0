"""A PostgreSQL that stops, starts, is full or lets nobody in: what is asked meanwhile waits or is told in words."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting
from tests.support.load import load_on
from tests.support.postgres_control import ControlledServer, controlled_server

DEADLINE_SECONDS = 40.0

eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


@pytest.fixture(scope="module")
def server() -> Iterator[ControlledServer]:
    with controlled_server() as server:
        yield server


@pytest.fixture
def database(server: ControlledServer) -> Iterator[str]:
    server.execute("CREATE DATABASE faults")
    yield server.database("faults")
    server.execute("DROP DATABASE faults WITH (FORCE)")


@pytest.fixture
def gateway(start_gateway: StartGateway, database: str) -> Gateway:
    return start_gateway({"database": {"url": database}})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_under_load_costs_nothing_but_time(
    gateway: Gateway, server: ControlledServer, model: ScriptedModelServer, mode: str
) -> None:
    """A run with a tool counts how often it was carried out: never twice."""
    mark = Call("terminal", {"command": "echo {{1}} >> marks"})
    model.add(Step(when=r"^count (\S+)", after_tool=False, tool_calls=(mark,), times=0))
    model.add(Step("word " * 50, times=0, delay_ms=2))
    with load_on(gateway.url, gateway.key, kinds=("chats", "streams", "starts", "counts")) as load:
        for _ in range(2):
            eventually(lambda: load.has("chat ok", "stream ok", "run ok", "count ok"))
            server.stop(mode)
            server.start()
            load.forget()
    assert load.broken == []
    told = {
        "chat 503 store_unavailable",
        "stream 503 store_unavailable",
        "stream cut store_unavailable",
        "run 503 store_unavailable",
        "count 503 store_unavailable",
    }
    if mode == "immediate":  # nobody waited for the commit with which a plain chat began: the crash took it along
        told |= {"chat 404 run_not_found", "stream 404 run_not_found", "stream cut run_not_found"}
    assert {one for one in load.told if "ok" not in one} <= told
    assert load.kept and load.runs
    lost = load.missing()  # a plain chat's commit is not waited for, so that a crash may take the last of them
    assert lost == [] if mode == "fast" else [one for one in lost if one[0] == "run"] == []
    eventually(lambda: load.unended() == [])
    marks = (gateway.workdir / "marks").read_text().split()
    assert len(marks) == len(set(marks))
    assert gateway.client.post("/v1/chat/completions", json=chat("after")).status_code == 200


def chat(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.slow
def test_a_start_waits_for_a_server_that_comes_a_little_later(
    tmp_path: Path, start_gateway: StartGateway, server: ControlledServer, database: str, model: ScriptedModelServer
) -> None:
    model.add(Step("Good morning."))
    server.stop("fast")
    errors = tmp_path / "home1" / "gateway.stderr"

    def come_later() -> None:
        try:
            eventually(lambda: errors.exists() and "waiting for it up to" in errors.read_text())
        finally:
            server.start()

    coming = threading.Thread(target=come_later)
    coming.start()
    gateway = start_gateway({"database": {"url": database}})
    coming.join()
    answer = gateway.client.post("/v1/chat/completions", json=chat("hello")).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == "Good morning."
    assert gateway.errors.count("waiting for it up to") <= 3  # it is away, it is starting
    assert "Traceback" not in gateway.errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statements", "url", "told"),
    [
        ((), "absent", "Make it (createuser, createdb --owner)"),
        (("CREATE ROLE guest LOGIN",), "guest", "Its owner must be the user of database.url"),
        (("ALTER DATABASE faults SET default_transaction_read_only = on",), "faults", "name the primary"),
        (("ALTER DATABASE faults CONNECTION LIMIT 0", "CREATE ROLE crowd LOGIN"), "crowd", "Raise max_connections"),
        (("CREATE ROLE nobody NOLOGIN",), "nobody", "Mend user or password in database.url"),
    ],
    ids=["missing", "not ours", "standby", "too many", "no login"],
)
def test_a_server_that_will_not_do_is_named_with_the_way_out(
    server: ControlledServer, database: str, statements: tuple[str, ...], url: str, told: str, tmp_path: Path
) -> None:
    server.execute(*statements)
    try:
        user = url if url in ("guest", "crowd", "nobody") else None
        place = server.database("absent" if url == "absent" else "faults", user=user)
        home = {"HERMES_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "API_SERVER_PORT": "0"}
        for command in (["gateway"], ["sessions", "list"]):
            done = subprocess.run(
                [sys.executable, "-m", "hermes", *command],
                env={**os.environ, **home, "HERMES_DATABASE_URL": place},
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
            )
            assert (done.returncode, told in done.stderr) == (1, True), done.stderr
            assert "Traceback" not in done.stderr and "listening" not in done.stdout
    finally:
        server.execute(*(f"DROP ROLE IF EXISTS {role}" for role in ("guest", "crowd", "nobody")))
