"""POST /api/sessions/{id}/chat and …/chat/stream: a turn of a session that is there (spec: api-server section 6).

The run is durable: it goes on when the client leaves, waits the whole time for an approval, and survives a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from hermes.agent.messages import from_openai, image_urls
from hermes.api import headers as names
from hermes.api.answers import JsonAnswer, headers_of, owner_of
from hermes.api.chat import parameters
from hermes.api.chat.answer import answer_headers, failure, warnings
from hermes.api.chat.completions import answers_known, fingerprint, split_turn
from hermes.api.content import prepared
from hermes.api.documented import documented
from hermes.api.errors import kept_error_response
from hermes.api.limits import read_object
from hermes.api.run_answer import StreamedAnswer, WholeAnswer
from hermes.api.services import ApiSettings, Services
from hermes.api.sessions.documentation import MAX_IMAGES, SessionChatAnswer, SessionChatBody
from hermes.api.sessions.handlers import SOURCE, message_object, session_of
from hermes.api.sessions.stream import SessionStream, message_id
from hermes.core import event as events
from hermes.core.errors import HermesError, InvalidInput
from hermes.core.event import KeptEvent, is_final
from hermes.core.message import FilePart, ImagePart, Message
from hermes.core.run import Ask, IdempotencyClaim, Run, RunRequest
from hermes.http.headers import RawHeaders

_KNOWN = frozenset(SessionChatBody.model_fields) | frozenset(parameters.FORWARDED)
_ERRORS = (
    "session_not_found",
    "missing_message",
    "invalid_system_message",
    "invalid_content_part",
    "file_not_found",
    "invalid_image_url",
    "unsupported_content_type",
    "invalid_session_key",
    "invalid_idempotency_key",
    "idempotency_key_conflict",
    "context_length_exceeded",
    "run_cancelled",
    "no_model",
    "upstream_error",
)


@dataclass(frozen=True, slots=True)
class SessionCall:
    """A parsed request. `remote_images` are places in the client's request and URLs."""

    request: RunRequest
    remote_images: tuple[tuple[str, str], ...] = ()


@documented(body=SessionChatBody, answer=SessionChatAnswer, errors=_ERRORS)
async def chat(request: Request, services: Services) -> ASGIApp:
    """Say something in a session and wait for the whole answer.

    A dangerous tool call is asked about (`GET /v1/runs/{run_id}`, `POST …/approval`), and this request waits as long.
    When the connection closes, the run goes on; its answer is in the session. A failed model is an error status.
    """
    return await _answer(request, services, is_stream=False)


@documented(body=SessionChatBody, media_type="text/event-stream", errors=_ERRORS)
async def stream(request: Request, services: Services) -> ASGIApp:
    """Say something in a session and follow the run as named events.

    `run.started, message.started, assistant.delta, reasoning.delta, tool.started, tool.completed, subagent.start,
    subagent.complete, approval.request, approval.responded, clarify.request, clarify.responded, assistant.completed,
    run.completed, error, done`, each with `session_id, run_id, seq, ts`.
    When the connection closes, the run goes on: `GET /v1/runs/{run_id}/events` follows it, and the same request with
    the same Idempotency-Key gives the same events again.
    """
    return await _answer(request, services, is_stream=True)


async def _answer(request: Request, services: Services, *, is_stream: bool) -> ASGIApp:
    session = await session_of(request, services)
    body = await read_object(request)
    route = f"POST {request.url.path}"
    call = parse(body, headers_of(request), owner_of(request).id, session.id, services.settings, route)
    asked = await prepared(call.request, services, call.remote_images)
    run = await services.runner.start(asked)
    return StreamedTurn(services, run, asked) if is_stream else WholeTurn(services, run, asked)


def parse(
    body: Mapping[str, Any],
    headers: RawHeaders,
    owner: str,
    session_id: str,
    settings: ApiSettings,
    route: str,
) -> SessionCall:
    """Raises InvalidInput naming the field."""
    said, remote_images = _said(body)
    own = _instructions(body)
    system = [text for message in said if message.role == "system" and (text := message.text.strip())]
    turn = tuple(message for message in said if message.role != "system")
    ignored = parameters.ignored_fields(body, _KNOWN)
    if body.get("messages") is not None and body.get("message") is None and body.get("input") is None:
        history, turn = split_turn(turn)
        if history:
            ignored.append("the messages before the last turn are not used: the session's own history counts")
    session_key = names.session_key(headers)
    key = names.idempotency_key(headers)
    request = RunRequest(
        owner=owner,
        source=SOURCE,
        messages=turn,
        session_id=session_id,
        keep=answers_known(said, turn),
        session_key=session_key,
        instructions="\n\n".join([*system, *([own] if own else [])]),
        model=settings.chosen_model(parameters.model_name(body.get("model"))),
        params=parameters.model_params(body),
        limits=settings.limits,
        ask=Ask.WAIT,
        is_durable=True,
        idempotency=None
        if key is None
        else IdempotencyClaim(key, fingerprint(body, session_id, session_key, route=route)),
        warnings=tuple(ignored),
    )
    return SessionCall(request, remote_images)


