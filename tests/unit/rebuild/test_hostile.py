"""A hostile extract.duckdb: nothing in it runs, and no published table is lost."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from analyst import duckdb_files
from analyst.catalog import Problem
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from tests.bucket_contents import data, edited, filled, pointer, query
from tests.unit.rebuild.lake import extract, rebuild

if TYPE_CHECKING:
    from tests.clouds import Cloud

pytestmark = pytest.mark.slow

SECRET = "the host's own secret"
META = """create table _meta (table_name varchar not null, description varchar, rows bigint, size_bytes bigint,
extracted_at timestamp, query_mode varchar default 'local')"""
FILES = """create table _files (table_name varchar, path varchar, "partition" varchar, rows bigint, size_bytes bigint,
sha256 varchar, stats json)"""
STATE = """create table _state (table_name varchar, version bigint, "cursor" json, fingerprint varchar)"""
ATTACH = "create table _remote_attach (alias varchar, extension varchar, url varchar, token_env varchar)"
T = "insert into _meta (table_name) values ('t')"
REMOTE = "insert into _meta (table_name, query_mode) values ('t', 'remote')"
BQ = "insert into _remote_attach values ('bq', 'bigquery', 'project=p', 'BQ_TOKEN')"


def listed(path: str = "extracts/odd/data/t/x.parquet", stats: object = None, sha256: str = "0" * 64) -> str:
    """Write a row of `_files`."""
    statistics = {"columns": {"a": {"type": "INTEGER"}}} if stats is None else stats
    text = statistics if isinstance(statistics, str) else json.dumps(statistics)
    quoted = [part.replace("'", "''") for part in (path, sha256, text)]
    return f"insert into _files values ('t', '{quoted[0]}', null, 1, 1, '{quoted[1]}', '{quoted[2]}')"


def typed(kind: str, name: str = "a") -> list[str]:
    """List a file with a column of a type."""
    return [META, T, FILES, listed(stats={"columns": {name: {"type": kind}}})]


DEEP = "[" * 100_000 + "]" * 100_000
META_VIEW = """create view _meta as select 0 as rowid, 't' as table_name, {} as description, 1::bigint as rows,
1::bigint as size_bytes, now()::timestamp as extracted_at, 'local' as query_mode{}"""

WHOLE: dict[str, tuple[list[str], str]] = {
    "_meta reads a file": ([META_VIEW.format("content", " from read_text('{secret}')")], "a _meta that is not a table"),
    "_meta is expensive": (
        [META_VIEW.format("'x'", " from range(10000000000) a, range(10000000000) b")],
        "a _meta that is not a table",
    ),
    "_meta is made by a macro": (
        [
            "create macro told() as table select content from read_text('{secret}')",
            META_VIEW.format("content", " from told()"),
        ],
        "a _meta that is not a table",
    ),
    "_files reads a file": (
        [META, T, "create view _files as select 't' as table_name, content as path from read_text('{secret}')"],
        "a _files that is not a table",
    ),
    "_state is a view": ([META, T, "create view _state as select 't' as table_name"], "a _state that is not a table"),
    "_remote_attach is a view": (
        [META, T, "create view _remote_attach as select content as alias from read_text('{secret}')"],
        "a _remote_attach that is not a table",
    ),
    "a generated column": (
        [META.replace("description varchar", "description varchar generated always as (repeat(table_name, 9))")],
        "generated column",
    ),
    "a column of a type of its own": (
        ["create type mode as enum ('local')", META.replace("query_mode varchar", "query_mode mode")],
        "query_mode is ENUM",
    ),
    "a column of structs": (
        [META.replace("description varchar", "description struct(a int)")],
        "description is STRUCT",
    ),
    "a column too few": (["create table _meta (table_name varchar)"], "has a _meta without description"),
    "another schema's _meta": (["create schema s", META.replace("_meta", "s._meta")], "no table _meta"),
    "a table too many": (
        [META, "insert into _meta (table_name) select 't' || range from range(10001)"],
        "more than 10,000 rows in _meta",
    ),
    "numbers beyond numbers": (
        [
            META.replace("rows bigint", "rows hugeint"),
            "insert into _meta (table_name, rows) values ('t', 1::hugeint << 100)",
        ],
        "can't be read",
    ),
    "a type that is called nearly as a built-in one": (
        [
            'create type "VARCHAR " as struct(a int)',
            META.replace("description varchar", 'description main."VARCHAR "'),
        ],
        "description is",
    ),
    "_meta is a sequence of its own": (["create sequence _meta", "create view v as select 1"], "no table _meta"),
    "a _files of other types": (
        [META, T, FILES.replace("path varchar", "path blob")],
        "path is BLOB",
    ),
    "a _state with a generated cursor": (
        [META, T, STATE.replace('"cursor" json', '"cursor" varchar generated always as (repeat(table_name, 9))')],
        "generated column",
    ),
    "views without number": (
        ["create view v" + "; create view v".join(f"{n} as select {n} as n" for n in range(200))],
        "no table _meta",
    ),
}
"""What makes a whole extract one that is not read."""

ONE: dict[str, tuple[list[str], str]] = {
    "a type reads and writes": (
        typed(
            "varchar) as x from read_text('{secret}')) to '{canary}' (format csv); copy (select cast(null as integer"
        ),
        "is not a type",
    ),
    "a type is two": (typed("INTEGER, b INTEGER"), "is not a type"),
    "a type has a default": (typed("INTEGER default 5"), "is not a type"),
    "a type has a member that ends it": (typed('STRUCT("a" INTEGER) x, (select 1) y)'), "is not a type"),
    "a type is deep": (typed("STRUCT(a " * 200 + "INTEGER" + ")" * 200), "is not a type"),
    "a type is long": (typed("INTEGER" + "[]" * 200_000), "longer than 200,000 characters"),
    "a type is of a schema": (typed("main.mood"), "is not a type"),
    "a type is no text": ([META, T, FILES, listed(stats={"columns": {"a": {"type": 7}}})], "can't be read"),
    "a name has a NUL": (typed("INTEGER", "a\x00b"), "NUL"),
    "a name is nothing": (typed("INTEGER", ""), ""),
    "names differ by case": (
        [META, T, FILES, listed(stats={"columns": {"a": {"type": "INTEGER"}, "A": {"type": "INTEGER"}}})],
        "two columns of one name",
    ),
    "stats are a list": ([META, T, FILES, listed(stats=[1])], "can't be read"),
    "columns are a text": ([META, T, FILES, listed(stats={"columns": "x"})], "can't be read"),
    "columns are missing": ([META, T, FILES, listed(stats={})], "without its columns"),
    "stats are deep": ([META, T, FILES.replace("json", "varchar"), listed(stats=DEEP)], "can't be read"),
    "stats are huge": (
        [
            META,
            T,
            FILES.replace("json", "varchar"),
            listed(stats="{}"),
            "update _files set stats = repeat(' ', 5000000)",
        ],
        "stats of more than 4 MB",
    ),
    "stats are no JSON": ([META, T, FILES.replace("json", "varchar"), listed(stats="{")], "can't be read"),
    "columns are too many": (
        [META, T, FILES, listed(stats={"columns": {f"c{n}": {"type": "DATE"} for n in range(10_001)}})],
        "more than 10,000 columns",
    ),
    "a path leads up": ([META, T, FILES, listed("extracts/odd/data/../../../state/secret.key")], "is not in"),
    "a path is another source's": ([META, T, FILES, listed("extracts/shop/data/orders/x.parquet")], "is not in"),
    "a path is absolute": ([META, T, FILES, listed("/etc/passwd")], "is not in"),
    "a path is an address": ([META, T, FILES, listed("https://example.com/x.parquet")], "is not in"),
    "a path is a pattern": ([META, T, FILES, listed("extracts/odd/data/t/*.parquet")], "is not in"),
    "a path is a set": ([META, T, FILES, listed("extracts/odd/data/[t]/x.parquet")], "is not in"),
    "a path is long": ([META, T, FILES, listed("extracts/odd/data/" + "a/" * 1000 + "x")], "is not in"),
    "a part of a path is long": ([META, T, FILES, listed("extracts/odd/data/" + "a" * 300)], "is not in"),
    "a path has a line in it": ([META, T, FILES, listed("extracts/odd/data/t/a\nb.parquet")], "is not in"),
    "a path is missing": ([META, T, FILES, listed(), "update _files set path = null"], "is not in"),
    "a path is in another": (
        [META, T, FILES, listed("extracts/odd/data/t/x"), listed("extracts/odd/data/t/x/y")],
        "can't be the path of a file",
    ),
    "a hash is missing": ([META, T, FILES, listed(sha256="")], "without a valid SHA-256"),
    "a hash is a path": ([META, T, FILES, listed(sha256="../" * 21 + "x")], "without a valid SHA-256"),
    "numbers are missing": ([META, T, FILES, listed(), "update _files set rows = null"], "valid numbers of rows"),
    "numbers are negative": ([META, T, FILES, listed(), "update _files set size_bytes = -1"], "valid numbers of rows"),
    "a table is there twice": ([META, T, T], "two rows for the table"),
    "a table is of no mode": (
        [META, "insert into _meta (table_name, query_mode) values ('t', 'sql')"],
        "unknown query_mode",
    ),
    "a time is infinite": (
        [META, "insert into _meta (table_name, extracted_at) values ('t', 'infinity')"],
        "an invalid time, rows or size_bytes",
    ),
    "a time is before Christ": (
        [META, "insert into _meta (table_name, extracted_at) values ('t', '0044-03-15 (BC)')"],
        "an invalid time, rows or size_bytes",
    ),
    "sums beyond numbers": (
        [
            META,
            T,
            FILES,
            *[listed(f"extracts/odd/data/t/{n}.parquet") for n in range(3)],
            "update _files set rows = 9223372036854775807",
        ],
        "an invalid number of rows or bytes",
    ),
    "a version beyond numbers": (
        [META, T, STATE, "insert into _state values ('t', 9223372036854775807, null, 'x')"],
        "has an unreadable _state of 't'",
    ),
    "a table of the contract is no parquet of theirs": (
        [META, T, "create or replace view t as select 1", "copy (select 1 as \"a\x07b\") to '{home}/data/t.parquet'"],
        "is not a valid name of a column",
    ),
    "a parquet file is cut off": (
        [META, T, "copy (select 'PAR1' as a) to '{home}/data/t.parquet' (format csv)"],
        "can't be read as parquet",
    ),
    "a count is negative": (
        [META, "insert into _meta (table_name, rows) values ('t', -1)"],
        "an invalid time, rows or size_bytes",
    ),
    "a cursor is deep": (
        [META, T, STATE.replace("json", "varchar"), f"insert into _state values ('t', 1, '{DEEP}', 'x')"],
        "has an unreadable _state of 't'",
    ),
    "a version is missing": (
        [META, T, STATE, "insert into _state values ('t', null, null, 'x')"],
        "has an unreadable _state of 't'",
    ),
    "a remote view reads a file": (
        [META, REMOTE, ATTACH, BQ, "create view t as select * from read_text('{secret}')"],
        "must be a plain select",
    ),
    "a remote view calls a macro": (
        [META, REMOTE, ATTACH, BQ, "create macro m() as table select 1 as a", "create view t as select * from m()"],
        "must be a plain select",
    ),
    "a remote view runs SQL far away": (
        [
            META,
            REMOTE,
            ATTACH,
            BQ,
            "create macro bigquery_query(p, q) as table select 1 as a",
            "create view t as select * from bigquery_query('p', 'drop table x')",
        ],
        "must be a plain select",
    ),
    "a remote view of what is not attached": (
        [
            META,
            REMOTE,
            ATTACH,
            "attach ':memory:' as bq",
            "create table bq.v (a int)",
            "create view t as select * from bq.main.v",
        ],
        "must be a plain select",
    ),
    "a remote view of two": (
        [
            META,
            REMOTE,
            ATTACH,
            BQ,
            "attach ':memory:' as bq",
            "create table bq.v (a int)",
            "create view t as select * from bq.main.v, range(9)",
        ],
        "must be a plain select",
    ),
    "a remote view with an expression": (
        [
            META,
            REMOTE,
            ATTACH,
            BQ,
            "attach ':memory:' as bq",
            "create table bq.v (a int)",
            "create view t as select md5(a::varchar) as a from bq.main.v",
        ],
        "must be a plain select",
    ),
    "a remote view of its own tables": (
        [
            META,
            REMOTE,
            ATTACH,
            BQ,
            "create schema bq",
            "create table bq.v (a int)",
            "create view t as select * from bq.v",
        ],
        "must be a plain select",
    ),
}
"""What makes one table of an extract one that is not taken."""

ATTACHED: dict[str, str] = {
    "a token that is ours": "('bq', 'bigquery', 'project=p', 'SECRET_KEY')",
    "a token of another service": "('kbc', 'keboola', 'https://connection.keboola.com', 'GITHUB_TOKEN')",
    "a token of da": "('kbc', 'keboola', 'https://connection.keboola.com', 'DA_TOKEN')",
    "SQL in a token": "('bq', 'bigquery', 'project=p', 'BQ_TOKEN; select 1')",
    "a host of theirs": "('kbc', 'keboola', 'https://keboola.com.evil.example', 'KBC_TOKEN')",
    "a host with a user": "('kbc', 'keboola', 'https://connection.keboola.com@evil.example', 'KBC_TOKEN')",
    "an endpoint of theirs": "('bq', 'bigquery', 'project=p api_endpoint=https://evil.example', 'BQ_TOKEN')",
    "SQL in an address": "('bq', 'bigquery', 'project=p'' as x; --', 'BQ_TOKEN')",
    "an extension of theirs": "('x', 'shellfs', '/bin/sh', '')",
    "the path of an extension": "('x', '/tmp/evil.duckdb_extension', '', '')",
    "SQL in an alias": "('x\"; drop', 'bigquery', 'project=p', '')",
    "DuckDB's own alias": "('system', 'bigquery', 'project=p', '')",
    "nothing": "(null, null, null, null)",
}


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of this host that no reader may see."""
    path = tmp_path_factory.mktemp("host") / "secret"
    path.write_text(SECRET)
    return path


