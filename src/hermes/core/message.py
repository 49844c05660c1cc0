"""What is said in a session: the normal form that store, agent and models share.

`hermes.agent.messages` turns OpenAI's format into it and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """`url` is https:// or data:image/…;base64,…"""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class AudioPart:
    """`data` is base64, `format` wav or mp3."""

    data: str
    format: str


@dataclass(frozen=True, slots=True)
class FilePart:
    """`data` is base64 or a data: URL."""

    name: str
    data: str


ContentPart = TextPart | ImagePart | AudioPart | FilePart
Content = str | tuple[ContentPart, ...]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is the JSON text as the model wrote it, which may be invalid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a session.

    `tool_calls` only on assistant messages; `tool_call_id` only on tool messages, whose `content` is the result.
    `reasoning` is kept for the reader and is not sent back to the model.
    """

    role: Role
    content: Content = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""

    @property
    def text(self) -> str:
        """The text alone, parts joined by a line end."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))
