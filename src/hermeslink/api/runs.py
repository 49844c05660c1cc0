"""Runs outside of conversations: started on the API server, relayed as they come, counted at their end."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from hermes.core.errors import InvalidInput
from hermes.home.paths import DEFAULT_PROFILE
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import After, TheCaller, TheLink
from hermeslink.api.sse import Event, events_response
from hermeslink.core.ids import new_id
from hermeslink.hermes.events import RemoteEvent

router = APIRouter(prefix="/api/v1", tags=["runs"])

FORM = '`id: <seq>` and `data: {"event", "run_id", "seq", …}`'
EVENTS: dict[int | str, dict[str, Any]] = {200: {"description": FORM, "content": {"text/event-stream": {}}}}
Named = Annotated[
    str | None, Header(alias="Idempotency-Key", description="The same again within a day is the same run.")
]


class RunBody(Body):
    input: Annotated[str | list[dict[str, Any]] | None, Field(description="Text, or messages.")] = None
    profile: str | None = None
    instructions: str | None = None
    session_id: Annotated[str | None, Field(max_length=256)] = None
    conversation_history: list[dict[str, Any]] | None = None
    model: Annotated[str | None, Field(max_length=256)] = None


class RunStarted(BaseModel):
    """No `ok`. `fallback` is always false: no other server answers instead."""

    run_id: str
    fallback: Literal[False] = False


class RunCancelled(Answer):
    run_id: str
    status: Literal["stopping"] = "stopping"


@router.post("/runs", status_code=202)
async def start_run(link: TheLink, caller: TheCaller, body: RunBody, idempotency_key: Named = None) -> RunStarted:
    """Start a run. It goes on without a reader, and what it uses is counted either way."""
    if not body.input or (isinstance(body.input, str) and not body.input.strip()):
        raise InvalidInput("say what the run is to do", code="run_input_required", param="input")
    asked = body.model_dump(exclude={"profile"}, exclude_none=True)
    run_id = await link.direct_runs.start(
        body.profile or DEFAULT_PROFILE,
        asked,
        device_id=caller.device_id,
        idempotency_key=_key(caller.device_id, idempotency_key),
    )
    return RunStarted(run_id=run_id)


@router.get("/runs/{run_id}/events", response_class=Response, responses=EVENTS)
async def follow_run(request: Request, link: TheLink, caller: TheCaller, run_id: str, after: After) -> Response:
    """The run's events as the API server sends them, from the first or behind one that was seen."""
    server = await link.direct_runs.server_of(run_id)
    await server.run(run_id)  # what is wrong is told with a status, as long as nothing was sent
    events = _relayed(link.direct_runs.follow(server, run_id, after))
    return events_response(request, events, link.devices.revoked(caller.device_id))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(link: TheLink, run_id: str) -> RunCancelled:
    """Stop the agent itself. 409 `run_not_active` when it has ended or is stopping."""
    await link.direct_runs.cancel(run_id)
    return RunCancelled(run_id=run_id)


async def _relayed(events: AsyncGenerator[RemoteEvent, None]) -> AsyncIterator[Event]:
    """Without a type of their own, as they came: a browser's EventSource hands such events to `onmessage`."""
    async with aclosing(events):
        async for event in events:
            yield event.seq, "", event.raw


def _key(device_id: str, sent: str | None) -> str:
    """A device's own, whatever others call theirs. Without one, a request that is repeated on the way is one still."""
    if sent is None:
        return new_id("run")
    return "link-" + hashlib.sha256(f"{device_id} {sent}".encode()).hexdigest()
