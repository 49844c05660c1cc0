"""How a client of the torture test speaks: to any node, and again where nobody answers."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.torture.ledger import Ledger, Reader

PATIENCE_SECONDS = 180.0
"""How long a client tries to be answered. Longer than any node is away, or than an approval waits."""
TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class Unanswered(Exception):
    """Nobody said whether it was done: the connection broke, or the server said that it does not know (503)."""


class Stuck(Exception):
    """No answer within PATIENCE_SECONDS: the server is held to be hanging."""


@dataclass
class Door:
    """`urls` are those of all nodes, up or not. `dice` chooses which is asked."""

    urls: Sequence[str]
    key: str
    dice: random.Random
    ledger: Ledger
    client: httpx.AsyncClient

    async def once(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One try on a random node. Raises Unanswered. An answer that no client should ever get is a violation."""
        try:
            answer = await self.client.request(method, self._url(path), **self._with_key(options))
        except httpx.TransportError as error:
            raise Unanswered(repr(error)) from error
        return self._checked(method, path, answer)

    async def surely(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Again and again until there is an answer: for what may be asked twice."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await self.once(method, path, **options)
            except Unanswered as why:
                if time.monotonic() > deadline:
                    raise Stuck(f"{method} {path}: no answer for {PATIENCE_SECONDS:g} s, last {why}") from why
                self.ledger.retries += 1
            await asyncio.sleep(0.05 + self.dice.random() * 0.3)

    @asynccontextmanager
    async def streaming(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """Raises Unanswered where there is no answer; what breaks later is httpx's own error."""
        request = self.client.build_request(method, self._url(path), **self._with_key(options))
        try:
            answer = await self.client.send(request, stream=True)
        except httpx.TransportError as error:
            raise Unanswered(repr(error)) from error
        try:
            if answer.status_code >= 400:
                try:
                    await answer.aread()
                except httpx.TransportError as error:
                    raise Unanswered(repr(error)) from error
            yield self._checked(method, path, answer)
        finally:
            await answer.aclose()

    async def follow(self, run_id: str, reader: Reader | None = None) -> AsyncIterator[dict[str, Any]]:
        """A run's events to its final one, over as many connections as it takes. Each must be the next one."""
        reader = reader or self.reader(run_id)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reader.has_ended:
            if time.monotonic() > deadline:
                raise Stuck(f"run {run_id} has no end: nothing behind event {len(reader.seen)}")
            headers = {"Last-Event-ID": str(len(reader.seen))} if reader.seen else {}
            reader.connections += 1
            try:
                async with self.streaming("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
                    if answer.status_code != 200:
                        self.ledger.wrong(f"events of an acknowledged run: {answer.status_code} {answer.text}", run_id)
                        return
                    async for data in data_lines(answer):
                        event = json.loads(data)
                        if "seq" not in event:
                            break  # `event: error`: the stream, not the run, is over
                        self._see(reader, event["seq"], data)
                        deadline = time.monotonic() + PATIENCE_SECONDS
                        yield event
            except (Unanswered, httpx.TransportError):
                self.ledger.retries += 1
            if not reader.has_ended:
                await asyncio.sleep(0.05 + self.dice.random() * 0.2)

    def reader(self, run_id: str) -> Reader:
        reader = Reader(run_id)
        self.ledger.readers.append(reader)
        return reader

    def _see(self, reader: Reader, seq: int, data: str) -> None:
        if seq != len(reader.seen) + 1:
            self.ledger.wrong(f"a reader got event {seq} after {len(reader.seen)}", reader.of)
        if seq in reader.seen and reader.seen[seq] != data:
            self.ledger.wrong(f"a reader got two events {seq}: {reader.seen[seq]} and {data}", reader.of)
        reader.seen[seq] = data
        reader.has_ended = json.loads(data)["event"] in FINAL

    def _url(self, path: str) -> str:
        return self.dice.choice(self.urls) + path

    def _with_key(self, options: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}", **options.get("headers", {})}
        return {**options, "headers": headers}

    def _checked(self, method: str, path: str, answer: httpx.Response) -> httpx.Response:
        status = answer.status_code
        if status == 503:
            raise Unanswered(answer.text)
        if status >= 500 and "scripted" not in answer.text:
            run_id = answer.headers.get("x-hermes-run-id")
            self.ledger.wrong(f"{method} {path} was answered {status}: {answer.text}", run_id)
        return answer


FINAL = frozenset({"run.completed", "run.failed", "run.cancelled", "run.interrupted"})


async def data_lines(answer: httpx.Response) -> AsyncIterator[str]:
    """What stands behind `data: ` of each event that is JSON."""
    async for text in answer.aiter_lines():
        if text.startswith("data: {"):
            yield text[6:]
