"""Extracts and rebuilds, and the resulting snapshots."""

from collections.abc import Mapping
from datetime import UTC, datetime

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild, RebuildAnswer
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from tests.doubles.toy_source import Toy, ToyTable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def extract(store: Store, source: str, tables: Mapping[str, str]) -> None:
    toy = Toy({name: ToyTable(query, query) for name, query in tables.items()})
    assert Extraction(store, source, runs.new_run_id(), lambda: NOW).run(lambda: toy).record.status in (
        "ok",
        "unchanged",
    )


def rebuild(store: Store) -> RebuildAnswer:
    return Rebuild(store, lambda: NOW, tuple).run()


def views(store: Store) -> dict[str, str]:
    return {table.id: table.view for table in Snapshots(store).current().catalog.tables}


def damage(store: Store, source: str, content: bytes = b"broken") -> None:
    store.put(f"extracts/{source}/extract.duckdb", content, if_version=ANY)
