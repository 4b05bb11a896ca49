"""Read the folder of an older system: its state, its description, its tables, and everything else.

The files of tables are found in `extracts/<source>/data/<table>.parquet`, or a folder of files, next to
`extract.duckdb`, which may contain tables itself. In the layout without sources: `src_data/parquet/[<folder>/]<table>.parquet`, or a folder of files.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb

from da.errors import DaError, cause_of
from da.imports.old_state import OldState, opened_copy, read_state
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
class OldSystem:
    """The content of an older system's folder. `description` is the text of its `data_description.md`."""

    state: OldState
    tables: Sequence[FoundTable]
    left: Sequence[Left]
    description: str | None = None


@dataclass(frozen=True, slots=True)
class _Meta:
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
        entries, held = self._extract(home)
        files = _by_table(home / "data")
        for table in sorted({*files, *entries}):
            about = entries.get(table, _Meta())
            place = f"{EXTRACTS}/{home.name}/{table}"
            paths = files.get(table) or held.get(table)
            if paths:
                self._add(home.name, table, home / "data" / table, paths, meta=about)
            elif about.query_mode == "remote":
                self.left.append(Left("file", place, "a remote table without files"))
            else:
                self.left.append(Left("file", place, "it has no parquet files"))

    def _extract(self, home: Path) -> tuple[Mapping[str, _Meta], Mapping[str, list[Path]]]:
        """Read the entries of an extract's tables, and export the tables that it contains itself."""
        path = home / "extract.duckdb"
        if not path.exists():
            return {}, {}
        try:
            with opened_copy(path, self.scratch) as connection:
                entries = _meta(connection)
                return entries, self._brought_out(connection, home, entries)
        except DaError as error:
            self.left.append(Left("file", f"{EXTRACTS}/{home.name}/extract.duckdb", str(error)))
            return {}, {}

    def _brought_out(
        self, connection: duckdb.DuckDBPyConnection, home: Path, entries: Iterable[str]
    ) -> Mapping[str, list[Path]]:
        held = {name for (name,) in connection.execute(_BASE_TABLES).fetchall()}
        brought: dict[str, list[Path]] = {}
        for number, table in enumerate(sorted(held & {*entries})):
            path = self.scratch / f"{home.name}-{number}.parquet"
            connection.execute(f"copy {quote(table)} to {quote_text(str(path))} (format parquet)")
            brought[table] = [path]
        return brought

    def _look_into_old_layout(self, home: Path) -> None:
        for folder in (home, *_folders(home)):
            name = None if folder == home else folder.name
            if name is not None and self._is_table(folder):
                self._add(None, name, folder, _parquet(folder), meta=_Meta())
                continue
            for table, paths in sorted(_by_table(folder).items()):
                if folder != home or paths[0].parent == home:
                    self._add(None, table, folder / table, paths, meta=_Meta(), folder=name)

    def _is_table(self, folder: Path) -> bool:
        """Return whether a folder is itself a table, not a folder of tables."""
        parts = set(_by_table(folder))
        if folder.name in self.names and not parts & self.names:
            return True
        return bool(parts) and all(_PARTITION.fullmatch(part) for part in parts)

    def _add(
        self, source: str | None, table: str, home: Path, paths: list[Path], *, meta: _Meta, folder: str | None = None
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
        at = meta.extracted_at or datetime.fromtimestamp(newest, UTC)
        self.tables.append(FoundTable(source, table, home, tuple(paths), rows, at, folder, meta.description))


_BASE_TABLES: Final = "select table_name from duckdb_tables() where schema_name = 'main' and not internal"


def _meta(connection: duckdb.DuckDBPyConnection) -> Mapping[str, _Meta]:
    if ("_meta",) not in connection.execute(_BASE_TABLES).fetchall():
        raise DaError("it has no table _meta")
    rows = connection.execute("select table_name, query_mode, description, extracted_at from main._meta").fetchall()
    return {
        table: _Meta(mode or "local", description, at and at.replace(tzinfo=UTC))
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
    return sorted(
        path
        for path in folder.rglob("*.parquet")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


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


STATE: Final = "state/system.duckdb"
DESCRIPTION: Final = "data_description.md"

_PLACES: Final = (DESCRIPTION, f"docs/{DESCRIPTION}", f"config/{DESCRIPTION}", f"src_data/{DESCRIPTION}")
_MOST_BYTES: Final = 8 << 20
_NAME: Final = re.compile(r"^[ \t-]*(?:\{\s*)?(?:id|name):\s*[\"']?([^\"'\n#,}]+)", re.MULTILINE)
_KNOWLEDGE: Final = "knowledge is imported from system.duckdb only"
_RAW: Final = "only parquet files are imported"
_UPLOADS: Final = "uploaded files are not imported"
_REASONS: Final[Mapping[str, str]] = {
    "analytics": "rebuilt by this server",
    "auth": "passwords are imported from system.duckdb only",
    "corporate-memory": _KNOWLEDGE,
    "docs": "documents and metrics are not imported",
    "metadata": "recreated by the next sync",
    "notifications": "links are imported from system.duckdb only",
    "src_data/metadata": "recreated by the next sync",
    "src_data/raw": _RAW,
    "user_artifacts": _UPLOADS,
    "user_local_md": _UPLOADS,
    "user_sessions": _UPLOADS,
}
_UNKNOWN: Final = "not supported"


def read_folder(root: Path, scratch: Path, description: Path | None = None) -> OldSystem:
    """Read the folder of an older system. `scratch` is for the files of tables that have none of their own.

    Raises:
        DaError: the folder is not one of an older system, or its state can't be read.
    """
    place = description or next((root / place for place in _PLACES if (root / place).is_file()), None)
    if place is None and not any((root / name).exists() for name in (STATE, EXTRACTS, OLD_LAYOUT)):
        raise DaError(
            f"can't import '{root}': it has none of {STATE}, {EXTRACTS}, {OLD_LAYOUT} and {DESCRIPTION}; give the older system's DATA_DIR"
        )
    state = read_state(root / STATE)
    text = None if place is None else _text(place)
    finding = Finding(root, _names(state, text), scratch)
    finding.look()
    return OldSystem(state, finding.tables, (*finding.left, *_rest(root)), text)


def _text(place: Path) -> str:
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DaError(f"can't read '{place}': {cause_of(error)}; check its permissions, and save it as UTF-8") from None
    if len(text) > _MOST_BYTES:
        raise DaError(
            f"can't read '{place}': it is larger than {_MOST_BYTES >> 20} MB; check that it is the right file"
        )
    return text.replace("\x00", "")


def _names(state: OldState, description: str | None) -> frozenset[str]:
    """Return the names of registered tables."""
    names = {row[column] for row in state.rows.get("table_registry", ()) for column in ("id", "name")}
    described = {name.strip().rpartition(".")[2] for name in _NAME.findall(description or "")}
    return frozenset(name for name in names | described if name)


def _rest(root: Path) -> Iterator[Left]:
    """List everything in the folder that is neither state nor tables."""
    known = {*STATE.split("/")[:1], EXTRACTS, "src_data", DESCRIPTION}
    paths = [path for path in _filled(root) if path.name not in known]
    paths += [path for path in _filled(root / "state") if path.name not in {"system.duckdb", "system.duckdb.wal"}]
    paths += [path for path in _filled(root / "src_data") if path.name not in {"parquet", DESCRIPTION}]
    for source in _filled(root / EXTRACTS):
        theirs = {"extract.duckdb", "extract.duckdb.wal", "data"}
        paths += [path for path in _filled(source) if path.name not in theirs] if source.is_dir() else [source]
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        yield Left("folder", name, _REASONS.get(name, _RAW if path.name == "raw" else _UNKNOWN))


def _filled(folder: Path) -> list[Path]:
    """List the entries of a folder without folders that contain no file."""
    return [path for path in _entries(folder) if not path.is_dir() or any(each.is_file() for each in path.rglob("*"))]
