"""The files of tables as objects of S3: which one a signed request is for, decided by the access list as it is now.

Readers of Iceberg open `s3://` addresses, not signed URLs. The bucket of the addresses is the first part of our own
path, so the endpoint has no path of its own, as those of S3 have none.
"""

import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.auth.keys import Keys
from analyst.errors import NotFoundError, RateLimitedError
from analyst.iceberg import credentials
from analyst.iceberg.metadata import METADATA, PREFIX
from analyst.iceberg.signatures import Sent, SignatureError, Signed
from analyst.sharing.shares import table_id
from analyst.snapshots import Snapshots
from analyst.store import Store

_MOST_KNOWN: Final = 20_000
_MOST_SEARCHED: Final = 1000
_BUFFERED: Final = 16 << 20
"""Bytes of an answer up to which its thread is free before the client has read it (waitress, `outbuf_high_watermark`)."""

_LARGE_OF_ONE: Final = 6
_LARGE_OF_ALL: Final = 12
"""Larger ranges at the same time, of one person and of all. The server has 32 threads by default."""
Stream = Callable[[str, int, int], Iterable[bytes]]
"""Reads a range of an object, by its key, offset and size, in blocks."""

_NAME: Final = re.compile(r"[0-9a-f]{32}[a-z0-9.\-]{5,20}")
"""The name of an object of metadata, which is a hash; the record of the table is ours alone."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An object that the caller may read: its key in the bucket, its size if that is known, and whose request it is."""

    key: str
    size: int | None
    user_id: str

    @property
    def name(self) -> str:
        """The last part of its key, which differs for different contents."""
        return self.key.rpartition("/")[2]

    def content(self, store: Store, streams: "Streams") -> "Path | Content":
        """Return the local file that the object is, or how it is read.

        Raises:
            NotFoundError: it was deleted.
            UnavailableError: the store does not respond.
        """
        local = store.local_path(self.key)
        if local is not None:
            return local
        if self.size is not None:
            return Content(self.size, lambda offset, size: streams.begin(self.user_id, self.key, offset, size))
        found = store.read(self.key)
        if found is None:
            raise NotFoundError("the table no longer has this metadata; load the table again")
        return Content(len(found.data), lambda offset, size: [found.data[offset : offset + size]])


@dataclass(frozen=True, slots=True)
class Content:
    """The size of an object in bytes, and a function that reads a range of it, by its offset and size."""

    size: int
    read: Callable[[int, int], Iterable[bytes]]


@dataclass(slots=True)
class Streams:
    """The ranges of objects that are passed on. Those that the server does not buffer as a whole are limited. Thread-safe.

    Such a range occupies a thread for as long as its client takes to read it, and there are few threads.
    """

    read: Stream
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: "Counter[str]" = field(default_factory=Counter)

    def begin(self, user_id: str, key: str, offset: int, size: int) -> Iterable[bytes]:
        """Begin to read a range. What is returned must be closed.

        Raises:
            RateLimitedError: the user, or all together, read too many large ranges at the same time.
            UnavailableError: the store does not respond.
        """
        if size <= _BUFFERED:
            return self.read(key, offset, size)
        with self._lock:
            if self._open[user_id] >= _LARGE_OF_ONE or self._open.total() >= _LARGE_OF_ALL:
                raise RateLimitedError("too many large ranges are read at the same time; try again", retry_after=1)
            self._open[user_id] += 1
        try:
            return _Held(iter(self.read(key, offset, size)), lambda: self._end(user_id))
        except BaseException:
            self._end(user_id)
            raise

    def _end(self, user_id: str) -> None:
        with self._lock:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]


class _Held:
    """Blocks, and what is called once when they are closed, whether any was read or not."""

    def __init__(self, blocks: Iterator[bytes], end: Callable[[], None]) -> None:
        self._blocks = blocks
        self._end: Callable[[], None] | None = end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._blocks)

    def close(self) -> None:
        end, self._end = self._end, None
        if end is None:
            return
        try:
            if isinstance(self._blocks, Generator):
                self._blocks.close()
        finally:
            end()


