"""A connector whose tables are queries: what the tests extract."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from analyst.contract import parquet
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.errors import SourceError
from tests.bucket_contents import connected


@dataclass(frozen=True, slots=True)
class ToyTable:
    query: str
    fingerprint: str = "1"
    primary_key: tuple[str, ...] = ()
    cursor_column: str | None = None
    read_at: datetime | None = None
    allow_fewer: bool = False
    basis: str = ""


@dataclass(slots=True)
class Toy:
    """Tables by name. `read` counts how often each was extracted."""

    content: Mapping[str, ToyTable]
    read: list[str] = field(default_factory=list)

    def tables(self) -> Iterable[SourceTable]:
        for name, table in self.content.items():
            incremental = bool(table.primary_key or table.cursor_column)
            yield SourceTable(
                name,
                name,
                table.fingerprint,
                primary_key=table.primary_key,
                sync_strategy="incremental" if incremental else "full_refresh",
                cursor_column=table.cursor_column,
                read_at=table.read_at,
                allow_fewer=table.allow_fewer,
                basis=table.basis,
            )

    def notes(self) -> tuple[str, ...]:
        return ()

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
        self.read.append(table.name)
        query = self.content[table.name].query
        if query == "broken":
            raise SourceError(f"{table.name} is broken")
        with connected() as con:
            greatest = None
            if table.cursor_column is not None:
                bound = "" if since is None else f"where {table.cursor_column} > {since}"
                query = f"select * from ({query}) {bound}"
                found = con.execute(f"select max({table.cursor_column})::varchar from ({query})").fetchone()
                greatest = found[0] if found else None
            files = tuple(parquet.write(con, query, into))
            return Extracted(files, parquet.inspect(con, files[0]).columns, greatest)
