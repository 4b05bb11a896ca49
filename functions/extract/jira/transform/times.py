"""Times as Jira writes them, in UTC.

`2019-08-27T12:43:24.674-0700`, `+05:30`, `Z` and epoch milliseconds are taken; what tells no zone is taken for UTC, as
Jira keeps its times. Jira's years that no reader of parquet knows (before 1 or after 9999) are no times.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ZONE_WORD = re.compile(r"\s*(?:UTC|GMT|z)$")
_LOCAL = ("%Y-%m-%d %H:%M:%S,%f", "%m/%d/%Y, %I:%M:%S %p,%f")


def instant(value: Any) -> datetime | None:
    """Read a time; None where the value is none."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, dict):
            return _of_object(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            return EPOCH + timedelta(milliseconds=value)
        else:
            return None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return _loose(value)


def _of_object(value: dict[str, Any]) -> datetime | None:
    """Read a time of the service desk: `{"iso8601", "jira", "friendly", "epochMillis"}`."""
    for name in ("epochMillis", "iso8601", "jira"):
        told = value.get(name)
        if isinstance(told, str | int) and (moment := instant(told)):
            return moment
    return None


def _loose(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    text = _ZONE_WORD.sub("+00:00", value.strip()).replace(" +", "+").replace(" -", "-")
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text != value else None
    except (ValueError, OverflowError):
        return None


def micros(value: Any) -> int | None:
    """Read a time as microseconds since 1970; None where the value is none."""
    moment = instant(value)
    return None if moment is None else micros_of(moment)


def micros_of(moment: datetime) -> int:
    """Count the microseconds from 1970 to a time."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def of_micros(count: int) -> datetime | None:
    """Give the time so many microseconds after 1970; None beyond the years 1 to 9999."""
    try:
        return EPOCH + timedelta(microseconds=count)
    except OverflowError:
        return None


def text_of(moment: datetime | None) -> str | None:
    """Write a time in UTC as DuckDB reads it: `2019-08-27 19:43:24.674+00:00`."""
    return None if moment is None else moment.isoformat(" ")


def of_event(value: Any) -> int | None:
    """Read the timestamp of an event as microseconds; some relays write it as local time, which is taken for UTC."""
    if isinstance(value, str) and "," in value:
        for form in _LOCAL:
            with suppress(ValueError):
                return micros_of(datetime.strptime(value, form).replace(tzinfo=UTC))
    return micros(value)


def day(value: Any) -> str | None:
    """Read a date, also the one that a time begins with; None where the value is none."""
    if not isinstance(value, str) or not _DAY.match(value):
        return None
    try:
        date.fromisoformat(value[:10])
    except ValueError:
        return None
    return value[:10] if len(value) == len("yyyy-mm-dd") or value[10] in "T " else None
