"""Reading parquet files as one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst.connectors.files.columns.casts import Cast
from analyst.connectors.files.columns.enforcement import Reading, Rejected, Relation, Rows
from analyst.connectors.files.columns.table import Content, Format
from analyst.connectors.files.table_files import DataFile
from analyst.contract.column_names import Header, Names
from analyst.contract.parquet_input import ParquetInput, as_text, open_parquet, scan, within_years
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import name_of, quote, quote_text
from analyst.types import changes_meaning, survives

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType


@dataclass(frozen=True, slots=True)
class _File:
    """A file: the names in DuckDB and types of its columns, in order; once named, also their originals by name."""

    input: ParquetInput
    columns: tuple[str, ...]
    types: "tuple[DuckDBPyType, ...]"
    originals: Names

    def by_name(self) -> "dict[str, tuple[str, DuckDBPyType]]":
        """Return the columns: name in DuckDB and type, by name."""
        return dict(zip(self.originals, zip(self.columns, self.types, strict=True), strict=True))

    @property
    def shape(self) -> tuple[tuple[str, str, str], ...]:
        """What files must share to be read by one scan."""
        return tuple((name, column, str(kind)) for name, (column, kind) in self.by_name().items())


_ONE_TYPE = "make them one type, or read the column as text with the option types"


@dataclass(frozen=True, slots=True)
class OpenedParquet:
    """The parquet files of one part; types stay unless configured otherwise."""

    reading: Reading
    files: tuple[_File, ...]
    rejected: Rejected = field(default_factory=Rejected)

    @property
    def headers(self) -> list[Header]:
        """The originals of the columns of each file."""
        return [Header(file.input.name, file.input.columns) for file in self.files]

    @property
    def related(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Empty: the headers say enough."""
        return ()

    def _named(self, names: Sequence[Names]) -> list[_File]:
        return [replace(file, originals=named) for file, named in zip(self.files, names, strict=True)]

    def kinds(self, names: Sequence[Names]) -> dict[str, list[list[str]]]:
        """Return the types of each column, each with the first file that has it."""
        types: dict[str, dict[str, str]] = {}
        for file in self._named(names):
            for name, (_column, kind) in file.by_name().items():
                types.setdefault(name, {}).setdefault(str(kind), file.input.name)
        return {name: [[kind, where] for kind, where in found.items()] for name, found in types.items()}

    def relation(self, names: Sequence[Names], contents: Mapping[str, Content]) -> Relation:
        """Return the rows of all files, columns united by name."""
        files = self._named(names)
        originals: Names = {}
        for file in files:
            for name, original in file.originals.items():
                originals.setdefault(name, original)
        united = {name: contents[name].candidates[0].type for name in originals}
        return Relation(
            name=files[0].input.name,
            parts=_parts(self.reading, files, united),
            files=lambda: (_rows(self.reading, file) for file in files),
            originals=originals,
        )

    @property
    def is_mended(self) -> bool:
        """Whether there is nothing to repair, as in any file of parquet."""
        return True

    def explained(self, reason: str) -> str:
        """Return DuckDB's message about the files, with the columns that may be meant."""
        return _explained(reason, self.files)

    def mended(self) -> "OpenedParquet":
        """Return the files as they are."""
        return self


def united(reading: Reading, kinds: Mapping[str, Sequence[Any]]) -> dict[str, Content]:
    """Find the type of each column that can hold those of all files.

    Raises:
        SourceError: there is none.
    """
    found: dict[str, Content] = {}
    for name, parts in kinds.items():
        types: dict[str, str] = {}
        for part in parts:
            for kind, where in part:
                types.setdefault(kind, where)
        common = "VARCHAR" if name in reading.options.types else _common(reading, name, types)  # it is read as text
        found[name] = Content((Cast(common, "{c}", "true"),))
    return found


def open_part(reading: Reading, files: Sequence[tuple[DataFile, Path]]) -> OpenedParquet:
    """Open the parquet files of one part of a table.

    Raises:
        SourceError: a file is damaged, or a value can't be read exactly.
    """
    known = {original: name for name, original in reading.naming.known.items()}

    def is_text(original: str) -> bool:
        return (known.get(original) or name_of(original)) in reading.options.types

    inputs = [open_parquet(reading.con, path, item.name, reading.scratch, is_text=is_text) for item, path in files]
    return OpenedParquet(reading, tuple(_described(reading, one) for one in inputs))


