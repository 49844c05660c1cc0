"""A `ModelRequest` as the body of POST /chat/completions, in the dialect that the server is known to take."""

from __future__ import annotations

import mimetypes
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from hermes.core.message import AudioPart, ContentPart, FilePart, ImagePart, Message, TextPart
from hermes.core.model import ModelRequest, ToolSpec

from .upstream import Refusal

_RESERVED = frozenset({"model", "messages", "tools", "tool_choice", "stream", "stream_options", "n"})
_OWN = frozenset({"stream_options", "prompt_cache_key"})
"""Fields that the caller did not ask for: leaving one out is not worth a warning."""

_MOST_SIGNATURES = 1024
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}

_UNSUPPORTED = re.compile(
    r"unsupported|un-?recogni[sz]ed|unknown|unexpected|not (be )?(supported|permitted|allowed|recogni[sz]ed|available)"
    r"|(does|do|is|are)(n't| not) (support|allow|accept|permit)|extra (inputs|fields)|extra_forbidden|cannot find field"
    r"|additional propert|only (allowed|supported|available) (when|with|for)|no longer",
    re.IGNORECASE,
)
_WRONG_VALUE = re.compile(r"unsupported[ _]value|only the default|only (supports?|accepts?) ", re.IGNORECASE)


@dataclass(slots=True)
class Dialect:
    """What one server takes for one model. It starts from what is known of the host and learns from refusals.
    `reasoning_effort` is what is sent where the caller says none."""

    max_tokens_name: str = "max_tokens"
    sends_cache_key: bool = False
    signs_calls: bool = False
    reasoning_effort: str | None = None
    unsupported: set[str] = field(default_factory=set)
    unsupported_values: set[tuple[str, str]] = field(default_factory=set)
    _has_swapped: bool = False

    @classmethod
    def of(cls, host: str, reasoning_effort: str | None = None) -> Dialect:
        is_openai = host == "api.openai.com"
        is_azure = host.endswith((".openai.azure.com", ".services.ai.azure.com"))
        return cls(
            "max_completion_tokens" if is_openai or is_azure else "max_tokens",
            sends_cache_key=is_openai,
            signs_calls=host.endswith("googleapis.com"),
            reasoning_effort=reasoning_effort,
        )

    def learn(self, refusal: Refusal, sent: Mapping[str, Any]) -> bool:
        """Whether the refusal blames one of the fields that were sent for being there. It is not sent again."""
        text = f"{refusal.code} {refusal.message}"
        is_value = _WRONG_VALUE.search(text) is not None
        if not is_value and _UNSUPPORTED.search(text) is None:
            return False
        name = _blamed(refusal, sent)
        if name is None:
            return False
        if name in ("max_tokens", "max_completion_tokens") and not is_value and not self._has_swapped:
            self._has_swapped = True
            self.max_tokens_name = "max_tokens" if name == "max_completion_tokens" else "max_completion_tokens"
        elif is_value:
            self.unsupported_values.add((name, repr(sent[name])))
        else:
            self.unsupported.add(name)
        return True

    def fields(self, request: ModelRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The settings to send, by the server's names, and the caller's names of those that are left out."""
        wanted: dict[str, Any] = {"stream_options": {"include_usage": True}}
        if self.sends_cache_key and request.session_id is not None:
            wanted["prompt_cache_key"] = request.session_id
        if self.reasoning_effort is not None:
            wanted["reasoning_effort"] = self.reasoning_effort
        for name, value in request.params.items():
            if value is None or name in _RESERVED or (name == "parallel_tool_calls" and not request.tools):
                continue
            wanted[self.max_tokens_name if name in ("max_tokens", "max_completion_tokens") else name] = value
        if not self.unsupported and not self.unsupported_values:
            return wanted, ()
        ignored: list[str] = []
        for name in list(wanted):
            if name in self.unsupported or (name, repr(wanted[name])) in self.unsupported_values:
                del wanted[name]
                is_ours = name in _OWN or (name == "reasoning_effort" and request.params.get(name) is None)
                if not is_ours:
                    ignored.append("max_tokens" if name == "max_completion_tokens" else name)
        return wanted, tuple(ignored)


class BodyBuilder:
    """Keeps the JSON of the tools, which are the same in every call of a session and most of a short request.

    With `signs_calls` each tool call goes back with what `remember` was given for it: Gemini refuses a call without
    its signature, and takes a certain word in place of one that was lost.
    """

    def __init__(self, model: str, *, signs_calls: bool = False) -> None:
        self._model = model
        self._signatures: OrderedDict[str, Any] | None = OrderedDict() if signs_calls else None
        self._tools: tuple[ToolSpec, ...] = ()
        self._tools_json = orjson.Fragment(b"[]")

    def build(self, request: ModelRequest, fields: Mapping[str, Any]) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": self._messages(request.messages),
            "stream": True,
            **fields,
        }
        if request.tools:
            if request.tools is not self._tools:
                self._tools_json = orjson.Fragment(orjson.dumps(list(map(tool_json, request.tools)), default=_plain))
                self._tools = request.tools
            body["tools"] = self._tools_json
            choice = request.tool_choice
            if choice in ("none", "required"):
                body["tool_choice"] = choice
            elif choice != "auto":
                body["tool_choice"] = {"type": "function", "function": {"name": choice}}
        return orjson.dumps(body, default=_plain)

    def remember(self, extras: Mapping[str, Any]) -> None:
        """What the server sent with its calls, by their ids."""
        if self._signatures is not None:
            self._signatures.update(extras)
            while len(self._signatures) > _MOST_SIGNATURES:
                self._signatures.popitem(last=False)

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        values = [message_json(message) for message in messages]
        if self._signatures is not None:
            for value in values:
                for call in value.get("tool_calls", ()):
                    call["extra_content"] = self._signatures.get(call["id"], _UNSIGNED)
        return values


def tool_json(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def message_json(message: Message) -> dict[str, Any]:
    role = message.role
    if role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id or "", "content": message.text}
    content = message.content
    data: dict[str, Any] = {
        "role": role,
        "content": content if isinstance(content, str) else [part_json(part) for part in content],
    }
    if message.name:
        data["name"] = message.name
    if message.tool_calls:
        data["content"] = content or None
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": valid_json(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return data


def part_json(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case ImagePart(url, detail):
            image = {"url": url} if detail is None else {"url": url, "detail": detail}
            return {"type": "image_url", "image_url": image}
        case AudioPart(data, audio_format):
            return {"type": "input_audio", "input_audio": {"data": data, "format": audio_format}}
        case FilePart(text=str(text)):
            return {"type": "text", "text": text}
        case FilePart(name, data):
            return {"type": "file", "file": {"filename": name, "file_data": data_url(name, data)}}


def data_url(name: str, data: str) -> str:
    if data.startswith("data:"):
        return data
    return f"data:{mimetypes.guess_type(name)[0] or 'application/octet-stream'};base64,{data}"


def valid_json(arguments: str) -> str:
    """Servers that render a chat template parse what the model once wrote, and fail for good on invalid JSON."""
    try:
        if isinstance(orjson.loads(arguments), dict):
            return arguments
    except orjson.JSONDecodeError:
        pass
    return orjson.dumps({"INVALID_JSON": arguments}).decode()


def _blamed(refusal: Refusal, sent: Mapping[str, Any]) -> str | None:
    if refusal.param is not None:
        name = re.split(r"[.\[]", refusal.param)[0]
        if name in sent:
            return name
    text = refusal.message
    for name in sorted(sent, key=len, reverse=True):
        word = re.escape(name)
        quoted = rf"[\"'`]{word}[\"'`]|(?:parameters?|arguments?|fields?|propert(?:y|ies)|supplied):? {word}\b"
        if re.search(quoted, text, re.IGNORECASE) or ("_" in name and re.search(rf"\b{word}\b", text)):
            return name
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
