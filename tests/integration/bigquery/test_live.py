"""Queries at the server read remote tables from BigQuery, with what they need pushed down; some people also native SQL."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pytest
from werkzeug.test import TestResponse

from analyst.connectors.materialized.engines import Spark
from analyst.context import Process
from analyst.errors import SourceError
from analyst.query.statement import Statement
from tests.doubles.bigquery.project import Fault, Project, Table, column
from tests.doubles.bigquery.server import serving
from tests.examples import sample
from tests.integration.bigquery import hostile
from tests.integration.bigquery.conftest import BigQuery
from tests.integration.projects import opening
from tests.integration.query.shop import publish
from tests.integration.world import SERVICE_TOKEN, Begun
from tests.processes import da, served

FIELDS = [
    column("id", "INTEGER"),
    column("name"),
    column("day", "DATE"),
    column("seen", "TIMESTAMP"),
    column("wall", "DATETIME"),
    column("price", "NUMERIC"),
    column("score", "FLOAT"),
    column("open", "TIME"),
    column("flag", "BOOLEAN"),
    column("tags", "STRING", "REPEATED"),
    column("The Value", "BIGNUMERIC"),
]


def visit(number: int) -> dict[str, Any]:
    return {
        "id": None if number == 13 else number,
        "name": [None, "a", "b's", "ž\\"][number % 4],
        "day": date(2026, 3, 1 + number),
        "seen": datetime(2026, 3, 1, number, 30, tzinfo=UTC),
        "wall": datetime(2026, 3, 1, number, 30, 0, 5),  # noqa: DTZ001 - a DATETIME has no zone
        "price": Decimal(number) / 4,
        "score": float("nan") if number == 7 else number / 2,
        "open": time(8, number),
        "flag": [None, True, False][number % 3],
        "tags": ["x"] * (number % 3),
        "The Value": Decimal(number) * 10**30,
    }


@dataclass(frozen=True, slots=True)
class Live:
    """The functions with a remote table `bq.visits` of 20 rows and a published one, `shop.orders`; an analyst's token."""

    bigquery: BigQuery
    visits: Table
    analyst: str

    @property
    def project(self) -> Project:
        project: Project = self.bigquery.project
        return project

    def ask(self, sql: str, *, token: str | None = None, **more: Any) -> TestResponse:
        self.project.sessions.clear()
        self.project.jobs.clear()
        return self.bigquery.world.send("POST", "/api/query", {"sql": sql, **more}, token=token or self.analyst)

    def rows(self, sql: str, **more: Any) -> list[Any]:
        answer = self.ask(sql, **more)
        assert answer.status_code == 200, answer.text
        rows: list[Any] = answer.get_json()["rows"]
        return rows

    def pushed(self) -> list[tuple[tuple[str, ...], str]]:
        return [(session.selected, session.restriction) for session in self.project.sessions]

    def audited(self) -> dict[str, Any]:
        found = self.bigquery.world.ask("GET", "/api/admin/audit?action=query&limit=1")
        entry: dict[str, Any] = found["events"][0]
        return entry


