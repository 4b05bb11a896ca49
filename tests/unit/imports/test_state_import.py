"""The import of an older system: what is imported, and what is reported."""

from pathlib import Path

from analyst.access import CURRENT, Caller, Role
from analyst.state import State
from analyst.state.files import LEGACY
from analyst.state.registry import list_tables
from analyst.store import ABSENT
from tests.doubles.memory_store import MemoryStore
from tests.unit.imports.conftest import NOW, PRIVATE, V3, VERSIONS, Take, altered, old_system, published, reasons, rows
from tests.unit.state import legacy


@VERSIONS
def test_imported_rows_equal_migrated_ones(
    take: Take, store: MemoryStore, tmp_path: Path, statements: tuple[str, ...]
) -> None:
    take(*statements)
    migrated = MemoryStore()
    migrated.put(LEGACY, legacy.make(tmp_path / "system.duckdb", *statements).read_bytes(), if_version=ABSENT)
    State(migrated, lambda: NOW).edit(lambda _: None)
    ours, theirs = published(store), published(migrated)
    assert ours.users == theirs.users
    assert ours.tables.keys() == theirs.tables.keys()
    assert [table.is_public for table in ours.tables.values()] == [table.is_public for table in theirs.tables.values()]
    for id_, user in ours.users.items():
        caller = Caller(id_, user.email, user.role)
        assert ours.readable(caller) == theirs.readable(caller)


def test_a_dry_run_reports_the_same_and_writes_nothing(take: Take, store: MemoryStore) -> None:
    dry = take(*V3, dry_run=True)
    assert list(store.list("")) == []
    assert take(*V3).model_copy(update={"dry_run": True}) == dry


def test_imported_rows_are_reported(take: Take) -> None:
    report = take(*V3)
    assert report.taken == {
        "user": 3,
        "source": 4,
        "table": 7,
        "grant": 3,
        "knowledge_items": 1,
        "knowledge_votes": 1,
        "audit_log": 1,
    }
    assert len(report.public_tables) == 7
    assert report.unconfigured == ("bigquery", "keboola", "local")
    without = "no Parquet files were found; the next sync of its source publishes it"
    assert reasons(report, "file")["keboola.orders"] == without
    assert "bigquery.visits" not in reasons(report, "file")
    assert reasons(report, "user") == {
        "BOB@example.com": "it is a different spelling of bob@example.com, which is imported"
    }
    assert reasons(report, "grant") == {
        "bob@example.com on finance": "there is no such table or bucket",
        "bob@example.com on visits": "it grants nothing",
        "u-gone on orders": "there is no such user",
    }
    assert altered(report) == {
        "Ann@Example.com": "the password hash is not supported; the user needs a new password",
        "eve@example.com": "the role 'superuser' does not exist here; imported as viewer",
    }


def test_each_import_is_audited(take: Take, state: State) -> None:
    take(*V3)
    take(*V3)
    found = dict(rows(state, "select action, count(*) from audit_log where user_id = 'u-root' group by all"))
    assert found == {"user.create": 3, "source.create": 4, "table.register": 7, "grant.create": 3, "state.import": 1}


def test_requests_follow_their_user_and_table(take: Take, state: State) -> None:
    values = (
        "('r1', 'u-bob', 'Bob', 'visits', 'pending'), ('r2', 'u-bob', 'Bob', 'visits', 'pending'), "
        "('r3', 'u-bob', 'Bob', 'no such', 'denied'), ('r4', 'u-bob', 'Bob', 'orders', 'odd')"
    )
    request = f"insert into access_requests (id, user_id, user_email, table_id, status) values {values}"
    report = take(*V3, request)
    found = rows(state, "select id, user_id, user_email, table_id, status from access_requests")
    assert found == [("r1", "u-bob", "bob@example.com", "bigquery.visits", "pending")]
    assert reasons(report, "access_request") == {
        "Bob for no such": "its table is not imported",
        "Bob for keboola.orders": "the status 'odd' does not exist here",
    }
    assert report.there["access_request"] == 1


def test_a_permission_on_an_unregistered_table_is_kept(take: Take, store: MemoryStore) -> None:
    permission = "insert into dataset_permissions values ('u-bob', 'issues', 'read')"
    report = take(*V3, PRIVATE, permission, found=[{"source": "jira", "table": "issues"}])
    assert [place.id for place in report.found] == ["jira.issues"]
    assert "jira.issues" in published(store).readable(Caller("u-bob", None, Role.ANALYST))
    assert "jira.issues" not in published(store).readable(Caller("u-eve", None, Role.ANALYST))


def test_nothing_is_imported_from_an_empty_system(take: Take, store: MemoryStore) -> None:
    assert take(old=old_system()).taken == {}
    assert store.read(CURRENT) is None


def test_tables_are_listed_as_they_are_registered(take: Take, state: State) -> None:
    take(*V3)
    with state.read() as db:
        found = {table.id: (table.source_table, table.registered_by) for table in list_tables(db, "keboola")}
    assert found["keboola.orders"] == ("orders", "ann@example.com")
