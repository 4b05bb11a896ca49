"""Signed URLs of the files that a caller can download. The data does not pass through the API.

The *table* is authorized with the current rights. Any of its files in a snapshot that is still kept is then signed, so
that a publish in the middle of a sync does not break it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.errors import ConflictError, InvalidInputError, NotFoundError
from analyst.names import did_you_mean
from analyst.snapshots import Snapshot, Snapshots
from analyst.store import Store

FILES_AT_ONCE = 1000
"""The maximum number of files in one request."""


@dataclass(frozen=True, slots=True)
class SignedUrls:
    """URLs by key, and the unavailable ids of tables and keys of files."""

    snapshot: int
    urls: Mapping[str, str]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """The files that one caller can download. `expires` is in seconds."""

    store: Store
    snapshots: Snapshots
    access: AccessList
    caller: Caller
    expires: int
    keep_hours: float

    def urls(self, wanted: Mapping[str, Sequence[str] | None]) -> SignedUrls:
        """Sign the requested files by table id; `None` selects all current files of a table.

        Raises:
            NotFoundError: none of them is available.
            InvalidInputError: there are more than a thousand files.
        """
        current = self.snapshots.current()
        found: dict[str, str] = {}
        missing: list[str] = []
        older: list[tuple[str, str]] = []
        for table_id, paths in wanted.items():
            table = self._downloadable(current, table_id)
            if table is None:
                missing.append(table_id)
                continue
            listed = {file.path for file in table.files}
            asked = [file.path for file in table.files] if paths is None else paths
            found.update({path: table_id for path in asked if path in listed})
            older += [(table_id, path) for path in asked if path not in listed]
            if len(found) + len(older) > FILES_AT_ONCE:
                raise InvalidInputError(
                    f"a request can sign at most {FILES_AT_ONCE} files; split it into several requests"
                )
        # A sync that began before the last publish asks for files of its snapshot. They are still in the bucket and still
        # signed, but the table is authorized by the rights of now: a revoked grant ends that at once.
        earlier = self._in_kept(older)
        found.update(earlier)
        missing += [path for _table, path in older if path not in earlier]
        if wanted and not found and missing:
            raise NotFoundError(self._none_of(current, missing, wanted))
        urls = {path: self._sign(path, table_id) for path, table_id in found.items()}
        return SignedUrls(current.number, urls, tuple(missing))

    def _none_of(self, current: Snapshot, missing: Sequence[str], wanted: Mapping[str, object]) -> str:
        known = (table.id for table in visible_tables.visible(current, self.access, self.caller))
        hint = did_you_mean(missing[0], known) if missing[0] in wanted else ""
        return f"none of these tables or files exists, or you can't download them: {', '.join(missing[:5])}{hint}"

    def download(self, table_id: str) -> str:
        """Sign the one file of a table.

        Raises:
            NotFoundError: the table does not exist, or the caller can't read it.
            ConflictError: it has several files, or none.
        """
        current = self.snapshots.current()
        table = self._downloadable(current, table_id)
        if table is None:
            raise visible_tables.missing(current, self.access, self.caller, table_id)
        if len(table.files) != 1:
            has = f"has {len(table.files)} files; POST /api/data/urls signs them all" if table.files else "has no files"
            raise ConflictError(f"the table {table_id} {has}", urls="/api/data/urls", files=len(table.files))
        return self._sign(table.files[0].path, table_id)

    def _downloadable(self, snapshot: Snapshot, table_id: str) -> Table | None:
        table = visible_tables.find(snapshot, self.access, self.caller, table_id)
        return table if self.access.may_download(self.caller, table_id) else None

    def _in_kept(self, wanted: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Find files that an earlier snapshot, which is still kept, lists for the requested table."""
        found: dict[str, str] = {}
        left = set(wanted)
        for snapshot in self.snapshots.kept(self.keep_hours) if left else ():
            for table_id, path in list(left):
                if path in _paths(self._downloadable(snapshot, table_id)):
                    found[path] = table_id
                    left.discard((table_id, path))
            if not left:
                break
        return found

    def _sign(self, path: str, table_id: str) -> str:
        """Sign a file, which is saved as `<source>.<table>-<the first of its name>.parquet`."""
        name = path.rsplit("/", 1)[-1].removesuffix(".parquet")[:12]
        return self.store.sign(path, expires=self.expires, filename=f"{table_id}-{name}.parquet")


def _paths(table: Table | None) -> Iterable[str]:
    return {file.path for file in table.files} if table else frozenset()
