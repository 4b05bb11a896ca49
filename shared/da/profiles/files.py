"""Profiles of local files, without a server: Parquet, CSV and JSON, or folders of them."""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from da.errors import DaError
from da.profiles.aggregates import kind_of
from da.profiles.report import Described, profile_of
from da.profiles.scan import EXACT_ROWS, Scanned, scan
from da.profiles.sketches import absent
from da.sql import quote, quote_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_READERS: Final = {
    ".parquet": "read_parquet",
    **dict.fromkeys((".csv", ".tsv", ".txt", ".psv"), "read_csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "read_json"),
}
_PACKED: Final = frozenset({".gz", ".zst"})
_NUMBER: Final = "file_row_number"


def profile_path(path: Path, *, key: Sequence[str] = ()) -> dict[str, Any]:
    """Return the profile of a file, or of all files in a folder as one table.

    Raises:
        DaError: it does not exist, has no readable files, or a column of the key does not exist.
    """
    files = files_of(path)
    with tempfile.TemporaryDirectory(prefix="da-profile-") as folder, _connection(Path(folder)) as con:
        try:
            return _profile(con, path, files, tuple(key), Path(folder))
        except duckdb.Error as error:
            raise DaError(f"can't profile '{path}': {str(error).splitlines()[0]}") from None


def files_of(path: Path) -> list[Path]:
    """List the data files of a path: itself, or those in the folder and its subfolders.

    Raises:
        DaError: there are none.
    """
    if not path.exists():
        raise DaError(f"there is no file or folder '{path}'")
    if not path.is_dir():
        if _reader(path) is None:
            raise DaError(
                f"can't profile '{path}': its name does not end like a data file (.parquet, .csv, .tsv, .json, .jsonl)"
            )
        return [path]
    found = [each for each in sorted(path.rglob("*")) if each.is_file() and not each.name.startswith((".", "_"))]
    files = [each for each in found if _reader(each) is not None]
    readers = {_reader(each) for each in files}
    if len(readers) != 1:
        what = "no data files (.parquet, .csv, .json)" if not files else "files of several formats"
        raise DaError(f"can't profile '{path}': the folder has {what}; name the files instead")
    return files


def _reader(path: Path) -> str | None:
    suffixes = [each.lower() for each in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes = suffixes[:-1]
    return _READERS.get(suffixes[-1]) if suffixes else None


@contextmanager
def _connection(folder: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    con = duckdb.connect(":memory:", config={"temp_directory": str(folder), "autoinstall_known_extensions": False})
    try:
        con.execute("set TimeZone = 'UTC'; set python_enable_replacements = false; set enable_progress_bar = false")
        yield con
    finally:
        con.close()


def _profile(
    con: duckdb.DuckDBPyConnection, path: Path, files: Sequence[Path], key: tuple[str, ...], folder: Path
) -> dict[str, Any]:
    parquet = [_as_parquet(con, file, folder / f"{number}.parquet") for number, file in enumerate(files)]
    listed = ", ".join(map(quote_path, parquet))
    described = con.execute(
        f"describe select * from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    ).fetchall()
    columns = {name: kind for name, kind, *_ in described}
    if unknown := [name for name in key if name not in columns]:
        raise DaError(f"can't profile '{path}': it has no column '{unknown[0]}'; its columns are {', '.join(columns)}")
    counts = [_count(con, file) for file in parquet]
    exact, whole = len(parquet) == 1 and sum(counts) <= EXACT_ROWS, Scanned()
    for number, (file, rows) in enumerate(zip(parquet, counts, strict=True)):
        piece = _scan(con, file, columns, rows, key=key if len(parquet) == 1 else (), exact=exact)
        whole = piece if number == 0 else whole.merged(piece)
    ordered = {
        name: whole.columns.get(name) or absent(kind_of(kind), kind, whole.rows) for name, kind in columns.items()
    }
    about = Described(
        table=path.resolve().name.split(".")[0] or str(path),
        at=round(time.time() * 1000),
        size_bytes=sum(os.path.getsize(file) for file in files),  # noqa: PTH202 - a number per file
        primary_key=key,
    )
    return profile_of(replace(whole, columns=ordered), about)


def _as_parquet(con: duckdb.DuckDBPyConnection, file: Path, copy: Path) -> Path:
    """Return a Parquet file with the rows of a file: itself, or a copy that can be read in pieces."""
    reader = _reader(file)
    if reader == "read_parquet":
        return file
    scanned = (
        f"read_csv({quote_path(file)}, hive_partitioning = false)"
        if reader == "read_csv"
        else f"read_json({quote_path(file)}, hive_partitioning = false)"
    )
    con.execute(f"copy (select * from {scanned}) to {quote_path(copy)} (format parquet)")
    return copy


def _count(con: duckdb.DuckDBPyConnection, file: Path) -> int:
    found = con.execute(f"select count(*) from read_parquet({quote_path(file)}, hive_partitioning = false)").fetchone()
    return int(found[0]) if found else 0


def _scan(
    con: duckdb.DuckDBPyConnection,
    file: Path,
    columns: dict[str, str],
    rows: int,
    *,
    key: tuple[str, ...],
    exact: bool,
) -> Scanned:
    place = quote_path(file)
    there = {
        name
        for name, *_ in con.execute(
            f"describe select * from read_parquet({place}, hive_partitioning = false)"
        ).fetchall()
    }
    is_numbered = _NUMBER not in there
    shared = {name: kind for name, kind in columns.items() if name in there}
    casts = [f"cast({quote(name)} as {kind}) as {quote(name)}" for name, kind in shared.items()]
    numbered = ", file_row_number = true" if is_numbered else ""
    listed = ", ".join([*casts, _NUMBER] if is_numbered else casts)
    read = f"(select {listed} from read_parquet({place}{numbered}, hive_partitioning = false))"
    number = _NUMBER if is_numbered else None
    size = 4 * file.stat().st_size / max(rows, 1)
    return scan(con, read, shared, rows, key=key, exact=exact, row_number=number, bytes_per_row=size)