def write(store: Store, secret: Path, source: str, *statements: str) -> None:
    """Write the extract of a source again, with the files that it copies."""
    with filled(store, f"extracts/{source}/") as home:
        (home / "data").mkdir(parents=True, exist_ok=True)
        (home / "extract.duckdb").unlink(missing_ok=True)
        with duckdb.connect() as con:
            con.execute(f"attach '{home / 'extract.duckdb'}' as odd")
            con.execute("use odd")
            for statement in statements:
                text = statement.replace("{secret}", str(secret)).replace("{canary}", f"{secret}.canary")
                con.execute(text.replace("{home}", str(home)).replace("extracts/odd/", f"extracts/{source}/"))


HOSTILE = {kind: f"odd_{number}" for number, kind in enumerate((*WHOLE, *ONE))}
"""The source that has each of them."""


@pytest.fixture(scope="module")
def attacked(shared_cloud: "Cloud", secret: Path) -> Store:
    """A bucket in which sources published good tables, and all but one a hostile extract since."""
    store = shared_cloud.open()
    good = [META, T, "copy (select '{home}' as home) to '{home}/data/t.parquet'"]
    for source in ("shop", *HOSTILE.values()):
        write(store, secret, source, *good)
    assert rebuild(store).problems == ()
    for kind, source in HOSTILE.items():
        write(store, secret, source, *(WHOLE.get(kind) or ONE[kind])[0])
    write(store, secret, "shop", *good, "update _meta set description = 'a new one'")
    rebuild(store)
    return store


