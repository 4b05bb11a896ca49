"""Reading CSV and TSV files as one table of texts: ranges of large files, texts that mean NULL, and files that need mending."""

import io
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import TextIO

from analyst.connectors.files.columns import casts
from analyst.connectors.files.columns.enforcement import Reading, Rejected, Relation, Rows
from analyst.connectors.files.columns.table import Content, Format
from analyst.connectors.files.columns.text_types import Range, UnreadableError
from analyst.connectors.files.formats.compression import Compression, opened, survey
from analyst.connectors.files.formats.csv_records import BACKSLASHES, MAX_RECORD_BYTES, Grammar, Record
from analyst.connectors.files.formats.dialect import Dialect, broken_end, detect, on_broken_bytes, read_sample
from analyst.connectors.files.options import CsvOptions
from analyst.connectors.files.table_files import DataFile
from analyst.contract.column_names import Header, Names
from analyst.errors import SourceError
from analyst.names import quote, quote_text

_QUOTED = re.compile(r'[,"\r\n]|^ | $')
"""Values that must be quoted."""

_REMEDY = "; correct the file, or set on_error to collect, which sets malformed rows aside"


def mend(path: Path, compression: Compression, dialect: Dialect, into: Path, *, name: str, collect: bool) -> Rejected:
    """Copy the well-formed rows of a file to `into`: UTF-8 with commas and line feeds, below a header of column numbers.

    Raises:
        SourceError: a row is malformed, unless those are set aside (`collect`); it names file, line and reason.
    """
    rejected = Rejected()
    width = len(dialect.columns)
    with _decoded(path, compression, dialect, name) as text, into.open("w", encoding="utf-8", newline="") as copy:
        copy.write(",".join(map(str, range(width))) + "\n")  # DuckDB assumes that all lines end like the first
        for record, problem in _records(text, dialect):
            if problem is None:
                copy.write(_line(record, width, dialect))
            elif collect:
                rejected += Rejected(1, (f"{name}:{record.line}: {problem}",))
            else:
                raise SourceError(f"{name}:{record.line}: {problem}{'' if '; ' in problem else _REMEDY}")
    return rejected


def lines_of(
    path: Path, compression: Compression, dialect: Dialect, rows: frozenset[int], *, name: str
) -> dict[int, int]:
    """Find the lines on which rows begin. Rows are counted from 1, without malformed ones."""
    lines: dict[int, int] = {}
    with _decoded(path, compression, dialect, name) as text:
        sound = (record for record, problem in _records(text, dialect) if problem is None)
        for row, record in enumerate(sound, start=1):
            if row in rows:
                lines[row] = record.line
            if len(lines) == len(rows):
                break
    return lines


@contextmanager
def _decoded(path: Path, compression: Compression, dialect: Dialect, name: str) -> Iterator[TextIO]:
    errors = on_broken_bytes(dialect.encoding)
    try:
        with (
            opened(path, compression, name) as file,
            io.TextIOWrapper(file, dialect.encoding, errors=errors, newline="") as text,
        ):
            yield text
    except UnicodeDecodeError as error:
        raise broken_end(name, dialect.encoding) from error


def _records(text: TextIO, dialect: Dialect) -> Iterator[tuple[Record, str | None]]:
    """Read the rows, each with its problem; empty lines are rows only in a file with one column."""
    is_single = len(dialect.columns) == 1
    for record in dialect.grammar.records(text):
        is_header = record.line < dialect.start or (record.line == dialect.start and dialect.header)
        if not is_header and (record.text or is_single):
            yield record, record.problem or _misshape(record, dialect)


def _misshape(record: Record, dialect: Dialect) -> str | None:
    """Return the problem of the number of values, or that the row repeats the header."""
    found, width = len(record.values), len(dialect.columns) + dialect.trailing
    if found != width:
        values = "1 value" if found == 1 else f"{found} values"
        hint = dialect.hint or _quoting(record, dialect.grammar)
        return f"has {values} where {'the header has' if dialect.header else 'the first row has'} {width}{hint}"
    if dialect.trailing and record.values[-1]:
        return f"has the value {record.values[-1][:80]!r} after its last column"
    if dialect.header and width > 1 and record.values == dialect.first:
        return "repeats the header; remove this line, or move the table that follows to a separate file"
    return None


def _quoting(record: Record, grammar: Grammar) -> str:
    """Return how quotes may be meant in a row that has too many values or too few."""
    if grammar.quote and grammar.escape == grammar.quote and f"\\{grammar.quote}" in record.text:
        return f"; {BACKSLASHES}"
    other = "'" if grammar.quote == '"' else '"'
    bare = [value.strip() for value in record.values]
    opening = [place for place, value in enumerate(bare) if value[:1] == other != value[-1:]]
    closing = [place for place, value in enumerate(bare) if value[-1:] == other != value[:1]]
    if opening and closing and opening[0] < closing[-1]:
        return f"; if values are enclosed in {other}, set quote to {other}"
    return ""


