"""Reading parquet files as one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.connectors.files.columns.casts import Cast
from analyst.connectors.files.columns.enforcement import Read, Reading, Rejected, Relation, Rows
from analyst.connectors.files.columns.widening import UnreadableError
from analyst.connectors.files.listing import DataFile
from analyst.contract.column_names import Header, Names, unrelated
from analyst.contract.parquet_input import ParquetInput, as_text, open_parquet, scan, within_years
from analyst.duckdb_files import told_as
from analyst.errors import SourceError
from analyst.names import name_of, quote, quote_text

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType


@dataclass(frozen=True, slots=True)
class _File:
    """A file: its columns' names in the file and in DuckDB, by name, and their types."""

    input: ParquetInput
    originals: Names
    columns: Mapping[str, str]
    types: "Mapping[str, DuckDBPyType]"

    @property
    def shape(self) -> tuple[tuple[str, str, str], ...]:
        """What files must share to be read by one scan."""
        return tuple((name, self.columns[name], str(kind)) for name, kind in self.types.items())


def read(reading: Reading, files: Sequence[tuple[DataFile, Path]], into: Path) -> Read:
    """Read parquet files in their order, columns united by name; types stay unless configured otherwise.

    Raises:
        SourceError: a file is damaged, or a value can't be read exactly or does not fit its type.
    """
    opened = _opened(reading, files)
    try:
        return reading.write(_relation(reading, opened), into / "taken", Rejected())
    except UnreadableError as error:
        raise SourceError(_explained(str(error), opened)) from error


def _opened(reading: Reading, files: Sequence[tuple[DataFile, Path]]) -> list[_File]:
    known = {original: name for name, original in reading.naming.known.items()}

    def is_text(original: str) -> bool:
        return (known.get(original) or name_of(original)) in reading.options.types

    inputs = [open_parquet(reading.con, path, item.name, reading.scratch, is_text=is_text) for item, path in files]
    named = reading.naming.names([Header(one.name, one.columns) for one in inputs])
    return [_described(reading, one, names) for one, names in zip(inputs, named, strict=True)]


def _described(reading: Reading, one: ParquetInput, names: Names) -> _File:
    with told_as(SourceError, f"{one.name}: "):
        described = reading.con.execute(f"{one.scan()} limit 0").description or []
    if len(described) != len(names):
        raise SourceError(
            f"'{one.name}' can't be read: DuckDB can't read all of its columns {', '.join(map(repr, one.columns))}; write them in "
            "another type"
        )
    columns = {name: str(column[0]) for name, column in zip(names, described, strict=True)}
    return _File(one, names, columns, {name: column[1] for name, column in zip(names, described, strict=True)})


def _relation(reading: Reading, files: Sequence[_File]) -> Relation:
    originals: Names = {}
    for file in files:
        for name, original in file.originals.items():
            originals.setdefault(name, original)
    united = _united(reading, files)
    return Relation(
        name=files[0].input.name,
        parts=_parts(reading, files, united),
        files=lambda: (_rows(reading, file) for file in files),
        originals=originals,
        candidates={name: (Cast(kind, "{c}", "true"),) for name, kind in united.items()},
        notes=tuple(unrelated([(file.input.name, file.originals) for file in files])),
    )


def _united(reading: Reading, files: Sequence[_File]) -> dict[str, str]:
    """Find the type of each column that can hold those of all files."""
    types: dict[str, dict[str, str]] = {}
    for file in files:
        for name, kind in file.types.items():
            types.setdefault(name, {}).setdefault(str(kind), file.input.name)
    several = {name: list(found) for name, found in types.items() if len(found) > 1}
    united = {name: next(iter(found)) for name, found in types.items()}
    for name, kinds in several.items():
        where = " and ".join(f"{kind} in {file}" for kind, file in list(types[name].items())[:2])
        if len({"WITH TIME ZONE" in kind for kind in kinds if kind.startswith(("DATE", "TIME"))}) > 1:
            raise SourceError(
                f"the column {name!r} can't be read: it is {where}, which have no common type; make them one type"
            )
        query = " union all ".join(f"select null::{kind} as c" for kind in kinds)
        with told_as(SourceError, f"the column {name!r} can't be read: it is {where}, which have no common type: "):
            united[name] = str(reading.con.execute(f"describe {query}").fetchall()[0][1])
    return united


def _parts(reading: Reading, files: Sequence[_File], united: Mapping[str, str]) -> list[str]:
    """Return queries of all rows; files of the same shape are read together.

    All files of a table are, if their columns have the same names and types, because each part is written to own files.
    """
    shapes = {
        name: {(file.columns[name], str(file.types[name])) for file in files if name in file.types} for name in united
    }
    if all(len(shape) == 1 for shape in shapes.values()):
        groups = [list(files)]
    else:
        groups = [list(group) for _shape, group in groupby(files, key=lambda file: file.shape)]
    return [_part(reading, group, united) for group in groups]


def _part(reading: Reading, files: Sequence[_File], united: Mapping[str, str]) -> str:
    label = ", ".join(file.input.name for file in files[:3])
    originals = {name: original for file in files for name, original in file.originals.items()}
    columns = {name: column for file in files for name, column in file.columns.items()}
    types = {name: kind for file in files for name, kind in file.types.items()}
    terms = []
    for name, target in united.items():
        if name not in types:
            term = f"null::{'varchar' if name in reading.options.types else target}"
        elif name in reading.options.types:
            term = as_text(quote(columns[name]), str(types[name]))
        else:
            about = f"{label}: the column {originals[name]!r}"
            term = within_years(quote(columns[name]), types[name], about)
            term = _widened(term, quote(columns[name]), str(types[name]), target, about)
        terms.append(f"{term} as {quote(name)}")
    return f"select {', '.join(terms)} from ({scan([path for file in files for path in file.input.paths])})"


def _widened(term: str, value: str, kind: str, target: str, about: str) -> str:
    """Return the SQL of a value in the type that all files share, with a check that it survives."""
    if target in (kind, "VARCHAR"):
        return term if kind == target else f"cast({term} as varchar)"
    kept = f"try_cast(try_cast({value} as {target}) as {kind}) is not distinct from {value}"
    failure = f"{quote_text(f'{about} holds ')} || cast({value} as varchar) || "
    reason = quote_text(f", which does not fit {target}, its type in the other files; make them one type")
    return f"case when {kept} then cast({term} as {target}) else error({failure}{reason}) end"


def _rows(reading: Reading, file: _File) -> Rows:
    terms = (
        f"{as_text(quote(column), str(file.types[name])) if name in reading.options.types else quote(column)} as "
        f"{quote(name)}"
        for name, column in file.columns.items()
    )
    query = f"select {', '.join(terms)} from ({file.input.scan()})"
    return Rows(file.input.name, query, frozenset(file.originals), lambda rows: {row: row for row in rows})


def _explained(reason: str, files: Sequence[_File]) -> str:
    for file in files:
        reason = file.input.explained(reason)
    reason = reason.removeprefix("Invalid Input Error: ")
    names = [file.input.name for file in files[:3]]
    return reason if any(reason.startswith(f"{name}") for name in names) else f"{', '.join(names)}: {reason}"
