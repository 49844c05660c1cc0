"""The processes of the bench: the model, the relay, the gateway (through its own command), and loads on them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import psutil  # type: ignore[import-untyped]

from bench.load import Job, Seen

START_SECONDS = 20.0


class Server:
    """A process that listens on `port`. `cpu_seconds` and `rss_bytes` count its children too."""

    def __init__(self, arguments: list[str], port: int, environ: dict[str, str] | None = None) -> None:
        self.port = port
        self.key = "none"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            arguments, env=environ, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
        )

    def wait_until_healthy(self) -> float:
        """Seconds from exec to the first 200 on /health. Asks as often as a socket allows."""
        request = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n".encode()
        while time.monotonic() - self.started_at < START_SECONDS:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(request)
                    if connection.recv(200).startswith(b"HTTP/1.1 200"):
                        return time.monotonic() - self.started_at
            except OSError:
                time.sleep(0.002)
        raise RuntimeError(f"{self.process.args!r} did not start:\n{self.output()}")

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode("utf-8", "replace")

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def rss_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {self.key}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def stop(self) -> float:
        """Seconds from SIGTERM to the end of the process."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._output.close()


class Upstream(Server):
    def __init__(self) -> None:
        port = free_port()
        super().__init__([sys.executable, "-m", "bench.upstream", str(port)], port)
        self.url = f"http://127.0.0.1:{port}/v1"
        self.wait_until_healthy()


class Relay(Server):
    def __init__(self, upstream: Upstream) -> None:
        port = free_port()
        super().__init__([sys.executable, "-m", "bench.relay", str(port), upstream.url], port)
        self.wait_until_healthy()


class BareHome:
    """A home of its own with these settings, a key and a free port."""

    def __init__(self, settings: Mapping[str, Any], *, database_url: str | None = None, key: str | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hermes-bench-"))
        self.key = key or secrets.token_hex(32)
        self.database_url = database_url
        self.port = free_port()
        api = {"enabled": True, "port": self.port, **settings.get("api_server", {})}
        config_file, env_file = self.path / "config.yaml", self.path / ".env"
        config_file.write_text(json.dumps({**settings, "api_server": api}))  # JSON is YAML
        env_file.write_text(f"API_SERVER_KEY={self.key}\n")
        for path, mode in ((self.path, 0o700), (env_file, 0o600), (config_file, 0o600)):
            path.chmod(mode)

    def environ(self) -> dict[str, str]:
        """What the gateway starts with: this machine's own provider keys and settings stay out of it."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "TMPDIR") if name in os.environ}
        database = {"HERMES_DATABASE_URL": self.database_url} if self.database_url else {}
        return {**kept, **database, "HERMES_HOME": str(self.path), "HOME": str(self.path)}

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Home(BareHome):
    """One with a model named in it, so that nothing is probed."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        max_concurrent_runs: int = 32,
        drain_timeout: float = 10.0,
        database_url: str | None = None,
        key: str | None = None,
    ) -> None:
        settings = {
            "model": {"default": "bench", "provider": "custom", "base_url": upstream.url},
            "api_server": {"max_concurrent_runs": max_concurrent_runs, "drain_timeout": drain_timeout},
        }
        super().__init__(settings, database_url=database_url, key=key)


class Gateway(Server):
    def __init__(self, home: BareHome) -> None:
        super().__init__([hermes_command(), "gateway"], home.port, home.environ())
        self.key = home.key
        self.seconds_to_health = self.wait_until_healthy()


def hermes_command() -> str:
    return str(Path(sys.executable).with_name("hermes"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def load(server: Server, **job: Any) -> Seen:
    """Runs a `Job` on the server from a process of its own."""
    [seen] = load_all([server], **job)
    return seen


def load_all(servers: Sequence[Server], **job: Any) -> list[Seen]:
    """The same `Job` on each of them at once."""
    generators = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in servers
    ]
    for server, generator in zip(servers, generators, strict=True):
        assert generator.stdin is not None
        generator.stdin.write(json.dumps(asdict(Job(port=server.port, key=server.key, **job))) + "\n")
        generator.stdin.flush()
    seen = []
    for generator in generators:
        said, errors = generator.communicate(timeout=300)
        if generator.returncode:
            raise RuntimeError(f"the load generator failed:\n{errors}")
        seen.append(Seen.from_json(said))
    return seen


def post_chat(
    server: Server, message: str, *, timeout_seconds: float = 30.0, headers: Mapping[str, str] | None = None
) -> float:
    """Seconds of one whole streamed turn over a new connection."""
    body = json.dumps({"model": "bench", "stream": True, "messages": [{"role": "user", "content": message}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/v1/chat/completions", data=body)
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {server.key}")
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
        if b"[DONE]" not in answer.read():
            raise RuntimeError("the turn did not end")
    return time.monotonic() - began
