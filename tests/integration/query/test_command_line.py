"""`da query --remote`: what the server answers is printed as the mirror's answers are."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from tests.integration.query.shop import ORDERS, PLANS
from tests.processes import Host, host, run_da

pytestmark = [pytest.mark.server, pytest.mark.slow]


@dataclass(frozen=True)
class Laptop:
    """A machine with `da`, whose user may read `shop.orders`; and that of the administrator."""

    home: Path
    server: Host
    token: str
    admin: str

    @property
    def database(self) -> Path:
        return self.home / "user/duckdb/analytics.duckdb"

    def da(self, *arguments: str, code: int = 0, token: str = "") -> subprocess.CompletedProcess[str]:
        environ = {
            **os.environ,
            "DA_SERVER": self.server.url,
            "DA_TOKEN": token or self.token,
            "DA_LOCAL_DIR": str(self.home),
            "DA_CONFIG_DIR": str(self.home / ".config"),
        }
        ran = run_da(*arguments, environ=environ, cwd=self.home)
        assert ran.returncode == code, (ran.stdout, ran.stderr)
        return ran


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    home = tmp_path_factory.mktemp("home")
    place = home / "shop"
    place.mkdir()
    (place / "orders.csv").write_text(ORDERS)
    (place / "plans.csv").write_text(PLANS)
    (place / "clicks.csv").write_text("id,page,secs\n" + "".join(f"{n},p{n % 3},{n}\n" for n in range(50)))
    with host(home, ACCESS_MAX_AGE="0", fork=True) as running:
        admin = running.bootstrap()
        _, token = running.user(admin, "ann@example.com")
        source = {"type": "csv", "config": {"path": str(place)}}
        for path, body in (
            ("/api/admin/sources/shop", source),
            ("/extract/csv", {"source": "shop"}),
            ("/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"}),
            ("/api/admin/permissions", {"user": "ann@example.com", "table": "shop.clicks"}),
        ):
            status, answer = running.ask("POST", path, body, token=admin)
            assert status < 300, answer
        status, answer = running.ask("PUT", "/api/admin/tables/shop.clicks", {"server_only": True}, token=admin)
        assert status < 300, answer
        work = home / "work"
        work.mkdir()
        each = Laptop(work, running, token, admin)
        each.da("sync")
        yield each


EVERYTHING = """
select 9007199254740993 as big, 'nan'::double as nan, 1.50::decimal(9, 2) as d, null as n, '' as empty, [1, 2] as list,
       {'a': 'x"y'} as struct, '2026-01-02 03:04:05+02'::timestamptz as at, true as yes, 'č,"q"' as text, 'a
