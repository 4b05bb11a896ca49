"""The columns of a table: their names, their types without loss, and the SQL that reads their values.

Types come from the definition of a typed table, else from metadata, of which several providers may set differently:
a person's are preferred, then those of Keboola's own services in the order of the older system, then the newest. An
untyped table has only text; a value that does not fit the column's type without loss is counted, not guessed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from analyst.catalog import Column
from analyst.connectors.keboola.api import Entry, TableInfo, description_in
from analyst.connectors.unique_names import column_names
from analyst.errors import InvalidInputError, SourceError
from analyst.types import MOMENTS, in_years

SchemaChanges = Literal["evolve", "freeze", "discard"]

_PREFERRED: Final = ("user", "ai-metadata-enrichment", "keboola.snowflake-transformation")
_DATATYPE: Final = "KBC.datatype."
_TEXTS: Final = (
    *("STRING", "VARCHAR", "TEXT", "CHAR", "CHARACTER", "CHAR VARYING", "NCHAR", "NVARCHAR", "NVARCHAR2", "BPCHAR"),
    *("VARIANT", "OBJECT", "ARRAY", "JSON", "STRUCT", "GEOGRAPHY", "GEOMETRY", "VECTOR", "TIME", "UUID", "INTERVAL"),
)
_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(_TEXTS, "STRING"),
    **dict.fromkeys(("INTEGER", "INT", "BIGINT", "SMALLINT", "TINYINT", "BYTEINT", "MEDIUMINT", "INT64"), "INTEGER"),
    **dict.fromkeys(("NUMERIC", "NUMBER", "DECIMAL", "BIGNUMERIC", "BIGDECIMAL", "DEC"), "NUMERIC"),
    **dict.fromkeys(("FLOAT", "FLOAT4", "FLOAT8", "FLOAT64", "DOUBLE", "DOUBLE PRECISION", "REAL"), "FLOAT"),
    **dict.fromkeys(("BOOLEAN", "BOOL"), "BOOLEAN"),
    "DATE": "DATE",
    **dict.fromkeys(
        ("TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_TZ", "TIMESTAMP_LTZ", "DATETIME", "TIMESTAMPTZ"), "TIMESTAMP"
    ),
    **dict.fromkeys(("BINARY", "VARBINARY", "BYTES"), "BINARY"),
}
_INSTANTS: Final = ("TIMESTAMP_TZ", "TIMESTAMP_LTZ", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")
INSTANT: Final = "TIMESTAMP WITH TIME ZONE"
_MOST_DIGITS: Final = 38
_LENGTH: Final = re.compile(r"\s*(\d+)\s*(?:,\s*(\d+)\s*)?")
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_CHOSEN: Final = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)")
_CHOICES: Final[Mapping[str, str]] = {
    **{name: name for name in ("VARCHAR", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE", "DATE")},
    **dict.fromkeys(("TEXT", "STRING"), "VARCHAR"),
    **dict.fromkeys(("INT", "INT4"), "INTEGER"),
    **dict.fromkeys(("INT64", "INT8", "LONG"), "BIGINT"),
    **dict.fromkeys(("BOOL",), "BOOLEAN"),
    **dict.fromkeys(("FLOAT", "FLOAT64", "FLOAT8"), "DOUBLE"),
    **dict.fromkeys(("TIMESTAMP", "DATETIME", "TIMESTAMP_NTZ"), "TIMESTAMP"),
    **dict.fromkeys((INSTANT, "TIMESTAMPTZ", "TIMESTAMP_TZ", "TIMESTAMP_LTZ"), INSTANT),
    "BLOB": "BLOB",
}


def chosen_type(text: str) -> str:
    """Return the name of a type that an administrator chose for a column.

    Raises:
        InvalidInputError: values can't be read as this type.
    """
    plain = " ".join(text.strip().upper().split())
    if found := _CHOSEN.fullmatch(plain):
        digits, places = int(found[1]), int(found[2] or 0)
        if 1 <= digits <= _MOST_DIGITS and places <= digits:
            return f"DECIMAL({digits},{places})"
    elif plain in _CHOICES:
        return _CHOICES[plain]
    known = ", ".join(dict.fromkeys(_CHOICES.values()))
    raise InvalidInputError(f"'{text}' is not a type that Keboola's values can have; use {known} or DECIMAL(38,9)")


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A column that is read. `original` is Keboola's own name.

    `is_strict`: all values must fit the type, because the table is typed. `has_nulls`: an empty text may stand for NULL.
    """

    original: str
    name: str
    type: str
    is_strict: bool = False
    has_nulls: bool = False
    description: str | None = None

    @property
    def column(self) -> Column:
        """Return the column as it is published; its description is Keboola's, else its own name there."""
        description = self.description or (None if self.original == self.name else self.original)
        return Column(name=self.name, type=self.type, description=description)


