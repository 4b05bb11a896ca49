"""When an access token was used last."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from werkzeug.test import Client

from analyst.auth.last_use import USES, LastUses
from analyst.store import Condition
from tests.doubles.memory_store import MemoryStore
from tests.integration.auth.installation import Installation


def last_used(installed: Installation) -> object:
    headers = {"Authorization": f"Bearer {installed.admin_token}"}
    answer = Client(installed.app).get("/auth/tokens", headers=headers)
    installed.process.last_uses.write()
    (token,) = answer.get_json()["tokens"]
    return token["last_used_on"]


def test_the_last_use_is_recorded_as_a_day() -> None:
    installed = Installation()
    installed.admin()
    last_used(installed)
    assert last_used(installed) == "2026-03-01"
    installed.now += timedelta(days=3)
    last_used(installed)
    assert last_used(installed) == "2026-03-04"
    assert len(list(installed.store.list(USES))) == 2


def test_a_refused_call_counts_as_use_and_an_unknown_token_does_not() -> None:
    installed = Installation()
    installed.admin()
    Client(installed.app).get("/api/me", headers={"Authorization": "Bearer da_stranger"})
    installed.process.last_uses.write()
    assert list(installed.store.list(USES)) == []


def test_the_last_use_is_written_when_the_process_ends() -> None:
    installed = Installation()
    token = installed.admin()
    assert Client(installed.app).get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert list(installed.store.list(USES)) == []
    installed.process.close()
    assert len(list(installed.store.list(USES))) == 1


def test_uses_of_a_few_seconds_are_written_together_and_each_once_a_day() -> None:
    waiting: list[Callable[[], None]] = []
    store, now = MemoryStore(), datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    uses = LastUses(store, later=lambda _, work: waiting.append(work))
    for token in ("a", "b", "a"):
        uses.saw(token, now)
    assert (len(waiting), list(store.list(USES))) == (1, [])
    waiting.pop()()
    uses.saw("a", now)
    assert waiting == []
    uses.saw("a", now + timedelta(minutes=1))
    waiting.pop()()
    keys = [entry.key.removeprefix(USES) for entry in store.list(USES)]
    assert keys == ["a/2026-03-01", "a/2026-03-02", "b/2026-03-01"]


def test_the_end_of_a_process_waits_for_uses_that_are_being_written() -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
            inside.set()
            assert go_on.wait(60)
            return super().put(key, data, if_version=if_version)

    uses = LastUses(Slow(), later=lambda *_: None)
    uses.saw("a", datetime(2026, 3, 1, tzinfo=UTC))
    writing, ending = (threading.Thread(target=uses.write) for _ in range(2))
    writing.start()
    assert inside.wait(60)
    ending.start()
    ending.join(0.2)
    assert ending.is_alive()
    go_on.set()
    for each in (writing, ending):
        each.join(60)
    assert not ending.is_alive()


def test_without_another_thread_the_last_use_is_written_at_once() -> None:
    def fail(seconds: float, work: Callable[[], None]) -> None:
        raise RuntimeError(f"can't start new thread for {work} in {seconds} s")

    store, now = MemoryStore(), datetime(2026, 3, 1, tzinfo=UTC)
    uses = LastUses(store, later=fail)
    for token in ("a", "b"):
        uses.saw(token, now)
    assert [entry.key.removeprefix(USES) for entry in store.list(USES)] == ["a/2026-03-01", "b/2026-03-01"]
