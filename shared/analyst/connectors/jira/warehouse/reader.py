"""Reading columns of the published tables of a Jira source, file by file."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst import duckdb_files
from analyst.contract.extract_edit import read_extract
from analyst.contract.model import Extract, FileRow
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.names import quote_text
from analyst.store import Store
from analyst.store.transfer import local_copy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Look:
    """The published tables at one time. Files of a bucket elsewhere are copied to `folder` one after another."""

    con: "DuckDBPyConnection"
    store: Store
    extract: Extract
    folder: Path

    def has(self, table: str) -> bool:
        """Return whether a table is published."""
        return table in self.extract.files

    def files(self, table: str) -> tuple[FileRow, ...]:
        """Return the files of a table."""
        return self.extract.files.get(table, ())

    def newest(self, table: str, column: str, count: int) -> list[FileRow]:
        """Return the files of a table with the greatest values of a column."""
        greatest = [(str(file.column_stats.get(column, {}).get("max") or ""), file) for file in self.files(table)]
        return [file for _, file in sorted(greatest, key=lambda one: one[0], reverse=True)[:count]]

    def take(
        self, table: str, into: str, columns: str, where: str = "true", *, files: Iterable[FileRow] | None = None
    ) -> None:
        """Insert columns of a table, given as a select list, into a table of the connection.

        Raises:
            ContractError: one of its files can't be read.
        """
        for file in self.files(table) if files is None else files:
            with self._local(file) as path, raised_as(ContractError, f"{table} can't be read: "):
                scan = f"read_parquet({quote_text(str(path))}, hive_partitioning = false)"
                self.con.execute(f"insert into {into} select {columns} from {scan} where {where}")

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Query the connection."""
        return self.con.execute(query, list(parameters)).fetchall()

    @contextmanager
    def _local(self, file: FileRow) -> Iterator[Path]:
        copy = self.folder / "copy.parquet"
        try:
            yield local_copy(self.store, file.path, copy)
        finally:
            copy.unlink(missing_ok=True)


@contextmanager
def look(store: Store, source: str, memory_limit: str, scratch: Path | None) -> Iterator[Look]:
    """Open the tables that are published now.

    Raises:
        ContractError: they can't be read.
    """
    with duckdb_files.scratch(scratch) as folder:
        extract, _ = read_extract(store, source, folder)
        with duckdb_files.lent(memory_limit=memory_limit, temp_dir=folder / "spill") as con:
            yield Look(con, store, extract.require_whole(), folder)
