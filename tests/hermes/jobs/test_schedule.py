"""Schedules: what can be read, and when it falls due, through every change of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.errors import InvalidInput
from hermes.jobs.schedule import Cron, first_due, in_zone, parse
from hermes.jobs.timezones import machine_timezone, zone

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=BERLIN).timestamp()  # a Sunday

# Gaps and folds of an hour, of half an hour, a skipped day, one in the south, one without any.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "UTC"]


def due(text: str, after: float = NOW, where: ZoneInfo = BERLIN, count: int = 1) -> list[str]:
    schedule = parse(text, where, NOW)
    times, time = [], after
    for _ in range(count):
        found = schedule.next_after(time)
        if found is None:
            break
        times.append(in_zone(found, where))
        time = found
    return times


def at(text: str, where: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=where).timestamp()


@pytest.mark.parametrize(
    ("text", "kind", "first"),
    [
        ("30m", "once", "2026-11-22T08:30:00+01:00"),
        ("45s", "once", "2026-11-22T08:00:45+01:00"),
        ("1h30m", "once", "2026-11-22T09:30:00+01:00"),
        ("1 hour and 30 minutes", "once", "2026-11-22T09:30:00+01:00"),
        ("in 5 minutes", "once", "2026-11-22T08:05:00+01:00"),
        ("In  an   Hour", "once", "2026-11-22T09:00:00+01:00"),
        ("2 days from now", "once", "2026-11-24T08:00:00+01:00"),
        ("2027-01-31T09:00", "once", "2027-01-31T09:00:00+01:00"),
        ("2027-01-31 09:00:30", "once", "2027-01-31T09:00:30+01:00"),
        ("2027-01-31T09:00Z", "once", "2027-01-31T10:00:00+01:00"),
        ("2027-01-31T09:00:00.5-05:00", "once", "2027-01-31T15:00:00+01:00"),
        ("2027-07-01", "once", "2027-07-01T00:00:00+02:00"),
        ("at 7am", "once", "2026-11-23T07:00:00+01:00"),
        ("9:15", "once", "2026-11-22T09:15:00+01:00"),
        ("today at 17:00", "once", "2026-11-22T17:00:00+01:00"),
        ("tomorrow at noon", "once", "2026-11-23T12:00:00+01:00"),
        ("next sunday at 9", "once", "2026-11-29T09:00:00+01:00"),
        ("every 2h", "interval", "2026-11-22T10:00:00+01:00"),
        ("every hour", "interval", "2026-11-22T09:00:00+01:00"),
        ("every 15 minutes", "interval", "2026-11-22T08:15:00+01:00"),
        ("every 1d", "interval", "2026-11-23T08:00:00+01:00"),
        ("@every 90m", "interval", "2026-11-22T09:30:00+01:00"),
        ("*/15 * * * *", "cron", "2026-11-22T08:15:00+01:00"),
        ("0 9 * * mon-fri", "cron", "2026-11-23T09:00:00+01:00"),
        ("0 9 * JAN SUN", "cron", "2027-01-03T09:00:00+01:00"),
        ("0 0 29 2 *", "cron", "2028-02-29T00:00:00+01:00"),
        ("0 9 * * 7", "cron", "2026-11-22T09:00:00+01:00"),
        ("0 9 L * *", "cron", "2026-11-30T09:00:00+01:00"),
        ("@hourly", "cron", "2026-11-22T09:00:00+01:00"),
        ("@daily", "cron", "2026-11-23T00:00:00+01:00"),
        ("@weekly", "cron", "2026-11-29T00:00:00+01:00"),
        ("@monthly", "cron", "2026-12-01T00:00:00+01:00"),
        ("@yearly", "cron", "2027-01-01T00:00:00+01:00"),
        ("hourly", "cron", "2026-11-22T09:00:00+01:00"),
        ("daily", "cron", "2026-11-23T00:00:00+01:00"),
        ("daily at 9am", "cron", "2026-11-22T09:00:00+01:00"),
        ("daily 9am", "cron", "2026-11-22T09:00:00+01:00"),
        ("9am every day", "cron", "2026-11-22T09:00:00+01:00"),
        ("every day at 9:30 pm", "cron", "2026-11-22T21:30:00+01:00"),
        ("every day at midnight", "cron", "2026-11-23T00:00:00+01:00"),
        ("weekdays at 8:30", "cron", "2026-11-23T08:30:00+01:00"),
        ("every weekday at 8", "cron", "2026-11-23T08:00:00+01:00"),
        ("weekends at 10am", "cron", "2026-11-22T10:00:00+01:00"),
        ("every monday at 9:30", "cron", "2026-11-23T09:30:00+01:00"),
        ("mondays at 9am", "cron", "2026-11-23T09:00:00+01:00"),
        ("tuesdays and thursdays at 14:00", "cron", "2026-11-24T14:00:00+01:00"),
        ("every mon, wed and fri at 18:00", "cron", "2026-11-23T18:00:00+01:00"),
        ("mon-fri at 7am", "cron", "2026-11-23T07:00:00+01:00"),
        ("weekly on friday at 5pm", "cron", "2026-11-27T17:00:00+01:00"),
        ("monthly on the 1st at 9am", "cron", "2026-12-01T09:00:00+01:00"),
        ("on the 15th of every month at 9am", "cron", "2026-12-15T09:00:00+01:00"),
    ],
)
def test_what_a_person_writes_is_read(text: str, kind: str, first: str) -> None:
    assert (parse(text, BERLIN, NOW).kind, due(text)) == (kind, [first])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "9",
        "monday at 9",  # the next one, or every one?
        "every",
        "every at",
        "every day at 25:00",
        "every day at 13pm",
        "daily at 9am, 5pm",
        "every other day",
        "every 5s",
        "every 0m",
        "0m",
        "99999999999999999h",
        "999999999h",
        "9999-12-31T23:59",
        "2026-02-30",
        "2026-11-22T25:00",
        "60 * * * *",
        "* * * *",
        "* * * * * *",
        "0 0 30 2 *",
        "0 0 32 * *",
        "H * * * *",
        "0 H * * *",
        "R 9 * * *",
        "0 9 * * h",
        "@reboot",
        "@every",
        "*/0 * * * *",
        "30m\x00",
        "1" * 300,
        "every monday at 9am " + "x" * 300,
    ],
)
def test_what_cannot_be_read_is_refused_with_examples_that_work(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(text, BERLIN, NOW)
    assert (refused.value.code, refused.value.param) == ("invalid_schedule", "schedule")
    examples = refused.value.message.rpartition("Examples that work: ")[2]
    assert all(parse(example, BERLIN, NOW).next_after(NOW) for example in examples.split(", "))


def test_a_time_that_has_passed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="that time has passed"):
        first_due(parse("today at 7am", BERLIN, NOW), "today at 7am", NOW)


@given(st.text(max_size=60) | st.from_regex(r"(every |at |in )?[0-9a-z*/,@: -]{0,40}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text, BERLIN, NOW).next_after(NOW)
    except InvalidInput as refused:
        assert refused.code == "invalid_schedule"
    else:
        assert found is None or found > NOW


CLOCK_FIELDS = st.tuples(
    st.sampled_from(["0", "30", "15", "*/20", "59", "*"]),
    st.sampled_from(["*", "*/2", "0", "1", "2", "3", "2-4", "23"]),
    st.sampled_from(["*", "1", "*/3"]),
    st.just("*"),
    st.sampled_from(["*", "sun", "mon-fri"]),
).map(" ".join)


@given(
    st.sampled_from(ZONES),
    CLOCK_FIELDS | st.sampled_from(["every 2h", "every 7 minutes", "daily at 2:30", "@hourly"]),
    st.datetimes(datetime(2009, 1, 1), datetime(2027, 12, 1)),  # noqa: DTZ001 it is given its zone below
)
def test_due_times_strictly_increase_in_every_zone(name: str, text: str, start: datetime) -> None:
    where = zone(name)
    time = start.replace(tzinfo=UTC).timestamp()
    schedule = parse(text, where, time)
    times = [time]
    for _ in range(12):
        found = schedule.next_after(times[-1])
        assert found is not None
        times.append(found)
    assert all(earlier < later for earlier, later in pairwise(times))
    # asked from anywhere in between, the answer is the same: nothing is left out
    for earlier, later in pairwise(times):
        assert schedule.next_after((earlier + later) / 2) == later


@given(st.sampled_from(ZONES), st.integers(2009, 2026), st.sampled_from(["0 2", "30 2", "15 0", "59 23", "30 1"]))
def test_a_job_with_an_hour_of_its_own_fires_once_each_day_that_there_is(name: str, year: int, clock: str) -> None:
    where = zone(name)
    start = datetime(year, 1, 1, tzinfo=where).timestamp() - 1
    schedule = parse(f"{clock} * * *", where, start)
    days, time = [], start
    while (found := schedule.next_after(time)) is not None and datetime.fromtimestamp(found, where).year == year:
        days.append(datetime.fromtimestamp(found, where).date())
        time = found
    skipped = {datetime(2011, 12, 30).date()} if (name, year) == ("Pacific/Apia", 2011) else set()  # noqa: DTZ001
    first = datetime(year, 1, 1).date()  # noqa: DTZ001 a day of the calendar
    every_day = [first + timedelta(days=n) for n in range(366) if (first + timedelta(days=n)).year == year]
    assert days == [day for day in every_day if day not in skipped]


@given(st.sampled_from(ZONES), st.integers(2009, 2026), st.integers(1, 12), st.integers(1, 28))
def test_an_interval_is_elapsed_time_whatever_the_clocks_do(name: str, year: int, month: int, day: int) -> None:
    start = datetime(year, month, day, 1, 30, tzinfo=zone(name)).timestamp()
    schedule = parse("every 2h", zone(name), start)
    times = [start]
    for _ in range(24):
        times.append(schedule.next_after(times[-1]) or 0)
    assert times == [start + 7200 * n for n in range(25)]


def test_at_half_past_two_a_daily_job_fires_once_on_the_day_without_that_hour() -> None:
    assert due("30 2 * * *", at("2026-03-27T12:00"), count=3) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:30:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_at_half_past_two_a_daily_job_fires_once_on_the_day_that_has_it_twice() -> None:
    assert due("30 2 * * *", at("2026-10-23T12:00"), count=3) == [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_an_hourly_job_follows_the_clock_through_both_changes() -> None:
    assert due("30 * * * *", at("2026-03-29T01:00"), count=3) == [
        "2026-03-29T01:30:00+01:00",
        "2026-03-29T03:30:00+02:00",
        "2026-03-29T04:30:00+02:00",
    ]
    assert due("30 * * * *", at("2026-10-25T01:45"), count=3) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:30:00+01:00",
    ]


def test_two_times_that_a_gap_would_bring_together_are_one() -> None:
    assert due("30 2,3 * * *", at("2026-03-29T00:00"), count=2) == [
        "2026-03-29T03:30:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_repeated_hour_is_walked_in_the_order_of_time() -> None:
    assert due("*/20 * * * *", at("2026-10-25T02:30"), count=5) == [
        "2026-10-25T02:40:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:20:00+01:00",
        "2026-10-25T02:40:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_a_day_that_a_zone_skipped_does_not_stop_a_schedule() -> None:
    apia = zone("Pacific/Apia")
    assert due("0 9 * * *", at("2011-12-28T12:00", apia), apia, 3) == [
        "2011-12-29T09:00:00-10:00",
        "2011-12-31T09:00:00+14:00",
        "2012-01-01T09:00:00+14:00",
    ]


def test_a_time_without_an_offset_is_one_of_the_jobs_zone() -> None:
    tokyo = parse("2027-01-31T09:00", zone("Asia/Tokyo"), NOW).next_after(NOW)
    berlin = parse("2027-01-31T09:00", BERLIN, NOW).next_after(NOW)
    assert tokyo is not None
    assert berlin is not None
    assert berlin - tokyo == 8 * 3600


def test_weekday_words_are_a_cron_expression() -> None:
    found = parse("every mon, wed and fri at 18:00", BERLIN, NOW)
    assert isinstance(found, Cron)
    assert found.expression == "0 18 * * 1,3,5"


@pytest.mark.parametrize(
    "name", ["Europe", "../etc/passwd", "Mars/Olympus", "", "Europe/Berlin\x00", "a" * 500, "tzdata.zi"]
)
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        zone(name)
    assert (refused.value.code, refused.value.param) == ("invalid_timezone", "timezone")


def test_this_machines_zone_is_that_of_tz_then_of_localtime_then_utc(tmp_path: Path) -> None:
    assert machine_timezone({"TZ": ":Asia/Tokyo"}, tmp_path) == "Asia/Tokyo"
    assert machine_timezone({"TZ": "EST5EDT4,M3.2.0"}, tmp_path) == "UTC"
    (tmp_path / "timezone").write_text("Europe/Lisbon\n")
    assert machine_timezone({}, tmp_path) == "Europe/Lisbon"
    (tmp_path / "zoneinfo/Africa").mkdir(parents=True)
    (tmp_path / "zoneinfo/Africa/Cairo").touch()
    (tmp_path / "localtime").symlink_to(tmp_path / "zoneinfo/Africa/Cairo")
    assert machine_timezone({}, tmp_path) == "Africa/Cairo"
