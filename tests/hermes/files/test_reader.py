"""What is read of each format, and what is refused before it is unpacked."""

from __future__ import annotations

import io
from typing import Any

import pytest

from hermes.files import kinds, reader
from hermes.files.kinds import Kind
from tests.support import documents


def read(data: bytes, kind: Kind, limit: int = 10_000) -> dict[str, Any]:
    return reader.read(io.BytesIO(data), kind.media_type, limit)


def test_a_pdf_is_read_page_by_page() -> None:
    assert read(documents.pdf("Hello (you)", "", "Third"), kinds.PDF) == {
        "text": "--- page 1 ---\nHello (you)\n--- page 3 ---\nThird",
        "about": "3 pages",
        "is_cut": False,
    }


def test_a_word_document_keeps_the_order_of_headings_text_and_tables() -> None:
    data = documents.docx("One ä😀", "Two", heading="Title", table=[["a", "b"], ["c", ""]])
    assert read(data, kinds.DOCX)["text"] == "# Title\nOne ä😀\nTwo\na | b\nc"


def test_a_workbook_shows_every_sheet_and_formulas_that_nobody_calculated() -> None:
    data = documents.xlsx({"One": [[1, "two\nlines", None], [], ["=1+1", 2.5]], "Two": [["x"]]})
    assert read(data, kinds.XLSX) == {
        "text": "--- sheet One ---\n1 | two lines\n=1+1 | 2.5\n--- sheet Two ---\nx",
        "about": "2 sheets",
        "is_cut": False,
    }


def test_a_presentation_is_read_with_its_notes() -> None:
    assert read(documents.pptx("First", "Second", notes="Breathe"), kinds.PPTX) == {
        "text": "--- slide 1 ---\nFirst\nNotes: Breathe\n--- slide 2 ---\nSecond\nNotes: Breathe",
        "about": "2 slides",
        "is_cut": False,
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (documents.pdf(*["some words"] * 20), kinds.PDF),
        (documents.docx(*["some words"] * 20), kinds.DOCX),
        (documents.xlsx({"a": [["some words"]] * 20}), kinds.XLSX),
        (documents.pptx(*["some words"] * 20), kinds.PPTX),
    ],
    ids=lambda value: value.label if isinstance(value, Kind) else None,
)
def test_a_long_document_is_cut_at_the_limit_and_says_so(data: bytes, kind: Kind) -> None:
    whole, cut = read(data, kind), read(data, kind, 50)
    assert (whole["is_cut"], cut["is_cut"]) == (False, True)
    assert cut["text"] == whole["text"][:50]


def test_of_thousands_of_pages_the_first_are_read_and_the_rest_is_told_as_missing() -> None:
    found = read(documents.pdf(*["a"] * (reader.MAX_PAGES + 1)), kinds.PDF, 1_000_000)
    assert (found["about"], found["is_cut"]) == ("the first 2000 of 2001 pages", True)


@pytest.mark.parametrize(
    ("data", "kind", "why"),
    [
        (documents.pdf("", ""), kinds.PDF, "likely a scan"),
        (documents.zip_bomb(100), kinds.DOCX, "times its size, and 200 times is the limit"),
        (documents.zip_bomb(257), kinds.DOCX, "unpacks to 257 MiB, and 256 MiB is the limit"),
        (documents.zip_bomb(257, "xl/workbook.xml"), kinds.XLSX, "256 MiB is the limit"),
        (documents.zip_of_many(reader.MAX_ENTRIES), kinds.PPTX, "an archive of 10001 files"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, kind: Kind, why: str) -> None:
    with pytest.raises(reader.Unreadable, match=why):
        read(data, kind)


def test_a_locked_pdf_says_that_it_is_locked() -> None:
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(documents.pdf("secret")))
    writer.encrypt("password", algorithm="RC4-128")
    locked = io.BytesIO()
    writer.write(locked)
    with pytest.raises(reader.Unreadable, match="locked with a password"):
        read(locked.getvalue(), kinds.PDF)
