"""`core.message.Message` as columns and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hermes.core.message import (
    AudioPart,
    Content,
    ContentPart,
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
)

from .encoding import clean, from_json, to_json

COLUMNS = ("role", "content", "parts", "tool_calls", "tool_call_id", "name", "reasoning")


def encode(message: Message) -> dict[str, Any]:
    """The values of COLUMNS. `content` is the text alone; `parts` is there where there is more than a string."""
    content, calls = message.content, message.tool_calls
    is_text = isinstance(content, str)
    return {
        "role": message.role,
        "content": clean(content if isinstance(content, str) else message.text),
        "parts": None if is_text else to_json([_part_out(part) for part in content if not isinstance(part, str)]),
        "tool_calls": to_json([(call.id, call.name, call.arguments) for call in calls]) if calls else None,
        "tool_call_id": None if message.tool_call_id is None else clean(message.tool_call_id),
        "name": None if message.name is None else clean(message.name),
        "reasoning": clean(message.reasoning) if message.reasoning else "",
    }


def decode(row: Sequence[Any]) -> Message:
    """From the values of COLUMNS, in their order."""
    role, text, parts, calls, tool_call_id, name, reasoning = row
    content: Content = text if parts is None else tuple([_part_in(part) for part in from_json(parts)])
    tool_calls = () if calls is None else tuple([ToolCall(*call) for call in from_json(calls)])
    return Message(role, content, tool_calls, tool_call_id, name, reasoning)


def _part_out(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case ImagePart(url, detail):
            return {"type": "image", "url": url, "detail": detail}
        case AudioPart(data, format):
            return {"type": "audio", "data": data, "format": format}
        case FilePart(name, data, file_id, text):
            read = {} if text is None else {"text": text}
            return {"type": "file", "name": name, "data": data, "file_id": file_id, **read}


def _part_in(data: dict[str, Any]) -> ContentPart:
    match data["type"]:
        case "text":
            return TextPart(data["text"])
        case "image":
            return ImagePart(data["url"], data["detail"])
        case "audio":
            return AudioPart(data["data"], data["format"])
        case "file":
            return FilePart(data["name"], data["data"], data.get("file_id"), data.get("text"))
        case kind:
            raise ValueError(f"unknown part {kind!r} in a kept message: a newer version wrote it")
