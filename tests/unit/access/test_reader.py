"""The access list is current, or the answer is that it is unavailable."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from analyst.access import CURRENT, AccessList, AccessReader, Role, StatePointer, Token, User, digest
from analyst.errors import UnauthenticatedError, UnavailableError
from analyst.store import ABSENT, ANY, Object, Store
from tests.doubles.wrapped_store import Around

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class FailingStore(Around):
    """A store that counts reads, can be down, and can be held up in the middle of a read."""

    down: bool = False
    reads: int = 0
    meanwhile: Callable[[], None] = lambda: None

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        if self.down:
            raise UnavailableError("the store is down")
        found = super().read(key, unless=unless)
        if key == CURRENT:
            self.reads += 1
            self.meanwhile()
        return found


@dataclass
class World:
    """A store, a clock, and a reader of both."""

    store: FailingStore
    max_age: float = 5.0
    seconds: float = 1000.0

    def __post_init__(self) -> None:
        self.reader = AccessReader(self.store, self.max_age, lambda: self.seconds)

    def publish(self, version: int, *tokens: str) -> None:
        known = {digest(token): Token(user="u", id=token) for token in tokens}
        user = User(email="ann@example.com", role=Role.VIEWER)
        data = AccessList(version=version, users={"u": user}, tokens=known).model_dump_json().encode()
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"state/access-{sha256}.json"
        if self.store.head(key) is None:
            self.store.put(key, data, if_version=ABSENT)
        pointer = StatePointer(version=version, system="state/s.duckdb", access=key, sha256={"access": sha256})
        self.store.put(CURRENT, pointer.model_dump_json().encode(), if_version=ANY)


@pytest.fixture
def store(quick_store: Store) -> FailingStore:
    return FailingStore(quick_store)


@pytest.fixture
def world(store: FailingStore) -> World:
    return World(store)


def test_without_a_state_nobody_may_do_anything(world: World) -> None:
    assert world.reader.current() == AccessList()


def test_a_list_is_used_until_it_reaches_max_age(world: World) -> None:
    world.publish(1)
    assert world.reader.current().version == 1
    world.publish(2)
    world.seconds += 4.9
    assert world.reader.current().version == 1
    world.seconds += 0.1
    assert world.reader.current().version == 2


def test_an_unchanged_list_is_not_fetched_again(world: World) -> None:
    world.publish(1)
    first = world.reader.current()
    world.seconds += 6
    assert world.reader.current() is first


def test_the_age_counts_from_when_the_fetch_began(world: World) -> None:
    world.publish(1)

    def slow() -> None:
        world.seconds += 4
        world.publish(2)

    world.store.meanwhile = slow
    assert world.reader.current().version == 1
    world.store.meanwhile = lambda: None
    world.seconds += 1.1
    assert world.reader.current().version == 2


def test_an_edit_of_this_process_is_seen_at_once(world: World) -> None:
    world.publish(1)
    world.reader.current()
    world.publish(2)
    world.reader.expire()
    assert world.reader.current().version == 2


def test_an_edit_during_a_fetch_is_seen_by_the_next_answer(world: World) -> None:
    world.publish(1)

    def edit() -> None:
        world.store.meanwhile = lambda: None
        world.publish(2)
        world.reader.expire()

    world.store.meanwhile = edit
    world.reader.current()
    assert world.reader.current().version == 2


def test_with_a_max_age_of_zero_every_answer_checks_for_a_newer_list(store: FailingStore) -> None:
    world = World(store, max_age=0)
    world.publish(1)
    world.reader.current()
    world.publish(2)
    assert world.reader.current().version == 2


def test_the_last_list_is_used_for_a_minute_while_the_store_is_down(world: World) -> None:
    world.publish(1)
    world.reader.current()
    world.store.down = True
    world.seconds += 60
    assert world.reader.current().version == 1
    world.seconds += 0.1
    with pytest.raises(UnavailableError) as raised:
        world.reader.current()
    assert str(raised.value.__cause__) == "the store is down"


def test_the_reader_recovers_when_the_store_does(world: World) -> None:
    world.publish(1)
    world.store.down = True
    with pytest.raises(UnavailableError):
        world.reader.current()
    world.store.down = False
    world.seconds += 1
    assert world.reader.current().version == 1


def test_a_failing_store_is_asked_once_a_second(world: World) -> None:
    world.publish(1)
    world.reader.current()
    world.seconds += 6
    world.store.down = True
    world.reader.current()
    world.store.down = False
    before = world.store.reads
    world.seconds += 0.9
    world.reader.current()
    assert world.store.reads == before
    world.seconds += 0.1
    world.reader.current()
    assert world.store.reads == before + 1


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"version": 2}', b"\xff"])
def test_a_damaged_pointer_is_an_outage_not_a_way_in(world: World, damage: bytes) -> None:
    world.store.put(CURRENT, damage, if_version=ANY)
    with pytest.raises(UnavailableError):
        world.reader.current()


def test_a_list_that_differs_from_its_pointer_is_not_used(world: World) -> None:
    world.publish(1, "da_good")
    (key,) = (entry.key for entry in world.store.list("state/access-"))
    world.store.put(key, AccessList(version=9).model_dump_json().encode(), if_version=ANY)
    with pytest.raises(UnavailableError) as raised:
        world.reader.current()
    assert "damaged" in str(raised.value.__cause__)


def test_a_token_created_by_another_process_works_at_once(world: World) -> None:
    world.publish(1)
    world.reader.current()
    world.publish(2, "da_new")
    assert world.reader.caller_of("da_new", NOW).token_id == "da_new"


def test_unknown_tokens_cause_only_a_few_fetches_per_second(world: World) -> None:
    world.publish(1)
    world.reader.current()
    before = world.store.reads
    for number in range(100):
        world.seconds += 0.001
        with pytest.raises(UnauthenticatedError):
            world.reader.caller_of(f"da_{number}", NOW)
    assert world.store.reads - before == 5
    world.seconds += 1
    world.publish(2, "da_new")
    assert world.reader.caller_of("da_new", NOW).token_id == "da_new"


def test_a_token_that_is_not_ours_causes_no_fetch(world: World) -> None:
    world.publish(1)
    world.reader.current()
    before = world.store.reads
    with pytest.raises(UnauthenticatedError):
        world.reader.caller_of("eyJhbGciOi", NOW)
    assert world.store.reads == before


def test_threads_share_one_fetch(world: World) -> None:
    world.publish(1)
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        assert go_on.wait(60)

    world.store.meanwhile = hold
    threads = [threading.Thread(target=world.reader.current) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert inside.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert world.store.reads == 1
