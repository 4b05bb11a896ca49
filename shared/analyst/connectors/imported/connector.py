"""The connector of an older system's files: each table is what its parquet files hold, united by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Self

from analyst import duckdb_files
from analyst.connectors.imported.parquet_files import Reading
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.extract_edit import read_extract
from analyst.contract.model import Extract
from analyst.imports.files import ImportedTable, standing
from analyst.imports.parts import Parts


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """Tables of one source whose files came in parts. `here` is what the source has; `memory_limit` is per table."""

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
        """Look at what the source has for these registrations (uuids of tables by name).

        Raises:
            ContractError: its extract can't be read.
        """
        with duckdb_files.scratch(parts.scratch) as folder:
            here, _version = read_extract(parts.store, source, folder)
        here = here.without_predecessors(registrations)
        return cls(parts, {table.name: table for table in tables}, here, now, memory_limit)

    def tables(self) -> Iterable[SourceTable]:
        """List the tables, but for those that were extracted here: what their source says goes before."""
        for table in self.wanted.values():
            if standing(self.here, table) != "extracted":
                read_at = min(table.extracted_at or self.now, self.now)
                yield SourceTable(table.name, table.name, table.fingerprint, read_at=read_at)

    def notes(self) -> tuple[str, ...]:
        """Nothing but tables is asked for."""
        return ()

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:  # noqa: ARG002 - there is no more
        """Write a table's rows anew, under names and types that all readers take.

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
