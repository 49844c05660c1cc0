"""Marks on what a model is shown of tools' results: see `core/untrusted.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hermes.core.message import Content, Message, TextPart
from hermes.core.toolset import info_of
from hermes.core.untrusted import mark


def marked(messages: Sequence[Message]) -> list[Message]:
    """With each result in a block that names its tool, but for tools whose results are the server's own words."""
    names: dict[str, str] = {}
    shown: list[Message] = []
    for message in messages:
        names.update((call.id, call.name) for call in message.tool_calls)
        shown.append(message if message.role != "tool" else _marked(message, names))
    return shown


def _marked(message: Message, names: dict[str, str]) -> Message:
    name = message.name or names.get(message.tool_call_id or "", "a tool")
    info = info_of(name)
    if info is not None and info.is_own_words:
        return message
    return replace(message, content=_content(name, message.content))


def _content(name: str, content: Content) -> Content:
    if isinstance(content, str):
        return mark(name, content) if content else content
    return tuple(replace(part, text=mark(name, part.text)) if isinstance(part, TextPart) else part for part in content)
