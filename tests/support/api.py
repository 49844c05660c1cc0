"""The API over a real socket, with a runner that plays lists of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import uvicorn
from uvicorn.server import ServerState

from hermes.api.app import build_api
from hermes.api.auth import OwnerKey
from hermes.api.services import Services
from hermes.api.serving import HttpProtocol, serve_options
from hermes.core import event as events
from hermes.core.clock import SystemClock
from hermes.core.errors import Conflict, NotFound
from hermes.core.event import KeptEvent, RunEvent, is_final
from hermes.core.hosts import AllowedHosts
from hermes.core.ports import ApprovalQuestion
from hermes.core.run import Run, RunRequest, RunStatus
from hermes.store.clarifications import PendingClarification

KEY = "k" * 20 + "0123456789abcdef"
AUTH = {"Authorization": f"Bearer {KEY}"}
STARTED_AT = 1_700_000_000.0

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "cache_read_tokens": 4, "reasoning_tokens": 2}

Script = Sequence[Any]
"""Run events, and an asyncio.Event where the run waits."""


def hello(*pieces: str) -> list[RunEvent]:
    """A run that says something."""
    text = "".join(pieces)
    return [
        events.RunStarted("sess_1", "scripted"),
        *(events.MessageDelta(piece) for piece in pieces),
        events.RunCompleted(text, USAGE, "stop", "scripted"),
    ]


@dataclass(frozen=True)
class Pending:
    question: ApprovalQuestion
    expires_at: float


@dataclass
class FakeRunner:
    """`script` is what each run does; an asyncio.Event in it is waited for. Runs are numbered from 1."""

    script: Script = field(default_factory=lambda: hello("Hello", " there"))
    raises: BaseException | None = None
    requests: list[RunRequest] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    stopped: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[Any, ...]] = field(default_factory=list)
    steers: list[tuple[str, str]] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    clarifications: list[PendingClarification] = field(default_factory=list)
    stop_event: asyncio.Event = field(default_factory=asyncio.Event)
    asked_for: list[str] = field(default_factory=list)
    claims: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    active: int = 0
    queued: int = 0

    async def start(self, request: RunRequest) -> Run:
        if self.raises is not None:
            raise self.raises
        self.requests.append(request)
        claim = request.idempotency
        if claim is not None:
            run_id, fingerprint = self.claims.get((request.owner, claim.key), ("", ""))
            if run_id and fingerprint != claim.fingerprint:
                raise Conflict("used with another request", code="idempotency_key_conflict")
            if run_id:
                return replace(self.runs[run_id], is_replay=True)
        run = Run(
            id=f"run_{len(self.runs) + 1:032x}",
            session_id=request.session_id or "sess_1",
            owner=request.owner,
            source=request.source,
            status=RunStatus.RUNNING,
            created_at=STARTED_AT,
            updated_at=STARTED_AT,
            model="scripted",
        )
        self.runs[run.id] = run
        if claim is not None:
            self.claims[request.owner, claim.key] = (run.id, claim.fingerprint)
        return run

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[KeptEvent]:
        seq = 0
        for item in self.script:
            if isinstance(item, asyncio.Event):
                stopping = asyncio.ensure_future(self.stop_event.wait())
                waiting = asyncio.ensure_future(item.wait())
                try:
                    await asyncio.wait((stopping, waiting), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    stopping.cancel()
                    waiting.cancel()
                if self.stop_event.is_set():
                    yield KeptEvent(seq + 1, STARTED_AT, events.RunCancelled("stopped by the user"))
                    return
                continue
            seq += 1
            if seq > after:
                yield KeptEvent(seq, STARTED_AT + seq, item)
            if is_final(item):
                return

    async def get(self, run_id: str, owner: str) -> Run:
        self.asked_for.append(run_id)
        run = self.runs.get(run_id)
        if run is None or run.owner != owner:
            raise NotFound(f"no run {run_id!r}", code="run_not_found")
        return run

    async def pending_approvals(self, run_id: str, owner: str) -> Sequence[Pending]:
        await self.get(run_id, owner)
        return self.pending

    async def answer(
        self,
        run_id: str,
        owner: str,
        choice: object,
        *,
        approval_id: str | None = None,
        all_pending: bool = False,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        await self.get(run_id, owner)
        self.answers.append((run_id, choice, approval_id, all_pending, by, reason))
        return 1

    async def list_runs(
        self,
        owner: str,
        *,
        session_id: str | None = None,
        statuses: Collection[RunStatus] = (),
        limit: int = 50,
        before: tuple[float, str] | None = None,
    ) -> Sequence[Run]:
        return [run for run in self.runs.values() if run.owner == owner][:limit]

    async def pending_clarifications(self, run_id: str, owner: str) -> Sequence[PendingClarification]:
        await self.get(run_id, owner)
        return self.clarifications

    async def clarify(
        self, owner: str, run_id: str, answer: object, clarify_id: str | None = None, *, by: str | None = None
    ) -> str:
        await self.get(run_id, owner)
        self.answers.append((run_id, answer, clarify_id, by))
        return clarify_id or "clar_1"

    async def steer(self, run_id: str, owner: str, text: str, *, by: str | None = None) -> None:
        await self.get(run_id, owner)
        self.steers.append((run_id, text))

    async def has_pending_steer(self, run_id: str) -> bool:
        return any(steered == run_id for steered, _ in self.steers)

    async def stop(self, run_id: str, owner: str, reason: str = "stopped by the user") -> None:
        await self.get(run_id, owner)
        if run_id in {stopped for stopped, _ in self.stopped}:
            raise Conflict(f"run {run_id!r} is not running", code="run_not_active")
        self.stopped.append((run_id, reason))
        self.stop_event.set()


def make_services(runner: FakeRunner | None = None, **values: Any) -> Services:
    made: dict[str, Any] = {
        "runner": runner or FakeRunner(),
        "keys": OwnerKey(KEY),
        "hosts": AllowedHosts(),
        "clock": SystemClock(),
        "version": "1.2.3",
        "started_at": STARTED_AT,
    }
    return Services(**(made | values))


@asynccontextmanager
async def serving(services: Services) -> AsyncIterator[Server]:
    """The app behind uvicorn's protocol on a free port; what is still open at the end is closed."""
    config = uvicorn.Config(build_api(services), **serve_options())
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=AUTH, timeout=20) as client:
            yield Server(services, client, port, state)
    finally:
        services.stop.set()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=1)
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


@dataclass
class Server:
    services: Services
    client: httpx.AsyncClient
    port: int
    state: ServerState

    @property
    def runner(self) -> FakeRunner:
        runner = self.services.runner
        assert isinstance(runner, FakeRunner)
        return runner

    async def chat(self, text: str = "Hi", headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": "hermes-agent", "messages": [{"role": "user", "content": text}], **fields}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    async def raw(self, request: bytes) -> bytes:
        """Everything the server sends on a connection of its own, to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()


@dataclass(frozen=True)
class Sent:
    """One server-sent event. `data` is parsed where it is JSON."""

    event: str | None
    data: Any
    id: str | None = None


def sse_events(body: str) -> list[Sent]:
    """Comments are left out."""
    found = []
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            data = fields["data"]
            found.append(
                Sent(
                    fields.get("event"),
                    json.loads(data) if data[0] in "{[" and data != "[DONE]" else data,
                    fields.get("id"),
                )
            )
    return found
