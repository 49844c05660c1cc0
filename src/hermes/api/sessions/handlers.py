"""/api/sessions: list, search, make, look at, change, delete, read, fork (spec: api-server section 6).

Talking to one: `session_chat`.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from hermes.agent.messages import to_openai
from hermes.api.answers import JsonAnswer, owner_of
from hermes.api.documented import checked, documented, read_body, read_query
from hermes.api.limits import read_object
from hermes.api.services import ApiSettings, Services
from hermes.api.sessions.documentation import (
    ForkBody,
    MessageList,
    MessageListQuery,
    SearchAnswer,
    SearchQuery,
    SessionAnswer,
    SessionBody,
    SessionChange,
    SessionDeleted,
    SessionList,
    SessionListQuery,
)
from hermes.core.errors import InvalidInput, NotFound
from hermes.core.ids import is_session_id
from hermes.core.session import KeptMessage, Session
from hermes.store.search import Filter, Hit
from hermes.store.session_list import Listing, summary

Model = TypeVar("Model", bound=BaseModel)

SOURCE = "api"
"""Of what is made and said here, as of chats and runs."""

_CODES = {"id": "invalid_session_id", "title": "invalid_title", "system_prompt": "invalid_system_prompt"}
_PLACE = re.compile(r"([0-9.e+-]{1,32}) ([A-Za-z0-9._:-]{1,256})\Z")
_NUMBER = re.compile(r"[0-9]{1,18}\Z")


@documented(query=SessionListQuery, answer=SessionList)
async def list_sessions(request: Request, services: Services) -> Response:
    """List this key's sessions, the most recently active first.

    Whatever they came in by: `source` says it. Chats that re-send their history are hidden unless `include_stateless`
    or their `source` is asked for. `q` looks at titles and previews only.
    """
    asked = read_query(request, SessionListQuery)
    listing = Listing(
        limit=asked.limit,
        offset=0 if asked.cursor else asked.offset,
        before=_place(asked.cursor) if asked.cursor else None,
        source=asked.source or None,
        words=asked.q or None,
        include_stateless=asked.include_stateless,
        include_children=asked.include_children,
    )
    page = await services.sessions.list(owner_of(request).id, listing)
    cursor = f'"{_cursor(page.last_place)}"' if page.has_more and page.last_place is not None else "null"
    body = (
        f'{{"object":"list","data":[{",".join(page.summaries)}],"limit":{listing.limit},"offset":{listing.offset},'
        f'"has_more":{"true" if page.has_more else "false"},"next_cursor":{cursor}}}'
    )
    return Response(body, media_type="application/json")


@documented(
    body=SessionBody,
    is_body_optional=True,
    answer=SessionAnswer,
    status=201,
    errors=("invalid_session_id", "invalid_title", "invalid_system_prompt", "session_exists"),
)
async def create(request: Request, services: Services) -> Response:
    """Make a session."""
    asked = await _body(request, SessionBody)
    session = await services.sessions.create(
        owner_of(request).id,
        SOURCE,
        session_id=asked.id,
        title=asked.title,
        model_choice=_model_choice(asked.model, services.settings),
        system_prompt=asked.system_prompt,
    )
    return _session_answer(session, status=201)


@documented(query=SearchQuery, answer=SearchAnswer)
async def search(request: Request, services: Services) -> Response:
    """Search the text of all messages, the newest first.

    Every word of `q` must be in the message: in any order, case and accent; a phrase goes in quotes, and a star behind
    a word finds what begins with it. Nothing else in `q` is syntax.
    """
    asked = read_query(request, SearchQuery)
    only = Filter(
        source=asked.source or None,
        session_id=asked.session_id,
        role=asked.role,
        include_stateless=asked.include_stateless,
    )
    before = _number(asked.cursor) if asked.cursor else None
    found = await services.sessions.search(
        owner_of(request).id, asked.q, limit=asked.limit, before_id=before, only=only
    )
    answer = {
        "object": "list",
        "data": [hit_object(hit) for hit in found.hits],
        "limit": asked.limit,
        "has_more": found.has_more,
        "next_cursor": str(found.hits[-1].message_id) if found.has_more else None,
        "pending": found.pending,
    }
    return JsonAnswer(answer)


@documented(answer=SessionAnswer, errors=("session_not_found",))
async def show(request: Request, services: Services) -> Response:
    """Look at a session."""
    return _session_answer(await session_of(request, services))


@documented(
    body=SessionChange,
    answer=SessionAnswer,
    errors=("session_not_found", "invalid_title", "unsupported_session_field"),
)
async def change(request: Request, services: Services) -> Response:
    """Change a session's title or end reason."""
    session_id = session_id_of(request)
    body = await read_object(request)
    for name in body:
        if name not in SessionChange.model_fields:
            raise InvalidInput(
                f"{name[:64]!r} of a session cannot be changed; title and end_reason can",
                code="unsupported_session_field",
                param=name[:64],
            )
    asked = _checked(SessionChange, body)
    values = {name: getattr(asked, name) for name in body}
    return _session_answer(await services.sessions.change(owner_of(request).id, session_id, values))


