"""Reading CSV and TSV files as one typed table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.errors import SourceError
from analyst.names import quote, quote_text
from functions.extract.csv import casts
from functions.extract.csv.dialect import Dialect, detect, read_sample
from functions.extract.csv.increments import Increment
from functions.extract.csv.listing import DataFile
from functions.extract.csv.mending import FIRST_FEW, Rejected, lines_of, mend
from functions.extract.csv.options import CsvOptions
from functions.extract.csv.records import MAX_RECORD_BYTES
from functions.extract.csv.streams import Compression, opened
from functions.extract.csv.widening import MisfitError, Texts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BUFFER_BYTES = 4 * MAX_RECORD_BYTES


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One file, ready to be read: where it lies on this machine, and how it is written."""

    name: str
    path: Path
    compression: Compression
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of a table: the parquet files, the original of each column's name, and what was set aside."""

    files: list[Path]
    originals: Mapping[str, str]
    rejected: Rejected = field(default_factory=Rejected)


@dataclass(frozen=True, slots=True)
class CsvReading:
    """One reading of the files of a table, with a local folder for what has to be rewritten."""

    con: "DuckDBPyConnection"
    options: CsvOptions
    increment: Increment
    scratch: Path
    required: frozenset[str]

    def read(self, files: Sequence[tuple[DataFile, Path]], into: Path) -> Read:
        """Read the files in their order, columns united by name.

        DuckDB reads them as they are if it can; else each is gone through record by record, to tell what is wrong with
        it, or to set that aside, and read again.

        Raises:
            SourceError: a file is malformed, or a value does not fit its configured type.
        """
        import duckdb

        found = [self._file(item, path) for item, path in files]
        if any(file.dialect.encoding not in ("utf-8-sig", "utf-8") for file in found):
            return self._mended(found, into)
        try:
            return self._write(found, into / "plain", Rejected())
        except duckdb.Error:
            return self._mended(found, into)

    def _file(self, item: DataFile, path: Path) -> CsvFile:
        with opened(path, item.compression, item.name) as file:
            sample, whole = read_sample(file, item.name)
        dialect = detect(sample, whole=whole, file_format=item.format, name=item.name, options=self.options)
        return CsvFile(item.name, path, item.compression, dialect)

    def _mended(self, files: Sequence[CsvFile], into: Path) -> Read:
        import duckdb

        rejected, mended = Rejected(), []
        for number, file in enumerate(files):
            copy = self.scratch / f"mended{number}.csv"
            rejected += self._mend(file, copy)
            dialect = replace(file.dialect, encoding="utf-8", skipped=0)
            mended.append(replace(file, path=copy, compression="none", dialect=dialect))
        try:
            return self._write(mended, into / "mended", rejected)
        except duckdb.Error as error:
            names = ", ".join(file.name for file in files[:3])
            raise SourceError(f"{names}: {str(error).splitlines()[0]}") from error

    def _mend(self, file: CsvFile, copy: Path) -> Rejected:
        collect = self.options.on_error == "collect"
        return mend(file.path, file.compression, file.dialect, copy, name=file.name, collect=collect)

    def _write(self, files: Sequence[CsvFile], into: Path, rejected: Rejected) -> Read:
        into.mkdir()
        relation = self._relation(files)
        originals = _originals(files)
        configured = self._configured(originals, files)
        if self.options.on_error == "collect":
            rejected += self._misfits(files, configured)
            relation = f"select * from ({relation}) where {_all_fit(configured)}"
        guessed = casts.candidates(self.options.decimal_separator)
        texts = Texts(self.con, relation, tuple(originals), configured, dict.fromkeys(originals, guessed))
        try:
            return Read(texts.write(into, self.increment.wrap), originals, rejected)
        except MisfitError:
            raise SourceError(self._misfits(files, configured).first[0]) from None

    def _configured(self, originals: Mapping[str, str], files: Sequence[CsvFile]) -> dict[str, casts.Cast]:
        unknown = self.required - originals.keys()
        if unknown:
            raise SourceError(
                f"{files[0].name}: types are set for {', '.join(sorted(unknown))}, but the columns are {', '.join(originals)}"
            )
        separator = self.options.decimal_separator
        return {
            name: casts.configured(self.options.types[name], separator)
            for name in originals
            if name in self.options.types
        }

    def _misfits(self, files: Sequence[CsvFile], configured: Mapping[str, casts.Cast]) -> Rejected:
        """Find the rows in which a text does not fit its configured type."""
        rejected = Rejected()
        for file in files if configured else ():
            rejected += self._misfits_of(file, {n: c for n, c in configured.items() if n in file.dialect.names})
        return rejected

    def _misfits_of(self, file: CsvFile, configured: Mapping[str, casts.Cast]) -> Rejected:
        if not configured:
            return Rejected()
        misfit = " ".join(
            f"when not {cast.fits_of(name)} then {{{'name'}: {quote_text(name)}, 'text': {quote(name)}, 'type': '{cast.type}'}}"
            for name, cast in configured.items()
        )
        numbered = f'select *, row_number() over () as "row number" from ({self._relation([file])})'
        rows = self.con.execute(
            f"""
            select count(*) over (), "row number", misfit.name, misfit.text, misfit.type
            from (select "row number", case {misfit} end as misfit from ({numbered})) where misfit is not null
            order by "row number" limit {FIRST_FEW}
            """
        ).fetchall()
        lines = lines_of(file.path, file.compression, file.dialect, frozenset(row[1] for row in rows), name=file.name)
        told = tuple(
            f"{file.name}:{lines.get(row, '?')}: column {name!r}: {text[:80]!r} is no {kind}"
            for _count, row, name, text, kind in rows
        )
        return Rejected(rows[0][0] if rows else 0, told)

    def _relation(self, files: Sequence[CsvFile]) -> str:
        """Write the query of all rows as texts: files that are written alike are read together."""
        alike = groupby(files, key=lambda file: (file.dialect, file.compression))
        selects = [
            f"select * from {self._read_csv(dialect, compression, list(group))}"
            for (dialect, compression), group in alike
        ]
        return " union all by name ".join(selects)

    def _read_csv(self, dialect: Dialect, compression: Compression, files: Sequence[CsvFile]) -> str:
        paths = ", ".join(quote_text(str(file.path)) for file in files)
        columns = ", ".join(f"{quote_text(name)}: 'varchar'" for name in dialect.names)
        nullstr = self.options.nullstr
        nulls = "" if nullstr is None else f"nullstr = [{', '.join(map(quote_text, nullstr))}], "
        return (
            f"read_csv([{paths}], auto_detect = false, columns = {{{columns}}}, compression = '{compression}', "
            f"delim = {quote_text(dialect.delimiter)}, quote = {quote_text(dialect.quote)}, "
            f"escape = {quote_text(dialect.escape)}, header = {dialect.header}, skip = {dialect.skipped}, "
            f"{nulls}allow_quoted_nulls = {nullstr is not None}, "
            f"max_line_size = {MAX_RECORD_BYTES}, buffer_size = {_BUFFER_BYTES}, strict_mode = true)"
        )


def _originals(files: Sequence[CsvFile]) -> dict[str, str]:
    originals: dict[str, str] = {}
    for file in files:
        for name, original in file.dialect.columns:
            originals.setdefault(name, original)
    return originals


def _all_fit(configured: Mapping[str, casts.Cast]) -> str:
    return " and ".join(cast.fits_of(name) for name, cast in configured.items()) or "true"
