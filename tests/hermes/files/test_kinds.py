"""What bytes are, whatever they are called."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.files import kinds
from hermes.files.kinds import HEAD_BYTES, Kind, Use, image_size, kind_of, kind_of_head, named, text_encoding
from tests.support import documents


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (documents.png(), kinds.PNG),
        (documents.jpeg(1, 1), kinds.JPEG),
        (b"GIF89a\x01\x00\x01\x00", kinds.GIF),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", kinds.WEBP),
        (documents.wav(), kinds.WAV),
        (b"RIFF\x00\x00\x00\x00AVI ", kinds.OTHER),
        (b"ID3\x04\x00", kinds.MP3),
        (b"\xff\xfb\x90\x00", kinds.MP3),
        (documents.pdf("a"), kinds.PDF),
        (b"junk before\n%PDF-1.7", kinds.PDF),
        (documents.docx("a"), kinds.DOCX),
        (documents.xlsx({"a": [[1]]}), kinds.XLSX),
        (documents.pptx("a"), kinds.PPTX),
        (documents.zip_of_many(1, "readme.txt"), kinds.ZIP),
        (documents.docx("a")[:-30], kinds.ZIP),
        (b"PK\x05\x06", kinds.ZIP),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", kinds.OLD_OFFICE),
        (b"\x1f\x8b\x08", kinds.GZIP),
        (b"a,b\n1,2", kinds.TEXT),
        (b"<html><script>alert(1)</script>", kinds.TEXT),
        ("Gerät".encode("cp1252"), kinds.TEXT),
        ("\ufeffGerät".encode("utf-16"), kinds.TEXT),
        (b"\x00\x01", kinds.OTHER),
        (b"MZ\x90\x00", kinds.OTHER),
    ],
    ids=lambda value: value.label if isinstance(value, Kind) else None,
)
def test_a_file_is_what_its_bytes_are(data: bytes, kind: Kind) -> None:
    file = io.BytesIO(data)
    assert kind_of(file) is kind
    assert file.tell() == 0
    assert named(kind.media_type) is kind


def test_a_character_across_the_end_of_the_head_is_still_utf_8() -> None:
    head = (b"x" * (HEAD_BYTES - 1) + "ä".encode())[:HEAD_BYTES]
    assert kind_of_head(head).use is Use.TEXT
    assert text_encoding(head, is_whole=False) == "utf-8"
    assert text_encoding(head, is_whole=True) == "cp1252"


def test_an_archive_with_an_endless_table_of_contents_is_not_looked_into() -> None:
    end = b"PK\x05\x06" + bytes(8) + (5 << 20).to_bytes(4, "little") + bytes(6)
    data = b"PK\x03\x04" + b"word/document.xml" + bytes(6 << 20) + end
    assert kind_of(io.BytesIO(data)) is kinds.ZIP


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (documents.png(640, 480), (640, 480)),
        (documents.png(2**31, 2**31), (2**31, 2**31)),
        (documents.png()[:20], None),
        (documents.jpeg(640, 480), (640, 480)),
        (documents.jpeg(640, 480)[:12], None),
        (b"\xff\xd8\xff" + b"\xff\xff" * 20, None),
        (b"GIF89a\x80\x02\xe0\x01", (640, 480)),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\x7f\x02\x00\xdf\x01\x00", (640, 480)),
        (b"RIFF\0\0\0\0WEBPVP8L" + bytes(5) + (639 | 479 << 14).to_bytes(4, "little"), (640, 480)),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + b"\x80\x02\xe0\x01", (640, 480)),
        (b"just text", None),
    ],
)
def test_the_size_of_an_image_is_read_from_its_head(head: bytes, size: tuple[int, int] | None) -> None:
    assert image_size(head) == size


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", *(magic for magic, _ in kinds._MAGIC), b"RIFF\0\0\0\0WEBP", b"PK\5\6"]),
)
def test_no_bytes_are_too_odd(data: bytes, magic: bytes) -> None:
    kind_of(io.BytesIO(magic + data))
    image_size(magic + data)
