"""An event that was accepted stays in the inbox, whatever happens to others of the same name meanwhile."""

from dataclasses import dataclass
from datetime import UTC, datetime

from analyst.connectors.jira.inbox.inbox import Inbox
from analyst.store import Object
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import Around

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Emptied(Around):
    """Deletes what it is about to read, as a fold that archives events at that moment."""

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        self.inner.delete(key)
        return super().read(key, unless=unless)


def test_an_event_is_kept_if_another_of_its_name_is_folded_at_that_moment() -> None:
    store = MemoryStore()
    inbox = Inbox(Emptied(store), "jira")
    assert inbox.put(b"one", "same", NOON)
    assert inbox.put(b"two", "same", NOON)
    assert [event.body for event in Inbox(store, "jira").read([*inbox.waiting()])] == [b"two"]
