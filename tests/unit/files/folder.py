"""A folder of files, and what the connector makes of it."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from analyst.catalog import Column
from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.options import CsvSource, CsvTableOptions
from analyst.connectors.files.table_files import Wanted
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.names import quote
from tests.bucket_contents import connected


@dataclass
class Folder:
    """A folder under SOURCE_ROOTS. `options` are the source's, `tables` those of registered tables."""

    path: Path
    work: Path
    options: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: int = 0

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def connector(self, **options: Any) -> CsvConnector:
        source = CsvSource.model_validate({"path": str(self.path), **self.options, **options})
        registered = {name: CsvTableOptions.model_validate(own) for name, own in self.tables.items()}
        return CsvConnector(Wanted(source, registered), [str(self.path)], scratch=self.work / "scratch")

    def listed(self, **options: Any) -> dict[str, SourceTable]:
        return {table.name: table for table in self.connector(**options).tables()}

    def extract(self, name: str, since: Cursor = None, **options: Any) -> Extracted:
        connector = self.connector(**options)
        table = next(table for table in connector.tables() if table.name == name)
        return connector.extract(table, since, self.into())

    def into(self) -> Path:
        """Make a new folder to extract into."""
        self.read += 1
        into = self.work / f"into{self.read}"
        into.mkdir(parents=True)
        return into

    def rows(self, name: str, since: Cursor = None, **options: Any) -> list[tuple[Any, ...]]:
        return rows_of(self.extract(name, since, **options))

    def types(self, name: str, **options: Any) -> dict[str, str]:
        return {column.name: column.type for column in self.extract(name, **options).columns}


def rows_of(extracted: Extracted) -> list[tuple[Any, ...]]:
    """The rows of what was extracted; DuckDB hands out instants only through a package that is not there."""
    instants = [column.type == "TIMESTAMP WITH TIME ZONE" for column in extracted.columns]
    with connected() as con:
        paths = [str(path) for path in extracted.files]
        found = con.execute(
            f"select {', '.join(map(_term, extracted.columns))} from read_parquet(?, union_by_name = true)", [paths]
        ).fetchall()
    return [tuple(_value(value, instant) for value, instant in zip(row, instants, strict=True)) for row in found]


def _term(column: Column) -> str:
    return f"cast({quote(column.name)} as varchar)" if column.type == "TIMESTAMP WITH TIME ZONE" else quote(column.name)


def _value(value: Any, instant: bool) -> Any:
    return datetime.fromisoformat(value) if instant and value else value