def problem_of(store: Store, source: str) -> Problem:
    """Return the one problem that the newest snapshot lists of a source."""
    (problem,) = [one for one in Snapshots(store).current().catalog.problems if one.source == source]
    return problem


def test_hostile_extracts_harm_no_other_and_reach_nothing(attacked: Store, secret: Path) -> None:
    catalog, newest = Snapshots(attacked).current().catalog, pointer(attacked)
    assert {table.source for table in catalog.tables} == {"shop", *HOSTILE.values()}
    assert next(table for table in catalog.tables if table.source == "shop").description == "a new one"
    for table in catalog.tables:
        ((home,),) = query(attacked, f'from "{table.view}"')
        assert home.endswith(f"/{table.source}")
    assert all(SECRET.encode() not in data(attacked, key) for key in (newest.catalog, newest.duckdb))
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize("kind", WHOLE)
def test_an_extract_that_is_not_data_is_not_read(attacked: Store, kind: str) -> None:
    problem = problem_of(attacked, HOSTILE[kind])
    assert problem.table is None
    assert WHOLE[kind][1] in problem.message


@pytest.mark.parametrize("kind", ONE)
def test_a_table_that_is_not_data_is_named(attacked: Store, kind: str) -> None:
    problem = problem_of(attacked, HOSTILE[kind])
    assert problem.table == "t"
    assert ONE[kind][1] in problem.message


