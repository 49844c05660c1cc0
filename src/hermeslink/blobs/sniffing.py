"""What a file is, by its own bytes: what its name or its sender says is not asked.

Text comes first, since a page of HTML that begins like a picture is one to a browser that looks further, and since
the short marks of `filetype` are words, too: BM begins a bitmap and a letter to BMW.
"""

from __future__ import annotations

import codecs
import re

HEAD_BYTES = 8192
UNKNOWN = "application/octet-stream"
_NOT_IN_TEXT = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b") | {127}
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MARKUP = (
    (re.compile(r"<svg[\s>:/]|<!doctype svg", re.I), "image/svg+xml"),
    (
        re.compile(r"<(?:!doctype html|html|head|body|script|iframe|title|style|table|div|h1|img)\b", re.I),
        "text/html",
    ),
    (re.compile(r"<\?xml\b", re.I), "application/xml"),
)


def mime_of(head: bytes) -> str:
    """`head` is the first HEAD_BYTES, or all."""
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    encoding = text_encoding(head)
    if encoding is not None:
        return _of_text(head.decode(encoding, "ignore"))
    import filetype  # type: ignore[import-untyped] # here, since its list of kinds costs a start that needs none

    kind = filetype.guess(head)
    return UNKNOWN if kind is None else str(kind.mime)


def text_encoding(head: bytes) -> str | None:
    """UTF-8, or UTF-16 with its mark; None for what is no text. The last character may be cut."""
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
    return encoding if _NOT_IN_TEXT.isdisjoint(map(ord, text[:HEAD_BYTES])) else None


def is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime in ("image/svg+xml", "application/xml")


def _of_text(text: str) -> str:
    """Markup is what begins as such: other texts speak of tags."""
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return "text/plain"
    return next((mime for markup, mime in _MARKUP if markup.search(text)), "text/plain")
