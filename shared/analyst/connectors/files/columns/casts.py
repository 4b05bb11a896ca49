"""Lossless casts of text: each is an SQL value, and the condition under which the text fits it.

DuckDB's own casts are generous: '5.7' becomes the integer 6, '007' becomes 7, a time zone is dropped. So a text is cast
only where the value provably stands for exactly that text; anything else widens the column or fails the table.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from analyst.errors import InvalidInputError
from analyst.names import quote, quote_text

_BOOLEANS = ("true", "false", "True", "False", "TRUE", "FALSE")
_PLAIN = r"-?(?:0|[1-9][0-9]{0,14})?(?:\.[0-9]*)?"
_NUMBER = rf"{_PLAIN}|-?[0-9](?:\.[0-9]*)?[eE][+-]?(?:[0-9]{{1,2}}|[12][0-9]{{2}})"
_NOT_A_NUMBER = "nan|NaN|-?[iI]nf"
_NOT_DIGITS = r"^-|\.|[eE].*$"
_DAY = "(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}/[0-9]{2}/[0-9]{2})"
_TIME = r"[ T](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6}0*)?)?"
_ZONE = " ?(?:Z|UTC|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)"
_LOOSE_DAY = r"\s*[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"  # DuckDB reads 12/11/10 as a day of the year 12
_LOOSE_TIME = r"[ T]\s*[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6}0*)?)?"
_EXACT_DIGITS = 15
"""The number of digits up to which every decimal number survives the conversion to a double and back."""


@dataclass(frozen=True, slots=True)
class Cast:
    """A type, the SQL `value` of the type that a text becomes, and the SQL condition that the text `fits`.

    `{c}` stands for the text, and in `fits` `{v}` for the value. `quick` are conditions under which the text fits, with the
    SQL of the value then; they cost less and are examined first. `gap` is the condition that there is no text: then the
    value is NULL. `some` is a condition that at least one text of the column must meet before the type is inferred. A
    type `is_known` if the column already has it, with or without a text.
    """

    type: str
    value: str
    fits: str
    gap: str = "coalesce({c} = '', true)"
    some: str = "true"
    is_known: bool = False
    quick: tuple[tuple[str, str], ...] = ()

    @property
    def takes_all(self) -> bool:
        """Whether every text fits."""
        return self.fits == "true"

    def value_of(self, column: str) -> str:
        """Return the SQL of the value of a column."""
        return self.value.replace("{c}", quote(column))

    def gap_of(self, column: str) -> str:
        """Return the SQL condition that a column has no text; never NULL."""
        return self.gap.replace("{c}", quote(column))

    def fits_of(self, column: str) -> str:
        """Return the SQL condition that a column's text fits, or that there is none; never NULL."""
        if self.takes_all:
            return "true"
        cases = " ".join(f"when {fits} then true" for fits, _value in self._cases(column, self.value_of(column)))
        return f"(case {cases} else {self.gap_of(column)} end)"

    def some_of(self, column: str) -> str:
        """Return the SQL condition that a text suggests the type; never NULL."""
        return f"coalesce({self.some.replace('{c}', quote(column))}, false)"

    def checked(self, column: str, failure: str, value: str | None = None) -> str:
        """Return the SQL of the value of a column, which fails the query with the error `failure` where a text does not fit.

        `value` is the SQL of a value that was computed before: DuckDB computes an expression at every occurrence.
        """
        value = value or self.value_of(column)
        if self.takes_all:
            return value
        cases = " ".join(f"when {fits} then {kept}" for fits, kept in self._cases(column, value))
        return f"case {cases} when {self.gap_of(column)} then null else error({quote_text(failure)}) end"

    def without_blanks(self) -> "Cast":
        """Return the cast for texts among which the empty one is a value like any other, as in JSON."""
        return replace(self, gap="({c} is null)")

    def _cases(self, column: str, value: str) -> Iterator[tuple[str, str]]:
        """Yield the conditions that the text fits, cheapest first, with the value.

        In a `case`, DuckDB examines each only for the rows that are left, and always in this order; with `or`, it tries
        other orders. A list of constants after `in` would be a join, which examines all rows.
        """
        for pair in (*self.quick, (self.fits, "{v}")):
            fits, kept = (sql.replace("{v}", value).replace("{c}", quote(column)) for sql in pair)
            yield fits, kept


