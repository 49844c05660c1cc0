"""Titles: made of what was said first, and the same in a conversation and its session."""

from __future__ import annotations

import time

import pytest

from hermeslink.conversations.titles import LONGEST, agreed, title_of


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("How do tides work?", "How do tides work?"),
        ("Hello! How do tides work? Tell me all.", "How do tides work?"),
        ("hi", "hi"),
        ("Hi there, and thanks. Then this.", "Hi there, and thanks"),
        ("  # Trip\n\nPlan it", "Trip"),
        ("Fix `main.py` please.\nIt fails.", "Fix main.py please"),
        ("你好，请帮我写一封信。谢谢", "请帮我写一封信"),
        ("```\nimport os\n```", "The answer"),
        ("   ", "The answer"),
    ],
)
def test_a_title_is_the_first_thing_that_was_said(question: str, title: str) -> None:
    assert title_of(question, "The answer") == title


@pytest.mark.parametrize("piece", ["\n", " \n", "#", "```", "- \n", "hi ", "\r\n\t"])
def test_a_title_costs_next_to_nothing_whatever_was_said(piece: str) -> None:
    """It is made where everything else waits for it."""
    began = time.process_time()
    title_of(piece * 20_000 + "Hello", "")
    assert time.process_time() - began < 1


def test_a_long_title_ends_with_a_word() -> None:
    title = title_of("word " * 40, "")
    assert title is not None and len(title) <= LONGEST and title.endswith("word…")
    assert len(title_of("x" * 500, "") or "") <= LONGEST


def test_a_file_gives_its_name_where_nothing_is_said() -> None:
    assert title_of("", "A cat.", ["cat.jpg"]) == "cat.jpg"
    assert title_of("", "") is None


@pytest.mark.parametrize(
    ("ours", "theirs", "common", "title"),
    [
        ("A", None, None, "A"),
        ("A", "B", None, "A"),
        ("A", "B", "A", "B"),
        ("A", "B", "B", "A"),
        ("A", "B", "C", "A"),
        ("", "B", None, ""),
    ],
)
def test_the_side_that_changed_gives_the_title(ours: str, theirs: str | None, common: str | None, title: str) -> None:
    assert agreed(ours, theirs, common) == title
