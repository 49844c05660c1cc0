"""Input items of the responses API → messages of a session, and back into the items that a client reads.

Reading is strict and names the wrong field as the client wrote it (`input[2].content[0].image_url`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from hermes.agent.messages import MAX_MESSAGES, one_from_openai
from hermes.core.errors import InvalidInput
from hermes.core.message import ImagePart, Message, ToolCall

SUMMARY_HEAD = "[What was said before, as a summary]"
"""Stands before the text of a compaction item, so that the model does not take it for a question."""

Item = dict[str, Any]


@dataclass(slots=True)
class Input:
    """`items` as they are kept and shown, without ids. `messages` are for the model; system text is apart from them.

    `answers` are the function_call_outputs: which call each answers, and where it stands.
    """

    items: list[Item] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    remote_images: list[tuple[str, str]] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    @property
    def unpaired(self) -> dict[str, str]:
        """Answers to calls that are not among the items: they must be the chain's."""
        return {call_id: param for call_id, param in self.answers.items() if call_id not in self.called}


def references(value: object) -> list[str]:
    """Ids of the items that an input only points at."""
    if not isinstance(value, list):
        return []
    return [one["id"] for one in value if _is_reference(one) and isinstance(one.get("id"), str)]


def parse_input(value: object, known: Mapping[str, Item] | None = None, param: str = "input") -> Input:
    """`known` are the items behind references, by id. Raises InvalidInput."""
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise _wrong(param, "must be text or a list of items")
    if len(value) > MAX_MESSAGES:
        raise _wrong(param, f"has {len(value)} items; the limit is {MAX_MESSAGES}")
    found = Input()
    for i, one in enumerate(value):
        _add(found, _resolved(one, known or {}, f"{param}[{i}]"), f"{param}[{i}]")
    return found


def with_ids(items: Sequence[Mapping[str, Any]], run_suffix: str) -> list[Item]:
    """Kept input items as they are shown. The ids come from the run's, so that they are always the same."""
    return [{"id": f"{_PREFIXES.get(one['type'], 'item')}_{run_suffix}_i{i}", **one} for i, one in enumerate(items)]


def compaction_content(summary: str) -> str:
    """What a compaction item carries. Opaque to clients, not secret: it is their own conversation."""
    return base64.urlsafe_b64encode(orjson.dumps({"v": 1, "summary": summary})).decode("ascii")


