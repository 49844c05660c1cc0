"""Messages in OpenAI's chat format ↔ `core.message`.

Reading is strict about shapes and names the wrong field as a client wrote it (`messages[3].content[1].image_url`);
unknown extra fields of a message are ignored, as the public API does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hermes.core.addresses import AddressRefused, check_literal
from hermes.core.errors import InvalidInput
from hermes.core.message import (
    AudioPart,
    Content,
    ContentPart,
    FilePart,
    ImagePart,
    Message,
    Role,
    TextPart,
    ToolCall,
)

MAX_MESSAGES = 10_000
AUDIO_FORMATS = ("wav", "mp3")
IMAGE_DETAILS = ("auto", "low", "high")

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_DATA_IMAGE = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\Z")


def from_openai(messages: object, param: str = "messages") -> list[Message]:
    """Raises InvalidInput. `param` is where the list stands in the caller's request."""
    if not isinstance(messages, list):
        raise _wrong(param, f"must be a list of messages, not {_kind(messages)}")
    if len(messages) > MAX_MESSAGES:
        raise _wrong(param, f"has {len(messages)} messages; the limit is {MAX_MESSAGES}")
    return [_message(one, f"{param}[{i}]") for i, one in enumerate(messages)]


def one_from_openai(value: object, param: str) -> Message:
    """A message that stands alone, at `param`. Raises InvalidInput."""
    return _message(value, param)