@pytest.fixture(scope="module")
def live(begun: Begun, process: type[Process], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    project = Project(rows_per_stream=7)
    visits = project.table("d.Visits", FIELDS, [visit(number) for number in range(20)])
    project.table("d.secret", [column("pay")], [{"pay": "4711"}])
    project.view("d.busy", f"SELECT id, day FROM `{project.id}.d.Visits` WHERE id > 9")
    with opening(BigQuery, serving, begun, folder, process) as open_:
        bigquery = open_(
            project,
            native_sql=["ann@example.com"],
            settings={"ACCESS_MAX_AGE": "0", "QUERY_REMOTE_ROWS": "15", "QUERY_TIMEOUT": "30"},
        )
        world = bigquery.world
        for name in ("d.Visits", "d.busy", "d.secret"):
            bigquery.register(name, query_mode="remote")
        bigquery.sync()
        publish(world, folder, "shop", orders="id,visit\n1,3\n2,3\n3,18\n")
        world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
        world.ask("POST", "/api/users", {"email": "bob@example.com", "role": "analyst"})
        token = world.ask("POST", "/auth/tokens", {"name": "test", "user": "ann@example.com"})["token"]
        for table in ("bq.visits", "bq.busy", "shop.orders"):
            world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": table})
        yield Live(bigquery, visits, str(token))
        world.process.close()


ALL = ("id", "name", "day", "seen", "wall", "price", "score", "open", "flag", "tags", "The Value")

PUSHED = [
    ("select id from visits where id >= 15", ("id",), "`id` >= 15"),
    ("select name from bq.visits where 3 > id and id <> 1", ("id", "name"), "`id` < 3 AND `id` <> 1"),
    ("select count(*) from visits v where v.day = '2026-03-05'", ("day",), "`day` = DATE '2026-03-05'"),
    (
        "select id from visits where day between date '2026-03-02' and '2026-03-04'",
        ("id", "day"),
        "`day` >= DATE '2026-03-02' AND `day` <= DATE '2026-03-04'",
    ),
    (
        "select id from visits where seen >= '2026-03-01 18:00:00' and wall < timestamp '2026-03-01 19:30:00'",
        ("id", "seen", "wall"),
        "`seen` >= TIMESTAMP '2026-03-01 18:00:00+00:00' AND `wall` < DATETIME '2026-03-01 19:30:00'",
    ),
    (
        "select id from visits where seen < date '2026-03-01'",
        ("id", "seen"),
        "`seen` < TIMESTAMP '2026-03-01 00:00:00+00:00'",
    ),
    (
        "select id from visits where name in ('a', 'b''s') and id < 9",
        ("id", "name"),
        "`name` IN ('a', 'b\\'s') AND `id` < 9",
    ),
    ("select id from visits where name = 'ž\\'", ("id", "name"), "`name` = 'ž\\\\'"),
    ("select id from visits where price < 1.25", ("id", "price"), "`price` < NUMERIC '1.25'"),
    ("select id from visits where score <= 3", ("id", "score"), "`score` <= 3"),
    ("select id from visits where flag = true", ("id", "flag"), "`flag` = TRUE"),
    ("select day from visits where id is null", ("id", "day"), "`id` IS NULL"),
    ("select id from visits where id < $most and name = $name", ("id", "name"), "`id` < 9 AND `name` = 'a'"),
    ("with visits as (from bq.visits where id < 5) select id from visits where id > 1", ALL, "`id` < 5"),
    (
        "select a.id, b.name from visits a join visits b on a.id = b.id + 1 where a.id = 4 and b.id < 5",
        ("id", "name"),
        "(`id` = 4) OR (`id` < 5)",
    ),
    (
        "select o.id, v.name from shop.orders o left join visits v on v.id = o.visit where v.id = 3 and o.id > 0",
        ("id", "name"),
        "`id` = 3",
    ),
    ("select id from visits where open = '08:03:00' and id < 9", ("id", "open"), "`id` < 9"),
    ("select open + interval 1 hour from visits where id = 3", ("id", "open"), "`id` = 3"),
    ('select tags, "the value" from visits where id = 4', ("id", "tags", "The Value"), "`id` = 4"),
    ("select id from visits where id in (select visit from shop.orders) and id < 9", ("id",), "`id` < 9"),
    ("select id from visits where id < 9 order by id desc limit 2", ("id",), "`id` < 9"),
    ("select name, count(*) from visits where id < 8 group by 1 order by 1", ("id", "name"), "`id` < 8"),
    ("select id + 1 as id from visits v where v.id = 5", ("id",), "`id` = 5"),
]


def plain(sql: str, parameters: dict[str, Any]) -> list[Any]:
    """Ask DuckDB itself over the same rows."""
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'; create schema bq; create schema shop")
    con.execute(
        "create table bq.visits(id bigint, name text, day date, seen timestamptz, wall timestamp, price decimal(38, 9), "
        'score double, open time, flag boolean, tags text[], "The Value" text)'
    )
    for number in range(20):
        values = list(visit(number).values())
        con.execute(f"insert into bq.visits values ({', '.join('?' * len(values))})", [*values[:-1], f"{values[-1]:f}"])
    con.execute("create table shop.orders as from (values (1, 3), (2, 3), (3, 18)) t(id, visit)")
    con.execute("create view visits as from bq.visits")
    return con.execute(sql, parameters or None).fetchall()


@pytest.mark.parametrize(("sql", "columns", "restriction"), PUSHED)
def test_columns_and_conditions_are_pushed_down(
    live: Live, sql: str, columns: tuple[str, ...], restriction: str
) -> None:
    parameters = {"most": 9, "name": "a"} if "$most" in sql else {}
    found = live.rows(sql, parameters=parameters)
    assert live.pushed() == [(columns, restriction)]
    expected = [[json.loads(json.dumps(value, default=str)) for value in row] for row in plain(sql, parameters)]
    shown = [[str(value).removesuffix("+00") for value in row] for row in found]
    assert sorted(shown) == sorted([[str(value).removesuffix("+00:00") for value in row] for row in expected])


NOT_PUSHED = [
    "select id from visits where score > 3 and id < 9",  # NaN is greater in DuckDB only
    "select id from visits where (id = 3 or name = 'a') and id < 9",
    "select id + 1 as name from visits where name = 'a' and id < 9",
    "select id from visits where id * 2 = 6 and id < 9",
    "select id from visits where id = '3' and id < 9",
    "select id from visits where id < 9 and id < 4.5",
    "select id from visits where day > 'yesterday' is null and id < 9",
    "select id from visits where \"the value\" = '3' and id < 9",
    "select id from visits where tags = ['x'] and id < 9",
    "select id from visits where not flag and id < 9",
]


@pytest.mark.parametrize("sql", NOT_PUSHED)
def test_conditions_that_might_differ_are_not_pushed_down(live: Live, sql: str) -> None:
    answer = live.ask(sql)
    if answer.status_code == 200:
        expected = plain(sql, {})
        assert sorted(map(str, answer.get_json()["rows"])) == sorted(str(list(row)) for row in expected)
    else:
        assert answer.get_json(force=True)["kind"] in {"conversion", "binding"}
    assert {restriction for _, restriction in live.pushed()} <= {"`id` < 9"}


def test_the_first_rows_of_a_large_table_are_read_alone(live: Live) -> None:
    assert len(live.rows("from visits limit 3 offset 2")) == 3
    assert live.project.sessions[0].max_streams == 1
    assert len(live.rows("select id from bq.visits", limit=5)) == 5
    answer = live.ask("select id from visits where id < 10", limit=5)
    assert (answer.get_json()["row_count"], answer.get_json()["truncated"]) == (5, True)
    sample = live.bigquery.world.ask("GET", "/api/tables/bq.visits/sample?rows=4", token=live.analyst)
    assert len(sample["rows"]) == 4


@pytest.mark.parametrize(
    "sql", ["select * from visits order by id", "select sum(price) from visits", "from visits limit 16"]
)
def test_more_rows_than_the_cap_are_refused_with_its_name(live: Live, sql: str) -> None:
    answer = live.ask(sql)
    assert (answer.status_code, answer.get_json(force=True)["kind"]) == (422, "remote")
    detail = answer.get_json(force=True)["detail"]
    assert "'bq.visits'" in detail
    assert "QUERY_REMOTE_ROWS" in detail
    assert "compare its columns with constants in WHERE" in detail


def test_the_cap_counts_the_rows_that_arrive(live: Live) -> None:
    detail = live.ask("select sum(price) from visits where id >= 0").get_json(force=True)["detail"]
    assert detail.startswith("more than 15 rows of 'bq.visits' are needed")
    assert live.rows("select count(*) from visits where id >= 8") == [[11]]


def test_a_statement_that_cannot_run_reads_nothing(live: Live) -> None:
    for sql, kind in (
        ("select nothing from visits", "unknown_column"),
        ("select id + name from visits", "binding"),
        ("select * from visits v join nothing n on true", "unknown_table"),
        ("select id from visits where id = $a", "binding"),
    ):
        answer = live.ask(sql)
        assert answer.status_code == 422, sql
        assert live.project.sessions == []
        assert answer.get_json(force=True)["kind"] in {kind, "execution"}, answer.text


def test_a_view_is_read_by_a_query(live: Live) -> None:
    assert live.rows("select count(*) from busy where id >= 12 and day < '2026-03-20'") == [[6]]
    ran = [job for job in live.project.jobs.values() if not job.dry_run]
    assert [job.sql for job in ran] == [
        f"SELECT `id`, `day` FROM `{live.project.id}.d.busy` WHERE `id` >= 12 AND `day` < DATE '2026-03-20'"
    ]
    assert ran[0].cap == 10 << 30
    assert len(live.rows("from busy limit 2")) == 2
    assert [job.sql for job in live.project.jobs.values()][-1].endswith("LIMIT 2")


def test_rows_are_of_one_moment_which_the_receipt_names(live: Live) -> None:
    sql = "select id, price from visits where id < 3 order by id"
    first = live.ask(sql).get_json()
    again = live.ask(sql).get_json()
    assert live.pushed() == [(("id", "price"), "`id` < 3")]
    assert (again["cached"], again["rows"], again["bytes_read"] > 0) == (False, first["rows"], True)
    [table] = first["receipt"]["tables"]
    assert (table["id"], table["live"]) == ("bq.visits", True)
    world, receipt = live.bigquery.world, first["receipt"]
    verified = world.ask("POST", "/api/receipts/verify", {"receipt": receipt}, token=live.analyst)
    assert (verified["verdict"], verified["signed"]) == ("equal", True)
    broken = {**receipt, "tables": [{**table, "live": False}]}
    assert world.send("POST", "/api/receipts/verify", {"receipt": broken}, token=live.analyst).status_code == 422
    old = live.visits.rows
    live.project.tick()
    live.project.load(live.visits, [visit(1)])
    try:
        verified = world.ask("POST", "/api/receipts/verify", {"receipt": receipt}, token=live.analyst)
        assert (verified["verdict"], verified["changed"]) == ("no_longer_kept", ["bq.visits"])
        assert "keeps no rows of that time" in verified["message"]
        assert live.rows(sql) == [[1, 0.25]]
    finally:
        live.visits.versions.append((live.project.now, old))
    ordinary = live.ask("from shop.orders").get_json()["receipt"]
    assert "live" not in ordinary["tables"][0]
    assert "registered" not in ordinary


def test_a_table_without_a_grant_does_not_exist(live: Live) -> None:
    answer = live.ask("select * from secret")
    assert answer.get_json(force=True)["kind"] == "unknown_table"
    assert live.project.sessions == []
    assert live.project.jobs == {}


def test_details_of_the_project_stay_on_the_server(live: Live) -> None:
    for code in ("PERMISSION_DENIED", "INVALID_ARGUMENT"):
        live.project.faults.append(Fault("CreateReadSession", code=code, message="robot@secret-project lacks the role"))
        answer = live.ask("select id from visits where id = 1")
        assert (answer.status_code, answer.get_json(force=True)["kind"]) == (422, "remote")
        for hidden in ("robot", "secret-project", live.project.id, "d.Visits"):
            assert hidden not in answer.text
    assert live.rows("select id from visits where id = 1") == [[1]]


@pytest.mark.parametrize("format_", ["csv", "arrow", "parquet"])
def test_live_rows_are_returned_in_every_format(live: Live, format_: str) -> None:
    answer = live.ask("select id from visits where id = 3", format=format_)
    assert answer.status_code == 200
    facts = json.loads(answer.headers["X-Query"])
    assert (facts["row_count"], facts["tables"]) == (1, ["bq.visits"])


def test_a_whole_result_of_live_rows_is_kept_for_download(live: Live) -> None:
    answer = live.ask("select id from visits where id < 3", full_result=True).get_json()
    assert (answer["row_count"], answer["rows"]) == (3, None)


def test_the_audit_log_names_the_remote_table(live: Live) -> None:
    live.rows("select id from visits where id = 3")
    entry = live.audited()
    assert "table:bq.visits" in entry["resources"]
    assert (entry["params"]["rows"], entry["params"]["cached"]) == (1, False)


NATIVE = "SELECT name, CAST(SUM(id) AS INT64) AS total FROM `shop-123456.d.Visits` GROUP BY name"


def test_native_sql_is_joined_with_published_and_remote_tables(live: Live) -> None:
    sql = (
        "select o.id, s.total, v.day from shop.orders o join visits v on v.id = o.visit and v.id = 3 join sums s on s.name = "
        "v.name where v.id = 3 order by 1"
    )
    answer = live.ask(sql, register={"sums": NATIVE}).get_json()
    assert answer["rows"] == [[1, 55, "2026-03-04"], [2, 55, "2026-03-04"]]
    assert (sorted(answer["tables"]), answer["cached"]) == (["bq.visits", "shop.orders"], False)
    ran = [job for job in live.project.jobs.values() if not job.dry_run]
    assert [(job.sql, job.cap) for job in ran] == [(NATIVE, 10 << 30)]
    [registered] = answer["receipt"]["registered"]
    assert registered == {"name": "sums", "sql": NATIVE, "source": None}
    verified = live.bigquery.world.ask(
        "POST", "/api/receipts/verify", {"receipt": answer["receipt"]}, token=live.analyst
    )
    assert verified["verdict"] == "equal"
    live.ask(sql, register={"sums": {"sql": NATIVE, "source": "bq"}})
    [used] = live.audited()["params"]["register"]
    assert (used["source"], used["sql"], used["rows"]) == ("bq", NATIVE, 4)


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("DROP TABLE d.Visits", "is DROP_TABLE, and only one SELECT can be run"),
        ("DELETE FROM d.Visits WHERE TRUE", "is DELETE"),
        ("SELECT 1; DROP TABLE d.Visits", "is SCRIPT"),
        ("-- harmless\nCREATE TABLE d.x AS SELECT 1", "is CREATE_TABLE"),
        ("SELECT nothing FROM nowhere", "Syntax error"),
        ("SELECT id FROM `shop-123456.d.Visits`", "more than 15 rows of 'sums' are needed"),
    ],
)
def test_native_sql_that_is_not_a_query_or_too_large_is_refused(live: Live, native: str, reason: str) -> None:
    answer = live.ask("from sums", register={"sums": native})
    assert answer.status_code == 422, answer.text
    assert reason in answer.get_json(force=True)["detail"]


