"""Schedules: when something is due.

| text | due |
|---|---|
| `every 15m`, `every 6h` | at fixed marks, counted from 1970-01-01 00:00 UTC: `every 6h` at 00:00, 06:00, 12:00 and 18:00 |
| `daily 05:00,13:00 [Europe/Prague]` | at these times of day, of UTC when no time zone is named |
| `cron 0 5 * * 1-5 [Europe/Prague]` | as Debian's cron has it: minute, hour, day of month, month, day of week |
| `never` | not by itself |

A missed time is caught up once. A time of day that a clock change skips is due at the next existing moment, and one that
occurs twice at its first. A cron whose hour is `*` follows elapsed hours.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Final, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from analyst.errors import InvalidInputError

_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_FIELD: Final = r"[0-9A-Za-z*/,#-]+"
_ZONE: Final = r"(?: (?P<zone>[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*))?"
_EVERY: Final = re.compile(r"every (?P<count>[1-9][0-9]{0,4})(?P<unit>[mh])")
_DAILY: Final = re.compile(rf"daily (?P<times>{_TIME}(?:,{_TIME})*){_ZONE}")
_CRON: Final = re.compile(rf"cron (?P<fields>{_FIELD}(?: {_FIELD}){{4}}){_ZONE}")

PATTERN: Final = "^(never|{})$".format(
    "|".join(re.sub(r"\?P<\w+>", "?:", rule.pattern) for rule in (_EVERY, _DAILY, _CRON))
)
"""What every schedule looks like; one that looks so may still name a time zone or a day that there is not."""

_WRITE: Final = {
    "every": "every 15m or every 6h",
    "daily": "daily 05:00 or daily 05:00,13:00 Europe/Prague",
    "cron": "cron 0 5 * * 1-5 or cron 0 5 * * 1-5 Europe/Prague (minute, hour, day, month, day of week)",
    "never": "never",
}
_STEPS: Final = r"(?:/[0-9]+)?"
_NUMBERS: Final = rf"(?:\*|[0-9]+(?:-[0-9]+)?){_STEPS}"
_NAMES: Final = rf"[A-Za-z]{{3}}(?:-[A-Za-z]{{3}})?{_STEPS}"
_FIELDS: Final = {
    "minute": re.compile(_NUMBERS),
    "hour": re.compile(_NUMBERS),
    "day-of-month": re.compile(rf"{_NUMBERS}|[Ll][Ww]?"),
    "month": re.compile(rf"{_NUMBERS}|{_NAMES}"),
    "day-of-week": re.compile(rf"{_NUMBERS}|{_NAMES}|[0-7][Ll]|(?:[0-7]|[A-Za-z]{{3}})#[0-9]+"),
}
"""What may stand between commas, by field: cronsim ignores some of what it does not know, as the step of `L/2`."""
_MARK_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Every:
    """Marks that are one `step` apart."""

    step: timedelta

    def first_after(self, moment: datetime) -> datetime | None:
        return _MARK_ZERO + ((moment - _MARK_ZERO) // self.step + 1) * self.step


@dataclass(frozen=True, slots=True)
class _TimesOfDay:
    """Times of day in `zone`, as cron expressions. Each is due once a day, even if clocks change."""

    expressions: tuple[str, ...]
    zone: tzinfo

    def first_after(self, moment: datetime) -> datetime | None:
        return min((due for expression in self.expressions for due in self._after(expression, moment)), default=None)

    def _after(self, expression: str, moment: datetime) -> Iterator[datetime]:
        """Return the first time of an expression. A later wall time is never an earlier moment, so the first one counts."""
        moments = (_moment_of(wall, self.zone) for wall in _walls(expression, _wall(moment, self.zone)))
        return islice((due for due in moments if due > moment), 1)


@dataclass(frozen=True, slots=True)
class _Passing:
    """Minutes that pass: each one at which the clock in `zone` shows a time of the expression."""

    expression: str
    zone: tzinfo

    def first_after(self, moment: datetime) -> datetime | None:
        """Search from one clock change to the next; in between, wall time and moments run alike."""
        start = moment + _MOMENT
        while True:
            wall, change = _wall(start, self.zone), _first_change(start, self.zone)
            due = next(_walls(self.expression, wall - _MOMENT), None)
            if due is None:
                return None
            found, end = start + (due - wall), change or start + _STRETCH
            if found < end:
                return found
            # it may be years ahead; two days before it, no change of a clock brings it nearer
            start = end if change else max(end, found - 2 * _STRETCH)


_MOMENT: Final = timedelta(microseconds=1)
_STRETCH: Final = timedelta(days=1)
_PROBE: Final = timedelta(hours=3)
"""No zone changes its clocks twice within this time."""


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    """Return what a clock shows, without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _walls(expression: str, after: datetime) -> Iterator[datetime]:
    """List the wall times of an expression, without cronsim's handling of zones, which ignores changes of half an hour."""
    return CronSim(expression, after)


