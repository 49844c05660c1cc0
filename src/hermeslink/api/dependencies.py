"""What handlers ask for: `async def show(link: TheLink, caller: TheCaller)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Header, Query
from starlette.requests import Request

from hermes.core.errors import InvalidInput, Unauthorized
from hermes.core.peers import Peer
from hermeslink.core.caller import Caller

if TYPE_CHECKING:
    from hermeslink.app import Link
else:
    Link = Any  # FastAPI looks at the type; it need not load what Link is made of

CALLER = "hermeslink.caller"
PEER = "hermeslink.peer"
REQUEST_ID = "hermeslink.request_id"
"""Where the door leaves them in the scope of a request."""

AUTH_REQUIRED = "this needs an access token: Authorization: Bearer hlat_…"


async def link_of(request: Request) -> Link:
    link: Link = request.app.state.link
    return link


async def peer_of(request: Request) -> Peer:
    peer: Peer = request.scope[PEER]
    return peer


async def caller_if_any(request: Request) -> Caller | None:
    return request.scope.get(CALLER)


async def caller_of(request: Request) -> Caller:
    """Raises Unauthorized where nobody is known: only public routes get there without."""
    caller: Caller | None = request.scope.get(CALLER)
    if caller is None:
        raise Unauthorized(AUTH_REQUIRED, code="auth_required")
    return caller


async def resume_after(
    after: Annotated[str | None, Query(description="The id of the last event that was read.")] = None,
    last_event_id: Annotated[str | None, Header(description="The same, as browsers send it.")] = None,
) -> int:
    """Where a stream of events goes on: the greater of both. Raises InvalidInput `invalid_cursor`."""
    return max(_event_id(after), _event_id(last_event_id))


def _event_id(text: str | None) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInput("after and Last-Event-ID are the id of an event: a number", code="invalid_cursor")
    return int(text)


TheLink = Annotated[Link, Depends(link_of)]
TheCaller = Annotated[Caller, Depends(caller_of)]
MaybeCaller = Annotated[Caller | None, Depends(caller_if_any)]
"""On public routes: the device, where one sent a good token."""
ThePeer = Annotated[Peer, Depends(peer_of)]
After = Annotated[int, Depends(resume_after)]
"""Of a route that answers with events: `events_response(request, …following(after)…)`."""