def _line(record: Record, width: int, dialect: Dialect) -> str:
    has_quotes = '"' in record.text or (dialect.grammar.quote and dialect.grammar.quote in record.text)
    if dialect.delimiter == "," and not has_quotes and len(record.values) == width:
        return record.text + "\n"
    values = (
        '"' + value.replace('"', '""') + '"' if index in record.blanks or _QUOTED.search(value) else value
        for index, value in enumerate(record.values[:width])
    )
    return ",".join(values) + "\n"


_BUFFER_BYTES = 4 * MAX_RECORD_BYTES
_RANGE_BUFFER_BYTES = 2 * MAX_RECORD_BYTES
"""Smaller, because several ranges are read at once."""

_READ_AS_THEY_ARE = ("utf-8-sig", "utf-8")
_NEVER = "\x1f\x1e no value is written like this \x1e\x1f"
"""A text for NULL that no value has, for files in which no text means NULL."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file that is ready to be read: its place on this machine, and its dialect.

    It `is_regular` if DuckDB reads it correctly. It `may_drop` if that must still be checked: some lines end with a
    delimiter, and DuckDB drops an empty value after the last column without an error. `original` is the file that it is a
    clean copy of.
    """

    name: str
    path: Path
    compression: Compression
    dialect: Dialect
    is_regular: bool
    may_drop: bool = False
    cuts: tuple[int, ...] = ()
    """Offsets between rows, at which the file may be cut."""
    buffer_bytes: int = _BUFFER_BYTES
    original: "CsvFile | None" = None


