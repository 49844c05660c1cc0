"""What the user wrote in the editor as a message, and a kept message as the editor shows it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from urllib.parse import unquote, urlsplit

from acp import schema

from hermes.core.errors import InvalidInput
from hermes.core.message import AudioPart, ContentPart, FilePart, ImagePart, Message, TextPart

Block = (
    schema.TextContentBlock
    | schema.ImageContentBlock
    | schema.AudioContentBlock
    | schema.ResourceContentBlock
    | schema.EmbeddedResourceContentBlock
)

_PICTURE = re.compile(r"image/[\w.+-]+", re.ASCII)
_SOUNDS = {"wav": "wav", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mpeg": "mp3", "mp3": "mp3"}


def message_of(blocks: Sequence[Block]) -> Message:
    """Raises InvalidInput naming the block. Files in it are not read yet (`hermes.files.parts`)."""
    parts = [_part(block, f"prompt[{number}]") for number, block in enumerate(blocks)]
    if not any(not isinstance(part, TextPart) or part.text.strip() for part in parts):
        raise InvalidInput("the prompt is empty; write something to the agent", param="prompt")
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return Message("user", parts[0].text)
    return Message("user", tuple(parts))


def blocks_of(message: Message) -> Iterator[Block]:
    """What a session holds of a user's message."""
    parts = [TextPart(message.content)] if isinstance(message.content, str) else message.content
    for part in parts:
        match part:
            case TextPart(text):
                yield text_block(text)
            case ImagePart(url):
                yield _image(url)
            case AudioPart(data, format):
                kind = "audio/mpeg" if format == "mp3" else "audio/wav"
                yield schema.AudioContentBlock(type="audio", data=data, mime_type=kind)
            case FilePart(name):
                yield _link(name)


def text_block(text: str) -> schema.TextContentBlock:
    return schema.TextContentBlock(type="text", text=text)


def place_of(uri: str) -> str:
    """A file's path where the address is that of a file on this machine, with the lines it speaks of."""
    try:
        parsed = urlsplit(uri)
    except ValueError:  # brackets, where an address of IPv6 would be
        return uri
    if parsed.scheme != "file" or parsed.netloc not in ("", "localhost"):
        return uri
    return unquote(parsed.path) + (f"#{parsed.fragment}" if parsed.fragment else "")


def _part(block: Block, place: str) -> ContentPart:
    match block:
        case schema.TextContentBlock():
            return TextPart(block.text)
        case schema.ImageContentBlock():
            if not _PICTURE.fullmatch(block.mime_type):
                raise _wrong(place, f"an image of the type {block.mime_type!r}; it must be one of image/")
            return ImagePart(f"data:{block.mime_type};base64,{_checked(block.data, place)}", place=place)
        case schema.AudioContentBlock():
            kind = _SOUNDS.get(block.mime_type.removeprefix("audio/"))
            if kind is None:
                raise _wrong(place, f"sound of the type {block.mime_type!r}; what can be heard: audio/wav, audio/mpeg")
            return AudioPart(_checked(block.data, place), kind)
        case schema.ResourceContentBlock():
            return TextPart(f"[{block.name}]({place_of(block.uri)})")
        case schema.EmbeddedResourceContentBlock():
            resource = block.resource
            name = place_of(resource.uri)
            if isinstance(resource, schema.BlobResourceContents):
                return FilePart(name, resource.blob, place=place)
            return FilePart(name, base64.b64encode(resource.text.encode("utf-8", "replace")).decode(), place=place)


def _checked(data: str, place: str) -> str:
    """What is kept is sent with each later turn: a model that refuses it would refuse all of them."""
    try:
        if base64.b64decode(data, validate=True):
            return data
    except (binascii.Error, ValueError):
        pass
    raise _wrong(place, "no base64, or empty")


def _wrong(place: str, what: str) -> InvalidInput:
    return InvalidInput(f"{place} is {what}", code="invalid_content_part", param=place)


def _image(url: str) -> Block:
    head, _, data = url.partition(";base64,")
    if not data or not head.startswith("data:"):
        return _link(url)
    return schema.ImageContentBlock(type="image", data=data, mime_type=head.removeprefix("data:"))


def _link(place: str) -> Block:
    uri = place if "://" in place else f"file://{place}"
    return schema.ResourceContentBlock(type="resource_link", name=PurePath(place).name or place, uri=uri)