def to_openai(message: Message) -> dict[str, Any]:
    """The inverse, for histories that go back to a caller; `from_openai` takes it again."""
    told: dict[str, Any] = {"role": message.role}
    if isinstance(message.content, str):
        told["content"] = None if message.tool_calls and not message.content else message.content
    else:
        told["content"] = [_part_to_openai(part) for part in message.content]
    if message.tool_calls:
        told["tool_calls"] = [tool_call_to_openai(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        told["name"] = message.name
    if message.reasoning:
        told["reasoning_content"] = message.reasoning
    return told


def tool_call_to_openai(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _message(value: object, param: str) -> Message:
    if not isinstance(value, dict):
        raise _wrong(param, f"must be an object, not {_kind(value)}")
    sent = value.get("role")
    if sent == "function":
        raise _wrong(f"{param}.role", "function is the old form; use tool with a tool_call_id", "unsupported_parameter")
    role = _ROLES.get(sent) if isinstance(sent, str) else None
    if role is None:
        raise _wrong(f"{param}.role", f"must be one of {', '.join(_ROLES)}")
    if role == "assistant" and value.get("function_call") is not None:
        raise _wrong(f"{param}.function_call", "is the old form; use tool_calls", "unsupported_parameter")
    content = value.get("content")
    calls = _tool_calls(value.get("tool_calls"), f"{param}.tool_calls") if role == "assistant" else ()
    if role == "assistant":
        refusal = _optional_text(value, "refusal", param)
        content = (refusal or "") if content is None else content
    return Message(
        role,
        content if isinstance(content, str) else _content(content, role, f"{param}.content"),
        calls,
        _tool_call_id(value, param) if role == "tool" else None,
        _optional_text(value, "name", param),
        (_optional_text(value, "reasoning_content", param) or "") if role == "assistant" else "",
    )


def _content(value: object, role: Role, param: str) -> Content:
    if not isinstance(value, list):
        raise _wrong(param, f"must be text or a list of parts, not {_kind(value)}")
    parts = tuple(_part(one, role, f"{param}[{i}]") for i, one in enumerate(value))
    if role != "user":  # only text is left: one string is what every provider takes
        return "\n".join(part.text for part in parts if isinstance(part, TextPart))
    return parts


def _part(value: object, role: Role, param: str) -> ContentPart:
    if not isinstance(value, dict):
        raise _wrong(param, f"must be an object, not {_kind(value)}", "invalid_content_part")
    kind = value.get("type")
    match kind:
        case "text" | "input_text" | "output_text":
            return TextPart(_text(value, "text", param))
        case "refusal" if role == "assistant":
            return TextPart(_text(value, "refusal", param))
    if role != "user":
        raise _wrong(f"{param}.type", f"{_kind(kind)} cannot stand in a {role} message", "unsupported_content_type")
    match kind:
        case "image_url" | "input_image":
            return _image(value, param)
        case "input_audio":
            return _audio(value, param)
        case "file" | "input_file":
            return _file(value, param)
        case str():
            raise _wrong(f"{param}.type", f"{kind[:64]!r} is not known", "unsupported_content_type")
        case _:
            raise _wrong(f"{param}.type", "is missing", "invalid_content_part")


def _image(value: Mapping[str, Any], param: str) -> ImagePart:
    """`{"image_url": {"url", "detail"}}`, and the form of the responses API, `{"image_url": "…", "detail"}`."""
    where = f"{param}.image_url"
    inner = value.get("image_url")
    holder = inner if isinstance(inner, dict) else value
    if inner is None and value.get("file_id") is not None:
        return ImagePart("", _detail(value, param), _file_id(value, param), f"{param}.file_id")
    url = inner.get("url") if isinstance(inner, dict) else inner
    if isinstance(inner, dict):
        where = f"{where}.url" if "url" in inner else where
    if not isinstance(url, str) or not url:
        raise _wrong(where, "must be an https:// or data:image/…;base64 URL", "invalid_image_url")
    detail = _detail(holder, param)
    if url[:5].lower() == "data:":
        head = _DATA_IMAGE.match(url)
        data = None if head is None else _base64(url[head.end() :])
        if head is None or data is None:
            raise _wrong(where, "is not data:image/…;base64 with base64 behind it", "invalid_image_url")
        return ImagePart(head[0] + data, detail, place=where)
    try:
        check_literal(url)
    except AddressRefused as refused:
        raise _wrong(where, refused.message, "invalid_image_url") from refused
    return ImagePart(url, detail, place=where)


def _detail(holder: Mapping[str, Any], param: str) -> str | None:
    detail = holder.get("detail")
    if detail is not None and detail not in IMAGE_DETAILS:
        raise _wrong(f"{param}.detail", f"must be one of {', '.join(IMAGE_DETAILS)}", "invalid_content_part")
    return detail


def _audio(value: Mapping[str, Any], param: str) -> AudioPart:
    inner = value.get("input_audio")
    if not isinstance(inner, dict):
        raise _wrong(f"{param}.input_audio", "must be an object with data and format", "invalid_content_part")
    if inner.get("format") not in AUDIO_FORMATS:
        raise _wrong(f"{param}.input_audio.format", f"must be {' or '.join(AUDIO_FORMATS)}", "invalid_content_part")
    data = _base64(inner.get("data"))
    if data is None:
        raise _wrong(f"{param}.input_audio.data", "must be base64", "invalid_content_part")
    return AudioPart(data, inner["format"])


def _file(value: Mapping[str, Any], param: str) -> FilePart:
    """`{"file": {"filename", "file_data" or "file_id"}}`, and the flat form of the responses API."""
    inner = value.get("file")
    holder, where = (inner, f"{param}.file") if isinstance(inner, dict) else (value, param)
    name = holder.get("filename")
    if name is not None and not isinstance(name, str):
        raise _wrong(f"{where}.filename", f"must be text, not {_kind(name)}", "invalid_content_part")
    data = holder.get("file_data")
    if holder.get("file_id") is not None:
        if data is not None:
            raise _wrong(f"{where}.file_id", "and file_data are both there; send one of them", "invalid_content_part")
        return FilePart(name or "", "", _file_id(holder, where), place=f"{where}.file_id")
    if data is None and holder.get("file_url") is not None:
        raise _wrong(
            f"{where}.file_url", "is not fetched; send file_data, or upload it to /v1/files", "unsupported_content_type"
        )
    head, mark, encoded = data.rpartition(";base64,") if isinstance(data, str) else ("", "", None)
    plain = _base64(encoded)
    if plain is None or (mark and head[:5].lower() != "data:"):
        raise _wrong(f"{where}.file_data", "must be base64 or a data: URL", "invalid_content_part")
    return FilePart(name or "file", f"{head}{mark}{plain}", place=f"{where}.file_data")


def _base64(value: object) -> str | None:
    """The same bytes in the one alphabet that every provider reads, padded; None for what is no base64."""
    if not isinstance(value, str) or _BASE64.match(value) is None:
        return None
    if "-" in value or "_" in value:
        value = value.translate(_URL_SAFE)
    plain = value.rstrip("=")
    missing = -len(plain) % 4
    return None if missing == 3 else value if len(value) % 4 == 0 else plain + "=" * missing


def _file_id(holder: Mapping[str, Any], where: str) -> str:
    """Whether there is such a file is not known here."""
    file_id = holder.get("file_id")
    if not isinstance(file_id, str) or not file_id:
        raise _wrong(f"{where}.file_id", "must be the id of an uploaded file", "invalid_content_part")
    return file_id


def _tool_calls(value: object, param: str) -> tuple[ToolCall, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _wrong(param, f"must be a list, not {_kind(value)}")
    return tuple(_tool_call(one, f"{param}[{i}]") for i, one in enumerate(value))


def _tool_call(value: object, param: str) -> ToolCall:
    if not isinstance(value, dict):
        raise _wrong(param, f"must be an object, not {_kind(value)}")
    if value.get("type", "function") != "function":
        raise _wrong(f"{param}.type", "must be function")
    function = value.get("function")
    if not isinstance(function, dict):
        raise _wrong(f"{param}.function", "must be an object with name and arguments")
    arguments = function.get("arguments", "")
    if not isinstance(arguments, str):
        raise _wrong(f"{param}.function.arguments", "must be JSON text")
    call_id, name = _text(value, "id", param), _text(function, "name", f"{param}.function")
    if not call_id or not name:
        raise _wrong(param, "must have an id and a function name")
    return ToolCall(call_id, name, arguments)


def _tool_call_id(value: Mapping[str, Any], param: str) -> str:
    call_id = _text(value, "tool_call_id", param)
    if not call_id:
        raise _wrong(f"{param}.tool_call_id", "must not be empty")
    return call_id


def _text(value: Mapping[str, Any], name: str, param: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise _wrong(f"{param}.{name}", f"must be text, not {_kind(text)}")
    return text


def _optional_text(value: Mapping[str, Any], name: str, param: str) -> str | None:
    return None if value.get(name) is None else _text(value, name, param)


def _part_to_openai(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case ImagePart(url, detail):
            return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}
        case AudioPart(data, audio_format):
            return {"type": "input_audio", "input_audio": {"data": data, "format": audio_format}}
        case FilePart(name, file_id=str(file_id)):
            return {"type": "file", "file": {"filename": name, "file_id": file_id}}
        case FilePart(text=str(text)):
            return {"type": "text", "text": text}
        case FilePart(name, data):
            return {"type": "file", "file": {"filename": name, "file_data": data}}


def image_urls(messages: Sequence[Message], param: str = "messages") -> list[tuple[str, str]]:
    """The remote images of a list: where each stands, and its URL."""
    return [
        (f"{param}[{i}].content[{j}].image_url", part.url)
        for i, message in enumerate(messages)
        if not isinstance(message.content, str)
        for j, part in enumerate(message.content)
        if isinstance(part, ImagePart) and part.file_id is None and part.url[:5].lower() != "data:"
    ]


def _wrong(param: str, what: str, code: str | None = None) -> InvalidInput:
    return InvalidInput(f"{param} {what}", code=code, param=param)


def _kind(value: object) -> str:
    """What it is in JSON's words; never the value itself, which may be megabytes."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text" if len(value) > 32 else repr(value)
        case list():
            return "a list"
        case _:
            return "an object"
