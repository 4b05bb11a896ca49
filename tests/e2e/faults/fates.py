"""A store whose every touch is a numbered point, at each of which something can go wrong."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

from analyst.auth.last_use import USES
from analyst.errors import UnavailableError
from analyst.store import ABSENT, Condition, Entry, Object, Store, StoreConflictError, UnsureWriteError
from analyst.store.folder.store import FileStore

T = TypeVar("T")


class Fate(Enum):
    """What becomes of one touch."""

    REFUSED = "the store answers 503, and nothing happens"
    LOST_BEFORE = "nothing happens, and no answer comes"
    LOST_AFTER = "it happens, and no answer comes"
    LATE = "no answer comes, and it happens, or conflicts, just before the next touch"
    KILLED_BEFORE = "the process dies before"
    KILLED_AFTER = "the process dies after"


WRITES = ("put", "upload")
CHANGES = (*WRITES, "delete")
FATES = {
    Fate.REFUSED: None,
    Fate.LOST_AFTER: CHANGES,
    Fate.LOST_BEFORE: WRITES,
    Fate.LATE: WRITES,
    Fate.KILLED_BEFORE: None,
    Fate.KILLED_AFTER: CHANGES,
}
"""Which touches each can befall; `None`: all. An answer that is lost is as good as refused where nothing changes."""


@dataclass
class Touches:
    """Counts the touches of a store. `fate`, or `meanwhile` just before, befalls touch number `point`, from 1, or every one."""

    point: int | None = 0
    fate: Fate | None = None
    meanwhile: Callable[[], object] | None = None
    made: list[tuple[str, str]] = field(default_factory=list)
    """The touches so far: what, and of which key."""
    late: Callable[[], object] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, what: str, key: str) -> Fate | None:
        """Number a touch, and tell what becomes of it."""
        if key.startswith(USES):  # from a thread of its own, some time: nobody waits for it
            return None
        with self._lock:
            self.made.append((what, key))
            is_it = self.point in (len(self.made), None)
        self.land()
        if is_it and self.meanwhile is not None:
            self.meanwhile()
        return self.fate if is_it else None

    def land(self) -> None:
        """Let a late write happen now, or conflict."""
        with self._lock:
            late, self.late = self.late, None
        if late is not None:
            with suppress(StoreConflictError):
                late()


@dataclass
class FatedStore:
    """Wraps a store.

    Of objects in `aged`, by key and version, the age is told so many seconds greater. `written` has what was put.
    """

    inner: Store
    touches: Touches = field(default_factory=Touches)
    aged: frozenset[tuple[str, str]] = frozenset()
    by: float = 0.0
    written: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.inner.url

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        found = self._meet("read", key, lambda: self.inner.read(key, unless=unless))
        return None if found is None else replace(found, age=self._age(key, found.version, found.age))

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        return self._meet("put", key, lambda: self._put(key, data, if_version))

    def upload(self, key: str, path: Path) -> str:
        data = path.read_bytes()  # the file may be gone when a late upload comes
        late = partial(self.inner.put, key, data, if_version=ABSENT)
        return self._meet("upload", key, lambda: self.inner.upload(key, path), late)

    def download(self, key: str, path: Path) -> str:
        return self._meet("download", key, lambda: self.inner.download(key, path))

    def list(self, prefix: str) -> Iterable[Entry]:
        return [self._aged(entry) for entry in self._meet("list", prefix, lambda: [*self.inner.list(prefix)])]

    def list_folders(self, prefix: str) -> Iterable[str]:
        return self._meet("list_folders", prefix, lambda: [*self.inner.list_folders(prefix)])

    def head(self, key: str) -> Entry | None:
        found = self._meet("head", key, lambda: self.inner.head(key))
        return None if found is None else self._aged(found)

    def delete(self, key: str) -> None:
        self._meet("delete", key, lambda: self.inner.delete(key))

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        return self._meet("sign", key, lambda: self.inner.sign(key, expires=expires, filename=filename))

    def verify(self, key: str, parameters: Mapping[str, str]) -> None:
        """Let a request for a file through, as a store does whose files the functions hand out."""
        assert isinstance(self.inner, FileStore)
        inner = self.inner
        self._meet("verify", key, lambda: inner.verify(key, parameters))

    def local_path(self, key: str) -> Path | None:
        return self.inner.local_path(key)

    def _meet(self, what: str, key: str, do: Callable[[], T], late: Callable[[], T] | None = None) -> T:
        fate = self.touches.begin(what, key)
        lost = (UnsureWriteError if what in WRITES else UnavailableError)(f"no answer to {what} of {key}")
        if fate is Fate.REFUSED:
            raise UnavailableError(f"{what} of {key} failed: 503")
        if fate is Fate.LOST_BEFORE:
            raise lost
        if fate is Fate.LATE:
            self.touches.late = late or do
            raise lost
        if fate is Fate.KILLED_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return do()
        finally:  # a conflict is an answer as well
            if fate is Fate.KILLED_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
            if fate is Fate.LOST_AFTER:
                raise lost

    def _put(self, key: str, data: bytes, if_version: str | Condition) -> str:
        version = self.inner.put(key, data, if_version=if_version)
        self.written.append((key, data))
        return version

    def _aged(self, entry: Entry) -> Entry:
        return replace(entry, age=self._age(entry.key, entry.version, entry.age))

    def _age(self, key: str, version: str, age: float) -> float:
        return age + self.by if (key, version) in self.aged else age
