"""Open copies of the DuckDB files of a system that may be running, together with their logs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from da.errors import DaError
from da.sql import quote_text

_ATTEMPTS = 3


@contextmanager
def opened_copy(path: Path, writes_to: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a copy of a DuckDB file, including its log.

    SQL in it can't access other files or the network, except the folder `writes_to`.

    Raises:
        DaError: it is not a readable database, or it keeps changing.
    """
    with TemporaryDirectory(prefix="da-import-") as folder:
        copy = _copied(path, Path(folder))
        try:
            connection = duckdb.connect(str(copy))
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise DaError(f"can't open '{path}' as a DuckDB database: {_reason(error, copy)}") from None
        with connection:
            connection.execute("set TimeZone = 'UTC'; set threads = 1")  # so that equal rows produce equal bytes
            if writes_to is not None:
                connection.execute(f"set allowed_directories = [{quote_text(f'{writes_to}/')}]")
            connection.execute("set enable_external_access = false; set lock_configuration = true")
            try:
                yield connection
            except duckdb.Error as error:
                raise DaError(f"can't read '{path}': {_reason(error, copy)}") from None


def _copied(path: Path, folder: Path) -> Path:
    """Copy a file and its log in a consistent state."""
    files = (path, path.with_name(f"{path.name}.wal"))
    for _ in range(_ATTEMPTS):
        before = [_mark(file) for file in files]
        for file, mark in zip(files, before, strict=True):
            (folder / file.name).unlink(missing_ok=True)
            if mark is not None:
                shutil.copyfile(file, folder / file.name)
        if before == [_mark(file) for file in files]:
            return folder / path.name
    raise DaError(f"can't copy '{path}': it keeps changing; stop the older system and try again")


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _reason(error: Exception, copy: Path) -> str:
    return str(error).splitlines()[0].replace(str(copy), copy.name)
