"""A large access list is published in parts, of which an edit writes those that it changes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection

from analyst.access import CURRENT, AccessList, AccessReader, Role, StatePointer
from analyst.access.parts import PREFIX, parse_list
from analyst.access.reader import list_text
from analyst.state import Actor, State
from analyst.state.grants import NewPermission, create_permission
from analyst.state.groups import NewGroup, add_member, create_group, delete_group, get_group
from analyst.state.projection import project, project_parts, rows_behind
from analyst.state.registry import NewTable, TableChange, deregister, register, update_table
from analyst.state.rows import insert
from analyst.state.sources import NewSource, create_source
from analyst.state.users import NewUser, UserChange, create_user, end_session, get_user, update_user
from analyst.store import ANY, Condition, Object, Store
from analyst.sweep import Sweep
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import Around

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BY = Actor("u-root", NOW, "req-1")

Change = Callable[[DuckDBPyConnection], object]


def person(db: DuckDBPyConnection, name: str) -> str:
    return get_user(db, f"{name}@example.com").id


def permit(name: str, **what: str) -> Change:
    return lambda db: create_permission(db, BY, NewPermission(user=f"{name}@example.com", **what))


def add_group(name: str) -> Change:
    return lambda db: create_group(db, BY, NewGroup(name=name))


def fill(db: DuckDBPyConnection) -> None:
    create_source(db, BY, NewSource(name="shop", type="csv"), {})
    for name in ("root", "ann", "bob"):
        create_user(db, BY, NewUser(email=f"{name}@example.com", role=Role.ADMIN if name == "root" else Role.ANALYST))
    for name in ("orders", "items"):
        register(db, BY, NewTable(id=f"shop.{name}"), {}, public=False)
    group = create_group(db, BY, NewGroup(name="sales"))
    add_member(db, BY, group.id, person(db, "ann"))


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "nothing": (lambda _db: None, set()),
    "a grant": (permit("bob", table="shop.orders"), {"people-0"}),
    "a role": (lambda db: update_user(db, BY, UserChange(id=person(db, "bob"), role=Role.ADMIN)), {"people-0"}),
    "a user who leaves": (
        lambda db: update_user(db, BY, UserChange(id=person(db, "ann"), active=False)),
        {"people-0"},
    ),
    "a session that ends": (
        lambda db: end_session(db, BY, "s-1", person(db, "bob"), NOW + timedelta(days=1)),
        {"people-0"},
    ),
    "a group": (add_group("ops"), {"groups-0"}),
    "a group's grant": (
        lambda db: create_permission(db, BY, NewPermission(group="sales", source="shop")),
        {"groups-0"},
    ),
    "a group that goes": (lambda db: delete_group(db, BY, get_group(db, "sales").id), {"people-0"}),
    "a table's rights": (
        lambda db: update_table(db, BY, TableChange(id="shop.orders", is_public=True), {}),
        {"tables-0"},
    ),
    "a table that goes": (lambda db: deregister(db, BY, "shop.items"), {"tables-0"}),
}


def state_in(store: Store, *, largest_whole: int = 0, now: datetime = NOW) -> State:
    return State(store, lambda: now, sleep=lambda _: None, largest_whole=largest_whole)


def pointer(store: Store) -> StatePointer:
    found = store.read(CURRENT)
    assert found is not None
    return StatePointer.model_validate_json(found.data)


def read(store: Store) -> AccessList:
    return AccessReader(store, 0, lambda: 0.0).current()


def wanted(store: Store) -> AccessList:
    """Make the list again from the published state."""
    with state_in(store).read() as db:
        return AccessList.model_validate_json(project(db, pointer(store).version, NOW))


def names(store: Store) -> set[str]:
    return {entry.key for entry in store.list(PREFIX)}


@pytest.fixture(scope="module")
def prepared() -> MemoryStore:
    store = MemoryStore()
    state_in(store).edit(fill)
    return store


@pytest.fixture
def filled(prepared: MemoryStore) -> MemoryStore:
    return copy_of(prepared)


def copy_of(prepared: MemoryStore) -> MemoryStore:
    store = MemoryStore()
    store.hold(prepared)
    return store


@pytest.mark.parametrize("what", CHANGES)
def test_an_edit_writes_the_parts_that_it_changes(filled: MemoryStore, what: str) -> None:
    change, parts = CHANGES[what]
    before = names(filled)
    state_in(filled).edit(change)
    assert {key.rpartition("/")[2][27:].removesuffix(".json") for key in names(filled) - before} == parts
    assert read(filled) == wanted(filled)


def test_a_list_is_split_into_parts_when_it_has_grown_and_merged_when_it_has_shrunk(filled: MemoryStore) -> None:
    for largest_whole in (1_000, 0, 1_000):
        state_in(filled, largest_whole=largest_whole).edit(lambda _db: None)
        assert set(pointer(filled).sha256) == {"system", "access" if largest_whole else "access_parts"}
        assert read(filled) == wanted(filled)


def test_a_token_that_expires_leaves_its_part(filled: MemoryStore) -> None:
    def issue(db: DuckDBPyConnection) -> None:
        times = {"created_at": NOW, "expires_at": NOW + timedelta(hours=1)}
        about = {"id": "t", "user_id": person(db, "bob"), "name": "t", "prefix": "da_", "scopes": '["read"]'}
        insert(db, "tokens", {**about, "sha256": "0" * 64, **times})

    state_in(filled).edit(issue)
    assert set(read(filled).tokens) == {"0" * 64}
    state_in(filled, now=NOW + timedelta(hours=2)).edit(lambda _db: None)
    assert not read(filled).tokens


def test_many_parts_have_few_rows_each_and_a_change_writes_one() -> None:
    def change(db: DuckDBPyConnection) -> tuple[int, list[str]]:
        fill(db)
        db.execute(
            "insert into users by name select 'u' || i as id, id || '@x' as email, 'analyst' as role from range(500) t(i)"
        )
        rows = {kind: rows * 100 for kind, rows in rows_behind(db, NOW).items()}
        before, written = project_parts(db, 1, NOW, rows, before=None, prefix="0" * 26)
        permit("bob", source="shop")(db)
        _, changed = project_parts(db, 2, NOW, rows, before=before, prefix="1" * 26)
        return len(written), [*changed]

    number, changed = state_in(MemoryStore()).edit(change)
    assert number > 16
    assert len(changed) == 1


class Crash(BaseException):
    """The process dies."""


@dataclass
class Dying(Around):
    """A store whose process dies before or after its nth write."""

    steps: int = 0
    taken: int = field(default=0, init=False)

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.steps:
            raise Crash

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self.step()
        version = super().put(key, data, if_version=if_version)
        self.step()
        return version

    def upload(self, key: str, path: Path) -> str:
        self.step()
        version = super().upload(key, path)
        self.step()
        return version


def everything(db: DuckDBPyConnection) -> None:
    """Change an entry of each kind of part."""
    for what in ("a grant", "a group", "a table's rights"):
        CHANGES[what][0](db)


@pytest.mark.slow
def test_an_edit_that_dies_at_any_write_leaves_the_old_list_or_the_new_one(prepared: MemoryStore) -> None:
    old = read(prepared)
    died = 0
    while True:
        store = copy_of(prepared)
        try:
            state_in(Dying(store, steps=died + 1)).edit(everything)
        except Crash:
            died += 1
        else:
            break
        found = read(store)
        assert found == wanted(store)
        assert found.version in (1, 2)
        assert (found == old) == (found.version == 1)
        if died % 4 == 0:
            state_in(store).edit(add_group("later"))
            assert read(store) == wanted(store)
    assert died == 2 * (1 + 3 + 1 + 1), "the state, three parts, their list, the pointer"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"users": []}', None])
def test_a_damaged_part_is_written_again(filled: MemoryStore, damage: bytes | None) -> None:
    key = min(names(filled))
    filled.delete(key)
    if damage is not None:
        filled.put(key, damage, if_version=ANY)
    reader = AccessReader(filled, 0, lambda: 0.0, state_in(filled).renew)
    assert reader.current() == wanted(filled)
    assert key not in named(filled)


def named(store: Store) -> frozenset[str]:
    place = pointer(store)
    return parse_list(list_text(store, place), place.access).keys


def test_a_reader_whose_parts_were_deleted_reads_the_next_list(filled: MemoryStore) -> None:
    @dataclass
    class Slow(Around):
        """A store in which an edit and a sweep come between the pointer and the parts."""

        between: bool = True

        def read(self, key: str, *, unless: str | None = None) -> Object | None:
            if key.startswith(PREFIX) and self.between:
                self.between = False
                before = named(filled)
                state_in(filled).edit(everything)
                for gone in before - named(filled):
                    filled.delete(gone)
            return super().read(key, unless=unless)

    access = read(Slow(filled))
    assert access.version == 2
    assert access == wanted(filled)


def test_a_reader_keeps_parts_that_have_not_changed(filled: MemoryStore) -> None:
    @dataclass
    class Counting(Around):
        """A store that lists what is read."""

        keys: list[str] = field(default_factory=list)

        def read(self, key: str, *, unless: str | None = None) -> Object | None:
            self.keys.append(key)
            return super().read(key, unless=unless)

    counting = Counting(filled)
    reader = AccessReader(counting, 0, lambda: 0.0)
    reader.current()
    assert sum(key.startswith(PREFIX) for key in counting.keys) == 3
    counting.keys.clear()
    state_in(filled).edit(CHANGES["a grant"][0])
    assert reader.current() == wanted(filled)
    assert [key[: len(PREFIX)] for key in counting.keys] == [CURRENT, PREFIX]


def test_a_sweep_deletes_parts_that_no_recent_list_names() -> None:
    class Clock:
        seconds = NOW.timestamp()

        def __call__(self) -> float:
            return self.seconds

    clock = Clock()
    store = MemoryStore(clock)
    state_in(store).edit(fill)
    first = names(store)
    for number in range(6):
        clock.seconds += 60
        state_in(store).edit(add_group(f"g{number}"))
    clock.seconds += 60
    assert Sweep(store, timedelta(hours=24)).run().deleted == 0
    clock.seconds += 2 * 86_400
    Sweep(store, timedelta(hours=24)).run()
    left = names(store)
    assert len(left) == 2 + 3, "the parts of people and tables of the first edit, and the groups of the last three"
    assert len(first & left) == 2
    assert read(store) == wanted(store)
