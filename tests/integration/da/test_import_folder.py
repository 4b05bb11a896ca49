"""The folder of an older system is only read, never changed."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from da.errors import DaError
from da.imports.folder import OldSystem, read_folder
from da.imports.old_state import read_state
from da.imports.transfer import in_parts
from tests.unit.state import legacy

pytestmark = pytest.mark.duckdb

V1_REGISTRY = """
create table schema_version (version integer not null, applied_at timestamp default current_timestamp);
insert into schema_version (version) values (1);
create table table_registry (
    id varchar primary key, name varchar not null, sync_strategy varchar default 'full_refresh', primary_key varchar,
    folder varchar, description text, registered_by varchar, registered_at timestamp
);
"""
V1_ORDERS = (
    "insert into table_registry (id, name, registered_at) values ('orders', 'Orders', '2025-01-02 03:04:05.678')"
)


def marks(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "old" / "state").mkdir(parents=True)
    return tmp_path / "old"


@pytest.fixture
def put(root: Path) -> Callable[..., Path]:
    """Write a parquet file of one row, or of what a query gives."""

    def write(place: str, query: str = "select 1 as n") -> Path:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(f"copy ({query}) to '{path}' (format parquet)")
        return path

    return write


@pytest.fixture
def read(root: Path, tmp_path: Path) -> Callable[..., OldSystem]:
    """Read the folder, and see to it that nothing of it was touched."""

    def run(**more: Any) -> OldSystem:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        before = marks(root)
        system = read_folder(root, scratch, **more)
        assert marks(root) == before
        return system

    return run


Put = Callable[..., Path]
Read = Callable[..., OldSystem]


def extract(home: Path, *statements: str) -> None:
    """Write an extract.duckdb as the reference system's connectors did."""
    home.mkdir(parents=True, exist_ok=True)
    meta = """create table _meta (table_name varchar not null, description varchar, rows bigint, size_bytes bigint,
                                  extracted_at timestamp, query_mode varchar default 'local')"""
    legacy.make(home / "extract.duckdb", meta, *statements)