FORMAT = Format(open_part, united)


def _described(reading: Reading, one: ParquetInput) -> _File:
    with raised_as(SourceError, f"{one.name} can't be read as parquet: ", hide=one.paths[0]):
        described = reading.con.execute(f"{one.scan()} limit 0").description or []
    if len(described) != len(one.columns):
        raise SourceError(
            f"'{one.name}' can't be read: DuckDB can't read all of its columns {', '.join(map(repr, one.columns))}; write them in "
            "another type"
        )
    return _File(one, tuple(str(column[0]) for column in described), tuple(column[1] for column in described), {})


def _common(reading: Reading, name: str, types: Mapping[str, str]) -> str:
    """Return the type that can hold those of all files; `types` maps each to a file that has it."""
    kinds = list(types)
    if len(kinds) == 1:
        return kinds[0]
    where = " and ".join(f"{kind} in {file}" for kind, file in list(types.items())[:2])
    why = f"the column {name!r} can't be read: it is {where}, which have no common type"
    query = " union all ".join(f"select null::{kind} as c" for kind in kinds)
    with raised_as(SourceError, f"{why}: "):
        common = str(reading.con.execute(f"describe {query}").fetchall()[0][1])
    if any(changes_meaning(reading.con, kind, common) for kind in kinds):
        raise SourceError(f"{why}; {_ONE_TYPE}")
    return common


def _parts(reading: Reading, files: Sequence[_File], united: Mapping[str, str]) -> list[str]:
    """Return queries of all rows; files of the same shape are read together.

    All files of a table are, if their columns have the same names and types, because each part is written to own files.
    """
    columns = [file.by_name() for file in files]
    shapes = {name: {(one[name][0], str(one[name][1])) for one in columns if name in one} for name in united}
    if all(len(shape) == 1 for shape in shapes.values()):
        groups = [list(files)]
    else:
        groups = [list(group) for _shape, group in groupby(files, key=lambda file: file.shape)]
    return [_part(reading, group, united) for group in groups]


def _part(reading: Reading, files: Sequence[_File], united: Mapping[str, str]) -> str:
    label = ", ".join(file.input.name for file in files[:3])
    originals = {name: original for file in files for name, original in file.originals.items()}
    columns = {name: column for file in files for name, column in file.by_name().items()}
    terms = []
    for name, target in united.items():
        column, kind = columns.get(name, ("", None))
        if kind is None:
            term = f"null::{'varchar' if name in reading.options.types else target}"
        elif name in reading.options.types:
            term = as_text(quote(column), str(kind))
        else:
            where = f"{label}: the column {originals[name]!r}"
            term = within_years(quote(column), kind, where)
            term = _widened(reading, term, quote(column), (str(kind), target), where)
        terms.append(f"{term} as {quote(name)}")
    return f"select {', '.join(terms)} from ({scan([path for file in files for path in file.input.paths])})"


def _widened(reading: Reading, term: str, value: str, types: tuple[str, str], where: str) -> str:
    """Return the SQL of a value in the type that all files share, with a check that it survives."""
    kind, target = types
    if target in (kind, "VARCHAR"):
        return term if kind == target else f"cast({term} as varchar)"
    kept = survives(reading.con, value, kind, target)
    failure = f"{quote_text(f'{where} holds ')} || cast({value} as varchar) || "
    reason = quote_text(f", which does not fit {target}, its type in the other files; {_ONE_TYPE}")
    return f"case when {kept} then cast({term} as {target}) else error({failure}{reason}) end"


def _rows(reading: Reading, file: _File) -> Rows:
    terms = (
        f"{as_text(quote(column), str(kind)) if name in reading.options.types else quote(column)} as {quote(name)}"
        for name, (column, kind) in file.by_name().items()
    )
    query = f"select {', '.join(terms)} from ({file.input.scan()})"
    return Rows(file.input.name, query, frozenset(file.originals), lambda rows: {row: row for row in rows})


def _explained(reason: str, files: Sequence[_File]) -> str:
    for file in files:
        reason = file.input.explained(reason)
    return reason.removeprefix("Invalid Input Error: ")
