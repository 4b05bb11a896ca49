"""Letting DuckDB read the bucket's parquet where it lies, by the addresses that views hold.

A bucket on this machine's disk needs nothing. For one in a cloud there is DuckDB's httpfs, which reads the parts of a
file that a query wants; where that can't be loaded, fsspec stands in, by which a file is fetched whole.
"""

import tempfile
from datetime import UTC, datetime
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from analyst.names import quote, quote_text
from analyst.store import Store
from analyst.store.port import DuckdbReadable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_WHEEL = "duckdb_extension_httpfs"


def open_bucket(con: "DuckDBPyConnection", store: Store) -> None:
    """Let a connection read the bucket, with credentials that are good for a while: for one query, not for a process.

    Raises:
        SettingsError: there are no credentials.
    """
    if not isinstance(store, DuckdbReadable):
        return
    if load_httpfs(con):
        options = ", ".join(f"{quote(name)} {quote_text(value)}" for name, value in store.duckdb_secret().items())
        con.execute(f"create or replace secret bucket ({options})")
    else:
        con.register_filesystem(_file_system(store))


def load_httpfs(con: "DuckDBPyConnection") -> bool:
    """Load httpfs, of the package that brings it or as it is installed on this machine; tell whether it is there."""
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
    spec = find_spec(_WHEEL)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "extensions" / f"v{version}" / "httpfs.duckdb_extension"
        if path.exists():
            return str(path)
    return None


def _file_system(store: Store) -> Any:
    from fsspec.spec import AbstractFileSystem

    class BucketFileSystem(AbstractFileSystem):  # type: ignore[misc]
        """The bucket as fsspec has it, as far as DuckDB asks: looks at files and opens them."""

        protocol = store.url.split("://", 1)[0]
        cachable = False

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            """Tell the size of a file."""
            entry = store.head(_key(store, path))
            if entry is None:
                raise FileNotFoundError(path)
            return {"name": path, "size": entry.size, "type": "file"}

        def _open(self, path: str, *_: Any, **__: Any) -> BinaryIO:
            with tempfile.TemporaryDirectory(prefix="analyst-") as folder:
                copy = Path(folder) / "copy"
                store.download(_key(store, path), copy)
                return cast("BinaryIO", _Dropped(copy))  # it stays until it is closed

        def modified(self, path: str) -> datetime:  # noqa: ARG002
            """Tell one time for all: what lies under a key never changes."""
            return datetime.fromtimestamp(0, UTC)

    return BucketFileSystem()


class _Dropped(FileIO):
    """A file for DuckDB, which drops files and does not close them."""

    def __del__(self) -> None:
        self.close()


def _key(store: Store, path: str) -> str:
    """Tell the key of an address, with its scheme or without."""
    return path.removeprefix(store.url).removeprefix(store.url.split("://", 1)[1]).removeprefix("/")
