"""Many small files become few, and nobody who reads the table sees the difference."""

import itertools
import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst import duckdb_files, runs
from analyst.catalog import Catalog
from analyst.contract.connector import Connector
from analyst.contract.editing import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.model import Extract, FileRow
from analyst.contract.publishing import drop
from analyst.errors import UnavailableError
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import ANY, Condition, Store
from analyst.store.file import FileStore
from analyst.store.memory import MemoryStore
from analyst.sweep import Rule, Sweep, SweepAnswer
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.pieces import Pieces
from tests.doubles.toy_source import Toy, ToyTable

FEW = Rule(fewest=3)
DAY = timedelta(days=1)


@dataclass
class Bucket:
    """A bucket in a folder, whose clocks are ours to move. Whoever sweeps it has snapshots built."""

    folder: Path
    now: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    asked: list[str] = field(default_factory=list)

    @property
    def store(self) -> FileStore:
        return FileStore(self.folder / "bucket", lambda: b"s" * 32)

    def extract(self, source: Connector, store: Store | None = None, name: str = "shop") -> str:
        """Extract a source; tell how its first table fared."""
        self.now += timedelta(minutes=1)
        at = self.now
        record = Extraction(store or self.store, name, runs.new_run_id(), lambda: at).run(lambda: source).record
        assert record.status in ("ok", "unchanged"), record
        return record.tables[0].status

    def rebuild(self) -> int:
        return Rebuild(self.store, lambda: self.now, tuple).run().snapshot or 0

    def sweep(self, store: Store | None = None, rule: Rule = FEW, *, dry_run: bool = False) -> SweepAnswer:
        def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
            assert body == {"source": None}
            self.asked.append(path)
            return {"status": "published", "snapshot": self.rebuild()}

        self.now += timedelta(minutes=1)
        return Sweep(store or self.store, DAY, now=lambda: self.now, rule=rule, call=call).run(dry_run=dry_run)

    def compacted(self, **options: Any) -> list[tuple[str, int]]:
        answer = self.sweep(**options)
        assert answer.problems == ()
        return [(table.table, table.files) for table in answer.compacted]

    def extracted(self, source: str = "shop") -> Extract:
        return read_extract(self.store, source, self.folder)[0]

    def files(self, table: str = "orders") -> tuple[FileRow, ...]:
        return self.extracted().files[table]

    def ask(self, query: str) -> list[Any]:
        with duckdb.connect(self.store.local_path("extracts/shop/extract.duckdb"), read_only=True) as con:
            return con.execute(query).fetchall()

    def told(self, table: str = "orders") -> dict[str, Any]:
        """Tell all that a reader may see of a table but how often it was published, and in which files."""
        extract = self.extracted()
        comments = "select column_name, comment from duckdb_columns() where database_name = 'extract' order by 1"
        root = self.store.local_path(f"extracts/shop/data/{table}")
        return {
            "rows": self.ask(f"from {table}"),
            "columns": self.ask(f"describe {table}"),
            "comments": self.ask(comments),
            "about": [
                self.ask(f"select table_name, description, rows, extracted_at, query_mode from {of}")
                for of in ("_meta",)
            ],
            "state": (extract.state(table).cursor, extract.state(table).fingerprint),
            "delta": pl.read_delta(str(root)).sort("n").rows(named=True),
            "runs": self.ask("select table_name, status, rows from _runs"),
        }

    def catalog(self) -> Catalog:
        return Snapshots(self.store).current().catalog

    def commit(self, table: str = "orders") -> list[dict[str, Any]]:
        """Read the newest commit of a table's Delta log."""
        newest = max(self.store.local_path(f"extracts/shop/data/{table}/_delta_log").glob("*.json"))
        return [json.loads(line) for line in newest.read_text().splitlines()]


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


@pytest.fixture
def source(bucket: Bucket) -> Pieces:
    """A source of a table of five small files, which is published."""
    source = Pieces()
    source.grow(5)
    bucket.extract(source)
    bucket.rebuild()
    return source


