"""Times as Jira writes them, in UTC.

`2019-08-27T12:43:24.674-0700`, `+05:30`, `Z` and epoch milliseconds are accepted. A time without a zone is UTC, as Jira
stores its times. Years before 1 or after 9999, which not every reader of parquet supports, are rejected.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH_MILLIS = re.compile(r"\s*[0-9]{13}\s*")
_ZONE_WORD = re.compile(r"\s*(?:UTC|GMT|z)$")
_LOCAL = ("%Y-%m-%d %H:%M:%S,%f", "%m/%d/%Y, %I:%M:%S %p,%f")


def instant(value: Any) -> datetime | None:
    """Parse a time; None for anything else."""
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, dict):
        return _of_object(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return EPOCH + timedelta(milliseconds=value)
    return None


@lru_cache(maxsize=4096)
def _of_text(text: str) -> datetime | None:
    """Parse a written time; cached, because the same times recur within an issue."""
    if _EPOCH_MILLIS.fullmatch(text):
        return EPOCH + timedelta(milliseconds=int(text))
    for spelled in (text, _ZONE_WORD.sub("+00:00", text.strip()).replace(" +", "+").replace(" -", "-")):
        try:
            moment = datetime.fromisoformat(spelled)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _of_object(value: dict[str, Any]) -> datetime | None:
    """Parse a time of the service desk: `{"iso8601", "jira", "friendly", "epochMillis"}`."""
    for name in ("epochMillis", "iso8601", "jira"):
        part = value.get(name)
        if isinstance(part, str | int) and (moment := instant(part)):
            return moment
    return None


def micros(value: Any) -> int | None:
    """Parse a time as microseconds since 1970; None for anything else."""
    moment = instant(value)
    return None if moment is None else micros_of(moment)


def micros_of(moment: datetime) -> int:
    """Return the microseconds from 1970 to a time."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def of_micros(count: int) -> datetime | None:
    """Return the time of a number of microseconds since 1970; None beyond the years 1 to 9999."""
    try:
        return EPOCH + timedelta(microseconds=count)
    except OverflowError:
        return None


def text_of(moment: datetime | None) -> str | None:
    """Write a time in UTC as DuckDB reads it: `2019-08-27 19:43:24.674+00:00`."""
    return None if moment is None else moment.isoformat(" ")


@lru_cache(maxsize=4096)
def text(spelled: str) -> str | None:
    """Convert a written time to UTC as DuckDB reads it; None for anything else. Cached like `instant`."""
    return text_of(_of_text(spelled))


def of_event(value: Any) -> int | None:
    """Parse the timestamp of an event as microseconds; some relays write a local time, which is treated as UTC."""
    if isinstance(value, str) and "," in value:
        for form in _LOCAL:
            with suppress(ValueError):
                return micros_of(datetime.strptime(value, form).replace(tzinfo=UTC))
    return micros(value)


def day(value: Any) -> str | None:
    """Parse a date, or the date of a time; None for anything else."""
    if not isinstance(value, str) or not _DAY.match(value):
        return None
    try:
        date.fromisoformat(value[:10])
    except ValueError:
        return None
    return value[:10] if len(value) == len("yyyy-mm-dd") or value[10] in "T " else None
