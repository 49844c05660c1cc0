"""`hermeslink start --foreground`: a real process, its streams, its signals and its log."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermeslink.home import LinkHome
from hermeslink.settings import set_setting

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

SECRET = "a-key-of-the-profile-0123456789"


class Process:
    """`url` is where it listens; `client` has a paired device's token."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.home = LinkHome(directory / "link")
        root = directory / "hermes"
        root.mkdir(exist_ok=True)
        (root / ".env").write_text(f"API_SERVER_KEY={SECRET}\nAPI_SERVER_PORT=9\n")
        for name, value in {"port": "0", "listen-host": "127.0.0.1", **settings}.items():
            set_setting(self.home, name, value)
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(directory),
            "HERMES_HOME": str(root),
            "HERMESLINK_HOME": str(self.home.path),
            "SOME_API_KEY": "environment-secret-987",
        }
        command = [sys.executable, "-P", "-m", "hermeslink", "start", "--foreground"]
        self.popen = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line.startswith("[Hermes Link] listening on ")
        self.url = line.split()[-1].replace("0.0.0.0", "127.0.0.1")
        self.client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=20)

    def pair(self) -> dict[str, Any]:
        made = self.client.post("/pairing/session", json={}).json()
        told: dict[str, Any] = self.client.post(
            "/auth/device-session",
            json={"device_label": "test", "device_platform": "cli"},
            headers={"Authorization": f"Bearer {made['connect_token']}"},
        ).json()
        self.client.headers["Authorization"] = f"Bearer {told['access_token']['token']}"
        return told

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(15)

    def close(self) -> None:
        self.client.close()
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(15)
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_open_streams_and_then_the_process(link: Process, number: int) -> None:
    link.pair()
    with link.client.stream("GET", "/conversations/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        began = time.monotonic()
        link.popen.send_signal(number)
        list(events.iter_lines())  # ends, and is not cut: httpx would raise
    assert link.popen.wait(15) == 0
    assert time.monotonic() - began < 5


def test_a_client_that_reads_nothing_keeps_no_process_alive(link: Process) -> None:
    link.pair()
    host, port = link.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as idle, socket.create_connection((host, int(port))) as slow:
        slow.sendall(b"POST /api/v1/auth/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n")
        began = time.monotonic()
        assert link.stop() == 0
        assert time.monotonic() - began < 6
        assert idle.recv(1) == b""


def test_what_was_paired_is_paired_after_kill_9(link: Process, tmp_path: Path) -> None:
    told = link.pair()
    assert link.stop(signal.SIGKILL) == -signal.SIGKILL
    again = Process(tmp_path)
    try:
        headers = {"Authorization": f"Bearer {told['access_token']['token']}"}
        answer = again.client.get("/auth/me", headers=headers)
        assert answer.json()["device"]["id"] == told["device"]["id"]
        assert answer.json()["link"]["link_id"] == told["link"]["link_id"]
    finally:
        again.close()


def test_no_secret_is_in_the_log_or_the_environment_that_others_see(link: Process) -> None:
    told = link.pair()
    tokens = [told["access_token"]["token"], told["refresh_token"]["token"]]
    for token in [*tokens, SECRET]:
        link.client.get(f"/conversations?cursor={token}")
        link.client.get(f"/nowhere/{token}")
        link.client.get("/devices", headers={"X-Request-Id": "r", "User-Agent": token, "Referer": token})
        link.client.get("/auth/me", headers={"Authorization": f"Bearer {token}x"})
    seen = Path(f"/proc/{link.popen.pid}/environ")
    if seen.exists():
        assert b"environment-secret-987" not in seen.read_bytes()
    assert link.stop() == 0
    kept = b"".join(path.read_bytes() for path in link.home.path.rglob("*") if path.is_file())
    for secret in [*tokens, SECRET, "environment-secret-987"]:
        assert secret.encode() not in kept


def test_the_log_is_json_lines_of_what_was_asked(link: Process) -> None:
    link.pair()
    link.client.get("/devices")
    assert link.stop() == 0
    records = [json.loads(line) for line in link.home.log_file.read_text().splitlines()]
    assert any("GET /api/v1/devices 200" in record["message"] for record in records)
    assert records[-1]["message"] == "stopped"


def test_it_listens_on_every_network_where_it_is_told_to(tmp_path: Path) -> None:
    process = Process(tmp_path, **{"listen-host": "0.0.0.0"})
    try:
        told = process.client.get("/bootstrap").json()
        assert told["preferred_pairing_urls"][-1] == process.url
        for url in told["preferred_pairing_urls"]:
            assert httpx.get(f"{url}/api/v1/system/version", timeout=20).json()["ok"]
        assert process.stop() == 0
    finally:
        process.close()


def test_who_calls_by_another_name_is_told_the_setting(link: Process) -> None:
    answer = link.client.get("/bootstrap", headers={"Host": "rebound.example.org"})
    assert answer.status_code == 421
    assert "hermeslink config set allowed-hosts" in answer.json()["error"]["message"]