def test_many_small_files_become_one_and_nothing_else_changes(bucket: Bucket, source: Pieces) -> None:
    before, state = bucket.told(), bucket.extracted().state("orders")
    assert len(bucket.files()) == 5
    answer = bucket.sweep()
    assert [(t.source, t.table, t.files) for t in answer.compacted] == [("shop", "orders", 5)]
    assert bucket.told() == before
    assert len(bucket.files()) == 1
    assert bucket.extracted().state("orders").version == state.version + 1
    assert bucket.asked == ["/rebuild"]
    (table,) = Snapshots(bucket.store).current().catalog.tables
    assert [file.path for file in table.files] == [file.path for file in bucket.files()]
    assert bucket.sweep().compacted == ()
    assert bucket.asked == ["/rebuild"]
    source.grow(1)
    assert bucket.extract(source) == "ok"
    assert [n for n, _ in bucket.ask("from orders")] == [1, 2, 3, 4, 5, 6]


def test_readers_of_delta_are_told_that_no_row_has_changed(bucket: Bucket, source: Pieces) -> None:
    assert source.pieces
    bucket.sweep()
    about, *actions = bucket.commit()
    assert about["commitInfo"]["operation"] == "OPTIMIZE"
    assert [next(iter(action)) for action in actions] == ["remove"] * 5 + ["add"]
    assert {one["dataChange"] for action in actions for one in action.values()} == {False}
    stats = json.loads(actions[-1]["add"]["stats"])
    assert (stats["numRecords"], stats["minValues"]["n"], stats["maxValues"]["n"]) == (5, 1, 5)
    root = str(bucket.store.local_path("extracts/shop/data/orders"))
    for version, files in ((0, 5), (1, 1)):
        table = DeltaTable(root, version=version)
        assert len(table.file_uris()) == files
        assert pl.read_delta(root, version=version).height == 5


def test_a_dry_run_tells_the_same_and_changes_nothing(bucket: Bucket, source: Pieces) -> None:
    assert source.pieces
    before = {entry.key: entry.version for entry in bucket.store.list("")}
    told = bucket.sweep(dry_run=True)
    assert {entry.key: entry.version for entry in bucket.store.list("")} == before
    assert told.compacted
    done = bucket.sweep()
    assert done.rebuild
    assert done.rebuild.snapshot == 2
    assert done.model_copy(update={"dry_run": True, "rebuild": None}) == told


def test_a_rebuild_that_fails_is_told_and_the_compaction_stands(bucket: Bucket, source: Pieces) -> None:
    def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
        raise UnavailableError(f"{path} is away: {body}")

    assert source.pieces
    answer = Sweep(bucket.store, DAY, rule=FEW, call=call).run()
    assert answer.rebuild
    assert (answer.rebuild.status, answer.rebuild.error, len(bucket.files())) == (
        "failed",
        "/rebuild is away: {'source': None}",
        1,
    )


@pytest.fixture
def moved(tmp_path: Path) -> "Moved":
    return Moved(tmp_path)


@dataclass
class Moved:
    """A bucket in memory, whose clock is ours to move: what is there has to be fetched."""

    folder: Path
    seconds: float = 1_767_322_800.0
    store: MemoryStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.seconds)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def sweep_daily(self, days: int) -> None:
        for _ in range(days):
            self.seconds += 86400
            assert Sweep(self.store, DAY, now=self.now, rule=FEW).run().problems == ()

    def paths(self) -> set[str]:
        return {entry.key for entry in self.store.list("extracts/shop/data/") if entry.key.endswith(".parquet")}

    def delta(self, version: int | None) -> list[int]:
        for entry in self.store.list("extracts/shop/data/"):
            (self.folder / entry.key).parent.mkdir(parents=True, exist_ok=True)
            self.store.download(entry.key, self.folder / entry.key)
        found = pl.read_delta(str(self.folder / "extracts/shop/data/orders"), version=version)
        shutil.rmtree(self.folder / "extracts")
        return list(found["n"].sort())


