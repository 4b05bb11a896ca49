"""Find the tables of an older system that have parquet files.

`extracts/<source>/data/<table>.parquet`, or a folder of files; next to `extract.duckdb`, which may contain tables itself.
In the layout without sources: `src_data/parquet/[<folder>/]<table>.parquet`, or a folder of files.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb

from da.errors import DaError
from da.imports.database_copy import opened_copy
from da.imports.report import Left
from da.sql import quote, quote_path, quote_text

EXTRACTS: Final = "extracts"
OLD_LAYOUT: Final = "src_data/parquet"

_PARTITION: Final = re.compile(r"[^=]+=.*|\d{4}([-_]?\d{2}){0,2}")
"""Names of files or folders that are parts of a table: `month=2025-01`, `2025-01`, `2025_01_31`."""


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table and its files, ordered by path below `home`. `rows` counts the rows of all files."""

    source: str | None
    table: str
    home: Path
    files: tuple[Path, ...]
    rows: int
    extracted_at: datetime
    folder: str | None = None
    description: str | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def to_json(self) -> dict[str, str | None]:
        """Return the table as the API expects it."""
        return {
            "source": self.source,
            "table": self.table,
            "folder": self.folder,
            "description": self.description,
        }


@dataclass(frozen=True, slots=True)
class _Said:
    """The entry of a table in `_meta`."""

    query_mode: str = "local"
    description: str | None = None
    extracted_at: datetime | None = None


@dataclass(slots=True)
class Finding:
    """A search through a folder. `names` are those of registered tables; `scratch` is for tables without files."""

    root: Path
    names: frozenset[str]
    scratch: Path
    tables: list[FoundTable] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def look(self) -> None:
        """Find all tables; unreadable ones are added to `left`."""
        for home in _folders(self.root / EXTRACTS):
            self._look_into_source(home)
        self._look_into_old_layout(self.root / OLD_LAYOUT)

    def _look_into_source(self, home: Path) -> None:
        said, held = self._extract(home)
        files = _by_table(home / "data")
        for table in sorted({*files, *said}):
            about = said.get(table, _Said())
            place = f"{EXTRACTS}/{home.name}/{table}"
            paths = files.get(table) or held.get(table)
            if paths:
                self._add(home.name, table, home / "data" / table, paths, said=about)
            elif about.query_mode == "remote":
                self.left.append(Left("file", place, "a remote table without files"))
            else:
                self.left.append(Left("file", place, "it has no parquet files"))

    def _extract(self, home: Path) -> tuple[Mapping[str, _Said], Mapping[str, list[Path]]]:
        """Read the entries of an extract's tables, and export the tables that it contains itself."""
        path = home / "extract.duckdb"
        if not path.exists():
            return {}, {}
        try:
            with opened_copy(path, self.scratch) as connection:
                said = _meta(connection)
                return said, self._brought_out(connection, home, said)
        except DaError as error:
            self.left.append(Left("file", f"{EXTRACTS}/{home.name}/extract.duckdb", str(error)))
            return {}, {}

    def _brought_out(
        self, connection: duckdb.DuckDBPyConnection, home: Path, said: Iterable[str]
    ) -> Mapping[str, list[Path]]:
        held = {name for (name,) in connection.execute(_BASE_TABLES).fetchall()}
        brought: dict[str, list[Path]] = {}
        for number, table in enumerate(sorted(held & {*said})):
            path = self.scratch / f"{home.name}-{number}.parquet"
            connection.execute(f"copy {quote(table)} to {quote_text(str(path))} (format parquet)")
            brought[table] = [path]
        return brought

    def _look_into_old_layout(self, home: Path) -> None:
        for folder in (home, *_folders(home)):
            name = None if folder == home else folder.name
            if name is not None and self._is_table(folder):
                self._add(None, name, folder, _parquet(folder), said=_Said())
                continue
            for table, paths in sorted(_by_table(folder).items()):
                if folder != home or paths[0].parent == home:
                    self._add(None, table, folder / table, paths, said=_Said(), folder=name)

    def _is_table(self, folder: Path) -> bool:
        """Return whether a folder is itself a table, not a folder of tables."""
        parts = set(_by_table(folder))
        if folder.name in self.names and not parts & self.names:
            return True
        return bool(parts) and all(_PARTITION.fullmatch(part) for part in parts)

    def _add(
        self, source: str | None, table: str, home: Path, paths: list[Path], *, said: _Said, folder: str | None = None
    ) -> None:
        rows = 0
        for path in paths:
            try:
                rows += _count(path)
            except (duckdb.Error, UnicodeDecodeError) as error:
                reason = str(error).splitlines()[0].replace(str(path), "it")
                self.left.append(Left("file", str(path.relative_to(self.root)), f"can't be read as parquet: {reason}"))
                return
        newest = max(path.stat().st_mtime for path in paths)
        at = said.extracted_at or datetime.fromtimestamp(newest, UTC)
        self.tables.append(FoundTable(source, table, home, tuple(paths), rows, at, folder, said.description))


_BASE_TABLES: Final = "select table_name from duckdb_tables() where schema_name = 'main' and not internal"


def _meta(connection: duckdb.DuckDBPyConnection) -> Mapping[str, _Said]:
    if ("_meta",) not in connection.execute(_BASE_TABLES).fetchall():
        raise DaError("it has no table _meta")
    rows = connection.execute("select table_name, query_mode, description, extracted_at from main._meta").fetchall()
    return {
        table: _Said(mode or "local", description, at and at.replace(tzinfo=UTC))
        for table, mode, description, at in rows
    }


def _by_table(data: Path) -> dict[str, list[Path]]:
    """List the parquet files of each table of a folder: one file, or all below a folder."""
    found: dict[str, list[Path]] = {}
    for entry in _entries(data):
        if entry.is_dir() and (paths := _parquet(entry)):
            found.setdefault(entry.name, paths)
        elif entry.suffix == ".parquet":
            found[entry.stem] = [entry]  # a file overrides a folder of the same name
    return found


def _parquet(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.parquet") if path.is_file() and not _is_hidden(path, folder))


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _folders(home: Path) -> list[Path]:
    return [entry for entry in _entries(home) if entry.is_dir()]


def _entries(home: Path) -> list[Path]:
    if not home.is_dir():
        return []
    return sorted(entry for entry in home.iterdir() if not entry.name.startswith("."))


def _count(path: Path) -> int:
    """Count the rows of a parquet file, and check that its columns can be read."""
    duckdb.execute(f"describe select * from read_parquet({quote_path(path)}, hive_partitioning = false)")
    found = duckdb.execute("select num_rows from parquet_file_metadata(?)", [str(path)]).fetchone()
    return int(found[0]) if found else 0
