"""An edit happens once, whatever interferes and whichever answers get lost."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

import duckdb
import pytest
from duckdb import DuckDBPyConnection

from analyst.access import CURRENT, AccessList, AccessReader, StatePointer
from analyst.errors import NotFoundError, UnavailableError
from analyst.state import Actor, State
from analyst.state.groups import NewGroup, create_group, list_groups
from analyst.store import ANY, Condition, Object, Store, StoreConflictError, UnsureWriteError
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import Around


@dataclass
class ScriptedStore(Around):
    """A store whose writes of the pointer go as a script says, one word each, then well.

    `lost`: written, without an answer. `dropped`: not written, without an answer. `late`: written, without an answer,
    right before the next write. `down`: nothing answers from then on.
    """

    script: list[str] = field(default_factory=list)
    late: Callable[[], str] | None = None
    before: Callable[[], None] = lambda: None
    down: bool = False

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        if key != CURRENT:
            return super().put(key, data, if_version=if_version)
        before, self.before = self.before, lambda: None
        before()
        if self.late is not None:
            late, self.late = self.late, None
            late()
        word = self.script.pop(0) if self.script else "well"
        if word == "late":
            self.late = lambda: self.inner.put(key, data, if_version=if_version)
        if word in ("lost", "well"):
            version = super().put(key, data, if_version=if_version)
        if word == "well":
            return version
        self.down = word == "down"
        raise UnsureWriteError(f"no answer ({word})")

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        if self.down:
            raise UnavailableError("the store is down")
        return super().read(key, unless=unless)


@pytest.fixture
def scripted(store: Store) -> ScriptedStore:
    return ScriptedStore(store)


def state_in(store: Store, now: datetime) -> State:
    return State(store, lambda: now, sleep=lambda _: None)


def add(actor: Actor, name: str) -> Callable[[DuckDBPyConnection], str]:
    return lambda db: create_group(db, actor, NewGroup(name=name)).id


def edit(state: State, change: Callable[[DuckDBPyConnection], object]) -> None:
    state.edit(change)


def names(state: State) -> list[str]:
    with state.read() as db:
        return [group.name for group in list_groups(db)]


def pointer(store: Store) -> StatePointer:
    found = store.read(CURRENT)
    assert found is not None
    return StatePointer.model_validate_json(found.data)


def system_size(store: Store) -> int:
    found = store.head(pointer(store).system)
    assert found is not None
    return found.size


def test_edits_are_visible_to_later_reads(state: State, actor: Actor) -> None:
    assert names(state) == []
    id_ = state.edit(add(actor, "sales"))
    with state.read() as db:
        assert [group.id for group in list_groups(db)] == [id_]


def test_the_pointer_contains_the_hashes_of_the_published_pair(state: State, store: Store, actor: Actor) -> None:
    state.edit(add(actor, "sales"))
    state.edit(add(actor, "ops"))
    current = pointer(store)
    assert current.version == 2
    assert len(current.recent) == 2
    for kind, key in (("system", current.system), ("access", current.access)):
        found = store.read(key)
        assert found is not None
        assert hashlib.sha256(found.data).hexdigest() == current.sha256[kind]
    access = store.read(current.access)
    assert access is not None
    assert sorted(AccessList.model_validate_json(access.data).groups.values()) == ["ops", "sales"]


def test_an_edit_that_fails_changes_nothing(state: State, store: Store, actor: Actor) -> None:
    def change(db: DuckDBPyConnection) -> None:
        create_group(db, actor, NewGroup(name="sales"))
        raise NotFoundError("something else")

    with pytest.raises(NotFoundError):
        state.edit(change)
    assert list(store.list("")) == []


def test_a_state_stays_small_however_often_it_is_edited(state: State, store: Store, actor: Actor) -> None:
    state.edit(add(actor, "first"))
    sizes = [system_size(store)]
    for number in range(12):
        state.edit(add(actor, f"group {number}"))
        sizes.append(system_size(store))
    assert max(sizes) < 2.5 * sizes[0]
    assert len(names(state)) == 13


def test_an_edit_that_duckdb_aborts_is_repeated_in_a_fresh_file(state: State, actor: Actor) -> None:
    state.edit(add(actor, "sales"))
    runs = count(1)

    def change(db: DuckDBPyConnection) -> str:
        made = create_group(db, actor, NewGroup(name="ops"))
        if next(runs) == 1:
            raise duckdb.FatalException("an index is damaged")
        return made.id

    id_ = state.edit(change)
    with state.read() as db:
        assert {group.name: group.id for group in list_groups(db)}["ops"] == id_
    assert (names(state), next(runs)) == (["ops", "sales"], 3)


def with_damaged_index(path: Path) -> Path:
    """Write a file whose table `t` has keys that its index doesn't know: DuckDB never works again after a deletion there."""
    with duckdb.connect() as con:
        con.execute(f"attach '{path}' as file (storage_version 'v1.0.0', block_size 16384)")
        con.execute("create table file.t (id varchar primary key)")
        con.execute("insert into file.t select 'key-number-' || (range * 7919 % 100003) from range(200)")
    data = bytearray(path.read_bytes())
    start = next(at for at in range(12288, len(data), 16384) if b"key-number-" in data[at : at + 16384])
    block = data[start + 8 : start + 16384].replace(b"key-number-", b"kez-number-")
    checksum = 5381
    for (word,) in struct.iter_unpack("<Q", block):
        checksum ^= word * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    data[start : start + 16384] = struct.pack("<Q", checksum) + block
    path.write_bytes(data)
    return path


