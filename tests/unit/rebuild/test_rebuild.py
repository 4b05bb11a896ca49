import hashlib
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from analyst import lease
from analyst.catalog import Catalog
from analyst.contract.publishing import drop
from analyst.rebuild import Rebuild, RebuildAnswer
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from tests.bucket_contents import data, edited, filled, query
from tests.unit.rebuild.lake import NOW, extract


def rebuild(store: Store, seniority: Sequence[str] = ()) -> RebuildAnswer:
    answer = Rebuild(store, lambda: NOW, lambda: seniority).run()
    assert answer.status in ("published", "unchanged")
    return answer


def catalog(store: Store) -> Catalog:
    return Snapshots(store).current().catalog


def foreign(store: Store, source: str, *statements: str) -> None:
    """Write an extract as somebody would who has read no more than the contract."""
    with filled(store, f"extracts/{source}/") as home:
        (home / "data").mkdir(exist_ok=True)
        (home / "extract.duckdb").unlink(missing_ok=True)
        with duckdb.connect(home / "extract.duckdb") as con:
            con.execute(
                """create table _meta (table_name varchar not null, description varchar, rows bigint, size_bytes bigint,
                   extracted_at timestamp, query_mode varchar default 'local')"""
            )
            for statement in statements:
                con.execute(statement.replace("{home}", str(home)))


def change(store: Store, source: str, statement: str) -> None:
    """Change an extract behind our back."""
    with edited(store, f"extracts/{source}/extract.duckdb") as path, duckdb.connect(path) as con:
        con.execute(statement)


