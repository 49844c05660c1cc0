"""A real `hermeslink start --foreground` in front of a real `hermes gateway`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Phone, ok

START_SECONDS = 30
STOP_SECONDS = 20


@dataclass
class LinkProcess:
    """`home` is HERMESLINK_HOME, `hermes_home` the HERMES_HOME of the gateway; its commands get `environ` too."""

    home: Path
    hermes_home: Path
    port: int
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    phones: list[Phone] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> LinkProcess:
        """Returns when it answers. A second start takes the same port and home."""
        with (self.home.parent / f"{self.home.name}.output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hermeslink", "start", "--foreground"],
                env=self.environ,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/api/v1/system/version", timeout=5).status_code == 200:
                    return self
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"Link did not start: {self.output}")

    @property
    def output(self) -> str:
        """What it printed so far, over all its starts."""
        return (self.home.parent / f"{self.home.name}.output").read_text(errors="replace")

    def run(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """`hermeslink …` of the same home."""
        done = subprocess.run(
            [sys.executable, "-m", "hermeslink", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            **options,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def code(self, scope: str = "admin") -> dict[str, Any]:
        """A pairing code, as the page asks for it: `connect_token`, and `session` that tells of it."""
        return ok(httpx.post(f"{self.url}/api/v1/pairing/session", json={"scope": scope}, timeout=30))

    def phone(self, label: str = "Ada's phone", *, scope: str = "admin", **more: Any) -> Phone:
        """A device that is paired."""
        phone = Phone(self.url)
        self.phones.append(phone)
        phone.pair(self.code(scope)["connect_token"], label, **more)
        return phone

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(STOP_SECONDS)

    def close(self) -> None:
        for phone in self.phones:
            phone.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()


def make_link(
    root: Path, hermes_home: Path, *, number: int = 1, config: Mapping[str, Any] | None = None
) -> LinkProcess:
    """One that is not started yet, on a free port of loopback."""
    home, port = root / f"link{number}", free_port()
    home.mkdir(0o700)
    settings = {"port": port, "listen-host": "127.0.0.1", **(config or {})}
    (home / "config.json").write_text(json.dumps(settings))
    (home / "config.json").chmod(0o600)
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH") if name in os.environ
    }
    environ = {
        **kept,
        "HOME": str(root),
        "HERMESLINK_HOME": str(home),
        "HERMES_HOME": str(hermes_home),
        "PYTHONWARNINGS": "default",
        "XDG_CURRENT_DESKTOP": "none",  # so that every machine has a way of starting it at a login
    }
    return LinkProcess(home, hermes_home, port, environ)


def tell_link(gateway: Gateway) -> None:
    """Its port and key into its `.env`, where Link finds them; the tests of the gateway give them as variables."""
    path = gateway.home / ".env"
    port = gateway.url.rpartition(":")[2]
    path.write_text(f"API_SERVER_ENABLED=true\nAPI_SERVER_KEY={gateway.key}\nAPI_SERVER_PORT={port}\n")
    path.chmod(0o600)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
