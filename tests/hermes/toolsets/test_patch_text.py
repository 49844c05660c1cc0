from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.errors import ToolFailed
from hermes.toolsets.edits import Text
from hermes.toolsets.patch_text import apply, parse_patch

LINES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8), max_size=12)


@given(before=LINES, after=LINES, context=st.integers(0, 4))
def test_a_unified_diff_of_two_texts_turns_one_into_the_other(
    before: list[str], after: list[str], context: int
) -> None:
    if before == after:
        return
    diff = "\n".join(difflib.unified_diff(before, after, "a/f", "b/f", lineterm="", n=context))

    (change,) = parse_patch(diff)
    result, notes = apply(change, "".join(f"{line}\n" for line in before))

    assert result == "".join(f"{line}\n" for line in after)
    assert notes == []


@given(st.text())
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    try:
        assert parse_patch(text)
    except ValueError as problem:
        assert str(problem)


@given(st.binary())
def test_bytes_come_back_as_they_were(data: bytes) -> None:
    try:
        text = Text.from_bytes(data, "f")
    except ToolFailed:
        return
    assert text.to_bytes(text.text) == data


def test_a_hunk_at_the_end_of_the_file_is_the_last_of_its_kind() -> None:
    (change,) = parse_patch("*** Update File: f\n-x\n+y\n*** End of File")

    assert apply(change, "x\nx\n")[0] == "x\ny\n"


def test_a_line_after_at_signs_says_which_of_two_is_meant() -> None:
    (change,) = parse_patch("*** Update File: f\n@@ b\n-x\n+y")

    assert apply(change, "a\nx\nb\nx\n")[0] == "a\nx\nb\ny\n"


def test_lines_that_stay_keep_the_files_white_space() -> None:
    (change,) = parse_patch("*** Update File: f\n a\n-b\n+c")

    result, notes = apply(change, "  a\n  b\n")

    assert result == "  a\nc\n"
    assert notes == ["f: hunk 1 was found by ignoring indentation"]


def test_a_file_without_a_last_line_end_stays_so() -> None:
    (change,) = parse_patch("*** Update File: f\n-a\n+b")

    assert apply(change, "a")[0] == "b"


def test_a_fence_around_a_patch_is_taken_off() -> None:
    (change,) = parse_patch("```diff\n*** Update File: f\n-a\n+b\n```")

    assert apply(change, "a\n")[0] == "b\n"


@pytest.mark.parametrize("path", ["a b.txt", "ünïcode", "deep/er/x"])
def test_paths_are_taken_as_they_stand(path: str) -> None:
    assert parse_patch(f"*** Delete File: {path}")[0].path == path