b' as lines, 0.1 as f, 12345678901234567890.12::decimal(22, 2) as long
"""


@pytest.mark.parametrize("form", ["table", "csv", "json"])
@pytest.mark.parametrize(
    "sql",
    [
        EVERYTHING,
        "select 1 as a where false",
        "select null as a, null as a",
        "values ('x', null), (null, 'y'), ('', '')",
    ],
)
def test_the_server_answers_like_the_mirror(laptop: Laptop, sql: str, form: str) -> None:
    assert (
        laptop.da("query", "--remote", sql, "--format", form).stdout == laptop.da("query", sql, "--format", form).stdout
    )


def test_results_beyond_the_limit_are_reported(laptop: Laptop) -> None:
    ran = laptop.da("query", "--remote", "select id from orders order by id", "--limit", "2", "-f", "csv")
    assert ran.stdout == "id\n0\n1\n"
    assert "Showing the first 2 rows" in ran.stderr
    assert len(laptop.da("query", "--remote", "from orders", "--limit", "0", "--json").stdout) > 5000


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("from ordres", "there is no table 'ordres'; did you mean 'shop.orders'?"),
        ("from plans", "there is no table 'plans'"),
        ("select 1; select 2", "only one statement can be run at a time"),
        ("select nope from orders", 'column "nope" not found'),
    ],
)
def test_an_error_of_the_server_is_shown(laptop: Laptop, sql: str, says: str) -> None:
    assert says in laptop.da("query", "--remote", sql, code=1).stderr


def test_a_query_at_the_server_works_without_a_mirror(laptop: Laptop, tmp_path: Path) -> None:
    elsewhere = Laptop(tmp_path, laptop.server, laptop.token, laptop.admin)
    rows = json.loads(elsewhere.da("query", "--remote", "select count(*) as n from shop.orders", "--json").stdout)
    assert rows == [{"n": 100}]


@pytest.mark.parametrize("how", [[], ["--remote"], ["--remote", "--json"]], ids=["mirror", "server", "server as JSON"])
@pytest.mark.parametrize(
    "sql",
    [
        "select id, customer, amount / 3 as third from orders",
        "select customer, avg(amount) from shop.orders group by all order by all -- done",
    ],
)
def test_a_receipt_verifies_at_the_server_and_on_the_mirror(laptop: Laptop, sql: str, how: list[str]) -> None:
    laptop.da("query", sql, *how, "--receipt", "receipt.json", "--limit", "50")
    for offline in ([], ["--offline"]):
        output = laptop.da("verify", "receipt.json", *offline).stdout
        assert output.startswith("equal: the result is the same.")
    assert ("The receipt is not signed" in laptop.da("verify", "receipt.json").stdout) is (not how)


def test_a_receipt_that_was_changed_is_refused(laptop: Laptop) -> None:
    laptop.da("query", "--remote", "from orders", "--receipt", "receipt.json")
    path = laptop.home / "receipt.json"
    of = json.loads(path.read_text())
    path.write_text(json.dumps({**of, "row_count": 99}))
    assert "it was changed after it was signed" in laptop.da("verify", "receipt.json", code=1).stderr
    path.write_text(json.dumps({**of, "signature": None, "result": "0" * 64}))
    for offline in ([], ["--offline"]):
        assert laptop.da("verify", "receipt.json", *offline, code=1).stdout.startswith("different: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("[]", "is not a receipt"),
        ('{"statement": "select 1"}', "is not a receipt"),
        (None, "can't read"),
    ],
)
def test_an_invalid_receipt_is_refused(laptop: Laptop, text: str | None, says: str) -> None:
    path = laptop.home / "wrong.json"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    assert says in laptop.da("verify", "wrong.json", code=1).stderr


def test_the_mirror_makes_receipts_only_for_queries_of_tables(laptop: Laptop) -> None:
    for sql in ("set threads = 1", "select 1; select 2", "from range(3) union all from duckdb_settings"):
        assert laptop.da("query", sql, "--receipt", "r.json", code=1).stderr


def test_explore_shows_a_table(laptop: Laptop) -> None:
    output = laptop.da("explore", "orders").stdout
    assert "orders (shop.orders): 100 rows" in output
    assert "registered by admin@example.com" in output
    for text in ("customer", "VARCHAR", "c0", "c6", "148.5", "2026-03-28"):
        assert text in output
    document = json.loads(laptop.da("explore", "shop.orders", "--json").stdout)
    assert all(each["distinct"] <= 100 for each in document["ranges"])
    assert (len(document["sample"]), document["ranges"][0]["min"], document["ranges"][0]["max"]) == (10, "0", "99")


@pytest.mark.parametrize("name", ["plans", "shop.plans", "nothing", "shop.nothing", "a/b", "../x"])
def test_explore_does_not_reveal_hidden_tables(laptop: Laptop, name: str) -> None:
    output = laptop.da("explore", name, code=1).stderr
    assert name in output
    assert f"{name}.{name}" not in output
    assert "budget" not in output
    assert "nightjar" not in output


def test_a_table_is_computed_with_sql_from_the_command_line(laptop: Laptop) -> None:
    def admin(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return laptop.da("admin", "materialized", *arguments, code=code, token=laptop.admin)

    assert "There are no materialized tables; to add one, run: da admin materialized add" in admin("list").stdout
    assert "there are no materialized tables" in admin("run", code=1).stderr
    output = admin("add", "marts.days", "select day, count(*) as n from shop.orders group by day").stdout
    assert "Added marts.days, computed from shop.orders, readable by users with a grant." in output
    assert "28 rows" in output
    assert "after its inputs" in admin("list").stdout
    shown = admin("show", "marts.days").stdout
    assert "last run   ok" in shown
    assert "select day, count(*) as n from shop.orders group by day" in shown
    assert "the source 'shop' is of type 'csv'" in admin("add", "shop.days", "select 1", code=1).stderr
    assert "is registered already" in admin("add", "marts.days", "select 1", code=1).stderr
    assert "'shop.orders' is not computed with SQL" in admin("show", "shop.orders", code=1).stderr
    assert "nothing to change" in admin("update", "marts.days", code=2).stderr
    cycle = admin("add", "marts.loop", "--no-run", "-F", "/dev/null", code=1)
    assert "must not be empty" in cycle.stderr
    admin("update", "marts.days", "select day from shop.orders", "--sync-schedule", "daily 05:00")
    assert "daily 05:00" in admin("show", "marts.days").stdout
    laptop.da("admin", "grants", "add", "ann@example.com", "marts.days", token=laptop.admin)
    laptop.da("sync")
    assert laptop.da("query", "select count(*) as n from marts.days", "--json").stdout == '[\n{"n":100}\n]\n'
    assert "Removed marts.days." in admin("remove", "marts.days", "--yes").stdout


@pytest.fixture
def own(laptop: Laptop) -> Iterator[Laptop]:
    """The machine, with a table of its user."""
    with duckdb.connect(laptop.database) as con:
        con.execute("create or replace table mine as select 1 as id, 'a' as label union all select 4, 'b'")
    yield laptop
    with duckdb.connect(laptop.database) as con:
        con.execute("drop table mine")


JOINED = "select label, page, c.secs from mine join shop.clicks c using (id) order by id"


@pytest.mark.parametrize(
    ("arguments", "rows", "says"),
    [
        (["select count(*) as n from orders"], [{"n": 100}], ""),
        (
            ["select count(*) as n from clicks"],
            [{"n": 50}],
            "shop.clicks is not mirrored, so the query runs at the server",
        ),
        (["select count(*) as n from shop.clicks join orders using (id)"], [{"n": 50}], "runs at the server"),
        ([JOINED], [{"label": "a", "page": "p1", "secs": 1}, {"label": "b", "page": "p1", "secs": 4}], "Fetched"),
        (
            ["select clicks.page from mine, clicks where clicks.id = mine.id and label = 'b'"],
            [{"page": "p1"}],
            "Fetched",
        ),
        (
            ["select c from clicks c, mine where c.id = 4 and mine.id = 4"],
            [{"c": {"id": 4, "page": "p1", "secs": 4}}],
            "Fetched",
        ),
        (["with clicks as (select 1 as a) select a from clicks, mine where id = 4"], [{"a": 1}], ""),
        (["--scope", "server", "select count(*) as n from orders"], [{"n": 100}], ""),
    ],
)
def test_a_query_runs_where_its_tables_are(own: Laptop, arguments: list[str], rows: object, says: str) -> None:
    ran = own.da("query", *arguments, "--json")
    assert json.loads(ran.stdout) == rows
    assert says in ran.stderr
    assert bool(says) is bool(ran.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["--scope", "local", "from clicks"],
            1,
            "clicks (shop.clicks) is not mirrored; it can only be queried on the server",
        ),
        (["--scope", "local", "--remote", "select 1"], 2, "can't use both '--remote' and '--scope local'"),
        (["--scope", "server", "from mine"], 1, "there is no table 'mine'"),
        (["select nope from mine, clicks"], 1, '"nope" not found'),
        (["select * from mine, plans"], 1, "there is no table 'plans' in the mirror"),
        ([JOINED, "--receipt", "r.json"], 1, "a receipt covers only tables of the server"),
    ],
)
def test_a_place_where_a_query_cannot_run_is_reported(own: Laptop, arguments: list[str], code: int, says: str) -> None:
    assert says in own.da("query", *arguments, code=code).stderr


def test_without_a_login_the_mirror_still_answers(own: Laptop) -> None:
    environ = {**os.environ, "DA_LOCAL_DIR": str(own.home), "DA_CONFIG_DIR": str(own.home / "nobody")}
    environ.pop("DA_TOKEN", None)

    counted = "select count(*) as n from orders, mine where orders.id = mine.id"
    assert run_da("query", counted, "-f", "csv", environ=environ, cwd=own.home).stdout == "n\n2\n"
    refused = run_da("query", "from clicks", "-f", "csv", environ=environ, cwd=own.home).stderr
    assert "shop.clicks is not mirrored, so the query runs at the server: " in refused


def test_a_snapshot_is_a_local_table_with_its_receipt(own: Laptop) -> None:
    own.da("sync")  # of what other tests have changed at the server
    assert "There are no snapshots" in own.da("snapshot", "list").stdout
    out = own.da("snapshot", "create", "Pages", "--sql", "select page, count(*) as n from clicks group by page").stdout
    assert out.startswith("Created snapshots.pages: 3 rows")
    count = "select sum(n)::int as n from pages join snapshots.pages p using (page, n)"
    assert json.loads(own.da("query", count, "--scope", "local", "--json").stdout) == [{"n": 50}]
    joined = "select c.page, label from snapshots.pages, mine, clicks c where c.id = mine.id and c.page = pages.page order by 2"
    assert len(json.loads(own.da("query", joined, "--json").stdout)) == 2
    (kept,) = json.loads(own.da("snapshot", "list", "--json").stdout)
    assert kept["receipt"]["tables"][0]["id"] == "shop.clicks"
    assert own.da("verify", "user/snapshots/pages.json").stdout.startswith("equal: the result is the same.")
    (shown,) = [each for each in json.loads(own.da("tables", "--json").stdout) if each["id"] == "snapshots.pages"]
    assert (shown["where"], shown["rows"]) == ("snapshot", 3)
    assert "snapshot of: select page" in own.da("tables", "pages").stdout
    assert "1 snapshot" in own.da("status").stdout
    own.da("sync")
    own.database.unlink()
    own.da("sync")
    assert json.loads(own.da("query", count.replace("sum(n)", "sum(p.n)"), "--json").stdout) == [{"n": 50}], (
        "it survives a new database"
    )
    with duckdb.connect(own.database) as con:
        con.execute("create table mine as select 1 as id")
    own.da("snapshot", "refresh")
    assert len(list((own.home / "user/snapshots").iterdir())) == 2, "the rows of before are gone"
    assert "Dropped snapshots.pages." in own.da("snapshot", "drop", "pages", "--yes").stdout
    assert list((own.home / "user/snapshots").iterdir()) == []
    assert "there is no table 'pages'" in own.da("query", "from pages", code=1).stderr
    assert own.da("status").stdout.count("snapshot") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create", "orders", "--sql", "select 1 as a"], 1, "'orders' is the name of the table shop.orders"),
        (["create", "clicks", "--sql", "select 1 as a"], 1, "'clicks' is the name of the table shop.clicks"),
        (["create", "../x", "--sql", "select 1 as a"], 1, "not a valid name"),
        (["create", "x", "--sql", "from plans"], 1, "there is no table 'plans'"),
        (["create", "x", "--sql", "drop table clicks"], 1, "only queries"),
        (["create", "x"], 2, "no SQL given"),
        (["refresh", "nope"], 1, "there is no snapshot 'nope'"),
        (["drop", "nope", "--yes"], 1, "there is no snapshot 'nope'"),
    ],
)
def test_an_invalid_snapshot_is_refused(laptop: Laptop, arguments: list[str], code: int, says: str) -> None:
    assert says in laptop.da("snapshot", *arguments, code=code).stderr
    assert not list((laptop.home / "user").glob("snapshots/*"))
