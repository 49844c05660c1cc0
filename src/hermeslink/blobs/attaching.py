"""How attachments reach the agent: pictures as such, short text as it is, anything else as a file in its inbox.

The same attachments give the same parts each time, since a run that is started again must have the same body.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from hermes.core.errors import NotFound
from hermes.home.disk import refusal
from hermeslink.blobs.blobs import Blobs
from hermeslink.blobs.pictures import fitted
from hermeslink.blobs.sniffing import is_text, text_encoding
from hermeslink.blobs.threads import in_thread
from hermeslink.core.blob import Blob

MOST_TEXT_BYTES = 64 << 10
"""Of one file that is told as it is; half of what a message may tell together."""
MOST_TOGETHER_TEXT_BYTES = 128 << 10
MOST_PICTURE_BYTES = 1536 << 10
MOST_TOGETHER_PICTURE_BYTES = 3 << 20
"""An API server takes 10 MiB in a body: base64 makes a third more of this, and a history of 4 must fit, too."""
AT_ONCE = 2
"""Messages whose pictures are scaled at the same time: each takes a core, and memory."""

Part = dict[str, Any]
_log = logging.getLogger(__name__)


class Attaching:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._places = asyncio.Semaphore(AT_ONCE)

    async def parts(self, attached: Sequence[Blob], profile: str) -> list[Part]:
        """Content parts for an API server, in the order of the attachments, behind a message's text.

        A file that is lost, or that no inbox takes, is told as such. Raises NotFound for a profile that is gone.
        """
        if not attached:
            return []
        room = _Room(MOST_TOGETHER_TEXT_BYTES, MOST_TOGETHER_PICTURE_BYTES, sum(b.kind == "image" for b in attached))
        async with self._places:
            return [await self._part(blob, profile, room) for blob in attached]

    async def _part(self, blob: Blob, profile: str, room: _Room) -> Part:
        try:
            file = await self._blobs.open(blob)
        except NotFound:
            return _text(f"{mention(blob)} It is lost.")
        with file:
            return await in_thread(self._made, blob, file, profile, room)

    def _made(self, blob: Blob, file: BinaryIO, profile: str, room: _Room) -> Part:
        if blob.kind == "image":
            picture = fitted(file, blob.mime, blob.size, room.for_picture())
            if picture is not None:
                room.picture_bytes -= len(picture.data)
                return _picture(picture.mime, picture.data)
        elif is_text(blob.mime) and blob.size <= min(MOST_TEXT_BYTES, room.text_bytes):
            text = _read(file)
            if text is not None:
                room.text_bytes -= blob.size
                return _text(f"{mention(blob)}\n{_fenced(text)}")
        file.seek(0)
        try:
            return _text(f"{mention(blob)} It is at {self._blobs.inboxes.put(profile, blob, file)}")
        except OSError as error:
            _log.warning("the inbox of profile %s does not take %s: %s", profile, blob.id, refusal(error))
            return _text(f"{mention(blob)} It cannot be read: the inbox of this profile does not take it.")


@dataclass(slots=True)
class _Room:
    """What is left for the attachments of one message."""

    text_bytes: int
    picture_bytes: int
    pictures: int

    def for_picture(self) -> int:
        """An equal share of what is left."""
        share = self.picture_bytes // self.pictures
        self.pictures -= 1
        return min(MOST_PICTURE_BYTES, share)


def mention(blob: Blob) -> str:
    """One line that says what was attached, as a history tells of it that carries no files."""
    return f"[Attached {blob.kind}: {blob.filename} ({blob.mime}, {blob.size} bytes)]"


def _read(file: BinaryIO) -> str | None:
    data = file.read()
    encoding = text_encoding(data)
    try:
        return None if encoding is None else data.decode(encoding)
    except UnicodeDecodeError:  # it ends within a character
        return None


def _fenced(text: str) -> str:
    """Between marks that are not in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _picture(mime: str, data: bytes) -> Part:
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{base64.b64encode(data).decode()}"}}
