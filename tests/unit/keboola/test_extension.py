"""Tables read through a catalog arrive as those that are exported; what a catalog would round is exported."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from pydantic import SecretStr

from analyst.connectors.keboola.api import StorageApi
from analyst.connectors.keboola.connector import KeboolaConnector, WantedTable
from analyst.connectors.keboola.extension import Catalog, Extension
from analyst.connectors.keboola.http import Connection
from analyst.contract.extraction import Extraction
from analyst.errors import SourceError
from analyst.http_client import HttpClient
from analyst.runs import new_run_id
from tests.bucket_contents import ask
from tests.clouds import FileCloud
from tests.doubles.keboola.project import TOKEN, Column, Project
from tests.doubles.keboola.server import Served, serving

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLUMNS = [
    Column("Name", "VARCHAR"),
    Column("ok", "BOOLEAN"),
    Column("day", "DATE"),
    Column("moment", "TIMESTAMP_NTZ"),
    Column("rate", "FLOAT"),
]
ROWS = [
    ('a"b\n😀', "true", "1900-01-01", "9999-12-31 23:59:59.999999", "0.1"),
    ("", "false", "9999-12-31", "1900-01-01 00:00:00", "NaN"),
    (None, None, None, None, None),
]


@dataclass
class StandIn:
    """A DuckDB file in place of the extension's catalog, with a schema for each bucket."""

    path: Path
    is_broken: bool = False
    attached: list[str] = field(default_factory=list)

    def attach(self, con: "DuckDBPyConnection") -> None:
        if self.is_broken:
            raise SourceError("the DuckDB extension keboola can't attach the project: no workspace")
        self.attached.append("kbc")
        con.execute(f"attach '{self.path}' as kbc (read_only)")


@pytest.fixture
def served() -> Iterator[Served]:
    project = Project()
    project.table("in.c-a.t", COLUMNS, ROWS, typed=True)
    project.table("in.c-a.big", [Column("id", "NUMBER", "38,0")], [("9" * 38,)], typed=True)
    with serving(project) as found:
        yield found


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    path = tmp_path / "catalog.duckdb"
    with duckdb.connect(path) as con:
        con.execute('create schema "in.c-a"')
        declared = ", ".join(f'"{column.name}" {column.duckdb}' for column in COLUMNS)
        con.execute(f'create table "in.c-a".t ({declared}); create table "in.c-a".big (id bigint)')
        con.executemany('insert into "in.c-a".t values (?, ?, ?, ?, ?)', ROWS)
    return StandIn(path)


def extracted(served: Served, catalog: Catalog | None, home: Path) -> tuple[list[Any], tuple[str, ...]]:
    http, store = HttpClient(), FileCloud(home).open()
    wanted = [WantedTable(name, f"in.c-a.{name}") for name in ("t", "big")]
    api = StorageApi(Connection(served.url, SecretStr(TOKEN), client=http))

    def connector() -> KeboolaConnector:
        return KeboolaConnector(api, wanted, http, endpoint=served.url, catalog=catalog)

    record = Extraction(store, "kbc", new_run_id(), lambda: datetime.now(UTC)).run(connector).record
    assert record.status == "ok", record
    rows = ask(store, "extracts/kbc/extract.duckdb", "select columns(*)::varchar from t order by all")
    return [*rows, *ask(store, "extracts/kbc/extract.duckdb", "select id::varchar from big")], record.notes


def test_the_extension_and_the_export_return_the_same_rows(served: Served, stand_in: StandIn, tmp_path: Path) -> None:
    exported, _ = extracted(served, None, tmp_path / "exported")
    read, notes = extracted(served, stand_in, tmp_path / "read")
    assert read == exported
    assert read[-1] == ("9" * 38,)
    assert stand_in.attached == ["kbc"]
    [note] = notes
    assert note.startswith("1 tables were read through the DuckDB extension keboola; 1 were exported because")
    assert note.endswith("the extension would round the column 'id': big")


def test_a_catalog_that_cannot_be_attached_is_no_obstacle(served: Served, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.is_broken = True
    exported, _ = extracted(served, None, tmp_path / "exported")
    read, notes = extracted(served, stand_in, tmp_path / "read")
    assert read == exported
    assert "no workspace: t" in notes[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"features": ("block-shared-snowflake-access",)}, "blocks shared Snowflake access"),
        ({"linked": True}, "is linked"),
    ],
)
def test_projects_and_buckets_without_a_workspace_are_exported(
    served: Served, stand_in: StandIn, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    served.project.features = change.get("features", ())
    if "linked" in change:
        served.project.buckets["in.c-a"]["sourceBucket"] = {"id": "in.c-a", "project": {"id": 1}}
    _, notes = extracted(served, stand_in, tmp_path / "read")
    assert reason in notes[0]
    assert stand_in.attached == []


def test_an_extension_that_is_not_installed_is_reported_without_the_token() -> None:
    with duckdb.connect() as con, pytest.raises(SourceError, match="can't be loaded") as caught:
        Extension(Connection("https://connection.keboola.com", SecretStr(TOKEN))).attach(con)
    assert TOKEN not in str(caught.value)
