"""The columns of a table: their names and types without loss, and conditions on them in GoogleSQL.

Source: BigQuery, 'Data types', 'Storage Read API: Arrow schema details' and 'row_restriction'.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, cast

from analyst.catalog import Column
from analyst.connectors.bigquery.api import Field, Partitioning, TableInfo
from analyst.connectors.unique_names import column_names
from analyst.contract.connector import Cursor
from analyst.errors import SourceError
from analyst.names import quote
from analyst.query.live_rows import Needed
from analyst.query.pushdown import Operator, Value

INSTANT: Final = "TIMESTAMP WITH TIME ZONE"
MOST_DIGITS: Final = 38
_PLAIN: Final[Mapping[str, str]] = {
    **dict.fromkeys(("INTEGER", "INT64"), "BIGINT"),
    **dict.fromkeys(("FLOAT", "FLOAT64"), "DOUBLE"),
    **dict.fromkeys(("BOOLEAN", "BOOL"), "BOOLEAN"),
    **dict.fromkeys(("STRING", "GEOGRAPHY", "JSON", "TIME", "INTERVAL"), "VARCHAR"),
    "BYTES": "BLOB",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": INSTANT,
}
_NUMERIC: Final = (38, 9)
_BIG: Final = ("BIGNUMERIC", "BIGDECIMAL")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NULLS: Final = "__NULL__"
UNPARTITIONED: Final = "__UNPARTITIONED__"
_STAMPS: Final = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
_TIMES: Final = {"DATE": "DATE", "DATETIME": "DATETIME", "TIMESTAMP": "TIMESTAMP"}
_EXACT: Final = 2**53
"""The greatest number up to which all whole numbers are exact as FLOAT64."""
_MOST_NUMERIC: Final = Decimal(10) ** 29
_WRITTEN: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?)?")
_DAY_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A column that is read, and the name and type under which it is published."""

    field: Field
    name: str

    @property
    def type(self) -> str:
        """The DuckDB type."""
        return type_of(self.field)

    @property
    def column(self) -> Column:
        """The column as it is published, described as in BigQuery, or else by its original name."""
        description = self.field.description or (None if self.field.name == self.name else self.field.name)
        return Column(name=self.name, type=self.type, description=description)


def planned_columns(
    schema: Sequence[Field], table: str, wanted: Sequence[str] = (), needed: Sequence[str] = ()
) -> tuple[PlannedColumn, ...]:
    """Return the columns to read, in the order of the table: all, or those `wanted` and `needed`, by either name.

    Raises:
        SourceError: a column does not exist.
    """
    names = column_names(field.name for field in schema)
    known = {**{name: original for original, name in names.items()}, **{original: original for original in names}}
    if missing := [column for column in [*wanted, *needed] if column not in known]:
        raise SourceError(
            f"the table {table!r} has no column {missing[0]!r}; correct the table's options; its columns are "
            f"{', '.join(names)}"
        )
    read = {known[column] for column in [*wanted, *needed]}
    return tuple(PlannedColumn(field, names[field.name]) for field in schema if not wanted or field.name in read)


def type_of(field: Field) -> str:
    """Return the DuckDB type that holds all values of a column without loss."""
    one = _single_type(field)
    return f"{one}[]" if field.mode == "REPEATED" else one


def remote_type_of(field: Field) -> str:
    """Return the type that DuckDB's extension `bigquery` gives a column: that under which it is published, but for times."""
    if field.type == "TIME":
        return "TIME[]" if field.mode == "REPEATED" else "TIME"
    return type_of(field)


def _single_type(field: Field) -> str:
    if field.type in ("RECORD", "STRUCT"):
        return f"STRUCT({', '.join(f'{quote(each.name)} {type_of(each)}' for each in field.fields)})"
    if field.type == "RANGE":
        bound = _PLAIN.get(field.element or "", "VARCHAR")
        return f'STRUCT("start" {bound}, "end" {bound})'
    if digits := decimal_of(field):
        return f"DECIMAL({digits[0]},{digits[1]})"
    if field.type in _BIG:
        return "VARCHAR"
    if field.type not in _PLAIN:
        raise SourceError(
            f"the column {field.name!r} has the type {field.type}, which this version does not read; name the other "
            "columns in the option columns"
        )
    return _PLAIN[field.type]


def decimal_of(field: Field) -> tuple[int, int] | None:
    """Return the digits of a decimal column, and those after the point; `None` if no decimal of DuckDB holds its values."""
    if field.type in ("NUMERIC", "DECIMAL"):
        return _NUMERIC if field.precision is None else (field.precision, field.scale or 0)
    if field.type in _BIG and field.precision is not None and field.precision <= MOST_DIGITS:
        return field.precision, field.scale or 0
    return None


