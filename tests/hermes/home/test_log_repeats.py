"""What is said again and again is said once in a while, with the count of what was left out."""

from __future__ import annotations

import logging

from hermes.home.log_repeats import KIND_SECONDS, MOST_KEPT, MOST_OF_A_KIND, SAME_SECONDS, Repeats
from tests.support.clock import FakeClock


def record(words: str, level: int = logging.ERROR, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord("hermes.x", level, "x.py", line, words, None, None)


def passes(repeats: Repeats, one: logging.LogRecord) -> int | None:
    """How many were left out before it; None where it is left out itself."""
    return getattr(one, "left_out", 0) if repeats.filter(one) else None


def test_the_same_words_pass_once_in_a_while() -> None:
    clock = FakeClock()
    repeats = Repeats(clock.monotonic)
    assert [passes(repeats, record("no room left")) for _ in range(4)] == [0, None, None, None]
    assert passes(repeats, record("something else")) == 0
    clock.advance(SAME_SECONDS)
    assert [passes(repeats, record("no room left")) for _ in range(2)] == [3, None]


def test_one_line_of_code_cannot_flood_with_other_words_each_time() -> None:
    clock = FakeClock()
    repeats = Repeats(clock.monotonic)
    told = [passes(repeats, record(f"run {number}")) for number in range(MOST_OF_A_KIND + 20)]
    assert told == [0] * MOST_OF_A_KIND + [None] * 20
    assert passes(repeats, record("from elsewhere", line=2)) == 0
    clock.advance(KIND_SECONDS)
    assert passes(repeats, record("run again")) == 20


def test_what_is_no_trouble_always_passes() -> None:
    repeats = Repeats(FakeClock().monotonic)
    assert [passes(repeats, record("served", logging.INFO)) for _ in range(100)] == [0] * 100


def test_what_it_remembers_stays_small() -> None:
    repeats = Repeats(FakeClock().monotonic)
    for number in range(5 * MOST_KEPT):
        repeats.filter(record(f"run {number}", line=number))
    assert len(repeats._same) <= 2 * MOST_KEPT + 1


def test_words_that_do_not_fit_are_the_handlers_to_tell() -> None:
    wrong = logging.LogRecord("hermes.x", logging.ERROR, "x.py", 1, "%d runs", ("no number",), None)
    assert Repeats().filter(wrong)
