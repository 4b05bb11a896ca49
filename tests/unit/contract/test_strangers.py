"""Publishing into an extract.duckdb that another program wrote."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir

import duckdb
import pytest

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.runs import RunRecord
from analyst.store import ANY, Store
from tests.bucket_contents import ask, data, edited
from tests.doubles.toy_source import Toy, ToyTable
from tests.examples import size
from tests.processes import ROOT

pytestmark = pytest.mark.slow

EXTRACT = "extracts/toy/extract.duckdb"
NEWEST = ROOT / ".venv-da/bin/python"
META = """create table _meta (table_name varchar not null, description varchar, rows bigint, size_bytes bigint,
extracted_at timestamp, query_mode varchar default 'local')"""


def write(path: Path, *statements: str, options: str = "") -> None:
    with duckdb.connect() as con:
        con.execute(f"attach '{path}' as theirs {options}")
        con.execute("use theirs")
        for statement in statements:
            con.execute(statement)


def write_by_newest(path: Path, *statements: str, options: str = "") -> None:
    lines = "; ".join((f"attach '{path}' as theirs {options}", "use theirs", *statements))
    subprocess.run([NEWEST, "-c", "import duckdb, sys; duckdb.connect().execute(sys.argv[1])", lines], check=True)


def publish(store: Store) -> RunRecord:
    toy = Toy({"ours": ToyTable("select 1 as x")})
    return Extraction(store, "toy", runs.new_run_id(), lambda: datetime(2026, 1, 2, tzinfo=UTC)).run(lambda: toy).record


THEIRS = [
    META,
    "insert into _meta (table_name) values ('theirs')",
    "create view theirs as select 42 as n",
    "create table notes (t varchar primary key, n int check (n > 0))",
    "insert into notes values ('kept', 1)",
    "create macro twice(x) as 2 * x",
    "create type mood as enum ('sad', 'glad')",
    "create table moods (m mood)",
    "create sequence numbers",
    "create schema other",
    "create view other.v as select * from main.notes",
]

WRITERS: dict[str, Callable[[Path], None]] = {
    "the same DuckDB": lambda path: write(path, *THEIRS),
    "its newest storage": lambda path: write(path, *THEIRS, options="(storage_version 'latest')"),
    "its oldest storage": lambda path: write(path, *THEIRS, options="(storage_version 'v0.10.2')"),
    "large blocks": lambda path: write(path, *THEIRS, options="(block_size 262144)"),
    "the newest DuckDB, old storage": lambda path: write_by_newest(path, *THEIRS, options="(storage_version 'v1.0.0')"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_foreign_tables_of_an_extract_survive_a_publish(store: Store, writer: str) -> None:
    if "newest DuckDB" in writer and not NEWEST.exists():
        pytest.skip("make .venv-da/installed")
    with edited(store, EXTRACT) as path:
        WRITERS[writer](path)
    assert publish(store).error is None
    assert ask(store, EXTRACT, "from ours") == [(1,)]
    assert ask(store, EXTRACT, "from theirs") == [(42,)]
    assert ask(store, EXTRACT, "from other.v") == [("kept", 1)]
    assert ask(store, EXTRACT, "select twice(4), 'glad'::mood::varchar") == [(8, "glad")]
    assert ask(store, EXTRACT, "select table_name from _meta order by 1") == [("ours",), ("theirs",)]
    assert ask(store, EXTRACT, "select count(*) from duckdb_sequences()") == [(1,)]


@pytest.mark.skipif(not NEWEST.exists(), reason="make .venv-da/installed")
def test_storage_that_we_cannot_read_is_named_and_left_alone(store: Store) -> None:
    with edited(store, EXTRACT) as path:
        write_by_newest(path, *THEIRS)
    before = data(store, EXTRACT)
    record = publish(store)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.startswith("extracts/toy/extract.duckdb can't be opened as a DuckDB database: ")
    assert data(store, EXTRACT) == before


REFUSED = {
    "no _meta": (["create table x (i int)"], "has no table _meta"),
    "a _meta of their own": (["create table _meta (name varchar)"], "has a _meta without table_name"),
    "a _files of their own": ([META, "create table _files (file varchar)"], "has a _files without table_name"),
    "a view in place of a table": (
        [META, "create view _state as select 1 as version"],
        "has a _state that is not a table",
    ),
    "a stricter _meta": ([META.replace("bigint", "bigint check (rows < 0)", 1)], "can't be changed"),
    "a default that is computed": (
        [META.replace("description varchar", "description varchar default repeat('x', 10)")],
        "the default of description in _meta is computed",
    ),
    "an index of an expression": ([META, "create index i on _meta (upper(table_name))"], "has an index on _meta"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_extract_that_breaks_the_contract_is_named_and_left_alone(store: Store, kind: str) -> None:
    statements, reason = REFUSED[kind]
    with edited(store, EXTRACT) as path:
        write(path, *statements)
    before = data(store, EXTRACT)
    record = publish(store)
    assert record.status == "failed"
    assert record.error is not None
    assert reason in record.error
    assert gettempdir() not in record.error
    assert data(store, EXTRACT) == before


OTHERS: dict[str, str] = {
    "a table twice": "insert into _meta (table_name) values ('a'), ('a')",
    "an unknown mode": "insert into _meta (table_name, query_mode) values ('a', 'x')",
    "SQL in a name": """insert into _meta (table_name) values ('a"; drop table _meta; --')""",
    "an infinite time": "insert into _meta (table_name, extracted_at) values ('a', 'infinity')",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_broken_table_blocks_no_other(store: Store, kind: str) -> None:
    with edited(store, EXTRACT) as path:
        write(path, META, OTHERS[kind])
    before = ask(store, EXTRACT, "from _meta order by all")
    assert publish(store).error is None
    assert ask(store, EXTRACT, "from _meta where table_name <> 'ours' order by all") == before
    assert ask(store, EXTRACT, "from ours") == [(1,)]


def test_a_table_that_cannot_be_published_fails_by_itself(store: Store) -> None:
    with edited(store, EXTRACT) as path:
        write(path, META, "create table ours (i int)")
    toy = Toy({"ours": ToyTable("select 1 as x"), "fine": ToyTable("select 2 as x")})
    now = datetime(2026, 1, 2, tzinfo=UTC)
    record = Extraction(store, "toy", runs.new_run_id(), lambda: now).run(lambda: toy).record
    assert (record.status, record.error) == ("partial", None)
    assert [(table.table, table.status) for table in record.tables] == [("fine", "ok"), ("ours", "failed")]
    assert ask(store, EXTRACT, "from fine") == [(2,)]
    assert ask(store, EXTRACT, "select table_name, status from _runs order by 1") == [
        ("fine", "ok"),
        ("ours", "failed"),
    ]


@pytest.mark.parametrize("content", [b"", b"no database", b"\xff\xfe\x00", b"\x00" * 50_000])
def test_garbage_is_named_and_left_alone(store: Store, content: bytes) -> None:
    store.put(EXTRACT, content, if_version=ANY)
    record = publish(store)
    assert record.error is not None
    assert record.error.startswith("extracts/toy/extract.duckdb")
    assert data(store, EXTRACT) == content


def test_a_meta_with_further_columns_is_kept(store: Store) -> None:
    with edited(store, EXTRACT) as path:
        write(
            path,
            META.replace("query_mode", "extra int, query_mode"),
            "insert into _meta values ('a', '', 1, 1, null, 9, 'local')",
        )
    assert publish(store).error is None
    assert ask(store, EXTRACT, "select table_name, extra from _meta order by 1") == [("a", 9), ("ours", None)]


@pytest.mark.many
def test_an_extract_does_not_grow_with_every_publish(store: Store) -> None:
    sizes = []
    for number in range(size(24, 40)):
        toy = Toy({"ours": ToyTable(f"select {number} as x", str(number))})
        Extraction(store, "toy", runs.new_run_id(), lambda: datetime(2026, 1, 2, tzinfo=UTC)).run(lambda toy=toy: toy)  # type: ignore[misc]
        sizes.append(len(data(store, EXTRACT)))
    assert max(sizes[12:]) <= 2 * sizes[5]
