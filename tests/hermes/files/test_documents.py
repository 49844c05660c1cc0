"""Readers are processes of their own: what they do to themselves stays there."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from hermes.core.errors import HermesError
from hermes.files import kinds
from hermes.files.documents import Document, Documents, Unreadable
from hermes.files.kinds import Kind, kind_of
from tests.support import documents


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as made:
        yield made


async def read(reader: Documents, file: BinaryIO, data: bytes, limit: int = 1000, kind: Kind | None = None) -> Document:
    file.seek(0)
    file.truncate()
    file.write(data)
    file.flush()
    return await reader.read(file, kind or kind_of(file), hashlib.sha256(data).hexdigest(), limit)


def standing_in(tmp_path: Path, code: str) -> Path:
    """A reader that does this."""
    path = tmp_path / "reader.py"
    path.write_text(code)
    return path


async def test_a_document_is_read_by_another_process(file: BinaryIO) -> None:
    found = await read(Documents(), file, documents.pdf("Hello"))
    assert found == Document("--- page 1 ---\nHello", "1 page")


@pytest.mark.parametrize(
    ("data", "kind", "why"),
    [
        (documents.pdf("a")[:-300], kinds.PDF, "it is damaged"),
        (documents.docx("a")[:-300], kinds.DOCX, "it is damaged"),
        (documents.zip_of_many(0), kinds.DOCX, "it is damaged"),
        (documents.pdf("a"), kinds.XLSX, "it is damaged"),
        (b"", kinds.PDF, "it is damaged"),
    ],
)
async def test_a_damaged_document_is_told_as_damaged(file: BinaryIO, data: bytes, kind: Kind, why: str) -> None:
    with pytest.raises(Unreadable) as refused:
        await read(Documents(), file, data, kind=kind)
    assert refused.value.reason.startswith(why)


async def test_a_reader_that_hangs_is_ended(file: BinaryIO, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    with pytest.raises(Unreadable, match="took longer than 2 s"):
        await read(Documents(seconds=2, reader=standing_in(tmp_path, code)), file, documents.pdf("a"))
    assert not Path(f"/proc/{pid.read_text()}").exists()


async def test_a_reader_whose_request_is_cancelled_is_ended(file: BinaryIO, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()) + '.')\ntime.sleep(600)"
    task = asyncio.create_task(read(Documents(reader=standing_in(tmp_path, code)), file, documents.pdf("a")))
    while not (pid.exists() and pid.read_text().endswith(".")):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{pid.read_text()[:-1]}").exists()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "too much memory or time"),
        ("print('x' * 100_000)", "said too much"),
    ],
)
async def test_a_reader_that_goes_mad_harms_nobody(file: BinaryIO, tmp_path: Path, code: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        await read(Documents(reader=standing_in(tmp_path, code)), file, documents.pdf("a"))


async def test_a_reader_has_little_memory_and_writes_no_files(file: BinaryIO, tmp_path: Path) -> None:
    source = Path(kinds.__file__).with_name("reader.py").read_text().partition('if __name__ == "__main__":')[0]
    target = tmp_path / "written"
    code = f"""{source}
def read(file, media_type, limit):
    try:
        with open({str(target)!r}, "w") as written:
            written.write("x")
    except OSError:
        return {{"text": "no files", "about": "", "is_cut": bool(bytearray(2 << 30))}}
print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
"""
    with pytest.raises(Unreadable, match="too much memory"):
        await read(Documents(reader=standing_in(tmp_path, code)), file, documents.pdf("a"))
    assert target.read_text() == ""


async def test_a_missing_library_is_the_servers_fault_and_not_the_documents(file: BinaryIO, tmp_path: Path) -> None:
    with pytest.raises(HermesError, match="could not be started"):
        await read(Documents(reader=standing_in(tmp_path, "raise ImportError")), file, documents.pdf("a"))


async def test_the_same_document_is_read_once(file: BinaryIO, tmp_path: Path) -> None:
    counted = tmp_path / "count"
    code = f'open({str(counted)!r}, \'a\').write(\'x\')\nprint(\'{{"text": "t", "about": "", "is_cut": false}}\')'
    reader = Documents(reader=standing_in(tmp_path, code))
    for _ in range(3):
        assert await read(reader, file, documents.pdf("a")) == Document("t")
    assert counted.read_text() == "x"
    await read(reader, file, documents.pdf("b"))
    await read(reader, file, documents.pdf("b"), limit=7)
    assert counted.read_text() == "xxx"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain", Document("plain")),
        (b"x" * 1001, Document("x" * 1000, is_cut=True)),
        ("ä".encode() * 1000, Document("ä" * 1000)),
        ("😀".encode() * 1005, Document("😀" * 1000, is_cut=True)),
        ("Gerät".encode("cp1252"), Document("Gerät", "read as Windows-1252")),
        ("\ufeffGerät".encode("utf-16-le"), Document("Gerät")),
        ("\ufeffGerät".encode(), Document("Gerät")),
    ],
)
async def test_text_is_decoded_as_what_it_is(file: BinaryIO, data: bytes, expected: Document) -> None:
    assert await read(Documents(), file, data) == expected


async def test_text_that_turns_binary_behind_its_head_is_refused(file: BinaryIO) -> None:
    with pytest.raises(Unreadable, match="no text"):
        await read(Documents(), file, b"x" * 70_000 + b"\x00", limit=100_000)
