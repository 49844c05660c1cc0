"""What a file is, by its own bytes: what its name or its sender says about it is not asked."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import BinaryIO

HEAD_BYTES = 64 * 1024
_ZIP_TAIL_BYTES = 22 + 65_535
_MOST_DIRECTORY_BYTES = 4 << 20


class Use(Enum):
    """How it reaches a model."""

    IMAGE = auto()
    AUDIO = auto()
    DOCUMENT = auto()
    """Its text is read by a library."""
    TEXT = auto()
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Kind:
    """`label` is for people; `use` NONE comes with `hint`, what to send instead where something is known."""

    media_type: str
    label: str
    use: Use
    hint: str = ""


PNG = Kind("image/png", "PNG image", Use.IMAGE)
JPEG = Kind("image/jpeg", "JPEG image", Use.IMAGE)
GIF = Kind("image/gif", "GIF image", Use.IMAGE)
WEBP = Kind("image/webp", "WebP image", Use.IMAGE)
WAV = Kind("audio/wav", "WAV sound", Use.AUDIO)
MP3 = Kind("audio/mpeg", "MP3 sound", Use.AUDIO)
PDF = Kind("application/pdf", "PDF", Use.DOCUMENT)
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX = Kind(f"{_OFFICE}wordprocessingml.document", "Word document", Use.DOCUMENT)
XLSX = Kind(f"{_OFFICE}spreadsheetml.sheet", "Excel workbook", Use.DOCUMENT)
PPTX = Kind(f"{_OFFICE}presentationml.presentation", "PowerPoint presentation", Use.DOCUMENT)
TEXT = Kind("text/plain", "text", Use.TEXT)
OLD_OFFICE = Kind("application/x-ole-storage", "old Office file", Use.NONE, "save it as docx, xlsx, pptx or PDF")
ZIP = Kind("application/zip", "ZIP archive", Use.NONE, "send the files in it one by one")
GZIP = Kind("application/gzip", "gzip archive", Use.NONE, "send what is in it")
OTHER = Kind("application/octet-stream", "file of an unknown kind", Use.NONE)

KINDS = (PNG, JPEG, GIF, WEBP, WAV, MP3, PDF, DOCX, XLSX, PPTX, TEXT, OLD_OFFICE, ZIP, GZIP, OTHER)
READABLE = "text of any kind, PDF, docx, xlsx, pptx, images (PNG, JPEG, GIF, WebP) and sound (WAV, MP3)"

_BY_MEDIA_TYPE = {kind.media_type: kind for kind in KINDS}
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"ID3", MP3),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLD_OFFICE),
    (b"\x1f\x8b\x08", GZIP),
)
_IN_OFFICE = ((b"word/document.xml", DOCX), (b"xl/workbook.xml", XLSX), (b"ppt/presentation.xml", PPTX))
_NOT_IN_TEXT = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def kind_of(file: BinaryIO) -> Kind:
    """Reads the head, and of a ZIP archive its table of contents; leaves the file at its beginning."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = kind_of_head(head)
    if kind is ZIP:
        kind = _in_archive(file)
    file.seek(0)
    return kind


def kind_of_head(head: bytes) -> Kind:
    """As far as the first bytes tell: an office file is a ZIP archive here."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
        return WEBP if head[8:12] == b"WEBP" else WAV
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:  # the sync word of an MPEG audio frame, layer III
        return MP3
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZIP
    return TEXT if text_encoding(head, is_whole=len(head) < HEAD_BYTES) is not None else OTHER


def named(media_type: str) -> Kind:
    """The kind with this media type, as it was kept."""
    return _BY_MEDIA_TYPE.get(media_type, OTHER)


def text_encoding(head: bytes, *, is_whole: bool) -> str | None:
    """UTF-8, UTF-16 with its mark, or Windows-1252 where it has no control characters; None for what is no text.

    `is_whole`: the text does not just end within a character because no more of it was read.
    """
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    if not _NOT_IN_TEXT.isdisjoint(head):
        return None
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if is_whole or error.end < len(head):
            return "cp1252"
    return "utf-8"


def image_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, as the head says; None where it does not."""
    match kind_of_head(head):
        case Kind(media_type="image/png") if head[12:16] == b"IHDR" and len(head) >= 24:
            width, height = struct.unpack(">II", head[16:24])
            return width, height
        case Kind(media_type="image/gif") if len(head) >= 10:
            width, height = struct.unpack("<HH", head[6:10])
            return width, height
        case Kind(media_type="image/jpeg"):
            return _jpeg_size(head)
        case Kind(media_type="image/webp"):
            return _webp_size(head)
    return None


def _in_archive(file: BinaryIO) -> Kind:
    """By the names in the table at its end, without unpacking anything: the table itself may be a bomb."""
    end = file.seek(0, 2)
    start = max(0, end - _ZIP_TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return ZIP
    size, offset = struct.unpack("<II", tail[at + 12 : at + 20])
    if size > _MOST_DIRECTORY_BYTES or offset + size > end:
        return ZIP
    file.seek(offset)
    directory = file.read(size)
    return next((kind for name, kind in _IN_OFFICE if name in directory), ZIP)


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    match head[12:16]:
        case b"VP8X" if len(head) >= 30:
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L" if len(head) >= 25:
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 " if len(head) >= 30:
            width, height = struct.unpack("<HH", head[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None
