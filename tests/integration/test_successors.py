"""A table, source, group or user that is created under an old name inherits nothing."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from werkzeug.test import Client

from analyst.connectors.files.discovery import Discovery
from analyst.contract.extract_edit import edit_extract
from analyst.extract_run import Extracting, ExtractRequest
from analyst.settings import Settings
from analyst.state import Actor, registry
from analyst.store import ANY, Store
from tests.clouds import Cloud
from tests.integration.auth.installation import Installation
from tests.integration.world import World

ID = "shop.orders"


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody gets of a table: rows by manifest and catalog, files that the manifest lists, and signed URLs."""

    rows: frozenset[int]
    listed: frozenset[str]
    signed: frozenset[str]


NOTHING = Seen(frozenset(), frozenset(), frozenset())


class Shop(World):
    """A source with one table, and an analyst who may read it by each kind of right."""

    def __init__(self, folder: Path, cloud: Cloud, old: "Shop | None" = None) -> None:
        """Open a shop in an empty bucket, or go on with a copy of an old one's, in the same folder."""
        super().__init__(folder, cloud, admin=old.admin if old else None)
        self.folder, self.store = folder / "sources", cloud.open()
        self.paths: set[str] = {*old.paths} if old else set()
        """Every file that was ever listed."""
        self.people: dict[str, str] = {**old.people} if old else {}
        if old is None:
            self.begin()

    def begin(self) -> None:
        self.configure()
        self.publish("n\n1\n")
        self.publish("n\n1\n2\n")
        self.people |= {"admin": self.admin}
        for name in ("single", "group", "source"):
            self.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": "analyst"})
            token = self.ask("POST", "/auth/tokens", {"name": "t", "user": f"{name}@example.com"})
            self.people[name] = token["token"]
        group = self.ask("POST", "/api/admin/groups", {"name": "Sales"})["id"]
        user = self.ask("GET", "/api/users?email=group@example.com")["users"][0]["id"]
        self.ask("PUT", f"/api/admin/groups/{group}/members/{user}")
        self.grant()

    def configure(self) -> None:
        self.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(self.folder)}})

    def grant(self) -> None:
        self.ask("POST", "/api/admin/permissions", {"user": "single@example.com", "table": ID})
        self.ask("POST", "/api/admin/permissions", {"group": "Sales", "table": ID})
        self.send("POST", "/api/admin/permissions", {"user": "source@example.com", "source": "shop"})

    def publish(self, content: str) -> None:
        (self.folder / "orders.csv").write_text(content)
        self.ask("POST", "/extract/csv", {"source": "shop"})
        self.rebuild()
        files = self.ask("GET", "/api/sync/manifest")["tables"][ID]["files"]
        self.paths |= {file["path"] for file in files}

    def rebuild(self) -> None:
        """Have the newest snapshot hold everything, also when the rebuild that a deletion asked for is running."""
        while self.ask("POST", "/rebuild", {})["status"] == "running":
            pass

    def see(self, who: str) -> Seen:
        """Ask everything there is about the table, of every snapshot."""
        token = self.people[who]
        numbers = [each["snapshot"] for each in self.ask("GET", "/api/snapshots")["snapshots"]]
        rows: set[int] = set()
        listed: set[str] = set()
        for query in ("", *(f"?snapshot={number}" for number in numbers)):
            manifest = self.ask("GET", f"/api/sync/manifest{query}", token=token)["tables"]
            catalog = {
                each["id"]: each for each in self.ask("GET", f"/api/catalog/tables{query}", token=token)["tables"]
            }
            response = self.send("GET", f"/api/catalog/tables/{ID}{query}", token=token)
            assert (ID in manifest) == (ID in catalog) == (response.status_code == 200), (who, query)
            if ID in manifest:
                assert manifest[ID]["rows"] == catalog[ID]["rows"] == response.get_json()["rows"]
                rows.add(manifest[ID]["rows"])
                listed |= {file["path"] for file in manifest[ID]["files"]}
        signed: set[str] = set()
        for path in (None, *sorted(self.paths | listed)):
            wanted = {"files": {ID: None if path is None else [path]}}
            answer = self.send("POST", "/api/data/urls", wanted, token=token)
            assert answer.status_code in (200, 404)
            signed |= set(answer.get_json().get("urls", {}))
        assert (self.send("GET", f"/api/data/{ID}/download", token=token).status_code == 307) == bool(signed)
        return Seen(frozenset(rows), frozenset(listed), frozenset(signed))

    def all_see(self) -> dict[str, Seen]:
        return {who: self.see(who) for who in self.people}

    def forget_registrations(self) -> None:
        """Make of the bucket one of before registrations were written down with what is published."""

        def older(con: "duckdb.DuckDBPyConnection", _base: Any, _folder: Path) -> None:
            con.execute("drop table extract._registrations")

        edit_extract(self.store, "shop", older, now=self.process.clock, folder=self.folder.parent)
        for entry in list(self.store.list("analytics/")):
            found = self.store.read(entry.key)
            assert found is not None
            if entry.key.endswith(".catalog.json"):
                self.store.put(entry.key, stripped(found.data), if_version=found.version)
        current = self.store.read("analytics/current.json")
        assert current is not None
        pointer = json.loads(current.data)
        pointer |= {"catalog_text": None, "sha256": {}, "built_from": {"shop": version_of(self.store)}}
        self.store.put("analytics/current.json", json.dumps(pointer).encode(), if_version=current.version)


