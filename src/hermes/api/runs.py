"""/v1/runs/{run_id}: its record, its events, the answers to its questions, and its end (spec: api-server section 5)."""

from __future__ import annotations

import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes.agent.turn import usage_data
from hermes.api import sse
from hermes.api.answers import JsonAnswer, owner_of
from hermes.api.errors import error_envelope
from hermes.api.limits import read_object
from hermes.api.services import PendingApproval, Services
from hermes.core import event as events_of_run
from hermes.core.errors import Draining, HermesError, InvalidInput, NotFound
from hermes.core.event import KeptEvent, event_data
from hermes.core.run import Run
from hermes.runs.approvals import parse_choice

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_SEQ = re.compile(r"[0-9]{1,15}\Z")

CLOSED = b": stream closed\n\n"


async def show(request: Request, services: Services) -> Response:
    run = await _run(request, services)
    pending = [] if run.status.is_final else await services.runner.pending_approvals(run.id, run.owner)
    return JsonAnswer(run_object(run, [approval_object(one) for one in pending]))


async def events(request: Request, services: Services) -> ASGIApp:
    after = _after(request)
    run = await _run(request, services)
    return RunEvents(services, run, after)


async def approve(request: Request, services: Services) -> Response:
    body = await read_object(request)
    key = owner_of(request)
    run = await _run(request, services)
    choice = parse_choice(body.get("choice", body.get("decision")))
    resolved = await services.runner.answer(
        run.id,
        key.id,
        choice,
        approval_id=_optional_text(body, "approval_id") or _optional_text(body, "request_id"),
        all_pending=_optional_flag(body, "all"),
        by=key.name,
        reason=_optional_text(body, "reason"),
    )
    answer = {"object": "hermes.run.approval_response", "run_id": run.id, "choice": choice, "resolved": resolved}
    return JsonAnswer(answer)


async def stop(request: Request, services: Services) -> Response:
    run = await _run(request, services)
    await services.runner.stop(run.id, run.owner)
    return JsonAnswer({"run_id": run.id, "status": "stopping"})


def run_object(run: Run, approvals: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "object": "hermes.run",
        "run_id": run.id,
        "status": run.status.value,
        "session_id": run.session_id,
        "model": run.model,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "last_event": run.last_event,
        "last_seq": run.last_seq,
        "output": run.output,
        "finish_reason": run.finish_reason,
        "usage": usage_data(run.usage),
        "error": dict(run.error) if run.error else None,
        "approvals": approvals,
        "pending_steer": False,
        "resumed": run.resumed,
    }


def approval_object(pending: PendingApproval) -> dict[str, Any]:
    question = pending.question
    return {
        "approval_id": question.id,
        "request_id": question.id,
        "tool": question.tool,
        "tool_call_id": question.tool_call_id,
        "command": question.command,
        "description": question.description,
        "choices": list(question.choices),
        "allow_permanent": question.allow_permanent,
        "expires_at": pending.expires_at,
    }


class RunEvents:
    """The run's own stream: every event behind `after`, once, in order, for any number of readers."""

    def __init__(self, services: Services, run: Run, after: int) -> None:
        self.services = services
        self.run = run
        self.after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self.services
        async with sse.Feed(services.runner.follow(self.run.id, self.after), receive, services.stop) as feed:
            await sse.begin(send, sse.HEADERS)
            await sse.write(send, b": run events\n\n")
            while not feed.is_disconnected:
                try:
                    batch = await feed.next(services.settings.keepalive_seconds)
                except Exception as error:  # noqa: BLE001 it is too late for a status
                    await sse.write(send, _error(sse.told(error, self.run.id)))
                    break
                if batch:
                    await sse.write(send, b"".join([event_bytes(self.run.id, kept) for kept in batch]))
                elif feed.has_ended:
                    await sse.write(send, CLOSED)
                    break
                elif feed.is_stopping:
                    await sse.write(send, _error(Draining("the gateway is stopping; read on from Last-Event-ID")))
                    break
                elif not feed.is_disconnected:
                    await sse.write(send, sse.KEEP_ALIVE)
            if not feed.is_disconnected:
                await sse.write(send, b"", is_last=True)


def event_bytes(run_id: str, kept: KeptEvent) -> bytes:
    data = event_data(kept.event)
    if isinstance(kept.event, events_of_run.ApprovalRequested):
        data["request_id"] = kept.event.approval_id
    body = {"event": kept.event.name, "run_id": run_id, "seq": kept.seq, "timestamp": kept.timestamp, **data}
    return b"id: %d\ndata: %b\n\n" % (kept.seq, orjson.dumps(body))


def _error(error: HermesError) -> bytes:
    return b"event: error\ndata: " + orjson.dumps(error_envelope(error)) + b"\n\n"


async def _run(request: Request, services: Services) -> Run:
    run_id = request.path_params["run_id"]
    if _RUN_ID.match(run_id) is None:
        raise NotFound(f"no run {run_id[:128]!r}", code="run_not_found")
    return await services.runner.get(run_id, owner_of(request).id)


def _after(request: Request) -> int:
    sent = request.query_params.get("after")
    name = "after"
    if sent is None:
        sent, name = request.headers.get("Last-Event-ID"), "Last-Event-ID"
    if not sent:
        return 0
    if _SEQ.match(sent) is None:
        raise InvalidInput(f"{name} must be the number of an event", param=name)
    return int(sent)


def _optional_text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{name} must be text", param=name)
    return value


def _optional_flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false", param=name)
    return bool(value)
