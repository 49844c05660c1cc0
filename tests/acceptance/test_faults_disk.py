"""A disk that is full or read-only, for real: the gateway says it, loses nothing that it acknowledged, and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway
from tests.support import waiting
from tests.support.disks import Disk, failing_disk, small_disk
from tests.support.load import load_on

pytestmark = pytest.mark.sqlite("the disk under the file of a home")

DEADLINE_SECONDS = 30.0
WAYS_OUT = "free some disk space"

eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


@pytest.fixture
def stopped(tmp_path: Path, model: ScriptedModelServer) -> Iterator[Gateway]:
    """A gateway with a home on a disk of its own, not started yet. Its config.yaml is one that a person wrote."""
    gateway = make_gateway(tmp_path, model)
    config = f"model:\n  default: scripted  # kept\n  provider: custom\n  base_url: {model.base_url}\n"
    (gateway.home / "config.yaml").write_text(config)
    yield gateway
    gateway.close()


@pytest.fixture
def disk(stopped: Gateway) -> Iterator[Disk]:
    with small_disk(stopped.home, 24) as disk:
        stopped.prefix = disk.prefix
        yield disk
        stopped.close()


@pytest.fixture
def gateway(stopped: Gateway, disk: Disk) -> Gateway:
    return stopped.start()


@pytest.mark.slow
def test_a_disk_that_becomes_full_under_load_loses_nothing_and_is_over_when_there_is_room(
    gateway: Gateway, disk: Disk, model: ScriptedModelServer
) -> None:
    model.add(Step("word " * 100, times=0, delay_ms=2))
    with load_on(gateway.url, gateway.key) as load:
        eventually(lambda: load.has("chat ok", "stream ok", "run ok", "file ok"))
        load.forget()
        disk.fill()
        refused = "503 store_unavailable"
        eventually(lambda: load.has(f"chat {refused}", f"stream {refused}", f"run {refused}", f"file {refused}"))
        assert all(WAYS_OUT in message for message in load.messages), load.messages
        health = gateway.client.get("/health/detailed").json()["readiness"]
        assert (health["status"], health["checks"]["disk"]["status"]) == ("degraded", "degraded")
        assert gateway.client.get("/health").status_code == 200
        job = gateway.client.post("/api/jobs", json={"name": "j", "schedule": "every 1h", "prompt": "x" * 5000})
        assert (job.status_code, WAYS_OUT in job.json()["detail"]) == (503, True)

        disk.free()
        load.forget()
        eventually(lambda: load.has("chat ok", "stream ok", "run ok", "file ok"))
        assert gateway.client.post("/api/jobs", json=job_body()).status_code == 200
    assert load.broken == []
    eventually(lambda: load.unended() == [])
    assert load.kept and load.runs and load.missing() == []
    assert len(gateway.errors) < 100_000
    assert_readable(disk.inside / "logs" / "gateway.log")
    assert_readable(disk.inside / "logs" / "access.log")
    assert gateway.stop() == 0


def test_a_stream_that_meets_a_full_disk_ends_with_that_word(
    gateway: Gateway, disk: Disk, model: ScriptedModelServer
) -> None:
    model.add(Step("word " * 5000, delay_ms=5), Step("Good again."))
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if "word" in line)
        disk.fill()
        rest = [line for line in lines if line.startswith("data: ")]
    error = json.loads(rest[-1][6:])["error"]
    assert (error["code"], WAYS_OUT in error["message"]) == ("store_unavailable", True)
    disk.free()
    body = {"messages": [{"role": "user", "content": "again"}]}
    again = gateway.client.post("/v1/chat/completions", json=body).raise_for_status().json()
    assert again["choices"][0]["message"]["content"] == "Good again."


def test_settings_on_a_full_disk_stay_as_they_were(stopped: Gateway, disk: Disk) -> None:
    hermes(stopped, "config", "set", "API_SERVER_CORS_ORIGINS", "https://a.example")
    files = {name: (disk.inside / name).read_bytes() for name in ("config.yaml", ".env")}
    disk.fill()
    for name, value in (("limits.max_steps", "5"), ("API_SERVER_CORS_ORIGINS", "https://b.example")):
        told = hermes(stopped, "config", "set", name, value, is_done=False)
        assert WAYS_OUT in told
    assert {name: (disk.inside / name).read_bytes() for name in files} == files
    assert [file.name for file in disk.inside.glob("*.tmp")] + [file.name for file in disk.inside.glob(".*.tmp")] == []
    disk.free()
    hermes(stopped, "config", "set", "limits.max_steps", "5")
    assert "max_steps: 5" in (disk.inside / "config.yaml").read_text()


@pytest.mark.slow
def test_a_start_on_a_full_disk_says_so_and_works_when_there_is_room(gateway: Gateway, disk: Disk) -> None:
    assert gateway.stop() == 0
    disk.fill()
    for command in (["gateway"], ["gateway", "start"], ["sessions", "list"], ["keys", "add", "k"], ["cron", "list"]):
        told = hermes(gateway, *command, is_done=False)
        assert (WAYS_OUT in told, "Traceback" in told) == (True, False), told
    found = hermes(gateway, "doctor", "--offline", is_done=False)
    assert "[disk]" in found and "damaged" not in found
    disk.free()
    gateway.start()
    assert gateway.client.get("/v1/models").status_code == 200


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_named_with_the_way_out(gateway: Gateway, disk: Disk) -> None:
    assert gateway.stop() == 0
    disk.run("mount", "-o", "remount,bind,ro", str(gateway.home))
    way_out = f"mount -o remount,rw {gateway.home}"
    commands = (["gateway"], ["gateway", "start"], ["sessions", "list"], ["keys", "add", "k"], ["config", "set"])
    for command in commands:
        arguments = [*command, "limits.max_steps", "5"] if command == ["config", "set"] else command
        told = hermes(gateway, *arguments, is_done=False)
        assert (way_out in told, "Traceback" in told) == (True, False), told
    assert "[no_writing]" in hermes(gateway, "doctor", "--offline", is_done=False)
    assert hermes(gateway, "status") and hermes(gateway, "logs", "-n", "1")


@pytest.mark.slow
def test_a_disk_that_fails_under_a_gateway_is_told_and_what_can_be_read_is_answered(
    stopped: Gateway, model: ScriptedModelServer
) -> None:
    """As ext4 does it: after an error the kernel lets nobody write any more."""
    model.add(Step("Kept."), Step("Lost.", times=0))
    with failing_disk(stopped.home) as disk:
        stopped.prefix = disk.prefix
        gateway = stopped.start()
        ask(gateway, "first").raise_for_status()
        disk.fail()
        refused = ask(gateway, "second")
        error = refused.json()["error"]
        way_out = f"mount -o remount,rw {gateway.home}"
        assert (refused.status_code, error["code"], way_out in error["message"]) == (503, "store_unavailable", True)
        told = gateway.client.get("/api/sessions/s/messages").raise_for_status().json()["data"]
        assert [message["content"] for message in told] == ["first", "Kept."]
        health = gateway.client.get("/health/detailed").json()["readiness"]["checks"]["state_db"]
        assert (health["status"], way_out in health["detail"]) == ("degraded", True)
        assert way_out in hermes(gateway, "status")
        assert "[no_writing]" in hermes(gateway, "doctor", "--offline", is_done=False)
        assert "Stopped" in hermes(gateway, "gateway", "stop")
        assert "Traceback" not in gateway.errors
        gateway.close()


def ask(gateway: Gateway, text: str) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}]}
    return gateway.client.post("/v1/chat/completions", json=body, headers={"X-Hermes-Session-Id": "s"})


def hermes(gateway: Gateway, *arguments: str, is_done: bool = True) -> str:
    """What it printed, having ended well, or, with `is_done=False`, with an exit code of 1."""
    done = subprocess.run(
        [*gateway.prefix, sys.executable, "-m", "hermes", *arguments],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == (0 if is_done else 1), (done.stdout, done.stderr)
    return done.stdout + done.stderr


def job_body() -> dict[str, str]:
    return {"name": "j", "schedule": "every 1h", "prompt": "x"}


def assert_readable(log: Path) -> None:
    """Every line but those that the full disk cut off is one object."""
    torn = 0
    for line in log.read_text().splitlines():
        try:
            assert isinstance(json.loads(line), dict)
        except ValueError:
            torn += 1
    assert torn <= 3
