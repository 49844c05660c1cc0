"""What a file is, by its bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from hermeslink.blobs.sniffing import HEAD_BYTES, UNKNOWN, mime_of
from hermeslink.core.blob import Blob


def a_picture(form: str, size: tuple[int, int] = (8, 8)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, "red").save(made, form)
    return made.getvalue()


def a_blob(mime: str) -> Blob:
    return Blob("blob_1", "conv_1", "", 1, mime, "a", None, 0.0)


SHOWN = [
    (a_picture("PNG"), "image/png", "image"),
    (a_picture("JPEG"), "image/jpeg", "image"),
    (a_picture("GIF"), "image/gif", "image"),
    (a_picture("WEBP"), "image/webp", "image"),
    (a_picture("BMP"), "image/bmp", "image"),
    (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video/mp4", "video"),
    (b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x84webm", "video/webm", "video"),
    (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg", "audio"),
    (b"OggS\0\x02\0\0\0\0", "audio/ogg", "audio"),
    (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "audio/x-wav", "audio"),
    (b"%PDF-1.7\n1 0 obj", "application/pdf", "file"),
]
SAVED = [
    (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/svg+xml"),
    (b"<?xml version='1.0'?>\n<!-- a --><svg onload='alert(1)'/>", "image/svg+xml"),
    (b"\xef\xbb\xbf  <SVG></SVG>", "image/svg+xml"),
    ("<svg/>".encode("utf-16"), "image/svg+xml"),
    (b"<!DOCTYPE html><p>", "text/html"),
    (b"\n\n<script>alert(1)</script>", "text/html"),
    (b"<?xml version='1.0'?><feed/>", "application/xml"),
    (b"GIF89a/*<svg onload=alert(1)>*/=1", "text/plain"),  # a script that begins like a picture
    (b"BMW is a letter to filetype", "text/plain"),
    (b"# How to write <svg> and <html>", "text/plain"),
    (b"\xff\xfeh\0i\0", "text/plain"),
    ("发票".encode() * 3000, "text/plain"),
    (b"PK\x03\x04\x14\0\0\0\0\0", "application/zip"),
    (b"MZ\x90\0\x03\0", "application/x-msdownload"),
    (b"\0\1\2\3", UNKNOWN),
    (b"caf\xe9 ", UNKNOWN),
]


@pytest.mark.parametrize(("data", "mime", "kind"), SHOWN)
def test_pictures_sound_films_and_pdf_are_shown(data: bytes, mime: str, kind: str) -> None:
    assert mime_of(data[:HEAD_BYTES]) == mime
    assert a_blob(mime).kind == kind
    assert a_blob(mime).is_shown


@pytest.mark.parametrize(("data", "mime"), SAVED)
def test_anything_else_is_given_to_save(data: bytes, mime: str) -> None:
    assert mime_of(data[:HEAD_BYTES]) == mime
    assert a_blob(mime).kind == "file"
    assert not a_blob(mime).is_shown


@pytest.mark.parametrize("cut", range(HEAD_BYTES - 4, HEAD_BYTES))
def test_a_head_that_ends_within_a_character_is_text(cut: int) -> None:
    assert mime_of(("a" * (HEAD_BYTES % 3) + "发" * HEAD_BYTES).encode()[:cut]) == "text/plain"
