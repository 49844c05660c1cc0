"""A real gateway process in a home of its own, in front of a scripted model. Nothing else is faked."""

from __future__ import annotations

import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.models.scripted import ScriptedModelServer
from tests.support.database import url_for_process

LISTENING = re.compile(r"^\[API Server\] API server listening on (http://\S+)$")
START_SECONDS = 30
STOP_SECONDS = 20


@dataclass
class Gateway:
    """A running `hermes gateway`. `url` is without /v1; `client` sends the key; `output` is what it printed so far."""

    home: Path
    workdir: Path
    environ: dict[str, str]
    key: str
    url: str = ""
    process: subprocess.Popen[str] | None = None
    output: list[str] = field(default_factory=list)
    arguments: tuple[str, ...] = ("gateway",)
    prefix: tuple[str, ...] = ()
    """What it is run with: a namespace with a disk of its own, for one."""
    database_url: str | None = None
    """None: the file in its home, or what a test wrote into its config."""
    _client: httpx.Client | None = None

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def client(self) -> httpx.Client:
        if self._client is None:
            headers = {"Authorization": f"Bearer {self.key}"}
            self._client = httpx.Client(base_url=self.url, headers=headers, timeout=30)
        return self._client

    def start(self) -> Gateway:
        """Returns when it listens. A second start of the same home takes the same port."""
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        errors = (self.home / "gateway.stderr").open("a")
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "hermes", *self.arguments],
            cwd=self.workdir,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        errors.close()
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(self.process, lines), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=START_SECONDS)
            except queue.Empty:
                line = None
            if line is None:
                self.kill()
                raise AssertionError(f"the gateway did not start: {self.output} {self.errors}")
            self.output.append(line)
            found = LISTENING.match(line)
            if found:
                self.url = found[1]
                self.environ["API_SERVER_PORT"] = self.url.rpartition(":")[2]
                return self

    @property
    def errors(self) -> str:
        return (self.home / "gateway.stderr").read_text()

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
        if self._client is not None:
            self._client.close()
        if self.process is not None:
            if self.process.poll() is None:
                self.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()


StartGateway = Callable[..., Gateway]
StartNodes = Callable[..., list[Gateway]]


@pytest.fixture
def model() -> Iterator[ScriptedModelServer]:
    """The language model. It has no script: a test adds the answers it expects to be asked for."""
    with ScriptedModelServer(()) as server:
        yield server


@pytest.fixture
def start_gateway(tmp_path: Path, model: ScriptedModelServer) -> Iterator[StartGateway]:
    """`start_gateway(config={...}, environ={...})`: config.yaml beside the scripted model, and variables.

    `database_url` and `key` as `make_gateway` takes them.
    """
    started: list[Gateway] = []

    def start(
        config: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, **options: Any
    ) -> Gateway:
        gateway = make_gateway(tmp_path, model, config, environ, number=len(started) + 1, **options)
        started.append(gateway)
        return gateway.start()

    yield start
    for gateway in started:
        gateway.close()


@pytest.fixture
def start_nodes(start_gateway: StartGateway, postgres_url: str) -> StartNodes:
    """`start_nodes(3, config={...}, environ={...})`: gateways on one empty PostgreSQL, in the order of their start.

    Each has a home of its own, and all have the same API key and ask the same `model`. More of them join with
    `start_gateway(database_url=nodes[0].database_url, key=nodes[0].key)`; each can be killed and started again.
    """
    key = secrets.token_hex(32)

    def start(
        count: int, config: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> list[Gateway]:
        return [start_gateway(config, environ, database_url=postgres_url, key=key) for _ in range(count)]

    return start


def make_gateway(
    root: Path,
    model: ScriptedModelServer,
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    number: int = 1,
    database_url: str | None = None,
    key: str | None = None,
) -> Gateway:
    """A gateway that is not started yet, with a home of its own below `root`.

    `database_url`: where its data is, unless the config says so. `key`: the owner's, a new one otherwise. Gateways with
    the same database and key are nodes of one service.
    """
    home, workdir = root / f"home{number}", root / f"work{number}"
    home.mkdir(0o700)
    workdir.mkdir()
    if database_url is None and "database" not in (config or {}):
        database_url = url_for_process(home)
    own = {"model": {"default": "scripted", "provider": "custom", "base_url": model.base_url}, **(config or {})}
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in own.items()]  # JSON is YAML
    if database_url is not None:  # not in the environment, which would say it of every profile
        lines.append(f"database:\n  url: {json.dumps(database_url)}\n")
    (home / "config.yaml").write_text("".join(lines))
    (home / "config.yaml").chmod(0o600)
    key = key or secrets.token_hex(32)
    return Gateway(home, workdir, {**_environ(root, home, key), **(environ or {})}, key, database_url=database_url)


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Gateway:
    return start_gateway()


def _environ(tmp_path: Path, home: Path, key: str) -> dict[str, str]:
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH") if name in os.environ
    }
    return {
        **kept,
        "HOME": str(tmp_path),
        "HERMES_HOME": str(home),
        "API_SERVER_ENABLED": "true",
        "API_SERVER_KEY": key,
        "API_SERVER_PORT": "0",
        "PYTHONWARNINGS": "default",
    }


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with suppress(ValueError):  # closed under it at the end of a test
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
    lines.put(None)
