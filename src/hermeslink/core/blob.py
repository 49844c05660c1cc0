"""A file that somebody attached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BlobKind = Literal["image", "audio", "video", "file"]

_SHOWN_IMAGES = frozenset(
    f"image/{kind}" for kind in ("png", "apng", "jpeg", "gif", "webp", "avif", "heic", "heif", "bmp", "tiff")
)


@dataclass(frozen=True, slots=True)
class Blob:
    """`sha256` is the content's, which may be that of others, too; `mime` is what its bytes say, never its sender."""

    id: str
    conversation_id: str
    sha256: str
    size: int
    mime: str
    filename: str
    device_id: str | None
    created_at: float

    @property
    def kind(self) -> BlobKind:
        """An SVG is a file: it is a document that can hold scripts."""
        if self.mime in _SHOWN_IMAGES:
            return "image"
        if self.mime.startswith("audio/"):
            return "audio"
        return "video" if self.mime.startswith("video/") else "file"

    @property
    def is_shown(self) -> bool:
        """Whether a browser may show it in its place; anything else it is given to save."""
        return self.kind != "file" or self.mime == "application/pdf"