def planned_columns(
    info: TableInfo, wanted: Sequence[str] = (), types: Mapping[str, str] | None = None, key: Sequence[str] = ()
) -> tuple[PlannedColumn, ...]:
    """Return the columns to read, in the order of the table: all, or those `wanted` and the `key`, by either name.

    `types` are those that an administrator chose, by published name.

    Raises:
        SourceError: a wanted column does not exist.
    """
    names = column_names(info.columns)
    chosen = types or {}
    by_either = {**{name: original for original, name in names.items()}, **{original: original for original in names}}
    for column in [*wanted, *chosen]:
        if column not in by_either:
            raise SourceError(
                f"the table {info.id!r} has no column {column!r}; correct the table's options; its columns are "
                f"{', '.join(info.columns)}"
            )
    read = {by_either[column] for column in wanted} | ({by_either[column] for column in key if column in by_either})
    overridden = {by_either[column]: kind for column, kind in chosen.items()}
    return tuple(
        _planned(info, original, name, overridden.get(original))
        for original, name in names.items()
        if not wanted or original in read
    )


def _planned(info: TableInfo, original: str, name: str, chosen: str | None) -> PlannedColumn:
    entries = info.column_metadata.get(original, ())
    description = description_in(entries)
    defined = next((column for column in info.definition if column.name == original), None)
    if defined is not None:
        kind = _type_of(defined.basetype, defined.type, defined.length, info.backend, is_typed=True)
        return PlannedColumn(
            original,
            name,
            chosen or kind,
            is_strict=True,
            has_nulls=defined.is_nullable,
            description=description,
        )
    preferred = _preferred(entries)
    kind = _type_of(
        preferred.get("basetype"), preferred.get("type", ""), preferred.get("length"), info.backend, is_typed=False
    )
    return PlannedColumn(original, name, chosen or kind, description=description)


def _preferred(entries: Sequence[Entry]) -> Mapping[str, str]:
    """Return what the preferred provider says about the datatype of a column, by the last part of its keys."""
    found: dict[str, dict[str, str]] = {}
    newest: dict[str, datetime] = {}
    for entry in sorted(entries, key=lambda one: one.moment):
        if entry.key.startswith(_DATATYPE):
            found.setdefault(entry.provider, {})[entry.key.removeprefix(_DATATYPE)] = entry.value
            newest[entry.provider] = entry.moment
    usable = [provider for provider, fields in found.items() if fields.get("basetype") or fields.get("type")]
    ordered = [provider for provider in _PREFERRED if provider in usable]
    best = ordered[0] if ordered else max(usable, key=lambda provider: newest[provider], default=None)
    return {} if best is None else found[best]


def _type_of(basetype: str | None, type_: str, length: str | None, backend: str, *, is_typed: bool) -> str:
    """Return the DuckDB type that holds all values of a type of Keboola without loss.

    The base type determines the family. Snowflake's integers are NUMBER(38,0). Lengths of other integers, such as
    MySQL's `int(11)`, are widths of display.
    """
    own = type_.strip().upper()
    family = _FAMILIES.get((basetype or "").strip().upper()) or _FAMILIES.get(own.split("(")[0].strip())
    is_bigquery = backend == "bigquery"
    if is_typed and _FAMILIES.get(own) == "BINARY":
        return "BLOB"
    if family == "INTEGER":
        return "BIGINT" if own == "INT64" or (is_bigquery and is_typed) else "DECIMAL(38,0)"
    if family == "NUMERIC":
        return _decimal(own, length, is_bigquery=is_bigquery, is_typed=is_typed)
    if family == "TIMESTAMP":
        return INSTANT if own in _INSTANTS or (is_bigquery and own == "TIMESTAMP") else "TIMESTAMP"
    return {"FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN", "DATE": "DATE"}.get(family or "", "VARCHAR")


