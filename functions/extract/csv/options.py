"""The options of a source of files, for all its tables and for one."""

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from analyst.contract import cursors
from analyst.errors import InvalidInputError
from analyst.names import normalise
from functions.extract.csv import casts

_SPELLED = {"\\t": "\t", "tab": "\t", "\\x1f": "\x1f"}


def _one_character(text: str) -> str:
    text = _SPELLED.get(text, text)
    if len(text) != 1 or not text.isascii() or text in "\r\n\x00":
        raise ValueError("must be one ASCII character, not a line break")
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
        raise ValueError(f"is no encoding: {name!r}; for example utf-8, windows-1250, latin-1, utf-16") from None
    return found.name


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _known_lag(text: str) -> str:
    try:
        return cursors.lag(text)
    except InvalidInputError as error:
        raise ValueError(str(error)) from None


def _normalised(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normalise(name) for name in names)


def _known_types(types: dict[str, str]) -> dict[str, str]:
    return {normalise(column): casts.type_name(kind) for column, kind in types.items()}


Character = Annotated[str, AfterValidator(_one_character)]


class CsvOptions(BaseModel):
    """How files are read. What is not set is found out, or is as RFC 4180 has it.

    Columns are named by their original or their normalised names. `nullstr` are the texts that stand for NULL, quoted
    or not, instead of the unquoted empty one. `names` are the columns of files without a `header`. `quote: ""` means
    that nothing is quoted. `cursor_lag` is how far before the cursor an increment begins, for rows that come late.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    delimiter: Character | None = None
    quote: Character | Literal[""] = '"'
    escape: Character | None = None
    header: bool = True
    names: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    nullstr: Annotated[tuple[str, ...], BeforeValidator(_several)] | None = None
    types: Annotated[dict[str, str], AfterValidator(_known_types)] = {}
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    decimal_separator: Literal[".", ","] = "."
    on_error: Literal["fail", "collect"] = "fail"
    primary_key: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_normalised)] = ()
    sync_strategy: Literal["full_refresh", "incremental"] = "full_refresh"
    cursor_column: Annotated[str, AfterValidator(normalise)] | None = None
    cursor_lag: Annotated[str, BeforeValidator(_as_text), AfterValidator(_known_lag)] | None = None

    def overridden(self, other: "CsvOptions") -> "CsvOptions":
        """Take what the other sets, and keep the rest; types are taken column by column."""
        mine, theirs = self.model_dump(exclude_unset=True), other.model_dump(exclude_unset=True)
        both = {name: value for name, value in {**mine, **theirs}.items() if name in CsvOptions.model_fields}
        if "types" in both:
            both["types"] = {**mine.get("types", {}), **theirs.get("types", {})}
        return CsvOptions(**both)


class CsvTableOptions(CsvOptions):
    """The options of one table. `files` is a glob, relative to the source's folder, of the files that make the table."""

    files: str | None = None


class CsvSource(CsvOptions):
    """The config of a source: where its files are, and the options of all its tables.

    `path` is a folder, a glob or a file; `discover` takes in files that nobody registered.
    """

    path: str
    discover: bool = True
