"""When a job is due. `parse` reads what a person wrote; a `Schedule` gives one due time after the other.

Times of a clock are read in the job's time zone. Where clocks are put forward, a time that does not exist comes as
much later as the clocks jump (02:30 becomes 03:30); where they are put back, a time that exists twice counts the first
time. A cron expression for every hour follows the clock itself: no hour is moved, and a repeated one counts again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from hermes.core.errors import InvalidInput
from hermes.jobs.words import as_cron, one_time, seconds_of

MAX_CHARACTERS = 200
MIN_INTERVAL_SECONDS = 60
MAX_AHEAD_SECONDS = 10 * 366 * 86_400
EXAMPLES = "30m, in 5 minutes, every 2h, daily at 9am, every monday at 9:30, 0 9 * * mon-fri, 2027-01-31T09:00"

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?)?", re.IGNORECASE
)
_CRON_TIME = re.compile(r"[\d*/,-]+")
_RANDOM = re.compile(r"(?<![a-z])[hr](?![a-z])", re.IGNORECASE)
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_HALF_DAY_AND_MORE = 26 * 3600  # clocks never jumped further than a day (Samoa, 2011)


class Schedule(Protocol):
    @property
    def kind(self) -> Literal["once", "interval", "cron"]: ...

    @property
    def display(self) -> str:
        """One line for a person."""
        ...

    def next_after(self, time: float) -> float | None:
        """The first due time behind `time`, both in unix seconds; None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Once:
    at: float
    display: str
    kind: Literal["once"] = "once"

    def next_after(self, time: float) -> float | None:
        return self.at if self.at > time else None


@dataclass(frozen=True, slots=True)
class Every:
    """Elapsed time: what clocks do does not matter."""

    seconds: int
    anchor: float
    display: str
    kind: Literal["interval"] = "interval"

    def next_after(self, time: float) -> float | None:
        steps = max(1, math.floor((time - self.anchor) / self.seconds) + 1)
        due = self.anchor + steps * self.seconds
        return due if due > time else self.anchor + (steps + 1) * self.seconds


@dataclass(frozen=True, slots=True)
class Cron:
    """`expression` has five fields."""

    expression: str
    zone: ZoneInfo
    display: str
    kind: Literal["cron"] = "cron"

    def next_after(self, time: float) -> float | None:
        """Walks the times of the clock from a little before `time`, as far as a jump of the clocks near there could
        reorder them; on any ordinary day that is one step."""
        best: float | None = None
        last_wall: datetime | None = None
        start = _wall(time, self.zone) - _jump(time, self.zone)
        for wall in _walls(self.expression, start):
            if last_wall is not None and wall > last_wall:
                break
            for instant in self._instants(wall):
                if instant > time and (best is None or instant < best):
                    best = instant
                    last_wall = _wall(best, self.zone) + _jump(best, self.zone)
        return best

    def _instants(self, wall: datetime) -> Iterator[float]:
        """When the clock shows it."""
        first, second = (wall.replace(tzinfo=self.zone, fold=fold).timestamp() for fold in (0, 1))
        if not self._is_hourly:
            yield first
            return
        for instant in (first, second):
            if _wall(instant, self.zone) == wall:
                yield instant

    @property
    def _is_hourly(self) -> bool:
        return self.expression.split()[1] in ("*", "*/1", "0-23")


def parse(text: str, zone: ZoneInfo, anchor: float) -> Schedule:
    """`anchor`: when it was written, in unix seconds. Raises InvalidInput `invalid_schedule` with what would do."""
    words = " ".join(text[: MAX_CHARACTERS + 1].split())
    if len(words) > MAX_CHARACTERS or not words.isprintable():
        raise invalid(words[:40], "it is too long or has characters that belong in no schedule")
    found = _iso(words, zone) or _cron(words.lower(), zone) or _relative(words.lower(), anchor)
    found = found or _in_words(words.lower(), zone, anchor)
    if found is None:
        raise invalid(words, "it is not a schedule that can be read")
    if isinstance(found, Once) and not anchor - MAX_AHEAD_SECONDS < found.at < anchor + MAX_AHEAD_SECONDS:
        raise invalid(words, "a job may lie ten years ahead at most")
    return found


