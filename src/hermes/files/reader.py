"""Reads one document, in a process of its own: `python reader.py MEDIA_TYPE MOST_CHARACTERS < document`.

Parsers of other people's formats hang, eat memory and crash on files that were made for it, so none of them runs in
the gateway. It prints one JSON object: `text`, `about` (what was read: "12 pages"), `is_cut`; or `error`, a sentence.
Imports nothing of hermes: it starts from its path, wherever the gateway was started.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import zipfile
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, BinaryIO

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 20
MAX_PAGES = 2_000
MAX_ROWS = 100_000
MAX_ENTRIES = 10_000
MAX_UNPACKED_BYTES = 256 << 20
MAX_RATIO = 200
RATIO_FROM_BYTES = 10 << 20
"""A small file may be packed well: the ratio counts from here."""

OFFICE = "application/vnd.openxmlformats-officedocument."


class Unreadable(Exception):
    """The message is for the client."""


class Text:
    """Gathers pieces until there is more than may be given. `is_short`: a reader stopped before the document's end."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pieces: list[str] = []
        self.length = 0
        self.about = ""
        self.is_short = False

    @property
    def is_full(self) -> bool:
        return self.length > self.limit

    def add(self, piece: str) -> bool:
        """Whether there is room for more."""
        if piece:
            self.pieces.append(piece)
            self.length += len(piece) + 1
        return not self.is_full

    def whole(self) -> str:
        return "\n".join(self.pieces).encode("utf-8", "replace").decode()  # no lone surrogates


def read(file: BinaryIO, media_type: str, limit: int) -> dict[str, Any]:
    text = Text(limit)
    file.seek(0)
    if media_type == "application/pdf":
        _pdf(file, text)
    else:
        check_archive(file)
        _OFFICE_READERS[media_type](file, text)
    whole = text.whole()
    return {"text": whole[:limit], "about": text.about, "is_cut": text.is_short or len(whole) > limit}


def check_archive(file: BinaryIO) -> None:
    """Before anything is unpacked. The sizes it declares are true: zipfile unpacks no more than that of an entry."""
    size = file.seek(0, 2)
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES:
        raise Unreadable(f"it is an archive of {len(entries)} files, and {MAX_ENTRIES} is the limit")
    if unpacked > MAX_UNPACKED_BYTES:
        raise Unreadable(f"it unpacks to {unpacked >> 20} MiB, and {MAX_UNPACKED_BYTES >> 20} MiB is the limit")
    if unpacked > RATIO_FROM_BYTES and unpacked > MAX_RATIO * size:
        raise Unreadable(f"it unpacks to {unpacked // size} times its size, and {MAX_RATIO} times is the limit")
    file.seek(0)


def _pdf(file: BinaryIO, text: Text) -> None:
    import pypdf

    reader = pypdf.PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("it is locked with a password; send it unlocked")
    count = len(reader.pages)
    read = 0
    has_text = False
    for number in range(min(count, MAX_PAGES)):
        said = reader.pages[number].extract_text().strip()
        has_text = has_text or bool(said)
        read += 1
        if said and not text.add(f"--- page {number + 1} ---\n{said}"):
            break
    text.is_short = read < count
    text.about = _counted(count, "page") if read == count else f"the first {read} of {count} pages"
    if not has_text:
        raise Unreadable("no text is in it, so it is likely a scan; send its pages as images")


def _docx(file: BinaryIO, text: Text) -> None:
    import docx
    from docx.table import Table

    for block in docx.Document(file).iter_inner_content():
        if isinstance(block, Table):
            pieces = [_cells(cell.text for cell in row.cells) for row in block.rows]
        else:
            style = (block.style.name if block.style is not None else None) or ""
            level = style.removeprefix("Heading ")
            is_heading = style.startswith("Heading ") and level.isdigit()
            pieces = [f"{'#' * int(level)} {block.text}" if is_heading and block.text else block.text]
        if not all(text.add(piece) for piece in pieces):
            break


def _xlsx(file: BinaryIO, text: Text) -> None:
    import openpyxl  # type: ignore[import-untyped]

    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    sources = openpyxl.load_workbook(file, read_only=True)
    text.about = _counted(len(book.worksheets), "sheet")
    for sheet in book.worksheets:
        if not text.add(f"--- sheet {sheet.title} ---"):
            return
        sheet.reset_dimensions()  # what the file says of its size may be anything
        sources[sheet.title].reset_dimensions()
        formulas = sources[sheet.title].iter_rows(values_only=True)
        for number, row in enumerate(sheet.iter_rows(values_only=True)):
            if number >= MAX_ROWS:
                text.add(f"[only the first {MAX_ROWS} rows of this sheet were read]")
                text.is_short = True
                break
            pairs = zip_longest(row, next(formulas, ()))
            if not text.add(_cells(_cell(value, formula) for value, formula in pairs)):
                return


def _pptx(file: BinaryIO, text: Text) -> None:
    import pptx

    slides = pptx.Presentation(file).slides
    text.about = _counted(len(slides), "slide")
    for number, slide in enumerate(slides, 1):
        said = list(_shape_texts(slide.shapes))
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            notes = slide.notes_slide.notes_text_frame.text
            said += [f"Notes: {notes}"] if notes.strip() else []
        if not text.add("\n".join([f"--- slide {number} ---", *said])):
            return


def _shape_texts(shapes: Any) -> Iterator[str]:
    for shape in shapes:
        if hasattr(shape, "shapes"):  # a group
            yield from _shape_texts(shape.shapes)
        elif shape.has_text_frame and shape.text_frame.text.strip():
            yield shape.text_frame.text
        elif getattr(shape, "has_table", False):
            for row in shape.table.rows:
                yield _cells(cell.text for cell in row.cells)


def _cell(value: object, formula: object) -> str:
    """What the program that saved it had calculated; a formula that nobody calculated yet is shown itself."""
    shown = formula if value is None else value
    return "" if shown is None else str(shown)


def _cells(values: Iterator[str]) -> str:
    """One row; empty cells at its end are left out."""
    return " | ".join(" ".join(value.split()) for value in values).rstrip(" |")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_OFFICE_READERS: dict[str, Callable[[BinaryIO, Text], None]] = {
    f"{OFFICE}wordprocessingml.document": _docx,
    f"{OFFICE}spreadsheetml.sheet": _xlsx,
    f"{OFFICE}presentationml.presentation": _pptx,
}


def limit_this_process() -> None:
    """Memory, time, and no files: what it must not do, it cannot."""
    try:
        import resource
    except ImportError:  # Windows has none; the parent's clock still holds
        return
    limits = {"RLIMIT_AS": MEMORY_BYTES, "RLIMIT_CPU": CPU_SECONDS, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def main(media_type: str, limit: int) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    limit_this_process()
    try:
        return read(open(0, "rb", closefd=False), media_type, limit)
    except Unreadable as why:
        return {"error": str(why)}
    except (MemoryError, RecursionError):
        return {"error": "reading it takes too much memory"}
    except ImportError:
        raise
    except Exception as why:  # noqa: BLE001 each parser has errors of its own, and all of them mean the same
        return {"error": f"it is damaged ({type(why).__name__})"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
