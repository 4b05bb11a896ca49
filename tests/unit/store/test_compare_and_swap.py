import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from analyst.errors import ConflictError, UnavailableError
from analyst.store import ABSENT, Object, UnsureWriteError
from analyst.store.compare_and_swap import FEW, pauses_for, put_once, swap, upload_once
from analyst.store.folder.store import FileStore
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.memory_store import MemoryStore

KEY = "state/current.json"


def holding(store: Any) -> list[str]:
    found = store.read(KEY)
    return [] if found is None else list(json.loads(found.data))


def adding(name: str) -> Callable[[Object | None], bytes]:
    return lambda current: json.dumps([*(json.loads(current.data) if current else []), name]).encode()


def having(name: str) -> Callable[[Object], bool]:
    return lambda current: name in json.loads(current.data)


def add(store: Any, name: str, attempts: int = 4) -> str:
    return swap(store, KEY, adding(name), done=having(name), pauses=[0.0] * (attempts - 1))


def test_an_object_is_created_and_then_changed() -> None:
    store = MemoryStore()
    add(store, "first")
    version = add(store, "second")
    head = store.head(KEY)
    assert head is not None
    assert head.version == version
    assert holding(store) == ["first", "second"]


def test_a_change_is_repeated_on_what_others_wrote_in_the_meantime() -> None:
    inner = MemoryStore()
    add(FaultyStore(inner, puts=[lambda: add(inner, "theirs"), lambda: add(inner, "also theirs")]), "mine")
    assert holding(inner) == ["theirs", "also theirs", "mine"]


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("again", [None, *Fault])
def test_a_change_whose_answer_was_lost_is_made_once(fault: Fault, again: Fault | None) -> None:
    inner = MemoryStore()
    version = add(FaultyStore(inner, puts=[fault, again]), "mine")
    assert holding(inner) == ["mine"]
    head = inner.head(KEY)
    assert head is not None
    assert head.version == version


@pytest.mark.parametrize("fault", Fault)
def test_a_change_whose_answer_was_lost_is_found_in_what_others_built_on_it(fault: Fault) -> None:
    inner = MemoryStore()

    def others_come(_: float) -> None:
        store.land()
        add(inner, "theirs")

    store = FaultyStore(inner, puts=[fault])
    swap(store, KEY, adding("mine"), done=having("mine"), pauses=[0.0], sleep=others_come)
    assert sorted(holding(inner)) == ["mine", "theirs"]


def test_a_late_write_never_undoes_what_came_after_it() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, puts=[Fault.LATE])
    with pytest.raises(UnsureWriteError):
        swap(store, KEY, adding("mine"), done=having("mine"), pauses=[])
    add(inner, "theirs")
    store.land()
    assert holding(inner) == ["theirs"]


@pytest.mark.parametrize("fault", Fault)
def test_the_result_of_the_last_attempt_is_checked_too(fault: Fault) -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, puts=[fault])
    if fault is Fault.AT_ONCE:
        add(store, "mine", attempts=1)
        assert holding(inner) == ["mine"]
    else:
        with pytest.raises(UnsureWriteError):
            add(store, "mine", attempts=1)


def test_a_writer_that_always_loses_is_asked_to_retry() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, puts=[lambda: add(inner, "theirs")] * 9)
    with pytest.raises(UnavailableError, match="can't be written: other processes change it") as caught:
        add(store, "mine", attempts=3)
    assert not isinstance(caught.value, UnsureWriteError)
    assert holding(inner) == ["theirs"] * 3


def test_a_store_that_does_not_answer_is_unavailable_and_the_result_unsure_only_after_a_write() -> None:
    with pytest.raises(UnavailableError) as caught:
        add(FaultyStore(MemoryStore(), reads=[True]), "mine")
    assert not isinstance(caught.value, UnsureWriteError)
    with pytest.raises(UnsureWriteError, match="check whether the change is there"):
        add(FaultyStore(MemoryStore(), puts=[Fault.NEVER], reads=[False, True]), "mine")


def test_an_exception_of_a_change_ends_the_swap() -> None:
    def refuse(_: Object | None) -> bytes:
        raise ConflictError("there is such a group already")

    store = MemoryStore()
    with pytest.raises(ConflictError, match="such a group"):
        swap(store, KEY, refuse, done=having("mine"))
    assert store.head(KEY) is None


