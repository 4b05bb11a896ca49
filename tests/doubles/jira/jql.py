"""The part of JQL that the double of Jira understands: conditions joined by `and` and `or`, and an order."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.doubles.jira.issues import CATEGORIES, STATUSES, Issue, Sla

_TOKEN = re.compile(r"""\s*(?:(>=|<=|!=|[=<>(),])|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s=<>!(),"']+))""")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}
_DATES = frozenset({"created", "updated", "resolutiondate"})
_NAMES = {"key": "issuekey", "issue": "issuekey", "createddate": "created", "updateddate": "updated"}
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}
Test = Callable[[Issue], bool]


class JqlError(Exception):
    """A query that Jira would refuse."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which issues, and in which order; the id comes last in it."""

    test: Test
    is_bounded: bool
    by: str = "created"
    descending: bool = True

    def place(self, issue: Issue) -> tuple[int, int]:
        """Return where an issue stands in the order."""
        value = _in_order(issue.key) if self.by == "issuekey" else int(getattr(issue, self.by))
        return (-value, -int(issue.id)) if self.descending else (value, int(issue.id))


@dataclass
class _Reader:
    """Reads one query. `now` is in epoch ms, `zone` is that of the account's profile."""

    tokens: list[tuple[str, bool]]
    now: int
    zone: timezone
    exists: Callable[[str], bool]
    at: int = 0

    def word(self) -> str:
        return self.tokens[self.at][0].lower() if self.at < len(self.tokens) and not self.tokens[self.at][1] else ""

    def take(self, *words: str) -> bool:
        if self.word() not in words:
            return False
        self.at += 1
        return True

    def next(self) -> str:
        if self.at >= len(self.tokens):
            raise JqlError("Error in the JQL Query: it ends too early.")
        self.at += 1
        return self.tokens[self.at - 1][0]

    def either(self) -> Test:
        tests = [self.both()]
        while self.take("or"):
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda issue: any(test(issue) for test in tests)

    def both(self) -> Test:
        tests = [self.single()]
        while self.take("and"):
            tests.append(self.single())
        return tests[0] if len(tests) == 1 else lambda issue: all(test(issue) for test in tests)

    def single(self) -> Test:
        if self.take("("):
            test = self.either()
            self.expect(")")
            return test
        name = self.next().lower()
        name = _NAMES.get(name, name)
        if self.take("is"):
            empty = not self.take("not")
            self.expect("empty", "null")
            return lambda issue: (not value_of(issue, name)) is empty
        negative = self.take("not")
        if self.take("in"):
            self.expect("(")
            values = [self.value(name)]
            while self.take(","):
                values.append(self.value(name))
            self.expect(")")
            return lambda issue: _is_any(issue, name, values) is not negative
        operator = self.next()
        if operator not in _COMPARE or negative:
            raise JqlError(f"Error in the JQL Query: Expecting operator but got '{operator}'.")
        return self.compared(name, operator, self.value(name))

    def compared(self, name: str, operator: str, value: Any) -> Test:
        if name.startswith("cf["):
            if value != "running()":
                raise JqlError(f"'{value}' is not known of '{name}'.")
            return lambda issue: _is_running(issue, name)
        if name in {"issuekey", "id"} and operator not in {"=", "!="}:
            if not self.exists(value):
                raise JqlError(f"An issue with key '{value}' does not exist for field '{name}'.")
            return _in_key_order(operator, value)
        if name in {"issuekey", "id"}:
            return lambda issue: (value in {issue.id, issue.key}) is (operator == "=")
        return lambda issue: _COMPARE[operator](value_of(issue, name), value)

    def value(self, name: str) -> Any:
        text = self.next()
        if self.take("("):
            self.expect(")")
            text += "()"
        return self.date(text) if name in _DATES else text if name in {"issuekey", "id"} else text.lower()

    def date(self, text: str) -> int:
        """Read a date: epoch ms, a time relative to now, or one in the zone of the account."""
        if text.isdigit():
            return int(text)
        if found := re.fullmatch(r"-(\d+)([wdhm])", text):
            return self.now - int(timedelta(**{_UNITS[found[2]]: int(found[1])}).total_seconds() * 1000)
        for form in ("%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%Y-%m-%d", "%Y/%m/%d"):
            try:
                return int(datetime.strptime(text, form).replace(tzinfo=self.zone).timestamp() * 1000)
            except ValueError:
                continue
        raise JqlError(f"Date value '{text}' for field is invalid. Valid formats include: 'yyyy/MM/dd HH:mm'.")

    def expect(self, *words: str) -> None:
        if not self.take(*words):
            raise JqlError(f"Error in the JQL Query: Expecting {words[0]!r}.")


