"""Reading CSV and TSV files as one table of texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from analyst.contract.naming import Header, unrelated
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from functions.extract.csv import casts
from functions.extract.csv.dialect import Dialect, detect, read_sample
from functions.extract.csv.enforcing import Read, Reading, Relation, Rows
from functions.extract.csv.listing import DataFile
from functions.extract.csv.mending import lines_of, mend
from functions.extract.csv.options import CsvOptions
from functions.extract.csv.records import MAX_RECORD_BYTES
from functions.extract.csv.rejects import Rejected
from functions.extract.csv.streams import Compression, opened, survey
from functions.extract.csv.widening import UnreadableError

_BUFFER_BYTES = 4 * MAX_RECORD_BYTES
_READ_AS_THEY_ARE = ("utf-8-sig", "utf-8")


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One file, ready to be read: where it lies on this machine, and how it is written.

    `is_regular` tells whether DuckDB can be trusted with it.
    """

    name: str
    path: Path
    compression: Compression
    dialect: Dialect
    is_regular: bool


def read(reading: Reading, files: Sequence[tuple[DataFile, Path]], into: Path) -> Read:
    """Read CSV files in their order, columns united by name.

    DuckDB reads them as they are if it can be trusted to; else each is gone through record by record, to tell what is
    wrong with it, or to set that aside, and DuckDB reads the rest.

    Raises:
        SourceError: a file is malformed, or a value does not fit its configured type.
    """
    found = _named(reading, [_file(item, path, reading.options) for item, path in files])
    if all(file.is_regular for file in found):
        try:
            return reading.write(_relation(found, reading.options), into / "plain", Rejected())
        except UnreadableError:
            pass  # what it says has no line number that can be relied on: the next reading finds the reason
    return _read_mended(reading, found, into)


def _file(item: DataFile, path: Path, options: CsvOptions) -> CsvFile:
    with opened(path, item.compression, item.name) as file:
        sample, whole = read_sample(file, item.name)
    dialect = detect(sample, whole=whole, file_format=item.format, name=item.name, options=options)
    alike = survey(path, item.compression, item.name)
    is_regular = alike and dialect.skipped == 0 and dialect.encoding in _READ_AS_THEY_ARE
    return CsvFile(item.name, path, item.compression, dialect, is_regular)


def _named(reading: Reading, files: Sequence[CsvFile]) -> list[CsvFile]:
    """Name the columns of all files together: by what each file calls them, and as they were published."""
    headers = [Header(file.name, _originals(file.dialect.columns)) for file in files]
    named = zip(files, reading.naming.names(headers), strict=True)
    return [replace(file, dialect=replace(file.dialect, columns=tuple(names.items()))) for file, names in named]


def _originals(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Give what a file calls its columns; one that has a name of its own beside a twin is called by that."""
    first = {original: name for name, original in reversed(columns)}
    return [original if first[original] == name or not original else name for name, original in columns]


def _read_mended(reading: Reading, files: Sequence[CsvFile], into: Path) -> Read:
    rejected, mended = Rejected(), list[CsvFile]()
    for number, file in enumerate(files):
        copy = reading.scratch / f"mended{number}.csv"
        rejected += mend(file.path, file.compression, file.dialect, copy, name=file.name, collect=reading.collects)
        mended.append(replace(file, path=copy, compression="none", dialect=replace(file.dialect, encoding="utf-8")))
    try:
        return reading.write(_relation(mended, reading.options), into / "mended", rejected)
    except UnreadableError as error:
        names = ", ".join(file.name for file in files[:3])
        raise SourceError(f"{names}: {error}") from error


def _relation(files: Sequence[CsvFile], options: CsvOptions) -> Relation:
    originals = _united(files)
    return Relation(
        name=files[0].name,
        parts=_parts(files, options, originals),
        files=lambda: (_rows(file, options) for file in files),
        originals=originals,
        candidates=dict.fromkeys(originals, casts.candidates(options.decimal_separator)),
        notes=tuple(unrelated([(file.name, dict(file.dialect.columns)) for file in files])),
    )


def _united(files: Sequence[CsvFile]) -> dict[str, str]:
    """Give the columns of all files, those of the first one first, with what it calls them."""
    originals: dict[str, str] = {}
    for file in files:
        for name, original in file.dialect.columns:
            originals.setdefault(name, original)
    return originals


def _rows(file: CsvFile, options: CsvOptions) -> Rows:
    lines = partial(lines_of, file.path, file.compression, file.dialect, name=file.name)
    (query,) = _parts([file], options, file.dialect.names)
    return Rows(file.name, query, frozenset(file.dialect.names), lines)


def _parts(files: Sequence[CsvFile], options: CsvOptions, columns: Iterable[str]) -> list[str]:
    """Write the queries of all rows as texts: files that are written alike are read together."""
    parts = []
    for (dialect, compression), group in groupby(files, key=lambda file: (file.dialect, file.compression)):
        here = frozenset(dialect.names)
        terms = (quote(name) if name in here else f"null::varchar as {quote(name)}" for name in columns)
        parts.append(f"select {', '.join(terms)} from {_read_csv(dialect, compression, list(group), options)}")
    return parts


def _read_csv(dialect: Dialect, compression: Compression, files: Sequence[CsvFile], options: CsvOptions) -> str:
    paths = ", ".join(quote_text(str(file.path)) for file in files)
    columns = ", ".join(f"{quote_text(name)}: 'varchar'" for name in dialect.names)
    # left alone, only an unquoted empty value is NULL; what is named as NULL is so in quotes, too
    quoted_too = options.nullstr is not None
    nulls = f"nullstr = [{', '.join(map(quote_text, options.nullstr or ()))}], " if quoted_too else ""
    return (
        f"read_csv([{paths}], auto_detect = false, columns = {{{columns}}}, compression = '{compression}', "
        f"delim = {quote_text(dialect.delimiter)}, quote = {quote_text(dialect.quote)}, "
        f"escape = {quote_text(dialect.escape)}, header = {dialect.header}, "
        f"{nulls}allow_quoted_nulls = {quoted_too}, "
        f"max_line_size = {MAX_RECORD_BYTES}, buffer_size = {_BUFFER_BYTES}, strict_mode = true)"
    )
