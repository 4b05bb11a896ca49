"""The inbox of a Jira source: events that wait to be folded.

An event is put if absent, under the minute of its timestamp and Jira's name for it, and stays until it is in the archive
(`analyst.connectors.jira.inbox.archive`). So none is lost, and one that arrives or is folded twice counts once: see
`analyst.connectors.jira.issue.state`.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from analyst.store import ABSENT, Entry, Store, StoreConflictError, delete_all, in_parallel

EVENT_BYTES: Final = 25 * 1024 * 1024
"""The largest event; Jira sends none that is larger."""

_AT_ONCE: Final = 8
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_LAST: Final = "9~"
_WAITING: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}/[^/]+\.json")


@dataclass(frozen=True, slots=True)
class Received:
    """An event as received. `name` is its minute and its name there: `2026-01-31T05-59/8f3a.json`."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Inbox:
    """The waiting events of one source."""

    store: Store
    source: str

    @property
    def prefix(self) -> str:
        """The prefix of the keys of all events."""
        return f"extracts/{self.source}/events/"

    def put(self, body: bytes, identifier: str | None, at: datetime) -> bool:
        """Store an event of this time; return whether it is new. Jira repeats an event under the same `identifier`.

        Raises:
            UnavailableError: the store does not respond; Jira will send it again.
        """
        digest = hashlib.sha256(body).hexdigest()
        name = identifier if identifier and _NAME.fullmatch(identifier) else digest
        key = f"{self.prefix}{at.astimezone(UTC):%Y-%m-%dT%H-%M}/{name}"
        if self._put(f"{key}.json", body):
            return True
        if name == digest:
            return False
        existing = self.store.read(f"{key}.json")
        if existing is not None and existing.data == body:
            return False  # if it is None, a fold has just removed it, and it may have been a different event
        return self._put(f"{key}-{digest[:32]}.json", body)  # a different event of the same name

    def waiting(self) -> Iterator[Entry]:
        """List the waiting events, the earliest minute first."""
        for entry in self.store.list(self.prefix):
            name = entry.key.removeprefix(self.prefix)
            if name > _LAST:
                return  # the archive sorts after all minutes
            if _WAITING.fullmatch(name):
                yield entry

    def read(self, entries: Sequence[Entry]) -> list[Received]:
        """Read events, without those that another fold removed in the meantime.

        Raises:
            UnavailableError: the store does not respond.
        """
        found = in_parallel(self.store.read, [entry.key for entry in entries], _AT_ONCE)
        names = [entry.key.removeprefix(self.prefix) for entry in entries]
        return [Received(name, event.data) for name, event in zip(names, found, strict=True) if event is not None]

    def remove(self, names: Sequence[str]) -> None:
        """Delete events that are in the archive.

        Raises:
            UnavailableError: the store does not respond; what is left is folded again, which changes nothing.
        """
        delete_all(self.store, (self.prefix + name for name in names))

    def _put(self, key: str, body: bytes) -> bool:
        try:
            self.store.put(key, body, if_version=ABSENT)
        except StoreConflictError:
            return False
        return True