@documented(answer=SessionDeleted, errors=("session_not_found", "session_busy"))
async def delete(request: Request, services: Services) -> Response:
    """Delete a session with its messages and runs.

    While a run of it is open this is 409 `session_busy`, which names the run: stop it first. Forks of it stay.
    """
    session_id = session_id_of(request)
    await services.sessions.delete(owner_of(request).id, session_id)
    return JsonAnswer({"object": "hermes.session.deleted", "id": session_id, "deleted": True})


@documented(query=MessageListQuery, answer=MessageList, errors=("session_not_found",))
async def list_messages(request: Request, services: Services) -> Response:
    """Read a session's messages, with tool calls and their results, oldest first.

    Without parameters the newest `limit` of them. Further back: `before` the `first_id` of this page; what came since:
    `after` its `last_id`.
    """
    session_id = session_id_of(request)
    asked = read_query(request, MessageListQuery)
    is_newest = asked.order == "latest" or (asked.order is None and not asked.after)
    page = await services.sessions.messages(
        owner_of(request).id,
        session_id,
        limit=asked.limit,
        after_id=asked.after,
        before_id=asked.before,
        offset=asked.offset,
        is_newest=is_newest,
    )
    messages = [message_object(kept) for kept in page.messages]
    answer = {
        "object": "list",
        "session_id": session_id,
        "data": messages,
        "limit": asked.limit,
        "has_more": page.has_more,
        "first_id": messages[0]["id"] if messages else None,
        "last_id": messages[-1]["id"] if messages else None,
    }
    return JsonAnswer(answer)


@documented(
    body=ForkBody,
    is_body_optional=True,
    answer=SessionAnswer,
    status=201,
    errors=("session_not_found", "invalid_session_id", "invalid_title", "session_exists"),
)
async def fork(request: Request, services: Services) -> Response:
    """Copy a session up to a message, to go on from there in another way.

    The source goes on living; its runs are not copied. A tool call and its results stay together: a cut between them
    takes the results along, and where they are not there yet the copy ends before the call.
    """
    session_id = session_id_of(request)
    asked = await _body(request, ForkBody)
    copy = await services.sessions.fork(
        owner_of(request).id,
        session_id,
        new_session_id=asked.id,
        title=asked.title,
        at_message_id=asked.at_message_id,
    )
    return _session_answer(copy, status=201)


def session_id_of(request: Request) -> str:
    """Raises NotFound for what cannot be an id."""
    session_id: str = request.path_params["session_id"]
    if not is_session_id(session_id):
        raise NotFound(f"no session {session_id[:128]!r}", code="session_not_found")
    return session_id


async def session_of(request: Request, services: Services) -> Session:
    return await services.sessions.get(owner_of(request).id, session_id_of(request))


def message_object(kept: KeptMessage) -> dict[str, Any]:
    message = to_openai(kept.message)
    return {
        "id": kept.id,
        "session_id": kept.session_id,
        "run_id": kept.run_id,
        "role": message["role"],
        "content": message["content"],
        "tool_calls": message.get("tool_calls"),
        "tool_call_id": message.get("tool_call_id"),
        "tool_name": message.get("name"),
        "reasoning": kept.message.reasoning or None,
        "timestamp": kept.created_at,
    }


def hit_object(hit: Hit) -> dict[str, Any]:
    return {
        "message_id": hit.message_id,
        "session_id": hit.session_id,
        "session_title": hit.title,
        "source": hit.source,
        "run_id": hit.run_id,
        "role": hit.role,
        "tool_name": hit.tool,
        "timestamp": hit.created_at,
        "snippet": hit.snippet,
    }


def _session_answer(session: Session, status: int = 200) -> Response:
    return JsonAnswer({"object": "hermes.session", "session": summary(session)}, status)


def _model_choice(name: str | None, settings: ApiSettings) -> str | None:
    """None for the server's own name, which means the default. Raises InvalidInput for a name nothing has."""
    if not name or name == settings.model_id:
        return None
    choice = settings.chosen_model(name)
    if choice is None:
        known = ", ".join((settings.model_id, *settings.model_aliases))
        raise InvalidInput(f"there is no model {name!r} here; GET /v1/models lists them: {known}", param="model")
    return choice


async def _body(request: Request, shape: type[Model]) -> Model:
    try:
        return await read_body(request, shape, is_optional=True)
    except InvalidInput as error:
        raise _coded(error) from error


def _checked(shape: type[Model], body: dict[str, Any]) -> Model:
    try:
        return checked(shape, body)
    except InvalidInput as error:
        raise _coded(error) from error


def _coded(error: InvalidInput) -> InvalidInput:
    """Some fields have an error code of their own."""
    code = _CODES.get(error.param or "")
    return error if code is None else InvalidInput(error.message, code=code, param=error.param)


def _cursor(place: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(f"{place[0]!r} {place[1]}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[float, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        found = _PLACE.match(text)
        if found is not None:
            return float(found[1]), found[2]
    except (binascii.Error, ValueError):
        pass
    raise _wrong_cursor()


def _number(cursor: str) -> int:
    if _NUMBER.match(cursor) is None:
        raise _wrong_cursor()
    return int(cursor)


def _wrong_cursor() -> InvalidInput:
    return InvalidInput("cursor must be next_cursor of the page before", param="cursor")
