"""The files of tables as objects of S3: which one a signed request is for, decided by the access list as it is now.

Readers of Iceberg open `s3://` addresses, not signed URLs. The bucket of the addresses is the first part of our own path,
so the endpoint has no path of its own, as those of S3 have none.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from analyst import visible_tables
from analyst.access import AccessList
from analyst.auth.keys import Keys
from analyst.errors import NotFoundError
from analyst.iceberg import credentials
from analyst.iceberg.metadata import METADATA, PREFIX
from analyst.iceberg.signatures import Sent, SignatureError, Signed
from analyst.sharing.shares import table_id
from analyst.snapshots import Snapshots

_MOST_KNOWN: Final = 20_000
_NAME: Final = re.compile(r"[0-9a-f]{32}[a-z0-9.\-]{5,20}")
"""The name of an object of metadata, which is a hash; the record of the table is ours alone."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An object that the caller may read: its key in the bucket, its size if that is known, and whose request it is."""

    key: str
    size: int | None
    user_id: str


@dataclass(slots=True)
class EarlierFiles:
    """Files of earlier versions that were found in kept snapshots. Whose table a file belongs to never changes. Thread-safe."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: "OrderedDict[tuple[str, str], int]" = field(default_factory=OrderedDict)

    def get(self, uuid: str, key: str) -> int | None:
        """Return the size of a file of a table, if it was found before."""
        with self._lock:
            return self._known.get((uuid, key))

    def keep(self, uuid: str, sizes: Mapping[str, int]) -> None:
        """Remember files of a table."""
        with self._lock:
            self._known.update({(uuid, key): size for key, size in sizes.items()})
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class FileDoor:
    """Finds the object of a signed request. `hosts` are the names under which clients may know this server."""

    keys: Keys
    access: AccessList
    snapshots: Snapshots
    earlier: EarlierFiles
    keep_hours: float
    hosts: Sequence[str]
    base_path: str
    now: datetime

    def open(self, path: str, sent: Sent) -> Opened:
        """Return the object of a request. `path` is what follows the bucket.

        Raises:
            SignatureError: the request is not signed with valid credentials, or they are for another table.
            NotFoundError: the table has no such file, or no longer.
        """
        signed = Signed.of(sent, self.now)
        token = sent.headers.get("x-amz-security-token", "")
        holder, secret = credentials.holder(self.keys, self.access, signed.access_key, token, self.now)
        signed.verify(secret, replace(sent, path=self.base_path + sent.path), self.hosts)
        uuid, _, key = path.partition("/")
        current = self.snapshots.current()
        table = visible_tables.find(current, self.access, holder.caller, holder.table)
        is_theirs = table is not None and table_id(table) == holder.uuid == uuid
        if table is None or not is_theirs or not self.access.may_download(holder.caller, table.id):
            raise SignatureError("you can't read this table, or these credentials are not for it", "AccessDenied")
        user = holder.caller.user_id or ""
        if key.startswith(METADATA) and _NAME.fullmatch(name := key.removeprefix(METADATA)):
            return Opened(f"{PREFIX}{uuid}/{name}", None, user)
        size = next((file.size_bytes for file in table.files if file.path == key), None)
        if size is None:
            size = self._earlier(holder, uuid, key)
        if size is None:
            raise NotFoundError("the table has no such file, or no longer; load the table again")
        return Opened(key, size, user)

    def _earlier(self, holder: credentials.Holder, uuid: str, key: str) -> int | None:
        """Find a file that an earlier snapshot, which is still kept, lists for the table."""
        known = self.earlier.get(uuid, key)
        if known is not None:
            return known
        for snapshot in self.snapshots.kept(self.keep_hours):
            table = visible_tables.find(snapshot, self.access, holder.caller, holder.table)
            if table is None or table_id(table) != uuid:
                continue
            sizes = {file.path: file.size_bytes for file in table.files}
            if key in sizes:
                self.earlier.keep(uuid, sizes)
                return sizes[key]
        return None
