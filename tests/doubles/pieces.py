"""A connector of one table that grows, with a query and a file for each part."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from analyst.catalog import Column
from analyst.contract import parquet
from analyst.contract.connector import Cursor, Extracted, SourceTable
from tests.bucket_contents import connected


@dataclass
class Pieces:
    """`pieces` are queries; the number of the last one is the cursor.

    Of the kind `blind`, the table has no cursor, and the pieces that it has already are `skipped`; of the kind `full`, all
    are read each time. When they are read, `then` may do what it likes.
    """

    kind: Literal["cursor", "blind", "full"] = "cursor"
    pieces: list[str] = field(default_factory=list)
    name: str = "orders"
    skipped: int = 0
    then: Callable[[], object] = lambda: None

    def grow(self, count: int, query: str = "select {n} as n, 'x' || {n} as t") -> None:
        """Add pieces."""
        for n in range(len(self.pieces) + 1, len(self.pieces) + count + 1):
            self.pieces.append(query.format(n=n))

    def tables(self) -> Iterable[SourceTable]:
        return [
            SourceTable(
                self.name,
                self.name,
                str(len(self.pieces)),
                description="All that was ordered",
                sync_strategy="full_refresh" if self.kind == "full" else "incremental",
                cursor_column="n" if self.kind == "cursor" else None,
            )
        ]

    def notes(self) -> tuple[str, ...]:
        return ()

    def extract(self, _table: SourceTable, since: Cursor, into: Path) -> Extracted:
        done = int(since or 0) if self.kind == "cursor" else self.skipped
        files: list[Path] = []
        columns: dict[str, Column] = {}
        with connected() as con:
            for number, query in enumerate(self.pieces[done:] or [f"{self.pieces[-1]} limit 0"]):
                home = into / str(number)
                home.mkdir()
                files += parquet.write(con, query, home)
                columns |= {column.name: column for column in parquet.inspect(con, files[-1]).columns}
        self.then()
        described = tuple(c.model_copy(update={"description": f"the {c.name} of it"}) for c in columns.values())
        return Extracted(tuple(files), described, len(self.pieces) if self.kind == "cursor" else None)
