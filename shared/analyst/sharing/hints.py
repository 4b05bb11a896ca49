"""Predicate hints of readers: which files can have rows that they select, by minimum and maximum values.

A hint only saves work, so whatever is not understood keeps all files. Source: the Delta Sharing protocol, 'SQL
Expressions for Filtering' and 'JSON predicates for Filtering'.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

Stats = Mapping[str, Any]
"""`numRecords`, and by column `minValues`, `maxValues`, `nullCount`."""

Test = Callable[[Stats], bool]
"""Whether a file may have a matching row."""

_COMPARED: Final = re.compile(
    r"""\s*(?:`([^`]+)`|"([^"]+)"|([A-Za-z_][A-Za-z0-9_]*))\s*(<=|>=|<>|!=|=|<|>)\s*(\S.*)""", re.DOTALL
)
_NULLNESS: Final = re.compile(
    r"""\s*(?:`([^`]+)`|"([^"]+)"|([A-Za-z_][A-Za-z0-9_]*))\s+is\s+(not\s+)?null\s*""", re.IGNORECASE
)
_LITERAL: Final = re.compile(
    r"""(?:(date|timestamp)\s*)?'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)|(true|false)""", re.IGNORECASE
)
_CAST: Final = re.compile(
    r"""cast\s*\(\s*('\d{4}-\d{2}-\d{2}'|'[^']+'(?=\s+as\s+timestamp))\s+as\s+(?:date|timestamp)\s*\)""", re.IGNORECASE
)
"""A cast that changes nothing: one of a time to a date would, and is not understood."""
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]|$)")
_WIDEST: Final = timedelta(hours=15)
"""More than any zone differs from UTC."""

_DEEPEST: Final = 50
_MOST: Final = 1000
_LONGEST: Final = 10_000
_LONGEST_JSON: Final = 100_000
"""Hints and characters that are read: each comparison is tried for each file."""
_FLIPPED: Final = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPERATORS: Final = {
    "equal": "=",
    "lessThan": "<",
    "lessThanOrEqual": "<=",
    "greaterThan": ">",
    "greaterThanOrEqual": ">=",
}


class _UnknownError(Exception):
    """A hint is not understood."""


def test_of(sql: Sequence[str], document: str | None) -> Test:
    """Return the test that all hints make together; a hint that is not understood keeps every file."""
    tests: list[Test] = []
    for each in sql[:_MOST]:
        with suppress(_UnknownError):
            tests.append(_of_sql(each.strip()))
    if document is not None and len(document) <= _LONGEST_JSON:
        with suppress(ValueError, _UnknownError, KeyError, TypeError, AttributeError, RecursionError, IndexError):
            tests.append(_of_json(json.loads(document), 0))
    return lambda stats: all(test(stats) for test in tests)


def _of_sql(text: str) -> Test:
    if len(text) > _LONGEST:
        raise _UnknownError
    if found := _NULLNESS.fullmatch(text):
        return _nullness(found[1] or found[2] or found[3], is_null=found[4] is None)
    found = _COMPARED.fullmatch(text)
    if found is None or (literal := _LITERAL.fullmatch(_CAST.sub(r"\1", found[5]))) is None:
        raise _UnknownError
    column, operator = found[1] or found[2] or found[3], found[4]
    value: Any = None
    if literal[2] is not None:
        value = literal[2].replace("''", "'")
    elif literal[3] is not None:
        value = Decimal(literal[3])  # a float would round, and leave out a file
    else:
        value = literal[4].lower() == "true"
    return _comparison(column, operator, value)


def _of_json(node: Mapping[str, Any], depth: int) -> Test:
    if depth > _DEEPEST:
        raise _UnknownError
    operator, children = node["op"], node.get("children", [])
    if operator in {"and", "or"}:
        tests = []
        for child in children:
            try:
                tests.append(_of_json(child, depth + 1))
            except _UnknownError:
                if operator == "or":  # that side may select any row
                    raise
        combine = all if operator == "and" else any
        return lambda stats: combine(test(stats) for test in tests)
    if operator == "isNull":
        return _nullness(_column(children[0]), is_null=True)
    if operator == "not" and children[0].get("op") == "isNull":
        return _nullness(_column(children[0]["children"][0]), is_null=False)
    if operator not in _OPERATORS:
        raise _UnknownError
    left, right = children
    sign = _OPERATORS[operator]
    if left["op"] == "literal":
        left, right, sign = right, left, _FLIPPED[sign]
    return _comparison(_column(left), sign, _literal(right))


def _column(node: Mapping[str, Any]) -> str:
    if node["op"] != "column":
        raise _UnknownError
    return str(node["name"])


def _literal(node: Mapping[str, Any]) -> Any:
    if node["op"] != "literal":
        raise _UnknownError
    text, kind = str(node["value"]), node["valueType"]
    if kind in {"int", "long"}:
        return int(text)
    if kind in {"string", "date", "timestamp"}:
        return text
    raise _UnknownError


def _nullness(column: str, *, is_null: bool) -> Test:
    def test(stats: Stats) -> bool:
        nulls = stats.get("nullCount", {}).get(column)
        return nulls is None or (nulls > 0 if is_null else nulls < stats["numRecords"])

    return test


def _comparison(column: str, operator: str, value: Any) -> Test:
    if operator in {"<>", "!="}:
        raise _UnknownError

    def test(stats: Stats) -> bool:
        least, greatest = stats.get("minValues", {}).get(column), stats.get("maxValues", {}).get(column)
        if least is None or greatest is None or not _is_comparable(value, least):
            return True
        if not isinstance(value, str) or not _TIME.match(least) or not _TIME.match(greatest):
            return _may_match(operator, least, greatest, value, value)
        # The type of the column is not known here: it may be a text, a date, a time or an instant.
        return _may_match(operator, least, greatest, value, value) or _may_match_times(operator, least, greatest, value)

    return test


def _may_match(operator: str, least: Any, greatest: Any, first: Any, last: Any) -> bool:
    """Return whether a value from `least` to `greatest` may be in the relation to one from `first` to `last`."""
    match operator:
        case "=":
            return bool(least <= last and first <= greatest)
        case "<":
            return bool(least < last)
        case "<=":
            return bool(least <= last)
        case ">":
            return bool(greatest > first)
    return bool(greatest >= first)


def _may_match_times(operator: str, least: str, greatest: str, value: str) -> bool:
    """Compare as times. If only the column has a zone, the reader's own zone is unknown, so any may be meant."""
    try:
        low, high, wanted = (datetime.fromisoformat(each) for each in (least, greatest, value))
        is_unsure = (low.tzinfo is None) != (wanted.tzinfo is None)
        low, high, wanted = (each.replace(tzinfo=each.tzinfo or UTC) for each in (low, high, wanted))
        margin = _WIDEST if is_unsure else timedelta(0)
        return _may_match(operator, low, high, wanted - margin, wanted + margin)
    except (ValueError, OverflowError):
        return True


def _is_comparable(value: Any, bound: Any) -> bool:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return is_number if isinstance(bound, int | float) else isinstance(value, str) and isinstance(bound, str)
