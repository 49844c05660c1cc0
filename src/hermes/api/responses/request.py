"""A body of POST /v1/responses, read: what the model is asked, what the answer repeats, where it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermes.agent.messages import from_openai, image_urls
from hermes.api import headers as names
from hermes.api.auth import Principal
from hermes.api.chat import parameters
from hermes.api.chat.completions import fingerprint
from hermes.api.responses.items import Input, Item, parse_input
from hermes.api.responses.parameters import MAX_WORD, given, read_parameters
from hermes.api.services import ApiSettings
from hermes.core.errors import InvalidInput
from hermes.core.message import Message
from hermes.core.model import ToolSpec
from hermes.core.run import Ask, IdempotencyClaim, RunRequest
from hermes.http.headers import RawHeaders

ROUTE = "POST /v1/responses"
SOURCE = "responses"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCall:
    """A parsed request. `request` is all of the run but its place: session, history, and what is kept with it.

    `fields` are what the response's object repeats, without those that have their default.
    """

    request: RunRequest
    fields: Mapping[str, Any]
    input: Input
    previous: str | None = None
    conversation: str | None = None
    session_id: str | None = None
    is_stored: bool = True
    is_stream: bool = False
    is_background: bool = False
    remote_images: tuple[tuple[str, str], ...] = ()

    @property
    def system(self) -> str:
        """The system text among the input items."""
        return "\n\n".join(self.input.system)


def parse(
    body: Mapping[str, Any],
    headers: RawHeaders,
    principal: Principal,
    settings: ApiSettings,
    known: Mapping[str, Item] | None = None,
    *,
    is_socket: bool = False,
) -> ResponseCall:
    """`known` are the items behind references, by id. On a WebSocket everything is a stream, and a key for repeated
    requests has no meaning: the headers are the connection's. Raises InvalidInput naming the field.
    """
    reading = read_parameters(body)
    found = parse_input(body.get("input", []) if body.get("input") is not None else [], known)
    history = _conversation_history(body.get("conversation_history"))
    if not any(_says_something(message) for message in found.messages):
        raise InvalidInput("No user message found in input", param="input")
    is_stream, is_background, is_stored = _how(body, is_socket)
    previous, conversation = previous_of(body.get("previous_response_id")), _conversation(body.get("conversation"))
    if previous is not None and conversation is not None:
        raise InvalidInput("conversation and previous_response_id cannot both be given", param="conversation")
    model = parameters.model_name(body.get("model"))
    instructions = instructions_of(body.get("instructions"))
    session_id, session_key = names.session_id(headers), names.session_key(headers)
    key = None if is_socket else names.idempotency_key(headers)
    reading.fields |= given(
        model=model or settings.model_id,
        instructions=instructions,
        background=is_background or None,
        conversation=conversation,
        tool_items=_tool_items(headers, reading.tools, principal, settings),
        is_whole=not settings.is_streaming or None,
        store=None if is_stored else False,
    )
    request = RunRequest(
        owner=principal.id,
        source=SOURCE,
        messages=tuple(found.messages),
        session_key=session_key,
        history=None if history is None else tuple(m for m in history if m.role != "system"),
        instructions="\n\n".join([*_system_of(history or []), *([instructions] if instructions else [])]),
        model=settings.chosen_model(model),
        params=reading.params,
        client_tools=reading.tools,
        tool_choice=reading.tool_choice,
        limits=settings.limits,
        ask=Ask.WAIT if is_stream or is_background else Ask.DENY,
        is_durable=is_background or names.is_detached(headers) or key is not None,
        may_wait_forever=is_background,
        idempotency=(
            None if key is None else IdempotencyClaim(key, fingerprint(body, session_id, session_key, route=ROUTE))
        ),
        warnings=(*parameters.ignored_fields(body, KNOWN), *reading.warnings),
    )
    return ResponseCall(
        request=request,
        fields=reading.fields,
        input=found,
        previous=previous,
        conversation=conversation,
        session_id=session_id,
        is_stored=is_stored,
        is_stream=is_stream,
        is_background=is_background,
        remote_images=(*image_urls(history or [], "conversation_history"), *found.remote_images),
    )


def _how(body: Mapping[str, Any], is_socket: bool) -> tuple[bool, bool, bool]:
    """Streamed, in the background, stored."""
    if is_socket:
        for name in ("stream", "stream_options", "background"):
            if body.get(name) is not None:
                raise InvalidInput(f"{name} is not for a WebSocket, where every response is streamed", param=name)
        return True, False, _flag(body, "store", True)
    is_stream, is_background = _flag(body, "stream"), _flag(body, "background")
    is_stored = _flag(body, "store", True)
    if is_background and not is_stored:
        raise InvalidInput("background needs store: nobody could ask for the answer otherwise", param="background")
    if not isinstance(body.get("stream_options", {}), dict | None):
        raise InvalidInput("stream_options must be an object", param="stream_options")
    return is_stream, is_background, is_stored


def _conversation_history(value: object) -> list[Message] | None:
    return None if value is None else from_openai(value, "conversation_history")


def _system_of(history: list[Message]) -> list[str]:
    return [text for message in history if message.role == "system" and (text := message.text.strip())]


def instructions_of(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _wrong("instructions", "must be text")
    return value


def previous_of(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _wrong("previous_response_id", "must be the id of a response")
    return value


def _conversation(value: object) -> str | None:
    name = value.get("id") if isinstance(value, dict) else value
    if value is None:
        return None
    if not isinstance(name, str) or not 0 < len(name) <= MAX_WORD or not name.isprintable():
        raise _wrong("conversation", f'must be a name of 1 to {MAX_WORD} characters, or {{"id": name}}')
    return name


def _tool_items(
    headers: RawHeaders, tools: tuple[ToolSpec, ...], principal: Principal, settings: ApiSettings
) -> str | None:
    """None is function_call. Agent frameworks take a function_call as theirs to run, so a request with tools of its
    own gets mcp_call unless it says otherwise."""
    asked = names.tool_items(headers)
    if asked is None:
        asked = "mcp_call" if tools else principal.tool_items or settings.tool_items
    return "mcp_call" if asked == "mcp_call" else None


def _flag(body: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _wrong(name, "must be true or false")
    return value


def _says_something(message: Message) -> bool:
    if message.role == "tool":
        return True
    content = message.content
    return message.role == "user" and bool(content.strip() if isinstance(content, str) else content)


def _wrong(param: str, what: str) -> InvalidInput:
    return InvalidInput(f"{param} {what}", param=param)


# Beside what is acted on: what has no effect to miss.
KNOWN = frozenset(
    {
        "background",
        "conversation",
        "conversation_history",
        "frequency_penalty",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "parallel_tool_calls",
        "presence_penalty",
        "previous_response_id",
        "prompt_cache_key",
        "reasoning",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "type",
        "user",
    }
)