def test_native_sql_that_costs_too_much_is_not_run(live: Live) -> None:
    live.visits.size_bytes = 11 << 30
    try:
        answer = live.ask("from sums", register={"sums": NATIVE})
        assert "may bill 10,737,418,240; it was not run" in answer.get_json(force=True)["detail"]
        assert all(job.dry_run for job in live.project.jobs.values())
    finally:
        live.visits.size_bytes = None


@pytest.mark.parametrize(
    ("register", "status"),
    [
        ({"sums": {"sql": NATIVE, "source": "shop"}}, 403),
        ({"sums": {"sql": NATIVE, "source": "nowhere"}}, 403),
        ({"sums": NATIVE, "SUMS": NATIVE}, 422),
        ({"sums": NATIVE, "other": NATIVE}, 422),
        ({"a b": NATIVE}, 422),
        ({"": NATIVE}, 422),
        ({"sums": ""}, 422),
        ({"sums": None}, 422),
        ({"sums": {"sql": NATIVE, "more": 1}}, 422),
        ({f"n{number}": NATIVE for number in range(9)}, 422),
    ],
)
def test_a_registration_that_cannot_be_used_runs_nothing(live: Live, register: Any, status: int) -> None:
    assert live.ask("from sums", register=register).status_code == status
    assert live.project.jobs == {}


