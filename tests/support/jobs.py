"""Jobs over a real runner with a scripted model, on a clock that stands still; and a receiver of webhooks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hermes.core.job import Job, JobRun
from hermes.core.model import Model
from hermes.core.run import Ask
from hermes.jobs.definition import Rules
from hermes.jobs.service import Jobs
from hermes.runs.runner import Runner, RunnerSettings
from hermes.runs.webhook import Webhooks
from hermes.store.database import Database
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.engine import open_runner
from tests.support.models import ScriptedModel, says
from tests.support.tools import EchoTool

SECRET = "a-secret-of-the-tests"
NOON = 1_795_521_600.0  # 2026-11-24T12:00:00Z, a Tuesday


def talker(text: str = "done", times: int = 300) -> ScriptedModel:
    return ScriptedModel([says(text)] * times)


@dataclass
class Bench:
    """`fields` of `make` beside a schedule and a prompt."""

    jobs: Jobs
    runner: Runner
    database: Database
    clock: FakeClock
    webhooks: Webhooks

    async def make(self, schedule: str = "every 1h", **fields: Any) -> Job:
        return await self.jobs.create("owner", {"schedule": schedule, "prompt": "Say it", **fields})

    async def at(self, seconds: float) -> None:
        """Move the clock there, counted from NOON, and deal with everything that is due and ends."""
        self.clock.advance(NOON + seconds - self.clock.now())
        await self.settle()

    async def settle(self) -> None:
        """Until nothing is due and every run has ended and was told."""
        while await self.jobs._scheduler.round() == 0:
            pass
        await self.runs_end()
        while await self.jobs._deliveries.round() == 0:
            pass

    async def runs_end(self) -> None:
        async with asyncio.timeout(10):
            while self.runner.active:
                await asyncio.sleep(0)

    async def history(self, job: Job) -> list[JobRun]:
        """The oldest first."""
        _, entries = await self.jobs.history(job.id, job.owner)
        return entries[::-1]

    async def told(self, job: Job) -> list[tuple[str, float]]:
        """Reasons and due times, in minutes from NOON, the oldest first."""
        return [(entry.reason.value, (entry.due_at - NOON) / 60) for entry in await self.history(job)]

    async def get(self, job: Job) -> Job:
        return (await self.jobs.get(job.id, job.owner))[0]


@asynccontextmanager
async def open_bench(
    model: Model | None = None,
    *tools: EchoTool,
    database: Database | None = None,
    clock: FakeClock | None = None,
    ask: Ask = Ask.DENY,
    keep_runs: int = 100,
    settings: RunnerSettings | None = None,
) -> AsyncIterator[Bench]:
    clock = clock or FakeClock(NOON)
    own = database is None
    database = database or await Database.open(new_url())
    webhooks = Webhooks(clock, lambda: SECRET, hosts=["127.0.0.1"])
    async with open_runner(model or talker(), *tools, database=database, clock=clock, settings=settings) as runner:
        jobs = Jobs(database, runner, webhooks, clock, ask=ask, rules=Rules(), keep_runs=keep_runs)
        yield Bench(jobs, runner, database, clock, webhooks)
    if own:
        await database.close()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Receiver:
    """`statuses` are given in order, the last one for ever. `got` are headers (lower case) and bodies. Nothing is
    answered before `gate` is set."""

    url: str = ""
    statuses: Sequence[int] = (200,)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        await self.gate.wait()
        status = self.statuses[min(len(self.got), len(self.statuses)) - 1]
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(statuses=statuses or (200,))
    receiver.gate.set()
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/told"
    try:
        yield receiver
    finally:
        server.close()
