"""Single values: texts, numbers, people, options. A value of an unknown shape becomes None and is counted."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from analyst.connectors.jira.issue import adf, documents, times, wiki


@dataclass(slots=True)
class Report:
    """The number of values that became NULL because of an unknown shape, by the name of the field."""

    misshapen: Counter[str] = field(default_factory=Counter)

    def count(self, name: str) -> None:
        """Count a value of a field that became NULL."""
        self.misshapen[name] += 1


_MOST, _LEAST = 2**63 - 1, -(2**63)
_NUMBER = re.compile(r"-?[0-9]{1,19}((?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,4})?)")
_EMAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+")
_WHO = re.compile(r"[?&](?:accountId|username|key)=([^&#]+)")


def text(value: Any, name: str, report: Report) -> str | None:
    """Return a string; numbers and booleans are written as in JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return documents.canonical(value).decode()
    report.count(name)
    return None


def member(value: Any, part: str, name: str, report: Report) -> str | None:
    """Return the text of a member of an object, such as the name of a status."""
    if value is None:
        return None
    if isinstance(value, dict):
        found = value.get(part)
        return found if type(found) is str else text(found, name, report)
    report.count(name)
    return None


def whole(value: Any, name: str, report: Report) -> int | None:
    """Return a whole number of at most 64 bits; for a satisfaction, its rating."""
    found = number(value, name, report)
    if found is None:
        return None
    if _LEAST <= found <= _MOST and found == int(found):
        return int(found)
    report.count(name)
    return None


def number(value: Any, name: str, report: Report) -> float | int | None:
    """Return a finite number, also if written as text; for a satisfaction, its rating."""
    if isinstance(value, dict):
        value = value.get("rating", value.get("value", value))
    if value is None:
        return None
    if isinstance(value, str):
        value = _read_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    report.count(name)
    return None


def _read_number(value: str) -> float | int | None:
    found = _NUMBER.fullmatch(value)
    if found is None:
        return None
    return float(value) if found[1] else int(value)


def instant(value: Any, name: str, report: Report) -> str | None:
    """Return a time as DuckDB reads it."""
    if value is None:
        return None
    if (found := times.text_of(times.instant(value))) is None:
        report.count(name)
    return found


def day(value: Any, name: str, report: Report) -> str | None:
    """Return a date as DuckDB reads it."""
    if value is None:
        return None
    if (found := times.day(value)) is None:
        report.count(name)
    return found


def user(value: Any, name: str, report: Report, *, emails: bool = True) -> str | None:
    """Return a person's e-mail address, otherwise the account id, or the name or key of Data Center.

    Without `emails`, nothing that looks like an address is returned.
    """
    if value is None:
        return None
    if isinstance(value, dict):
        for part in ("emailAddress", "accountId", "name", "key"):
            if isinstance(found := value.get(part), str) and found and (emails or "@" not in found):
                return found
        if isinstance(url := value.get("self"), str) and (found := _WHO.search(url)):
            person = unquote_plus(found[1])
            return person if emails or "@" not in person else None
        if isinstance(value.get("displayName"), str) or not emails:
            return None
    report.count(name)
    return None


def user_name(value: Any, *, emails: bool = True) -> str | None:
    """Return the display name of a person."""
    if isinstance(value, dict):
        for part in ("displayName", "name"):
            if isinstance(found := value.get(part), str) and found and (emails or not is_email(found)):
                return found
    return None


def is_email(text: str | None) -> bool:
    """Return whether a string is just an e-mail address."""
    return text is not None and _EMAIL.fullmatch(text.strip()) is not None


def plain_text(value: Any, name: str, report: Report) -> str | None:
    """Return rich text as plain text: an ADF document (REST v3) or wiki markup (REST v2, webhooks)."""
    if value is None:
        return None
    if isinstance(value, str):
        return wiki.plain(value)
    return adf.plain(value) if adf.is_document(value) else text(value, name, report)


def as_written(value: Any) -> str | None:
    """Return rich text with its markup: wiki markup as it is, ADF as JSON."""
    return value if value is None or isinstance(value, str) else json(value)


def option(value: Any, name: str, report: Report) -> str | None:
    """Return the value or name of an option; of a cascade both, such as `Hardware / Screen`."""
    if isinstance(value, dict):
        found = _option_text(value)
        if isinstance(child := value.get("child"), dict) and (under := _option_text(child)) is not None:
            found = under if found is None else f"{found} / {under}"
        if found is None:
            report.count(name)
        return found
    return text(value, name, report)


def _option_text(value: dict[str, Any]) -> str | None:
    for part in ("value", "name"):
        found = value.get(part)
        if isinstance(found, str):
            return found
        if isinstance(found, int | float):
            return documents.canonical(found).decode()
    return None


def options(value: Any, name: str, report: Report) -> str | None:
    """Return all chosen options as a JSON list of texts."""
    return _each(value, lambda one: option(one, name, report))


def users(value: Any, name: str, report: Report, *, emails: bool = True) -> str | None:
    """Return people as a JSON list of what `user` returns for each."""
    return _each(value, lambda one: user(one, name, report, emails=emails))


def _each(value: Any, take: Callable[[Any], str | None]) -> str | None:
    """Convert each of several values, or a single one, to a JSON list."""
    if value is None:
        return None
    several = value if isinstance(value, list) else [value]
    return json([found for one in several if (found := take(one)) is not None])


def json(value: Any) -> str | None:
    """Return a value as canonical JSON."""
    return None if value is None else documents.canonical(value).decode()
