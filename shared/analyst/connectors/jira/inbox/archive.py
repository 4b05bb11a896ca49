"""The archive of a Jira source: every event that was folded or set aside, the latter with the reason.

Each fold adds an object for each hour of its events, `events/archive/<hour>-<hash>.jsonl.zst`; those of a past hour are
merged later. A line has an event's `name` and `body` (`base64` of a body that is not UTF-8). An event may occur several
times.
"""

import base64
import hashlib
import io
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

import orjson

from analyst import logs
from analyst.connectors.jira.inbox.inbox import Received
from analyst.store import Entry, Store, delete_all
from analyst.store.compare_and_swap import put_once

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GATHERED_BYTES: Final = 64 * 1024 * 1024
"""The largest size of a merged object, unless a single event is larger."""

_LOG = logging.getLogger(f"{logs.ROOT}.jira")
_SUFFIX: Final = ".jsonl.zst"
_OBJECT: Final = re.compile(r"(?P<hour>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})-[0-9a-f]{32}\.jsonl\.zst")
_HOUR: Final = len("2026-01-31T05")


@dataclass(frozen=True, slots=True)
class Archived:
    """An event that was folded, or `set_aside` for a reason."""

    event: Received
    set_aside: str | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """The folded events of one source."""

    store: Store
    source: str

    @property
    def prefix(self) -> str:
        """The prefix of the keys of its objects."""
        return f"extracts/{self.source}/events/archive/"

    def put(self, archived: Iterable[Archived]) -> None:
        """Store events.

        Raises:
            UnavailableError: the store does not respond.
        """
        by_name = sorted(archived, key=lambda one: one.event.name)
        for hour, found in groupby(by_name, key=lambda one: one.event.name[:_HOUR]):
            self._put(hour, zstd.compress(b"".join(map(_line, found))))

    def events(
        self, damaged: list[str], since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Received]:
        """Yield the events of the hours from `since` to `until`, the earliest hour first.

        Damaged objects are skipped, and their keys are added to `damaged`.

        Raises:
            UnavailableError: the store does not respond.
        """
        first, last = _hour(since) if since else "", _hour(until) if until else "~"
        for hour, found in groupby(self._objects(), key=lambda one: one[0]):
            if first <= hour <= last:
                yield from self._of_hour(hour, [entry.key for _, entry in found], damaged)

    def gather(self, before: datetime) -> int:
        """Merge the objects of each hour that ended before a time; return how many were merged.

        A damaged object stays as it is, so that it can be restored.

        Raises:
            UnavailableError: the store does not respond; the next run continues.
        """
        gathered = 0
        for hour, found in groupby(self._objects(), key=lambda one: one[0]):
            entries = [entry for _, entry in found]
            for part in _parts(entries) if hour < _hour(before) else ():
                gathered += self._gather(hour, [entry.key for entry in part])
        return gathered

    def _gather(self, hour: str, keys: Sequence[str]) -> int:
        """Replace several objects by one: zstd frames may be concatenated."""
        found: dict[str, bytes] = {}
        for key in keys:
            one = self.store.read(key)
            if one is not None and _is_whole(key, one.data):
                found[key] = one.data
            elif one is not None:
                _LOG.error("an archive of events is damaged", extra={"fields": {"key": key}})
        if len(found) <= 1:
            return 0
        gathered = self._put(hour, b"".join(found.values()))
        delete_all(self.store, (key for key in found if key != gathered))
        return len(found)

    def _put(self, hour: str, data: bytes) -> str:
        key = f"{self.prefix}{hour}-{_digest(data)}{_SUFFIX}"
        put_once(self.store, key, data)
        return key

    def _objects(self) -> Iterator[tuple[str, Entry]]:
        for entry in self.store.list(self.prefix):
            if match := _OBJECT.fullmatch(entry.key.removeprefix(self.prefix)):
                yield match["hour"], entry

    def _of_hour(self, hour: str, keys: Sequence[str], damaged: list[str]) -> Iterator[Received]:
        """Read the objects of an hour, and those that were merged from them in the meantime."""
        seen: set[str] = set()
        while new := [key for key in keys if key not in seen]:
            seen.update(new)
            for key in new:
                found = self.store.read(key)
                if found is None:
                    keys = [entry.key for entry in self.store.list(f"{self.prefix}{hour}-")]
                elif _is_whole(key, found.data):
                    yield from _events(found.data)
                else:
                    damaged.append(key)


def _events(data: bytes) -> Iterator[Received]:
    with zstd.open(io.BytesIO(data)) as lines:
        for line in lines:
            yield _event(orjson.loads(line))


def _parts(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Divide the objects of an hour into groups to merge, without groups of one."""
    part: list[Entry] = []
    for entry in entries:
        if part and sum(one.size for one in part) + entry.size > GATHERED_BYTES:
            if len(part) > 1:
                yield part
            part = []
        part.append(entry)
    if len(part) > 1:
        yield part


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _is_whole(key: str, data: bytes) -> bool:
    return key.endswith(f"-{_digest(data)}{_SUFFIX}")


def _line(archived: Archived) -> bytes:
    event = archived.event
    line: dict[str, Any] = {"name": event.name}
    try:
        line["body"] = event.body.decode()
    except UnicodeDecodeError:
        line["base64"] = base64.b64encode(event.body).decode()
    if archived.set_aside is not None:
        line["set_aside"] = archived.set_aside
    return orjson.dumps(line) + b"\n"


def _event(line: Any) -> Received:
    body = line["body"].encode() if "body" in line else base64.b64decode(line["base64"])
    return Received(line["name"], body)


def _hour(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H}"