@dataclass(slots=True)
class EarlierFiles:
    """Files of earlier versions that were found in kept snapshots. Whose table a file belongs to never changes. Thread-safe.

    The kept snapshots are searched once for each table and newest snapshot, so requests for files that do not exist are
    cheap.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: "OrderedDict[tuple[str, str], int]" = field(default_factory=OrderedDict)
    _searched: "OrderedDict[str, int]" = field(default_factory=OrderedDict)

    def find(self, uuid: str, key: str, newest: int, history: Callable[[], Iterable[Mapping[str, int]]]) -> int | None:
        """Return the size of a file of a table. `history` yields the sizes of its files in each kept snapshot."""
        with self._lock:
            known = self._known.get((uuid, key))
            if known is not None or self._searched.get(uuid) == newest:
                return known
        are_all_kept = True
        for sizes in history():
            are_all_kept &= uuid not in self._keep(uuid, sizes)
            if key in sizes:
                return sizes[key]
        if not are_all_kept:
            return None
        with self._lock:
            self._searched[uuid] = newest
            while len(self._searched) > _MOST_SEARCHED:
                self._searched.popitem(last=False)
        return None

    def _keep(self, uuid: str, sizes: Mapping[str, int]) -> set[str]:
        """Remember files of a table; return the tables of which others were forgotten for them."""
        forgotten: set[str] = set()
        with self._lock:
            self._known.update({(uuid, key): size for key, size in sizes.items()})
            while len(self._known) > _MOST_KNOWN:
                (owner, _), _ = self._known.popitem(last=False)
                self._searched.pop(owner, None)
                forgotten.add(owner)
        return forgotten


@dataclass(frozen=True, slots=True)
class FileEndpoint:
    """Finds the object of a signed request. `hosts` are the names under which clients may know this server.

    `admit` is called with the user of each request, and raises if they have sent too many.
    """

    keys: Keys
    access: AccessList
    snapshots: Snapshots
    earlier: EarlierFiles
    keep_hours: float
    hosts: Sequence[str]
    base_path: str
    admit: Callable[[Caller], None]
    now: datetime

    def open(self, path: str, sent: Sent) -> Opened:
        """Return the object of a request. `path` is what follows the bucket.

        Raises:
            SignatureError: the request is not signed with valid credentials, or they are for another table.
            NotFoundError: the table has no such file, or no longer.
            RateLimitedError: the user has sent too many requests.
        """
        signed = Signed.of(sent, self.now)
        token = sent.headers.get("x-amz-security-token", "")
        holder, secret = credentials.holder(self.keys, self.access, signed.access_key, token, self.now)
        signed.verify(secret, replace(sent, path=self.base_path + sent.path), self.hosts)
        user = holder.caller.user_id or ""
        self.admit(holder.caller)  # before anything is looked up, also for what does not exist
        uuid, _, key = path.partition("/")
        current = self.snapshots.current()
        table = visible_tables.find(current, self.access, holder.caller, holder.table)
        is_theirs = table is not None and table_id(table) == holder.uuid == uuid
        if table is None or not is_theirs or not self.access.may_download(holder.caller, table.id):
            raise SignatureError("you can't read this table, or these credentials are not for it", "AccessDenied")
        if key.startswith(METADATA) and _NAME.fullmatch(name := key.removeprefix(METADATA)):
            return Opened(f"{PREFIX}{uuid}/{name}", None, user)
        size = next((file.size_bytes for file in table.files if file.path == key), None)
        if size is None:
            newest = current.number
            size = self.earlier.find(uuid, key, newest, lambda: self._earlier(holder, uuid))
        if size is None:
            raise NotFoundError("the table has no such file, or no longer; load the table again")
        return Opened(key, size, user)

    def _earlier(self, holder: credentials.Holder, uuid: str) -> Iterator[Mapping[str, int]]:
        """Yield the sizes of the table's files in each earlier snapshot that is still kept."""
        for snapshot in self.snapshots.kept(self.keep_hours):
            table = visible_tables.find(snapshot, self.access, holder.caller, holder.table)
            if table is not None and table_id(table) == uuid:
                yield {file.path: file.size_bytes for file in table.files}