def texts_for_numbers(columns: Sequence[PlannedColumn]) -> list[str]:
    """Return the names of the columns whose numbers become texts because they have more than 38 digits."""
    return [one.name for one in columns if _has_big(one.field)]


def _has_big(field: Field) -> bool:
    return (field.type in _BIG and decimal_of(field) is None) or any(map(_has_big, field.fields))


def quoted(name: str) -> str:
    """Quote a name for GoogleSQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def is_cursor(field: Field) -> bool:
    """Return whether the values of a column have an order that an increment can follow."""
    return field.mode != "REPEATED" and field.type in (
        *("INTEGER", "INT64", "NUMERIC", "DECIMAL", "STRING", "DATE", "DATETIME", "TIMESTAMP"),
    )


def not_before(field: Field, cursor: Cursor, lag: str | None) -> str | None:
    """Return the condition that a column is not before a cursor minus a lag, or NULL; `None` if they can't be compared.

    Raises:
        SourceError: the lag does not fit the type of the column.
    """
    bound = _bound(field, str(cursor), lag)
    return None if bound is None else f"({quoted(field.name)} >= {bound} OR {quoted(field.name)} IS NULL)"


def _bound(field: Field, text: str, lag: str | None) -> str | None:
    is_time = field.type in _TIMES
    if lag is not None and (field.type == "STRING" or (lag[-1] in _SECONDS) != is_time):
        raise SourceError(
            f"the cursor column {field.name!r} has the type {field.type}, but its cursor_lag is {lag!r}; use a number such as "
            "100 for a number, and 90s, 15m, 2h or 3d for a time"
        )
    if field.type == "STRING":
        return text_literal(text)
    if not is_time:
        try:
            number = Decimal(text) - Decimal(lag or 0)
        except InvalidOperation:
            return None
        return f"{number:f}" if number.is_finite() else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    back = timedelta(seconds=float(lag[:-1]) * _SECONDS[lag[-1]]) if lag else timedelta()
    first = datetime(1, 1, 1)  # noqa: DTZ001 - as the moment
    return _time_literal(field.type, moment - back if moment - first > back else first)


@dataclass(frozen=True, slots=True)
class Condition:
    """A simple condition on a column: a comparison with a value, with several for `in`, or `is null` without one."""

    column: str
    operator: Operator
    value: "Value | tuple[Value, ...] | None" = None


def condition_on(field: Field, condition: Condition) -> str:
    """Return a condition in GoogleSQL.

    Raises:
        SourceError: the value can't be compared with the column.
    """
    if condition.operator in ("is null", "is not null"):
        return f"{quoted(field.name)} {condition.operator.upper()}"
    if isinstance(condition.value, tuple):
        listed = ", ".join(_literal(field, each) for each in condition.value)
        return f"{quoted(field.name)} IN ({listed})"
    return f"{quoted(field.name)} {condition.operator} {_literal(field, condition.value)}"


def pushed_down(field: Field, needed: Needed) -> str | None:
    """Return a condition of a statement in GoogleSQL; `None` if BigQuery might leave out rows for which it holds in DuckDB.

    The two differ where NaN is greatest in DuckDB, texts have a collation, or values are rounded.
    """
    kind = _PLAIN.get(field.type) or ("DECIMAL" if decimal_of(field) else None)
    if field.mode == "REPEATED" or kind is None:
        return None
    if needed.operator in ("is null", "is not null"):
        return condition_on(field, Condition(field.name, needed.operator))
    if kind == "DOUBLE" and needed.operator in (">", ">="):
        return None
    values = tuple(_comparable(field, kind, value) for value in needed.values)
    if not values or None in values:
        return None
    value = values if needed.operator == "in" else values[0]
    return condition_on(field, Condition(field.name, needed.operator, cast("Value", value)))


def _comparable(field: Field, kind: str, value: Value) -> Value | None:  # noqa: PLR0911 - one for each type
    """Return a value as one of the type of a column; `None` if comparing it needs another type."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if kind == "BOOLEAN":
        return value if isinstance(value, bool) else None
    if kind == "BIGINT":
        return value if is_number and isinstance(value, int) and -(2**63) <= value < 2**63 else None
    if kind == "DOUBLE":
        return value if is_number and abs(Decimal(str(value))) <= _EXACT else None
    if kind == "DECIMAL":
        number = Decimal(str(value)) if is_number else Decimal("NaN")
        fits = number.is_finite() and abs(number) < _MOST_NUMERIC and number == round(number, _NUMERIC[1])
        return value if fits else None
    if field.type == "STRING" and field.collation is None:
        return value if isinstance(value, str) and value.isprintable() else None
    if field.type in _TIMES and not is_number:
        return _moment(field.type, value)
    return None


