"""Snippets: where they begin and end, and which words are marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.store.snippet import CHARACTERS, Term, fold, marker


@pytest.mark.parametrize(
    ("term", "text", "snippet"),
    [
        (Term("door"), "a DOOR, a doorway", "a >>>DOOR<<<, a doorway"),
        (Term("door", is_prefix=True), "a doorway", "a >>>doorway<<<"),
        (Term("green door"), "green, door; green wall", ">>>green, door<<<; green wall"),
        (Term("facade"), "la Façade", "la >>>Façade<<<"),
        (Term("FAÇADE"), "la facade", "la >>>facade<<<"),
        (Term("case.py"), "snake_case.py", "snake_>>>case.py<<<"),
        (Term("straße"), "STRASSE Straße", "STRASSE >>>Straße<<<"),
        (Term("東京"), "私は東京に", "私は>>>東京<<<に"),
        (Term("a.c"), "abc a.c", "abc >>>a.c<<<"),
        (Term("none"), "something else", "something else"),
    ],
)
def test_the_words_that_were_looked_for_are_marked(term: Term, text: str, snippet: str) -> None:
    assert marker([term])(text) == snippet


def test_every_term_is_marked_within_a_window_around_the_first() -> None:
    text = "x " * 200 + "one two " + "y " * 200 + "one"
    snippet = marker([Term("two"), Term("one")])(text)
    assert ">>>one<<< >>>two<<<" in snippet
    assert snippet.count(">>>") == 2
    assert snippet.startswith("…")
    assert snippet.endswith("…")
    assert len(snippet.replace(">>>", "").replace("<<<", "")) == CHARACTERS + 2


@given(st.text(max_size=500), st.text(min_size=1, max_size=20), st.booleans())
def test_a_snippet_is_the_text_itself_but_for_marks_and_dots(text: str, word: str, is_prefix: bool) -> None:
    snippet = marker([Term(f"w{word}", is_prefix)])(text)
    if ">>>" in text or "<<<" in text or "…" in text:
        return
    assert snippet.replace(">>>", "").replace("<<<", "").strip("…") in text


@given(st.text())
def test_folding_moves_nothing(text: str) -> None:
    assert len(fold(text)) == len(text)