def test_every_table_of_every_source_is_a_view_of_the_snapshot(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as id, 9.5 as total", "items": "select range as id from range(3)"})
    extract(store, "crm", {"people": "select 'Ada' as name"})
    done = rebuild(store)
    assert (done.status, done.snapshot, done.tables, done.problems) == ("published", 1, 3, ())
    assert query(store, "select id, total::double from orders") == [(1, 9.5)]
    assert query(store, "select count(*) from items") == [(3,)]
    assert query(store, "from people") == [("Ada",)]


def test_the_catalog_matches_the_files(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as id, 'x' as note"})
    rebuild(store)
    (table,) = catalog(store).tables
    (file,) = table.files
    content = data(store, file.path)
    assert (table.id, table.view, table.rows, table.version) == ("shop.orders", "orders", 1, 1)
    assert [(column.name, column.type) for column in table.columns] == [("id", "INTEGER"), ("note", "VARCHAR")]
    assert (file.sha256, file.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_nothing_is_published_when_nothing_has_changed(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as id"})
    rebuild(store)
    before = sorted(entry.key for entry in store.list("analytics/"))
    assert rebuild(store).status == "unchanged"
    assert sorted(entry.key for entry in store.list("analytics/")) == before


def test_a_changed_source_keeps_the_views_of_the_others(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as id"})
    extract(store, "crm", {"people": "select 'Ada' as name"})
    rebuild(store)
    extract(store, "crm", {"people": "select 'Grace' as name"})
    assert rebuild(store).snapshot == 2
    assert (query(store, "from orders"), query(store, "from people")) == ([(1,)], [("Grace",)])


def test_a_view_name_belongs_to_the_older_table_permanently(store: Store, tmp_path: Path) -> None:
    extract(store, "alpha", {"orders": "select 'alpha' as origin"})
    extract(store, "beta", {"orders": "select 'beta' as origin", "alpha_orders": "select 'odd' as origin"})
    rebuild(store, seniority=["beta.orders", "beta.alpha_orders", "alpha.orders"])
    assert {t.id: t.view for t in catalog(store).tables} == {
        "beta.orders": "orders",
        "beta.alpha_orders": "alpha_orders",
        "alpha.orders": "alpha_orders_2",
    }
    assert query(store, "from alpha_orders_2") == [("alpha",)]
    for table in ("orders", "alpha_orders"):
        drop(store, "beta", table, now=lambda: NOW, folder=tmp_path)
    rebuild(store)
    assert {t.id: t.view for t in catalog(store).tables} == {"alpha.orders": "alpha_orders_2"}


def test_a_builder_that_finds_another_at_work_does_nothing(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as id"})
    held = lease.acquire(store, "rebuild")
    assert held is not None
    with held:
        assert Rebuild(store, lambda: NOW, list).run().status == "running"


BROKEN = {
    "garbage": (b"this is no database", "can't be opened as a DuckDB database"),
    "empty": (b"", "can't be opened as a DuckDB database"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_extract_keeps_its_last_state_and_harms_no_other(store: Store, kind: str) -> None:
    extract(store, "good", {"orders": "select 1 as id"})
    extract(store, "bad", {"people": "select 'Ada' as name"})
    rebuild(store)
    content, reason = BROKEN[kind]
    store.put("extracts/bad/extract.duckdb", content, if_version=ANY)
    extract(store, "good", {"orders": "select 2 as id"})
    (problem,) = rebuild(store).problems
    assert (problem.source, problem.table) == ("bad", None)
    assert reason in problem.message
    assert "extracts/bad/extract.duckdb" in problem.message
    assert (query(store, "from orders"), query(store, "from people")) == ([(2,)], [("Ada",)])


def test_an_extract_without_meta_is_named(store: Store) -> None:
    foreign(store, "odd", "drop table _meta")
    (problem,) = rebuild(store).problems
    assert problem.message == "extracts/odd/extract.duckdb has no table _meta; see the contract of extract.duckdb"


def test_a_third_party_connector_needs_only_meta_views_and_parquet(store: Store) -> None:
    foreign(
        store,
        "theirs",
        "copy (select 7 as n) to '{home}/data/single.parquet'",
        "insert into _meta values ('single', 'one file', 1, 1, now(), 'local')",
        "create view single as from read_parquet('{home}/data/single.parquet')",
    )
    with filled(store, "extracts/theirs/data/monthly/") as folder:
        duckdb.execute(f"copy (select 1 as n) to '{folder}/2026-01.parquet'")
        duckdb.execute(f"copy (select 2 as n, 'new' as extra) to '{folder}/2026-02.parquet'")
    change(store, "theirs", "insert into _meta (table_name) values ('monthly')")
    assert rebuild(store).problems == ()
    store.put("extracts/theirs/data/single.parquet", b"overwritten", if_version=ANY)
    assert query(store, "from single") == [(7,)]
    assert query(store, "from monthly order by n") == [(1, None), (2, "new")]


def test_adopted_parquet_is_not_copied_again(store: Store) -> None:
    def write(description: str) -> None:
        foreign(
            store,
            "theirs",
            "copy (select 7 as n) to '{home}/data/single.parquet'",
            f"insert into _meta values ('single', '{description}', 1, 1, now(), 'local')",
        )

    write("first")
    rebuild(store)
    before = [entry.key for entry in store.list("extracts/theirs/data/single/")]
    write("second")
    assert rebuild(store).snapshot == 2
    assert [entry.key for entry in store.list("extracts/theirs/data/single/")] == before


REFUSED = {
    "a base table": (
        ["create table t (i int)", "insert into _meta (table_name) values ('t')"],
        "has its rows in extract.duckdb",
    ),
    "no parquet": (["insert into _meta (table_name) values ('t')"], "has no parquet"),
    "a remote table without a view": (
        ["insert into _meta (table_name, query_mode) values ('t', 'remote')"],
        "has query_mode 'remote' but no view",
    ),
    "SQL in a name": (
        ["""insert into _meta (table_name) values ('t"; drop table x; --')"""],
        "names consist of a-z, 0-9 and _",
    ),
    "traversal in a name": (["insert into _meta (table_name) values ('../../state')"], "names consist of a-z"),
    "a parquet that is none": (
        ["insert into _meta (table_name) values ('t')", "copy (select 'x') to '{home}/data/t.parquet' (format csv)"],
        "can't be read as parquet",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_table_that_cannot_be_read_is_named_and_the_rest_is_published(store: Store, kind: str) -> None:
    statements, reason = REFUSED[kind]
    foreign(
        store,
        "theirs",
        "copy (select 7 as n) to '{home}/data/good.parquet'",
        "insert into _meta (table_name) values ('good')",
        *statements,
    )
    (problem,) = rebuild(store).problems
    assert problem.source == "theirs"
    assert reason in problem.message
    assert query(store, "from good") == [(7,)]


def test_macros_types_and_strange_views_are_left_out(store: Store) -> None:
    foreign(
        store,
        "theirs",
        "copy (select 7 as n) to '{home}/data/good.parquet'",
        "insert into _meta (table_name) values ('good')",
        "create view good as from read_csv('/etc/passwd')",
        "create macro list_transform(a, b) as ['/etc/passwd']",
        "create macro coalesce_all(a) as table select 1",
        "create type mood as enum ('sad')",
        "create schema other",
        "create view other.v as select 1",
        "create sequence s",
        "create view stray as select 1",
    )
    assert rebuild(store).problems == ()
    assert query(store, "from good") == [(7,)]
    assert query(store, "select schema_name, view_name from duckdb_views() where not internal order by 1") == [
        ("main", "good"),
        ("theirs", "good"),
    ]
    assert query(store, "select count(*) from duckdb_functions() where not internal") == [(0,)]


def test_a_listed_file_outside_its_source_is_refused(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as id"})
    change(store, "shop", "update _files set path = 'extracts/shop/data/../../../state/secret.key'")
    (problem,) = rebuild(store).problems
    assert "is not in extracts/shop/data/" in problem.message


def test_a_view_that_somebody_altered_is_corrected(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as id"})
    change(store, "shop", "create or replace view orders as select 666 as id")
    rebuild(store)
    assert query(store, "from orders") == [(1,)]


def test_descriptions_reach_the_snapshot(store: Store) -> None:
    foreign(
        store,
        "theirs",
        "copy (select 7 as n) to '{home}/data/good.parquet'",
        "insert into _meta (table_name, description) values ('good', 'What it''s for')",
    )
    rebuild(store)
    assert catalog(store).tables[0].description == "What it's for"


@pytest.mark.parametrize("name", ["bad-name", "Über", "a.b", "x" * 80])
def test_a_folder_whose_name_is_not_a_valid_source_is_named(store: Store, name: str) -> None:
    foreign(store, name)
    (problem,) = rebuild(store).problems
    assert name in problem.message