def _moment(kind: str, value: Value) -> Value | None:
    """Return a text, date or time as one of the type DATE, DATETIME or TIMESTAMP (UTC)."""
    if isinstance(value, str):
        if not _WRITTEN.fullmatch(value):
            return None
        try:
            value = datetime.fromisoformat(value) if len(value) > _DAY_LENGTH else date.fromisoformat(value)
        except ValueError:
            return None
    if kind == "DATE":
        return None if isinstance(value, datetime) or not isinstance(value, date) else value
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - as the column
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if kind == "TIMESTAMP" else value


def _literal(field: Field, value: object) -> str:
    """Write a value as a literal of the type of a column."""
    kind = _PLAIN.get(field.type) or ("DECIMAL" if field.type in ("NUMERIC", "DECIMAL", *_BIG) else "")
    match value:
        case _ if field.mode == "REPEATED":
            pass
        case bool() if kind == "BOOLEAN":
            return str(value).upper()
        case Decimal() if kind == "DECIMAL":
            return f"NUMERIC '{value:f}'"  # a plain fraction would be a FLOAT64
        case int() | Decimal() if kind in ("BIGINT", "DOUBLE", "DECIMAL") and not isinstance(value, bool):
            return f"{Decimal(value):f}"
        case str() if field.type == "STRING":
            return text_literal(value)
        case datetime() if field.type in ("DATETIME", "TIMESTAMP") and (value.tzinfo is None) == (
            field.type == "DATETIME"
        ):
            return _time_literal(field.type, value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value)
        case date() if field.type == "DATE" and not isinstance(value, datetime):
            return f"DATE '{value.isoformat()}'"
    raise SourceError(
        f"the column {field.name!r} has the type {field.type}, and can't be compared with {value!r}; compare it in the query "
        "after reading"
    )


def text_literal(text: str) -> str:
    """Write a text as a literal of GoogleSQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def _time_literal(kind: str, moment: datetime) -> str:
    if kind == "DATE":
        return f"DATE '{moment.date().isoformat()}'"
    zone = "+00:00" if kind == "TIMESTAMP" else ""
    return f"{kind} '{moment.isoformat(sep=' ')}{zone}'"


def in_partition(partitioning: Partitioning, schema: Sequence[Field], partition: str) -> str:
    """Return the condition that a row is in a partition, given its id as in INFORMATION_SCHEMA.PARTITIONS.

    Raises:
        SourceError: the id is not one of this partitioning.
    """
    kind = next((field.type for field in schema if field.name == partitioning.column), "TIMESTAMP")
    column = "_PARTITIONTIME" if partitioning.column is None else quoted(partitioning.column)
    start, end, width = partitioning.range
    if partition == _NULLS or (partition == UNPARTITIONED and partitioning.unit):
        return f"{column} IS NULL"
    if partition == UNPARTITIONED:
        return f"({column} < {start} OR {column} >= {end})"
    if not partitioning.unit:
        if not re.fullmatch(r"-?\d+", partition):
            raise SourceError(f"{partition!r} is not a partition of a range of integers")
        return f"({column} >= {int(partition)} AND {column} < {int(partition) + width})"
    try:
        first = datetime.strptime(partition, _STAMPS[partitioning.unit])  # noqa: DTZ007 - in UTC, or local as the column
    except (ValueError, KeyError):
        raise SourceError(f"{partition!r} is not a partition by {partitioning.unit}") from None
    after = _next(first, partitioning.unit)
    upper = "" if after is None else f" AND {column} < {_time_literal(kind, after)}"
    return f"({column} >= {_time_literal(kind, first)}{upper})"


def _next(first: datetime, unit: str) -> datetime | None:
    """Return the beginning of the next partition; `None` after the last of the calendar."""
    try:
        match unit:
            case "HOUR":
                return first + timedelta(hours=1)
            case "DAY":
                return first + timedelta(days=1)
            case "MONTH":
                return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
            case _:
                return first.replace(year=first.year + 1)
    except (OverflowError, ValueError):
        return None


def selection(info: TableInfo, columns: Sequence[PlannedColumn], condition: str | None) -> str:
    """Return the query that reads some columns of a view or an external table."""
    listed = ", ".join(quoted(one.field.name) for one in columns)
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT {listed} FROM {quoted(f'{info.project}.{info.dataset}.{info.name}')}{where}"


def shown_value(value: object) -> Cursor:
    """Return the greatest value of a cursor column in the form in which it is stored."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    return None if value is None else str(value)


def greatest_shown(field: Field, shown: Iterable[str]) -> str | None:
    """Return the greatest of the values of a cursor column that `shown_value` returned."""
    if field.type in ("INTEGER", "INT64", "NUMERIC", "DECIMAL"):
        return max(shown, key=Decimal, default=None)
    return max(shown, default=None)