def test_attached_databases_are_checked(store: Store, secret: Path) -> None:
    for number, row in enumerate(ATTACHED.values()):
        write(store, secret, f"odd_{number}", META, ATTACH, f"insert into _remote_attach values {row}")
    problems = {problem.source: problem.message for problem in rebuild(store).problems}
    for number, kind in enumerate(ATTACHED):
        assert "may not attach" in problems[f"odd_{number}"], kind
    assert query(store, "from _remote_attach") == []


def test_a_remote_view_is_rewritten_from_its_select(store: Store, secret: Path) -> None:
    write(
        store,
        secret,
        "odd",
        META,
        REMOTE,
        ATTACH,
        BQ,
        "attach ':memory:' as bq",
        'create schema bq."web-1"',
        'create table bq."web-1".visits (n int, "select" varchar)',
        'create view t as from bq."web-1".visits',
    )
    assert rebuild(store).problems == ()
    sql = 'CREATE VIEW t AS SELECT n, "select" FROM bq."web-1".visits;'
    assert query(store, "select sql from duckdb_views() where not internal and schema_name = 'main'") == [(sql,)]
    (table,) = Snapshots(store).current().catalog.tables
    assert [(column.name, column.type) for column in table.columns] == [("n", "INTEGER"), ("select", "VARCHAR")]