def stripped(catalog: bytes) -> bytes:
    document = json.loads(catalog)
    for table in document["tables"]:
        table.pop("registration", None)
    return json.dumps(document).encode()


def version_of(store: Store) -> str:
    found = store.head("extracts/shop/extract.duckdb")
    assert found is not None
    return found.version


@pytest.fixture(scope="module")
def opened(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shop]:
    """A folder, and the shop that was opened in it; tests go on with copies of the bucket and of the files."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder, shared_cloud)
    shutil.copytree(shop.folder, folder / "files")
    return folder, shop


@pytest.fixture
def shop(opened: tuple[Path, Shop], at_once: None) -> Shop:  # noqa: ARG001
    folder, old = opened
    shutil.rmtree(folder / "sources")
    shutil.copytree(folder / "files", folder / "sources")
    return Shop(folder, old.cloud.copy(), old)


def test_a_table_that_is_registered_again_inherits_nothing(shop: Shop) -> None:
    before = shop.all_see()
    assert {who: seen.rows for who, seen in before.items()} == dict.fromkeys(shop.people, frozenset({1, 2}))
    old = frozenset(shop.paths)
    assert {seen.signed for seen in before.values()} == {old}
    assert shop.send("DELETE", f"/api/admin/tables/{ID}").status_code == 204
    assert shop.all_see() == dict.fromkeys(shop.people, NOTHING)
    shop.ask("POST", f"/api/admin/tables/{ID}", {})
    shop.grant()
    assert shop.all_see() == dict.fromkeys(shop.people, NOTHING)
    shop.publish("n\n1\n2\n3\n")
    after = shop.all_see()
    assert {who: seen.rows for who, seen in after.items()} == dict.fromkeys(shop.people, frozenset({3}))
    assert all(not seen.signed & old and seen.signed == seen.listed for seen in after.values())
    shop.ask("POST", "/api/admin/snapshots/1/rollback", {})  # which does not bring it back either
    assert {who: seen.rows for who, seen in shop.all_see().items()} == dict.fromkeys(shop.people, frozenset({3}))
    assert all(not seen.signed & old for seen in shop.all_see().values())


def test_a_bucket_of_an_older_version_keeps_working_and_is_as_safe(shop: Shop) -> None:
    shop.forget_registrations()
    assert {who: seen.rows for who, seen in shop.all_see().items()} == dict.fromkeys(shop.people, frozenset({1, 2}))
    old = frozenset(shop.paths)
    assert shop.send("DELETE", f"/api/admin/tables/{ID}").status_code == 204
    shop.ask("POST", f"/api/admin/tables/{ID}", {})
    shop.grant()
    assert shop.all_see() == dict.fromkeys(shop.people, NOTHING)
    shop.publish("n\n1\n2\n3\n")
    shop.ask("POST", "/api/admin/snapshots/1/rollback", {})
    seen = shop.all_see()
    assert {who: each.rows for who, each in seen.items()} == dict.fromkeys(shop.people, frozenset({3}))
    assert all(not each.signed & old for each in seen.values())


def test_an_interrupted_deletion_leaves_nothing_to_the_successor(shop: Shop) -> None:
    """The process dies between the end of the rights and that of the data, of a table that grows by increments."""
    incremental = {"sync_strategy": "incremental", "primary_key": ["n"], "cursor_column": "n"}
    shop.ask("PUT", f"/api/admin/tables/{ID}", incremental)
    shop.publish("n\n1\n2\n3\n")
    actor = Actor(None, shop.process.clock())
    shop.process.state.edit(lambda db: registry.deregister(db, actor, ID))
    assert shop.all_see() == dict.fromkeys(shop.people, NOTHING)
    shop.ask("POST", f"/api/admin/tables/{ID}", incremental)
    shop.grant()
    assert shop.all_see() == dict.fromkeys(shop.people, NOTHING)
    shop.publish("n\n2\n9\n")
    assert {who: seen.rows for who, seen in shop.all_see().items()} == dict.fromkeys(shop.people, frozenset({2}))


def test_an_unchanged_source_is_read_again_for_the_successor(tmp_path: Path, cloud: Cloud) -> None:
    shop = Shop(tmp_path, cloud)  # a copied file is a changed one
    actor = Actor(None, shop.process.clock())
    shop.process.state.edit(lambda db: registry.deregister(db, actor, ID))
    shop.ask("POST", f"/api/admin/tables/{ID}", {})
    shop.ask("POST", "/extract/csv", {"source": "shop"})
    shop.rebuild()
    assert shop.see("admin").rows == {2}


def test_rows_of_a_run_that_began_for_the_predecessor_reach_nobody(shop: Shop) -> None:
    """It was reading while the table was removed and registered again, before either was ever published."""
    process = shop.process
    (shop.folder / "pay.csv").write_text("salary\n1000\n")
    shop.ask("POST", "/api/admin/tables/shop.pay", {})
    settings: Settings = process.settings
    discovery = Discovery(process.state, settings, "shop", Actor(None, process.clock()))
    registered = discovery.look_up()
    assert shop.send("DELETE", "/api/admin/tables/shop.pay").status_code == 204
    shop.ask("POST", "/api/admin/tables/shop.pay", {"is_public": True})
    late = Extracting(
        process.store, process.snapshots, shop_call(shop), lambda: None, process.clock, settings.memory_limit
    )
    request = ExtractRequest(source="shop", tables=("pay",))
    late.run(request, lambda: discovery.connector(registered), lambda: discovery.registrations)
    shop.rebuild()
    assert "shop.pay" not in shop.ask("GET", "/api/sync/manifest")["tables"]
    assert "shop.pay" not in shop.ask("GET", "/api/sync/manifest", token=shop.people["single"])["tables"]
    shop.ask("POST", "/extract/csv", {"source": "shop", "tables": ["pay"]})
    shop.rebuild()
    assert shop.ask("GET", "/api/sync/manifest", token=shop.people["single"])["tables"]["shop.pay"]["rows"] == 1


def shop_call(shop: Shop) -> Any:
    return lambda path, body: dict(shop.ask("POST", path, body))


def test_a_source_that_is_added_again_inherits_nothing(shop: Shop) -> None:
    old = frozenset(shop.paths)
    assert shop.send("DELETE", f"/api/admin/tables/{ID}").status_code == 204
    assert shop.send("DELETE", "/api/admin/sources/shop").status_code == 204
    assert shop.all_see() == dict.fromkeys(shop.people, NOTHING)
    shop.configure()
    shop.publish("n\n1\n2\n")  # equal to what was there
    seen = shop.all_see()
    assert {who: each.rows for who, each in seen.items()} == {
        **dict.fromkeys(shop.people, frozenset()), "admin": frozenset({2})
    }  # fmt: skip
    assert not seen["admin"].signed & old


def test_later_data_of_a_connector_without_registrations_is_valid(tmp_path: Path, cloud: Cloud) -> None:
    world, store = World(tmp_path, cloud), cloud.open()
    world.ask("POST", "/api/admin/sources/crm", {"type": "external"})

    def publish(rows: int) -> None:
        extract, parquet = tmp_path / f"{rows}.duckdb", tmp_path / f"{rows}.parquet"
        with duckdb.connect(str(extract)) as con:
            con.execute("set timezone = 'UTC'")
            con.execute(f"copy (from range({rows})) to '{parquet}'")
            con.execute(
                "create table _meta (table_name varchar, description varchar, rows bigint, size_bytes bigint, "
                "extracted_at timestamp, query_mode varchar)"
            )
            con.execute("insert into _meta values ('people', null, ?, 1, now()::timestamp, 'local')", [rows])
            con.execute(f"create view people as from read_parquet('{parquet}')")
        store.put("extracts/crm/data/people.parquet", parquet.read_bytes(), if_version=ANY)
        store.put("extracts/crm/extract.duckdb", extract.read_bytes(), if_version=ANY)
        while world.ask("POST", "/rebuild", {})["status"] == "running":
            pass  # the one that a deletion asked for

    def seen() -> list[int]:
        queries = ("", *(f"?snapshot={each['snapshot']}" for each in world.ask("GET", "/api/snapshots")["snapshots"]))
        tables = [world.ask("GET", f"/api/sync/manifest{query}")["tables"] for query in queries]
        return sorted({each["crm.people"]["rows"] for each in tables if "crm.people" in each})

    publish(1)
    assert seen() == [1]  # an administrator sees what nobody has registered
    world.ask("POST", "/api/admin/tables/crm.people", {})
    assert seen() == [1]
    assert world.send("DELETE", "/api/admin/tables/crm.people").status_code == 204
    world.ask("POST", "/api/admin/tables/crm.people", {})
    assert seen() == []
    publish(3)
    assert seen() == [3]


def test_a_request_for_the_predecessor_does_not_count_for_the_successor(shop: Shop) -> None:
    shop.ask("POST", "/api/users", {"email": "eve@example.com", "role": "analyst"})
    eve = str(shop.ask("POST", "/auth/tokens", {"name": "t", "user": "eve@example.com"})["token"])
    asked = shop.ask("POST", "/api/access-requests", {"table": ID, "reason": "r"}, token=eve)["id"]
    early = shop.ask("POST", "/api/access-requests", {"table": "shop.later", "reason": "r"}, token=eve)["id"]
    for table in (ID, "shop.later"):
        shop.send("POST", f"/api/admin/tables/{table}", {})
        assert shop.send("DELETE", f"/api/admin/tables/{table}").status_code == 204
        shop.ask("POST", f"/api/admin/tables/{table}", {})
    for request in (asked, early):
        answer = shop.send("POST", f"/api/admin/access-requests/{request}/approve", {})
        assert (answer.status_code, "another table is registered under this id" in answer.get_json()["detail"]) == (
            409,
            True,
        )
    (listed,) = (each for each in shop.ask("GET", "/api/admin/access-requests")["requests"] if each["table"] == ID)
    assert (listed["registered"], listed["outdated"]) == (False, True)
    assert shop.ask("GET", "/api/admin/permissions?user=eve@example.com")["permissions"] == []
    assert shop.send("POST", f"/api/admin/access-requests/{asked}/deny", {}).status_code == 200
    anew = shop.ask("POST", "/api/access-requests", {"table": ID, "reason": "r"}, token=eve)["id"]
    assert shop.send("POST", f"/api/admin/access-requests/{anew}/approve", {}).status_code == 200


def test_a_group_or_user_that_is_created_again_inherits_nothing() -> None:
    installed = Installation()
    root = {"Authorization": f"Bearer {installed.admin()}"}
    client = Client(installed.app)

    def ask(method: str, path: str, body: Any = None) -> Any:
        answer = client.open(path, method=method, json=body, headers=root)
        assert answer.status_code < 300, answer.text
        return answer.get_json(silent=True)

    def add_ann() -> str:
        return str(ask("POST", "/api/users", {"email": "ann@example.com"})["id"])

    ask("POST", "/api/admin/sources/shop", {"type": "external"})
    ask("POST", f"/api/admin/tables/{ID}", {})
    first, group = add_ann(), ask("POST", "/api/admin/groups", {"name": "Sales"})["id"]
    ask("PUT", f"/api/admin/groups/{group}/members/{first}")
    ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "source": "shop"})
    ask("POST", "/api/admin/permissions", {"group": "Sales", "table": ID})
    token = {
        "Authorization": f"Bearer {ask('POST', '/auth/tokens', {'name': 't', 'user': 'ann@example.com'})['token']}"
    }
    browser = installed.browser()
    browser.sign_in("ann@example.com")
    assert (browser.who(), client.get("/api/me", headers=token).status_code) == ("ann@example.com", 200)
    client.post("/api/access-requests", json={"table": "shop.other", "reason": "r"}, headers=token)
    ask("DELETE", f"/api/users/{first}")
    ask("DELETE", f"/api/admin/groups/{group}")
    second, again = add_ann(), ask("POST", "/api/admin/groups", {"name": "Sales"})["id"]
    assert first != second
    assert group != again
    assert (browser.who(), client.get("/api/me", headers=token).status_code) == (401, 401)
    assert ask("GET", "/api/admin/permissions")["permissions"] == []
    assert ask("GET", "/api/admin/access-requests?status=all")["requests"] == []
    assert ask("GET", "/auth/tokens?user=ann@example.com")["tokens"] == []
    assert ask("GET", "/api/users?email=ann@example.com")["users"][0]["groups"] == []