def test_native_sql_is_for_users_admitted_by_an_administrator(live: Live) -> None:
    world = live.bigquery.world
    token = world.ask("POST", "/auth/tokens", {"name": "bob", "user": "bob@example.com"})["token"]
    for who in (str(token), world.admin):
        answer = live.ask("from sums", token=who, register={"sums": NATIVE})
        assert (answer.status_code, live.project.jobs) == (403, {}), answer.text
    assert live.audited()["params"]["register"] == [{"name": "sums", "source": None, "sql": NATIVE}]
    group = world.ask("POST", "/api/admin/groups", {"name": "Finance"})["id"]
    bob = next(user["id"] for user in world.ask("GET", "/api/users")["users"] if user["email"] == "bob@example.com")
    config = {**live.bigquery.served.config, "native_sql": ["group:finance"]}
    world.ask("PUT", "/api/admin/sources/bq", {"config": config})
    try:
        assert live.ask("from sums", token=str(token), register={"sums": NATIVE}).status_code == 403
        world.ask("PUT", f"/api/admin/groups/{group}/members/{bob}")
        assert live.ask("from sums", token=str(token), register={"sums": NATIVE}).status_code == 200
        assert live.ask("from sums", register={"sums": NATIVE}).status_code == 403
    finally:
        world.ask("PUT", "/api/admin/sources/bq", {"config": {**config, "native_sql": ["ann@example.com"]}})


