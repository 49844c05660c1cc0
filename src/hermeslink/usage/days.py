"""Which days a client asks for. All of them are UTC's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from hermes.core.errors import InvalidInput

MOST, USUAL = 365, 30


@dataclass(frozen=True, slots=True)
class Days:
    """From the first to the last, both counted."""

    first: date
    last: date

    @property
    def count(self) -> int:
        return (self.last - self.first).days + 1

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=i) for i in range(self.count))


def days_of(now: float, days: str | None, first: str | None, last: str | None) -> Days:
    """The last 30 days to begin with; two of the three say it all, and the third must then agree.

    Raises InvalidInput `invalid_range`.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    count = None if days is None else _count(days)
    begin = None if first is None else _date("from", first)
    end = None if last is None else _date("to", last)
    try:
        if begin is None:
            end = end or today
            begin = end - timedelta(days=(count or USUAL) - 1)
        elif end is None:
            end = max(begin, today) if count is None else begin + timedelta(days=count - 1)
    except OverflowError:
        raise _wrong("the days leave the calendar") from None
    asked = Days(begin, end)
    if asked.first > asked.last:
        raise _wrong(f"from ({asked.first}) is after to ({asked.last})")
    if asked.count > MOST:
        raise _wrong(f"{asked.first} to {asked.last} are {asked.count} days: ask for {MOST} at most")
    if count is not None and count != asked.count:
        raise _wrong(f"{asked.first} to {asked.last} are {asked.count} days, not {count}: leave days out")
    return asked


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST):
        raise _wrong(f"days must be a number from 1 to {MOST}")
    return int(text)


def _date(name: str, text: str) -> date:
    """A date, or a time, whose day in UTC is meant."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is None else at.astimezone(UTC)).date()
    except (ValueError, OverflowError):
        raise _wrong(f"{name} must be a date such as 2026-11-22") from None


def _wrong(why: str) -> InvalidInput:
    return InvalidInput(why, code="invalid_range")
