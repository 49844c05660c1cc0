from __future__ import annotations

import pytest

from hermes.core.ports import DocumentUnreadable
from hermes.files.reading import ReadDocuments
from tests.support.documents import docx, pdf, png


async def test_documents_are_known_by_their_bytes_and_read_from_memory() -> None:
    reader = ReadDocuments()
    assert [reader.can_read(data) for data in (pdf("a"), docx("a"), png(), b"text")] == [True, True, False, False]
    assert await reader.read(pdf("one", "two"), 1000) == ("--- page 1 ---\none\n--- page 2 ---\ntwo", "2 pages", False)
    text, _, is_cut = await reader.read(docx("long " * 50), 10)
    assert (text, is_cut) == ("long long ", True)


async def test_a_broken_document_is_said_to_be_one() -> None:
    with pytest.raises(DocumentUnreadable, match="it is damaged"):
        await ReadDocuments().read(b"%PDF-1.4 nothing", 1000)
