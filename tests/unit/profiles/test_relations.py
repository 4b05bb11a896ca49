"""Relations that names and data suggest: what is proposed with which coverage, what is not, and who sees it."""

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analyst import descriptions
from analyst.access import AccessList, Caller, Registration, Role
from analyst.access.rules import Granted, Grants, User
from analyst.catalog import Catalog, Column, File, Table
from analyst.descriptions import ForeignKey, Texts, read_texts
from analyst.profiles import relations
from analyst.profiles.profiler import Profiling, Registered
from analyst.snapshots import Snapshot
from analyst.store import ABSENT
from tests.bucket_contents import connected
from tests.doubles.memory_store import MemoryStore

AT = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Caller("root", "root@example.com", Role.ADMIN, frozenset())
ANN = Caller("ann", "ann@example.com", Role.ANALYST, frozenset())

TABLES = {
    "customers": "select i as id, 'c' || i as name from range(1, 501) r(i)",
    "orders": "select 100000 + i as id, 1 + (i * 7) % 520 as customer_id, i % 5 as status_id, "
    "'X-' || (i % 40) as sku, i % 500 as total from range(3000) r(i)",
    "statuses": "select i as status_id, 's' || i as label from range(5) r(i)",
    "products": "select 'X-' || i as article, i as stock from range(60) r(i)",
    "employees": "select i as id, case when i > 0 then i // 3 end as manager_id, i * 10 as pay from range(40) r(i)",
    "people": "select 'p' || i || '@example.com' as email, i as number from range(50) r(i)",
    "visits": "select 'p' || (i % 50) || '@example.com' as email, i % 7 as page from range(200) r(i)",
}


def published(store: MemoryStore, folder: Path, tables: Mapping[str, str]) -> Snapshot:
    made: list[Table] = []
    with connected() as con:
        for name, query in tables.items():
            path = folder / f"{name}.parquet"
            con.execute(f"copy ({query}) to '{path}' (format parquet)")
            described = con.execute(f"describe {query}").fetchall()
            rows = con.execute(f"select count(*) from ({query})").fetchall()[0][0]
            store.put(f"data/{name}.parquet", path.read_bytes(), if_version=ABSENT)
            file = File(path=f"data/{name}.parquet", sha256=name * 4, size_bytes=path.stat().st_size, rows=rows)
            columns = tuple(Column(name=each[0], type=each[1]) for each in described)
            made.append(
                Table(source="shop", name=name, view=name, hash=name, columns=columns, files=(file,), registration=name)
            )
    catalog = Catalog(snapshot=1, built_at=AT, tables=tuple(sorted(made, key=lambda each: each.id)))
    return Snapshot(1, catalog, {each.id: each for each in made}, {})


def access(snapshot: Snapshot, *granted: str) -> AccessList:
    registered = {
        each.id: Registration(uuid=each.name, source="shop", name=each.name, registered_at=AT)
        for each in snapshot.by_id.values()
    }
    grants = Grants(users={"ann": Granted(tables=granted)})
    users = {"ann": User(email="ann@example.com", role=Role.ANALYST)}
    return AccessList(tables=registered, grants=grants, users=users, withdrawn={})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryStore, Snapshot]:
    store, folder = MemoryStore(), tmp_path_factory.mktemp("shop")
    snapshot = published(store, folder, TABLES)
    profiling = Profiling(store, lambda: AT, "200MB", folder)
    made = profiling.run(snapshot.catalog.tables, {"shop.customers": Registered(primary_key=("id",))})
    assert {each.status for each in made} == {"ok"}
    relations.propose(store, snapshot, {"shop.customers": ("id",)}, scratch=folder)
    return store, snapshot


def seen(
    shop: tuple[MemoryStore, Snapshot], name: str, caller: Caller = ADMIN, *granted: str
) -> set[tuple[str, str, str]]:
    store, snapshot = shop
    found = relations.of_table(
        snapshot.by_id[f"shop.{name}"],
        snapshot,
        access(snapshot, *granted),
        caller,
        texts=Texts(),
        proposals=relations.read(store),
    )
    return {(each.direction, f"{each.table}.{each.references[0]}", each.columns[0]) for each in found}


def test_foreign_keys_are_proposed_from_names_and_from_values_of_the_same_shape(
    shop: tuple[MemoryStore, Snapshot],
) -> None:
    assert seen(shop, "orders") == {
        ("belongs_to", "shop.customers.id", "customer_id"),
        ("belongs_to", "shop.statuses.status_id", "status_id"),
        ("belongs_to", "shop.products.article", "sku"),
    }
    assert seen(shop, "customers") == {("has_many", "shop.orders.customer_id", "id")}
    assert seen(shop, "employees") == {
        ("belongs_to", "shop.employees.id", "manager_id"),
        ("has_many", "shop.employees.manager_id", "id"),
    }


