"""The events of one conversation, and of all of them, as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hermeslink.api.dependencies import After, TheCaller, TheLink
from hermeslink.api.sse import Event, events_response

router = APIRouter(prefix="/api/v1", tags=["events"])

NOT_NOTIFIED = frozenset({"message.delta", "message.updated", "tool.started", "tool.completed"})
"""What `mode=notifications` leaves out: what happens within an answer."""

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/conversations/events", responses=_STREAM, response_class=Response)
async def follow_all(
    request: Request,
    link: TheLink,
    caller: TheCaller,
    after: After,
    mode: Annotated[Literal["all", "notifications"], Query()] = "all",
) -> Response:
    """The events of all conversations, numbered over all of them: from the one behind `after` or `Last-Event-ID`, else
    from now on; the first thing sent says where that is. `mode=notifications` leaves out what happens within an
    answer."""
    is_resumed = "after" in request.query_params or "last-event-id" in request.headers
    start = after if is_resumed else await link.conversations.newest_event()
    left_out = NOT_NOTIFIED if mode == "notifications" else frozenset[str]()
    return events_response(request, _all(link, start, left_out), link.devices.revoked(caller.device_id))


@router.get("/conversations/{conversation_id}/events", responses=_STREAM, response_class=Response)
async def follow_one(
    conversation_id: str, request: Request, link: TheLink, caller: TheCaller, after: After
) -> Response:
    """The events of a conversation: those behind `after` or `Last-Event-ID`, then what comes, until it is deleted."""
    await link.conversations.check_events(conversation_id, after)
    return events_response(request, _one(link, conversation_id, after), link.devices.revoked(caller.device_id))


async def _all(link: TheLink, after: int, left_out: frozenset[str]) -> AsyncIterator[Event]:
    yield after, "", b""
    async for events in link.log.follow_many(None, after):
        for event in events:
            if event.type not in left_out:
                yield event.number, event.type, event.envelope


async def _one(link: TheLink, conversation_id: str, after: int) -> AsyncIterator[Event]:
    async for events in link.log.follow_many(conversation_id, after):
        for event in events:
            yield event.seq, event.type, event.envelope