def _decimal(own: str, length: str | None, *, is_bigquery: bool, is_typed: bool) -> str:
    if found := _LENGTH.fullmatch(length or ""):
        digits, places = int(found[1]), int(found[2] or 0)
        return f"DECIMAL({digits},{places})" if 1 <= digits <= _MOST_DIGITS and places <= digits else "VARCHAR"
    if own in ("BIGNUMERIC", "BIGDECIMAL"):  # 76 digits, which no decimal of DuckDB holds
        return "VARCHAR"
    return "DECIMAL(38,0)" if is_typed and not is_bigquery else "DECIMAL(38,9)"


@dataclass(frozen=True, slots=True)
class Value:
    """How a value is read: `exists` is the SQL condition that there is one, `if_fit` its SQL, NULL if it does not fit.

    Without `exists`, every value fits.
    """

    if_fit: str
    exists: str | None = None

    @property
    def lenient(self) -> str:
        """Return the SQL of the value, which is NULL if it does not fit."""
        return self.if_fit if self.exists is None else f"case when {self.exists} then {self.if_fit} end"

    def strict(self, text: str) -> str:
        """Return the SQL of the value, which fails with a text (SQL) if it does not fit."""
        if self.exists is None:
            return self.if_fit
        return f"case when {self.exists} then coalesce({self.if_fit}, error({text})) end"

    @property
    def misfit(self) -> str | None:
        """Return the SQL of whether there is a value that does not fit; `None` if there can't be."""
        return None if self.exists is None else f"{self.exists} and {self.if_fit} is null"


def value_of(column: PlannedColumn, source: str, kind: str, backend: str) -> Value:
    """Return how a value of a column is read from a column of a file, given as quoted SQL, of a type.

    The SQL is safe: it consists of quoted names and of types that this module spells.
    """
    if kind == "VARCHAR":
        return (
            Value(source)
            if column.type == "VARCHAR"
            else Value(_parsed(column.type, source, backend), f"{source} <> ''")
        )
    if kind == column.type:
        if kind not in MOMENTS:
            return Value(source)
        return Value(f"case when {in_years(source, kind)} then {source} end", f"{source} is not null")
    if kind == "BLOB" and column.type == "VARCHAR":  # parquet text that its writer did not annotate
        return Value(f"try(decode({source}))", f"{source} is not null")
    cast = f"try_cast({source} as {column.type})"
    if column.type == "VARCHAR":
        return Value(cast)
    fits = f"try_cast({cast} as {kind}) = {source}"
    if column.type in MOMENTS:
        fits += f" and {in_years(cast, column.type)}"
    return Value(f"case when {fits} then {cast} end", f"{source} is not null")