def test_the_coverage_is_exact(shop: tuple[MemoryStore, Snapshot]) -> None:
    store, _ = shop
    by_column = {each.key.columns[0]: each for each in relations.read(store)["shop.orders"]}
    expected = sum(1 + (i * 7) % 520 <= 500 for i in range(3000)) / 3000
    assert by_column["customer_id"].coverage == pytest.approx(expected, abs=1e-6)
    assert (by_column["customer_id"].matched, by_column["customer_id"].distinct) == (500, 520)
    assert (by_column["sku"].coverage, by_column["sku"].matched) == (1.0, 40)


def test_sensitive_columns_are_not_proposed(shop: tuple[MemoryStore, Snapshot]) -> None:
    assert seen(shop, "visits") == seen(shop, "people") == set()


def test_a_relation_to_a_hidden_table_is_not_shown(shop: tuple[MemoryStore, Snapshot]) -> None:
    assert seen(shop, "orders", ANN, "orders", "statuses") == {("belongs_to", "shop.statuses.status_id", "status_id")}
    assert seen(shop, "customers", ANN, "customers") == set()


def test_declared_relations_replace_proposals(shop: tuple[MemoryStore, Snapshot]) -> None:
    store, snapshot = shop
    orders = snapshot.by_id["shop.orders"]
    key = ForeignKey(columns=("customer_id",), table="shop.customers", references=("id",))
    columns = {column.name: column for column in orders.columns}
    other = MemoryStore()
    descriptions.change(other, orders.id, "orders", {"foreign_keys": (key,)}, columns, by="root", at=AT)
    found = relations.of_table(
        orders, snapshot, access(snapshot), ADMIN, texts=read_texts(other), proposals=relations.read(store)
    )
    assert [(each.table, each.is_declared) for each in found if each.columns == ("customer_id",)] == [
        ("shop.customers", True)
    ]


def test_proposals_of_a_table_that_was_registered_again_do_not_count(shop: tuple[MemoryStore, Snapshot]) -> None:
    store, snapshot = shop
    customers = snapshot.by_id["shop.customers"].model_copy(update={"registration": None})
    tables = tuple(customers if each.id == customers.id else each for each in snapshot.catalog.tables)
    later = Snapshot(2, snapshot.catalog.model_copy(update={"tables": tables}), {each.id: each for each in tables}, {})
    found = relations.of_table(
        later.by_id["shop.orders"], later, access(snapshot), ADMIN, texts=Texts(), proposals=relations.read(store)
    )
    assert "shop.customers" not in {each.table for each in found}


def test_the_bucket_contains_no_value_of_a_sensitive_column(tmp_path: Path) -> None:
    secrets = ("zz.planted@example.com", "+420 777 123 456", "4111111111111111", "4242 4242 4242 4242")
    store = MemoryStore()
    queries = {
        "few": f"select case when i = 7 then '{secrets[0]}' else 'w' || i % 9 end as note, '{secrets[1]}' as contact, "
        f"{secrets[2]} + i % 3 as card_number, case when i = 8 then '{secrets[3]}' else 'v' || i % 5 end as other, "
        "i as id from range(300) r(i)",
        "many": f"select case when i = 70000 then '{secrets[0]}' else 'w' || i end as note, '{secrets[1]}' as contact, "
        f"{secrets[2]} + i as card_number, i as id from range(90000) r(i)",
        "tagged": "select 'planted' || i as nick, 777000 + i as pay, i as id from range(50) r(i)",
    }
    snapshot = published(store, tmp_path, queries)
    columns = {column.name: column for column in snapshot.by_id["shop.tagged"].columns}
    tags = {"columns": {name: descriptions.ColumnDescription(tags=("PII",)) for name in ("nick", "pay")}}
    descriptions.change(store, "shop.tagged", "tagged", tags, columns, by="root", at=AT)
    made = Profiling(store, lambda: AT, "200MB", tmp_path).run(snapshot.catalog.tables, {})
    assert {each.status for each in made} == {"ok"}
    relations.propose(store, snapshot, {})
    for entry in store.list(""):
        if entry.key.startswith(("profiles/", "catalog/")):
            found = store.read(entry.key)
            data = found.data if found is not None else b""
            text = entry.key + (gzip.decompress(data) if entry.key.endswith(".gz") else data).decode()
            for value in (*secrets, "zz.planted", "411111111111111", "planted1", "777001", "777049"):
                assert value not in text, entry.key
