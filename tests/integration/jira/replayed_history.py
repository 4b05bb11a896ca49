"""Sends a history to copies of one bucket, in order or in any order, and from the archive of another copy."""

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Self

from analyst.store import ANY, Store
from tests.clouds import Cloud
from tests.doubles.memory_store import MemoryStore
from tests.integration.jira.conftest import Installed, Jira
from tests.integration.jira.history import Event
from tests.integration.world import SERVICE_TOKEN


@dataclass(frozen=True, slots=True)
class MemoryCloud:
    """A bucket in memory."""

    store: MemoryStore

    @property
    def settings(self) -> dict[str, str]:
        return {"DATA_URL": "file:///nowhere"}

    def open(self) -> Store:
        return self.store

    def copy(self, home: Path | None = None) -> Cloud:  # noqa: ARG002 - nothing of it is on the disk
        return MemoryCloud(copied(self.store))


def copied(store: Store) -> MemoryStore:
    """Copy all objects of a bucket into memory."""
    copy = MemoryStore()
    for entry in store.list(""):
        found = store.read(entry.key)
        assert found is not None
        copy.put(entry.key, found.data, if_version=ANY)
    return copy


@dataclass(frozen=True, slots=True)
class Retelling:
    """Buckets in which a source is registered, of which nothing is known yet."""

    installed: Installed
    folder: Path

    @classmethod
    def in_memory(cls, installed: Installed, folder: Path) -> Self:
        """Copy them into memory."""
        return cls(replace(installed, cloud=MemoryCloud(copied(installed.cloud.open()))), folder)

    def empty(self) -> Jira:
        """Serve one."""
        return self.installed.serve(self.folder)

    def in_order(self, events: list[Event]) -> Jira:
        """Tell events one by one, and fold them once."""
        jira = self.empty()
        for number, event in enumerate(events):
            assert jira.take(event, f"e{number}")["outcome"] == "kept"
        assert jira.fold()["left"] == 0
        return jira

    def anyhow(self, events: list[Event], random: Random) -> Jira:
        """Tell events in any order, each once or several times, as when answers were lost, and fold now and then."""
        jira = self.empty()
        sent = [number for number in range(len(events)) for _ in range(random.choice((1, 1, 2, 3)))]
        random.shuffle(sent)
        for number in sent:
            jira.take(events[number], f"e{number}")
            if random.random() < 2 / len(sent):
                jira.fold()
        jira.fold()
        assert jira.waiting() == []
        return jira

    def replayed(self, jira: Jira) -> Jira:
        """Fold the archive of one bucket in another."""
        empty = self.empty()
        for entry in jira.store.list("extracts/jira/events/archive/"):
            found = jira.store.read(entry.key)
            assert found is not None
            empty.store.put(entry.key, found.data, if_version=ANY)
        answer: dict[str, Any] = dict(empty.world.ask("POST", "/extract/jira/replay", {}, token=SERVICE_TOKEN))
        assert answer["status"] == "ok"
        return empty