def _between(type_name: str) -> str:
    """Accept only the years that every reader of parquet supports: 1 to 9999, and no infinity."""
    return f"{{v}} between {type_name} '0001-01-01' and {type_name} '9999-12-31 23:59:59.999999'"


_SAME_TEXT = "cast({v} as varchar) = {c}"
_NEVER = "false"


def _matches(pattern: str, text: str = "{c}") -> str:
    return f"regexp_full_match({text}, {quote_text(pattern)})"


def _boolean() -> Cast:
    """Cast booleans without DuckDB's cast, which costs more than comparing texts."""
    quick = tuple((f"{{c}} = '{text}'", text.lower()) for text in _BOOLEANS)
    return Cast("BOOLEAN", "try_cast({c} as boolean)", _NEVER, quick=quick)


def _bigint() -> Cast:
    # of a column with gaps, every vector meets one condition as a whole
    return Cast("BIGINT", "try_cast({c} as bigint)", "cast({v} as varchar) is not distinct from {c}")


def _big() -> Cast:
    """Cast whole numbers of up to 38 digits; those that fit a BIGINT are cast by way of it, which is 100 times faster."""
    value = "coalesce(cast(try_cast({c} as bigint) as decimal(38,0)), try_cast({c} as decimal(38,0)))"
    return Cast("DECIMAL(38,0)", value, _matches("-?[1-9][0-9]{17,37}"), quick=((_SAME_TEXT, "{v}"),))


def _double(number: str) -> Cast:
    """Cast a number whose text can be recovered from the double: in its shortest form, or printed with 15 to 17 digits.

    DuckDB writes a double as JSON three times as fast as it casts it to text, with the same digits.
    """
    digits = _digits(number)
    widest, wide = _digits("format('{:.16e}', {v})"), _digits("format('{:.15e}', {v})")
    kept = f"(length({digits}) <= {_EXACT_DIGITS} or {digits} = {widest} or {digits} = {wide})"
    printed = f"cast(to_json({{v}}) as varchar) = {number} and isfinite({{v}})"
    short = f"strlen({{c}}) <= {_EXACT_DIGITS} and {_matches(_PLAIN, number)} and {{v}} is not null"
    same = f"(cast({{v}} as varchar) = {number} or cast({{v}} as varchar) = {number} || '.0')"
    long = f"(({same} or {_matches(_NUMBER, number)} and {kept}) and isfinite({{v}}))"
    return Cast(
        "DOUBLE",
        f"try_cast({number} as double)",
        f"({long} or {_matches(_NOT_A_NUMBER)})",
        quick=((printed, "{v}"), (short, "{v}")),
        some="regexp_matches({c}, '[0-9]')",
    )


def _digits(number: str) -> str:
    """Return the SQL of the significant digits of a number's text."""
    return f"trim(regexp_replace({number}, {quote_text(_NOT_DIGITS)}, '', 'g'), '0')"


def _date() -> Cast:
    return _moment("DATE", "try_cast({c} as date)", _matches(_DAY), _between("date"))


def _timestamp() -> Cast:
    return _moment("TIMESTAMP", "try_cast({c} as timestamp)", _matches(f"{_DAY}(?:{_TIME})?"), _between("timestamp"))


def _moment(name: str, value: str, shape: str, between: str) -> Cast:
    return Cast(name, value, f"({shape} and {between})", quick=((f"{_SAME_TEXT} and {between}", "{v}"),))


def _instant() -> Cast:
    return _instants(f"{_DAY}{_TIME}{_ZONE}")


def _instants(shape: str) -> Cast:
    # without the text of the value: of one beyond the calendar, DuckDB's cast fails
    fits = f"({_matches(shape)} and {_between('timestamptz')})"
    return Cast("TIMESTAMP WITH TIME ZONE", "try_cast({c} as timestamptz)", fits)


def _number(decimal_separator: str) -> str:
    """Return the SQL of a text with its decimal separator as a point; a point beside another separator makes it invalid."""
    return "{c}" if decimal_separator == "." else f"translate({{c}}, {quote_text(decimal_separator + '.')}, '.x')"


VARCHAR = Cast("VARCHAR", "{c}", "true")


def candidates(decimal_separator: str = ".") -> tuple[Cast, ...]:
    """Return the types that are inferred, narrowest first; the last one holds everything."""
    return (
        _boolean(),
        _bigint(),
        _big(),
        _double(_number(decimal_separator)),
        _date(),
        _timestamp(),
        _instant(),
        VARCHAR,
    )