def test_a_statement_stops_at_its_deadline_while_bigquery_is_read(live: Live) -> None:
    held = Event()
    live.project.faults.append(Fault("CreateReadSession", then=lambda: held.wait(20), code="UNAVAILABLE"))
    try:
        answer = live.ask("select id from visits where id = 1", timeout_s=1)
    finally:
        held.set()
    assert answer.get_json(force=True)["kind"] == "timeout"
    assert live.rows("select id from visits where id = 1") == [[1]]


def test_there_are_at_least_130_hostile_statements() -> None:
    assert len({*hostile.INJECTIONS, *hostile.TRAPS, *hostile.LEAKS}) >= 130


@pytest.mark.many
@pytest.mark.parametrize("statements", [hostile.INJECTIONS, hostile.TRAPS], ids=["injections", "traps"])
def test_a_hostile_statement_returns_the_rows_that_duckdb_finds(live: Live, statements: tuple[str, ...]) -> None:
    wrong: list[tuple[object, ...]] = []
    for sql in sample(statements, len(statements)):
        answer = live.ask(sql)
        try:
            expected = sorted(shown_by_duckdb(sql))
        except duckdb.Error:
            if answer.status_code != 422:
                wrong.append((sql, answer.text))
            continue
        found = answer.get_json(force=True)
        if "QUERY_REMOTE_ROWS" in found.get("detail", ""):  # nothing could be pushed down, and all rows are too many
            continue
        rows = sorted(json.dumps(row) for row in found.get("rows") or ())
        if answer.status_code != 200 or rows != expected:
            wrong.append((sql, rows, expected, found.get("detail")))
    assert wrong == [], "\n".join(map(str, wrong))
    assert [job.sql for job in live.project.jobs.values()] == []


