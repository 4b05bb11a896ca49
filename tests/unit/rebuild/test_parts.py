"""Snapshots in parts are the same snapshots: whatever happens to sources, at whatever point a process ends."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst.catalog import Catalog, CatalogList
from analyst.contract.publishing import drop
from analyst.errors import AnalystError, LeaseLostError, UnavailableError
from analyst.rebuild import Rebuild, RebuildAnswer, snapshot_file
from analyst.rebuild.publishing import COPY
from analyst.rebuild.rollback import release, roll_back
from analyst.snapshots import CATALOG_SUFFIX, PREFIX, Snapshots, parts, read_catalog, read_listed
from analyst.store import ANY, Store, delete_all
from analyst.store.gcs.store import GsStore
from tests.bucket_contents import ask, edited, pointer
from tests.clouds import Cloud
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.gcs import Gcs, running
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import AgedStore
from tests.examples import examples
from tests.unit.rebuild.lake import NOW, damage, extract

pytestmark = pytest.mark.slow

SOURCES = ("alpha", "beta", "crm", "shop", "zoo")
TABLES = ("orders", "items", "people")


def in_parts(store: Store, **more: Any) -> Rebuild:
    """Rebuild into parts of one or two sources each."""
    return Rebuild(store, lambda: NOW, tuple, **{"embedded": 0, "part": 900, **more})


def catalog(store: Store) -> Catalog:
    return read_catalog(store, pointer(store).catalog)


def shown(catalog: Catalog) -> tuple[Any, ...]:
    return catalog.tables, catalog.problems, catalog.remote, catalog.held_back, catalog.owners


def content(store: Store) -> dict[str, Any]:
    """What analytics.duckdb says of itself."""
    views = "select schema_name, view_name, sql from duckdb_views() where not internal order by all"
    columns = (
        "select schema_name, table_name, column_name, data_type, comment from duckdb_columns()"
        " where not internal and not starts_with(table_name, '_') order by all"
    )
    tables = ("_tables", "_files", "_remote_attach", "_built")
    return {sql: ask(store, COPY, sql) for sql in (views, columns, *(f"from {name} order by all" for name in tables))}


@dataclass
class Twins:
    """Two buckets with the same sources: the snapshots of one are single catalogs, those of the other are in parts."""

    whole: MemoryStore = field(default_factory=MemoryStore)
    parted: MemoryStore = field(default_factory=MemoryStore)

    def both(self, act: Callable[[MemoryStore], object]) -> None:
        """Change the sources of one bucket, and copy them to the other."""
        act(self.parted)
        for entry in [*self.whole.list("extracts/")]:
            self.whole.delete(entry.key)
        for entry in self.parted.list(""):
            if entry.key.startswith(("extracts/", "state/dropped/")):
                found = self.parted.read(entry.key)
                assert found is not None
                self.whole.put(entry.key, found.data, if_version=ANY)

    def rebuild(self) -> tuple[RebuildAnswer, RebuildAnswer]:
        return Rebuild(self.whole, lambda: NOW, tuple, embedded=1 << 30).run(), in_parts(self.parted).run()


OPERATIONS = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(SOURCES), st.sets(st.sampled_from(TABLES), min_size=1)),
    st.tuples(st.sampled_from(["damage", "vanish", "drop"]), st.sampled_from(SOURCES), st.sampled_from(TABLES)),
    st.tuples(st.just("roll back"), st.integers(1, 8), st.booleans()),
)


@settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.lists(OPERATIONS, min_size=3, max_size=9))
def test_parts_add_up_to_the_catalog_that_is_built_as_a_whole(
    history: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    twins = Twins()
    for step, (what, first, second) in enumerate(history):
        if what == "roll back":
            for store, rebuilding in (
                (twins.whole, Rebuild(twins.whole, lambda: NOW, tuple, embedded=1 << 30)),
                (twins.parted, in_parts(twins.parted)),
            ):
                if 0 < first < Snapshots(store).current().number:
                    roll_back(rebuilding, first)
                    if second:
                        release(rebuilding, None)
        else:
            folder = tmp_path_factory.mktemp("scratch")
            twins.both(partial(act, what=what, source=first, tables=second, step=step, folder=folder))
        whole, parted = twins.rebuild()
        assert whole.model_copy(update={"status": ""}) == parted.model_copy(update={"status": ""})
        if pointer_of(twins.whole):
            assert shown(catalog(twins.parted)) == shown(catalog(twins.whole))
            assert Snapshots(twins.parted).current().catalog.tables == catalog(twins.whole).tables
    if pointer_of(twins.parted):
        in_place = content(twins.parted)
        twins.parted.delete(COPY)
        in_parts(twins.parted).refresh_file()
        assert content(twins.parted) == in_place


def pointer_of(store: Store) -> bool:
    return store.read("analytics/current.json") is not None


def act(store: MemoryStore, *, what: str, source: str, tables: Any, step: int, folder: Path) -> None:
    """Do something to a source."""
    if what == "publish":
        found = store.read(f"extracts/{source}/extract.duckdb")
        if found is not None and found.data == b"broken":
            store.delete(f"extracts/{source}/extract.duckdb")
        extract(store, source, dict.fromkeys(tables, f"select {step} as n, '{source}' as origin"))
    elif what == "damage":
        damage(store, source)
    elif what == "vanish":
        store.delete(f"extracts/{source}/extract.duckdb")
    else:
        try:
            drop(store, source, tables, now=lambda: NOW, folder=folder)
        except AnalystError:
            return


def publish_in_parts(store: Store) -> None:
    for source in SOURCES:
        extract(store, source, {"orders": f"select 1 as n, '{source}' as origin"})
    assert in_parts(store).run().status == "published"
    assert len(pointer(store).catalog_text or "") > 0


@pytest.fixture(scope="module")
def parted(shared_cloud: Cloud) -> Cloud:
    """A bucket with a snapshot in parts, of which tests work on copies."""
    publish_in_parts(shared_cloud.open())
    return shared_cloud


@pytest.fixture
def bucket(parted: Cloud, tmp_path: Path, at_once: None) -> Store:  # noqa: ARG001
    return parted.copy(tmp_path).open()


def part_keys(store: Store) -> set[str]:
    return {entry.key for entry in store.list(parts.PREFIX)}


def test_a_change_writes_the_part_of_its_source_and_leaves_others(bucket: Store) -> None:
    before = part_keys(bucket)
    extract(bucket, "shop", {"orders": "select 2 as n"})
    assert in_parts(bucket).run().status == "published"
    listed = read_listed(bucket, pointer(bucket).catalog)
    assert isinstance(listed, CatalogList)
    assert len(parts.keys_of(listed) & before) >= 2
    assert len(part_keys(bucket) - before) <= 2
    assert ask(bucket, COPY, "select n from shop.orders union all select n from zoo.orders") == [(2,), (1,)]
    assert in_parts(bucket).run().status == "unchanged"


def test_a_new_table_gets_a_name_that_no_other_part_owns(bucket: Store) -> None:
    extract(bucket, "shop", {"orders": "select 1 as n, 'shop' as origin", "people": "select 1 as n"})
    extract(bucket, "young", {"people": "select 3 as n"})
    in_parts(bucket).run()
    views = {table.id: table.view for table in catalog(bucket).tables}
    assert (views["shop.people"], views["young.people"]) == ("people", "young_people")
    assert views["alpha.orders"] == "orders"


DAMAGES: dict[str, Callable[[Store, list[str]], object]] = {
    "a part is gone": lambda store, keys: store.delete(keys[0]),
    "a part is cut off": lambda store, keys: store.put(keys[0], b"\x1f\x8b", if_version=ANY),
    "all parts are gone": delete_all,
    "the list is gone": lambda store, _: store.delete(pointer(store).catalog),
}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("is_changed", [False, True])
def test_a_damaged_part_is_rewritten(bucket: Store, kind: str, *, is_changed: bool) -> None:
    before = catalog(bucket).tables
    DAMAGES[kind](bucket, sorted(part_keys(bucket)))
    if is_changed:
        for source in SOURCES:
            extract(bucket, source, {"orders": f"select 1 as n, '{source}' as origin", "late": "select 1 as n"})
    in_parts(bucket).run()
    assert [table for table in catalog(bucket).tables if table.name == "orders"] == list(before)
    assert in_parts(bucket).run().status == "unchanged"


def test_a_damaged_part_is_reported_until_it_is_rewritten(bucket: Store) -> None:
    for key in part_keys(bucket):
        bucket.delete(key)
    with pytest.raises(UnavailableError, match=r"the part '.*' of the snapshot's catalog is missing from the bucket"):
        Snapshots(bucket).current()


def test_a_part_with_other_content_is_reported_and_repaired_by_deleting_it(bucket: Store) -> None:
    before = catalog(bucket).tables
    key = next(key for key in part_keys(bucket) if ".part." in key)
    found = bucket.read(key)
    assert found is not None
    bucket.put(key, found.data[:-1] + b"x", if_version=ANY)
    with pytest.raises(UnavailableError, match="is damaged; delete it, and the next rebuild writes a new one"):
        Snapshots(bucket).current()
    bucket.delete(key)
    assert in_parts(bucket).run().status == "published"
    assert catalog(bucket).tables == before


def test_a_builder_that_resumes_late_leaves_the_parts_of_its_successor(bucket: Store) -> None:
    extract(bucket, "shop", {"orders": "select 2 as n"})
    another = AgedStore(bucket)
    # What it writes: the lease, a part, the list, the pointer.
    sleeping = FaultyStore(bucket, puts=[*[None] * 3, lambda: in_parts(another).run()])
    with pytest.raises(LeaseLostError):
        in_parts(sleeping).run()
    assert pointer(bucket).snapshot == 2
    assert in_parts(another).run().status == "unchanged"
    assert ask(bucket, COPY, "select n from shop.orders") == [(2,)]


def test_earlier_snapshots_stay_readable_and_can_be_rolled_back_to(bucket: Store) -> None:
    first = Snapshots(bucket).current()
    extract(bucket, "shop", {"orders": "select 2 as n"})
    in_parts(bucket).run()
    assert Snapshots(bucket).at(1).catalog.tables == first.catalog.tables
    assert [one.number for one in Snapshots(bucket).kept(24)] == [2, 1]
    roll_back(in_parts(bucket), 1)
    newest = catalog(bucket)
    assert (newest.snapshot, newest.tables) == (3, first.catalog.tables)
    assert [one.source for one in newest.held_back] == ["shop"]
    assert ask(bucket, COPY, "select n from shop.orders") == [(1,)]


def test_the_database_of_many_tables_is_written_later(bucket: Store) -> None:
    requested: list[bool] = []
    rebuilding = in_parts(bucket, file_at_once=2, later=lambda: requested.append(True))
    extract(bucket, "shop", {"orders": "select 2 as n"})
    assert rebuilding.run().status == "published"
    assert ask(bucket, COPY, "select n from shop.orders") == [(1,)]
    assert rebuilding.run().status == "unchanged"
    assert requested == [True, True]
    assert rebuilding.refresh_file().snapshot == 2
    assert ask(bucket, COPY, "select n from shop.orders") == [(2,)]


def test_a_database_that_others_changed_is_rewritten(store: Store) -> None:
    bucket = store  # not a copy, since the views of a copy's file read the original
    publish_in_parts(bucket)
    good = content(bucket)
    changes = (
        "create or replace view shop.orders as select 666 as n",
        "create macro list_transform(a, b) as ['/etc/passwd']",
        "create schema other; create view other.v as select 1 as n",
        "update _built set digest = 'x'; drop view orders",
        "drop table _built",
    )
    for statement in changes:
        changed(bucket, statement)
        in_parts(bucket).refresh_file()
        assert content(bucket) == good
    bucket.put(COPY, b"no database", if_version=ANY)
    in_parts(bucket).refresh_file()
    assert content(bucket) == good


def changed(store: Store, statement: str) -> None:
    with edited(store, COPY) as path, duckdb.connect(path) as con:
        con.execute(statement)


@pytest.fixture
def older(store: Store) -> Store:
    """A bucket as an earlier version left it: one catalog, without what remote views select from, and a file of its own."""
    for source in ("alpha", "shop"):
        extract(store, source, {"orders": f"select 1 as n, '{source}' as origin"})
    remote = (
        "insert into _meta (table_name, query_mode) values ('far', 'remote')",
        "insert into _remote_attach values ('bq', 'bigquery', 'project=a', 'BQ_TOKEN')",
        "attach ':memory:' as bq; create schema bq.web; create table bq.web.visits (n int)",
        "create view far as select * from bq.web.visits",
    )
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        for statement in remote:
            con.execute(statement)
    assert Rebuild(store, lambda: NOW, tuple).run().problems == ()
    newest = pointer(store)
    found = store.read(newest.catalog)
    assert found is not None
    document = json.loads(found.data)
    for table in document["tables"]:
        table.pop("remote", None)
    store.put(newest.catalog, json.dumps(document).encode(), if_version=ANY)
    update = {"catalog_text": json.dumps(document), "sha256": {}}
    store.put("analytics/current.json", newest.model_copy(update=update).model_dump_json().encode(), if_version=ANY)
    return store


def test_a_bucket_of_an_earlier_version_continues(older: Store) -> None:
    before = catalog(older).tables
    extract(older, "alpha", {"orders": "select 2 as n"})
    assert in_parts(older).run().problems == ()
    now = {table.id: table for table in catalog(older).tables}
    assert now["shop.far"].remote == ("bq", "web", "visits")
    assert now["shop.orders"] in before
    sql = "select sql from duckdb_views() where view_name = 'far' order by 1"
    assert [text for (text,) in ask(older, COPY, sql)] == [
        "CREATE VIEW far AS SELECT n FROM bq.web.visits;",
        "CREATE VIEW shop.far AS SELECT * FROM main.far;",
    ]
    roll_back(in_parts(older), 1)
    assert {table.hash for table in catalog(older).tables} == {table.hash for table in before}
    assert catalog(older).problems == ()
    assert len(ask(older, COPY, sql)) == 2


def test_an_earlier_version_does_not_take_a_catalog_of_parts_for_an_empty_one(bucket: Store) -> None:
    text = pointer(bucket).catalog_text
    assert text is not None
    with pytest.raises(ValueError, match="tables"):
        Catalog.model_validate_json(text)


def test_few_tables_become_one_catalog_again(bucket: Store) -> None:
    assert Rebuild(bucket, lambda: NOW, tuple).run().status == "unchanged"
    extract(bucket, "shop", {"orders": "select 2 as n"})
    Rebuild(bucket, lambda: NOW, tuple).run()
    (listed,) = [e.key for e in bucket.list(f"{PREFIX}000000002-") if e.key.endswith(CATALOG_SUFFIX)]
    assert pointer(bucket).duckdb == listed.replace(CATALOG_SUFFIX, ".duckdb")
    assert ask(bucket, pointer(bucket).duckdb, "select n from shop.orders") == [(2,)]
    assert ask(bucket, COPY, "select n from shop.orders") == [(2,)]
    assert len(catalog(bucket).tables) == len(SOURCES)


def test_a_view_that_cannot_be_written_harms_no_other(tmp_path: Path) -> None:
    """Such a table reaches no catalog as far as we know; the file is written all the same, and says which it lacks."""

    def table(name: str, *types: str) -> dict[str, object]:
        columns = [{"name": f"c{number}", "type": kind} for number, kind in enumerate(types)]
        files = [{"path": f"extracts/shop/data/{name}/x.parquet", "sha256": "0" * 64, "size_bytes": 1, "rows": 1}]
        return {"source": "shop", "name": name, "view": name, "hash": "", "columns": columns, "files": files}

    tables = [table("a", "BIGINT"), table("b", "NO_SUCH_TYPE"), table("c", "VARCHAR")]
    made = Catalog.model_validate({"snapshot": 1, "built_at": NOW, "tables": tables})
    path = tmp_path / "analytics.duckdb"
    for _ in range(2):
        failed = snapshot_file.update(path, made, "file:///bucket")
        assert failed.keys() == {"shop.b"}
        with duckdb.connect(path, read_only=True) as con:
            views = con.execute("select schema_name, view_name from duckdb_views() where not internal order by all")
            assert views.fetchall() == [("main", "a"), ("main", "c"), ("shop", "a"), ("shop", "c")]
            assert con.execute("select table_id from _tables order by 1").fetchall() == [("shop.a",), ("shop.c",)]


def test_the_requests_of_a_rebuild_do_not_depend_on_the_number_of_sources() -> None:
    counted: list[tuple[int, int]] = []
    with running(Gcs()) as gcs, gcs.client() as client:
        store = GsStore("bucket", "", client)
        for number in range(12):
            extract(store, f"s{number:02}", {"orders": "select 1 as n"})
            if number in (3, 11):
                in_parts(store, later=lambda: None, file_at_once=0).run()
                extract(store, "s00", {"orders": f"select {number} as n"})
                counted.append((requests(gcs, store, "published"), requests(gcs, store, "unchanged")))
    assert counted[0] == counted[1]
    assert counted[0][1] <= 3


def requests(gcs: Gcs, store: GsStore, status: str) -> int:
    """Count the requests of a rebuild by a process that has just started."""
    gcs.counts.clear()
    assert in_parts(store, later=lambda: None, file_at_once=0).run().status == status
    return sum(gcs.counts.values())