def read(jql: str, *, now: int, zone: timezone, exists: Callable[[str], bool]) -> Query:
    """Read a query; `exists` tells whether there is an issue of an id or key.

    Raises:
        JqlError: it is none, or one that this double does not understand.
    """
    reader = _Reader(_tokens(jql), now, zone, exists)
    is_bounded = bool(reader.tokens) and reader.word() != "order"
    test = reader.either() if is_bounded else lambda _: True
    if reader.take("order"):
        reader.expect("by")
        name = reader.next().lower()
        descending = reader.take("desc") or (not reader.take("asc") and name != "key")
        if reader.take(","):  # a second name: by id is how this double breaks ties
            reader.next()
            reader.take("asc", "desc")
        query = Query(test, is_bounded, _NAMES.get(name, name), descending)
    else:
        query = Query(test, is_bounded)
    if reader.at != len(reader.tokens):
        raise JqlError(f"Error in the JQL Query: Expecting either 'OR' or 'AND' but got '{reader.next()}'.")
    if query.by not in {"created", "updated", "issuekey", "id"}:
        raise JqlError(f"Not able to sort using field '{query.by}'.")
    return query


def _tokens(jql: str) -> list[tuple[str, bool]]:
    """Take a query apart, and tell which parts stood in quotes."""
    found, at, end = [], 0, len(jql.rstrip())
    while at < end:
        match = _TOKEN.match(jql, at)
        if match is None:
            raise JqlError(f"Error in the JQL Query: the character at {at} is not expected.")
        quoted = next((text for text in match.group(2, 3) if text is not None), None)
        found.append((match[1] or match[4], False) if quoted is None else (re.sub(r"\\(.)", r"\1", quoted), True))
        at = match.end()
    return found


def value_of(issue: Issue, name: str) -> Any:
    """Return what a query compares."""
    if name in {"created", "updated"}:
        return getattr(issue, name)
    if name == "project":
        return issue.project.lower()
    if name == "statuscategory":
        return CATEGORIES[STATUSES[issue.fields["status"]][2]].lower()
    if name not in {"status", "resolution", "resolutiondate", "issuetype", "priority"}:
        raise JqlError(f"Field '{name}' does not exist or you do not have permission to view it.")
    value = issue.fields.get(name)
    value = value["name"] if isinstance(value, dict) else value
    return value.lower() if isinstance(value, str) else value


def number(key: str) -> int:
    """Return the number in a key."""
    return int(key.rpartition("-")[2])


def _in_order(key: str) -> int:
    """Place a key among those of all projects."""
    return (int.from_bytes(key.rpartition("-")[0].encode().ljust(10)) << 64) + number(key)


def _is_any(issue: Issue, name: str, values: list[Any]) -> bool:
    if name in {"issuekey", "id"}:
        return issue.id in values or issue.key in values
    return value_of(issue, name) in values


def _is_running(issue: Issue, name: str) -> bool:
    value = issue.fields.get(f"customfield_{name[3:-1]}")
    return isinstance(value, Sla) and value.stop is None


def _in_key_order(operator: str, value: str) -> Test:
    if value.isdigit():
        return lambda issue: _COMPARE[operator](int(issue.id), int(value))
    project = value.rpartition("-")[0]
    return lambda issue: issue.project == project and _COMPARE[operator](number(issue.key), number(value))
