"""Earlier snapshots: listing them, reading them, and going back to one."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from analyst.store import ABSENT
from tests.bucket_contents import data, pointer, query
from tests.clouds import Cloud
from tests.integration.world import World


class Shop(World):
    """A world with a source of one table, which has as many rows as it was published times."""

    def __init__(self, folder: Path, cloud: Cloud, old: "Shop | None" = None) -> None:
        """Open a shop in an empty bucket, or go on with a copy of an old one's, in the same folder."""
        super().__init__(folder, cloud, admin=old.admin if old else None)
        self.files, self.store = folder / "sources", cloud.open()
        self.rows: int = old.rows if old else 0
        if old is None:
            config = {"path": str(self.files), "types": {"n": "BIGINT"}}
            self.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": config})

    def publish(self) -> None:
        self.rows += 1
        (self.files / "orders.csv").write_text("n\n" + "1\n" * self.rows)
        assert self.ask("POST", "/extract/csv", {"source": "shop"})["status"] == "ok"

    def rows_in(self, snapshot: int | None = None) -> int:
        """Return how many rows the table has in a snapshot, as manifest and catalog agree."""
        query = "" if snapshot is None else f"?snapshot={snapshot}"
        manifest = self.ask("GET", f"/api/sync/manifest{query}")["tables"]["shop.orders"]["rows"]
        listed = {table["id"]: table for table in self.ask("GET", f"/api/catalog/tables{query}")["tables"]}
        assert (
            manifest
            == listed["shop.orders"]["rows"]
            == self.ask("GET", f"/api/catalog/tables/shop.orders{query}")["rows"]
        )
        return int(manifest)

    def queried(self) -> int:
        ((rows,),) = query(self.store, "select count(*) from orders")
        return int(rows)

    def snapshots(self) -> list[tuple[int, bool]]:
        listed: list[dict[str, Any]] = self.ask("GET", "/api/snapshots")["snapshots"]
        return [(each["snapshot"], each["is_current"]) for each in listed]