class WholeTurn(WholeAnswer):
    """One object, when the run has ended."""

    def __init__(self, services: Services, run: Run, request: RunRequest) -> None:
        super().__init__(services, run, is_durable=True)
        self.request = request

    async def whole(self, happened: Sequence[KeptEvent]) -> Response:
        said = [kept.event for kept in happened]
        headers = answer_headers(self.run, self.request, warnings(said))
        final = said[-1]
        if not isinstance(final, events.RunCompleted):
            used_tools = any(isinstance(event, events.ToolStarted) for event in said)
            return kept_error_response(failure(final), used_tools=used_tools, headers=headers)
        thought = "\n\n".join(event.text for event in said if isinstance(event, events.ReasoningAvailable))
        answer = {
            "object": "hermes.session.chat.completion",
            "session_id": self.run.session_id,
            "run_id": self.run.id,
            "model": final.model or self.run.model,
            "message": {
                "id": message_id(self.run),
                "role": "assistant",
                "content": final.output,
                "reasoning": thought or None,
            },
            "finish_reason": final.finish_reason,
            "usage": dict(final.usage),
            "created_at": self.run.created_at,
        }
        return JsonAnswer(answer, headers=headers)


class StreamedTurn(StreamedAnswer):
    """Named events."""

    def __init__(self, services: Services, run: Run, request: RunRequest) -> None:
        super().__init__(services, run, is_durable=True)
        self.request = request
        self._events = SessionStream(run, _user_text(request), is_whole=not services.settings.is_streaming)

    @property
    def has_ended(self) -> bool:
        return self._events.has_ended

    def headers(self, happened: Sequence[KeptEvent]) -> dict[str, str]:
        return answer_headers(self.run, self.request, warnings([kept.event for kept in happened]))

    async def opening(self, happened: Sequence[KeptEvent]) -> bytes:
        return await self.more(happened)

    async def more(self, happened: Sequence[KeptEvent]) -> bytes:
        pieces = [self._events.event(kept) for kept in happened]
        if happened and is_final(happened[-1].event):
            kept = await self.services.sessions.messages_of_run(self.run.session_id, self.run.id)
            pieces.append(self._events.end(happened[-1], [message_object(one) for one in kept]))
        return b"".join(pieces)

    def broken(self, error: HermesError) -> bytes:
        return self._events.broken(error, self.services.clock.now())


def _said(body: Mapping[str, Any]) -> tuple[list[Message], tuple[tuple[str, str], ...]]:
    """The messages of `message`, `input` or `messages`, and the remote images among them."""
    sent = [name for name in ("message", "input", "messages") if body.get(name) not in (None, "", [])]
    if len(sent) > 1:
        raise InvalidInput(f"{sent[0]} and {sent[1]} are both there; send one of them", param=sent[1])
    for name in ("message", "input"):
        if body.get(name) is not None:
            return _one_message(body[name], name, body.get("images"))
    if body.get("messages") is None:
        if body.get("images") is not None:
            return _one_message("", "message", body["images"])
        raise _missing()
    if body.get("images") is not None:
        raise InvalidInput("images go beside message; in messages they are image_url parts", param="images")
    messages = from_openai(body["messages"])
    return messages, tuple(image_urls(messages))


def _one_message(value: Any, name: str, images: Any) -> tuple[list[Message], tuple[tuple[str, str], ...]]:
    if not isinstance(value, str | list):
        raise InvalidInput(f"{name} must be text or a list of content parts", param=name)
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}] if value.strip() else []
    shown = _image_parts(images)
    if not parts and not shown:
        raise _missing(name)
    content = value if isinstance(value, str) and not shown else [*parts, *shown]
    try:
        [message] = from_openai([{"role": "user", "content": content}], name)
    except InvalidInput as error:
        raise _placed(error, name, len(parts)) from error
    if not shown and not message.text.strip() and isinstance(content, list) and _is_text_only(content):
        raise _missing(name)
    remote = [(_place(place, name, len(parts)), url) for place, url in image_urls([message], name)]
    return [_with_places(message, name, len(parts))], tuple(remote)


def _with_places(message: Message, name: str, own_parts: int) -> Message:
    if isinstance(message.content, str):
        return message
    parts = tuple(
        replace(part, place=_place(part.place, name, own_parts))
        if isinstance(part, ImagePart | FilePart) and part.place
        else part
        for part in message.content
    )
    return replace(message, content=parts)


def _image_parts(images: Any) -> list[dict[str, Any]]:
    if images is None:
        return []
    if not isinstance(images, list) or len(images) > MAX_IMAGES:
        raise InvalidInput(f"images must be a list of at most {MAX_IMAGES} URLs", param="images")
    return [{"type": "image_url", "image_url": {"url": one} if isinstance(one, str) else one} for one in images]


def _is_text_only(content: Sequence[Any]) -> bool:
    return all(isinstance(part, dict) and "text" in part for part in content)


def _placed(error: InvalidInput, name: str, own_parts: int) -> InvalidInput:
    """An error in the words of the client's request, which has no list around its message."""
    place = error.param or name
    told = _place(place, name, own_parts)
    return InvalidInput(error.message.replace(place, told), code=error.code, param=told)


def _place(place: str, name: str, own_parts: int) -> str:
    """`message[0].content[2].image_url` → `message[2].image_url`, or `images[0].image_url` behind the own parts."""
    rest = place.removeprefix(f"{name}[0]").removeprefix(".content")
    index, bracket, tail = rest.removeprefix("[").partition("]")
    if not bracket or not index.isdigit():
        return name + rest
    number = int(index)
    return f"{name}[{number}]{tail}" if number < own_parts else f"images[{number - own_parts}]{tail}"


def _instructions(body: Mapping[str, Any]) -> str:
    for name in ("system_message", "instructions"):
        value = body.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise InvalidInput(f"{name} must be text", code="invalid_system_message", param=name)
            if value.strip():
                return value.strip()
    return ""


def _user_text(request: RunRequest) -> str:
    return "\n".join(message.text for message in request.messages if message.role == "user")


def _missing(name: str = "message") -> InvalidInput:
    return InvalidInput("there is nothing said; send message with some text", code="missing_message", param=name)
