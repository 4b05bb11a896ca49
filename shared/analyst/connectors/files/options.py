"""The options of a source of files, for all its tables and for one."""

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from analyst.connectors.files.columns import casts
from analyst.contract import cursors
from analyst.errors import InvalidInputError
from analyst.names import name_of

_SPELLED = {"\\t": "\t", "tab": "\t", "\\x1f": "\x1f"}

_MAX_DELIMITER = 4


def _one_character(text: str) -> str:
    text = _SPELLED.get(text, text)
    if len(text) != 1 or not text.isascii() or text in "\r\n\x00":
        raise ValueError("must be one ASCII character, and not a line break")
    return text


def _quote(text: str) -> str:
    return text and _one_character(text)


def _few_characters(text: str) -> str:
    text = _SPELLED.get(text, text)
    if not 1 <= len(text) <= _MAX_DELIMITER or not text.isascii() or set(text) & set("\r\n\x00"):
        raise ValueError(f"must be 1 to {_MAX_DELIMITER} ASCII characters, without line breaks")
    return text


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _known_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name)
        "".encode(found.name)
    except (LookupError, ValueError):
        raise ValueError(f"is not a known encoding: '{name}'; examples: utf-8, windows-1250, latin-1, utf-16") from None
    return found.name


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _known_lag(text: str) -> str:
    try:
        return cursors.lag(text)
    except InvalidInputError as error:
        raise ValueError(f"can't be used: {error}") from None


def _normalised(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name_of(name) for name in names)


def _known_types(types: dict[str, str]) -> dict[str, str]:
    try:
        return {name_of(column): casts.type_name(kind) for column, kind in types.items()}
    except InvalidInputError as error:
        raise ValueError(f"can't be used: {error}") from None


Character = Annotated[str, AfterValidator(_one_character)]
Delimiter = Annotated[str, AfterValidator(_few_characters)]


class CsvOptions(BaseModel):
    """How files are read. Options that are not set are detected, or have the values of RFC 4180.

    Options can name columns by their originals or their names. `delimiter`: up to 4 characters; detected by default.
    `quote`: the character around quoted values; an empty string turns quoting off. `escape`: the character that escapes
    quotes in quoted values; by default, quotes are doubled. `header`: whether the first line has the names of the
    columns. `skip`: the number of lines before the header. `comment`: the character with which ignored lines start.
    `row_names`: every row has one more value than the header, a name at its start. `trailing_delimiter`: every row ends
    with a delimiter that the header does not have. `stray_quotes`: whether a row that is ambiguous because of quotes
    inside unquoted values is an error, or such quotes are taken literally. `rename_duplicates`: columns of the same
    name are numbered. `names`: the names of the columns, for files without a header. `nullstr`: the strings that mean
    NULL, quoted or not, instead of the unquoted empty string. `types`: types of columns, instead of inferred ones, such
    as {"id": "VARCHAR"}. `encoding`: detected by default. `decimal_separator`: the decimal separator of numbers.
    `on_error`: whether a malformed row fails the table, or malformed rows are collected and counted. `primary_key`: the
    columns that identify a row. `sync_strategy`: whether each sync reads the table as a whole, or only new rows.
    `cursor_column`: a column that grows, such as a time of change, by which an increment finds new rows. `cursor_lag`:
    how far before the cursor an increment begins, for rows that arrive late, such as 2h, or 100 for a number.
    `cluster_by`: columns by which an incremental table is sorted before its primary key. `stable_files`: a full refresh
    of similar data keeps the files of unchanged rows, at the price of writing the table twice. `allow_fewer`: the table
    may lose many of its files, or many or all of its rows, at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    delimiter: Delimiter | None = None
    quote: Annotated[str, AfterValidator(_quote)] = '"'
    escape: Character | None = None
    header: bool = True
    skip: Annotated[int, Field(ge=0)] = 0
    comment: Character | None = None
    row_names: bool = False
    trailing_delimiter: bool = False
    stray_quotes: Literal["error", "literal"] = "error"
    rename_duplicates: bool = False
    names: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    nullstr: Annotated[tuple[str, ...], BeforeValidator(_several)] | None = None
    types: Annotated[dict[str, str], AfterValidator(_known_types)] = {}
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    decimal_separator: Literal[".", ","] = "."
    on_error: Literal["fail", "collect"] = "fail"
    primary_key: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_normalised)] = ()
    sync_strategy: Literal["full_refresh", "incremental"] = "full_refresh"
    cursor_column: Annotated[str, AfterValidator(name_of)] | None = None
    cursor_lag: Annotated[str, BeforeValidator(_as_text), AfterValidator(_known_lag)] | None = None
    cluster_by: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_normalised)] = ()
    stable_files: bool = False
    allow_fewer: bool = False

    def overridden(self, other: "CsvOptions") -> "CsvOptions":
        """Override options by those that the other sets; types are overridden column by column."""
        mine, theirs = self.model_dump(exclude_unset=True), other.model_dump(exclude_unset=True)
        both = {name: value for name, value in {**mine, **theirs}.items() if name in CsvOptions.model_fields}
        if "types" in both:
            both["types"] = {**mine.get("types", {}), **theirs.get("types", {})}
        return CsvOptions(**both)


class CsvTableOptions(CsvOptions):
    """The options of one table.

    `files`: a glob, relative to the source's folder, of the files that make up the table.
    """

    files: str | None = None


class CsvSource(CsvOptions):
    """The config of a source: the place of its files, and the options of all its tables.

    `path`: a folder, a glob or a file. `discover`: whether files that are not registered become tables.
    """

    path: str
    discover: bool = True
