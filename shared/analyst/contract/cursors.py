"""Comparing the cursor of earlier runs with the values of a column, without rounding either.

The column may have had another type when the cursor was stored: `10.5` is not a BIGINT, and cast to one it becomes 11
and hides the row 11. So the bound is computed from the cursor's text, and rounded down where the column can't hold it.
Rows on the bound are read again by design, so a bound that is slightly too low does no harm.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from typing import Any, Final, Literal

from analyst.contract.connector import Cursor
from analyst.errors import InvalidInputError
from analyst.names import quote_text
from analyst.types import checked_type

Family = Literal["number", "time", "instant", "text", "other"]

_BITS: Final = {
    "TINYINT": 7,
    "SMALLINT": 15,
    "INTEGER": 31,
    "BIGINT": 63,
    "HUGEINT": 127,
    "UTINYINT": 8,
    "USMALLINT": 16,
    "UINTEGER": 32,
    "UBIGINT": 64,
    "UHUGEINT": 128,
}
_TIMES: Final = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_INSTANT: Final = "TIMESTAMP WITH TIME ZONE"
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_TIME_TEXT: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?)?")
_INSTANT_TEXT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}(?::?\d{2})?)")
_LAG: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MOST_SECONDS: Final = 100 * 366 * 86400
_DIGITS: Final = 400
"""More digits than any double has."""


def family(kind: str) -> Family:
    """Return the family of a DuckDB type; values are comparable within a family."""
    if kind in _BITS or kind in ("FLOAT", "DOUBLE") or _DECIMAL.fullmatch(kind):
        return "number"
    if kind in _TIMES:
        return "time"
    if kind == _INSTANT:
        return "instant"
    return "text" if kind == "VARCHAR" else "other"


def are_kindred(one: str, other: str) -> bool:
    """Return whether values of two types can be united as they are, without the text that they were parsed from."""
    if family(one) == "other" == family(other):
        return one == other or {_is_nested(one), _is_nested(other)} == {True}
    return family(one) == family(other)


def _is_nested(kind: str) -> bool:
    return kind.startswith(("STRUCT", "MAP")) or kind.endswith("]")


def lag(text: str) -> str:
    """Return a lag in its canonical form: `5` is in the units of a number, `90s`, `15m`, `2h`, `3d` and `1w` are times.

    Raises:
        InvalidInputError: it is neither a number nor a time.
    """
    found = _LAG.fullmatch(text.strip().lower())
    if found is None or (found[2] and float(found[1]) * _SECONDS[found[2]] > _MOST_SECONDS):
        raise InvalidInputError(
            f"{text!r} is not a valid lag; expected a number such as 100, or a time such as 90s, 15m, 2h or 3d"
        )
    return found[1] + found[2]


def fits_lag(kind: str, lag: str) -> bool:
    """Return whether a lag can be subtracted from values of a type."""
    return family(kind) in (("time", "instant") if lag[-1] in _SECONDS else ("number",))


def is_comparable(kind: str, cursor: Cursor) -> bool:
    """Return whether a cursor can be compared with values of a type."""
    return cursor is not None and not_before("c", kind, cursor) is not None


def on_line(column: str, kind: str) -> str:
    """Return the SQL condition that a quoted column has a value with a place in the order; not NULL, NaN or infinite."""
    if kind in ("FLOAT", "DOUBLE", _INSTANT, *_TIMES):
        return f"coalesce(isfinite({column}), false)"
    return f"{column} is not null"


def not_before(column: str, kind: str, cursor: Cursor, lag: str | None = None) -> str | None:
    """Return the SQL condition that a quoted column is not before a cursor minus a lag; `None` if they can't be compared."""
    text = str(cursor)
    match family(kind):
        case "number":
            return _number(column, kind, text, lag)
        case "time" if _TIME_TEXT.fullmatch(text):
            bound = _moved(datetime.fromisoformat(text), lag)
            return f"coalesce(try_cast({column} as timestamp) >= timestamp {quote_text(str(bound))}, true)"
        case "instant" if _INSTANT_TEXT.fullmatch(text):
            return f"{column} >= timestamptz {quote_text(str(_moved(_utc(text), lag)))}"
        case "text":
            return f"{column} >= {quote_text(text)}"
        case _:
            return None


def later(kind: str, one: Cursor, other: Cursor) -> Cursor:
    """Return the greater of two cursors of a column, ignoring one that can't be compared with its type."""
    found = [cursor for cursor in (one, other) if is_comparable(kind, cursor)]
    if len(found) < 2:  # noqa: PLR2004
        return found[0] if found else None
    keys: dict[str, Callable[[str], Any]] = {"number": Decimal, "instant": _utc, "time": datetime.fromisoformat}
    key = keys.get(family(kind), str)
    return max(found, key=lambda cursor: key(str(cursor)))


def _number(column: str, kind: str, text: str, lag: str | None) -> str | None:
    with localcontext(prec=2 * _DIGITS):
        try:
            bound = Decimal(text) - Decimal(lag or 0)
        except InvalidOperation:
            return None
        if not bound.is_finite() or abs(bound.adjusted()) > _DIGITS:
            return None
        if kind in ("FLOAT", "DOUBLE"):
            near = float(bound)
            low = near - abs(near) * 1e-6 if kind == "FLOAT" else math.nextafter(near, -math.inf)
            return "true" if math.isinf(low) else f"{column} >= {low!r}::double"
        least, greatest, scale = _bounds(kind)
        bound = bound.quantize(scale, ROUND_FLOOR)
        if bound > greatest:
            return "false"
        return "true" if bound <= least else f"{column} >= cast({quote_text(f'{bound:f}')} as {checked_type(kind)})"


def _bounds(kind: str) -> tuple[Decimal, Decimal, Decimal]:
    if kind in _BITS:
        limit = Decimal(2) ** _BITS[kind]
        return (Decimal(0) if kind.startswith("U") else -limit), limit - 1, Decimal(1)
    found = _DECIMAL.fullmatch(kind)
    digits, places = (int(found[1]), int(found[2])) if found else (38, 0)
    step = Decimal(1).scaleb(-places)
    limit = Decimal(10) ** (digits - places) - step
    return -limit, limit, step


def _moved(bound: datetime, lag: str | None) -> datetime:
    """Move a bound back by a lag, at most to the first day of the calendar."""
    seconds = 0.0 if lag is None else float(lag[:-1]) * _SECONDS[lag[-1]]
    first = datetime.min.replace(tzinfo=bound.tzinfo)
    return first if (bound - first).total_seconds() < seconds else bound - timedelta(seconds=seconds)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
