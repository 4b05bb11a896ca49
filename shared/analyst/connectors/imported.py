"""The connector of an older system's tables: each consists of Parquet files; some columns are only in their paths."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from analyst import duckdb_files
from analyst.contract import parquet
from analyst.contract.column_names import named
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.extract_edit import read_extract
from analyst.contract.model import Extract
from analyst.contract.parquet_input import ParquetInput, open_parquet, within_years
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.imports.imported_tables import ImportedTable, standing
from analyst.imports.parts import Parts
from analyst.names import quote, quote_text
from analyst.types import checked_type, survives

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PARTITION = re.compile(r"([^=]+)=.*")
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class _File:
    """A local file: `original` is the path that it had; `types` are those of its own columns."""

    path: Path
    original: str
    types: Mapping[str, str]
    partitions: tuple[str, ...]


@dataclass(slots=True)
class Reading:
    """The files of the table `name`, collected in the local `folder`."""

    con: "DuckDBPyConnection"
    name: str
    folder: Path
    files: list[_File] = field(default_factory=list)

    def new_path(self) -> Path:
        """Return the path for the next file."""
        return self.folder / f"{len(self.files):06}.parquet"

    def _opened(self, path: Path, original: str) -> ParquetInput:
        scratch = self.folder / "exact"
        scratch.mkdir(exist_ok=True)
        return open_parquet(self.con, path, original, scratch)

    def add(self, path: Path, original: str) -> None:
        """Add a file.

        A folder of its `original` path such as `month=2025-01` is a column, unless the file has that column.

        Raises:
            SourceError: it is not parquet.
        """
        opened = self._opened(path, original)
        own = {name.lower() for name in opened.columns}
        folders = [(part, _PARTITION.fullmatch(part)) for part in original.split("/")[:-1]]
        partitions = tuple(part for part, found in folders if found and found[1].lower() not in own)
        home = self.folder.joinpath("files", *partitions)
        home.mkdir(parents=True, exist_ok=True)
        for number, piece in enumerate(opened.paths):
            with raised_as(SourceError, f"{original} can't be read as parquet: ", hide=piece):
                types = self._types(_scan([piece], partitioned=False))
            place = piece.rename(home / f"{path.stem}-{number:03}.parquet")
            self.files.append(_File(place, original, types, partitions))

    def write(self, into: Path) -> Extracted:
        """Write the rows of all files, in their order, to parquet files in an empty folder.

        Raises:
            SourceError: they can't be read as one table without changing a value, or two columns have the same name.
        """
        scan = _scan((file.path for file in self.files), partitioned=any(file.partitions for file in self.files))
        with raised_as(SourceError, "the files can't be read as one table: ", hide=self.folder):
            types = self._types(scan)
            self._check_types({name.lower(): kind for name, kind in types.items()})
        ours = {name.lower() for file in self.files for name in (*file.types, *_keys(file.partitions))}
        names = named([name for name in types if name.lower() in ours], self.name)
        kinds = {name: kind for name, kind, *_ in self._described(scan)}
        select = ", ".join(
            f"{within_years(quote(original), kinds[original], f'the column {original!r}')} as {quote(name)}"
            for name, original in names.items()
        )
        written = parquet.write(self.con, f"select {select} from ({scan})", into)
        columns = tuple(
            column
            if column.name == names[column.name]
            else column.model_copy(update={"description": names[column.name]})
            for column in parquet.inspect(self.con, written[0]).columns
        )
        return Extracted(tuple(written), columns)

    def _types(self, scan: str) -> dict[str, str]:
        return {str(row[0]): checked_type(str(row[1])) for row in self.con.execute(f"describe {scan}").fetchall()}

    def _described(self, scan: str) -> list[tuple[str, Any]]:
        return [(name, kind) for name, kind, *_ in self.con.execute(f"{scan} limit 0").description or []]

    def _check_types(self, united: Mapping[str, str]) -> None:
        """Check that no value changes where a column has several types."""
        for file in self.files:
            for column, kind in file.types.items():
                if kind != united[column.lower()]:
                    self._check_column(file, column, kind, united[column.lower()])

    def _check_column(self, file: _File, column: str, kind: str, target: str) -> None:
        name = quote(column)
        scan = _scan([file.path], partitioned=False)
        query = f"select {name}::varchar from ({scan}) where not ({survives(self.con, name, kind, target)}) limit 1"
        lost = self.con.execute(query).fetchone()
        if lost is not None:
            raise SourceError(
                f"the column {column!r} can't be read: it is {kind} in '{file.original}', and {lost[0]} does not fit {target}, its "
                "type in the other files; make them one type"
            )


def _keys(partitions: Iterable[str]) -> list[str]:
    return [partition.partition("=")[0] for partition in partitions]


def _scan(paths: Iterable[Path], *, partitioned: bool) -> str:
    listed = ", ".join(quote_text(_PATTERN.sub(r"[\g<0>]", str(path))) for path in paths)
    partitioning = "true, hive_types_autocast = false" if partitioned else "false"
    return f"select * from read_parquet([{listed}], union_by_name = true, hive_partitioning = {partitioning})"


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """Tables of one source whose files arrived in parts. `here` is what is published; `memory_limit` is per table."""

    parts: Parts
    wanted: Mapping[str, ImportedTable]
    here: Extract
    now: datetime
    memory_limit: str = "300MB"

    @classmethod
    def open(
        cls,
        parts: Parts,
        source: str,
        tables: Iterable[ImportedTable],
        now: datetime,
        memory_limit: str,
        *,
        registrations: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Open the published tables of these registrations (uuids of tables by name).

        Raises:
            ContractError: its extract can't be read.
        """
        with duckdb_files.scratch(parts.scratch) as folder:
            here, _version = read_extract(parts.store, source, folder)
        here = here.without_predecessors(registrations)
        return cls(parts, {table.name: table for table in tables}, here, now, memory_limit)

    def tables(self) -> Iterable[SourceTable]:
        """List the tables, except those that were extracted here: an extract overrides an import."""
        for table in self.wanted.values():
            if standing(self.here, table) != "extracted":
                read_at = min(table.extracted_at or self.now, self.now)
                yield SourceTable(table.name, table.name, table.fingerprint, read_at=read_at)

    def notes(self) -> tuple[str, ...]:
        """Return no notes: an import contains tables only."""
        return ()

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:  # noqa: ARG002 - there is no more
        """Rewrite a table's rows, with names and types that all readers support.

        Raises:
            SourceError: a part is missing, a file can't be read, or the files can't be read as one table.
        """
        with duckdb_files.scratch(self.parts.scratch) as folder:
            spill = folder / "spill"
            with duckdb_files.connect(memory_limit=self.memory_limit, threads=1, temp_dir=spill) as con:
                reading = Reading(con, table.name, folder)
                for file in self.wanted[table.name].files:
                    path = reading.new_path()
                    self.parts.join(file.parts, file.sha256, path)
                    reading.add(path, file.path)
                return reading.write(into)