def test_earlier_snapshots_and_versions_keep_their_files_for_their_time(moved: Moved) -> None:
    source = Pieces()
    source.grow(5)
    Extraction(moved.store, "shop", runs.new_run_id(), moved.now).run(lambda: source)
    Rebuild(moved.store, moved.now, tuple).run()
    old = moved.paths()
    moved.sweep_daily(1)
    assert len(moved.paths()) == 6
    Rebuild(moved.store, moved.now, tuple).run()
    snapshots = Snapshots(moved.store)
    assert [len(snapshots.at(number).catalog.tables[0].files) for number in (1, 2)] == [5, 1]
    moved.sweep_daily(8)
    assert old < moved.paths()
    assert (moved.delta(0), moved.delta(1)) == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    moved.sweep_daily(3)
    assert len(moved.paths()) == 1
    assert moved.delta(None) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["cursor", "blind", "full"])
def test_an_extract_that_began_before_publishes_upon_the_few(bucket: Bucket, kind: Any) -> None:
    source = Pieces(kind)
    source.grow(4)
    bucket.extract(source)
    source.grow(1)
    source.skipped = 4 if kind == "blind" else 0
    source.then = lambda: swept.append(bucket.compacted())
    swept: list[Any] = []
    assert bucket.extract(source) == "ok"
    assert swept == [[("orders", 4)]]
    assert len(bucket.files()) == (5 if kind == "full" else 2)
    assert [row["n"] for row in bucket.told()["delta"]] == [n for n, _ in bucket.ask("from orders")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["cursor", "full"])
def test_a_table_that_moves_meanwhile_is_left_for_the_next_time(bucket: Bucket, kind: Any) -> None:
    source = Pieces(kind)
    source.grow(4)
    bucket.extract(source)
    source.grow(1)
    assert bucket.compacted(store=FaultyStore(bucket.store, puts=[lambda: bucket.extract(source)])) == []
    assert (len(bucket.files()), bucket.asked) == (5, [])
    assert [n for n, _ in bucket.ask("from orders")] == [1, 2, 3, 4, 5]
    assert bucket.compacted() == [("orders", 5)]


def test_of_two_sweeps_at_once_one_gives_way(bucket: Bucket, source: Pieces) -> None:
    before = bucket.told()
    other: list[Any] = []
    assert source.pieces
    faulty = FaultyStore(bucket.store, puts=[lambda: other.append(bucket.compacted())])
    assert (bucket.compacted(store=faulty), other) == ([], [[("orders", 5)]])
    assert bucket.told() == before


def test_a_table_that_was_dropped_meanwhile_stays_away(bucket: Bucket, source: Pieces) -> None:
    def withdraw() -> None:
        drop(bucket.store, "shop", source.name, now=lambda: bucket.now, folder=bucket.folder)

    assert bucket.compacted(store=FaultyStore(bucket.store, puts=[withdraw])) == []
    assert bucket.extracted().meta == {}


@pytest.mark.parametrize("fault", Fault)
def test_an_answer_that_is_lost_publishes_once(bucket: Bucket, source: Pieces, fault: Fault) -> None:
    assert source.pieces
    before = bucket.told()
    assert bucket.compacted(store=FaultyStore(bucket.store, puts=[None, fault])) == [("orders", 5)]
    assert bucket.told() == before
    assert (bucket.extracted().state("orders").version, len(bucket.files())) == (2, 1)


class Dead(BaseException):
    """The process ends here."""


class DyingStore(FileStore):
    """A store in a folder whose process dies at the nth step; each change is two, before it and after it."""

    steps = 0

    def put(self, key: str, data: bytes, *, if_version: str | Condition, mode: int = 0o666) -> str:
        self._step()
        version = super().put(key, data, if_version=if_version, mode=mode)
        self._step()
        return version

    def upload(self, key: str, path: Path) -> str:
        self._step()
        version = super().upload(key, path)
        self._step()
        return version

    def _step(self) -> None:
        self.steps -= 1
        if self.steps <= 0:
            raise Dead


