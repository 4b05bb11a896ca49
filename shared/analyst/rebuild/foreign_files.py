"""Parquet files of third-party connectors.

Files that `_files` does not list are adopted: they may be overwritten, so they are copied to content names. Files that it
lists are verified before they replace what was published last.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ulid import ULID

from analyst.catalog import File
from analyst.contract import parquet
from analyst.contract.model import FILE_NAME, FileRow, data_prefix
from analyst.errors import ContractError, SourceError
from analyst.store import ObjectMissingError, Store
from analyst.store.compare_and_swap import upload_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CONTENT_NAME = re.compile(rf"/{FILE_NAME}$")

_DELTA_LOG = "/_delta_log/"

_PARTITION = re.compile(r"/([^/=]+)=[^/]*(?=/)")
"""A column that is only in the path, as in Hive partitions; content names would lose it."""


def adopt(
    store: Store, con: "DuckDBPyConnection", source: str, table: str, *, known: Iterable[File], folder: Path
) -> tuple[FileRow, ...]:
    """Copy `data/<table>.parquet` or the files in `data/<table>/` to content names; `known` files are not copied again.

    Raises:
        ContractError: the table has no parquet, or it can't be read.
    """
    prefix = data_prefix(source, table)
    single = f"{prefix.removesuffix('/')}.parquet"
    keys = [single] if store.head(single) else [entry.key for entry in store.list(prefix) if _is_theirs(entry.key)]
    if not keys:
        raise ContractError(
            f"'{source}.{table}' has no parquet: neither {single!r} nor a file in {prefix!r} exists; upload it before "
            "extract.duckdb"
        )
    by_hash: dict[str, list[str]] = {}
    for path, sha256 in {file.path: file.sha256 for file in known}.items():
        by_hash.setdefault(sha256, []).append(path)
    return tuple(_adopted(store, con, key, by_hash, folder) for key in keys)


def require_distinct(label: str, files: Iterable[FileRow]) -> None:
    """Check that no file of a table is listed twice.

    Raises:
        ContractError: one is, and its rows would be counted twice.
    """
    seen: set[str] = set()
    for file in files:
        if file.path in seen:
            raise ContractError(f"{label} lists the file {file.path!r:.300} twice; list every file once")
        seen.add(file.path)


def has_foreign_names(files: Iterable[FileRow]) -> bool:
    """Return whether a file has a name that this system never assigns."""
    return any(not _CONTENT_NAME.search(file.path) for file in files)


def verify(
    store: Store,
    con: "DuckDBPyConnection",
    label: str,
    files: Sequence[FileRow],
    *,
    sizes: Mapping[str, int],
    known: Iterable[File],
    folder: Path,
) -> None:
    """Check that a table's listed files exist and match their rows of `_files`.

    `sizes` are the bytes of the source's objects by key. Only files that are not `known` from the last snapshot are read.

    Raises:
        ContractError: a file is missing, has another size, is not parquet, or has other rows or columns.
    """
    for file in files:
        size = sizes.get(file.path)
        if size is None:
            raise ContractError(
                f"{label} lists {file.path}, which is not in the bucket; upload it before extract.duckdb"
            )
        if size != file.size_bytes:
            raise ContractError(
                f"{label} lists {file.path} with {file.size_bytes:,} bytes, but the object has {size:,}"
            )
    proven = {(file.path, file.sha256, file.size_bytes, file.rows) for file in known}
    for file in files:
        if (file.path, file.sha256, file.size_bytes, file.rows) not in proven:
            _verify_content(store, con, label, file, folder)


def _verify_content(store: Store, con: "DuckDBPyConnection", label: str, file: FileRow, folder: Path) -> None:
    copy = folder / f"{ULID()}.parquet"
    try:
        store.download(file.path, copy)
        found = parquet.inspect(con, copy)
    except ObjectMissingError as error:
        raise ContractError(f"{label} lists {file.path}, which is not in the bucket") from error
    except SourceError as error:
        raise ContractError(f"{label} lists {file.path}, which can't be read as parquet") from error
    finally:
        copy.unlink(missing_ok=True)
    if (found.rows, found.sha256) != (file.rows, file.sha256):
        what = "row count" if found.rows != file.rows else "SHA-256"
        raise ContractError(f"{label} lists {file.path} with a {what} that differs from that of the object")
    types = {column.name: column.type for column in found.columns}
    for name, stats in file.column_stats.items():
        if name not in types:
            raise ContractError(
                f"{label} lists {file.path} with the column {name!r:.100}, which the file does not have"
            )
        if types[name] != stats["type"]:
            raise ContractError(
                f"{label} lists {file.path} with {name!r:.100} as {stats['type']:.100}, but in the file it is "
                f"{types[name]:.100}"
            )


def _is_theirs(key: str) -> bool:
    return key.endswith(".parquet") and not _CONTENT_NAME.search(key) and _DELTA_LOG not in key


def _home(key: str) -> str:
    """Return the prefix of the table of a file, `data/<table>.parquet` or a file below `data/<table>/`."""
    source, rest = key.removeprefix("extracts/").split("/data/", 1)
    return data_prefix(source, rest.split("/", 1)[0].removesuffix(".parquet"))


def _adopted(store: Store, con: "DuckDBPyConnection", key: str, by_hash: dict[str, list[str]], folder: Path) -> FileRow:
    copy = folder / f"{ULID()}.parquet"
    store.download(key, copy)
    try:
        file = parquet.inspect(con, copy)
    except SourceError as error:
        raise ContractError(
            f"{key!r} can't be read as parquet; upload it completely before its extract.duckdb"
        ) from error
    lost = sorted(set(_PARTITION.findall(key)) - {column.name for column in file.columns})
    if lost:
        raise ContractError(f"{key!r} has {lost[0]!r} in its path but not as a column; add the column to the file")
    copies = by_hash.get(file.sha256)
    if copies:
        path = copies.pop(0)  # two equal files need two copies
    else:
        path = f"{_home(key)}{file.sha256[:32]}-{str(ULID()).lower()}.parquet"
        upload_once(store, path, copy)
    copy.unlink(missing_ok=True)
    return FileRow(path, None, file.rows, file.size_bytes, file.sha256, file.stats)
