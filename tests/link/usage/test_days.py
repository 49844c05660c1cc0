"""Which days a client asks for."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.errors import InvalidInput
from hermeslink.usage.days import MOST, days_of

NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("days", "first", "last", "expected"),
    [
        (None, None, None, ("2026-10-24", "2026-11-22")),
        ("1", None, None, ("2026-11-22", "2026-11-22")),
        ("365", None, None, ("2025-11-23", "2026-11-22")),
        (None, "2026-11-01", None, ("2026-11-01", "2026-11-22")),
        ("7", "2026-11-01", None, ("2026-11-01", "2026-11-07")),
        ("7", None, "2026-11-07", ("2026-11-01", "2026-11-07")),
        (None, None, "2026-02-01", ("2026-01-03", "2026-02-01")),
        (None, "2026-11-01", "2026-11-03", ("2026-11-01", "2026-11-03")),
        ("3", "2026-11-01", "2026-11-03", ("2026-11-01", "2026-11-03")),
        (None, "2026-11-22T23:30:00-05:00", "2026-11-23T04:30:00Z", ("2026-11-23", "2026-11-23")),
        (None, "2027-01-01", None, ("2027-01-01", "2027-01-01")),
    ],
)
def test_two_of_the_three_say_it_all(
    days: str | None, first: str | None, last: str | None, expected: tuple[str, str]
) -> None:
    found = days_of(NOW, days, first, last)
    assert (found.first.isoformat(), found.last.isoformat()) == expected
    assert len(list(found)) == found.count


@pytest.mark.parametrize(
    ("days", "first", "last"),
    [
        ("0", None, None),
        ("366", None, None),
        ("-1", None, None),
        ("1.5", None, None),
        ("٣", None, None),
        ("", None, None),
        ("9" * 5000, None, None),
        (None, "yesterday", None),
        (None, "", None),
        (None, "2026-02-30", None),
        (None, "2026-11-03", "2026-11-01"),
        (None, "2025-01-01", None),
        (None, "2025-01-01", "2026-01-01"),
        ("4", "2026-11-01", "2026-11-03"),
        ("2", None, "0001-01-01"),
        ("2", "9999-12-31", None),
        (None, "0001-01-01T00:00:00+14:00", None),
    ],
)
def test_what_is_no_range_is_refused(days: str | None, first: str | None, last: str | None) -> None:
    with pytest.raises(InvalidInput) as refused:
        days_of(NOW, days, first, last)
    assert refused.value.code == "invalid_range"


@given(st.integers(1, MOST), st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_days_are_as_many_as_asked_for(count: int, last: date) -> None:
    found = days_of(NOW, str(count), None, last.isoformat())
    assert (found.count, found.last) == (count, last)
