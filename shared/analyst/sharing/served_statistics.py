"""What the requests of a process share: statistics of data files, from the Delta log of their table, and a limit on requests.

Statistics only serve hints, so a log that lags, or is in a checkpoint, costs nothing but work: a file without them is
kept. The minimum and maximum values of sensitive columns are omitted.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from analyst.catalog import File, Table
from analyst.errors import AnalystError, RateLimitedError
from analyst.store import Store, in_parallel
from da.profiles.aggregates import kind_of
from da.profiles.sensitive import hides_extremes
from da.profiles.sketches import Kind

Hidden = frozenset[str]
"""The names of the columns that a tag, or the profile of their table, calls sensitive."""

_MOST_COMMITS: Final = 64
_MOST_TABLES: Final = 500
_AT_ONCE: Final = 8
_MOST_TEXTS: Final = 50_000
_MOST_KEPT: Final = 10_000


@dataclass(slots=True)
class FileStatistics:
    """The statistics of the tables that were asked for last. Thread-safe."""

    store: Store
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _texts: dict[tuple[str, Hidden], str] = field(default_factory=dict)
    _known: "OrderedDict[str, tuple[tuple[str, Hidden], Mapping[str, Mapping[str, Any]]]]" = field(
        default_factory=OrderedDict
    )

    def of(self, table: Table, hidden: Hidden = frozenset()) -> Mapping[str, Mapping[str, Any]]:
        """Return the statistics of a table's files by key, as far as they are known, without the values of `hidden` columns."""
        mark = (table.hash, hidden)
        with self._lock:
            known = self._known.get(table.id)
            if known is not None and known[0] == mark:
                self._known.move_to_end(table.id)
                return known[1]
        read = self._read(table, hidden)
        with self._lock:
            self._known[table.id] = (mark, read)
            while len(self._known) > _MOST_TABLES:
                self._known.popitem(last=False)
        return read

    def text(self, file: File, stats: Mapping[str, Any], hidden: Hidden = frozenset()) -> str:
        """Return the statistics of a file as JSON, which is made once for each file."""
        text = self._texts.get((file.path, hidden))
        if text is None:
            if len(self._texts) > _MOST_TEXTS:
                self._texts.clear()
            text = self._texts[file.path, hidden] = json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
        return text

    def _read(self, table: Table, hidden: Hidden) -> Mapping[str, Mapping[str, Any]]:
        home = f"extracts/{table.source}/data/{table.name}/"
        wanted = {file.path: file for file in table.files}
        kinds = {column.name: kind_of(column.type) for column in table.columns}
        found: dict[str, Mapping[str, Any]] = {}
        with suppress(AnalystError):
            keys = sorted(each.key for each in self.store.list(f"{home}_delta_log/") if each.key.endswith(".json"))
            for commit in in_parallel(self.store.read, keys[-_MOST_COMMITS:], _AT_ONCE):
                for path, stats in _added(commit.data if commit else b""):
                    if home + path in wanted:
                        found[home + path] = _shown(stats, kinds, hidden)
        return found


def _shown(stats: Mapping[str, Any], kinds: Mapping[str, Kind], hidden: Hidden) -> Mapping[str, Any]:
    """Return the statistics of a file without the minimum and maximum values of sensitive columns."""
    least, greatest = (dict(stats.get(each) or {}) for each in ("minValues", "maxValues"))
    for name in least.keys() | greatest.keys():
        extremes = [each[name] for each in (least, greatest) if isinstance(each.get(name), str | int | float)]
        if name in hidden or hides_extremes(name, kinds.get(name, "text"), extremes):
            least.pop(name, None)
            greatest.pop(name, None)
    return {**stats, "minValues": least, "maxValues": greatest}


def _added(commit: bytes) -> "list[tuple[str, Mapping[str, Any]]]":
    found: list[tuple[str, Mapping[str, Any]]] = []
    for line in commit.splitlines():
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            added = json.loads(line).get("add")
            if added:
                found.append((str(added["path"]), json.loads(added["stats"])))
    return found


def stats_of(file: File, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the statistics of a file; the number of rows is always known."""
    return {**known.get(file.path, {}), "numRecords": file.rows}


@dataclass(slots=True)
class Pace:
    """Allows each caller `per_second` requests on average, and `burst` at once. Thread-safe."""

    per_second: float = 50.0
    burst: float = 500.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: "OrderedDict[str, tuple[float, float]]" = field(default_factory=OrderedDict)

    def take(self, caller: str, now: float) -> None:
        """Count a request; `now` is in seconds of a monotonic clock.

        Raises:
            RateLimitedError: there were too many; `retry_after` says when the next one is allowed.
        """
        with self._lock:
            left, at = self._left.get(caller, (self.burst, now))
            left = min(self.burst, left + (now - at) * self.per_second)
            if left < 1:
                wait = max(1, round((1 - left) / self.per_second))
                text = "too many requests; wait and try again"
                error = RateLimitedError(text, retry_after=wait, errorCode="TOO_MANY_REQUESTS")
                error.details["message"] = text
                raise error
            self._left[caller] = (left - 1, now)
            self._left.move_to_end(caller)
            while len(self._left) > _MOST_KEPT:
                self._left.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the requests of a process share."""

    statistics: FileStatistics
    pace: Pace

    @classmethod
    def over(cls, store: Store) -> "Sharing":
        """Create it with nothing known yet."""
        return cls(FileStatistics(store), Pace())