def shown_by_duckdb(sql: str) -> list[str]:
    """Return rows as an answer has them: the columns of each as a JSON array."""
    width = len(plain(f"describe {sql}", {}))
    names = ", ".join(f"c{number}" for number in range(width))
    rows = plain(f"select json_array({names}) from ({sql}) as t({names})", {})
    return [json.dumps(json.loads(text)) for (text,) in rows]


def test_a_hostile_statement_reveals_nothing_else(live: Live) -> None:
    store = live.bigquery.store.url.removeprefix("file://")
    secrets = (
        "4711",
        "pay",
        live.project.id,
        live.bigquery.served.url,
        "d.Visits",
        "/dev/fd",
        "query-",
        store,
        SERVICE_TOKEN,
    )
    leaks = []
    for sql in hostile.LEAKS:
        for more in ({}, {"format": "csv"}, {"receipt": False, "limit": None}):
            answer = live.ask(sql, **more)
            text = answer.text.replace(sql, "").replace(json.dumps(sql)[1:-1], "")
            leaks += [(sql, each, text) for each in secrets if each in text and each not in sql]
            if answer.status_code not in {200, 422}:
                leaks.append((sql, str(answer.status_code), text))
    assert leaks == []
    assert all("secret" not in job.sql for job in live.project.jobs.values())
    assert all(session.table.id != "d.secret" for session in live.project.sessions)


