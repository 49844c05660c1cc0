from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.toolsets import output


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\tb\n", "a\tb\n"),
        ("a\x00b\x08c", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"),
    ],
)
def test_a_terminals_signs_become_plain_text(raw: str, plain: str) -> None:
    assert output.clean(raw) == plain


@given(st.text())
def test_no_control_character_gets_through(text: str) -> None:
    assert all(c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160) for c in output.clean(text))


@given(st.text(max_size=300), st.integers(10, 50))
def test_a_cut_keeps_head_and_tail(text: str, most: int) -> None:
    cut = output.cut(text, most)

    if len(text) <= most:
        assert cut == text
    else:
        assert cut.startswith(text[: most * 2 // 5])
        assert cut.endswith(text[-(most - most * 2 // 5) :])
        assert f"{len(text) - most:,} characters left out" in cut


@given(st.binary(max_size=400), st.integers(0, 400), st.integers(0, 400))
def test_pieces_read_like_one_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: int, size: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = directory / "x.log"
    for number in range(3):
        part = data[number * 100 : (number + 1) * 100]
        if number == 0 or part:
            (log if number == 0 else directory / f"x.log.{number}").write_bytes(part)
    data = data[:300]

    assert output.read(log, 100, start, size) == data[start : start + size]
    if len(data) % 100 or not data:
        assert output.total_bytes(log, 100) == len(data)


def test_a_secret_at_the_cut_is_hidden_before_it_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("a" * 30 + "SECRETVALUE" + "b" * 200)

    shown = output.head_and_tail(log, 1 << 20, 100, lambda text: text.replace("SECRETVALUE", "[redacted]"))

    assert "SECRET" not in shown.text


@pytest.mark.parametrize("piece", ["x", "\x1b]", "\x1bP", "a\r", "\x1b[", "\r", "é"])
def test_text_made_to_take_long_does_not(piece: str) -> None:
    assert isinstance(output.clean(piece * 300_000), str)