def test_a_sweep_that_dies_anywhere_leaves_the_table_whole_and_the_next_goes_on(
    bucket: Bucket, source: Pieces, tmp_path: Path
) -> None:
    assert source.pieces
    before = bucket.told()
    for step in itertools.count(1):
        crashed = Bucket(tmp_path / str(step), bucket.now)
        shutil.copytree(tmp_path / "bucket", crashed.folder / "bucket")
        store = DyingStore(crashed.folder / "bucket", lambda: b"s" * 32)
        store.steps = step
        try:
            crashed.sweep(store)
        except Dead:
            assert crashed.ask("from orders") == before["rows"]
            assert crashed.compacted() in ([], [("orders", 5)])
            assert (len(crashed.files()), crashed.told()) == (1, before)
        else:
            break
    assert step > 6


LEFT_ALONE = {
    "others' files": "update extract._files set path = replace(path, '-01', '-part-01')",
    "a file that stands twice": "insert into extract._files from extract._files limit 1",
    "no statistics": "update extract._files set stats = null",
    "a type that is no longer written": "update extract._files set stats = replace(stats::varchar, 'VARCHAR', 'JSON')",
    "a type that nobody knows": "update extract._files set stats = replace(stats::varchar, 'VARCHAR', 'THING')",
    "several types": "update extract._files set stats = replace(stats::varchar, 'INTEGER', 'BIGINT') where path in "
    "(select max(path) from extract._files)",
    "another query mode": "update extract._meta set query_mode = 'materialized'",
    "no version": "delete from extract._state",
    "few files of each partition": 'update extract._files set "partition" = right(path, 20)',
}


def test_what_may_not_be_rewritten_is_left_alone(bucket: Bucket, source: Pieces) -> None:
    assert source.pieces
    key = "extracts/shop/extract.duckdb"
    whole = bucket.store.read(key)
    assert whole is not None
    for what, statement in LEFT_ALONE.items():
        bucket.store.put(key, whole.data, if_version=ANY)
        edit(bucket, statement)
        before = bucket.files()
        answer = bucket.sweep()
        assert (answer.compacted, answer.problems, bucket.files()) == ((), (), before), what


def edit(bucket: Bucket, statement: str) -> None:
    with duckdb_files.connect() as con:
        con.execute(f"attach '{bucket.store.local_path('extracts/shop/extract.duckdb')}' as extract")
        con.execute(statement)


def test_files_of_different_partitions_stay_apart(bucket: Bucket) -> None:
    source = Pieces()
    source.grow(8)
    bucket.extract(source)
    edit(bucket, "update extract._files set \"partition\" = (stats->>'$.columns.n.min')::int // 5")
    before = bucket.told()
    assert bucket.compacted() == [("orders", 8)]
    assert [(file.partition, file.rows) for file in bucket.files()] == [("0", 4), ("1", 4)]
    assert bucket.told() == before


def test_a_table_whose_files_are_broken_stays_as_it_is_and_hinders_no_other(bucket: Bucket, source: Pieces) -> None:
    other = Pieces(name="people")
    other.grow(3)
    bucket.extract(other)
    bucket.extract(source, name="crm")
    listed, whole = bucket.files(), bucket.extracted("crm").files["orders"]
    path = bucket.store.local_path(listed[2].path)
    path.unlink()
    path.write_bytes(b"no parquet")
    answer = bucket.sweep()
    assert {(table.source, table.table) for table in answer.compacted} == {("crm", "orders"), ("shop", "people")}
    (problem,) = answer.problems
    assert (problem.source, problem.message.startswith("orders can't be compacted: ")) == ("shop", True)
    assert (bucket.files(), len(whole)) == (listed, 5)


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("update extract._files set rows = rows + 1", "hold 5 rows, and are listed with 10"),
        ("update extract._files set stats = replace(stats::varchar, '\"t\"', '\"u\"')", "have other columns than"),
    ],
)
def test_what_is_not_as_it_is_listed_is_told_and_not_published(
    bucket: Bucket, source: Pieces, statement: str, wrong: str
) -> None:
    assert source.pieces
    edit(bucket, statement)
    before = bucket.files()
    answer = bucket.sweep()
    assert (answer.compacted, bucket.files()) == ((), before)
    assert wrong in answer.problems[0].message


