"""A state in memory, and older systems made of the reference system's own tables."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from analyst.access import AccessList, AccessReader
from analyst.imports.old_system import OldSystem
from analyst.imports.report import ImportReport
from analyst.imports.state_import import import_system
from analyst.state import Actor, State
from tests.doubles.memory_store import MemoryStore
from tests.unit.state import legacy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Take = Callable[..., ImportReport]

V3 = (legacy.V2, legacy.V3, legacy.PEOPLE, legacy.TABLES)
PRIVATE = "update table_registry set is_public = false"

VERSIONS = pytest.mark.parametrize(
    "statements",
    [
        pytest.param((legacy.V2, legacy.PEOPLE, legacy.TABLES), id="v2"),
        pytest.param(V3, id="v3"),
        pytest.param((*V3, PRIVATE), id="v3 private"),
    ],
)


def old_system(*statements: str, **more: Any) -> OldSystem:
    """Make what is sent of a system file with these statements."""
    with duckdb.connect() as con:
        con.execute(";".join(statements))
        there = con.execute("select table_name from duckdb_tables()").fetchall()
        rows = {table: _rows(con, table) for (table,) in there}
    return OldSystem.model_validate({"rows": rows, **more})


def _rows(con: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, str | None]]:
    found = con.execute(f"select columns(*)::varchar from {table}")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def state(store: MemoryStore) -> State:
    return State(store, lambda: NOW, sleep=lambda _: None)


@pytest.fixture
def actor() -> Actor:
    return Actor("u-root", NOW, "req-1")


@pytest.fixture
def take(state: State, actor: Actor) -> Callable[..., ImportReport]:
    """Import a system made of statements, or given."""

    def run(*statements: str, old: OldSystem | None = None, **more: Any) -> ImportReport:
        return import_system(state, actor, old or old_system(*statements, **more))

    return run


def published(store: MemoryStore) -> AccessList:
    return AccessReader(store, 0, lambda: 0.0).current()


def rows(state: State, sql: str) -> list[Any]:
    with state.read() as db:
        return db.execute(sql).fetchall()


def reasons(report: ImportReport, kind: str) -> dict[str, str]:
    return {left.name: left.reason for left in report.left if left.kind == kind}


def altered(report: ImportReport) -> dict[str, str]:
    return {each.name: each.reason for each in report.altered}
