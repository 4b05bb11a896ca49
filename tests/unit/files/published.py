"""A folder of files that is extracted into a bucket again and again, and what the bucket then says."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from analyst import runs
from analyst.catalog import CURRENT, Catalog, Pointer
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.model import FileRow, TableState
from analyst.rebuild import Rebuild
from analyst.runs import RunRecord, TableResult
from analyst.snapshots import read_catalog
from analyst.store import Store
from tests.bucket_contents import connected
from tests.unit.files.folder import Folder

SOURCE = "shop"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Published:
    """A source of files in a bucket in memory. `options` are those of all its tables."""

    store: Store
    folder: Folder
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, name: str, content: bytes | str) -> None:
        self.folder.write(name, content)

    def remove(self, name: str) -> None:
        (self.folder.path / name).unlink()

    def run(self, *, at: datetime = NOW, **options: Any) -> RunRecord:
        """Extract the folder as it is now."""
        extraction = Extraction(self.store, SOURCE, runs.new_run_id(), lambda: at)
        return extraction.run(lambda: self.folder.connector(**{**self.options, **options})).record

    def sync(self, table: str = "t", **options: Any) -> TableResult:
        """Extract the folder, which must succeed."""
        record = self.run(**options)
        assert record.status in ("ok", "unchanged"), record
        return next(result for result in record.tables if result.table == table)

    def files(self, table: str = "t") -> tuple[FileRow, ...]:
        with TemporaryDirectory() as home:
            return read_extract(self.store, SOURCE, Path(home))[0].files.get(table, ())

    def state(self, table: str = "t") -> TableState:
        with TemporaryDirectory() as home:
            return read_extract(self.store, SOURCE, Path(home))[0].state(table)

    def ask(self, query: str, table: str = "t") -> list[tuple[Any, ...]]:
        """Query the rows of the published files, as `t`."""
        with TemporaryDirectory() as home, connected() as con:
            paths = []
            for number, file in enumerate(self.files(table)):
                path = Path(home) / f"{number}.parquet"
                self.store.download(file.path, path)
                paths.append(str(path))
            con.execute(f"create temp view t as from read_parquet({paths}, union_by_name = true)")
            return con.execute(query).fetchall()

    def rows(self, table: str = "t") -> list[tuple[Any, ...]]:
        """Read all rows, each value as its text, in an order of their own."""
        return sorted(self.ask("select cast(columns(*) as varchar) from t", table), key=str)

    def types(self, table: str = "t") -> dict[str, str]:
        return {str(name): str(kind) for name, kind, *_ in self.ask("describe t", table)}

    def delta(self, table: str = "t") -> list[str]:
        """Replay the Delta log; return the paths of the table's files. A commit may name each path once."""
        alive: set[str] = set()
        for entry in sorted(self.store.list(f"extracts/{SOURCE}/data/{table}/_delta_log/"), key=lambda e: e.key):
            found = self.store.read(entry.key)
            assert found is not None
            actions = [json.loads(line) for line in found.data.splitlines()]
            added = [action["add"]["path"] for action in actions if "add" in action]
            removed = [action["remove"]["path"] for action in actions if "remove" in action]
            assert len({*added, *removed}) == len(added) + len(removed), entry.key
            assert not alive & set(added), entry.key
            assert alive >= set(removed), entry.key
            alive = (alive - set(removed)) | set(added)
        return sorted(f"extracts/{SOURCE}/data/{table}/{path}" for path in alive)

    def catalog(self) -> Catalog:
        """Build a snapshot and read its catalog."""
        Rebuild(self.store, lambda: NOW, tuple).run()
        found = self.store.read(CURRENT)
        assert found is not None
        return read_catalog(self.store, Pointer.model_validate_json(found.data).catalog)