def first_due(schedule: Schedule, text: str, now: float) -> float:
    """Raises InvalidInput for a time that has passed."""
    due = schedule.next_after(now)
    if due is None:
        raise invalid(text, "that time has passed")
    return due


def invalid(text: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"schedule {text[:80]!r}: {why}. Examples that work: {EXAMPLES}", code="invalid_schedule", param="schedule"
    )


def in_zone(time: float, zone: ZoneInfo) -> str:
    """ISO 8601 with the offset, to the second."""
    return datetime.fromtimestamp(time, zone).isoformat(timespec="seconds")


def _iso(words: str, zone: ZoneInfo) -> Once | None:
    if _ISO.fullmatch(words) is None:
        return None
    try:
        when = datetime.fromisoformat(words.upper())
        return Once(_instant(when, zone), f"once at {words}")
    except (ValueError, OverflowError) as error:
        raise invalid(words, "there is no such time") from error


def _cron(words: str, zone: ZoneInfo) -> Schedule | None:
    expression = _ALIASES.get(words, words)
    fields = expression.split()
    if words.startswith("@every "):
        return None
    is_cron = len(fields) > 1 and all(_CRON_TIME.fullmatch(field) for field in fields[:2])
    if not is_cron and not words.startswith(("@", "*")):
        return None
    if len(fields) != 5:
        raise invalid(words, "a cron expression has five fields: minute, hour, day, month, weekday")
    return _checked(Cron(expression, zone, words), words)


def _checked(cron: Cron, words: str) -> Cron:
    from croniter import CroniterError  # type: ignore[import-untyped]

    if _RANDOM.search(cron.expression):
        raise invalid(words, "H and R are not known here")
    try:
        next(_walls(cron.expression, datetime(2024, 1, 1)), None)  # noqa: DTZ001 the time of a clock
    except (CroniterError, ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError) as error:
        raise invalid(words, "it is no cron expression that has a time") from error
    return cron


def _relative(words: str, anchor: float) -> Schedule | None:
    repeats = re.fullmatch(r"(?:@?every|each) (.+)", words)
    amount = repeats[1] if repeats else re.sub(r"^in |(?: from now)$", "", words)
    seconds = seconds_of(amount)
    if seconds is None:
        return None
    if not 0 < seconds < MAX_AHEAD_SECONDS:
        raise invalid(words, "the time must be more than nothing and less than ten years")
    if repeats is None:
        return Once(anchor + seconds, f"once in {amount}")
    if seconds < MIN_INTERVAL_SECONDS:
        raise invalid(words, "a job runs every minute at most")
    return Every(seconds, anchor, f"every {amount}")


def _in_words(words: str, zone: ZoneInfo, anchor: float) -> Schedule | None:
    expression = as_cron(words)
    if expression is not None:
        return _checked(Cron(expression, zone, words), words)
    when = one_time(words, _wall(anchor, zone))
    return None if when is None else Once(_instant(when, zone), f"once at {when.isoformat(timespec='minutes')}")


def _instant(when: datetime, zone: ZoneInfo) -> float:
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()


def _wall(time: float, zone: ZoneInfo) -> datetime:
    """What a clock there shows."""
    return datetime.fromtimestamp(time, zone).replace(tzinfo=None, fold=0)


def _jump(time: float, zone: ZoneInfo) -> timedelta:
    """How far clocks are moved within a day of it."""
    offsets = [
        datetime.fromtimestamp(time + near, zone).utcoffset() or timedelta()
        for near in (-_HALF_DAY_AND_MORE, 0, _HALF_DAY_AND_MORE)
    ]
    return max(offsets) - min(offsets)


def _walls(expression: str, start: datetime) -> Iterator[datetime]:
    """The times of the clock from `start` on. They know no zone: croniter counts them as it counts UTC."""
    from croniter import CroniterBadDateError, croniter

    before = start.replace(second=0, microsecond=0) - timedelta(seconds=1)
    times = croniter(expression, before.replace(tzinfo=UTC))
    while True:
        try:
            found: datetime = times.get_next(datetime)
        except CroniterBadDateError:
            if times.get_current(float) == before.replace(tzinfo=UTC).timestamp():
                raise
            return
        yield found.replace(tzinfo=None)
