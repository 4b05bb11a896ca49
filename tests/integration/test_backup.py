"""Backups: what is restored elsewhere is what was there, whatever happened while the backup was made."""

import hashlib
import json
import random
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst import lease
from analyst.backup.archive import OBJECTS, Backup, Made
from analyst.backup.contents import kind_of
from analyst.backup.restore import RestoreRequest, Restoring
from analyst.imports.parts import Parts
from analyst.rebuild import LEASE, Rebuild
from analyst.rebuild.publishing import published_epoch
from analyst.state import Actor, State
from analyst.store import ANY, Condition, Object, Store
from analyst.sweep import Sweep
from tests.clouds import Cloud, FileCloud
from tests.doubles.wrapped_store import AgedStore, Around
from tests.examples import examples
from tests.integration.world import World

PEOPLE = ("ann", "bob")
TABLES = ("orders", "items")


class Shop(World):
    """A source with two tables, and people who may read some of them."""

    def __init__(self, folder: Path, cloud: Cloud, old: "Shop | None" = None) -> None:
        super().__init__(folder, cloud, admin=old.admin if old else None)
        self.folder = folder / "sources" / "shop"
        self.tokens: dict[str, str] = {**old.tokens} if old else {}
        self.seen: list[Mapping[str, Any]] = []
        """What there was after each change."""
        if old is None:
            self._begin()

    def _begin(self) -> None:
        self.folder.mkdir()
        for name in TABLES:
            (self.folder / f"{name}.csv").write_text("n\n1\n")
        self.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": "shop"}})
        self.sync()
        for name in PEOPLE:
            self.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": "analyst"})
            token = self.ask("POST", "/auth/tokens", {"name": "t", "user": f"{name}@example.com"})
            self.tokens[name] = token["token"]
        self.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"})
        self.ask("PUT", "/api/admin/glossary/churn", {"definition": "customers who left"})

    def sync(self) -> None:
        self.ask("POST", "/extract/csv", {"source": "shop"})
        while self.ask("POST", "/rebuild", {})["status"] == "running":
            pass

    def picture(self) -> Mapping[str, Any]:
        """Return what everybody may read, and what it is."""
        found: dict[str, Any] = {
            "users": [{k: u[k] for k in ("email", "role", "active")} for u in self.ask("GET", "/api/users")["users"]],
            "sources": [each["name"] for each in self.ask("GET", "/api/admin/sources")["sources"]],
            "glossary": sorted(each["term"]["name"] for each in self.ask("GET", "/api/glossary")["terms"]),
            "grants": sorted(
                json.dumps({k: v for k, v in each.items() if k != "created_at"}, sort_keys=True)
                for each in self.ask("GET", "/api/admin/permissions")["permissions"]
            ),
        }
        for who, token in {"admin": self.admin, **self.tokens}.items():
            answer = self.send("GET", "/api/sync/manifest", token=token)
            found[who] = _tables(answer.get_json()) if answer.status_code == 200 else answer.status_code
        return found

    def remember(self) -> None:
        self.seen.append(self.picture())


def _tables(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        table_id: {
            "rows": table["rows"],
            "view": table["view"],
            "files": [(file["path"], file["sha256"]) for file in table["files"]],
        }
        for table_id, table in manifest["tables"].items()
    }


@pytest.fixture(scope="module")
def begun_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    return Shop(folder, FileCloud(folder / "bucket"))


@pytest.fixture
def shop(begun_shop: Shop, tmp_path: Path) -> Shop:
    return copy_of(begun_shop, tmp_path / "old")


def copy_of(shop: Shop, folder: Path) -> Shop:
    folder.mkdir()
    shutil.copytree(shop.folder.parent, folder / "sources")
    return Shop(folder, shop.cloud.copy(folder), shop)


def elsewhere(folder: Path) -> World:
    folder.mkdir()
    return World(folder, FileCloud(folder / "bucket"))