def _resolved(value: object, known: Mapping[str, Item], param: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(param, "must be an object")
    if not _is_reference(value):
        return value
    item_id = value.get("id")
    if not isinstance(item_id, str):
        raise _wrong(f"{param}.id", "must be the id of an item")
    if item_id not in known:
        raise _wrong(f"{param}.id", f"names no stored item: {item_id[:128]!r}")
    return known[item_id]


def _is_reference(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    return kind == "item_reference" or (kind is None and "role" not in value and "id" in value)


def _add(found: Input, item: Mapping[str, Any], param: str) -> None:
    kind = item.get("type", "message" if "role" in item else None)
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        known = ", ".join([*_READERS, "item_reference"])
        what = f"{kind[:64]!r} is not known; it must be" if isinstance(kind, str) else "must be"
        raise _wrong(f"{param}.type", f"{what} one of {known}")
    read(found, item, param)


def _message(found: Input, item: Mapping[str, Any], param: str) -> None:
    message = one_from_openai({"role": item.get("role"), "content": item.get("content")}, param)
    if message.role == "tool":
        raise _wrong(
            f"{param}.role", "must be user, assistant, system or developer; a result is a function_call_output"
        )
    shown: Item = {"type": "message", "role": item["role"], "status": "completed"}
    shown["content"] = _shown_content(item["content"], message.role) if item.get("content") is not None else []
    if item.get("phase") in ("commentary", "final_answer"):
        shown["phase"] = item["phase"]
    found.items.append(shown)
    if message.role == "system":
        if message.text.strip():
            found.system.append(message.text.strip())
        return
    found.messages.append(message)
    found.remote_images += [
        (f"{param}.content[{i}].image_url", part.url)
        for i, part in enumerate(message.content)
        if isinstance(part, ImagePart) and part.url and part.url[:5].lower() != "data:"
    ]


def _function_call(found: Input, item: Mapping[str, Any], param: str) -> None:
    call = ToolCall(_text(item, "call_id", param), _text(item, "name", param), _any_text(item, "arguments", param))
    found.items.append(_shown(item, "function_call", call_id=call.id, name=call.name, arguments=call.arguments))
    _add_call(found, call)


def _function_call_output(found: Input, item: Mapping[str, Any], param: str) -> None:
    call_id = _text(item, "call_id", param)
    output = item.get("output")
    if isinstance(output, list):
        text = one_from_openai({"role": "tool", "tool_call_id": call_id, "content": output}, param).text
    elif isinstance(output, str):
        text = output
    else:
        raise _wrong(f"{param}.output", "must be text or a list of text parts")
    found.items.append(_shown(item, "function_call_output", call_id=call_id, output=text))
    found.answers.setdefault(call_id, f"{param}.call_id")
    found.messages.append(Message("tool", text, tool_call_id=call_id))


def _mcp_call(found: Input, item: Mapping[str, Any], param: str) -> None:
    """A call that a server ran, sent back by the client: the call and its result in one."""
    call = ToolCall(_text(item, "id", param), _text(item, "name", param), _any_text(item, "arguments", param))
    output, error = item.get("output"), item.get("error")
    if output is not None and not isinstance(output, str):
        raise _wrong(f"{param}.output", "must be text")
    text = output if output is not None else _error_text(error)
    found.items.append(
        _shown(
            item,
            "mcp_call",
            server_label=item.get("server_label") if isinstance(item.get("server_label"), str) else "hermes",
            name=call.name,
            arguments=call.arguments,
            output=output,
            error=error,
        )
    )
    _add_call(found, call)
    found.messages.append(Message("tool", text, tool_call_id=call.id, name=call.name))


def _reasoning(found: Input, item: Mapping[str, Any], param: str) -> None:
    """Kept for the reader; what the model thought is not sent back to it."""
    shown = _shown(item, "reasoning", summary=_texts(item, "summary", "summary_text", param))
    del shown["status"]
    if item.get("content") is not None:
        shown["content"] = _texts(item, "content", "reasoning_text", param)
    if isinstance(item.get("encrypted_content"), str):
        shown["encrypted_content"] = item["encrypted_content"]
    found.items.append(shown)


def _compaction(found: Input, item: Mapping[str, Any], param: str) -> None:
    content = item.get("encrypted_content")
    summary = _summary_in(content) if isinstance(content, str) else None
    if summary is None:
        raise _wrong(f"{param}.encrypted_content", "is not what POST /v1/responses/compact of this server gave")
    found.items.append({"type": "compaction", "encrypted_content": content})
    found.messages.append(Message("user", f"{SUMMARY_HEAD}\n\n{summary}"))


_READERS: dict[str, Callable[[Input, Mapping[str, Any], str], None]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_call_output,
    "mcp_call": _mcp_call,
    "reasoning": _reasoning,
    "compaction": _compaction,
}
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "mcp_call": "mcp",
    "reasoning": "rs",
    "compaction": "cmp",
}


def _add_call(found: Input, call: ToolCall) -> None:
    """Calls that stand together, and the text right before them, are one message: so the model said it."""
    found.called.add(call.id)
    last = found.messages[-1] if found.messages else None
    if last is not None and last.role == "assistant":
        found.messages[-1] = replace(last, tool_calls=(*last.tool_calls, call))
    else:
        found.messages.append(Message("assistant", "", (call,)))


def _shown(item: Mapping[str, Any], kind: str, **fields: Any) -> Item:
    status = item.get("status")
    return {
        "type": kind,
        **fields,
        "status": status if status in ("in_progress", "completed", "incomplete", "failed") else "completed",
    }


def _shown_content(content: object, role: str) -> list[Item]:
    """The parts in the words of the responses API, whatever form they came in. They have been checked."""
    if isinstance(content, str):
        return [_shown_text(content, role)]
    assert isinstance(content, list)
    return [_shown_part(part, role) for part in content]


def _shown_text(text: str, role: str) -> Item:
    return (
        {"type": "output_text", "text": text, "annotations": []}
        if role == "assistant"
        else {"type": "input_text", "text": text}
    )


def _shown_part(part: Mapping[str, Any], role: str) -> Item:
    match part["type"]:
        case "text" | "input_text" | "output_text":
            return _shown_text(part["text"], role)
        case "refusal":
            return {"type": "refusal", "refusal": part["refusal"]}
        case "image_url" | "input_image":
            inner = part.get("image_url")
            url, detail = (
                (inner.get("url"), inner.get("detail")) if isinstance(inner, dict) else (inner, part.get("detail"))
            )
            shown = {"type": "input_image", "image_url": url, "detail": detail or "auto"}
            return shown | ({"file_id": part["file_id"]} if part.get("file_id") is not None else {})
        case "file" | "input_file":
            holder = part["file"] if isinstance(part.get("file"), dict) else part
            kept = {name: holder[name] for name in ("filename", "file_data", "file_id") if holder.get(name) is not None}
            return {"type": "input_file", **kept}
        case _:
            return {"type": "input_audio", "input_audio": part.get("input_audio")}


def _texts(item: Mapping[str, Any], name: str, kind: str, param: str) -> list[Item]:
    value = item.get(name)
    if not isinstance(value, list) or not all(
        isinstance(one, dict) and isinstance(one.get("text"), str) for one in value
    ):
        raise _wrong(f"{param}.{name}", "must be a list of objects with text")
    return [{"type": kind, "text": one["text"]} for one in value]


def _error_text(error: object) -> str:
    if error is None:
        return ""
    return error if isinstance(error, str) else orjson.dumps(error).decode()


def _summary_in(content: str) -> str | None:
    try:
        value = orjson.loads(base64.urlsafe_b64decode(content.encode("ascii")))
    except (ValueError, binascii.Error, UnicodeEncodeError):
        return None
    summary = value.get("summary") if isinstance(value, dict) else None
    return summary if isinstance(summary, str) else None


def _text(item: Mapping[str, Any], name: str, param: str) -> str:
    value = _any_text(item, name, param)
    if not value:
        raise _wrong(f"{param}.{name}", "must not be empty")
    return value


def _any_text(item: Mapping[str, Any], name: str, param: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise _wrong(f"{param}.{name}", "must be text")
    return value


def _wrong(param: str, what: str) -> InvalidInput:
    return InvalidInput(f"{param} {what}", param=param)
