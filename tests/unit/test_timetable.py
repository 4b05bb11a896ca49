"""When failed work is retried: soon at first, then at longer intervals, and at its scheduled times."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.schedule import Schedule
from analyst.scheduling.ledger import Attempt
from analyst.scheduling.timetable import judge_attempt

AT = datetime(2026, 3, 27, 12, 1, tzinfo=UTC)
schedules = st.sampled_from(["every 1m", "every 15m", "every 1h", "every 6h", "daily 12:30", "cron 0 5 1 1 *"])


def pause_after(schedule: str, failures: int) -> timedelta:
    due = judge_attempt(schedule, Attempt(at=AT, failures=failures, error="broken"), AT).next_due
    assert due is not None
    return due - AT


@settings(deadline=None)
@given(schedules, st.integers(1, 10_000))
def test_a_failing_table_is_never_retried_at_once_and_never_given_up(schedule: str, failures: int) -> None:
    pause = pause_after(schedule, failures)
    assert timedelta(minutes=5) <= pause <= timedelta(days=1)
    assert pause <= pause_after(schedule, failures + 1)


@settings(deadline=None)
@given(schedules, st.integers(1, 20))
def test_a_pause_never_exceeds_the_time_until_the_next_run_or_an_hour(schedule: str, failures: int) -> None:
    time = Schedule.parse(schedule).next_due(AT)
    assert time is not None
    assert pause_after(schedule, failures) <= max(time - AT, timedelta(hours=1))


@pytest.mark.parametrize(
    ("schedule", "minutes"),
    [
        ("every 1m", [5, 10, 20, 40, 60, 60]),
        ("every 15m", [5, 10, 20, 40, 60, 60]),
        ("daily 12:30", [5, 10, 20, 40, 60, 60]),
        ("daily 18:01", [5, 10, 20, 40, 80, 160, 320, 360, 360]),
        ("cron 0 5 1 1 *", [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]),
    ],
)
def test_pauses_after_failures_double(schedule: str, minutes: list[int]) -> None:
    pauses = [pause_after(schedule, failures) for failures in range(1, len(minutes) + 1)]
    assert pauses == [timedelta(minutes=pause) for pause in minutes]


def test_a_table_that_is_never_due_is_not_retried() -> None:
    assert judge_attempt("never", Attempt(at=AT, failures=1, error="broken"), AT).next_due is None