def send(world: World, archive: bytes, **options: bool) -> Any:
    """Upload an archive to another installation and have it restored."""
    sha256 = hashlib.sha256(archive).hexdigest()
    headers = {"Authorization": f"Bearer {world.admin}", "Content-Type": "application/octet-stream"}
    assert world.client.put(f"/api/admin/import/parts/{sha256}", data=archive, headers=headers).status_code == 204
    return world.send("POST", "/api/admin/restore", {"sha256": sha256, "parts": [sha256], **options})


def archive_of(world: World, made: Made) -> bytes:
    found = world.process.store.read(made.key)
    assert found is not None
    return found.data


def copy_data(old: Store, new: Store, made: Made) -> None:
    for file in made.index.data:
        found = old.read(file.key)
        assert found is not None, file.key
        assert file.sha256 in (None, hashlib.sha256(found.data).hexdigest())
        new.put(file.key, found.data, if_version=ANY)


def backup(world: World, store: Store | None = None, *, with_data: bool = True) -> Made:
    return Backup(store or world.process.store, world.process.clock(), "0").make(with_data=with_data)


def as_seen(world: World, shop: Shop) -> Mapping[str, Any]:
    """Look at a restored installation as the people of the old one."""
    seen = Shop.__new__(Shop)
    seen.__dict__ = {**world.__dict__, "admin": shop.admin, "tokens": shop.tokens}
    return seen.picture()


@pytest.mark.parametrize(
    ("is_elsewhere", "options", "expected"),
    [(True, {}, True), (True, {"resume": True}, False), (False, {}, False)],
    ids=["a copy", "a copy that replaces the original", "the same bucket"],
)
def test_a_copy_acts_by_itself_only_when_it_is_resumed(
    shop: Shop, tmp_path: Path, is_elsewhere: bool, options: dict[str, bool], expected: bool
) -> None:
    shop.ask("PUT", "/api/admin/sources/shop", {"sync_schedule": "every 1m"})
    made = backup(shop)
    new = elsewhere(tmp_path / "new") if is_elsewhere else shop
    copy_data(shop.process.store, new.process.store, made)
    planned = send(new, archive_of(shop, made), dry_run=True, **options).get_json()
    assert planned["paused"] is expected
    assert new.process.store.read("state/paused.json") is None
    done = send(new, archive_of(shop, made), replace=True, **options)
    assert (done.status_code, done.get_json()["paused"]) == (200, expected), done.text
    new.admin = shop.admin
    answer = new.ask("POST", "/schedule", {})
    assert ([each["source"] for each in answer["sources"]] == []) is expected
    assert ("another bucket" in answer["sweep"]["why"]) is expected
    if expected:
        assert new.ask("GET", "/api/admin/schedule")["paused"]["by"] == "admin@example.com"
        assert send(new, archive_of(shop, made), replace=True).get_json()["paused"] is True  # stays so
        assert new.ask("POST", "/api/admin/schedule", {"paused": False}) == {"paused": None}
        assert [each["source"] for each in new.ask("POST", "/schedule", {})["sources"]] == ["shop"]


def test_a_restored_copy_equals_the_original(shop: Shop, tmp_path: Path) -> None:
    new = elsewhere(tmp_path / "new")
    made = backup(shop)
    copy_data(shop.process.store, new.process.store, made)
    planned = send(new, archive_of(shop, made), dry_run=True).get_json()
    assert [s["change"] for s in planned["sources"]] == ["added"]
    assert planned["missing"] == []
    answer = send(new, archive_of(shop, made))
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["state"] == planned["state"]
    assert as_seen(new, shop) == shop.picture()
    new.client.get("/api/me")
    history = as_admin(new, shop).ask("GET", "/api/admin/audit?action=state.restore")["events"]
    assert len(history) >= 1


def as_admin(world: World, shop: Shop) -> World:
    world.admin = shop.admin
    return world


