"""Results that are kept: in memory, and in the bucket under a hash of what they depend on.

A key covers the statement, its parameters, format and limit, the files of its tables under their names, and the versions of
DuckDB and of this format. A result is looked up only after its tables were found among those that the caller can read, so
a caller who has lost access to one of them can't reach it.
"""

import hashlib
import io
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, BinaryIO, Final

from analyst.errors import AnalystError
from analyst.query import CACHED
from analyst.store import ANY, Store

log = logging.getLogger(__name__)

LARGEST: Final = 2_000_000
"""The size in bytes of the largest result that is kept."""

_IN_MEMORY: Final = 32_000_000
_FORMAT: Final = 2
ENGINE: Final = f"DuckDB {version('duckdb')}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept result: the facts of an outcome, and its rows in the requested format."""

    columns: tuple[tuple[str, str], ...]
    rows: int
    truncated: bool
    hash: str | None
    body: bytes

    def open(self) -> BinaryIO:
        """Return the rows as a file."""
        return io.BytesIO(self.body)

    def encode(self) -> bytes:
        """Return it as an object: a line of JSON, and the rows."""
        head = {"columns": self.columns, "rows": self.rows, "truncated": self.truncated, "hash": self.hash}
        return json.dumps(head).encode() + b"\n" + self.body

    @classmethod
    def decode(cls, data: bytes) -> "Kept":
        """Restore it from an object."""
        line, _, body = data.partition(b"\n")
        head = json.loads(line)
        columns = tuple((str(name), str(kind)) for name, kind in head["columns"])
        return cls(columns, head["rows"], head["truncated"], head["hash"], body)


def key_of(*parts: Any) -> str:
    """Return the hash of what a result depends on, besides DuckDB: JSON values."""
    return hashlib.sha256(json.dumps([_FORMAT, ENGINE, *parts], sort_keys=True).encode()).hexdigest()


class Results:
    """The kept results. Thread-safe. `later` runs a write after the answer."""

    def __init__(self, store: Store, later: Callable[[Callable[[], object]], object]) -> None:
        self._store = store
        self._later = later
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0

    def find(self, key: str) -> Kept | None:
        """Return a kept result; `None` if there is none, or the store does not respond."""
        with self._lock:
            if (kept := self._memory.get(key)) is not None:
                self._memory.move_to_end(key)
                return kept
        try:
            found = self._store.read(_path(key))
            kept = None if found is None else Kept.decode(found.data)
        except (AnalystError, ValueError, KeyError, TypeError):
            log.warning("a kept result can't be read", exc_info=True)
            return None
        if kept is not None:
            self._remember(key, kept)
        return kept

    def keep(self, key: str, kept: Kept) -> None:
        """Keep a result, unless it is too large."""
        if len(kept.body) <= LARGEST:
            self._remember(key, kept)
            self._later(lambda: self._store.put(_path(key), kept.encode(), if_version=ANY))

    def _remember(self, key: str, kept: Kept) -> None:
        with self._lock:
            if key not in self._memory:
                self._memory[key] = kept
                self._size += len(kept.body)
            while self._size > _IN_MEMORY:
                _key, oldest = self._memory.popitem(last=False)
                self._size -= len(oldest.body)


def _path(key: str) -> str:
    return f"{CACHED}{key[:2]}/{key}"
