"""Schedules in words: `1h 30m`, `daily at 9am`, `weekdays at 8:30`, `tomorrow at noon`. All text is lower case."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600,
    "d": 86_400, "day": 86_400, "days": 86_400,
    "w": 604_800, "week": 604_800, "weeks": 604_800,
}  # fmt: skip
_AMOUNT = re.compile(rf"(\d{{1,9}}) ?({'|'.join(sorted(_UNITS, key=len, reverse=True))})(?![a-z])")
_SINGLE = {"minute": 60, "hour": 3600, "a minute": 60, "an hour": 3600, "half an hour": 1800, "a day": 86_400}
_SINGLE |= {"a week": 604_800, "one minute": 60, "one hour": 3600}

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = re.compile(
    r"(?:sun(?:day)?|mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:r(?:s(?:day)?)?)?|fri(?:day)?|sat(?:urday)?)s?"
)
_SPAN = re.compile(rf"({_DAY.pattern}) ?(?:-|to|through) ?({_DAY.pattern})")
_AND = re.compile(r",? and |, ?")
_TIME = re.compile(r"(\d{1,2})(?:[:.](\d{2}))? ?(am|pm|a\.m\.|p\.m\.)?(?: o'?clock)?")
_DAILY = {"daily": "* * *", "every day": "* * *", "each day": "* * *", "everyday": "* * *", "every night": "* * *"}
_DAILY |= dict.fromkeys(("weekdays", "every weekday", "on weekdays", "each weekday", "workdays"), "* * 1-5")
_DAILY |= dict.fromkeys(("weekends", "every weekend", "on weekends", "each weekend"), "* * 0,6")
_DAILY |= {"weekly": "* * 0", "every week": "* * 0", "each week": "* * 0"}
_DAILY |= dict.fromkeys(("monthly", "every month", "each month"), "1 * *")
_DAILY |= dict.fromkeys(("yearly", "annually", "every year"), "1 1 *")
_OF_MONTH = (
    re.compile(r"(?:monthly|every month|each month) on (?:the )?(?:day )?(\d{1,2})(?:st|nd|rd|th)?"),
    re.compile(r"(?:on |every )?(?:the )?(\d{1,2})(?:st|nd|rd|th) of (?:every|each|the) month"),
)


def seconds_of(amount: str) -> int | None:
    """`90 minutes`, `1h30m`, `1 hour and 30 minutes`, `an hour`. None for anything else."""
    if amount in _SINGLE:
        return _SINGLE[amount]
    total = place = 0
    for match in _AMOUNT.finditer(amount):
        if re.fullmatch(r"(?:,? ?(?:and )?)?", amount[place : match.start()]) is None:
            return None
        total += int(match[1]) * _UNITS[match[2]]
        place = match.end()
    return total if place and place == len(amount) else None


def as_cron(words: str) -> str | None:
    """Five fields for what comes again and again; a day without a time means midnight. None for anything else."""
    if words == "hourly":
        return "0 * * * *"
    day, clock = _split(words)
    days = _days(day)
    if days is None or clock is None:
        return None
    hour, minute = clock
    return f"{minute} {hour} {days}"


def one_time(words: str, now: datetime) -> datetime | None:
    """`at 17:00`, `tomorrow at 9am`, `next monday at noon`: the next such time behind `now`, both of one clock."""
    day, clock = _split(words)
    if clock is None:
        return None
    when = now.replace(hour=clock[0], minute=clock[1], second=0, microsecond=0)
    is_clock_alone = words.startswith("at ") or bool(re.search(r"[:.]\d{2}|[ap]\.?m\.?$|noon|midnight", words))
    if not day and is_clock_alone:
        return when if when > now else when + timedelta(days=1)
    if day in ("today", "tonight"):
        return when
    if day == "tomorrow":
        return when + timedelta(days=1)
    if day.startswith("next ") and _DAY.fullmatch(day[5:]):
        ahead = (_DAYS.index(day[5:8]) - (now.weekday() + 1)) % 7
        return when + timedelta(days=ahead or 7)
    return None


def _split(words: str) -> tuple[str, tuple[int, int] | None]:
    """The day's words and hour and minute; midnight where no time is said, None where it is none."""
    day, at, time = words.rpartition("at ") if re.search(r"(?:^|[ ,])at ", words) else (words, "", "")
    if at:
        return day.strip(" ,"), _clock(time)
    leading = re.match(rf"({_TIME.pattern}|noon|midnight),? (.+)", words)
    if leading:  # 9am every day
        return leading.groups()[-1], _clock(leading[1])
    alone = _clock(words)
    if alone is not None:
        return "", alone
    trailing = re.fullmatch(rf"(.+?),? ({_TIME.pattern}|noon|midnight)", words)
    if trailing and (re.search(r"[:.]|m$|noon|midnight", trailing[2])):  # daily 9am
        return trailing[1], _clock(trailing[2])
    return words, (0, 0)


def _clock(text: str) -> tuple[int, int] | None:
    if text in ("noon", "midnight"):
        return (12 if text == "noon" else 0), 0
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").replace(".", "")
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    return (hour, minute) if hour < 24 and minute < 60 else None


def _days(text: str) -> str | None:
    """Day, month and weekday fields."""
    if text in _DAILY:
        return _DAILY[text]
    for pattern in _OF_MONTH:
        match = pattern.fullmatch(text)
        if match:
            return f"{int(match[1])} * *" if 1 <= int(match[1]) <= 31 else None
    match = re.fullmatch(r"(every |each |weekly on |on )?(.+)", text)
    days = _weekdays(match[2]) if match else None
    if match is None or days is None:
        return None
    # "monday" alone may mean the next one only; "mondays" and "mon-fri" cannot
    is_repeated = match[1] in ("every ", "each ", "weekly on ") or _SPAN.fullmatch(match[2]) is not None
    is_repeated = is_repeated or all(word.endswith("days") for word in _AND.split(match[2]))
    return f"* * {days}" if is_repeated else None


def _weekdays(text: str) -> str | None:
    span = _SPAN.fullmatch(text)
    if span:
        first, last = (_DAYS.index(name[:3]) for name in (span[1], span[2]))
        numbers = [(first + step) % 7 for step in range((last - first) % 7 + 1)]
    else:
        names = _AND.split(text)
        if not all(_DAY.fullmatch(name) for name in names):
            return None
        numbers = [_DAYS.index(name[:3]) for name in names]
    return ",".join(str(number) for number in sorted(set(numbers)))
