"""What is said in a session: the normal form that store, agent and models share.

`hermes.agent.messages` turns OpenAI's format into it and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """`url` is https:// or data:image/…;base64,…; empty while `file_id` names an uploaded file that was not read yet.

    `place` is where it stands in the client's request, for an error about it; it is not kept.
    """

    url: str
    detail: str | None = None
    file_id: str | None = None
    place: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AudioPart:
    """`data` is base64, `format` wav or mp3."""

    data: str
    format: str


@dataclass(frozen=True, slots=True)
class FilePart:
    """`data` is base64 or a data: URL, as the client sent it; empty when the file was uploaded, or read already.

    `text` is what the model is given in its place, once it was read (docs/adr/0078). `file_id` names the upload.
    `place` as in ImagePart.
    """

    name: str
    data: str = ""
    file_id: str | None = None
    text: str | None = None
    place: str = field(default="", compare=False, repr=False)


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

    @property
    def text_with_files(self) -> str:
        """The text, with what was read of files where they stand."""
        if isinstance(self.content, str):
            return self.content
        texts = (part.text for part in self.content if isinstance(part, TextPart | FilePart))
        return "\n".join(text for text in texts if text is not None)
