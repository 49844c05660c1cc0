"""Documents that no client uploaded, such as those a tool found in the web: read from memory, kept nowhere."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile

from hermes.core.ports import DocumentUnreadable
from hermes.files.documents import Documents, Unreadable
from hermes.files.kinds import Use, kind_of


class ReadDocuments:
    """A `core.ports.DocumentReader`."""

    def __init__(self, documents: Documents | None = None) -> None:
        self._documents = documents or Documents()

    def can_read(self, data: bytes) -> bool:
        return kind_of(io.BytesIO(data)).use is Use.DOCUMENT

    async def read(self, data: bytes, most_characters: int) -> tuple[str, str, bool]:
        kind = kind_of(io.BytesIO(data))
        digest = hashlib.sha256(data).hexdigest()
        with tempfile.TemporaryFile() as file:  # the reader is another process: it needs a real one
            await asyncio.to_thread(file.write, data)
            try:
                document = await self._documents.read(file, kind, digest, most_characters)
            except Unreadable as unreadable:
                raise DocumentUnreadable(unreadable.reason) from unreadable
        return document.text, document.about, document.is_cut
