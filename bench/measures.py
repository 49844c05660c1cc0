"""What is measured, one function a group of rows.

Each repeats, the gateway and the relay in turns, so that noise of the machine meets both.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.load import Seen
from bench.servers import Gateway, Home, Relay, Server, Upstream, hermes_command, load, post_chat
from bench.table import Row

TURN = "bench:tokens=20"
MEGABYTE = 1_000_000
SESSIONS = 50


@dataclass(frozen=True)
class Effort:
    """How long it may take: `seconds` a load, `times` each, and turns for the memory rows."""

    times: int
    seconds: float
    starts: int
    turns: tuple[int, ...]
    drip_seconds: float


FULL = Effort(times=5, seconds=4.0, starts=7, turns=(2_000, 10_000), drip_seconds=10.0)
QUICK = Effort(times=1, seconds=0.8, starts=2, turns=(2_000,), drip_seconds=2.0)


def start_times(upstream: Upstream, effort: Effort) -> list[Row]:
    health = Row("exec → first 200 on /health", "s", 0.5)
    empty = Row("the same in an empty home", "s", note="makes the home and the database")
    first = Row("first turn, sent the moment /health answers", "s", 0.1)
    help_text = Row("`hermes --help`", "s", 0.25)
    with Home(upstream) as home:
        for i in range(effort.starts + 1):
            with Gateway(home) as gateway:
                (health if i else empty).ours.append(gateway.seconds_to_health)
                seconds = post_chat(gateway, TURN)
                if i:
                    first.ours.append(seconds)
    for _ in range(effort.starts):
        began = time.monotonic()
        subprocess.run([hermes_command(), "--help"], check=True, stdout=subprocess.DEVNULL)
        help_text.ours.append(time.monotonic() - began)
    return [health, empty, help_text, first]


def latency(upstream: Upstream, gateway: Server, relay: Server, effort: Effort) -> list[Row]:
    """One turn after another on one connection; what the model's own server takes is subtracted."""
    turn = Row("chat turn, one after another, added (p50)", "ms", 3.0)
    first = Row("time to first token, added (p50)", "ms", 3.0)
    first_95 = Row("time to first token, added (p95)", "ms", 10.0)
    cpu = Row("CPU a turn of 20 tokens, one stream", "ms", 1.5)

    def measure(server: Server) -> tuple[Seen, float]:
        before = server.cpu_seconds()
        seen = load(server, connections=1, seconds=effort.seconds, message=TURN)
        return seen, (server.cpu_seconds() - before) / max(1, seen.turns)

    load(gateway, connections=8, turns=200, message=TURN)
    load(relay, connections=8, turns=200, message=TURN)
    for _ in range(effort.times):
        direct, _ = measure(upstream)
        for server, is_ours in ((gateway, True), (relay, False)):
            seen, cpu_seconds = measure(server)
            for row, value in (
                (turn, seen.whole.p50 - direct.whole.p50),
                (first, seen.first_text.p50 - direct.first_text.p50),
                (first_95, seen.first_text.p95 - direct.first_text.p95),
                (cpu, cpu_seconds),
            ):
                (row.ours if is_ours else row.relay).append(value * 1000)
    return [turn, first, first_95, cpu]


def throughput(upstream: Upstream, gateway: Server, relay: Server, effort: Effort) -> list[Row]:
    rows: list[Row] = []
    cpu = Row("CPU a turn of 20 tokens, 8 streams", "ms", 1.5)
    for streams, budget in ((1, 300.0), (8, 600.0), (32, 600.0)):
        row = Row(f"turns/s at {streams} stream{'s' if streams > 1 else ''}", "/s", budget, is_floor=True)
        errors = 0
        for _ in range(effort.times):
            for server, is_ours in ((gateway, True), (relay, False)):
                before = server.cpu_seconds()
                seen = load(server, connections=streams, seconds=effort.seconds, message=TURN)
                (row.ours if is_ours else row.relay).append(seen.turns_a_second)
                if streams == 8:
                    spent = (server.cpu_seconds() - before) / max(1, seen.turns)
                    (cpu.ours if is_ours else cpu.relay).append(spent * 1000)
                errors += seen.errors if is_ours else 0
        row.note = f"{errors} errors" if errors else ""
        rows.append(row)
    half = Row("the same at 8 streams, as a part of the relay's", "%", 50.0, is_floor=True, note="the next budget")
    half.ours = [100 * ours / relay for ours, relay in zip(rows[1].ours, rows[1].relay, strict=True)]
    own = Row("the load generator alone, 8 streams", "/s", note="straight at the model: what limits nothing here")
    own.ours.append(load(upstream, connections=8, seconds=effort.seconds, message=TURN).turns_a_second)
    return [*rows, half, cpu, own]