_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_ALIASES = {
    "INT": "INTEGER",
    "LONG": "BIGINT",
    "STRING": "VARCHAR",
    "TEXT": "VARCHAR",
    "BOOL": "BOOLEAN",
    "REAL": "FLOAT",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
}
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*([0-9]{1,2})\s*(?:,\s*([0-9]{1,2})\s*)?\)")
_MAX_DIGITS = 38


def type_name(text: str) -> str:
    """Return the canonical name of a type that can be configured.

    Raises:
        InvalidInputError: it is not one of them.
    """
    name = " ".join(text.upper().split())
    if decimal := _DECIMAL.fullmatch(name):
        digits, scale = int(decimal[1]), int(decimal[2] or 0)
        if 1 <= digits <= _MAX_DIGITS and scale <= digits:
            return f"DECIMAL({digits},{scale})"
    name = _ALIASES.get(name, name)
    if name in _CONFIGURED or name in _WHOLE:
        return name
    known = ", ".join([*_WHOLE, "DECIMAL(p,s)", *_CONFIGURED])
    raise InvalidInputError(f"'{text}' is not a column type; available: {known}")


def configured(type_text: str, decimal_separator: str = ".") -> Cast:
    """Return the cast to a configured type: every spelling of a value of that type fits, and nothing is rounded."""
    name, number = type_name(type_text), _number(decimal_separator)
    if name in _WHOLE:
        return _scaled(name, 0, number)
    if name.startswith("DECIMAL"):
        return _scaled(name, int(name.rstrip(")").split(",")[1]), number)
    cast = _CONFIGURED[name]
    return replace(cast, value=cast.value.replace("{n}", number), fits=cast.fits.replace("{n}", number))


def _scaled(name: str, scale: int, number: str) -> Cast:
    shape = _matches(rf"\s*[+-]?[0-9]*(?:\.[0-9]{{0,{scale}}}0*)?\s*", number)
    # DuckDB reads a sign before a space as 0
    fits = f"({{v}} is not null and {shape} and regexp_matches({{c}}, '[0-9]'))"
    return Cast(name, f"try_cast({number} as {name})", fits, quick=((_SAME_TEXT, "{v}"),))


def _floating(name: str, digits: int, smallest: str) -> Cast:
    """Cast a number in any spelling if the type keeps its digits: numbers of so few `digits`, and those that it prints.

    Below the `smallest` normal number the type keeps fewer digits.
    """
    shape = _matches(r"(?i)\s*[+-]?(?:[0-9]*\.?[0-9]*(?:e[+-]?[0-9]+)?|nan|inf|infinity)\s*", "{n}")
    own = _significant("{n}")
    printed = [_significant(f"format('{{:.{places}e}}', {{v}})") for places in (digits + 1, digits + 2)]
    same = " or ".join(f"{own} = {one}" for one in (_significant("cast({v} as varchar)"), *printed))
    kept = f"(length({own}) <= {digits} and (abs({{v}}) >= {smallest} or {own} = '') or {same})"
    number = f"(isfinite({{v}}) and {kept} or {_matches('(?i).*n.*', '{n}')} and not isfinite({{v}}))"
    return Cast(name, f"try_cast({{n}} as {name})", f"({{v}} is not null and {shape} and {number})")


def _significant(number: str) -> str:
    """Return the SQL of the significant digits of a number in any spelling."""
    return f"trim(regexp_replace({number}, '[eE].*$|[^0-9]', '', 'g'), '0')"


def _loose(name: str, short: str, shape: str) -> Cast:
    return _moment(name, f"try_cast({{c}} as {short})", _matches(shape), _between(short))


_CONFIGURED = {
    "BOOLEAN": Cast("BOOLEAN", "try_cast({c} as boolean)", "{v} is not null"),
    "FLOAT": _floating("FLOAT", 6, "1.2e-38"),
    "DOUBLE": _floating("DOUBLE", 15, "2.3e-308"),
    "DATE": _loose("DATE", "date", rf"{_LOOSE_DAY}(?:[ T]0?0:00(?::00(?:\.0*)?)?(?:{_ZONE})?)?\s*"),
    "TIMESTAMP": _loose("TIMESTAMP", "timestamp", rf"{_LOOSE_DAY}(?:{_LOOSE_TIME})?\s*"),
    "TIMESTAMP WITH TIME ZONE": _instants(rf"{_LOOSE_DAY}(?:{_LOOSE_TIME}(?:{_ZONE})?)?\s*"),
    "VARCHAR": VARCHAR,
}
