"""Profiling: scanning the files of a table that are not known yet, and storing the profile that results."""

import gzip
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict
from ulid import ULID

from analyst import duckdb_files, logs
from analyst.catalog import Column, File, Table
from analyst.descriptions import Texts, read_texts
from analyst.errors import AnalystError, InvalidInputError, SourceError, UnavailableError
from analyst.names import quote, quote_text
from analyst.profiles import relations, stored_profiles
from analyst.profiles.relations import write_summary
from analyst.profiles.stored_profiles import StoredProfile
from analyst.snapshots import Snapshot
from analyst.store import Store, in_parallel
from analyst.store.compare_and_swap import put_once
from analyst.store.transfer import delete_all, local_copy
from analyst.types import checked_type
from da.profiles.aggregates import kind_of
from da.profiles.drift import changes_since, drift_alerts, summary_of
from da.profiles.report import Described as About
from da.profiles.report import profile_of
from da.profiles.scan import EXACT_ROWS, Scanned, scan
from da.profiles.sensitive import by_tag
from da.profiles.sketches import absent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from analyst.state.registry import RegisteredTable

_LOG = logging.getLogger(f"{logs.ROOT}.profiles")

FORMAT: Final = 4
"""The version of the sketches. It changes when their computation changes; then files are read again."""

SIDE_BY_SIDE: Final = 2
_FEW_ROWS: Final = 50_000
_ROW_NUMBER: Final = "file_row_number"


@dataclass(frozen=True, slots=True)
class Registered:
    """The registry's fields of a table that is profiled."""

    primary_key: tuple[str, ...] = ()
    sync_strategy: str | None = None
    description: str | None = None
    is_profiled: bool = True
    """Whether it is profiled after each sync."""

    @classmethod
    def all(cls, tables: "Iterable[RegisteredTable]") -> "dict[str, Registered]":
        """Return the registry's fields of all tables, by id."""
        return {
            table.id: cls(table.primary_key, table.sync_strategy, table.description, table.profile_after_sync)
            for table in tables
        }