def test_keyed_tables_are_never_scattered(bucket: Bucket) -> None:
    for number in range(1, 5):
        query = f"select range as n, {number} as t from range({number})"
        bucket.extract(Toy({"orders": ToyTable(query, str(number), primary_key=("n",))}))
    assert (len(bucket.files()), bucket.compacted()) == (1, [])


def test_what_is_too_much_for_one_sweep_is_done_by_the_next(bucket: Bucket, source: Pieces) -> None:
    bucket.extract(source, name="crm")
    before, rule = bucket.told(), Rule(fewest=2, batch_files=3, most_tables=1)
    done = [(table.source, table.files) for _ in range(5) for table in bucket.sweep(rule=rule).compacted]
    assert done == [("crm", 5), ("shop", 5), ("crm", 2), ("shop", 2)]
    assert (len(bucket.files()), bucket.told()) == (1, before)


def test_equal_files_have_names_of_their_own(bucket: Bucket) -> None:
    pieces = [f"select unnest({ns}) as n" for ns in ([1, 2], [3], [1], [2, 3])]
    bucket.extract(Pieces("blind", pieces))
    before = bucket.told()
    assert bucket.compacted(rule=Rule(fewest=3, batch_files=2)) == [("orders", 4)]
    first, second = bucket.files()
    assert (first.sha256, first.path != second.path) == (second.sha256, True)
    assert bucket.told() == before


def test_files_of_many_row_groups_keep_their_order(bucket: Bucket) -> None:
    source = Pieces()
    source.pieces = [
        f"select range as n, hash(range) % 7 as t from range({n}, {n + 130_000})" for n in range(0, 650_000, 130_000)
    ]
    bucket.extract(source)
    assert bucket.compacted() == [("orders", 5)]
    wrong = "select count(*) from (select n, row_number() over () - 1 as place from orders) where n <> place"
    assert (bucket.ask(wrong), bucket.ask("select count(*) from orders")) == ([(0,)], [(650_000,)])


PIECES = (
    "select {n} as n, 'x' || {n} as t",
    "select {n} as n, {n} / 7 as added, null::integer as nothing",
    "select unnest([{n}, {n}, {n}]) as n, unnest(['', null, 'é']) as t",
    "select {n}::bigint as n, [{n}] as list, {{'a': {n}}} as struct",
    "select {n} as n, timestamp '2026-01-01' + to_days({n}) as at, {n}::decimal(10, 2) as t",
)
STEPS = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(["extract", "compact", "rebuild"])), max_size=10)


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_appends_and_compactions_give_what_the_appends_alone_give(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    compacted, plain = (Bucket(tmp_path_factory.mktemp(name)) for name in ("compacted", "plain"))
    source = Pieces()
    source.grow(3)
    for step in ["extract", *steps, "extract", "compact"]:
        if step == "extract":
            compacted.now = plain.now = max(compacted.now, plain.now)
            assert compacted.extract(source) == plain.extract(source)
        elif step == "compact":
            compacted.compacted(rule=Rule(fewest=3, batch_files=4))
        elif step == "rebuild":
            compacted.rebuild()
        else:
            source.grow(1, step)
    assert compacted.told() == plain.told()
    compacted.rebuild()
    plain.rebuild()
    columns = [bucket.catalog().tables[0].columns for bucket in (compacted, plain)]
    assert columns[0] == columns[1]
    assert len(compacted.files()) <= len(plain.files())