def paced(gateway: Server, relay: Server, effort: Effort) -> list[Row]:
    """Models that take their time: waiting must cost nothing, and a token must not wait for others."""
    waiting = Row("8 streams on a model that waits 2 s", "turns/s", 3.9, is_floor=True, note="4.0 is the limit")
    cpu = Row("CPU a turn of 20 tokens that come 5 ms apart, 8 streams", "ms", note="each token alone: no merging")
    for server, is_ours in ((gateway, True), (relay, False)):
        seen = load(server, connections=8, turns=32 if effort.times > 1 else 16, message="bench:tokens=20,wait=2")
        (waiting.ours if is_ours else waiting.relay).append(seen.turns_a_second)
        before = server.cpu_seconds()
        seen = load(server, connections=8, seconds=effort.seconds, message="bench:tokens=20,rate=200")
        spent = (server.cpu_seconds() - before) / max(1, seen.turns)
        (cpu.ours if is_ours else cpu.relay).append(spent * 1000)
    return [waiting, cpu]


def many_streams(upstream: Upstream, relay: Server, effort: Effort) -> list[Row]:
    late = Row("500 streams of 20 tokens/s at once: a token is late by (p95)", "ms", 100.0)
    worst = Row("… by at most", "ms")
    cores = Row("… cores used", "")
    tokens = int(effort.drip_seconds * 20)
    with Home(upstream, max_concurrent_runs=1000) as home, Gateway(home) as gateway:
        load(gateway, connections=32, turns=100, message=TURN)
        for _ in range(2 if effort.times > 1 else 1):
            for server, is_ours in ((gateway, True), (relay, False)):
                before = server.cpu_seconds()
                seen = load(
                    server,
                    connections=500,
                    turns=500,
                    message=f"bench:tokens={tokens},rate=20,stamp=1",
                    ramp_seconds=1.0,
                    stamps=True,
                )
                if seen.errors or seen.tokens != 500 * tokens:
                    missing = 500 * tokens - seen.tokens
                    late.note = f"{seen.errors} errors, {missing} tokens missing: {seen.first_error[:80]}"
                for row, value in (
                    (late, seen.lateness.p95 * 1000),
                    (worst, seen.lateness.worst * 1000),
                    (cores, (server.cpu_seconds() - before) / seen.seconds),
                ):
                    (row.ours if is_ours else row.relay).append(value)
    return [late, worst, cores]


def memory(upstream: Upstream, effort: Effort) -> list[Row]:
    rows = [Row("RSS idle", "MB", 70.0), Row("RSS after the first turn", "MB")]
    with Home(upstream) as home, Gateway(home) as gateway:
        time.sleep(1.0)
        rows[0].ours.append(gateway.rss_bytes() / MEGABYTE)
        post_chat(gateway, TURN)
        rows[1].ours.append(gateway.rss_bytes() / MEGABYTE)
        done = 1
        for turns in effort.turns:
            load(gateway, connections=8, turns=turns - done, message=TURN)
            done = turns
            rows.append(Row(f"RSS after {turns:,} turns", "MB", 110.0, ours=[gateway.rss_bytes() / MEGABYTE]))
    return rows