@dataclass(frozen=True, slots=True)
class OpenedCsv:
    """The CSV files of one part. DuckDB reads regular files as they are.

    Others are read record by record first, to report or set aside malformed rows, and DuckDB reads the clean copy.
    """

    reading: Reading
    files: tuple[CsvFile, ...]
    rejected: Rejected = field(default_factory=Rejected)

    @property
    def headers(self) -> list[Header]:
        """The originals of the columns of each file."""
        return [Header(file.name, _originals(file.dialect.columns)) for file in self.files]

    @property
    def related(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Empty: the headers say enough."""
        return ()

    def kinds(self, names: Sequence[Names]) -> dict[str, None]:
        """Return the columns; texts do not depend on other files."""
        return dict.fromkeys(name for named in names for name in named)

    def relation(self, names: Sequence[Names], _contents: Mapping[str, Content]) -> Relation:
        """Return the rows of all files, columns united by name."""
        files = [
            replace(file, dialect=replace(file.dialect, columns=tuple(named.items())))
            for file, named in zip(self.files, names, strict=True)
        ]
        originals = _united(files)
        return Relation(
            name=files[0].name,
            parts=_parts(files, self.reading.options, originals),
            files=lambda: (_rows(file, self.reading.options) for file in files),
            originals=originals,
            ranges=_ranges(files[0], self.reading.options) if len(files) == 1 else (),
        )

    @property
    def is_mended(self) -> bool:
        """Whether the files are clean copies."""
        return any(file.original for file in self.files)

    def explained(self, reason: str) -> str:
        """Return DuckDB's message about the files."""
        return reason

    def mended(self) -> "OpenedCsv":
        """Return a clean copy; DuckDB's line number of a malformed row is not reliable, so reading record by record finds it.

        Raises:
            SourceError: a row is malformed, and not set aside.
        """
        rejected, mended = self.rejected, list[CsvFile]()
        for file in self.files:
            copy = self.reading.scratch / f"mended-{secrets.token_hex(8)}.csv"
            rejected += mend(
                file.path, file.compression, file.dialect, copy, name=file.name, collect=self.reading.collects
            )
            clean = replace(file.dialect, grammar=Grammar(), header=True, encoding="utf-8")
            mended.append(CsvFile(file.name, copy, "none", clean, is_regular=True, original=file))
        return replace(self, files=tuple(mended), rejected=rejected)


def open_part(reading: Reading, files: Sequence[tuple[DataFile, Path]]) -> OpenedCsv:
    """Open the CSV files of one part of a table.

    Raises:
        SourceError: a file has no header, or is malformed.
    """
    opened = OpenedCsv(reading, tuple(_file(item, path, reading) for item, path in files))
    if all(file.is_regular for file in opened.files) and not _drops_values(reading, opened.files):
        return opened
    return opened.mended()


def united(reading: Reading, columns: Mapping[str, Sequence[None]]) -> dict[str, Content]:
    """Return the candidate types of columns of text."""
    return dict.fromkeys(columns, Content(casts.candidates(reading.options.decimal_separator)))


FORMAT = Format(open_part, united)


def _file(item: DataFile, path: Path, reading: Reading) -> CsvFile:
    with opened(path, item.compression, item.name) as file:
        sample, whole = read_sample(file, item.name)
    dialect = detect(sample, whole=whole, file_format=item.format, name=item.name, options=reading.options)
    grammar, header = dialect.grammar, dialect.first if dialect.header and len(dialect.first) > 1 else ()
    seen = survey(
        path,
        item.compression,
        item.name,
        delimiter=grammar.delimiter[0],
        quote=grammar.quote,
        escape=grammar.escape,
        lines=_written(header, grammar),
        cut_bytes=reading.side_by_side.range_bytes if item.compression == "none" else None,
    )
    is_plain = dialect.is_plain and dialect.encoding in _READ_AS_THEY_ARE
    is_regular = seen.is_regular and not seen.repeats and is_plain
    return CsvFile(item.name, path, item.compression, dialect, is_regular, seen.ends_in_delimiter, seen.cuts)


def _written(header: Sequence[str], grammar: Grammar) -> set[str]:
    """Return the lines by which a header may be repeated: with no value quoted, or with all of them."""
    quoted = (
        f"{grammar.quote}{name.replace(grammar.quote, grammar.escape + grammar.quote)}{grammar.quote}"
        for name in header
    )
    return {grammar.delimiter.join(header), grammar.delimiter.join(quoted if grammar.quote else header)} - {""}


def _drops_values(reading: Reading, files: Sequence[CsvFile]) -> bool:
    """Return whether DuckDB would drop values after the last column."""
    behind = quote("value behind the last column")
    for file in files:
        if file.may_drop:
            rows = _read_csv(file, [file], is_null=_NEVER, also=behind)
            try:
                if reading.fetch(f"select count({behind}) from {rows}")[0][0]:
                    return True
            except UnreadableError:
                return True
    return False


def _originals(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Return the originals of a file's columns; a column renamed because of a twin is identified by its new name."""
    first = {original: name for name, original in reversed(columns)}
    return [original if first[original] == name or not original else name for name, original in columns]


def _united(files: Sequence[CsvFile]) -> dict[str, str]:
    """Return the columns of all files with their originals, those of the first file first."""
    originals: dict[str, str] = {}
    for file in files:
        for name, original in file.dialect.columns:
            originals.setdefault(name, original)
    return originals


def _rows(file: CsvFile, options: CsvOptions) -> Rows:
    original = file.original or file
    lines = partial(lines_of, original.path, original.compression, original.dialect, name=file.name)
    (query,) = _parts([file], options, file.dialect.names)
    return Rows(file.name, query, frozenset(file.dialect.names), lines)


def _parts(files: Sequence[CsvFile], options: CsvOptions, columns: Iterable[str]) -> list[str]:
    """Return queries of all rows as texts; files of the same dialect are read together."""
    parts, is_null = [], "" if options.nullstr is None else _NEVER
    for _alike, group in groupby(files, key=_way):
        alike = list(group)
        here = frozenset(alike[0].dialect.names)
        terms = (_term(name, options) if name in here else f"null::varchar as {quote(name)}" for name in columns)
        parts.append(f"select {', '.join(terms)} from {_read_csv(alike[0], alike, is_null)}")
    return parts


def _ranges(file: CsvFile, options: CsvOptions) -> list[Range]:
    """Cut a large file into ranges of rows; only the first one has a header."""
    if not file.cuts:
        return []
    file = replace(file, buffer_bytes=_RANGE_BUFFER_BYTES)
    below = replace(file, dialect=replace(file.dialect, header=False))

    def query(like: CsvFile) -> Callable[[Path], str]:
        return lambda path: _parts([replace(like, path=path)], options, like.dialect.names)[0]

    places = pairwise([0, *file.cuts, file.path.stat().st_size])
    return [Range(file.path, start, end, query(below if start else file)) for start, end in places]


def _way(file: CsvFile) -> tuple[object, ...]:
    """Return what files that are read together must share."""
    grammar, dialect = file.dialect.grammar, file.dialect
    marks = (grammar.delimiter, grammar.quote, grammar.escape, dialect.header)
    return (*marks, dialect.names, file.compression)


def _term(name: str, options: CsvOptions) -> str:
    """Return the SQL of a column's text; texts that mean NULL do so within quotes, too."""
    if not options.nullstr:
        return quote(name)
    # DuckDB's own `nullstr` would drop such a text after the last column, and `in` would be a join for each column
    nulls = " ".join(f"when {quote_text(text)} then null" for text in options.nullstr)
    return f"case {quote(name)} {nulls} else {quote(name)} end as {quote(name)}"


def _read_csv(like: CsvFile, files: Sequence[CsvFile], is_null: str, also: str | None = None) -> str:
    """Return the table function that reads files; with a column `also`, rows may have one value more, or fewer."""
    paths = ", ".join(quote_text(str(file.path)) for file in files)
    grammar = like.dialect.grammar
    columns = ", ".join(f"{quote_text(name)}: 'varchar'" for name in like.dialect.names)
    more = f", {also}: 'varchar'" if also else ""
    single = "parallel = false, " if also else ""  # with several readers, padded rows have no line breaks in quotes
    return (
        f"read_csv([{paths}], auto_detect = false, columns = {{{columns}{more}}}, compression = '{like.compression}', "
        f"delim = {quote_text(grammar.delimiter)}, quote = {quote_text(grammar.quote)}, "
        f"escape = {quote_text(grammar.escape)}, header = {like.dialect.header}, "
        f"nullstr = {quote_text(is_null)}, allow_quoted_nulls = false, null_padding = {also is not None}, {single}"
        f"max_line_size = {MAX_RECORD_BYTES}, buffer_size = {like.buffer_bytes}, strict_mode = true, hive_partitioning = false)"
    )
