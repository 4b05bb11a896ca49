"""Values of the Storage Read API as they are published; those whose types parquet, Delta or DuckDB lack become texts.

Imported by the process that reads only, because of pyarrow.
"""

from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import compute

from analyst.connectors.bigquery.api import Field
from analyst.connectors.bigquery.columns import decimal_of


def converted(array: Any, field: Field) -> Any:  # noqa: PLR0911 - one for each type
    """Return an array of a column of a type as an array of the type under which it is published.

    Raises:
        ArrowInvalid: a value does not fit.
    """
    if field.mode == "REPEATED":
        return _list(array, field)
    if field.type in ("RECORD", "STRUCT"):
        return _struct(array, field.fields)
    if field.type == "RANGE":
        bounds = tuple(Field(name, field.element or "STRING") for name in ("start", "end"))
        return _struct(array, bounds)
    if pa.types.is_decimal(array.type):
        return _decimal(array, field)
    if pa.types.is_time(array.type):
        return _trimmed(array.cast(pa.string()))
    if pa.types.is_interval(array.type):
        return pa.array([_interval(value) for value in array.to_pylist()], pa.string())
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp("us", array.type.tz and "UTC"))
    if pa.types.is_large_string(array.type) or pa.types.is_dictionary(array.type):
        return array.cast(pa.string())
    return array


def _list(array: Any, field: Field) -> Any:
    """Convert the values of lists; an empty one stays empty."""
    one = Field(
        field.name, field.type, precision=field.precision, scale=field.scale, fields=field.fields, element=field.element
    )
    plain = array.cast(pa.list_(array.type.value_type)) if not pa.types.is_list(array.type) else array
    values = converted(plain.values, one)
    made = pa.ListArray.from_arrays(plain.offsets, values)
    return made if not plain.null_count else pa.ListArray.from_arrays(_offsets(plain), values)


def _offsets(array: Any) -> Any:
    """Return the offsets of a list array, in which NULL marks a list that is NULL."""
    missing = compute.is_null(array)
    ends = pa.concat_arrays([missing, pa.array([False])])
    return compute.if_else(ends, pa.scalar(None, pa.int32()), array.offsets)


def _struct(array: Any, fields: tuple[Field, ...]) -> Any:
    members = [converted(member, field) for member, field in zip(_members(array), fields, strict=True)]
    named = [pa.field(field.name, member.type) for field, member in zip(fields, members, strict=True)]
    mask = compute.is_null(array) if array.null_count else None
    return pa.StructArray.from_arrays(members, fields=named, mask=mask)


def _members(array: Any) -> list[Any]:
    """Return the members of a struct array; those of a slice begin with its first row."""
    return [array.field(number).slice(0, len(array)) for number in range(array.type.num_fields)]


def _decimal(array: Any, field: Field) -> Any:
    digits = decimal_of(field)
    if digits is not None:
        return array.cast(pa.decimal128(*digits))
    texts = array.cast(pa.string())
    if compute.any(compute.match_substring(texts, "E")).as_py():  # Arrow writes small numbers with an exponent
        return pa.array([None if text is None else _plain(text) for text in texts.to_pylist()], pa.string())
    return _trimmed(texts)


def _plain(text: str) -> str:
    shown = f"{Decimal(text):f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _trimmed(texts: Any) -> Any:
    """Remove the zeros at the end of a fraction, and a point without one."""
    shorter = compute.replace_substring_regex(texts, r"(\.[0-9]*?)0+$", r"\1")
    return compute.replace_substring_regex(shorter, r"\.$", "")


def _interval(value: Any) -> str | None:
    """Write an interval as BigQuery does: `Y-M D H:M:S.F`."""
    if value is None:
        return None
    months, days, nanoseconds = value
    micros = abs(nanoseconds) // 1000
    seconds, fraction = divmod(micros, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    years, month = divmod(abs(months), 12)
    shown = f"{fraction:06}".rstrip("0")
    year_sign, sign = "-" if months < 0 else "", "-" if nanoseconds < 0 else ""
    return f"{year_sign}{years}-{month} {days} {sign}{hours}:{minute}:{second}{f'.{shown}' if shown else ''}"
