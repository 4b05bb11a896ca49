"""The archive returns every event as it came, however often it was stored and compacted."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.connectors.jira.inbox.archive import Archive, Archived
from analyst.connectors.jira.inbox.inbox import Received
from analyst.store import ANY
from tests.doubles.memory_store import MemoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def event(name: str, body: bytes = b"{}", at: datetime = NOON) -> Received:
    return Received(f"{at:%Y-%m-%dT%H-%M}/{name}.json", body)


def archive() -> Archive:
    return Archive(MemoryStore(), "jira")


def keys(archive: Archive) -> list[str]:
    return [entry.key for entry in archive.store.list(archive.prefix)]


@given(bodies=st.lists(st.binary(max_size=50) | st.text(max_size=50).map(str.encode), max_size=5))
def test_bodies_are_read_back_byte_for_byte(bodies: list[bytes]) -> None:
    events = [event(f"e{number}", body) for number, body in enumerate(bodies)]
    made = archive()
    made.put(Archived(one) for one in events)
    assert list(made.events([])) == events


def test_each_hour_has_objects_of_its_own() -> None:
    made = archive()
    made.put([Archived(event("b", at=NOON + HOUR)), Archived(event("a"))])
    assert [key.rpartition("/")[2][:13] for key in keys(made)] == ["2026-03-01T12", "2026-03-01T13"]
    assert [one.name for one in made.events([], until=NOON)] == ["2026-03-01T12-00/a.json"]
    assert [one.name for one in made.events([], since=NOON + HOUR)] == ["2026-03-01T13-00/b.json"]


def test_an_event_stored_twice_is_read_once() -> None:
    made = archive()
    for _ in range(2):
        made.put([Archived(event("a"), "it was too large")])
    assert len(keys(made)) == 1
    assert len(list(made.events([]))) == 1


def test_a_past_hour_is_gathered_without_losing_an_event() -> None:
    made = archive()
    for number in range(5):
        made.put([Archived(event(f"e{number}")), Archived(event(f"late{number}", at=NOON + HOUR))])
    before = sorted(one.name for one in made.events([]))
    assert made.gather(NOON + HOUR) == 5
    assert len(keys(made)) == 1 + 5
    assert sorted(one.name for one in made.events([])) == before
    assert made.gather(NOON + HOUR) == 0


def test_a_late_event_of_a_gathered_hour_is_gathered_in_turn() -> None:
    made = archive()
    for name in ("a", "b"):
        made.put([Archived(event(name))])
    made.gather(NOON + HOUR)
    made.put([Archived(event("late"))])
    assert made.gather(NOON + HOUR) == 2
    assert len(keys(made)) == 1
    assert {one.name[-6:] for one in made.events([])} == {"a.json", "b.json", "e.json"}


def test_large_archives_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    made = archive()
    for number in range(6):
        made.put([Archived(event(f"e{number}", bytes(range(256)) * 4))])
    size = max(entry.size for entry in made.store.list(made.prefix))
    monkeypatch.setattr("analyst.connectors.jira.inbox.archive.GATHERED_BYTES", 3 * size)
    made.gather(NOON + HOUR)
    assert len(keys(made)) == 2
    assert len(list(made.events([]))) == 6


def cut(data: bytes) -> bytes:
    return data[:20]


def turned(data: bytes) -> bytes:
    return data.replace(b"2026", b"2025")  # so little is not compressed


DAMAGE: list[Callable[[bytes], bytes]] = [lambda _: b"", lambda _: b"no zstd", cut, turned]


def damage(archive: Archive, how: Callable[[bytes], bytes]) -> bytes:
    """Damage the first object; give what it was."""
    found = archive.store.read(keys(archive)[0])
    assert found is not None
    damaged = how(found.data)
    assert damaged != found.data
    archive.store.put(keys(archive)[0], damaged, if_version=ANY)
    return found.data


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_object_is_reported(how: Callable[[bytes], bytes]) -> None:
    made = archive()
    made.put([Archived(event("a", random.Random(1).randbytes(100)))])
    damage(made, how)
    made.put([Archived(event("b"))])
    damaged: list[str] = []
    assert [one.name for one in made.events(damaged)] == [event("b").name]
    assert len(damaged) == 1


def test_events_merged_during_a_read_are_still_read() -> None:
    made = archive()
    for number in range(4):
        made.put([Archived(event(f"e{number}"))])
    before = {one.name for one in made.events([])}
    reading = made.events([])
    found = {next(reading).name}
    assert made.gather(NOON + HOUR) == 4
    assert found | {one.name for one in reading} == before


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_object_is_not_gathered_and_can_be_restored(how: Callable[[bytes], bytes]) -> None:
    made = archive()
    for number in range(4):
        made.put([Archived(event(f"e{number}"))])
    before, damaged = sorted(one.name for one in made.events([])), keys(made)[0]
    kept = damage(made, how)
    assert [made.gather(NOON + HOUR) for _ in range(2)] == [3, 0]
    assert damaged in keys(made)
    assert len(keys(made)) == 2
    made.store.put(damaged, kept, if_version=ANY)
    assert sorted(one.name for one in made.events([])) == before