def test_pauses_between_attempts_are_as_configured() -> None:
    inner, waits = MemoryStore(), list[float]()
    store = FaultyStore(inner, puts=[lambda: add(inner, "theirs")] * 2)
    swap(store, KEY, adding("mine"), done=having("mine"), pauses=[1.0, 2.0, 3.0], sleep=waits.append)
    assert waits == [1.0, 2.0]


def test_there_are_no_more_attempts_than_configured() -> None:
    inner, waits = MemoryStore(), list[float]()
    store = FaultyStore(inner, puts=[Fault.NEVER] * 9)
    with pytest.raises(UnsureWriteError):
        swap(store, KEY, adding("mine"), done=having("mine"), most=3, sleep=waits.append)
    assert (len(waits), len(store.puts)) == (2, 6)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("again", [None, *Fault])
def test_an_object_written_once_exists_however_often_the_answer_is_lost(
    fault: Fault, again: Fault | None, tmp_path: Path
) -> None:
    inner, path = MemoryStore(), tmp_path / "file"
    path.write_bytes(b"mine")
    store = FaultyStore(inner, puts=[fault, again], uploads=[fault, again])
    put_once(store, "put", b"mine")
    upload_once(store, "uploaded", path)
    store.land()
    for key in ("put", "uploaded"):
        found = inner.read(key)
        assert found is not None
        assert found.data == b"mine"


def test_the_first_of_equal_writers_wins(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "file"
    path.write_bytes(b"mine")
    version = store.put(KEY, b"theirs", if_version=ABSENT)
    put_once(store, KEY, b"mine")
    upload_once(store, KEY, path)
    put_once(store, KEY, b"mine", if_version="another")
    found = store.read(KEY)
    assert found is not None
    assert (found.data, found.version) == (b"theirs", version)
    put_once(store, KEY, b"mine", if_version=version)
    replaced = store.read(KEY)
    assert replaced is not None
    assert replaced.data == b"mine"


def test_an_object_that_cannot_be_written_is_reported_after_a_few_attempts(tmp_path: Path) -> None:
    path, waits = tmp_path / "file", list[float]()
    path.write_bytes(b"mine")
    store = FaultyStore(MemoryStore(), puts=[Fault.NEVER] * 9, uploads=[Fault.NEVER] * 9)
    with pytest.raises(UnsureWriteError, match="no answer to writing"):
        put_once(store, KEY, b"mine", sleep=waits.append)
    with pytest.raises(UnsureWriteError, match="no answer to writing"):
        upload_once(store, KEY, path, sleep=waits.append)
    assert len(store.puts) == len(store.uploads) == 9 - FEW
    assert len(waits) == 2 * (FEW - 1)


def test_pauses_grow_from_milliseconds_in_a_folder_and_from_a_second_elsewhere(tmp_path: Path) -> None:
    class Elsewhere(MemoryStore):
        @property
        def url(self) -> str:
            return "gs://bucket"

    for store, shortest, longest in (
        (MemoryStore(), 0.002, 0.25),
        (FileStore(tmp_path, lambda: b""), 0.002, 0.25),
        (Elsewhere(), 1.0, 16.0),
    ):
        pauses = list(islice(pauses_for(store), 10_000))
        assert all(shortest <= pause <= longest for pause in pauses)
        assert pauses[0] <= shortest * 2
        assert max(pauses) > longest / 2
        assert 60 <= sum(pauses) < 60 + longest


def test_no_simultaneous_change_is_lost(tmp_path: Path) -> None:
    store = FileStore(tmp_path, lambda: b"")
    store.put(KEY, b"[]", if_version=ABSENT)

    def change(number: int) -> None:
        faults = [Fault.NEVER, Fault.AT_ONCE, Fault.LATE, None]
        faulty = FaultyStore(store, puts=[faults[number % 4], faults[number // 4 % 4]])
        swap(faulty, KEY, adding(str(number)), done=having(str(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(32)))
    assert sorted(holding(store), key=int) == [str(number) for number in range(32)]
