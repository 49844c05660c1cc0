"""Our messages, tools and settings as pydantic-ai's, and its answers and errors as ours.

Importing this imports pydantic-ai, which takes seconds: `providers` does it in a thread, at the first request.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic_ai import exceptions as theirs
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.messages import ModelRequest as TheirRequest
from pydantic_ai.messages import TextPart as TheirTextPart
from pydantic_ai.models import Model as TheirModel
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from hermes.core.message import AudioPart, ContentPart, FilePart, ImagePart, Message, TextPart, ToolCall
from hermes.core.model import FinishReason, ModelRequest
from hermes.core.run import Usage

from .openai_body import data_url, valid_json
from .upstream import Refusal, refusal_of

_SILENCE_SECONDS = 120.0
_SAME = {"max_tokens", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "parallel_tool_calls"}
_FINISH: dict[str | None, FinishReason] = {
    "length": "length",
    "content_filter": "content_filter",
    "tool_call": "tool_calls",
}
Remembered = Callable[[Sequence[ToolCall]], Sequence[ModelResponsePart] | None]
"""The parts that the provider itself sent with these calls: signed thoughts, which it wants back."""


def to_messages(messages: Sequence[Message], remembered: Remembered) -> list[ModelMessage]:
    """Requests and responses take turns there: what is not the assistant's is gathered into one request."""
    result: list[ModelMessage] = []
    parts: list[ModelRequestPart] = []
    names: dict[str, str] = {}
    for message in messages:
        if message.role == "assistant":
            if parts:
                result.append(TheirRequest(parts=parts))
                parts = []
            names |= {call.id: call.name for call in message.tool_calls}
            result.append(ModelResponse(parts=remembered(message.tool_calls) or _response_parts(message)))
        elif message.role == "system":
            parts.append(SystemPromptPart(content=message.text))
        elif message.role == "tool":
            call_id = message.tool_call_id or ""
            parts.append(ToolReturnPart(names.get(call_id, message.name or "tool"), message.text, tool_call_id=call_id))
        else:
            content = message.content
            parts.append(UserPromptPart(content if isinstance(content, str) else [*map(_content, content)]))
    if parts:
        result.append(TheirRequest(parts=parts))
    return result


def to_parameters(request: ModelRequest) -> ModelRequestParameters:
    tools = [
        ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=dict(tool.parameters),
            strict=tool.strict,
        )
        for tool in request.tools
    ]
    schema = _json_schema(request.params.get("response_format"))
    if schema is None:
        return ModelRequestParameters(function_tools=tools)
    output = OutputObjectDefinition(
        json_schema=schema.get("schema") or {}, name=schema.get("name"), strict=schema.get("strict")
    )
    return ModelRequestParameters(function_tools=tools, output_mode="native", output_object=output)


def to_settings(
    request: ModelRequest, model: TheirModel, reasoning_effort: str | None = None
) -> tuple[ModelSettings, tuple[str, ...]]:
    """The settings, and the names of those that the caller asked for and this model does not take.

    `reasoning_effort` is sent where the caller says none, and the model thinks at all.
    """
    profile = cast(Mapping[str, Any], model.profile)
    settings: dict[str, Any] = {"timeout": _SILENCE_SECONDS, "max_retries": 0, "cache": True}
    ignored: list[str] = []
    unsupported = set(model.unsupported_settings)
    if profile.get("anthropic_disallows_sampling_settings"):
        unsupported |= {"temperature", "top_p"}
    if reasoning_effort is not None and profile.get("supports_thinking", True):
        settings["thinking"] = _thinking(reasoning_effort)
    for name, value in request.params.items():
        if value is None or (name == "parallel_tool_calls" and not request.tools):
            continue
        if name in _SAME and name not in unsupported:
            settings[name] = value
        elif name == "max_completion_tokens":
            settings["max_tokens"] = value
        elif name == "stop" and "stop_sequences" not in unsupported:
            settings["stop_sequences"] = [value] if isinstance(value, str) else list(value)
        elif name == "reasoning_effort" and profile.get("supports_thinking", True):
            settings["thinking"] = _thinking(value)
        elif name == "response_format" and (_json_schema(value) is not None or _is_text(value)):
            if not _is_text(value) and not profile.get("supports_json_schema_output"):
                ignored.append(name)
        else:
            ignored.append(name)
    for name in ("timeout", "max_retries"):
        if name in unsupported:
            del settings[name]
    if request.tools and request.tool_choice != "auto":
        choice = request.tool_choice
        settings["tool_choice"] = choice if choice in ("none", "required") else [choice]
    return cast(ModelSettings, settings), tuple(ignored)