def test_a_source_whose_files_are_missing_is_named_and_has_no_tables(shop: Shop, tmp_path: Path) -> None:
    new, made = elsewhere(tmp_path / "new"), backup(shop, with_data=False)
    answer = send(new, archive_of(shop, made)).get_json()
    assert [(s["source"], s["change"], s["missing_files"]) for s in answer["sources"]] == [("shop", "incomplete", 2)]
    assert answer["missing_count"] == 2
    assert as_seen(new, shop)["admin"] == {}
    assert as_seen(new, shop)["grants"] == shop.picture()["grants"]


def test_a_bucket_in_use_is_changed_only_with_permission(shop: Shop) -> None:
    before, made = shop.picture(), backup(shop)
    (shop.folder / "orders.csv").write_text("n\n1\n2\n")
    shop.sync()
    shop.ask("POST", "/api/users", {"email": "eve@example.com", "role": "analyst"})
    shop.ask("DELETE", "/api/admin/glossary/churn")
    shop.ask("PUT", "/api/admin/glossary/arpu", {"definition": "revenue per user"})
    later = shop.picture()
    archive = archive_of(shop, made)
    refused = send(shop, archive)
    assert refused.status_code == 409
    assert "in use" in refused.get_json()["detail"]
    planned = send(shop, archive, dry_run=True).get_json()
    assert {"kind": "user", "name": "eve@example.com", "change": "removed"} in planned["state"]
    assert [s["change"] for s in planned["sources"]] == ["changed"]
    assert shop.picture() == later
    assert send(shop, archive, replace=True).status_code == 200
    assert shop.picture() == before
    # and it continues from there
    shop.sync()
    assert shop.picture()["admin"]["shop.orders"]["rows"] == 2


def test_later_revocations_and_the_audit_log_survive_a_restore(shop: Shop) -> None:
    made = backup(shop)
    bob = shop.ask("GET", "/auth/tokens?user=bob@example.com")["tokens"][0]["id"]
    shop.ask("DELETE", f"/auth/tokens/{bob}")
    late = shop.ask("POST", "/auth/tokens", {"name": "late", "user": "ann@example.com"})["token"]
    log = {event["id"] for event in shop.ask("GET", "/api/admin/audit?limit=500")["events"]}
    assert send(shop, archive_of(shop, made), replace=True).status_code == 200
    assert shop.send("GET", "/api/me", token=late).status_code == 401  # the backup does not know it
    assert shop.send("GET", "/api/me", token=shop.tokens["bob"]).status_code == 401
    assert shop.send("GET", "/api/me", token=shop.tokens["ann"]).status_code == 200
    assert log <= {event["id"] for event in shop.ask("GET", "/api/admin/audit?limit=500")["events"]}


def _change(name: str, content: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        copy = path.with_suffix(".new")
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
            for member in old.namelist():
                new.writestr(member, content if member == name else old.read(member))
        copy.replace(path)

    return change


def _index(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            index = {**json.loads(archive.read("index.json")), **changes}
        _change("index.json", json.dumps(index).encode())(path)

    return change


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "status", "reason"),
    [
        (_cut, 422, "is not a backup, or it is damaged"),
        (lambda path: path.write_bytes(b"no zip"), 422, "is not a backup"),
        (_change("state.duckdb", b"x"), 422, "'state.duckdb' has changed"),
        (_change("index.json", b"{}"), 422, "is not a backup"),
        (_index(format=2, program="9.9"), 409, "made by version 9.9"),
        (_index(schema_version=99), 409, "supports up to"),
        (_index(members=[]), 422, "contains no state"),
    ],
)
def test_a_damaged_or_newer_archive_is_refused(
    shop: Shop, tmp_path: Path, damage: Callable[[Path], None], status: int, reason: str
) -> None:
    made, before = backup(shop), shop.picture()
    path = tmp_path / "archive.zip"
    path.write_bytes(archive_of(shop, made))
    damage(path)
    answer = send(shop, path.read_bytes(), replace=True)
    assert (answer.status_code, reason in answer.get_json()["detail"]) == (status, True), answer.text
    assert shop.picture() == before


