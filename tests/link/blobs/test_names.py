"""Names of files as their senders say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermeslink.blobs.names import MOST_BYTES, UNNAMED, clean_name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("C:\\Users\\a\\photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("", UNNAMED),
        (".", UNNAMED),
        ("..", UNNAMED),
        ("a/", UNNAMED),
        ("\0\r\nx: y", "x: y"),
        ("gpj.\u202eexe", "gpj.exe"),  # it would be read from right to left
        ("e\u0301.txt", "\u00e9.txt"),
        ("发票 2026.pdf", "发票 2026.pdf"),
        (".env", ".env"),
        ("\ud800.txt", "?.txt"),
    ],
)
def test_a_name_is_its_last_part_without_what_is_not_seen(said: str, name: str) -> None:
    assert clean_name(said) == name


def test_a_long_name_keeps_its_ending() -> None:
    assert clean_name("发" * 300 + ".pdf").endswith("发.pdf")


@given(st.text(max_size=400))
def test_a_name_is_one_that_a_disk_takes_and_stays_the_same(said: str) -> None:
    name = clean_name(said)
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0\r\n")
    assert len(name.encode()) <= MOST_BYTES
    assert clean_name(name) == name