def test_foreign_additions_to_our_extract_are_left_out(store: Store, secret: Path) -> None:
    extract(store, "shop", {"orders": "select 1 as id"})
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        con.execute("create macro list_transform(a, b) as ['/etc/passwd']")
        con.execute(f"create view stray as select * from read_text('{secret}')")
        con.execute("comment on view orders is 'kept'")
    assert rebuild(store).problems == ()
    assert query(store, "from orders") == [(1,)]
    assert query(store, "select view_name from duckdb_views() where not internal and schema_name = 'main'") == [
        ("orders",)
    ]


def test_an_extract_changed_by_others_is_examined_even_after_our_changes(store: Store) -> None:
    key = "extracts/shop/extract.duckdb"
    extract(store, "shop", {"orders": "select 1 as id"})
    with edited(store, key) as path:
        assert path in duckdb_files.PLAIN
        with duckdb.connect(path) as con:
            con.execute("create macro told() as 1")
        assert path not in duckdb_files.PLAIN
    extract(store, "shop", {"more": "select 2 as id"})
    with edited(store, key) as path:
        assert path not in duckdb_files.PLAIN


@pytest.mark.parametrize("cut", [100, 12288, 0.5, 0.9])
def test_a_truncated_file_is_named_and_harms_no_other(store: Store, cut: float) -> None:
    extract(store, "odd", {"t": "select 7 as n"})
    extract(store, "shop", {"orders": "select 1 as id"})
    rebuild(store)
    whole = data(store, "extracts/odd/extract.duckdb")
    length = int(cut * len(whole)) if cut < 1 else int(cut)
    store.put("extracts/odd/extract.duckdb", whole[:length], if_version=ANY)
    extract(store, "shop", {"orders": "select 2 as id"})
    assert {problem.source for problem in rebuild(store).problems} <= {"odd"}
    assert (query(store, "from orders"), query(store, "from t")) == ([(2,)], [(7,)])