def test_readers_and_edits_continue_after_an_edit_that_invalidates_the_database(
    state: State, actor: Actor, tmp_path: Path
) -> None:
    state.edit(add(actor, "sales"))
    assert names(state) == ["sales"]  # this version stays open
    damaged = with_damaged_index(tmp_path / "damaged.duckdb")

    def break_off(db: DuckDBPyConnection) -> None:
        db.execute(f"attach if not exists '{damaged}' as damaged")
        db.execute("delete from damaged.t")
        db.execute("commit")

    with pytest.raises(duckdb.FatalException):
        state.edit(break_off)
    assert (names(state), state.derived(group_names)) == (["sales"], ["sales"])
    state.edit(add(actor, "ops"))
    assert (names(state), state.derived(group_names)) == (["ops", "sales"], ["ops", "sales"])


def group_names(db: DuckDBPyConnection) -> list[str]:
    return sorted(group.name for group in list_groups(db))


def test_an_edit_that_fails_in_a_fresh_file_too_is_an_error(state: State, store: Store, actor: Actor) -> None:
    state.edit(add(actor, "sales"))
    before = pointer(store)
    with pytest.raises(duckdb.Error):
        state.edit(lambda db: db.execute("from nowhere"))
    assert pointer(store) == before


def test_an_edit_that_conflicts_with_another_runs_again(scripted: ScriptedStore, now: datetime, actor: Actor) -> None:
    state, other = state_in(scripted, now), state_in(scripted, now)
    scripted.before = lambda: edit(other, add(actor, "ops"))
    state.edit(add(actor, "sales"))
    assert names(state) == ["ops", "sales"]
    assert pointer(scripted).version == 2


def test_a_repeated_edit_publishes_only_its_last_result(scripted: ScriptedStore, now: datetime, actor: Actor) -> None:
    state, other = state_in(scripted, now), state_in(scripted, now)
    scripted.before = lambda: edit(other, add(actor, "ops"))
    runs = count(1)
    assert state.edit(lambda _: next(runs)) == 2


@pytest.mark.parametrize("word", ["lost", "dropped", "late"])
def test_an_edit_without_an_answer_happens_once(
    scripted: ScriptedStore, word: str, now: datetime, actor: Actor
) -> None:
    scripted.script = [word]
    state = state_in(scripted, now)
    id_ = state.edit(add(actor, "sales"))
    with state.read() as db:
        assert [(group.name, group.id) for group in list_groups(db)] == [("sales", id_)]


def test_others_may_build_on_an_edit_whose_answer_was_lost(
    scripted: ScriptedStore, now: datetime, actor: Actor
) -> None:
    scripted.script = ["lost"]
    other = state_in(scripted, now)
    state = State(scripted, lambda: now, sleep=lambda _: edit(other, add(actor, "ops")))
    runs = count(1)
    assert state.edit(lambda db: (create_group(db, actor, NewGroup(name="sales")), next(runs))[1]) == 1
    assert names(state) == ["ops", "sales"]


