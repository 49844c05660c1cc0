"""The load generator, a process of its own: `python -m bench.load` reads a `Job` as JSON and prints what it saw.

HTTP is read only as far as needed (where an answer ends, when its first text came), so that this process is never what
limits: the bench prints its own limit beside the figures.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

FIRST_TEXT = re.compile(rb'"content": ?"[^"]')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STAMP = re.compile(rb"@(\d+\.\d{6}) ")


@dataclass
class Job:
    """`connections` work side by side, each asking again when it has its answer, until `turns` are done or `seconds`
    are over. `ramp_seconds` spreads their starts."""

    port: int
    connections: int
    turns: int | None = None
    seconds: float | None = None
    path: str = "/v1/chat/completions"
    message: str | None = "bench:tokens=20"
    key: str = "none"
    headers: dict[str, str] = field(default_factory=dict)
    warm_up_turns: int = 0
    ramp_seconds: float = 0.0
    stamps: bool = False


@dataclass
class Times:
    """Seconds."""

    p50: float = 0.0
    p95: float = 0.0
    worst: float = 0.0

    @classmethod
    def of(cls, values: list[float]) -> Times:
        if not values:
            return cls()
        values.sort()
        return cls(values[len(values) // 2], values[int(len(values) * 0.95)], values[-1])


@dataclass
class Seen:
    """What a load saw. `lateness` is that of single tokens, where the model stamped them; `tokens` counts them."""

    turns: int
    errors: int
    first_error: str
    seconds: float
    own_cpu_seconds: float
    first_text: Times
    whole: Times
    lateness: Times
    tokens: int

    @classmethod
    def from_json(cls, text: str) -> Seen:
        data = json.loads(text)
        for name in ("first_text", "whole", "lateness"):
            data[name] = Times(**data[name])
        return cls(**data)

    @property
    def turns_a_second(self) -> float:
        return self.turns / self.seconds


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    print(json.dumps(asdict(uvloop.run(run(job)))))


async def run(job: Job) -> Seen:
    loop = asyncio.get_running_loop()
    work = Work(job)
    if job.warm_up_turns:
        work.left = job.warm_up_turns
        await connect(loop, work, min(job.connections, job.warm_up_turns))
        await work.is_over.wait()
        await work.close()
        work = Work(job)
    work.left = job.turns if job.turns is not None else sys.maxsize
    began, cpu = time.monotonic(), time.process_time()
    if job.seconds is not None:
        work.ends_at = began + job.seconds
    await connect(loop, work, job.connections)
    await work.is_over.wait()
    seen = work.seen(time.monotonic() - began, time.process_time() - cpu)
    await work.close()
    return seen


async def connect(loop: asyncio.AbstractEventLoop, work: Work, connections: int) -> None:
    pause = work.job.ramp_seconds / connections
    for _ in range(connections):
        work.open += 1
        _, protocol = await loop.create_connection(lambda: Connection(work), "127.0.0.1", work.job.port)
        work.connections.append(protocol)
        if pause:
            await asyncio.sleep(pause)


class Work:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.turns = 0
        self.errors = 0
        self.first_error = ""
        self.first_text: list[float] = []
        self.whole: list[float] = []
        self.lateness: list[float] = []
        self.left = 0
        self.ends_at = float("inf")
        self.open = 0
        self.is_over = asyncio.Event()
        self.connections: list[Connection] = []
        self.request = request_bytes(job)

    def take(self) -> bool:
        if self.left <= 0 or time.monotonic() >= self.ends_at:
            return False
        self.left -= 1
        return True

    def leave(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.is_over.set()

    def fail(self, what: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or what

    def seen(self, seconds: float, own_cpu_seconds: float) -> Seen:
        tokens = len(self.lateness)
        times = (Times.of(self.first_text), Times.of(self.whole), Times.of(self.lateness))
        return Seen(self.turns, self.errors, self.first_error, seconds, own_cpu_seconds, *times, tokens)

    async def close(self) -> None:
        for connection in self.connections:
            connection.close()
        await asyncio.sleep(0.05)


class Connection(asyncio.Protocol):
    def __init__(self, work: Work) -> None:
        self._work = work
        self._transport: asyncio.Transport | None = None
        self._is_busy = False
        self._began = 0.0
        self._parts: list[bytes] = []
        self._tail = b""
        self._got_text = False
        self._expected: int | None = None
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._is_busy:
            self._work.fail(f"the connection was closed: {exc}")
            self._is_busy = False
            self._work.leave()

    def close(self) -> None:
        self._is_busy = False
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self._parts:
            length = LENGTH.search(data[: data.find(b"\r\n\r\n")])
            if length:
                self._expected = data.find(b"\r\n\r\n") + 4 + int(length.group(1))
        self._parts.append(data)
        self._size += len(data)
        if not self._got_text and FIRST_TEXT.search(data):
            self._got_text = True
            self._work.first_text.append(now - self._began)
        if self._work.job.stamps and b"@" in data:
            self._work.lateness.extend(now - float(stamp) for stamp in STAMP.findall(data))
        if self._expected is not None:
            if self._size >= self._expected:
                self._end(now)
            return
        self._tail = (self._tail + data)[-5:]
        if self._tail == b"0\r\n\r\n":
            self._end(now)

    def _ask(self) -> None:
        if self._transport is None or not self._work.take():
            self._work.leave()
            return
        self._is_busy = True
        self._parts, self._tail, self._got_text, self._expected, self._size = [], b"", False, None, 0
        self._began = time.monotonic()
        self._transport.write(self._work.request)

    def _end(self, now: float) -> None:
        self._is_busy = False
        whole = b"".join(self._parts)
        is_chat = self._work.job.message is not None
        if not whole.startswith(b"HTTP/1.1 200") or (is_chat and b"[DONE]" not in whole):
            self._work.fail(whole[:400].decode("utf-8", "replace"))
        else:
            self._work.turns += 1
            self._work.whole.append(now - self._began)
        self._ask()


def request_bytes(job: Job) -> bytes:
    head = f"{job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nAuthorization: Bearer {job.key}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
    if job.message is None:
        return f"GET {head}\r\n".encode()
    body = json.dumps({"model": "bench", "stream": True, "messages": [{"role": "user", "content": job.message}]})
    return f"POST {head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


if __name__ == "__main__":
    main()