def _parsed(kind: str, text: str, backend: str) -> str:
    """Return the SQL of the value of a text, which is NULL unless it represents the text without loss.

    DuckDB rounds numbers, drops offsets and digits of times, and knows words such as epoch, without an error.
    """
    if (found := _DECIMAL.fullmatch(kind)) or kind in _WHOLE:
        return _number(kind, text, *map(int, found.groups() if found else (0, 0)))
    cast, begins = f"try_cast({text} as {kind})", f"{text} between '-' and ':'"
    spelled = rf"regexp_replace({text}, ' ?([+-][0-9]{{2}}):?([0-9]{{2}})$', '\1:\2')"
    is_short = f"length({text}) <= 26 or length(rtrim(regexp_extract({text}, '[.]([0-9]+)', 1), '0')) <= 6"
    is_local = f"regexp_matches(substr({text}, 12), '^[0-9:. ]*(Z|[+-]00(:?00)?)?$')"
    exact = {
        "DOUBLE": f"(isfinite({cast}) or regexp_matches({text}, '^ *[-+]?(inf|nan)', 'i')) and not contains({text}, '_')",
        "DATE": f"{begins} and (length({text}) <= 10 or try_cast({text} as timestamp) = {cast})",
        "TIMESTAMP": f"{begins} and (length({text}) <= 19 or {is_local} and ({is_short}))",
        INSTANT: f"{begins} and ({is_short})",
    }
    made = {
        INSTANT: f"try_cast({spelled} as {kind})",
        "BLOB": f"try({'from_base64' if backend == 'bigquery' else 'unhex'}({text}))",
    }
    value = made.get(kind, cast)
    if kind in MOMENTS:
        exact[kind] += f" and {in_years(value, kind)}"
    return f"case when {exact[kind]} then {value} end" if kind in exact else value


_WHOLE: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")


def _number(kind: str, text: str, digits: int, places: int) -> str:
    """Return the SQL of a number that has no more digits after the point than `places`, but for zeros.

    DuckDB takes 200 times as long to cast a text to a decimal of 38 digits as to one that fits 64 bits.
    """
    cast = f"try_cast({text} as {kind})"
    if digits > 18 >= places:  # noqa: PLR2004 - the digits of 64 bits
        small = "BIGINT" if not places else f"DECIMAL(18,{places})"
        cast = f"coalesce(try_cast({text} as {small})::{kind}, {cast})"
    plain = f"regexp_full_match({text}, ' *[-+]?[0-9]*([.][0-9]{{0,{places}}}0*)? *')"
    with_exponent = (
        f"not contains({text}, '_') and contains(lower({text}), 'e') and try_cast({text} as double) = {cast}::double"
    )
    return f"case when {plain} then {cast} when {with_exponent} then {cast} end"


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """What changed in the columns of a table since it was published."""

    new: tuple[str, ...]
    dropped: tuple[str, ...]
    retyped: tuple[tuple[str, str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.new or self.dropped or self.retyped)

    def __str__(self) -> str:
        parts = [f"new: {', '.join(self.new)}"] if self.new else []
        parts += [f"dropped: {', '.join(self.dropped)}"] if self.dropped else []
        parts += [
            f"changed type: {', '.join(f'{name} from {old} to {new}' for name, old, new in self.retyped)}"
        ] * bool(self.retyped)
        return "; ".join(parts)


def schema_change(planned: Sequence[PlannedColumn], published: Sequence[Column]) -> SchemaChange:
    """Compare the columns to read with those that are published; nothing changed if none is."""
    if not published:
        return SchemaChange((), (), ())
    old, new = {column.name: column.type for column in published}, {column.name: column.type for column in planned}
    return SchemaChange(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple((name, old[name], kind) for name, kind in new.items() if name in old and old[name] != kind),
    )


def as_published(
    planned: Sequence[PlannedColumn], published: Sequence[Column], mode: SchemaChanges, table: str
) -> tuple[PlannedColumn, ...]:
    """Return the columns to read, given those that are published, by the table's rule for schema changes.

    Raises:
        SourceError: the schema is frozen and has changed; the message lists every change.
    """
    change = schema_change(planned, published)
    if not change or mode == "evolve":
        return tuple(planned)
    if mode == "freeze":
        raise SourceError(
            f"the columns of {table!r} have changed, and its schema is frozen ({change}); the published rows stay; set "
            "schema_changes to evolve or discard, or correct the table in Keboola"
        )
    old = {column.name: column.type for column in published}
    return tuple(
        PlannedColumn(
            one.original,
            one.name,
            old[one.name],
            one.is_strict and one.type == old[one.name],
            one.has_nulls,
            one.description,
        )
        for one in planned
        if one.name in old
    )


def missing_columns(planned: Sequence[PlannedColumn], published: Sequence[Column]) -> tuple[Column, ...]:
    """Return published columns that are no longer read."""
    names = {one.name for one in planned}
    return tuple(column for column in published if column.name not in names)
