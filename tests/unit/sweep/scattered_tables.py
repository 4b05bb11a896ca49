"""A bucket with tables of many small files."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from analyst import duckdb_files, runs
from analyst.catalog import Catalog
from analyst.contract.connector import Connector
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.model import Extract, FileRow
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.sweep import Rule, Sweep, SweepAnswer
from tests.bucket_contents import data, database, edited, folder

FEW = Rule(fewest=3)
DAY = timedelta(days=1)
EXTRACT = "extracts/shop/extract.duckdb"


@dataclass
class Bucket:
    """A bucket, and a folder to work in. The clock of those who publish is ours to move; whoever sweeps has snapshots built."""

    store: Store
    folder: Path
    now: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    asked: list[str] = field(default_factory=list)

    def extract(self, source: Connector, store: Store | None = None, name: str = "shop") -> str:
        """Extract a source; tell how its first table fared."""
        self.now += timedelta(minutes=1)
        at = self.now
        record = Extraction(store or self.store, name, runs.new_run_id(), lambda: at).run(lambda: source).record
        assert record.status in ("ok", "unchanged"), record
        return record.tables[0].status

    def rebuild(self) -> int:
        return Rebuild(self.store, lambda: self.now, tuple).run().snapshot or 0

    def sweep(self, store: Store | None = None, rule: Rule = FEW, *, dry_run: bool = False) -> SweepAnswer:
        def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
            assert body == {"source": None}
            self.asked.append(path)
            return {"status": "published", "snapshot": self.rebuild()}

        self.now += timedelta(minutes=1)
        return Sweep(store or self.store, DAY, now=lambda: self.now, rule=rule, call=call).run(dry_run=dry_run)

    def compacted(self, **options: Any) -> list[tuple[str, int]]:
        answer = self.sweep(**options)
        assert answer.problems == ()
        return [(table.table, table.files) for table in answer.compacted]

    def extracted(self, source: str = "shop") -> Extract:
        return read_extract(self.store, source, self.folder)[0]

    def files(self, table: str = "orders") -> tuple[FileRow, ...]:
        return self.extracted().files[table]

    def ask(self, query: str) -> list[Any]:
        """Ask the extract, whose views are to read this bucket, also where it is a copy of another."""
        with database(self.store, EXTRACT) as con:
            con.execute("set variable data_root = $root", {"root": self.store.url})
            return con.execute(query).fetchall()

    def seen(self, table: str = "orders") -> dict[str, Any]:
        """Return all that a reader may see of a table but how often it was published, and in which files."""
        extract = self.extracted()
        comments = (
            "select column_name, comment from duckdb_columns() where database_name = current_database() order by 1"
        )
        return {
            "rows": self.ask(f"from {table}"),
            "columns": self.ask(f"describe {table}"),
            "comments": self.ask(comments),
            "about": [
                self.ask(f"select table_name, description, rows, extracted_at, query_mode from {of}")
                for of in ("_meta",)
            ],
            "state": (extract.state(table).cursor, extract.state(table).fingerprint),
            "delta": self.delta(table=table).sort("n").rows(named=True),
            "runs": self.ask("select table_name, status, rows from _runs"),
        }

    def delta(self, version: int | None = None, table: str = "orders") -> pl.DataFrame:
        """Read a table as those do who read Delta."""
        with folder(self.store, f"extracts/shop/data/{table}/") as root:
            return pl.read_delta(str(root), version=version)

    def catalog(self) -> Catalog:
        return Snapshots(self.store).current().catalog

    def commit(self, table: str = "orders") -> list[dict[str, Any]]:
        """Read the newest commit of a table's Delta log."""
        logs = self.store.list(f"extracts/shop/data/{table}/_delta_log/")
        newest = max(entry.key for entry in logs if entry.key.endswith(".json"))
        return [json.loads(line) for line in data(self.store, newest).splitlines()]

    def edit(self, statement: str) -> None:
        """Change the extract as nobody should."""
        with edited(self.store, EXTRACT) as path, duckdb_files.connect() as con:
            con.execute(f"attach '{path}' as extract")
            con.execute(statement)
