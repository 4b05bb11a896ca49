"""Profiles through the API: made after each sync and on demand, file by file, and shown to those who may read the table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst.context import Process
from analyst.errors import UnavailableError
from analyst.store import Store
from tests.doubles.wrapped_store import Around
from tests.integration.world import SERVICE_TOKEN, Begun, World
from tests.processes import ROOT


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """All functions on an empty bucket, with a source `shop` whose changed tables are profiled."""
    made = begun.world(tmp_path, profiles=True)
    made.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    return made


@pytest.fixture
def files(world: World, tmp_path: Path) -> Path:  # noqa: ARG001
    return tmp_path / "sources"


def extract(world: World) -> dict[str, Any]:
    return dict(world.ask("POST", "/extract/csv", {"source": "shop"}))


def profile(world: World, table: str, token: str = "") -> dict[str, Any]:
    return dict(world.ask("GET", f"/api/tables/{table}/profile", token=token))


def column(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["profile"]["columnProfile"] if each["name"] == name)


def analyst(world: World, *tables: str) -> str:
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    for table in tables:
        world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": table})
    return str(world.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"])


def test_a_sync_profiles_what_has_changed(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id,kind\n1,x\n2,x\n3,y\n")
    (files / "b.csv").write_text("id\n1\n")
    assert extract(world)["profiled"] == {"tables": 2, "error": None}
    found = profile(world, "shop.a")
    assert (found["is_stale"], found["scanned_files"], found["changes"], found["history"]) == (False, 1, [], [])
    assert found["profile"]["tableProfile"]["rowCount"] == 3
    assert column(found, "kind")["topValues"][0] == {"value": "x", "count": 2, "proportion": 2 / 3}
    assert extract(world)["profiled"] is None
    (files / "b.csv").write_text("id\n1\n2\n")
    assert extract(world)["profiled"]["tables"] == 1


def test_a_triggered_sync_profiles_what_has_changed(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id\n1\n")
    (run,) = world.ask("POST", "/api/sync/trigger", {"sources": ["shop"]})["runs"]
    while world.ask("GET", f"/api/sync/status?run={run['run_id']}")["runs"][0]["status"] == "pending":
        pass
    world.process.background.close()
    assert profile(world, "shop.a")["profile"]["tableProfile"]["rowCount"] == 1


def test_profiles_survive_a_process_that_dies_before_it_makes_them(begun: Begun, tmp_path: Path) -> None:
    dying = begun.world(tmp_path, profiles=True)
    dying.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    (tmp_path / "sources/a.csv").write_text("id\n1\n")
    dying.process.background.close()  # what comes after an answer is never run
    sent = {"Authorization": f"Bearer {dying.admin}"}
    answer = dying.client.post("/extract/csv", json={"source": "shop"}, headers=sent)
    assert answer.get_json()["profiled"] == {"tables": 1, "error": None}
    assert "/profile" in [task.path for task in dying.process.task_ledger.waiting()]
    later = World(tmp_path, dying.cloud, admin=dying.admin, profiles=True)
    later.ask("POST", "/schedule", token=SERVICE_TOKEN)
    later.process.background.close()
    assert profile(later, "shop.a")["profile"]["tableProfile"]["rowCount"] == 1
    assert "/profile" not in [task.path for task in later.process.task_ledger.waiting()]


def test_tables_that_a_dead_run_published_are_profiled_by_the_next_attempt(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id\n1\n")
    assert world.ask("POST", "/extract/csv", {"source": "shop", "is_part": True})["rebuild"] is None
    assert extract(world)["profiled"] == {"tables": None, "error": None}
    assert profile(world, "shop.a")["profile"]["tableProfile"]["rowCount"] == 1


@dataclass
class Unreadable(Around):
    """A store that does not give out the data of one table."""

    table: str = ""

    def download(self, key: str, path: Path) -> str:
        if f"/data/{self.table}/" in key:
            raise UnavailableError("the store does not respond")
        return super().download(key, path)

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002 - the signature of a store
        return None


def test_a_profile_that_fails_temporarily_is_retried(begun: Begun, tmp_path: Path) -> None:
    stores: list[Unreadable] = []

    def process(environ: Mapping[str, str], store: Store) -> Process:
        stores.append(Unreadable(store, table="a"))
        return Process(environ, store=stores[-1])

    world = begun.world(tmp_path, profiles=True, process=process)
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    for name in ("a", "b"):
        (tmp_path / f"sources/{name}.csv").write_text("id\n1\n")
    extract(world)
    assert world.send("GET", "/api/tables/shop.a/profile").status_code == 404
    assert profile(world, "shop.b")["profile"]["tableProfile"]["rowCount"] == 1
    (task,) = (each for each in world.process.task_ledger.waiting() if each.path == "/profile")
    assert task.attempts == 1
    stores[-1].table = ""
    world.ask("POST", "/profile", {})
    assert profile(world, "shop.a")["profile"]["tableProfile"]["rowCount"] == 1


def test_changes_since_the_last_profile_are_listed_with_alerts(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id,gone\n" + "".join(f"{i},x\n" for i in range(10)))
    extract(world)
    (files / "a.csv").write_text("id,new\n" + "".join(f"{i + 100},y\n" for i in range(30)))
    extract(world)
    found = profile(world, "shop.a")
    changed = {(each["column"], each["figure"]): (each["before"], each["after"]) for each in found["changes"]}
    assert changed[None, "rowCount"] == (10, 30)
    assert changed["id", "min"] == (0, 100)
    assert changed["gone", "column"] == ("VARCHAR", None)
    alerts = {(each["column"], each["type"]) for each in found["profile"]["alerts"]}
    assert {(None, "rows_grown"), ("gone", "column_removed"), ("new", "column_added"), ("id", "drift_mean")} <= alerts
    assert [each["rowCount"] for each in found["history"]] == [10]


def test_a_file_that_was_scanned_is_not_read_again(world: World, files: Path, tmp_path: Path) -> None:
    (files / "events").mkdir()
    for number in range(3):
        query = f"select i as id, 'k' || i % 7 as kind from range({number * 100}, {number * 100 + 100}) r(i)"
        duckdb.sql(f"copy ({query}) to '{files}/events/{number}.parquet' (format parquet)")
    world.ask(
        "POST",
        "/api/admin/tables/shop.events",
        {"source_table": "events", "sync_strategy": "incremental", "primary_key": ["id"], "cursor_column": "id"},
    )
    extract(world)
    before = profile(world, "shop.events")
    data = sorted((tmp_path / "bucket").rglob("data/events/*.parquet")) or sorted(
        tmp_path.rglob("data/events/*.parquet")
    )
    if not data:
        pytest.skip("the bucket is not a folder")
    query = "select i as id, 'new' as kind from range(300, 400) r(i)"
    duckdb.sql(f"copy ({query}) to '{files}/events/3.parquet' (format parquet)")
    extract(world)
    after = profile(world, "shop.events")
    count = len(world.ask("GET", "/api/sync/manifest")["tables"]["shop.events"]["files"])
    assert before["profile"]["tableProfile"]["rowCount"] == 300
    assert after["profile"]["tableProfile"]["rowCount"] == 400
    assert after["scanned_files"] < count or count == 1
    for path in data:
        path.write_bytes(b"not read any more")
    again = world.ask("POST", "/api/admin/tables/shop.events/profile")
    assert (again["scanned_files"], again["profile"]["columnProfile"]) == (0, after["profile"]["columnProfile"])


def test_a_profile_is_made_on_demand(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id\n1\n")
    extract(world)
    world.ask("PUT", "/api/admin/tables/shop.a", {"profile_after_sync": False})
    (files / "a.csv").write_text("id\n1\n2\n")
    extract(world)
    assert profile(world, "shop.a")["is_stale"]
    assert world.ask("POST", "/api/admin/tables/shop.a/profile")["profile"]["tableProfile"]["rowCount"] == 2
    assert not profile(world, "shop.a")["is_stale"]


def test_profiles_can_be_disabled_for_the_instance(begun: Begun, tmp_path: Path) -> None:
    world = begun.world(tmp_path, profiles=False)
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    (tmp_path / "sources/a.csv").write_text("id\n1\n")
    assert extract(world)["profiled"] is None
    answer = world.send("GET", "/api/tables/shop.a/profile")
    assert (answer.status_code, "has no profile yet" in answer.text) == (404, True)


def test_a_profile_is_visible_only_to_readers_of_its_table(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id\n1\n")
    (files / "b.csv").write_text("secret_word\nhush\n")
    extract(world)
    ann = analyst(world, "shop.a")
    assert profile(world, "shop.a", ann)["profile"]["tableProfile"]["rowCount"] == 1
    hidden = world.send("GET", "/api/tables/shop.b/profile", token=ann)
    absent = world.send("GET", "/api/tables/shop.x/profile", token=ann)
    assert hidden.status_code == absent.status_code == 404
    assert hidden.get_json()["detail"].replace("shop.b", "") == absent.get_json()["detail"].replace("shop.x", "")
    assert world.send("POST", "/api/admin/tables/shop.a/profile", token=ann).status_code == 403


def test_a_table_that_is_registered_again_does_not_show_the_profile_of_its_predecessor(
    world: World, files: Path
) -> None:
    (files / "a.csv").write_text("old_column\n1\n")
    extract(world)
    world.ask("DELETE", "/api/admin/tables/shop.a")
    world.ask("POST", "/api/admin/tables/shop.a", {"profile_after_sync": False, "source_table": "a.csv"})
    (files / "a.csv").write_text("new_column\n2\n")
    extract(world)
    while world.send("POST", "/rebuild", {}).status_code == 202:
        pass
    answer = world.send("GET", "/api/tables/shop.a/profile")
    assert (answer.status_code, "old_column" in answer.text) == (404, False)


def test_values_of_people_are_stored_and_shown_nowhere_in_a_profile(world: World, files: Path) -> None:
    (files / "p.csv").write_text(
        "id,email,note\n1,zz.planted@example.com,hello\n2,b@example.com,ask zz.planted@example.com\n"
    )
    extract(world)
    answer = world.send("GET", "/api/tables/shop.p/profile")
    assert answer.status_code == 200
    assert "planted" not in answer.text
    shown = {each["name"]: each["isSensitive"] for each in answer.get_json()["profile"]["columnProfile"]}
    assert shown == {"id": False, "email": True, "note": True}


def test_a_table_whose_files_cannot_be_read_fails_alone_and_reveals_no_value(
    world: World, files: Path, tmp_path: Path
) -> None:
    (files / "a.csv").write_text("id\n1\n")
    (files / "b.csv").write_text("id\n1\n")
    extract(world)
    (files / "a.csv").write_text("id\n1\n2\n")
    world.ask("PUT", "/api/admin/tables/shop.a", {"profile_after_sync": False})
    extract(world)
    damaged = list(tmp_path.rglob("data/a/*.parquet"))
    if not damaged:
        pytest.skip("the bucket is not a folder")
    for path in damaged:
        path.write_bytes(b"PAR1 damaged hunter2 PAR1")
    answer = world.send("POST", "/api/admin/tables/shop.a/profile")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "source")
    assert "hunter2" not in answer.text
    assert profile(world, "shop.b")["profile"]["tableProfile"]["rowCount"] == 1


def test_the_sweep_removes_profiles_of_tables_that_are_gone_in_time(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id\n1\n")
    extract(world)
    assert list(world.cloud.open().list("profiles/shop/a/"))
    world.ask("DELETE", "/api/admin/tables/shop.a")
    while world.send("POST", "/rebuild", {}).status_code == 202:
        pass
    assert world.send("GET", "/api/tables/shop.a/profile").status_code == 404
    world.ask("POST", "/sweep", {})
    assert list(world.cloud.open().list("profiles/"))  # younger than a day


def test_a_tag_hides_the_values_of_a_column_from_everybody_at_once(world: World, files: Path) -> None:
    (files / "a.csv").write_text("id,salary\n1,8123456\n2,9234567\n")
    extract(world)
    assert "8123456" in world.send("GET", "/api/tables/shop.a/profile").text
    change = {
        "columns": {"salary": {"tags": ["PII"], "description": "Yearly"}},
        "description": "Pay",
        "owners": ["ann"],
    }
    made = world.ask("PUT", "/api/admin/tables/shop.a/description", change)
    assert (made["description"], made["said"]["columns"]["salary"]["description"]) == ("Pay", "Yearly")
    for text in (
        world.send("GET", "/api/tables/shop.a/profile").text,
        world.send("POST", "/api/admin/tables/shop.a/profile").text,
    ):
        assert "8123456" not in text
        assert "9234567" not in text
        assert '"sensitive": "tag"' in text or '"sensitive":"tag"' in text
    extract(world)
    world.ask("PUT", "/api/admin/tables/shop.a/description", {"description": None})
    found = world.ask("GET", "/api/tables/shop.a/description")
    assert (found["description"], found["said"]["owners"]) == (None, ["ann"])
    assert found["history"][0]["before"] == {"description": "Pay"}
    refused = world.send("PUT", "/api/admin/tables/shop.a/description", {"columns": {"salry": {}}})
    assert (refused.status_code, "did you mean 'salary'?" in refused.text) == (422, True)
    ann = analyst(world)
    assert world.send("GET", "/api/tables/shop.a/description", token=ann).status_code == 404


DATA = ROOT.parent / "shared/data/nycflights13"


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason="the flights are not there")
def test_figures_of_the_flights_equal_those_of_sql(begun: Begun, tmp_path: Path) -> None:
    world = begun.world(tmp_path, profiles=True)
    for path in DATA.glob("*.csv*"):
        (tmp_path / "sources" / path.name).write_bytes(path.read_bytes())
    config = {"path": str(tmp_path / "sources"), "nullstr": "NA"}
    world.ask("POST", "/api/admin/sources/nyc", {"type": "csv", "config": config})
    world.ask("POST", "/extract/csv", {"source": "nyc"})
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        for table, name in {"flights": "flights.csv.gz", "planes": "planes.csv", "weather": "weather.csv"}.items():
            found = profile(world, f"nyc.{table}")
            con.execute(f"create table {table} as from read_csv('{DATA / name}', nullstr = 'NA', sample_size = -1)")
            rows = con.execute(f"select count(*) from {table}").fetchall()[0][0]
            assert found["profile"]["tableProfile"]["rowCount"] == rows
            for each in found["profile"]["columnProfile"]:
                check(con, table, each)
        con.execute(f"create table airports as from read_csv('{DATA / 'airports.csv'}')")
        check_relations(con, world)


RELATIONS = {
    ("carrier", "nyc.airlines", "carrier"),
    ("tailnum", "nyc.planes", "tailnum"),
    ("origin", "nyc.airports", "faa"),
    ("dest", "nyc.airports", "faa"),
}


def check_relations(con: duckdb.DuckDBPyConnection, world: World) -> None:
    related = profile(world, "nyc.flights")["profile"]["relatedTables"]
    proposed = {(each["columns"][0], each["table"], each["references"][0]): each for each in related}
    assert RELATIONS - {("tailnum", "nyc.planes", "tailnum")} <= set(proposed)
    assert set(proposed) <= RELATIONS
    for (column, table, key), each in proposed.items():
        if table == "nyc.airports":
            query = f"select avg(({column} in (select {key} from airports))::int) from flights"
            assert each["coverage"] == pytest.approx(con.execute(query).fetchall()[0][0], abs=1e-6)
        assert (each["direction"], each["is_declared"]) == ("belongs_to", False)
    back = world.ask("GET", "/api/tables/nyc.airports/relations")["relations"]
    assert {(each["direction"], each["references"][0]) for each in back} >= {
        ("has_many", "dest"),
        ("has_many", "origin"),
    }


def check(con: duckdb.DuckDBPyConnection, table: str, found: dict[str, Any]) -> None:
    name = f'"{found["name"]}"'
    count, distinct = con.execute(f"select count({name}), count(distinct {name}) from {table}").fetchall()[0]
    assert (found["valuesCount"], found["distinctCount"]) == (count, distinct), name
    if found["category"] == "NUMERIC" and "min" in found:
        sql = f"select min({name}), max({name}), avg({name}), stddev_samp({name}), median({name}::double), count_if({name} = 0) from {table}"
        low, high, mean, deviation, median, zeros = con.execute(sql).fetchall()[0]
        assert (float(found["min"]), float(found["max"]), found["zerosCount"]) == (float(low), float(high), zeros), name
        assert found["mean"] == pytest.approx(float(mean), rel=1e-9)
        assert found["stddev"] == pytest.approx(float(deviation), rel=1e-9)
        assert found["median"] == median
    if found["category"] == "STRING":
        lengths = con.execute(
            f"select min(length({name})), max(length({name})), avg(length({name})) from {table}"
        ).fetchall()[0]
        assert (found["minLength"], found["maxLength"]) == lengths[:2]
        assert found["meanLength"] == pytest.approx(lengths[2])
        top = con.execute(
            f"select count(*) n from {table} where {name} is not null group by {name} order by n desc limit 10"
        ).fetchall()
        shown = [each["count"] for each in found.get("topValues", [{"count": 1}] * 10)]  # no value is frequent
        assert shown == [each[0] for each in top], name
    assert json.dumps(found)