VERSIONS = {
    1: (V1_REGISTRY, V1_ORDERS),
    2: (legacy.V2, legacy.PEOPLE, legacy.TABLES),
    3: (legacy.V2, legacy.V3, legacy.PEOPLE, legacy.TABLES),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("make", [legacy.make, legacy.make_unclosed])
def test_a_state_of_each_version_is_read(root: Path, read: Read, version: int, make: Callable[..., Path]) -> None:
    make(root / "state/system.duckdb", *VERSIONS[version])
    state = read().state
    assert state.version == version
    names = {row["id"]: row["name"] for row in state.rows["table_registry"]}
    assert names["orders"] == "Orders"
    assert ("is_public" in state.rows["table_registry"][0]) is (version == 3)
    json.dumps(state.rows)


def test_times_are_written_in_a_portable_form(root: Path, read: Read) -> None:
    legacy.make(root / "state/system.duckdb", V1_REGISTRY, V1_ORDERS)
    (row,) = read().state.rows["table_registry"]
    assert row["registered_at"] == "2025-01-02T03:04:05.678000"


def test_secrets_are_not_exported(root: Path, read: Read) -> None:
    tokens = "update users set reset_token = 'hunter2', setup_token = 'hunter2' where id = 'u-bob'"
    codes = "insert into pending_codes values ('hunter2', 1, now())"
    legacy.make(root / "state/system.duckdb", legacy.V2, legacy.PEOPLE, tokens, codes)
    state = read().state
    assert "hunter2" not in json.dumps(state.rows)
    assert {left.name for left in state.left} == {
        "pending_codes (1 row)",
        "sync_history (1 row)",
        "users.reset_token (1 row)",
        "users.setup_token (1 row)",
    }


def test_texts_contain_nothing_that_json_cannot_represent(root: Path, read: Read) -> None:
    legacy.make(
        root / "state/system.duckdb",
        legacy.V2,
        "insert into users (id, email, name) values ('u', 'a@b.c', 'a' || chr(0) || 'b')",
    )
    assert read().state.rows["users"][0]["name"] == "ab"


def test_a_newer_state_is_refused(root: Path, read: Read) -> None:
    legacy.make(root / "state/system.duckdb", legacy.V2, "insert into schema_version (version) values (19)")
    with pytest.raises(DaError, match=r"schema version 19 is not supported \(supported: 1 to 3\)"):
        read()


@pytest.mark.parametrize("content", [b"no database", bytes(8192)])
def test_a_damaged_state_is_refused(root: Path, read: Read, content: bytes) -> None:
    (root / "state/system.duckdb").write_bytes(content)
    with pytest.raises(DaError, match=r"as a DuckDB database") as raised:
        read()
    assert "da-import-" not in str(raised.value)


def test_a_state_that_is_being_written_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = legacy.make(root / "state/system.duckdb", V1_REGISTRY)
    copyfile = shutil.copyfile

    def written(source: Path, target: Path) -> None:
        copyfile(source, target)
        with source.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(shutil, "copyfile", written)
    with pytest.raises(DaError, match="it keeps changing"):
        read_state(path)


def test_a_folder_without_an_older_system_is_refused(read: Read) -> None:
    with pytest.raises(DaError, match="give the older system's DATA_DIR"):
        read()


def test_tables_of_extracts_are_found(root: Path, put: Put, read: Read) -> None:
    put("extracts/keboola/data/orders.parquet", "select range as n from range(3)")
    put("extracts/jira/data/issues/2025-02.parquet", "select 2 as n from range(2)")
    put("extracts/jira/data/issues/2025-01.parquet")
    put("extracts/jira/data/month/month=2025-01/data.parquet")
    put("extracts/jira/data/.locks/lock.parquet")
    at = "timestamp '2025-01-02 03:04:05'"
    extract(root / "extracts/keboola", f"insert into _meta values ('orders', 'All orders', 3, 1, {at}, 'local')")
    orders, issues, month = sorted(read().tables, key=lambda each: (each.source != "keboola", each.table))
    assert (orders.source, orders.table, orders.rows) == ("keboola", "orders", 3)
    assert (orders.description, orders.extracted_at) == ("All orders", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert (issues.source, issues.table, issues.rows) == ("jira", "issues", 3)
    assert [path.name for path in issues.files] == ["2025-01.parquet", "2025-02.parquet"]
    newest = max(path.stat().st_mtime for path in issues.files)
    assert issues.extracted_at == datetime.fromtimestamp(newest, UTC)
    assert [in_parts(path, month.home).path for path in month.files] == ["month=2025-01/data.parquet"]


def test_a_table_inside_an_extract_is_exported(root: Path, read: Read) -> None:
    rows = "create table held as select range as n from range(5)"
    extract(
        root / "extracts/odd-name", rows, "insert into _meta (table_name) values ('held')", "create table other (a int)"
    )
    (held,) = read().tables
    assert (held.source, held.table, held.rows) == ("odd-name", "held", 5)
    assert duckdb.execute("select sum(n) from read_parquet(?)", [str(held.files[0])]).fetchall() == [(10,)]
    (again,) = read().tables
    assert in_parts(again.files[0], again.home).sha256 == in_parts(held.files[0], held.home).sha256


def test_tables_without_parquet_are_reported(root: Path, put: Put, read: Read) -> None:
    put("extracts/keboola/data/good.parquet")
    (root / "extracts/keboola/data/bad.parquet").write_bytes(b"PAR1")
    extract(
        root / "extracts/keboola",
        "insert into _meta (table_name, query_mode) values ('gone', 'local'), ('far', 'remote')",
    )
    (root / "extracts/broken").mkdir()
    (root / "extracts/broken/extract.duckdb").write_bytes(b"no database")
    put("extracts/broken/data/whole.parquet")
    system = read()
    assert [(each.source, each.table) for each in system.tables] == [("broken", "whole"), ("keboola", "good")]
    reasons = {left.name: left.reason.partition(":")[0] for left in system.left}
    assert reasons == {
        "extracts/broken/extract.duckdb": f"can't open '{root}/extracts/broken/extract.duckdb' as a DuckDB database",
        "extracts/keboola/data/bad.parquet": "can't be read as parquet",
        "extracts/keboola/far": "a remote table without files",
        "extracts/keboola/gone": "it has no parquet files",
    }


OLD_LAYOUT = {
    "plain.parquet": (None, "plain"),
    "crm/company.parquet": ("crm", "company"),
    "crm/events/2025-01.parquet": ("crm", "events"),
    "crm/events/2025-02.parquet": ("crm", "events"),
    "visits/2025_01.parquet": (None, "visits"),
    "sales/month=1/a.parquet": (None, "sales"),
    "orders/a.parquet": (None, "orders"),
    "orders/b.parquet": (None, "orders"),
}


def test_tables_of_the_layout_before_there_were_sources_are_found(root: Path, put: Put, read: Read) -> None:
    for place in OLD_LAYOUT:
        put(f"src_data/parquet/{place}")
    legacy.make(root / "state/system.duckdb", V1_REGISTRY, V1_ORDERS)
    found = {(each.folder, each.table): len(each.files) for each in read().tables}
    assert found.keys() == {*OLD_LAYOUT.values()}
    assert found[None, "orders"] == found["crm", "events"] == 2


@pytest.mark.parametrize("place", ["data_description.md", "docs/data_description.md"])
def test_the_description_is_found(root: Path, read: Read, place: str) -> None:
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_bytes(b"\xef\xbb\xbf# Data\x00")
    assert read().description == "# Data"


def test_the_description_can_be_elsewhere(root: Path, read: Read, tmp_path: Path) -> None:
    (root / "data_description.md").write_text("here")
    (tmp_path / "there.md").write_text("there")
    assert read(description=tmp_path / "there.md").description == "there"
    with pytest.raises(DaError, match=r"nowhere.md': no such file"):
        read(description=tmp_path / "nowhere.md")


def test_other_files_are_reported(root: Path, read: Read) -> None:
    for place in (
        "user_sessions/u1/a.jsonl",
        "extracts/jira/raw/A-1.json",
        "src_data/metadata/x.json",
        "new/x",
        "state/notes",
    ):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("x")
    (root / "empty").mkdir()
    assert {left.name: left.reason for left in read().left} == {
        "extracts/jira/raw": "only parquet files are imported",
        "new": "not supported",
        "src_data/metadata": "recreated by the next sync",
        "state/notes": "not supported",
        "user_sessions": "uploaded files are not imported",
    }


@pytest.mark.parametrize(("size", "parts"), [(0, 1), (1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (25, 3)])
def test_a_file_is_the_concatenation_of_its_parts(tmp_path: Path, size: int, parts: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(size)))
    cut = in_parts(path, tmp_path, 10)
    assert b"".join(part.read() for part in cut.parts) == path.read_bytes()
    assert len(cut.parts) == parts


def test_a_part_that_has_changed_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    cut = in_parts(path, tmp_path)
    path.write_bytes(b"two")
    with pytest.raises(DaError, match="it changed during the import"):
        cut.parts[0].read()
