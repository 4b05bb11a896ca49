"""The bucket as one read-only fsspec filesystem, and as parquet that DuckDB reads in place.

Everything that accepts an fsspec filesystem (DuckDB, Polars, pyarrow, pandas) reads a bucket of any kind through it, with
the same keys and the same credentials as the store. It does not write: a conditional write, its lost response and signed
URLs need what fsspec has no notion of, so those stay with the store and the clouds' own clients.

DuckDB reads the parts of a file that a query needs through its httpfs extension. Where that can't be loaded, it reads
through this filesystem, which fetches whole files.
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from fsspec.spec import AbstractFileSystem

from analyst.errors import InvalidInputError
from analyst.names import quote, quote_text
from analyst.store.interface import DuckdbReadable, Entry, ObjectMissingError, Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_HTTPFS_WHEEL = "duckdb_extension_httpfs"


class BucketFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The objects of a store as files. Paths are keys, with or without the scheme or the bucket's address before them.

    Every file that is opened is a file of this machine's disk: the object itself in a bucket that is a folder, else a
    temporary copy, which keeps one state of the object however long it is read.
    """

    cachable = False  # fsspec would keep every instance, and the store in it, for good

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.protocol = store.url.split("://", 1)[0]

    def _strip_protocol(self, path: str) -> str:
        """Return the key of a path, without slashes at its ends."""
        address = self.store.url
        for start in (address, address.split("://", 1)[1]):
            if path == start or path.startswith(f"{start}/"):
                return path[len(start) :].strip("/")
        return path.removeprefix(f"{self.protocol}://").strip("/")

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return the name, size and type of a file or folder.

        Raises:
            FileNotFoundError: there is neither.
        """
        key = self._strip_protocol(path)
        entry = self._head(key)
        if entry is not None:
            return _described(entry)
        if key and not self._has_children(key):
            raise FileNotFoundError(path)
        return {"name": key, "size": 0, "type": "directory"}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List the files and folders directly in a folder; listing a file lists that file."""
        info = self.info(path)
        found = [info] if info["type"] == "file" else [*self._children(info["name"])]
        return found if detail else [one["name"] for one in found]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **_: Any,
    ) -> Any:
        """List all files below a path, in one listing instead of one for each folder."""
        if maxdepth is not None or withdirs:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail)
        key = self._strip_protocol(path)
        entry = self._head(key)
        entries = [entry] if entry is not None else self.store.list(f"{key}/" if key else "")
        found = {one.key: _described(one) for one in entries}
        return found if detail else [*found]

    def modified(self, path: str) -> datetime:  # noqa: ARG002
        """Return one time for every file: DuckDB asks whether a file changed while it reads it, and ours can't."""
        return datetime.fromtimestamp(0, UTC)

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> BinaryIO:
        if mode != "rb":
            raise NotImplementedError(f"'{path}' can't be opened for writing: this filesystem only reads")
        key = self._strip_protocol(path)
        here = self.store.local_path(key)
        if here is not None:
            return cast("BinaryIO", _ClosedWhenDropped(here))
        with tempfile.TemporaryDirectory(prefix="analyst-") as folder:
            copy = Path(folder) / "copy"
            try:
                self.store.download(key, copy)
            except ObjectMissingError:
                raise FileNotFoundError(path) from None
            return cast("BinaryIO", _ClosedWhenDropped(copy))  # the open file outlives its name

    def _children(self, folder: str) -> Iterator[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        for name in self.store.list_folders(prefix):
            yield {"name": f"{prefix}{name}", "size": 0, "type": "directory"}
        yield from (_described(entry) for entry in self.store.list(prefix) if "/" not in entry.key[len(prefix) :])

    def _has_children(self, folder: str) -> bool:
        try:
            return next(iter(self.store.list(f"{folder}/")), None) is not None
        except InvalidInputError:
            return False

    def _head(self, key: str) -> Entry | None:
        try:
            return self.store.head(key) if key else None
        except InvalidInputError:
            return None


class _ClosedWhenDropped(FileIO):
    """A file for DuckDB, which drops its files without closing them."""

    def __del__(self) -> None:
        self.close()


def _described(entry: Entry) -> dict[str, Any]:
    return {"name": entry.key, "size": entry.size, "type": "file", "version": entry.version}


def open_bucket(con: "DuckDBPyConnection", store: Store) -> None:
    """Let a connection read the bucket at the addresses that views contain. A bucket in a folder needs nothing.

    The credentials are the current ones and expire: open the bucket for a query, not for the life of a process.

    Raises:
        SettingsError: there are no credentials.
    """
    if not isinstance(store, DuckdbReadable):
        return
    if load_httpfs(con):
        options = ", ".join(f"{quote(name)} {quote_text(value)}" for name, value in store.duckdb_secret().items())
        con.execute(f"create or replace secret bucket ({options})")
    else:
        con.register_filesystem(BucketFileSystem(store))


def load_httpfs(con: "DuckDBPyConnection") -> bool:
    """Load httpfs, from its Python package or as installed on this machine; return whether that succeeded."""
    import duckdb

    for extension in (_packaged(duckdb.__version__), "httpfs"):
        if extension is not None:
            try:
                con.execute(f"load {quote_text(extension)}")
            except duckdb.Error:
                continue
            return True
    return False


def _packaged(version: str) -> str | None:
    spec = find_spec(_HTTPFS_WHEEL)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "extensions" / f"v{version}" / "httpfs.duckdb_extension"
        if path.exists():
            return str(path)
    return None
