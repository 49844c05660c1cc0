"""The nodes under torture, and their PostgreSQL: processes that can be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway
from tests.support.postgres import postgres_database, postgres_server
from tests.torture.mind import Mind

STOP_SECONDS = 30.0
SETTINGS: dict[str, Any] = {
    "approvals": {"timeout": 20},
    "api_server": {"drain_timeout": 1, "disconnect_grace": 0.5, "max_concurrent_runs": 64},
    "responses": {"keep_chains": 100_000},
    "jobs": {"timezone": "UTC"},
    "logging": {"level": "info"},
}


@dataclass
class Node:
    """`frozen`: from and until, in unix seconds. `start_seconds`: how long the last start took."""

    name: str
    gateway: Gateway
    is_up: bool = False
    start_seconds: float = 0.0
    frozen: list[tuple[float, float]] = field(default_factory=list)

    async def start(self) -> None:
        """Raises AssertionError with what it printed where it does not start."""
        began = time.monotonic()
        await asyncio.to_thread(self.gateway.start)
        self.start_seconds = time.monotonic() - began
        self.is_up = True

    async def kill(self) -> None:
        self.is_up = False
        await asyncio.to_thread(self.gateway.kill)

    async def stop(self) -> int:
        """In order. Its exit code."""
        self.is_up = False
        process = self.gateway.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            await self.kill()
            return -1

    async def freeze(self, seconds: float) -> None:
        """It is slow: everything it does comes so much later."""
        began = time.time()
        os.kill(self.gateway.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(self.gateway.pid, signal.SIGCONT)
        self.frozen.append((began, time.time()))

    def log(self) -> list[str]:
        """What it logged and printed, oldest first."""
        lines: list[str] = []
        for path in (self.gateway.home / "logs" / "gateway.log", self.gateway.home / "gateway.stderr"):
            if path.exists():
                lines += [f"{self.name} {line}" for line in path.read_text(errors="replace").splitlines()]
        return lines


@dataclass
class Cluster:
    """`directory`: where all nodes' tools work. `url` of the database."""

    nodes: Sequence[Node]
    directory: Path
    url: str
    key: str
    mind: Mind
    postgres: PostgresProcess | None = None

    @property
    def urls(self) -> list[str]:
        return [node.gateway.url for node in self.nodes]

    async def are_ready(self, seconds: float) -> None:
        """Until every node says so. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        async with httpx.AsyncClient(timeout=5) as client:
            for node in self.nodes:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await client.get(f"{node.gateway.url}/health")).status_code == 200:
                            break
                    assert time.monotonic() < deadline, f"{node.name} is not ready within {seconds:g} s"
                    await asyncio.sleep(0.1)

    def log(self, mentioning: str) -> list[str]:
        return sorted(line for node in self.nodes for line in node.log() if mentioning in line)


@dataclass
class PostgresProcess:
    """The server itself. Its programs are found by asking it."""

    server_url: str
    programs: Path = Path()
    data: Path = Path()
    was_restarted: bool = False

    def __post_init__(self) -> None:
        with psycopg.connect(self.server_url, autocommit=True) as conn:
            [programs] = conn.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone() or ("",)
            [data] = conn.execute("SHOW data_directory").fetchone() or ("",)
        self.programs, self.data = Path(programs), Path(data)

    def restart(self, mode: str = "fast") -> None:
        self.was_restarted = True
        self._control("restart", "-m", mode, "-l", str(self.data / "torture.log"))

    def stop(self) -> None:
        """Whoever started it looks for the process of then."""
        if self.was_restarted:
            with contextlib.suppress(subprocess.CalledProcessError):
                self._control("stop", "-m", "immediate")

    def _control(self, *arguments: str) -> None:
        """As the user whose files they are: PostgreSQL refuses to be root's."""
        owner = self.data.stat().st_uid
        command = [str(self.programs / "pg_ctl"), "-D", str(self.data), "-w", "-t", "60", *arguments]
        user = None if owner == os.getuid() else owner
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", user=user)


@contextlib.contextmanager
def cluster(root: Path, database: str, count: int, settings: Mapping[str, Any] | None = None) -> Iterator[Cluster]:
    """Nodes that are not started yet. SQLite takes one."""
    directory = root / "work"
    for name in ("trash", "written"):
        (directory / name).mkdir(parents=True)
    (directory / "to-read.txt").write_text("nothing much\n")
    mind = Mind(str(directory))
    key = secrets.token_hex(32)
    with contextlib.ExitStack() as stack:
        postgres = None
        url: str | None = None
        if database == "postgresql":
            server_url = stack.enter_context(postgres_server())
            postgres = PostgresProcess(server_url)
            stack.callback(postgres.stop)
            url = stack.enter_context(postgres_database(server_url))
        nodes = []
        for number in range(1, count + 1):
            model = ScriptedModelServer((), records=False)
            model.player = mind.voice(f"node{number}")
            stack.enter_context(model)
            own = {**SETTINGS, "terminal": {"cwd": str(directory)}, **(settings or {})}
            gateway = make_gateway(root, model, own, number=number, database_url=url, key=key)
            stack.callback(gateway.close)
            nodes.append(Node(f"node{number}", gateway))
        path = url or f"sqlite:///{nodes[0].gateway.home / 'state.db'}"
        yield Cluster(nodes, directory, path, key, mind, postgres)
