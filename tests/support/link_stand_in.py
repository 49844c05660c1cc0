"""A small server that speaks the API server's interface, without sessions on runs: what Link is tested in front of.

What its agent does is scripted, a list of steps a run. It can be stopped, started again on the same port with another
key, and made to stall. What was asked of it is in `asked`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

FINAL = ("run.completed", "run.failed", "run.cancelled", "run.interrupted")
FEATURES = {
    "run_submission": True,
    "run_status": True,
    "run_events_sse": True,
    "run_stop": True,
    "run_approval_response": True,
    "jobs_admin": True,
    "session_resources": False,
    "session_continuity_header": False,
    "idempotency": True,
}


# --- the steps of a script ---


@dataclass(frozen=True)
class Say:
    """Deltas, one an event."""

    deltas: tuple[str, ...]


@dataclass(frozen=True)
class Emit:
    """An event as it stands."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """An approval, which is waited for. `always` is not offered."""

    command: str = "rm -rf build"
    approval_id: str = "appr_1"


@dataclass(frozen=True)
class Wonder:
    """A question of the model, which is waited for."""

    question: str = "Which colour?"
    choices: tuple[str, ...] = ("red", "blue")
    clarify_id: str = "clar_1"


@dataclass(frozen=True)
class Wait:
    """Until `release` of the server, or a stop."""


@dataclass(frozen=True)
class Fail:
    message: str = "the model is gone"
    code: str = "upstream_error"


Step = Say | Emit | Ask | Wonder | Wait | Fail


def say(*deltas: str) -> Say:
    return Say(deltas)


@dataclass(eq=False)
class StandInRun:
    id: str
    body: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    status: str = "running"
    output: str = ""
    choices: dict[str, str] = field(default_factory=dict)
    is_stopped: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def has_ended(self) -> bool:
        return bool(self.events) and self.events[-1]["event"] in FINAL

    def emit(self, kind: str, **data: Any) -> None:
        seq = len(self.events) + 1
        self.events.append({"event": kind, "run_id": self.id, "seq": seq, "timestamp": time.time(), **data})
        self.notify()

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class LinkStandIn:
    """`script` is what the next runs do; `scripts` goes first, one a run. `usage` is what each run costs."""

    def __init__(self, key: str = "stand-in-key", script: Sequence[Step] = (Say(("Hello", " there")),)) -> None:
        self.key = key
        self.script = script
        self.scripts: list[Sequence[Step]] = []
        self.usage: dict[str, Any] = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "cost_usd": 0.5}
        self.features: dict[str, Any] = dict(FEATURES)
        self.runs: dict[str, StandInRun] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.port = 0
        self.is_stalled = False
        self.has_numbers = True
        """Whether its events have `id` and `seq`."""
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        """(method, path) → status and JSON, instead of what it would answer."""
        self._released = asyncio.Event()
        self._unstalled = asyncio.Event()
        self._by_key: dict[str, tuple[str, StandInRun]] = {}
        self._count = itertools.count(1)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> LinkStandIn:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
        await self.forget()

    async def start(self, key: str | None = None) -> None:
        """On the port it had."""
        self.key = key or self.key
        app = web.Application(middlewares=[self._door])
        add = app.router.add_route
        add("GET", "/health", self._health)
        add("GET", "/v1/models", self._models)
        add("GET", "/v1/capabilities", self._capabilities)
        add("POST", "/v1/runs", self._create)
        add("GET", "/v1/runs/{run_id}", self._show)
        add("GET", "/v1/runs/{run_id}/events", self._events)
        add("POST", "/v1/runs/{run_id}/approval", self._approve)
        add("POST", "/v1/runs/{run_id}/clarify", self._clarify)
        add("POST", "/v1/runs/{run_id}/stop", self._stop)
        add("*", "/api/jobs{rest:.*}", self._jobs)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Open streams break off; its runs go on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def forget(self) -> None:
        """As after a restart without a store: no run is known."""
        tasks = [run.task for run in self.runs.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.runs.clear()
        self._by_key.clear()

    def release(self) -> None:
        """Runs that wait go on."""
        self._released.set()
        self._released = asyncio.Event()

    def stall(self) -> None:
        """From now on it takes requests and says nothing, not even to open streams."""
        self.is_stalled = True
        self._unstalled = asyncio.Event()

    def unstall(self) -> None:
        self.is_stalled = False
        self._unstalled.set()

    def write_env(self, home: Path, *, key: str | None = None) -> None:
        """As the .env of a profile that this is the server of."""
        home.mkdir(parents=True, exist_ok=True)
        (home / ".env").write_text(
            f"API_SERVER_ENABLED=true\nAPI_SERVER_KEY={key or self.key}\nAPI_SERVER_PORT={self.port}\n"
        )

    # --- the agent ---

    async def _perform(self, run: StandInRun, script: Sequence[Step]) -> None:
        run.emit("run.started", session_id="session-of-its-own", model="stand-in")
        for step in script:
            if run.is_stopped:
                break
            match step:
                case Say(deltas):
                    for delta in deltas:
                        run.output += delta
                        run.emit("message.delta", delta=delta)
                        await asyncio.sleep(0)
                case Emit(kind, data):
                    run.emit(kind, **data)
                case Wait():
                    await self._until(run, self._released.wait())
                case Ask():
                    await self._approval(run, step)
                case Wonder(question, choices, clarify_id):
                    expires = time.time() + 60
                    asked = {"clarify_id": clarify_id, "question": question, "choices": list(choices)}
                    run.emit("clarify.request", tool_call_id="call_1", expires_at=expires, **asked)
                    while clarify_id not in run.choices and not run.is_stopped:
                        await run.changed.wait()
                case Fail(message, code):
                    run.status = "failed"
                    run.emit("run.failed", error={"message": message, "code": code})
                    return
        if run.is_stopped:
            run.status = "cancelled"
            run.emit("run.cancelled", usage=self.usage)
        elif not run.has_ended:
            run.status = "completed"
            run.emit("run.completed", output=run.output, usage=self.usage)
        else:
            run.status = run.events[-1]["event"].removeprefix("run.")

    async def _approval(self, run: StandInRun, ask: Ask) -> None:
        run.status = "waiting_for_approval"
        run.emit(
            "approval.request",
            approval_id=ask.approval_id,
            request_id=ask.approval_id,
            tool="terminal",
            command=ask.command,
            description="deletes files",
            choices=["once", "session", "deny"],
            allow_permanent=False,
            expires_at=time.time() + 60,
        )
        while ask.approval_id not in run.choices and not run.is_stopped:
            await run.changed.wait()
        run.status = "running"

    async def _until(self, run: StandInRun, released: Any) -> None:
        waiting = asyncio.ensure_future(released)
        while not waiting.done() and not run.is_stopped:
            changed = asyncio.ensure_future(run.changed.wait())
            await asyncio.wait({waiting, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        waiting.cancel()

    # --- the routes ---

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append((request.method, request.path, await _body(request)))
        if self.is_stalled:
            await self._unstalled.wait()
        if request.path != "/health" and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "invalid_api_key", "Invalid API key")
        planned = self.answers.get((request.method, request.path))
        if planned is not None:
            return web.json_response(planned[1], status=planned[0])
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "platform": "stand-in", "version": "9.9"})

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "stand-in", "object": "model"}]})

    async def _capabilities(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "hermes.api_server.capabilities", "platform": "stand-in", "features": self.features}
        )

    async def _create(self, request: web.Request) -> web.Response:
        body = await _body(request)
        key = request.headers.get("Idempotency-Key")
        if key is not None and key in self._by_key:
            text, run = self._by_key[key]
            if text != json.dumps(body):
                return _error(409, "idempotency_key_conflict", "that key is another request's")
            return web.json_response({"run_id": run.id, "status": "started", "replayed": True}, status=202)
        run = StandInRun(f"run_{next(self._count):032x}", body)
        self.runs[run.id] = run
        if key is not None:
            self._by_key[key] = (json.dumps(body), run)
        script = self.scripts.pop(0) if self.scripts else self.script
        run.task = asyncio.get_running_loop().create_task(self._perform(run, script))
        return web.json_response({"run_id": run.id, "status": "started", "replayed": False}, status=202)

    async def _show(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["run_id"])
        if run is None:
            return _error(404, "run_not_found", "no such run")
        answer: dict[str, Any] = {
            "object": "hermes.run",
            "run_id": run.id,
            "status": run.status,
            "model": "stand-in",
            "output": run.output,
            "usage": self.usage,
            "last_seq": len(run.events),
            "error": run.events[-1].get("error") if run.events else None,
            "approvals": [],
        }
        return web.json_response(answer)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        run = self.runs.get(request.match_info["run_id"])
        if run is None:
            return _error(404, "run_not_found", "no such run")
        after = int(request.headers.get("Last-Event-ID") or request.query.get("after") or 0)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            if self.is_stalled:
                await self._unstalled.wait()
            changed = run.changed
            for event in run.events[after if self.has_numbers else 0 :]:
                await response.write(self._block(event))
            after = len(run.events)
            if run.has_ended:
                break
            await changed.wait()
        await response.write(b": stream closed\n\n")
        return response

    def _block(self, event: dict[str, Any]) -> bytes:
        if self.has_numbers:
            return b"id: %d\ndata: %s\n\n" % (event["seq"], json.dumps(event).encode())
        bare = {name: value for name, value in event.items() if name != "seq"}
        return b"data: %s\n\n" % json.dumps(bare).encode()

    async def _approve(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["run_id"])
        if run is None:
            return _error(404, "run_not_found", "no such run")
        body = await _body(request)
        asked = [event["approval_id"] for event in run.events if event["event"] == "approval.request"]
        if body["approval_id"] not in asked or body["approval_id"] in run.choices:
            return _error(409, "approval_not_pending", "that question waits for no answer")
        run.choices[body["approval_id"]] = body["choice"]
        run.emit(
            "approval.responded",
            approval_id=body["approval_id"],
            choice=body["choice"],
            by="owner",
            outcome="user",
        )
        return web.json_response({"run_id": run.id, "choice": body["choice"], "resolved": 1})

    async def _clarify(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["run_id"])
        if run is None:
            return _error(404, "run_not_found", "no such run")
        body = await _body(request)
        asked = [event["clarify_id"] for event in run.events if event["event"] == "clarify.request"]
        if body["clarify_id"] not in asked or body["clarify_id"] in run.choices:
            return _error(409, "clarify_not_pending", "that question waits for no answer")
        run.choices[body["clarify_id"]] = body["answer"]
        run.emit("clarify.responded", **body, by="owner", outcome="user")
        return web.json_response({"object": "hermes.run.clarify_response", "run_id": run.id, **body})

    async def _stop(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["run_id"])
        if run is None:
            return _error(404, "run_not_found", "no such run")
        if run.has_ended or run.is_stopped:
            return _error(409, "run_not_active", "the run is over")
        run.is_stopped = True
        run.notify()
        return web.json_response({"run_id": run.id, "status": "stopping"})

    async def _jobs(self, request: web.Request) -> web.Response:
        parts = [part for part in request.match_info["rest"].split("/") if part]
        body = await _body(request) or {}
        if not parts and request.method == "GET":
            return web.json_response({"jobs": list(self.jobs.values())})
        if not parts:
            job = {"id": f"job_{next(self._count)}", "enabled": True, **body}
            self.jobs[job["id"]] = job
            return web.json_response({"job": job})
        found = self.jobs.get(parts[0])
        if found is None:
            return _error(404, "job_not_found", "no such job")
        if request.method == "DELETE":
            del self.jobs[parts[0]]
            return web.json_response({"ok": True, "id": parts[0]})
        if parts[1:] in (["pause"], ["resume"]):
            found["enabled"] = parts[1] == "resume"
        found.update(body)
        return web.json_response({"job": found})


async def _body(request: web.Request) -> Any:
    return json.loads(await request.read() or b"null")


def _error(status: int, code: str, message: str) -> web.Response:
    envelope = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": envelope}, status=status)
