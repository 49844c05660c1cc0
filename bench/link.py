"""What Link adds: `python -m bench link`. Its figures stand beside those of the API server in the same run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.devices import Saw, Watch
from bench.servers import BareHome, Gateway, Home, Server, Upstream, free_port
from bench.table import Row

CONVERSATIONS = 20
DEVICES = 200
ON_ALL = 20
"""Devices that follow every conversation at once."""
TOKENS_A_SECOND = 20
MEGABYTE = 1 << 20
BUDGET_MS = 50.0


@dataclass(frozen=True)
class Effort:
    """`times` each; `seconds` a reply takes."""

    times: int
    seconds: float
    starts: int


FULL = Effort(times=3, seconds=10.0, starts=5)
QUICK = Effort(times=1, seconds=3.0, starts=1)


class LinkServer(Server):
    """`hermeslink start --foreground` in front of the gateway of `home`."""

    def __init__(self, home: BareHome) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="hermeslink-bench-"))
        port = free_port()
        (self.home / "config.json").write_text(json.dumps({"port": port, "listen-host": "127.0.0.1"}))
        environ = {**home.environ(), "HERMESLINK_HOME": str(self.home)}
        super().__init__([sys.executable, "-m", "hermeslink", "start", "--foreground"], port, environ)
        self.seconds_to_answer = self._wait()
        with ThreadPoolExecutor(8) as pool:
            self.tokens = list(pool.map(self._pair, range(DEVICES)))
        self.key = self.tokens[0]

    def post(self, path: str, body: Any, token: str | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def bytes_on_disk(self) -> int:
        """Of the database, when it was stopped: before, part of it is in the log of writes."""
        return (self.home / "link.db").stat().st_size

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self.home, ignore_errors=True)

    def _wait(self) -> float:
        while self.process.poll() is None and time.monotonic() - self.started_at < 30:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/system/version", timeout=5):
                    return time.monotonic() - self.started_at
            except OSError:
                time.sleep(0.005)
        raise RuntimeError(f"Link did not start:\n{self.output()}")

    def _pair(self, number: int) -> str:
        code = connect_token(self.post("/pairing/session", {}))
        body = {"device_label": f"device {number}", "device_platform": "other"}
        token: str = self.post("/auth/device-session", body, code)["access_token"]["token"]
        return token


def connect_token(made: dict[str, Any]) -> str:
    found: str = made["connect_token"]
    return found


def everything(upstream: Upstream, effort: Effort, tell: Callable[[str], None]) -> list[Row]:
    own = Row(
        f"the API server alone: {CONVERSATIONS} runs of {TOKENS_A_SECOND} tokens/s, a token is late by (p95)", "ms"
    )
    added = Row(
        f"{DEVICES} devices, {CONVERSATIONS} conversations of {TOKENS_A_SECOND} tokens/s: a token is later by (p95)",
        "ms",
        BUDGET_MS,
        note="above the API server's own; it gathers text for up to 25 ms",
    )
    late = Row("… late by (p50)", "ms")
    worst = Row("… late by at most", "ms")
    cores = Row("… cores used by Link", "")
    every = Row(f"{ON_ALL} devices on the stream of all conversations: a token is later by (p95)", "ms")
    start = Row("exec → first answer", "s")
    memory = Row("RSS of Link with the devices", "MB")
    disk = Row("bytes on disk a token", "B", note="an event each, as they come 50 ms apart; devices and messages too")
    rows = [added, late, worst, cores, every, own, start, memory, disk]
    with Home(upstream, max_concurrent_runs=64) as home, Gateway(home) as gateway, LinkServer(home) as link:
        start.ours.append(link.seconds_to_answer)
        for number in range(effort.times):
            tell(f"the API server alone, {number + 1} of {effort.times}")
            alone = direct(gateway, effort.seconds)
            own.ours.append(alone.lateness.p95 * 1000)
            tell(f"Link, {number + 1} of {effort.times}")
            cpu, began = link.cpu_seconds(), time.monotonic()
            seen = through(link, effort.seconds, is_all=False)
            cores.ours.append((link.cpu_seconds() - cpu) / (time.monotonic() - began))
            added.ours.append((seen.lateness.p95 - alone.lateness.p95) * 1000)
            late.ours.append(seen.lateness.p50 * 1000)
            late.relay.append(alone.lateness.p50 * 1000)
            worst.ours.append(seen.lateness.worst * 1000)
            worst.relay.append(alone.lateness.worst * 1000)
            missing = tokens_of(effort.seconds) * DEVICES - seen.tokens
            if missing or seen.unfinished or seen.first_error:
                added.note = f"{missing} tokens missing, {seen.unfinished} streams unfinished {seen.first_error[:80]}"
            memory.ours.append(link.rss_bytes() / MEGABYTE)
            tell(f"Link, the stream of all, {number + 1} of {effort.times}")
            seen = through(link, effort.seconds, is_all=True)
            every.ours.append((seen.lateness.p95 - alone.lateness.p95) * 1000)
            missing = tokens_of(effort.seconds) * ON_ALL * CONVERSATIONS - seen.tokens
            every.note = f"{CONVERSATIONS * ON_ALL * TOKENS_A_SECOND:,} tokens a second on the wire" + (
                f"; {missing} missing {seen.first_error[:80]}" if missing else ""
            )
        link.stop()
        disk.ours.append(link.bytes_on_disk() / (effort.times * 2 * CONVERSATIONS * tokens_of(effort.seconds)))
    return rows


def direct(gateway: Gateway, seconds: float) -> Saw:
    """Runs of the API server itself, each followed by one reader."""
    runs = [_start_run(gateway, seconds) for _ in range(CONVERSATIONS)]
    streams = [(gateway.port, f"/v1/runs/{run}/events", gateway.key) for run in runs]
    with watching(Watch(streams, 1, seconds * 3 + 30)) as saw:
        pass
    return saw[0]


def through(link: LinkServer, seconds: float, *, is_all: bool) -> Saw:
    """Messages to as many conversations, each followed by its part of the devices, or all by each."""
    made = [link.post("/conversations", {}, link.key)["conversation"] for _ in range(CONVERSATIONS)]
    ids = [one["id"] for one in made]
    if is_all:
        last = _last_number(link)
        streams = [(link.port, f"/api/v1/conversations/events?after={last}", token) for token in link.tokens[:ON_ALL]]
    else:
        streams = [
            (link.port, f"/api/v1/conversations/{ids[number % CONVERSATIONS]}/events?after=0", token)
            for number, token in enumerate(link.tokens)
        ]
    watch = Watch(streams, CONVERSATIONS if is_all else 1, seconds * 4 + 60)
    with watching(watch) as saw, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: link.post(f"/conversations/{one}/messages", _message(seconds), link.key), ids))
    return saw[0]


@contextmanager
def watching(watch: Watch) -> Iterator[list[Saw]]:
    """The block runs when all streams are open; what they saw is there behind it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.devices"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(asdict(watch)) + "\n")
    process.stdin.flush()
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("the streams did not open")
    saw: list[Saw] = []
    yield saw
    said, _ = process.communicate(timeout=watch.seconds + 30)
    if process.returncode:
        raise RuntimeError("the readers failed")
    saw.append(Saw.from_json(said.strip().splitlines()[-1]))


def tokens_of(seconds: float) -> int:
    return int(seconds * TOKENS_A_SECOND)


def _text(seconds: float) -> str:
    """The model waits until whoever follows is there."""
    return f"bench:tokens={tokens_of(seconds)},rate={TOKENS_A_SECOND},stamp=1,wait=2"


def _message(seconds: float) -> dict[str, Any]:
    return {"content": _text(seconds)}


def _start_run(gateway: Gateway, seconds: float) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.port}/v1/runs", json.dumps({"input": _text(seconds)}).encode()
    )
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {gateway.key}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        run: str = json.load(answer)["run_id"]
    return run


def _last_number(link: LinkServer) -> int:
    """Of the stream of all: read up to where nothing more comes for a moment."""
    request = urllib.request.Request(f"http://127.0.0.1:{link.port}/api/v1/conversations/events?after=0")
    request.add_header("Authorization", f"Bearer {link.key}")
    last = 0
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            for line in answer:
                if line.startswith(b"id: "):
                    last = int(line[4:])
    except TimeoutError:
        pass
    return last
