"""Schedules at every kind of clock change, compared with a clock that is looked at minute by minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.errors import InvalidInputError
from analyst.schedule import Schedule
from tests.examples import examples

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

ODD = [
    ("Australia/Lord_Howe", 2026, 4),  # half an hour
    ("Australia/Lord_Howe", 2026, 10),
    ("Antarctica/Troll", 2026, 3),  # two hours
    ("Antarctica/Troll", 2026, 10),
    ("Antarctica/Casey", 2010, 3),  # three hours
    ("Antarctica/Casey", 2023, 3),
    ("Pacific/Apia", 2011, 12),  # a day is left out
    ("Pacific/Kwajalein", 1993, 8),
    ("Pacific/Kiritimati", 1994, 12),
    ("Asia/Kathmandu", 1985, 12),  # a quarter of an hour
    ("Asia/Pyongyang", 2015, 8),
    ("Asia/Pyongyang", 2018, 5),
    ("America/Caracas", 2016, 5),
    ("Asia/Colombo", 1996, 5),
    ("Asia/Colombo", 1996, 10),
    ("America/St_Johns", 2010, 3),  # a minute after midnight
    ("America/St_Johns", 2010, 11),
    ("America/Sao_Paulo", 2018, 2),  # midnight
    ("America/Sao_Paulo", 2018, 11),
    ("America/Havana", 2026, 3),
    ("Asia/Beirut", 2026, 10),
    ("Africa/Cairo", 2026, 4),
    ("Africa/Cairo", 2026, 10),
    ("America/Santiago", 2026, 4),
    ("America/Nuuk", 2026, 10),  # an hour before midnight
    ("Africa/Casablanca", 2026, 2),
    ("Asia/Tehran", 2022, 9),
    ("Europe/Dublin", 2026, 3),
    ("Europe/London", 2026, 10),
]
MINUTES = ("0", "30", "59", "*", "*/7", "0,15,45", "10-20/5", "1")
HOURS = ("*", "0", "2", "1,2,3", "*/2", "0-23", "23", "22-23", "1-4/3")


def parsed(field: str, size: int) -> set[int]:
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = (f"0-{size - 1}" if span == "*" else span).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


@cache
def changes(name: str, year: int) -> tuple[datetime, ...]:
    """Find the first whole minutes after clocks changed."""
    zone, found, day = ZoneInfo(name), [], datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        if day.astimezone(zone).utcoffset() != (day + DAY).astimezone(zone).utcoffset():
            minutes = (day + number * MINUTE for number in range(1441))
            found.append(next(m for m in minutes if m.astimezone(zone).utcoffset() != day.astimezone(zone).utcoffset()))
        day += DAY
    return tuple(found)


def looked_at(minute: str, hour: str, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """List the minutes that are due: at an hour, each time of day once, and left out ones when the clock goes on."""
    minutes, hours = parsed(minute, 60), parsed(hour, 24)
    now, shown = start - 2 * DAY, set[datetime]()
    last = now.astimezone(zone).replace(tzinfo=None) - MINUTE
    while now < end:
        wall = now.astimezone(zone).replace(tzinfo=None)
        passed = [wall]
        if hour != "*":
            skipped = [last + number * MINUTE for number in range(1, max(1, (wall - last) // MINUTE))]
            passed = [time for time in (*skipped, wall) if time not in shown]
        shown.update(passed)
        if now >= start and any(time.minute in minutes and time.hour in hours for time in passed):
            yield now
        now, last = now + MINUTE, max(last, wall) if hour != "*" and wall < last else wall


def compare(name: str, change: datetime, minute: str, hour: str) -> None:
    start, end = change - DAY, change + DAY + timedelta(hours=3)
    schedule, due = Schedule.parse(f"cron {minute} {hour} * * * {name}"), start - MINUTE
    wanted = list(looked_at(minute, hour, ZoneInfo(name), start, end))
    found: list[datetime] = []
    due = start - timedelta(microseconds=1)
    while (due := schedule.next_due(due) or end) < end:
        found.append(due)
    assert found == wanted


@pytest.mark.parametrize(("name", "year", "month"), ODD)
def test_at_odd_changes_schedules_are_due_when_the_clock_shows_their_times(name: str, year: int, month: int) -> None:
    around = [change for change in changes(name, year) if change.month == month or (change + DAY).month == month]
    assert around
    for change in around:
        for minute, hour in (("30", "*"), ("0,15,45", "1,2,3"), ("0", "0"), ("*/7", "*"), ("30", "23"), ("59", "*/2")):
            compare(name, change, minute, hour)


@settings(deadline=None, max_examples=examples(60))
@given(
    st.sampled_from(sorted(available_timezones())),
    st.integers(1975, 2037),
    st.sampled_from(MINUTES),
    st.sampled_from(HOURS),
    st.integers(0, 3),
)
def test_in_every_zone_schedules_are_due_when_the_clock_shows_their_times(
    name: str, year: int, minute: str, hour: str, number: int
) -> None:
    found = changes(name, year) or (datetime(year, 3, 1, tzinfo=UTC),)
    compare(name, found[number % len(found)], minute, hour)


@pytest.mark.parametrize("fields", ["0 * 29 2 *", "30 * 25 10 *", "0 * * * 0#5", "15 * L 2 *", "0 2 29 2 *"])
def test_days_far_ahead_are_found_across_clock_changes(fields: str) -> None:
    for name in ("UTC", "Europe/Prague", "Australia/Lord_Howe", "Africa/Cairo"):
        due = Schedule.parse(f"cron {fields} {name}").next_due(datetime(2026, 10, 25, 23, 30, tzinfo=UTC))
        assert due is not None
        wall = due.astimezone(ZoneInfo(name))
        minute, hour, *_ = fields.split()
        assert f"{wall.minute}" == minute
        assert hour in ("*", f"{wall.hour}")


REFUSED = [
    ("0 0 L/2 * *", "'L/2' is not supported as day-of-month"),
    ("0 0 LW/2 * *", "'LW/2' is not supported as day-of-month"),
    ("0 0 1,L/2 * *", "'L/2'"),
    ("0 0 L-3 * *", "'L-3'"),
    ("0 0 15W * *", "'15W'"),
    ("0 0 * * L", "'L' is not supported as day-of-week"),
    ("0 0 * * 5L/2", "'5L/2'"),
    ("0 0 * * MONL", "'MONL'"),
    ("0 0 * * 1#2/2", "'1#2/2'"),
    ("0 0 * * 1-5#2", "'1-5#2'"),
    ("0 0 1#2 * *", "'1#2' is not supported as day-of-month"),
    ("1* 5 * * *", r"'1\*' is not supported as minute"),
    ("0 1* * * *", r"'1\*' is not supported as hour"),
    ("*5 * * * *", r"'\*5'"),
    ("5/* * * * *", r"'5/\*'"),
    ("*/ * * * *", r"'\*/'"),
    ("0 L * * *", "'L' is not supported as hour"),
    ("MON * * * *", "'MON'"),
    ("0,,5 * * * *", "''"),
    ("0 0 * * 8", "bad day-of-week"),
    ("0 0 * * FRI-MON", "bad day-of-week"),
    ("0 0 * * 1#6", "bad day-of-week"),
    ("*/0 * * * *", "bad minute"),
    ("0 0 * FOO *", "bad month"),
]


@pytest.mark.parametrize(("fields", "reason"), REFUSED)
def test_fields_that_cron_lacks_are_refused_by_name(fields: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{reason}.*write cron 0 5"):
        Schedule.parse(f"cron {fields}")


@pytest.mark.parametrize(
    "fields",
    ["0 0 L * *", "0 0 lw * *", "0 0 1,L * *", "0 0 * * 5L", "0 0 * * MON#2", "*/15 2-4 1-7/2 JAN-MAR MON-fri"],
)
def test_earlier_syntax_is_still_understood(fields: str) -> None:
    assert Schedule.parse(f"cron {fields}").next_due(datetime(2026, 1, 1, tzinfo=UTC))