@pytest.fixture(scope="module")
def published(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shop]:
    """A folder, and the shop that was published from it three times; tests go on with copies."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder, shared_cloud)
    for _ in range(3):
        shop.publish()
    shutil.copytree(shop.files, folder / "files")
    return folder, shop


@pytest.fixture
def shop(published: tuple[Path, Shop], at_once: None) -> Shop:  # noqa: ARG001
    folder, old = published
    shutil.rmtree(folder / "sources")
    shutil.copytree(folder / "files", folder / "sources")
    return Shop(folder, old.cloud.copy(), old)


def test_every_kept_snapshot_is_listed_and_can_be_read(shop: Shop) -> None:
    assert shop.snapshots() == [(3, True), (2, False), (1, False)]
    assert [shop.rows_in(number) for number in (1, 2, 3, None)] == [1, 2, 3, 3]
    files = shop.ask("GET", "/api/sync/manifest?snapshot=1")["tables"]["shop.orders"]["files"]
    wanted = {"files": {"shop.orders": [files[0]["path"]]}}
    assert list(shop.ask("POST", "/api/data/urls", wanted)["urls"]) == [files[0]["path"]]


@pytest.mark.parametrize("number", [4, 999_999_999])
def test_an_unknown_snapshot_is_not_found(shop: Shop, number: int) -> None:
    for path in ("/api/sync/manifest", "/api/catalog/tables", "/api/catalog/tables/shop.orders"):
        assert shop.send("GET", f"{path}?snapshot={number}").status_code == 404
    assert shop.send("POST", f"/api/admin/snapshots/{number}/rollback", {}).status_code == 404
    assert shop.send("POST", "/api/admin/snapshots/0/rollback", {}).status_code == 422


def test_a_rollback_holds_until_the_source_publishes_again(shop: Shop) -> None:
    assert shop.ask("POST", "/api/admin/snapshots/1/rollback", {})["snapshot"] == 4
    assert (shop.rows_in(), shop.queried()) == (1, 1)
    assert shop.ask("POST", "/rebuild", {})["status"] == "unchanged"
    (shop.files / "people.csv").write_text("a\n1\n")
    shop.ask("POST", "/extract/csv", {"source": "shop", "tables": ["people"]})
    shop.ask("POST", "/api/admin/sources/crm", {"type": "csv", "config": {"path": str(shop.files / "people.csv")}})
    shop.ask("POST", "/extract/csv", {"source": "crm"})
    assert shop.ask("GET", "/api/catalog/tables/crm.people")["rows"] == 1
    shop.publish()
    assert (shop.rows_in(), shop.queried()) == (4, 4)
    assert shop.rows_in(4) == 1


def test_rollbacks_are_for_administrators_and_audited(shop: Shop) -> None:
    shop.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    token = shop.ask("POST", "/auth/tokens", {"name": "t", "user": "ann@example.com"})["token"]
    assert shop.send("POST", "/api/admin/snapshots/1/rollback", {}, token=token).status_code == 403
    shop.ask("POST", "/api/admin/snapshots/1/rollback", {})
    with shop.process.state.read() as db:
        rows = db.execute("select resource, params from audit_log where action = 'snapshot.rollback'").fetchall()
    assert [(resource, params) for resource, params in rows] == [("snapshot:1", '{"snapshot": 4}')]


def test_an_earlier_snapshot_shows_tables_readable_now(shop: Shop) -> None:
    shop.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    token = shop.ask("POST", "/auth/tokens", {"name": "t", "user": "ann@example.com"})["token"]
    assert shop.ask("GET", "/api/sync/manifest?snapshot=1", token=token)["tables"] == {}
    assert shop.send("GET", "/api/catalog/tables/shop.orders?snapshot=1", token=token).status_code == 404


def test_an_unpublished_number_is_not_a_snapshot(shop: Shop) -> None:
    """A builder that was overtaken leaves a catalog of the same number as the one that was published."""
    catalog = data(shop.store, pointer(shop.store).catalog)
    for number in (2, 4):
        forged = catalog.replace(b'"rows":3', b'"rows":77').replace(b'"snapshot":3', b'"snapshot":%d' % number)
        for letter in ("0", "z"):
            shop.store.put(f"analytics/{number:09}-{letter * 26}.catalog.json", forged, if_version=ABSENT)
    assert shop.rows_in(2) == 2
    assert shop.send("GET", "/api/sync/manifest?snapshot=4").status_code == 404
    assert shop.snapshots() == [(3, True), (2, False), (1, False)]


def test_sources_held_back_by_a_rollback_are_shown_everywhere_and_released(shop: Shop) -> None:
    path = "/api/admin/snapshots/1/rollback"
    report = shop.ask("POST", path, {"dry_run": True})
    assert (report["dry_run"], report["snapshot"], report["held_back"], report["missing"]) == (True, 3, ["shop"], [])
    assert shop.snapshots()[0] == (3, True)
    assert shop.ask("POST", path, {})["held_back"] == ["shop"]
    (held,) = shop.ask("GET", "/api/snapshots")["held_back"]
    assert (held["source"], held["snapshot"]) == ("shop", 1)
    assert shop.ask("GET", "/api/health")["held_back"] == 1
    assert shop.ask("GET", "/api/sync/status")["held_back"] == ["shop"]
    assert shop.ask("POST", "/rebuild", {})["held_back"] == ["shop"]
    assert shop.send("POST", "/api/admin/snapshots/release", {"sources": ["other"]}).status_code == 404
    released = shop.ask("POST", "/api/admin/snapshots/release", {"sources": ["shop"]})
    assert (released["status"], released["held_back"], shop.rows_in(), shop.queried()) == ("published", [], 3, 3)
    assert shop.ask("GET", "/api/health")["held_back"] == 0
    with shop.process.state.read() as db:
        found = db.execute("select resource from audit_log where action = 'snapshot.release'").fetchall()
    assert found == [("source:shop",)]


def test_a_rollback_to_a_snapshot_without_its_files_is_refused(shop: Shop) -> None:
    (file,) = shop.ask("GET", "/api/sync/manifest?snapshot=1")["tables"]["shop.orders"]["files"]
    shop.store.delete(file["path"])
    answer = shop.send("POST", "/api/admin/snapshots/1/rollback", {})
    assert answer.status_code == 409
    assert "shop.orders (1)" in answer.get_json()["detail"]
    assert (shop.rows_in(), shop.snapshots()[0]) == (3, (3, True))