def _moment_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return the first moment at which a clock shows a time; for a skipped time, the end of the gap."""
    earliest, latest = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if _wall(earliest, zone) == wall:
        return earliest
    if _wall(latest, zone) == wall:
        return latest
    return _change(earliest, latest, zone)


def _first_change(after: datetime, zone: tzinfo) -> datetime | None:
    """Return the first moment after another, within a day, at which a clock changes; `None` if it does not."""
    if zone is UTC:
        return None
    for number in range(_STRETCH // _PROBE):
        start, end = after + number * _PROBE, after + (number + 1) * _PROBE
        if _offset(start, zone) != _offset(end, zone):
            return _change(start, end, zone)
    return None


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Find the moment between two others at which a clock changes; it does so at a whole second."""
    offset = _offset(before, zone)
    low, high = int((before - _MARK_ZERO).total_seconds() // 1), int((after - _MARK_ZERO).total_seconds() // 1)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(_MARK_ZERO + timedelta(seconds=middle), zone) == offset:
            low = middle
        else:
            high = middle
    return _MARK_ZERO + timedelta(seconds=high)


def _offset(moment: datetime, zone: tzinfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due; `parse` makes it. Moments are aware, and given in UTC."""

    text: str
    _rule: _Every | _TimesOfDay | _Passing | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a schedule.

        Raises:
            InvalidInputError: it is none; the message says what to write.
        """
        if text == "never":
            return cls(text, None)
        if found := _EVERY.fullmatch(text):
            count = int(found["count"])
            return cls(text, _Every(timedelta(minutes=count) if found["unit"] == "m" else timedelta(hours=count)))
        if found := _DAILY.fullmatch(text):
            times = sorted({(int(time[:2]), int(time[3:])) for time in found["times"].split(",")})
            return cls(text, _TimesOfDay(tuple(f"{minute} {hour} * * *" for hour, minute in times), _zone(text, found)))
        if found := _CRON.fullmatch(text):
            expression, zone = _expression(text, found["fields"]), _zone(text, found)
            by_the_hour = expression.split()[1] == "*"
            return cls(text, _Passing(expression, zone) if by_the_hour else _TimesOfDay((expression,), zone))
        raise _invalid(text)

    def next_due(self, after: datetime) -> datetime | None:
        """Return the first time after a moment; `None` if there is none."""
        return None if self._rule is None else self._rule.first_after(after.astimezone(UTC))

    def is_due(self, last_run: datetime | None, now: datetime) -> bool:
        """Return whether a time has passed since the last run; without one, it is due at once."""
        if self._rule is None or last_run is None:
            return self._rule is not None
        due = self.next_due(last_run)
        return due is not None and due <= now


def _zone(text: str, found: re.Match[str]) -> tzinfo:
    name = found["zone"]
    try:
        return UTC if name in (None, "UTC") else ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # of no name, of no zone, of a folder of zones
        raise _invalid(text, f"there is no time zone {name!r}; ") from None


def _expression(text: str, fields: str) -> str:
    """Check the fields of a cron expression."""
    for name, field in zip(_FIELDS, fields.split(), strict=True):
        for item in field.split(","):
            if not _FIELDS[name].fullmatch(item):
                raise _invalid(text, f"{item!r} is not supported as {name}; ")
    try:
        comes = next(CronSim(fields, _MARK_ZERO), None) is not None
    except CronSimError as error:
        raise _invalid(text, f"{str(error).lower()}; ") from None
    if not comes:
        raise _invalid(text, "no date matches it; ")
    return fields


def what_to_write(text: str) -> str:
    """Return what to write instead of a text that is no schedule: all kinds, or the one that was meant."""
    kind = text.partition(" ")[0]
    return ", ".join([_WRITE[kind]] if kind in _WRITE else _WRITE.values())


def _invalid(text: str, reason: str = "") -> InvalidInputError:
    return InvalidInputError(f"{text!r} is not a valid schedule: {reason}write {what_to_write(text)}")
