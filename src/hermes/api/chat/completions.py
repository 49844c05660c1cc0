"""POST /v1/chat/completions: a chat becomes a run, and its events become the answer (spec: api-server section 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import ASGIApp

from hermes.agent.messages import from_openai, image_urls
from hermes.api import headers as names
from hermes.api.answers import headers_of, owner_of
from hermes.api.chat import parameters
from hermes.api.chat.run import ChatRun
from hermes.api.content import prepared
from hermes.api.limits import read_object
from hermes.api.services import ApiSettings, Services
from hermes.core.errors import InvalidInput
from hermes.core.message import Message
from hermes.core.run import Ask, IdempotencyClaim, Run, RunRequest
from hermes.http.headers import RawHeaders
from hermes.store import sessions as session_store
from hermes.store.database import Connection

ROUTE = "POST /v1/chat/completions"

Keep = Callable[[Connection, Run], object]


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A parsed request. `model` is the name the answer carries; `remote_images` are places in the request and URLs."""

    request: RunRequest
    model: str
    is_stream: bool
    include_usage: bool
    remote_images: tuple[tuple[str, str], ...] = ()


async def create(request: Request, services: Services) -> ASGIApp:
    """A chat, in OpenAI's form: the agent answers, with its own tools and the client's.

    `stream: true` answers as text/event-stream: `chat.completion.chunk`s, tool progress and approvals as named events
    that are chunks too, then `data: [DONE]`. A model that fails is an error (before the first byte), or the last chunk
    of the stream.
    """
    body = await read_object(request)
    call = parse(body, headers_of(request), owner_of(request).id, services.settings)
    asked = await prepared(call.request, services, call.remote_images)
    run = await services.runner.start(asked)
    return ChatRun(services, run, asked, call.model, is_stream=call.is_stream, include_usage=call.include_usage)


def parse(body: Mapping[str, Any], headers: RawHeaders, owner: str, settings: ApiSettings) -> ChatCall:
    """Raises InvalidInput naming the field."""
    parameters.check_unsupported(body)
    messages = from_openai(body.get("messages"))
    session_id = names.session_id(headers)
    instructions = "\n\n".join(text for m in messages if m.role == "system" and (text := m.text.strip()))
    history, new_turn = split_turn([m for m in messages if m.role != "system"])
    if session_id is None:
        check_tool_results(messages)
    tools = parameters.client_tools(body.get("tools"))
    is_stream = _flag(body.get("stream"), "stream")
    key = names.idempotency_key(headers)
    model = parameters.model_name(body.get("model"))
    session_key = names.session_key(headers)
    request = RunRequest(
        owner=owner,
        source="api",
        messages=new_turn,
        session_id=session_id,
        session_key=session_key,
        history=None if session_id else history,
        is_stateless=session_id is None,
        instructions=instructions,
        model=settings.chosen_model(model),
        params=parameters.model_params(body),
        client_tools=tools,
        tool_choice=parameters.tool_choice(body.get("tool_choice"), tools),
        limits=settings.limits,
        ask=Ask.WAIT if is_stream else Ask.DENY,
        is_durable=names.is_detached(headers) or key is not None,
        idempotency=None if key is None else IdempotencyClaim(key, fingerprint(body, session_id, session_key)),
        warnings=tuple(parameters.ignored_fields(body)),
        keep=answers_known(messages, new_turn) if session_id is not None else (),
    )
    include_usage = _include_usage(body.get("stream_options"))
    return ChatCall(request, model or settings.model_id, is_stream, include_usage, tuple(image_urls(messages)))


def split_turn(messages: Sequence[Message], param: str = "messages") -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """History and the new turn: what follows the last answer. An answer that comes last is the beginning of the next
    one, so the turn then starts at the user's message before it.
    """
    start = len(messages)
    while start and messages[start - 1].role == "assistant":
        start -= 1
    while start and messages[start - 1].role != "assistant":
        start -= 1
    turn = tuple(messages[start:])
    if not any(_says_something(message) for message in turn):
        raise InvalidInput(f"No user message found in {param}", param=param)
    return tuple(messages[:start]), turn


def fingerprint(body: Mapping[str, Any], session_id: str | None, session_key: str | None, *, route: str = ROUTE) -> str:
    """SHA-256 of what was asked; the order and spacing of the JSON do not matter."""
    asked = [route, session_id, session_key, body]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def check_tool_results(messages: Sequence[Message], param: str = "messages", *, before: Sequence[Message] = ()) -> None:
    """A re-sent history must hold the call that each result answers; providers refuse it otherwise. `before` are
    messages that came in ahead of these, checked already.
    """
    called = {call.id for message in before for call in message.tool_calls}
    for i, message in enumerate(messages):
        called.update(call.id for call in message.tool_calls)
        if message.role == "tool" and message.tool_call_id not in called:
            where = f"{param}[{i}].tool_call_id"
            raise InvalidInput(f"{where} answers no tool call of an assistant message before it", param=where)


def answers_known(said: Sequence[Message], turn: Sequence[Message], param: str = "messages") -> tuple[Keep, ...]:
    """For `RunRequest.keep` of a run that goes on in a session: each result among `turn`, a part of `said`, must answer
    a call that was made there. Nobody would be told that it was left out; the model is shown none without a call.

    A result that is there already may come again: so does a request whose model failed.
    """
    results = {
        message.tool_call_id: f"{param}[{i}].tool_call_id"
        for i, message in enumerate(said)
        if message.role == "tool" and any(message is one for one in turn)
    }
    if not results:
        return ()

    def check(conn: Connection, run: Run) -> None:
        called = {call.id for message in session_store.history(conn, run.session_id) for call in message.tool_calls}
        for call_id, where in results.items():
            if call_id not in called:
                raise InvalidInput(f"{where} answers no tool call of the session {run.session_id!r}", param=where)

    return (check,)


def _says_something(message: Message) -> bool:
    if message.role == "tool":
        return True
    return message.role == "user" and bool(
        message.content.strip() if isinstance(message.content, str) else message.content
    )


def _flag(value: object, param: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidInput(f"{param} must be true or false", param=param)
    return value


def _include_usage(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        raise InvalidInput("stream_options must be an object", param="stream_options")
    return _flag(value.get("include_usage"), "stream_options.include_usage")
