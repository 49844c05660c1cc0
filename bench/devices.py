"""Readers of event streams, a process of its own: `python -m bench.devices` reads a `Watch` as JSON.

It prints `ready` when all streams are open, reads for as long as tokens come, and prints what it `Saw`.
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

from bench.load import Times

STAMP = re.compile(rb"@(\d+\.\d{6}) ")
DELTA = b"message.delta"
"""Other events hold the same text again."""
END = re.compile(rb'(event: |"event": ?")run\.(completed|failed|cancelled)')


@dataclass
class Watch:
    """Each of `streams` is a port, a path and a token. It is over when each stream has had its `ends`, or after
    `seconds`.
    """

    streams: list[tuple[int, str, str]]
    ends: int
    seconds: float


@dataclass
class Saw:
    """`lateness` is that of single tokens: from when the model sent one to when its bytes were here."""

    lateness: Times
    tokens: int
    size: int
    unfinished: int
    first_error: str = ""

    @classmethod
    def from_json(cls, text: str) -> Saw:
        data = json.loads(text)
        return cls(**{**data, "lateness": Times(**data["lateness"])})


@dataclass
class Work:
    watch: Watch
    open: int = 0
    done: int = 0
    size: int = 0
    first_error: str = ""
    lateness: list[float] = field(default_factory=list)
    are_open: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Stream(asyncio.Protocol):
    def __init__(self, work: Work, path: str, token: str) -> None:
        self._work = work
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
        self._request = f"{head}Authorization: Bearer {token}\r\n\r\n"
        self._tail = b""
        self._ends = 0
        self._is_open = self._is_done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request.encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        work = self._work
        work.size += len(data)
        if not self._is_open:
            self._is_open = True
            if not data.startswith(b"HTTP/1.1 200"):
                work.first_error = work.first_error or data[:300].decode("utf-8", "replace")
            work.open += 1
            if work.open == len(work.watch.streams):
                work.are_open.set()
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()
        for line in lines:
            if DELTA in line:
                work.lateness += [now - float(found[1]) for found in STAMP.finditer(line)]
            elif END.search(line):
                self._ends += 1
        if self._ends >= work.watch.ends:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_done and not self._work.is_over.is_set():
            self._work.first_error = self._work.first_error or f"a stream was closed: {exc}"
            self._work.are_open.set()
        self._finish()

    def _finish(self) -> None:
        if not self._is_done:
            self._is_done = True
            self._work.done += 1
            if self._work.done == len(self._work.watch.streams):
                self._work.is_over.set()


async def run(watch: Watch) -> Saw:
    loop = asyncio.get_running_loop()
    work = Work(watch)
    for port, path, token in watch.streams:
        await loop.create_connection(
            lambda path=path, token=token: Stream(work, path, token),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
    await asyncio.wait_for(work.are_open.wait(), 60)
    print("ready", flush=True)
    try:
        await asyncio.wait_for(work.is_over.wait(), watch.seconds)
    except TimeoutError:
        work.is_over.set()
    tokens = len(work.lateness)
    return Saw(Times.of(work.lateness), tokens, work.size, len(watch.streams) - work.done, work.first_error)


def main() -> None:
    watch = Watch(**json.loads(sys.stdin.readline()))
    print(json.dumps(asdict(uvloop.run(run(watch)))))


if __name__ == "__main__":
    main()
