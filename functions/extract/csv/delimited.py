"""Reading CSV and TSV files as one table of texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from analyst.errors import SourceError
from analyst.names import quote_text
from functions.extract.csv import casts
from functions.extract.csv.dialect import Dialect, detect, read_sample
from functions.extract.csv.enforcing import Read, Reading, Relation, Rows
from functions.extract.csv.listing import DataFile
from functions.extract.csv.mending import lines_of, mend
from functions.extract.csv.options import CsvOptions
from functions.extract.csv.records import MAX_RECORD_BYTES
from functions.extract.csv.rejects import Rejected
from functions.extract.csv.streams import Compression, opened

_BUFFER_BYTES = 4 * MAX_RECORD_BYTES
_READ_AS_THEY_ARE = ("utf-8-sig", "utf-8")


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One file, ready to be read: where it lies on this machine, and how it is written."""

    name: str
    path: Path
    compression: Compression
    dialect: Dialect


def read(reading: Reading, files: Sequence[tuple[DataFile, Path]], into: Path) -> Read:
    """Read CSV files in their order, columns united by name.

    DuckDB reads them as they are if it can; else each is gone through record by record, to tell what is wrong with it,
    or to set that aside, and DuckDB reads the rest.

    Raises:
        SourceError: a file is malformed, or a value does not fit its configured type.
    """
    import duckdb

    found = [_file(item, path, reading.options) for item, path in files]
    if all(file.dialect.encoding in _READ_AS_THEY_ARE for file in found):
        try:
            return reading.write(_relation(found, reading.options), into / "plain", Rejected())
        except duckdb.Error:
            pass  # what it says has no line number that can be relied on: the next reading finds the reason
    return _read_mended(reading, found, into)


def _file(item: DataFile, path: Path, options: CsvOptions) -> CsvFile:
    with opened(path, item.compression, item.name) as file:
        sample, whole = read_sample(file, item.name)
    dialect = detect(sample, whole=whole, file_format=item.format, name=item.name, options=options)
    return CsvFile(item.name, path, item.compression, dialect)


def _read_mended(reading: Reading, files: Sequence[CsvFile], into: Path) -> Read:
    import duckdb

    rejected, mended = Rejected(), list[CsvFile]()
    for number, file in enumerate(files):
        copy = reading.scratch / f"mended{number}.csv"
        rejected += mend(file.path, file.compression, file.dialect, copy, name=file.name, collect=reading.collects)
        dialect = replace(file.dialect, encoding="utf-8", skipped=0)
        mended.append(replace(file, path=copy, compression="none", dialect=dialect))
    try:
        return reading.write(_relation(mended, reading.options), into / "mended", rejected)
    except duckdb.Error as error:
        names = ", ".join(file.name for file in files[:3])
        raise SourceError(f"{names}: {str(error).splitlines()[0]}") from error


def _relation(files: Sequence[CsvFile], options: CsvOptions) -> Relation:
    originals = _united(files)
    return Relation(
        name=files[0].name,
        query=_query(files, options),
        files=lambda: (_rows(file, options) for file in files),
        originals=originals,
        candidates=dict.fromkeys(originals, casts.candidates(options.decimal_separator)),
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
    return Rows(file.name, _query([file], options), frozenset(file.dialect.names), lines)


def _query(files: Sequence[CsvFile], options: CsvOptions) -> str:
    """Write the query of all rows as texts: files that are written alike are read together."""
    groups = groupby(files, key=lambda file: (file.dialect, file.compression))
    selects = (f"select * from {_read_csv(*alike, list(group), options)}" for alike, group in groups)
    return " union all by name ".join(selects)


def _read_csv(dialect: Dialect, compression: Compression, files: Sequence[CsvFile], options: CsvOptions) -> str:
    paths = ", ".join(quote_text(str(file.path)) for file in files)
    columns = ", ".join(f"{quote_text(name)}: 'varchar'" for name in dialect.names)
    # left alone, only an unquoted empty value is NULL; what is named as NULL is so in quotes, too
    quoted_too = options.nullstr is not None
    nulls = f"nullstr = [{', '.join(map(quote_text, options.nullstr or ()))}], " if quoted_too else ""
    return (
        f"read_csv([{paths}], auto_detect = false, columns = {{{columns}}}, compression = '{compression}', "
        f"delim = {quote_text(dialect.delimiter)}, quote = {quote_text(dialect.quote)}, "
        f"escape = {quote_text(dialect.escape)}, header = {dialect.header}, skip = {dialect.skipped}, "
        f"{nulls}allow_quoted_nulls = {quoted_too}, "
        f"max_line_size = {MAX_RECORD_BYTES}, buffer_size = {_BUFFER_BYTES}, strict_mode = true)"
    )
