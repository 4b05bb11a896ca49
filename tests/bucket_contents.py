"""Reads a bucket of any kind with common tools, and changes it behind the back of our code."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from analyst.catalog import CURRENT, Pointer
from analyst.names import quote, quote_text
from analyst.store import ANY, Store
from analyst.store.filesystem import open_bucket
from analyst.store.interface import DuckdbReadable


def pointer(store: Store) -> Pointer:
    """Read which snapshot is the newest."""
    found = store.read(CURRENT)
    assert found is not None
    return Pointer.model_validate_json(found.data)


def data(store: Store, key: str) -> bytes:
    """Read what must be there."""
    found = store.read(key)
    assert found is not None
    return found.data


@contextmanager
def database(store: Store, key: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB file of the bucket with a DuckDB of the tests; its views read the bucket where that lies."""
    with TemporaryDirectory() as folder:
        path = store.local_path(key)
        if path is None:
            path = Path(folder) / "copy.duckdb"
            store.download(key, path)
        if isinstance(store, DuckdbReadable):  # with secrets, or a filesystem, of that bucket alone
            with duckdb.connect(path, read_only=True) as con:
                open_bucket(con, store)
                yield con
        else:
            with _opened(path) as con:
                yield con


@contextmanager
def _opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attach a file to the DuckDB of this thread, as another takes 10 ms to start; a second file beside it has its own."""
    instance = _instance(threading.get_ident())
    if len(instance.execute("from duckdb_databases() select database_name where not internal").fetchall()) > 1:
        with duckdb.connect(path, read_only=True) as con:
            yield con
        return
    name = quote(path.stem)
    with instance.cursor() as con:
        con.execute(f"attach {quote_text(str(path))} as {name} (type duckdb, read_only)")
        try:
            con.execute(f"use {name}")
            yield con
        finally:
            con.execute("use memory")
            con.execute(f"detach {name}")


@contextmanager
def connected() -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect to the DuckDB of this thread, to ask and write what leaves nothing in it."""
    with _instance(threading.get_ident()).cursor() as con:
        con.execute("set TimeZone = 'UTC'")
        yield con


@cache
def _instance(_thread: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def ask(store: Store, key: str, sql: str) -> list[Any]:
    """Ask a DuckDB file of the bucket."""
    with database(store, key) as con:
        return con.execute(sql).fetchall()


def query(store: Store, sql: str) -> list[Any]:
    """Ask the newest snapshot's analytics.duckdb."""
    return ask(store, pointer(store).duckdb, sql)


@contextmanager
def edited(store: Store, key: str) -> Iterator[Path]:
    """Yield the file of an object, or where there may be one: in the bucket's own folder, or to be put into its place."""
    with TemporaryDirectory() as copy:
        here = store.local_path(key)
        path = here or Path(copy) / Path(key).name
        path.parent.mkdir(parents=True, exist_ok=True)
        if here is None and store.head(key) is not None:
            store.download(key, path)
        yield path
        if here is None:
            store.put(key, path.read_bytes(), if_version=ANY)


@contextmanager
def filled(store: Store, prefix: str) -> Iterator[Path]:
    """Yield a folder for what shall lie below a prefix, which is empty or ends in `/`: the bucket's own, or one to be put there."""
    if (here := _here(store, prefix)) is not None:
        here.mkdir(parents=True, exist_ok=True)
        yield here
        return
    with folder(store, prefix) as copy:
        before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
        yield copy
        for path in copy.rglob("*"):
            if path.is_file() and before.get(path) != path.stat().st_mtime_ns:
                store.put(f"{prefix}{path.relative_to(copy)}", path.read_bytes(), if_version=ANY)


@contextmanager
def folder(store: Store, prefix: str) -> Iterator[Path]:
    """Yield a folder that has what lies below a prefix, which is empty or ends in `/`: the bucket's own, or a copy."""
    if (here := _here(store, prefix)) is not None:
        yield here
        return
    with TemporaryDirectory() as copy:
        for entry in store.list(prefix):
            path = Path(copy) / entry.key.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(entry.key, path)
        yield Path(copy)


def _here(store: Store, prefix: str) -> Path | None:
    path = store.local_path(f"{prefix}any")
    return None if path is None else path.parent