@pytest.mark.parametrize(
    "key", ["state/current.json", "locks/rebuild.json", "other/x", "extracts/shop/data/t/x.parquet"]
)
def test_an_archive_cannot_write_keys_that_do_not_belong_to_it(shop: Shop, tmp_path: Path, key: str) -> None:
    path, content = tmp_path / "archive.zip", b"{}"
    made = backup(shop)
    path.write_bytes(archive_of(shop, made))
    member = {"name": f"{OBJECTS}{key}", "size": 2, "sha256": hashlib.sha256(content).hexdigest()}
    _index(members=[*(m.model_dump() for m in made.index.members), member])(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{OBJECTS}{key}", content)
    answer = send(shop, path.read_bytes(), replace=True)
    assert (answer.status_code, "never part of one" in answer.get_json()["detail"]) == (422, True)


def test_a_restore_that_has_to_wait_for_a_rebuild_changes_nothing(shop: Shop) -> None:
    archive = archive_of(shop, backup(shop))
    shop.process.store.put("catalog/later.json", b"{}", if_version=ANY)
    before = shop.picture()
    held = lease.acquire(shop.process.store, LEASE, published_epoch=published_epoch(shop.process.store), run_id="x")
    assert held is not None
    with held:
        answer = send(shop, archive, replace=True)
    assert (answer.status_code, "a rebuild is running; nothing has changed" in answer.text) == (409, True)
    assert (shop.picture(), shop.process.store.head("catalog/later.json") is None) == (before, False)
    assert send(shop, archive, replace=True).status_code == 200
    assert shop.process.store.head("catalog/later.json") is None


def test_data_files_are_stored_only_where_data_is(shop: Shop) -> None:
    for key in ("state/current.json", "extracts/shop/extract.duckdb", "extracts/shop/data/../x", "x"):
        body = {"files": [{"key": key, "sha256": "0" * 64, "parts": ["0" * 64]}]}
        assert shop.send("POST", "/api/admin/restore/files", body).status_code == 422
        assert shop.send("POST", "/api/admin/backup/urls", {"keys": [key]}).status_code in (422, 200)
    assert shop.send("POST", "/api/admin/backup/urls", {"keys": ["state/current.json"]}).status_code == 422


def test_every_object_of_the_bucket_is_of_a_known_kind(shop: Shop) -> None:
    shop.ask("POST", "/sweep", {})
    unknown = [entry.key for entry in shop.process.store.list("") if kind_of(entry.key) is None]
    assert unknown == []


def test_an_archive_that_nobody_fetched_is_swept(shop: Shop) -> None:
    made = backup(shop)
    Sweep(AgedStore(shop.process.store, 2 * 86400), timedelta(days=9)).run()
    assert shop.process.store.head(made.key) is None


# whatever happens while it is made


@dataclass
class Interrupted(Around):
    """A store during whose nth reads something happens."""

    then: Mapping[int, Callable[[], object]] = field(default_factory=dict)
    count: int = 0

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        self.count += 1
        self.then.get(self.count, lambda: None)()
        return super().read(key, unless=unless)


class Killed(BaseException):
    """The process has died."""


@dataclass
class Mortal(Around):
    """A store whose user dies at the nth write, before or after it."""

    left: int = 0
    after: bool = False

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self._step(is_after=False)
        version = super().put(key, data, if_version=if_version)
        self._step(is_after=True)
        return version

    def upload(self, key: str, path: Path) -> str:
        self._step(is_after=False)
        version = super().upload(key, path)
        self._step(is_after=True)
        return version

    def _step(self, *, is_after: bool) -> None:
        if self.after is is_after:
            self.left -= 1
        if self.left < 0:
            raise Killed


def operations(shop: Shop, chance: random.Random) -> Callable[[], None]:
    """Return an operation that changes something."""
    count = chance.randint(1, 10**9)
    table, person = chance.choice(TABLES), f"{chance.choice(PEOPLE)}@example.com"

    def publish() -> None:
        (shop.folder / f"{table}.csv").write_text(f"n\n{count}\n{count + 1}\n")
        shop.sync()

    def grant() -> None:
        shop.send("POST", "/api/admin/permissions", {"user": person, "table": f"shop.{table}"})

    def revoke() -> None:
        for permission in shop.ask("GET", "/api/admin/permissions")["permissions"]:
            shop.ask("DELETE", f"/api/admin/permissions/{permission['id']}")

    def define() -> None:
        shop.ask("PUT", f"/api/admin/glossary/t{count % 3}", {"definition": str(count)})

    def remove() -> None:
        shop.send("DELETE", f"/api/admin/tables/shop.{table}")

    def roll_back() -> None:
        number = shop.ask("GET", "/api/snapshots")["snapshots"][-1]["snapshot"]
        shop.send("POST", f"/api/admin/snapshots/{number}/rollback", {})

    def sweep() -> None:
        shop.ask("POST", "/sweep", {})

    return chance.choice([publish, publish, grant, revoke, define, remove, roll_back, sweep])


@settings(max_examples=examples(3))
@given(seed=st.integers(0, 2**32))
def test_random_operations_a_backup_at_any_moment_a_restore_elsewhere(
    seed: int, begun_shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance, folder = random.Random(seed), tmp_path_factory.mktemp("model")
    shop = copy_of(begun_shop, folder / "old")
    for _ in range(chance.randint(0, 3)):
        operations(shop, chance)()
    shop.remember()
    is_quiet = chance.random() < 0.5
    moments = {} if is_quiet else {chance.randint(1, 40): operations(shop, chance) for _ in range(2)}

    def happening(change: Callable[[], None]) -> Callable[[], None]:
        def happen() -> None:
            change()
            shop.remember()

        return happen

    store = Interrupted(shop.process.store, {at: happening(change) for at, change in moments.items()})
    made = backup(shop, store)
    new = elsewhere(folder / "new")
    copy_data(shop.process.store, new.process.store, made)
    archive = archive_of(shop, made)
    for after in (True, False):  # a crash in the middle is repeated
        with pytest.raises(Killed):
            die(new, archive, left=chance.randint(0, 8), after=after)
        release(new)
    answer = send(new, archive, replace=True)
    assert answer.status_code == 200, answer.text
    found = as_seen(new, shop)
    for part in ("users", "sources", "grants"):
        assert found[part] in [seen[part] for seen in shop.seen]
    for who in ("admin", *PEOPLE):
        for table_id, table in found[who].items():
            assert table in [seen["admin"].get(table_id) for seen in shop.seen], table_id
            for path, sha256 in table["files"]:
                there = new.process.store.read(path)
                assert there is not None
                assert hashlib.sha256(there.data).hexdigest() == sha256
    if is_quiet:
        assert found == shop.seen[-1]


def die(world: World, archive: bytes, *, left: int, after: bool) -> None:
    """Restore, and die at a write."""
    sha256 = hashlib.sha256(archive).hexdigest()
    Parts(world.process.store).keep(sha256, [archive])
    store = Mortal(world.process.store, left=left, after=after)
    now = world.process.clock
    state = State(store, now, published=lambda: None)
    rebuilding = Rebuild(store, now, lambda: ())
    restoring = Restoring(store, state, rebuilding, Parts(store), Actor(None, now()))
    restoring.run(RestoreRequest(sha256=sha256, parts=(sha256,), replace=True))
    raise Killed  # it had fewer writes


def release(world: World) -> None:
    """Let the lease of a process that died end."""
    world.process.store.delete("locks/rebuild.json")
