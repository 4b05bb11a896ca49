"""When something is due: at each of its times once, whenever the scheduler is called and whatever clocks do."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.errors import InvalidInputError
from analyst.schedule import PATTERN, Schedule

ZONES = (
    "UTC",
    "Europe/Prague",
    "America/New_York",
    "America/Santiago",  # changes at midnight
    "America/St_Johns",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Africa/Casablanca",  # changes four times a year
    "Australia/Lord_Howe",  # changes by half an hour
)
INSTANT = timedelta(microseconds=1)
AT_NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)

times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
zones = st.sampled_from(ZONES)
every = st.builds("every {}{}".format, st.integers(1, 2000), st.sampled_from("mh"))
daily = st.builds(
    lambda several, zone: f"daily {','.join(several)} {zone}", st.lists(times, min_size=1, max_size=4), zones
)
cron = st.builds(
    "cron {} {} {} {}".format,
    st.sampled_from(["0", "59", "*", "*/7", "0,30", "10-20/5", "15,*/20"]),
    st.sampled_from(["*", "0", "2", "1,2,3", "*/2", "0-23", "23"]),
    st.sampled_from(["* * *", "1 * *", "* * 0", "L * *", "* 3,10 SUN", "28-31 * 1#1"]),
    zones,
)
schedules = st.one_of(every, daily, cron).map(Schedule.parse)
moments = st.one_of(
    st.builds(lambda minutes: AT_NOON + timedelta(minutes=minutes), st.integers(-3_000_000, 3_000_000)),
    st.builds(  # around the hours in which most clocks change
        lambda year, month, day, minutes: datetime(year, month, day, tzinfo=UTC) + timedelta(minutes=minutes),
        st.integers(2020, 2034), st.sampled_from([3, 4, 9, 10, 11]), st.integers(1, 30), st.integers(-1440, 1440),
    ),
)  # fmt: skip


def times_after(schedule: Schedule, moment: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    while len(found) < count and (due := schedule.next_due(found[-1] if found else moment)):
        found.append(due)
    return found


@settings(deadline=None)
@given(schedules, moments)
def test_times_are_in_order_and_do_not_depend_on_the_moment_of_the_query(schedule: Schedule, moment: datetime) -> None:
    found = times_after(schedule, moment, 6)
    assert all(earlier < later for earlier, later in pairwise([moment, *found]))
    for earlier, later in pairwise(found):
        middle = earlier + (later - earlier) / 2
        for between in (earlier, earlier + INSTANT, middle, later - INSTANT):
            assert schedule.next_due(between) == later


@settings(deadline=None)
@given(schedules, moments, st.lists(st.integers(1, 3000), max_size=30))
def test_each_time_causes_one_run_at_the_first_call_after_it(
    schedule: Schedule, start: datetime, pauses: list[int]
) -> None:
    called, ran = start, start
    for minutes in pauses:
        before, called = called, called + timedelta(minutes=minutes)
        passed = [due for due in times_after(schedule, before, 1) if due <= called]
        assert schedule.is_due(ran, called) == bool(passed)
        ran = called if passed else ran
        assert not schedule.is_due(ran, called)


def changes(zone: ZoneInfo) -> list[datetime]:
    """Find the days of some years on which the clocks change, as UTC has them."""
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(3 * 365)]
    return [
        day for day, next_ in pairwise(days) if day.astimezone(zone).utcoffset() != next_.astimezone(zone).utcoffset()
    ]


@pytest.mark.parametrize("name", ZONES)
def test_a_time_of_day_occurs_once_a_day_whatever_the_clocks_do(name: str) -> None:
    zone, wanted = ZoneInfo(name), ["00:00", "00:30", "01:45", "02:00", "02:15", "02:30", "03:00", "23:59"]
    schedule = Schedule.parse(f"daily {','.join(wanted)} {name}")
    for change in changes(zone):
        start, end = change - timedelta(days=2), change + timedelta(days=3)
        found = [due.astimezone(zone) for due in times_after(schedule, start - INSTANT, 60) if due < end]
        times = [f"{due:%Y-%m-%d %H:%M}" for due in found]
        assert len(set(times)) == len(times)
        for minutes in range(5 * 24 * 60):
            local = (start + timedelta(minutes=minutes)).astimezone(zone)
            assert f"{local:%H:%M}" not in wanted or f"{local:%Y-%m-%d %H:%M}" in times
        assert all(has_just_gone_forward(due) for due in found if f"{due:%H:%M}" not in wanted)


def has_just_gone_forward(local: datetime) -> bool:
    """Return whether clocks skipped the moment before."""
    before = (local.astimezone(UTC) - INSTANT).astimezone(local.tzinfo)
    return local.replace(tzinfo=None) - before.replace(tzinfo=None) > INSTANT


NEXT = [
    ("every 15m", "2026-03-28T12:15"),
    ("every 6h", "2026-03-28T18:00"),
    ("every 7m", "2026-03-28T12:05"),
    ("daily 05:00", "2026-03-29T05:00"),
    ("daily 07:00,13:00,18:00", "2026-03-28T13:00"),
    ("daily 18:00,13:00,13:00", "2026-03-28T13:00"),
    ("daily 13:00 Europe/Prague", "2026-03-29T11:00"),  # the clocks go forward in between
    ("daily 02:30 Europe/Prague", "2026-03-29T01:00"),  # which is no time on that day
    ("daily 13:00 UTC", "2026-03-28T13:00"),
    ("cron 0 5 * * 1-5", "2026-03-30T05:00"),
    ("cron 0 5 * * MON-fri Europe/Prague", "2026-03-30T03:00"),
    ("cron */20 * * * *", "2026-03-28T12:20"),
    ("cron */20 2 * * * Europe/Prague", "2026-03-29T01:00"),
    ("cron 0 0 29 2 *", "2028-02-29T00:00"),
    ("never", None),
]


@pytest.mark.parametrize(("text", "due"), NEXT)
def test_the_next_time_is_computed_from_each_syntax(text: str, due: str | None) -> None:
    expected = None if due is None else datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert Schedule.parse(text).next_due(AT_NOON) == expected
    assert re.fullmatch(PATTERN, text)


DUE = [
    ("every 15m", "11:59", True),
    ("every 15m", "12:00", False),
    ("every 6h", "11:59", True),
    ("daily 05:00", "04:59", True),
    ("daily 05:00", "05:00", False),
    ("daily 13:00", "11:00", False),
    ("daily 07:00,13:00,18:00", "06:00", True),
    ("daily 07:00,13:00,18:00", "07:00:01", False),
    ("cron 0 12 * * *", "11:59:59", True),
    ("never", "00:00", False),
]


@pytest.mark.parametrize(("text", "ran", "due"), DUE)
def test_a_schedule_is_due_if_one_of_its_times_has_passed_since_the_last_run(text: str, ran: str, due: bool) -> None:
    last_run = datetime.fromisoformat(f"2026-03-28T{ran}").replace(tzinfo=UTC)
    assert Schedule.parse(text).is_due(last_run, AT_NOON) == due


def test_a_first_run_is_due_unless_the_schedule_is_never() -> None:
    assert Schedule.parse("daily 05:00").is_due(None, AT_NOON)
    assert not Schedule.parse("never").is_due(None, AT_NOON)


def test_a_time_that_was_missed_before_midnight_is_caught_up_after_it() -> None:
    schedule = Schedule.parse("daily 23:00")
    ran = datetime(2026, 3, 27, 23, tzinfo=UTC)
    assert not schedule.is_due(ran, datetime(2026, 3, 28, 22, 59, tzinfo=UTC))
    late = datetime(2026, 3, 31, 8, tzinfo=UTC)
    assert schedule.is_due(ran, late)
    assert not schedule.is_due(late, datetime(2026, 3, 31, 22, 59, tzinfo=UTC))


EVERY, DAILY, CRON = "write every 15m", "write daily 05:00", "write cron 0 5 * * 1-5"
WRONG = [
    ("", EVERY),
    ("hourly", EVERY),
    ("@daily", EVERY),
    ("every 0m", EVERY),
    ("every 2d", EVERY),
    ("every 15m Europe/Prague", EVERY),
    ("daily 5:00", DAILY),
    ("daily 24:00", DAILY),
    ("daily 05:00, 13:00", DAILY),
    ("daily 05:00 Prague", "no time zone 'Prague'; write daily"),
    ("daily 05:00 Europe", "no time zone 'Europe'"),
    ("daily 05:00 europe/../etc/passwd", DAILY),
    ("cron 0 5 * *", CRON),
    ("cron 0 0 5 * * 1", CRON),
    ("cron 0 25 * * *", "bad hour; write cron"),
    ("cron 0 0 30 2 *", "bad day-of-month"),
    ("cron 0 0 */20 * 1L", "no date matches it"),
    ("cron 0 5 * * 1-5 Mars/Base", "no time zone 'Mars/Base'"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG)
def test_an_invalid_schedule_is_refused_with_the_syntax(text: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(reason)):
        Schedule.parse(text)