@pytest.fixture(scope="module")
def marts(live: Live) -> Live:
    live.bigquery.world.ask("POST", "/api/admin/sources/marts", {"type": "materialized"})
    return live


def computed(live: Live, name: str) -> Any:
    body = {"source": "marts", "tables": [name]}
    answer = live.bigquery.world.send("POST", "/extract/materialized", body, token=SERVICE_TOKEN)
    return answer.get_json()["tables"][0]


def test_bigquery_computes_a_materialized_table(marts: Live) -> None:
    world = marts.bigquery.world
    native = "SELECT name AS `The Name`, COUNT(*) AS n FROM `shop-123456.d.Visits` GROUP BY 1"
    options = {"sql": native, "engine": "bigquery", "connection": "bq"}
    world.ask("POST", "/api/admin/tables/marts.names", {"options": options})
    marts.project.jobs.clear()
    done = computed(marts, "names")
    assert (done["status"], done["rows"]) == ("ok", 4)
    assert "1 queries billed" in done["notes"][0]
    assert [(job.dry_run, job.cap) for job in marts.project.jobs.values()] == [(True, None), (False, 10 << 30)]
    rows = world.ask("POST", "/api/query", {"sql": "select the_name, n from marts.names order by all"})["rows"]
    assert rows == [["a", 5], ["b's", 5], ["ž\\", 5], [None, 5]]
    other = {**options, "sql": f"{native} HAVING COUNT(*) > 0", "max_bytes_billed": 10}
    world.ask("PUT", "/api/admin/tables/marts.names", {"options": other})
    error = computed(marts, "names")["error"]
    assert error.startswith("the query of 'marts.names' would process 160 bytes, and may bill 10; it was not run")
    assert world.ask("POST", "/api/query", {"sql": "select count(*) from marts.names"})["rows"] == [[4]]


def test_sql_that_names_the_time_is_billed_once_a_day(marts: Live) -> None:
    world = marts.bigquery.world
    sql = "SELECT id FROM `shop-123456.d.Visits` WHERE TIMESTAMP '2026-01-01' < CURRENT_TIMESTAMP"
    options = {"sql": sql, "engine": "bigquery", "connection": "bq"}
    world.ask("POST", "/api/admin/tables/marts.recent", {"options": options})
    assert computed(marts, "recent")["status"] == "ok"
    marts.project.jobs.clear()
    marts.project.tick()
    assert computed(marts, "recent")["status"] == "unchanged"
    assert not marts.project.jobs


