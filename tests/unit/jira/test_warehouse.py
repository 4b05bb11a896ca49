"""How the warehouse treats tables that it did not write itself."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from ulid import ULID

from analyst import duckdb_files, runs
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.warehouse import parts
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.connectors.jira.warehouse.publish import Warehouse
from analyst.contract import parquet, publishing
from analyst.contract.extract_edit import read_extract
from analyst.contract.model import IMPORTED, Extract
from analyst.contract.publishing import NewTable, Uploads
from tests.doubles.memory_store import MemoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_tables_of_an_older_system_stay_until_all_issues_have_been_read(tmp_path: Path) -> None:
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


def test_imported_rows_stay_while_jira_has_no_issues(tmp_path: Path) -> None:
    """A source that is connected after an import often points to the wrong instance, or its account sees nothing."""
    store = MemoryStore()
    _import(store, tmp_path)
    warehouse = Warehouse(store, "jira", TransformOptions.of(), lambda: NOON)
    reading = Progress(0, 0)
    assert warehouse.absorb({}, cursor=reading.cursor()).note is None
    absorbed = warehouse.absorb({}, cursor=reading.through().cursor())
    assert absorbed.note is not None
    assert absorbed.note.startswith("Jira shows no issue, so the 500 imported rows stay; check JIRA_DOMAIN")
    assert _extract(store, tmp_path).meta["issues"].rows == 500
    assert _extract(store, tmp_path).meta["comments"].rows == 0
    again = warehouse.absorb({})
    assert (again.version, again.tables, again.note) == (absorbed.version, (), absorbed.note)
    assert warehouse.absorb({"1": _known}).note is None
    assert _extract(store, tmp_path).meta["issues"].rows == 1


def test_a_table_that_is_registered_again_inherits_nothing(tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_a_large_document_gets_a_file_of_its_own_even_if_it_had_none_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = MemoryStore(), MemoryStore()
    monkeypatch.setattr(parts, "LARGE", 1 << 30)  # as older versions wrote it
    warehouse = Warehouse(ours, "jira", TransformOptions.of(), lambda: NOON)
    warehouse.absorb({"1": _known, "2": partial(_known, summary="x" * 2000)})
    monkeypatch.setattr(parts, "LARGE", 1000)
    warehouse.absorb({"2": partial(_known, summary="y" * 2000), "3": partial(_known, summary="z" * 2000)})
    other = Warehouse(theirs, "jira", TransformOptions.of(), lambda: NOON)
    for issue_id, summary in (("3", "z" * 2000), ("2", "y" * 2000), ("1", "")):
        other.absorb({issue_id: partial(_known, summary=summary)})
    remade = Warehouse(theirs, "jira", TransformOptions.of(projects=["A"]), lambda: NOON)
    remade.absorb({})
    files = _files(ours, tmp_path / "ours")
    assert files == _files(theirs, tmp_path / "theirs")
    assert [file[:2] for file in files["raw_issues"]] == [
        (None, 0),
        ("2026-03/0", 1),
        ("2026-03/0/2", 1),
        ("2026-03/0/3", 1),
    ]
    assert [file[:2] for file in files["issues"]] == [(None, 0), ("2026-03", 1), ("2026-03/2", 1), ("2026-03/3", 1)]
    assert warehouse.find(["3"]).keys() == {"3"}
    warehouse.absorb({"3": partial(_known, summary="small")})
    files = _files(ours, tmp_path / "again")
    assert [file[:2] for file in files["raw_issues"]] == [(None, 0), ("2026-03/0", 2), ("2026-03/0/2", 1)]
    assert [file[:2] for file in files["issues"]] == [(None, 0), ("2026-03", 2), ("2026-03/2", 1)]
    assert warehouse.find(["1", "2", "3"]).keys() == {"1", "2", "3"}


def _known(state: IssueState, summary: str = "") -> IssueState:
    fields = {"created": "2026-03-01T12:00:00.000+0000", "updated": "2026-03-01T12:00:00.000+0000"}
    fields["summary"] = summary
    return state.fetched({"id": state.issue_id, "key": "A-1", "fields": fields})


def _files(store: MemoryStore, folder: Path) -> dict[str, list[tuple[str | None, int, str]]]:
    return {
        name: [(file.partition, file.rows, file.sha256) for file in files]
        for name, files in _extract(store, folder).files.items()
    }


def _extract(store: MemoryStore, folder: Path) -> Extract:
    folder.mkdir(exist_ok=True)
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
        store,
        "jira",
        [table],
        (),
        run_id=runs.new_run_id(),
        uploads=uploads,
        now=lambda: NOON,
        folder=folder,
        check=None,
    )
