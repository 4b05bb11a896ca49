"""A state of the reference system is taken over completely, with its meaning."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst import duckdb_files
from analyst.access import CURRENT, AccessList, AccessReader, Caller, Role
from analyst.names import is_name
from analyst.state import SCHEMA_VERSION, State, StateTooNewError
from analyst.state.files import LEGACY
from analyst.state.migrations import create, migrate
from analyst.state.migrations.v4 import renamed
from analyst.state.projection import project
from analyst.state.registry import list_tables
from analyst.state.schema import is_current
from analyst.state.users import get_user, list_users
from analyst.store import ABSENT, Store
from tests.doubles.memory_store import MemoryStore
from tests.unit.state import legacy

Make = Callable[..., Path]
NOW = datetime(2026, 2, 1, tzinfo=UTC)

VERSIONS = pytest.mark.parametrize(
    "schema", [pytest.param((legacy.V2,), id="v2"), pytest.param((legacy.V2, legacy.V3), id="v3")]
)


@pytest.fixture
def adopt(store: Store, tmp_path: Path) -> Callable[..., None]:
    """Put a file of the reference system into the bucket, where that kept it."""

    def put(*statements: str, make: Make = legacy.make) -> None:
        path = make(tmp_path / "system.duckdb", *statements)
        store.put(LEGACY, path.read_bytes(), if_version=ABSENT)
        wal = path.with_name(f"{path.name}.wal")
        if wal.exists():
            store.put(f"{LEGACY}.wal", wal.read_bytes(), if_version=ABSENT)

    return put


def published(store: Store) -> AccessList:
    return AccessReader(store, 0, lambda: 0.0).current()


def rows(state: State, sql: str) -> list[Any]:
    with state.read() as db:
        return db.execute(sql).fetchall()


@VERSIONS
def test_tables_get_their_current_names(state: State, adopt: Callable[..., None], schema: tuple[str, ...]) -> None:
    adopt(*schema, legacy.PEOPLE, legacy.TABLES)
    with state.read() as db:
        found = {table.id: table for table in list_tables(db)}
    assert {id_: table.source_table for id_, table in found.items()} == {
        "keboola.orders": "orders",
        "keboola.in_c_old_orders": "orders",
        "keboola.in_c_old_orders_2": "orders3",
        "keboola.orders_2": "orders",
        "bigquery.visits": "visits",
        "local.cas": "Čas",
        "external.odd": "***",
    }
    orders = found["keboola.orders"]
    assert (orders.sync_strategy, orders.primary_key, orders.description) == (
        "incremental",
        ("order_id", "line"),
        "All orders",
    )
    assert found["keboola.in_c_old_orders_2"].query_mode == "local"
    assert found["keboola.in_c_old_orders_2"].primary_key == ("a",)
    assert found["keboola.orders_2"].sync_strategy == "full_refresh"
    assert found["bigquery.visits"].query_mode == "remote"
    assert all(table.is_public for table in found.values())


@VERSIONS
def test_each_source_type_becomes_a_source(state: State, adopt: Callable[..., None], schema: tuple[str, ...]) -> None:
    adopt(*schema, legacy.PEOPLE, legacy.TABLES)
    found = rows(state, "select name, type from sources order by name")
    assert found == [("bigquery", "bigquery"), ("external", "external"), ("keboola", "keboola"), ("local", "csv")]


@VERSIONS
def test_permissions_become_grants_with_the_same_meaning(
    state: State, store: Store, adopt: Callable[..., None], schema: tuple[str, ...]
) -> None:
    adopt(
        *schema, "alter table table_registry add column if not exists is_public boolean", legacy.PEOPLE, legacy.TABLES
    )
    state.edit(lambda db: db.execute("update table_registry set is_public = false") and None)
    access = published(store)
    bob, eve = (Caller(id_, None, Role.ANALYST) for id_ in ("u-bob", "u-eve"))
    assert access.readable(bob) == {"keboola.orders", "keboola.in_c_old_orders", "keboola.in_c_old_orders_2"}
    assert access.readable(eve) == {"bigquery.visits"}


@VERSIONS
def test_permissions_without_a_meaning_are_kept_with_the_reason(
    state: State, adopt: Callable[..., None], schema: tuple[str, ...]
) -> None:
    adopt(*schema, legacy.PEOPLE, legacy.TABLES)
    assert rows(state, "from migrated_permissions") == [
        ("u-bob", "finance", "read", "there is no such table or bucket"),
        ("u-bob", "visits", "none", "it grants nothing"),
        ("u-gone", "orders", "read", "there is no such user"),
    ]


def test_a_private_table_of_version_3_stays_private(state: State, store: Store, adopt: Callable[..., None]) -> None:
    adopt(legacy.V2, legacy.V3, legacy.TABLES, "update table_registry set is_public = false where id = 'visits'")
    state.edit(lambda _: None)
    assert {id_ for id_, table in published(store).tables.items() if not table.is_public} == {"bigquery.visits"}


def test_access_requests_follow_their_table(state: State, adopt: Callable[..., None]) -> None:
    request = "insert into access_requests (id, user_id, user_email, table_id) values ('r', 'u-bob', 'b', 'visits')"
    adopt(legacy.V2, legacy.V3, legacy.TABLES, request)
    assert rows(state, "select table_id from access_requests") == [("bigquery.visits",)]


@VERSIONS
def test_of_accounts_that_differ_in_case_the_one_with_more_rights_stays(
    state: State, store: Store, adopt: Callable[..., None], schema: tuple[str, ...]
) -> None:
    adopt(*schema, legacy.PEOPLE)
    with state.read() as db:
        found = {user.id: user for user in list_users(db)}
        assert get_user(db, "BOB@example.com").id == "u-bob"
    assert {id_: (user.email, user.role, user.active) for id_, user in found.items()} == {
        "u-ann": ("ann@example.com", "admin", True),
        "u-bob": ("bob@example.com", "analyst", True),
        "u-bob2": ("bob@example.com#u-bob2", "viewer", False),
        "u-eve": ("eve@example.com", "viewer", True),
    }
    state.edit(lambda _: None)
    assert "u-bob2" not in published(store).users


def test_of_accounts_with_the_same_spelling_the_one_with_more_rights_stays(
    state: State, adopt: Callable[..., None]
) -> None:
    adopt(legacy.V2, "insert into users (id, email, role) values ('1', 'x@y.z', 'viewer'), ('2', ' X@y.z', 'admin')")
    found = rows(state, "select id, email, active from users order by id")
    assert found == [("1", "x@y.z#1", False), ("2", "x@y.z", True)]


@VERSIONS
def test_everything_else_is_carried_over(state: State, adopt: Callable[..., None], schema: tuple[str, ...]) -> None:
    adopt(*schema, legacy.PEOPLE, legacy.TABLES)
    assert rows(state, "select password_hash from users where id = 'u-ann'") == [("argon2 of something",)]
    assert rows(state, "select title from knowledge_items") == [("Margins are net",)]
    assert rows(state, "select vote from knowledge_votes") == [(1,)]
    assert rows(state, "select action from audit_log order by timestamp") == [("km_approve",), ("state.migrate",)]
    assert rows(state, "select rows from sync_history") == [(10,)]
    assert rows(state, "select folder from table_registry where id = 'keboola.orders'") == [("f",)]


@VERSIONS
def test_the_migration_reports_its_changes(state: State, adopt: Callable[..., None], schema: tuple[str, ...]) -> None:
    adopt(*schema, legacy.PEOPLE, legacy.TABLES)
    (found,) = rows(state, "select params::varchar from audit_log where action = 'state.migrate'")
    assert found == ('{"to":4,"tables":7,"grants":3,"permissions_without_meaning":3,"deactivated_doubles":1}',)


@VERSIONS
def test_a_migrated_state_has_exactly_the_schema_of_a_new_one(
    state: State, now: datetime, adopt: Callable[..., None], schema: tuple[str, ...]
) -> None:
    columns = """
        select table_name, column_name, data_type, is_nullable from duckdb_columns()
        where database_name = current_database() order by all
    """
    constraints = """
        select table_name, constraint_type, constraint_column_names from duckdb_constraints()
        where database_name = current_database() and constraint_type <> 'NOT NULL' order by all
    """
    fresh = State(MemoryStore(), lambda: now)
    adopt(*schema, legacy.PEOPLE, legacy.TABLES)
    assert rows(state, columns) == rows(fresh, columns)
    assert rows(state, constraints) == rows(fresh, constraints)


def test_the_schema_of_a_new_state_is_what_all_steps_make(now: datetime) -> None:
    tables = "select table_name, sql from duckdb_tables() where not temporary order by all"
    with duckdb_files.connect(threads=1) as stepped, duckdb_files.connect(threads=1) as created:
        migrate(stepped, now)
        create(created, now)
        assert created.execute(tables).fetchall() == stepped.execute(tables).fetchall()
        assert is_current(created)


def test_a_file_of_version_1_is_migrated_through_all_versions(state: State, adopt: Callable[..., None]) -> None:
    adopt(
        "create table schema_version (version integer not null, applied_at timestamp)",
        "insert into schema_version values (1, null)",
        "create table table_registry (id varchar primary key, name varchar not null, sync_strategy varchar, "
        "primary_key varchar, folder varchar, description text, registered_by varchar, registered_at timestamp)",
        "insert into table_registry (id, name) values ('orders', 'orders')",
    )
    with state.read() as db:
        assert [table.id for table in list_tables(db)] == ["external.orders"]


def test_changes_that_are_still_in_the_log_are_migrated(state: State, adopt: Callable[..., None]) -> None:
    adopt(legacy.V2, legacy.PEOPLE, legacy.TABLES, make=legacy.make_unclosed)
    with state.read() as db:
        assert len(list_tables(db)) == 7


def test_reading_migrates_without_writing(state: State, store: Store, adopt: Callable[..., None]) -> None:
    adopt(legacy.V2, legacy.PEOPLE)
    with state.read() as db:
        assert len(list_users(db)) == 4
    assert [entry.key for entry in store.list("")] == [LEGACY]


def test_the_old_file_stays_as_it_was(state: State, store: Store, adopt: Callable[..., None]) -> None:
    adopt(legacy.V2, legacy.PEOPLE)
    before = store.head(LEGACY)
    state.edit(lambda _: None)
    state.edit(lambda _: None)
    after = store.head(LEGACY)
    assert before is not None
    assert after is not None
    assert after.version == before.version
    assert rows(state, "select count(*) from audit_log where action = 'state.migrate'") == [(1,)]


def test_a_new_state_reports_no_migration(state: State) -> None:
    assert rows(state, "from audit_log") == []
    assert rows(state, "select max(version) from schema_version") == [(SCHEMA_VERSION,)]


def test_a_newer_state_is_refused_and_not_changed(state: State, store: Store, adopt: Callable[..., None]) -> None:
    adopt(legacy.V2, f"update schema_version set version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StateTooNewError, match=f"schema version {SCHEMA_VERSION + 1}"), state.read():
        pass
    with pytest.raises(StateTooNewError):
        state.edit(lambda _: None)
    assert store.read(CURRENT) is None


def test_migrated_files_have_the_storage_that_every_duckdb_reads(
    state: State, store: Store, adopt: Callable[..., None], tmp_path: Path
) -> None:
    adopt(legacy.V2, legacy.PEOPLE)
    state.edit(lambda _: None)
    state.edit(lambda db: db.execute("delete from users where id = 'u-eve'") and None)
    *_, entry = store.list("state/system-")
    store.download(entry.key, tmp_path / "copy.duckdb")
    with duckdb.connect() as con:
        con.execute(f"attach '{tmp_path / 'copy.duckdb'}' as copy (read_only)")
        size = con.execute("select block_size from pragma_database_size() where database_name = 'copy'").fetchone()
        tags = con.execute(
            "select tags['storage_version'] from duckdb_databases() where database_name = 'copy'"
        ).fetchone()
    assert size == (16384,)
    assert tags is not None
    assert tags[0].startswith("v1.0.0")


names = st.text(st.sampled_from("aA é.-_1*"), max_size=8)
old_rows = st.lists(
    st.fixed_dictionaries(
        {
            "name": names,
            "source_type": st.sampled_from([None, "", "keboola", "Keboola", "local", "csv", "x" * 80]),
            "bucket": st.none() | names,
            "primary_key": st.none() | names | st.just('["a", 1, null]'),
        }
    ),
    max_size=12,
)


@given(old_rows)
def test_every_old_table_gets_a_valid_name_of_its_own(old: list[dict[str, Any]]) -> None:
    found = renamed([{"id": f"t{number}", **row} for number, row in enumerate(old)])
    assert len({table.id for table in found}) == len(old)
    assert all(is_name(table.source) and is_name(table.name) for table in found)


def test_registrations_that_ended_before_they_were_recorded_are_found_in_the_audit_log() -> None:
    with duckdb_files.connect(threads=1) as db:
        migrate(db, NOW, to=5)
        ended = "insert into audit_log (id, timestamp, action, resource, params) values (?, ?, ?, ?, ?)"
        for day, uuid in ((1, "u-1"), (3, "u-2")):
            at = datetime(2026, 1, day)  # noqa: DTZ001 - as the state has times
            db.execute(ended, [str(day), at, "table.deregister", "table:shop.a", json.dumps({"uuid": uuid})])
        db.execute(
            "insert into table_registry select 'shop.a', 'u-3', 'shop', 'a', 'a', null, null, 'local', 'full_refresh', "
            "'[]', null, null, true, false, false, '{}', null, null, '2026-01-04', '2026-01-04'"
        )
        for id_, asked in (("old", "2026-01-02"), ("new", "2026-01-05")):
            db.execute(
                "insert into access_requests (id, user_id, user_email, table_id, created_at) "
                "values (?, 'u', 'e', 'shop.a', ?::timestamp)",
                [id_, asked],
            )
        migrate(db, NOW)
        assert db.execute("select uuid, id from withdrawn order by uuid").fetchall() == [
            ("u-1", "shop.a"),
            ("u-2", "shop.a"),
        ]
        bound = dict(db.execute("select id, table_uuid from access_requests").fetchall())
        assert bound == {"old": "u-2", "new": "u-3"}
        access = AccessList.model_validate_json(project(db, 1, NOW))
        assert {uuid: ended.id for uuid, ended in (access.withdrawn or {}).items()} == {
            "u-1": "shop.a",
            "u-2": "shop.a",
        }


VERSIONS_HERE = Path(__file__).parent / "versions"


def held(store: Store, tmp_path: Path, version: int) -> None:
    """Put a state as a version of this program wrote it into the bucket."""
    path = tmp_path / f"v{version}.duckdb"
    with duckdb_files.connect() as con:
        duckdb_files.create(con, path, "old")
        con.execute("use old")
        con.execute((VERSIONS_HERE / f"v{version}.sql").read_text("utf-8"))
        con.execute("use memory")
        duckdb_files.detach(con, "old")
    data = path.read_bytes()
    pointer = {"version": 7, "system": "state/system-7.duckdb", "access": "state/access-old.json"}
    hashes = {"system": hashlib.sha256(data).hexdigest(), "access": "0" * 64}
    store.put("state/system-7.duckdb", data, if_version=ABSENT)
    store.put(CURRENT, json.dumps({**pointer, "sha256": hashes}).encode(), if_version=ABSENT)


def test_every_version_since_the_reference_system_has_an_example() -> None:
    """A change of the schema needs one of the version before it: tests/unit/state/versions."""
    there = {int(path.stem.removeprefix("v")) for path in VERSIONS_HERE.glob("v*.sql")}
    assert there == set(range(4, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", range(4, SCHEMA_VERSION + 1))
def test_a_state_of_each_version_is_migrated(state: State, store: Store, tmp_path: Path, version: int) -> None:
    held(store, tmp_path, version)
    with state.read() as db:
        people = {user.email: user.id for user in list_users(db)}
        tables = {table.id: table.uuid for table in list_tables(db)}
    assert people.keys() == {"root@example.com", "ann@example.com", "bob@example.com"}
    assert tables == {"shop.orders": "uuid-orders"}
    state.edit(lambda _: None)
    found = published(store)
    assert (found.version, found.grants.users[people["ann@example.com"]].tables) == (8, ("uuid-orders",))
    assert [place for grants in found.grants.groups.values() for place in grants.places] == [("shop", None)]
    assert [token.name for token in found.tokens.values()] == ["laptop"]
    assert [each.id for each in (found.withdrawn or {}).values()] == ["shop.items"]
    assert rows(state, "select name, sync_schedule from sources") == [("shop", None)]
