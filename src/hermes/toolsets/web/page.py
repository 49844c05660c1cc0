"""What was fetched, as text for a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from hermes.core.errors import ToolFailed
from hermes.core.ports import DocumentReader, DocumentUnreadable
from hermes.toolsets.child import ChildFailed, ask
from hermes.toolsets.fetch import Fetched
from hermes.toolsets.output import clean

ASK_PAGE = Path(__file__).with_name("ask_page.py")
MOST_CHARACTERS = 400_000
READ_SECONDS = 25.0

_HTML = ("text/html", "application/xhtml+xml")
_TEXTS = ("application/json", "application/xml", "application/javascript", "application/yaml", "application/toml")
_TEXT_ENDS = ("+json", "+xml", "+yaml")
_UNSAID = ("", "application/octet-stream", "binary/octet-stream", "application/zip", "text/plain")
"""Types under which servers send anything: the bytes say what it is."""


@dataclass(frozen=True, slots=True)
class Page:
    """`url` is where it came from in the end. `note` says what was read, and what of it was not."""

    url: str
    title: str
    text: str
    note: str = ""


async def read_page(fetched: Fetched, documents: DocumentReader | None, environment: Mapping[str, str]) -> Page:
    """Raises ToolFailed."""
    media_type = fetched.media_type
    if media_type in _HTML or (not media_type and fetched.data.lstrip()[:1] == b"<"):
        return await _html(fetched, environment)
    if media_type in _TEXTS or media_type.endswith(_TEXT_ENDS):
        return _text(fetched)
    if media_type.startswith("text/") and media_type not in _UNSAID:
        return _text(fetched)
    if documents is not None and documents.can_read(fetched.data):
        return await _document(fetched, documents)
    if media_type in ("", "text/plain") and b"\0" not in fetched.data[:4096]:
        return _text(fetched)
    raise ToolFailed(f"it is {media_type or 'of an unknown type'}, {len(fetched.data):,} bytes: no text can be read")


async def _html(fetched: Fetched, environment: Mapping[str, str]) -> Page:
    try:
        printed = await ask(
            ASK_PAGE,
            *(fetched.url, fetched.charset, str(MOST_CHARACTERS)),
            stdin=fetched.data,
            environment=environment,
            timeout_seconds=READ_SECONDS,
            most_bytes=12 * MOST_CHARACTERS + 4096,  # JSON may take twelve bytes for one character
        )
    except ChildFailed as failed:
        raise ToolFailed(f"the page cannot be read: {failed}") from failed
    answer = orjson.loads(printed)
    if "error" in answer:
        raise ToolFailed(f"the page cannot be read: {answer['error']}")
    note = _note(fetched, is_cut=answer["is_cut"])
    said = "; ".join(filter(None, ("its plain text alone could be read" if answer["is_plain"] else "", note)))
    return Page(fetched.url, clean(answer["title"]), clean(answer["text"]), said)


def _text(fetched: Fetched) -> Page:
    try:
        text = fetched.data.decode(fetched.charset or "utf-8-sig", "replace")
    except (LookupError, ValueError):  # a charset that nobody knows, or that is none: Python has codecs such as `idna`
        text = fetched.data.decode("utf-8", "replace")
    note = _note(fetched, is_cut=len(text) > MOST_CHARACTERS)
    return Page(fetched.url, "", clean(text[:MOST_CHARACTERS]), note)


async def _document(fetched: Fetched, documents: DocumentReader) -> Page:
    if fetched.is_cut:
        raise ToolFailed(f"the document is larger than {len(fetched.data):,} bytes (web.max_mb)")
    try:
        text, about, is_cut = await documents.read(fetched.data, MOST_CHARACTERS)
    except DocumentUnreadable as unreadable:
        raise ToolFailed(f"the document cannot be read: {unreadable}") from unreadable
    return Page(fetched.url, "", clean(text), "; ".join(filter(None, (about, _note(fetched, is_cut=is_cut)))))


def _note(fetched: Fetched, *, is_cut: bool) -> str:
    if fetched.is_cut:
        return f"only the first {len(fetched.data):,} bytes were read (web.max_mb)"
    return f"only the first {MOST_CHARACTERS:,} characters are there" if is_cut else ""