def test_many_lost_answers_in_a_row_do_not_repeat_an_edit(scripted: ScriptedStore, now: datetime, actor: Actor) -> None:
    scripted.script = ["dropped", "late", "dropped", "lost"]
    state = state_in(scripted, now)
    state.edit(add(actor, "sales"))
    assert names(state) == ["sales"]


def test_an_edit_whose_result_cannot_be_read_back_is_reported_as_unsure(
    scripted: ScriptedStore, now: datetime, actor: Actor
) -> None:
    scripted.script = ["down"]
    with pytest.raises(UnsureWriteError, match="check whether the change is there before you repeat it"):
        state_in(scripted, now).edit(add(actor, "sales"))


def test_a_crash_before_the_pointer_is_swapped_leaves_the_state_as_it_was(
    scripted: ScriptedStore, now: datetime, actor: Actor
) -> None:
    class Crash(BaseException):
        pass

    def crash() -> None:
        raise Crash

    state = state_in(scripted, now)
    state.edit(add(actor, "sales"))
    scripted.before = crash
    with pytest.raises(Crash):
        state.edit(add(actor, "ops"))
    assert names(state_in(scripted, now)) == ["sales"]
    state_in(scripted, now).edit(add(actor, "ops"))
    assert names(state) == ["ops", "sales"]


def test_an_edit_that_always_loses_gives_up(now: datetime, actor: Actor) -> None:
    class Losing(MemoryStore):
        url = "elsewhere://bucket"  # where attempts are a second and more apart, hence few

        def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
            if key == CURRENT:
                raise StoreConflictError("somebody came between")
            return super().put(key, data, if_version=if_version)

    state = State(Losing(), lambda: now, sleep=lambda _: None)
    with pytest.raises(UnavailableError, match="other processes change it"):
        state.edit(add(actor, "sales"))


def test_this_process_sees_its_own_edit_in_the_access_list(store: Store, now: datetime, actor: Actor) -> None:
    reader = AccessReader(store, 60, lambda: 0.0)
    state = State(store, lambda: now, published=reader.expire)
    assert reader.current().version == 0
    state.edit(add(actor, "sales"))
    assert reader.current().version == 1


def test_a_reader_keeps_its_version_while_the_next_is_published(state: State, actor: Actor) -> None:
    state.edit(add(actor, "sales"))
    with state.read() as before:
        state.edit(add(actor, "ops"))
        assert names(state) == ["ops", "sales"]
        assert [group.name for group in list_groups(before)] == ["sales"]


def test_readers_cannot_write(state: State, actor: Actor) -> None:
    state.edit(add(actor, "sales"))
    with state.read() as db, pytest.raises(Exception, match="read-only"):
        db.execute("delete from groups")


class Counting(Around):
    downloads = 0

    def download(self, key: str, path: Path) -> str:
        self.downloads += 1
        return super().download(key, path)


def test_an_unchanged_state_is_downloaded_once(store: Store, now: datetime, actor: Actor) -> None:
    counting = Counting(store)
    state_in(counting, now).edit(add(actor, "sales"))
    state = state_in(counting, now)
    assert [names(state) for _ in range(3)] == [["sales"]] * 3
    assert counting.downloads == 1


def test_what_an_edit_wrote_is_read_without_a_download_until_another_process_edits(
    store: Store, now: datetime, actor: Actor
) -> None:
    counting = Counting(store)
    state = state_in(counting, now)
    state.edit(add(actor, "sales"))
    assert (names(state), counting.downloads) == (["sales"], 0)
    state_in(store, now).edit(add(actor, "ops"))
    assert (names(state), counting.downloads) == (["ops", "sales"], 1)


@pytest.mark.parametrize("damage", [b"", b"no database", b"\x00" * 5000])
def test_a_damaged_state_is_refused_and_not_replaced(state: State, store: Store, actor: Actor, damage: bytes) -> None:
    state.edit(add(actor, "sales"))
    store.put(pointer(store).system, damage, if_version=ANY)
    before = pointer(store)
    with pytest.raises(UnavailableError, match="damaged"):
        state.edit(add(actor, "ops"))
    assert pointer(store) == before


def test_a_state_whose_file_is_missing_is_not_empty(state: State, store: Store, actor: Actor) -> None:
    state.edit(add(actor, "sales"))
    store.delete(pointer(store).system)
    with pytest.raises(UnavailableError, match="missing"):
        state.edit(add(actor, "ops"))
