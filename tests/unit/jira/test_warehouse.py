"""What the warehouse does with tables that it did not make itself."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ulid import ULID

from analyst import duckdb_files, runs
from analyst.contract import parquet, publishing
from analyst.contract.editing import read_extract
from analyst.contract.model import IMPORTED, Extract
from analyst.contract.publishing import NewTable, Uploads
from analyst.store.memory import MemoryStore
from functions.extract.jira.progress import Progress
from functions.extract.jira.state import IssueState
from functions.extract.jira.transform.fields import TransformOptions
from functions.extract.jira.warehouse import Warehouse

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_what_an_older_system_knew_stays_until_all_issues_were_read(tmp_path: Path) -> None:
    store = MemoryStore()
    _import(store, tmp_path)
    warehouse = Warehouse(store, "jira", TransformOptions.of(), lambda: NOON)
    reading = Progress(0, 0)
    warehouse.absorb({"1": _known}, cursor=reading.cursor())
    assert _extract(store, tmp_path).meta["issues"].rows == 500
    assert _extract(store, tmp_path).meta["raw_issues"].rows == 1
    assert _extract(store, tmp_path).meta["comments"].rows == 0
    warehouse.absorb({}, cursor=reading.through().cursor())
    assert _extract(store, tmp_path).meta["issues"].rows == 1


def test_a_table_that_is_registered_anew_starts_from_nothing(tmp_path: Path) -> None:
    """Also where its predecessor is still published: the process that took it away died before it could."""
    store = MemoryStore()
    first = {"raw_issues": "r-1", "issues": "i-1", "comments": "c-1"}
    _warehouse(store, first).absorb({"1": _known}, cursor=Progress(0, 0).through().cursor())
    for anew, rows in (({"issues": "i-2"}, 1), ({"raw_issues": "r-2", "issues": "i-3"}, 0)):
        warehouse = _warehouse(store, first | anew)
        warehouse.absorb({})
        extract = _extract(store, tmp_path)
        assert {name: extract.state(name).registration for name in anew} == anew
        assert extract.meta["issues"].rows == rows
    assert (warehouse.find(["1"]), warehouse.cursor()) == ({}, None)


def _warehouse(store: MemoryStore, registrations: dict[str, str]) -> Warehouse:
    return Warehouse(store, "jira", TransformOptions.of(), lambda: NOON, registrations=registrations)


def _known(state: IssueState) -> IssueState:
    fields = {"created": "2026-03-01T12:00:00.000+0000", "updated": "2026-03-01T12:00:00.000+0000"}
    return state.fetched({"id": state.issue_id, "key": "A-1", "fields": fields})


def _extract(store: MemoryStore, folder: Path) -> Extract:
    return read_extract(store, "jira", folder)[0]


def _import(store: MemoryStore, folder: Path) -> None:
    """Publish a table as an import does."""
    (into := folder / "imported").mkdir()
    with duckdb_files.connect(threads=1) as con:
        (path,) = parquet.write(con, "select range::varchar as issue_id from range(500)", into)
        file = replace(parquet.inspect(con, path), partition=None)
    state = _extract(store, folder).state("issues")
    table = NewTable("issues", None, (), (file,), f"{IMPORTED}x", None, state, NOON)
    uploads = Uploads(store, "jira", lambda: str(ULID()))
    publishing.publish(
        store, "jira", [table], (), run_id=runs.new_run_id(), uploads=uploads, now=lambda: NOON, folder=folder
    )