def reads(gateway: Server, relay: Server, effort: Effort) -> list[Row]:
    row = Row("GET /v1/models", "/s", 8000.0, is_floor=True)
    for _ in range(effort.times):
        for server, is_ours in ((gateway, True), (relay, False)):
            seen = load(server, connections=32, seconds=effort.seconds, path="/v1/models", message=None)
            (row.ours if is_ours else row.relay).append(seen.turns_a_second)
            if is_ours and seen.errors:
                row.note = f"{seen.errors} errors: {seen.first_error[:80]}"
    sessions = Row("GET /api/sessions", "/s", 3000.0, is_floor=True)
    for number in range(SESSIONS):
        post_chat(gateway, "bench:tokens=1", headers={"X-Hermes-Session-Id": f"bench-{number}"})
    for _ in range(effort.times):
        seen = load(gateway, connections=32, seconds=effort.seconds, path="/api/sessions", message=None)
        sessions.ours.append(seen.turns_a_second)
        sessions.note = f"{SESSIONS} of them" if not seen.errors else f"{seen.errors} errors: {seen.first_error[:80]}"
    return [row, sessions]


def prompt(upstream: Upstream, gateway: Server) -> list[Row]:
    """What reaches the model besides the words of the person."""
    message = "bench:tokens=1"
    post_chat(gateway, message)
    body = upstream.get("/last")
    own = len(json.dumps([{"role": "user", "content": message}], separators=(",", ":")))
    row = Row("prompt the agent adds by itself", "KB", 12.0, ours=[(len(body) - own) / 1000])
    request: dict[str, Any] = json.loads(body)
    row.note = f"{len(request.get('tools') or [])} tools"
    return [row]


def stop(upstream: Upstream) -> list[Row]:
    """SIGTERM while a model talks for 40 s."""
    row = Row("SIGTERM during a 40 s turn", "s", 12.0)
    with Home(upstream) as home:
        gateway = Gateway(home)
        run = _StreamedTurn(gateway, "bench:tokens=400,rate=10")
        try:
            run.wait_for_text()
            row.ours.append(gateway.stop())
        finally:
            gateway.__exit__()
        run.thread.join(10)
        with Gateway(home) as restarted:
            row.note = f"afterwards the run is {_status(restarted, run.run_id)}"
    return [row]


def _status(gateway: Server, run_id: str) -> str:
    try:
        return str(json.loads(gateway.get(f"/v1/runs/{run_id}"))["status"])
    except (OSError, ValueError, KeyError) as error:
        return f"not found ({error})"


class _StreamedTurn:
    """A turn that is read in a thread until it ends in whatever way."""

    def __init__(self, gateway: Server, message: str) -> None:
        self.run_id = ""
        self._has_text = threading.Event()
        self._open: Callable[[], Any] = lambda: _open_stream(gateway, message)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def wait_for_text(self) -> None:
        if not self._has_text.wait(10):
            raise RuntimeError("the turn did not begin")

    def _read(self) -> None:
        try:
            with self._open() as answer:
                self.run_id = answer.headers.get("X-Hermes-Run-Id", "")
                for line in answer:
                    if b'"content":"w' in line:
                        self._has_text.set()
        except OSError:
            pass


def _open_stream(gateway: Server, message: str) -> Any:
    body = json.dumps({"model": "bench", "stream": True, "messages": [{"role": "user", "content": message}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}/v1/chat/completions", data=body)
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {gateway.key}")
    return urllib.request.urlopen(request, timeout=60)


def everything(upstream: Upstream, effort: Effort, tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    tell("starting and stopping")
    rows += start_times(upstream, effort)
    with Relay(upstream) as relay, Home(upstream) as home, Gateway(home) as gateway:
        tell("one turn after another")
        rows += latency(upstream, gateway, relay, effort)
        tell("turns a second")
        rows += throughput(upstream, gateway, relay, effort)
        tell("models that take their time")
        rows += paced(gateway, relay, effort)
        tell("500 streams")
        rows += many_streams(upstream, relay, effort)
        rows += prompt(upstream, gateway)
        tell("reads")
        rows += reads(gateway, relay, effort)
    tell("memory")
    rows += memory(upstream, effort)
    tell("SIGTERM")
    rows += stop(upstream)
    return rows