def _thinking(effort: object) -> object:
    return False if effort == "none" else effort


def without_json_schema(parameters: ModelRequestParameters) -> ModelRequestParameters:
    """For a model that knows no schema for its answer."""
    return ModelRequestParameters(function_tools=parameters.function_tools)


def calls_of(response: ModelResponse) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(part.tool_call_id, part.tool_name, _arguments(part))
        for part in response.parts
        if isinstance(part, ToolCallPart)
    )


def finish_of(response: ModelResponse) -> FinishReason:
    reason = _FINISH.get(response.finish_reason, "stop")
    has_calls = any(isinstance(part, ToolCallPart) for part in response.parts)
    if has_calls and reason == "stop":
        return "tool_calls"
    return "stop" if reason == "tool_calls" and not has_calls else reason


def usage_of(usage: RequestUsage) -> Usage:
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.output_reasoning_tokens or 0,
        api_calls=1,
    )


def refusal_in(error: theirs.ModelAPIError) -> tuple[Refusal, int | None, float | None]:
    """What the provider said, with the status it used or would have used, and the seconds it asked to wait."""
    body = error.body
    refusal = refusal_of(body) if isinstance(body, dict | list) else Refusal(str(body) if body else error.message)
    status = error.status_code if isinstance(error, theirs.ModelHTTPError) else None
    for kind, usual in _STATUS.items():
        if isinstance(error, kind):
            status = status if status is not None and _fits(status, usual) else usual
            break
    if isinstance(error, theirs.ModelQuotaExceededError):
        refusal = Refusal(refusal.message, code="insufficient_quota")
    elif isinstance(error, theirs.ModelContextWindowExceededError):
        refusal = Refusal(refusal.message, code="context_length_exceeded")
    return refusal, status, error.retry_after


_STATUS: dict[type[theirs.ModelAPIError], int] = {
    theirs.ModelAuthenticationError: 401,
    theirs.ModelQuotaExceededError: 429,
    theirs.ModelRateLimitError: 429,
    theirs.ModelNotFoundError: 404,
    theirs.ModelRequestRejectedError: 400,
    theirs.ModelUnavailableError: 503,
    theirs.ModelServerError: 500,
}
"""The first that fits counts: what a class of theirs means, where the error carries no status or an odd one."""


def _arguments(part: ToolCallPart) -> str:
    """As the model wrote them, where the provider streams text."""
    return part.args if isinstance(part.args, str) and part.args else part.args_as_json_str()


def _fits(status: int, usual: int) -> bool:
    if usual in (401, 429):
        return status in ((401, 403) if usual == 401 else (429,))
    return status // 100 == usual // 100


def _response_parts(message: Message) -> list[ModelResponsePart]:
    parts: list[ModelResponsePart] = [TheirTextPart(message.text)] if message.text else []
    for call in message.tool_calls:
        parts.append(ToolCallPart(call.name, valid_json(call.arguments), tool_call_id=call.id))
    return parts


def _content(part: ContentPart) -> UserContent:
    match part:
        case TextPart(text):
            return text
        case ImagePart(url, _):
            if url.startswith("data:"):
                return BinaryContent.from_data_uri(url)
            return ImageUrl(url, media_type=mimetypes.guess_type(url.partition("?")[0])[0] or "image/jpeg")
        case AudioPart(data, audio_format):
            media_type = "audio/mpeg" if audio_format == "mp3" else f"audio/{audio_format}"
            return BinaryContent(base64.b64decode(data), media_type=media_type)
        case FilePart(text=str(text)):
            return text
        case FilePart(name, data):
            return BinaryContent.from_data_uri(data_url(name, data))


def _json_schema(response_format: Any) -> dict[str, Any] | None:
    if isinstance(response_format, Mapping) and response_format.get("type") == "json_schema":
        schema = response_format.get("json_schema")
        return dict(schema) if isinstance(schema, Mapping) else None
    return None


def _is_text(response_format: Any) -> bool:
    return isinstance(response_format, Mapping) and response_format.get("type") == "text"
