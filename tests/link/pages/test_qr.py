"""QR codes, read back as a camera would see them."""

import base64
import json
import re

import pytest

from hermes.expose.qr import drawing
from hermeslink.pages.qr import payload, picture

TEXT = payload("link_1", "Anna's Büro", "ps_1", "c0de", ["https://a.example", "http://192.168.1.2:18642"])


def test_the_payload_is_as_published():
    assert json.loads(TEXT) == {
        "kind": "hermes_link_pairing",
        "version": 1,
        "link_id": "link_1",
        "display_name": "Anna's Büro",
        "session_id": "ps_1",
        "code": "c0de",
        "preferred_urls": ["https://a.example", "http://192.168.1.2:18642"],
    }


def test_a_picture_is_an_svg_that_holds_no_text_of_anybodys():
    head, _, body = picture("<script>alert(1)</script>").partition(",")
    assert head == "data:image/svg+xml;base64"
    svg = base64.b64decode(body).decode()
    assert svg.startswith("<svg")
    assert "script" not in svg
    assert "alert" not in svg


@pytest.mark.parametrize("has_colours", [False, True])
def test_a_drawing_is_square_and_fits_a_terminal(has_colours):
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in drawing(TEXT, has_colours=has_colours).split("\n")]
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 79
    assert abs(len(lines) * 2 - len(lines[0])) <= 1
    assert set("".join(lines)) <= set(" ▀▄█")
    assert ("\x1b[" in drawing(TEXT, has_colours=has_colours)) == has_colours


def test_what_is_drawn_is_the_code(tmp_path):
    """Every module of the drawing, against the library's own."""
    import segno

    rows = [[bool(module) for module in row] for row in segno.make_qr(TEXT, error="l").matrix_iter(border=2)]
    seen = []
    for line in drawing(TEXT, has_colours=False).split("\n"):
        seen += [[character in "▀█" for character in line], [character in "▄█" for character in line]]
    assert seen[: len(rows)] == rows
