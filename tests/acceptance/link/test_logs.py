"""What both programs logged, as `hermeslink logs` and an admin's device show it; and that no secret is among it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import IO

import httpx
import pytest

from hermes.home.env import set_env
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import LinkProcess

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

WAIT_SECONDS = 30


@pytest.fixture
def hermes_bin(link: LinkProcess, tmp_path: Path) -> Path:
    """The program that Link asks for the gateway's log."""
    program = tmp_path / "hermes-of-this-test"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hermes "$@"\n')
    program.chmod(0o755)
    link.environ["HERMES_BIN"] = str(program)
    return program


@contextmanager
def following(link: LinkProcess, *options: str) -> Iterator[Queue[str]]:
    """The lines of `hermeslink logs -f`, as they come."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hermeslink", "logs", "-f", *options],
        env=link.environ,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: Queue[str] = Queue()
    output = process.stdout
    reader = Thread(target=_read, args=(output, lines), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with the program that it asks
        process.wait(WAIT_SECONDS)
        reader.join(WAIT_SECONDS)
        output.close()


def _read(output: IO[str], lines: Queue[str]) -> None:
    for line in output:
        lines.put(line)


def until(lines: Queue[str], text: str) -> str:
    while text not in (line := lines.get(timeout=WAIT_SECONDS)):
        pass
    return line


def log(home: Path, message: str) -> None:
    """A line as a gateway writes it."""
    file = home / "logs" / "gateway.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {"time": "2026-11-22T10:00:00.000Z", "level": "info", "logger": "hermes", "message": message}
    with file.open("a") as opened:
        opened.write(json.dumps(told) + "\n")


def test_the_gateways_log_is_followed_and_that_of_a_profiles_own(
    link: LinkProcess, known_gateway: Gateway, hermes_bin: Path
) -> None:
    log(known_gateway.home, "before")
    with following(link, "--gateway") as lines:
        until(lines, "before")
        log(known_gateway.home, "after")
        until(lines, "after")

    alice = known_gateway.home / "profiles" / "alice"
    log(alice, "before, of Alice")
    with following(link, "--gateway", "-p", "alice", "-n", "5") as lines:
        assert "before, of Alice" in lines.get(timeout=WAIT_SECONDS), "and none of another gateway"
        log(alice, "after, of Alice")
        until(lines, "after, of Alice")
    assert "no profile" in link.run("logs", "--gateway", "-p", "nobody", check=False).stderr


def test_links_own_log_is_followed(link: LinkProcess) -> None:
    with following(link, "-n", "1") as lines:
        lines.get(timeout=WAIT_SECONDS)
        link.phone().client.get("/nothing-of-that-name")
        until(lines, "nothing-of-that-name")


@pytest.mark.slow
def test_no_secret_comes_out_of_any_log(
    link: LinkProcess, known_gateway: Gateway, model: ScriptedModelServer, hermes_bin: Path
) -> None:
    """Also none that was written while both run, nor one that a client puts where it does not belong."""
    model.add(Step(times=0, text="You said: {{user}}"))
    link.stop()
    link.run("config", "set", "log-level", "debug")
    link.start()
    phone = link.phone("Phone")
    later = {"OPENAI_API_KEY": secrets.token_urlsafe(24), "MY_OWN_SECRET": secrets.token_urlsafe(24)}
    for name, value in later.items():
        set_env(known_gateway.home / ".env", name, value)
    code = link.code()["connect_token"]
    canaries = [known_gateway.key, code, phone.access, phone.refresh_token, *later.values()]

    for canary in canaries:
        _put_everywhere(link, phone, canary)
        with httpx.Client(base_url=known_gateway.url, timeout=WAIT_SECONDS) as stranger:
            stranger.get(f"/v1/models?api_key={canary}")
            stranger.get(f"/v1/runs/{canary}", headers={"Authorization": f"Bearer {known_gateway.key}"})
            stranger.get("/v1/models", headers={"Authorization": f"Bearer {canary}x"})
    phone.ask(phone.conversation(), "hello")
    known_gateway.kill()
    phone.client.get("/status")

    reader = link.phone("Reader").client
    shown = {
        "GET /logs": reader.get("/logs", params={"source": "link", "limit": 1000}),
        "GET /logs of the gateway": reader.get("/logs", params={"source": "gateway", "limit": 1000}),
        "GET /system/logs": reader.get("/system/logs", params={"limit": 1000}),
        "GET /system/logs/gateway": reader.get("/system/logs/gateway", params={"limit": 1000}),
    }
    texts = {name: answer.raise_for_status().text for name, answer in shown.items()}
    for name, options in {"logs": (), "logs --json": ("--json",), "logs --gateway": ("--gateway",)}.items():
        texts[name] = link.run("logs", "-n", "100000", *options).stdout
    assert all(len(text) > 200 for text in texts.values()), {name: len(text) for name, text in texts.items()}
    found = {f"{name}: {canary[:8]}…" for name, text in texts.items() for canary in canaries if canary in text}
    assert found == set()


def _put_everywhere(link: LinkProcess, phone: Phone, canary: str) -> None:
    with httpx.Client(base_url=f"{link.url}/api/v1", timeout=WAIT_SECONDS) as stranger:
        stranger.get(f"/status?token={canary}")
        stranger.get(f"/pairing/session?session_id={canary}")
        stranger.get("/status", headers={"Authorization": f"Bearer {canary}x"})
        stranger.get("/status", headers={"X-Hermes-App-Instance-Id": canary})
    for path in (f"/nothing?access_token={canary}", f"/conversations?cursor={canary}"):
        phone.client.get(path)
    phone.client.post("/profiles/default/memory/entries", json={"target": canary, "content": canary})
    phone.client.patch("/profiles/default/memory/provider", json={"provider": canary})