class ProfiledTable(BaseModel):
    """The result of profiling one table."""

    model_config = ConfigDict(frozen=True)

    table: str
    status: str
    ms: int = 0
    scanned_files: int = 0
    alerts: int = 0
    error: str | None = None
    is_temporary: bool = False
    """Whether it failed because the store or the memory was not available; a later attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Profiling:
    """What profiling needs. `memory_limit` is that of each of the two connections at work."""

    store: Store
    now: Callable[[], datetime]
    memory_limit: str = "300MB"
    scratch: Path | None = None

    def due(
        self,
        snapshot: Snapshot,
        registry: Mapping[str, Registered],
        only: Iterable[str] | None = None,
        source: str | None = None,
    ) -> list[Table]:
        """List the tables whose profile is outdated: of those named, else of a source, else of all."""
        names = None if only is None else frozenset(only)
        wanted = [
            table
            for table in snapshot.catalog.tables
            if (table.source == source or source is None if names is None else table.id in names)
            and _is_profiled(table, registry.get(table.id, Registered()))
        ]
        known = in_parallel(lambda table: stored_profiles.read(self.store, table), wanted)
        return [table for table, one in zip(wanted, known, strict=True) if one is None or one.hash != table.hash]

    def refresh(
        self,
        snapshot: Snapshot,
        registry: Mapping[str, Registered],
        only: Iterable[str] | None = None,
        source: str | None = None,
    ) -> list[ProfiledTable]:
        """Profile the tables whose profile is outdated, and propose relations of those that changed."""
        due = self.due(snapshot, registry, only, source)
        made = self.run(due, registry) if due else []
        if changed := [each.table for each in made if each.status == "ok"]:
            self.propose(snapshot, registry, changed)
        return made

    def propose(self, snapshot: Snapshot, registry: Mapping[str, Registered], tables: Iterable[str] | None) -> int:
        """Look for relations of some tables (`None`: all), store the proposals, and return their number."""
        keys = {table: each.primary_key for table, each in registry.items()}
        return relations.propose(
            self.store, snapshot, keys, tables, memory_limit=self.memory_limit, scratch=self.scratch
        )

    def run(self, tables: Sequence[Table], registry: Mapping[str, Registered]) -> list[ProfiledTable]:
        """Profile tables, two at a time; one that fails keeps its last profile and does not stop the others."""
        with duckdb_files.scratch(self.scratch) as folder, self._connections(folder) as connections:

            def one(table: Table) -> ProfiledTable:
                began = time.monotonic()
                try:
                    made = self._profile(table, registry.get(table.id, Registered()), connections, folder)
                except Exception as error:  # noqa: BLE001 - whatever it is, the other tables are profiled
                    reason = _explained(error, table)
                    is_temporary = isinstance(error, UnavailableError)
                    return ProfiledTable(
                        table=table.id, status="failed", error=reason, ms=_ms(began), is_temporary=is_temporary
                    )
                alerts = len(made.profile["alerts"])
                return ProfiledTable(table=table.id, status="ok", ms=made.ms, scanned_files=made.scanned, alerts=alerts)

            with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
                return list(pool.map(one, tables))

    def profile(self, table: Table, registered: Registered) -> StoredProfile:
        """Profile one table now.

        Raises:
            InvalidInputError: it is remote, so it has no files.
            SourceError: its files can't be read.
            UnavailableError: the store does not respond, or memory ran out.
        """
        if table.query_mode == "remote":
            raise InvalidInputError(f"{table.id!r} is remote, so it has no files to profile; query it instead")
        with duckdb_files.scratch(self.scratch) as folder, self._connections(folder) as connections:
            try:
                return self._profile(table, registered, connections, folder)
            except AnalystError:
                raise
            except Exception as error:
                raise SourceError(_explained(error, table)) from error

    @contextmanager
    def _connections(self, folder: Path) -> Iterator["_Connections"]:
        free: SimpleQueue[DuckDBPyConnection] = SimpleQueue()
        with ExitStack() as stack:
            for number in range(SIDE_BY_SIDE):
                lent = duckdb_files.lent(memory_limit=self.memory_limit, temp_dir=folder / f"spill-{number}")
                free.put(stack.enter_context(lent))
            yield _Connections(free, read_texts(self.store))

    def _profile(
        self, table: Table, registered: Registered, connections: "_Connections", folder: Path
    ) -> StoredProfile:
        began, known = time.monotonic(), stored_profiles.read(self.store, table)
        whole, scanned = self._scanned(table, registered, connections, folder)
        at = self.now()
        profile = profile_of(whole, _described(table, registered, at))
        changes: list[dict[str, Any]] = []
        if known is not None and known.hash != table.hash:
            changes = changes_since(known.profile, profile)
            profile["alerts"] += drift_alerts(known.profile, profile)
        history = stored_profiles.next_history(known, summary_of(known.profile)) if known is not None else ()
        if known is not None and known.hash == table.hash:  # the same rows: nothing has changed since the one before
            changes, history = list(known.changes), known.history
        made = StoredProfile(
            id=str(ULID()),
            table=table.id,
            registration=table.registration,
            hash=table.hash,
            version=table.version,
            created_at=at,
            ms=_ms(began),
            scanned=scanned,
            files=tuple(dict.fromkeys(file.sha256 for file in table.files)),
            profile=profile,
            changes=tuple(changes),
            history=history,
        )
        stored_profiles.write(self.store, made)
        write_summary(self.store, table, whole)
        if known is not None:
            gone = set(known.files) - set(made.files)
            delete_all(self.store, (stored_profiles.sketch_key(table.id, sha256) for sha256 in gone))
        return made

    def _scanned(
        self, table: Table, registered: Registered, connections: "_Connections", folder: Path
    ) -> tuple[Scanned, int]:
        """Return the sketches of all rows, and how many files were read for them."""
        rows = sum(file.rows for file in table.files)
        columns = {column.name: checked_type(column.type) for column in table.columns}
        is_alone = len(table.files) == 1
        key = registered.primary_key if is_alone and set(registered.primary_key) <= columns.keys() else ()
        how = _How(columns, key, exact=is_alone and rows <= EXACT_ROWS, hidden=connections.hidden(table))
        known = in_parallel(lambda file: self._known(table, file, how), table.files)

        def sketch(file: File, threads: int = 1) -> Scanned:
            with connections.one(threads) as con:
                made = self._scan(con, file, how, folder)
            text = gzip.compress(json.dumps({**how.mark, **made.to_json()}).encode(), 1, mtime=0)
            put_once(self.store, stored_profiles.sketch_key(table.id, file.sha256), text)
            return made

        missing = [file for file, one in zip(table.files, known, strict=True) if one is None]
        read = len(missing)
        if read == 1 and missing[0].rows > _FEW_ROWS:  # both processors are free for it
            made = [sketch(missing[0], threads=SIDE_BY_SIDE)]
        elif read <= 1:
            made = [sketch(each) for each in missing]
        else:
            with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
                made = list(pool.map(sketch, missing))
        fresh = iter(made)
        whole: Scanned | None = None
        for one in known:
            piece = one if one is not None else next(fresh)
            whole = piece if whole is None else whole.merged(piece)
        return _in_order(whole or Scanned(), table.columns), read

    def _known(self, table: Table, file: File, how: "_How") -> Scanned | None:
        """Read the sketches of a file; `None` if they are missing, or were made otherwise than now."""
        found = self.store.read(stored_profiles.sketch_key(table.id, file.sha256))
        if found is None:
            return None
        try:
            document = json.loads(gzip.decompress(found.data))
            made = Scanned.from_json(document) if how.is_met_by(document) else None
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            made = None
        if made is None:
            self.store.delete(found_key := stored_profiles.sketch_key(table.id, file.sha256))
            _LOG.info("sketches are rebuilt", extra={"fields": {"key": found_key}})
        return made

    def _scan(self, con: "DuckDBPyConnection", file: File, how: "_How", folder: Path) -> Scanned:
        copy = folder / f"{ULID()}.parquet"
        path = local_copy(self.store, file.path, copy)
        try:
            place = quote_text(str(path).translate(_LITERAL))
            described = con.execute(
                f"describe select * from read_parquet({place}, hive_partitioning = false)"
            ).fetchall()
            in_file = {name: kind for name, kind, *_ in described}
            is_numbered = _ROW_NUMBER not in in_file
            number = f"{_ROW_NUMBER} = true" if is_numbered else "union_by_name = false"
            read = f"read_parquet({place}, {number}, hive_partitioning = false)"
            shared = {name: kind for name, kind in how.columns.items() if name in in_file}
            if any(in_file[name] != kind for name, kind in shared.items()):
                casts = [
                    f"cast({quote(name)} as {checked_type(kind)}) as {quote(name)}" for name, kind in shared.items()
                ]
                casts += [_ROW_NUMBER] if is_numbered else []
                read = f"(select {', '.join(casts)} from {read})"
            return scan(
                con,
                read,
                shared,
                file.rows,
                key=how.key if set(how.key) <= shared.keys() else (),
                exact=how.exact,
                row_number=_ROW_NUMBER if is_numbered else None,
                bytes_per_row=4 * file.size_bytes / max(file.rows, 1),
                hidden=how.hidden,
            )
        finally:
            copy.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _How:
    """How files are scanned: their columns with types, the key whose repetitions are counted, and whether exactly."""

    columns: Mapping[str, str]
    key: tuple[str, ...]
    exact: bool
    hidden: tuple[str, ...] = ()
    """Columns that are sensitive by their tags."""

    @property
    def mark(self) -> dict[str, Any]:
        """What sketches depend on besides the file."""
        import duckdb

        made_by = [FORMAT, duckdb.__version__, *map(list, self.columns.items()), list(self.hidden)]
        return {"mark": made_by, "key": list(self.key), "exact": self.exact}

    def is_met_by(self, document: Mapping[str, Any]) -> bool:
        """Return whether sketches that were made before can be used: those that were made exactly serve for both."""
        mark = self.mark
        return (
            document["mark"] == mark["mark"]
            and (not self.key or document["key"] == mark["key"])
            and (not self.exact or bool(document["exact"]))
        )


_LITERAL: Final = {ord("*"): "[*]", ord("?"): "[?]", ord("["): "[[]"}
"""`read_parquet` takes these characters for patterns."""


@dataclass(frozen=True, slots=True)
class _Connections:
    """Connections that take turns, each used by one thread at a time; and what people say of the tables."""

    free: "SimpleQueue[DuckDBPyConnection]"
    texts: Texts

    def hidden(self, table: Table) -> tuple[str, ...]:
        """Return the columns whose tags say that they are sensitive; their values are not even stored."""
        return tuple(sorted(name for name, tags in self.texts.tags_by_column(table).items() if by_tag(tags)))

    @contextmanager
    def one(self, threads: int) -> Iterator["DuckDBPyConnection"]:
        con = self.free.get()
        try:
            if threads > 1:
                con.execute(f"set threads = {int(threads)}")
            yield con
        except BaseException:
            con.execute("drop table if exists t; drop table if exists s")
            raise
        finally:
            if threads > 1:
                con.execute("set threads = 1")
            self.free.put(con)


def _is_profiled(table: Table, registered: Registered) -> bool:
    return registered.is_profiled and table.query_mode != "remote"


def _in_order(whole: Scanned, columns: Sequence[Column]) -> Scanned:
    """Return sketches with the columns in the order of the table; one that no file has is empty."""
    scanned = whole.columns
    ordered = {
        column.name: scanned.get(column.name) or absent(kind_of(column.type), column.type, whole.rows)
        for column in columns
    }
    return replace(whole, columns=ordered)


def _described(table: Table, registered: Registered, at: datetime) -> About:
    return About(
        table=table.id,
        at=int(at.timestamp() * 1000),
        size_bytes=sum(file.size_bytes for file in table.files),
        description=registered.description or table.description,
        primary_key=registered.primary_key,
        sync_strategy=registered.sync_strategy,
        last_sync=table.extracted_at.isoformat() if table.extracted_at else None,
        columns={column.name: column.description for column in table.columns},
    )


def _explained(error: Exception, table: Table) -> str:
    """Return why a table could not be profiled, without the words of DuckDB, which can contain values of the table."""
    if isinstance(error, AnalystError):
        return str(error)
    frames = [f"{frame.name} at {frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    fields = {"table": table.id, "error": type(error).__name__, "frames": frames}
    _LOG.error("a table could not be profiled", extra={"fields": fields})
    return f"the files of {table.id!r} could not be read for a profile ({type(error).__name__}); see the log"


def _ms(began: float) -> int:
    return round(1000 * (time.monotonic() - began))