def test_a_materialized_table_that_is_cut_resumes_where_it_stopped(marts: Live) -> None:
    """Its SQL is billed once, whatever cuts or kills its tasks."""
    world, project = marts.bigquery.world, marts.project
    options = {"sql": "SELECT id, day FROM `shop-123456.d.Visits`", "engine": "bigquery", "connection": "bq"}
    world.ask("POST", "/api/admin/tables/marts.cut", {"options": options})
    project.jobs.clear()
    body: dict[str, Any] = {"source": "marts", "tables": ["cut"], "run_id": "01M8JM8RRTVM4JK0EBMTR9MEV7", "part": 0}
    project.rows_per_batch = 1
    world.process.stopping.set()
    statuses: list[int] = []
    while not statuses or statuses[-1] == 202:
        if len(statuses) == 2:
            project.expire()
        answer = world.send("POST", "/extract/materialized", body, token=SERVICE_TOKEN)
        statuses.append(answer.status_code)
        body["part"] += 1
    world.process.stopping.clear()
    assert statuses[:3] + statuses[-1:] == [202, 202, 202, 200]
    (done,) = answer.get_json()["tables"]
    assert (done["rows"], "was resumed" in str(done["notes"])) == (20, True)
    assert [job.dry_run for job in project.jobs.values()] == [True, False]
    rows = world.ask("POST", "/api/query", {"sql": "select count(distinct day) from marts.cut"})["rows"]
    assert rows == [[20]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"engine": "bigquery"}, "the engine bigquery needs connection"),
        ({"engine": "bigquery", "connection": "shop"}, "is not a BigQuery source; use one of: bq"),
        ({"engine": "spark", "connection": "bq"}, "other engines have none"),
        ({"max_bytes_billed": 5}, "max_bytes_billed is for the engine bigquery"),
        ({"engine": "sparc"}, "must be 'duckdb', 'spark' or 'bigquery'"),
        ({"engine": "spark", "sql": "select * from nowhere"}, "there is no table 'nowhere'"),
        ({"sql": "select id from visits"}, "is remote: its rows stay in its source"),
    ],
)
def test_options_of_engines_that_cannot_be_used_are_explained(
    marts: Live, options: dict[str, Any], reason: str
) -> None:
    body = {"options": {"sql": "select id from shop.orders", **options}}
    answer = marts.bigquery.world.send("POST", "/api/admin/tables/marts.wrong", body)
    assert answer.status_code == 422
    assert reason in answer.get_json(force=True)["detail"]


def test_the_spark_engine_reports_what_it_lacks(marts: Live) -> None:
    options = {"sql": "select id from shop.orders", "engine": "spark"}
    marts.bigquery.world.ask("POST", "/api/admin/tables/marts.sparked", {"options": options})
    assert "set SPARK_REMOTE to its address" in computed(marts, "sparked")["error"]
    settings = marts.bigquery.world.process.settings
    spark = Spark("sc://127.0.0.1:1", sys.executable, marts.bigquery.store, settings.memory_limit, 60)
    statement = Statement("select 1", (), frozenset(), volatile=False, ordered=False, parameters=())
    with pytest.raises(SourceError, match="needs the package pyspark-client"):
        spark.compute("marts.sparked", statement, {}, Path())
    with pytest.raises(SourceError, match="the Python '/nowhere' can't be started"):
        replace(spark, python="/nowhere").compute("marts.sparked", statement, {}, Path())


@pytest.mark.slow
def test_da_query_registers_native_sql(live: Live, tmp_path: Path) -> None:
    sql = "select o.id, s.total from shop.orders o join visits v on v.id = o.visit join Sums s using (name) where v.id = 3 order by 1"
    with served(live.bigquery.world.app) as host:

        def query(*arguments: str) -> str:
            ran = da(tmp_path / "laptop", "query", *arguments, server=host, token=live.analyst, check=False)
            return str(ran.stdout + ran.stderr)

        assert json.loads(query(sql, "--register", f"Sums={NATIVE}", "--json")) == [
            {"id": 1, "total": 55},
            {"id": 2, "total": 55},
        ]
        receipt = tmp_path / "receipt.json"
        assert "55" in query(sql, "--register", f"sums:bq={NATIVE}", "--receipt", str(receipt), "--format", "csv")
        assert json.loads(receipt.read_text())["registered"] == [{"name": "sums", "sql": NATIVE, "source": "bq"}]
        for given, message in (
            (["--register", "sums"], "is not of the form ALIAS=SQL"),
            (["--register", "9x=select 1"], "is not of the form ALIAS=SQL"),
            (["--register", "a=select 1", "--register", "A=select 2"], "names 'A' twice"),
            (["--register", "a=select 1", "--scope", "local"], "can't use both '--register' and '--scope local'"),
            (["--register", "unused=select 1"], "does not use the registered name 'unused'"),
        ):
            assert message in query("select 1", *given)
