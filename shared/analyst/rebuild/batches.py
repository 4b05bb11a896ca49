"""Batches of sources, each read in a DuckDB instance of its own.

DuckDB slows down with every attached database, and some kinds of damage to a file make a whole instance fail, with
everything attached to it. A batch that fails or takes too long is split in halves until the one damaged source is found.
Once its extracts are attached, the instance of a batch can access only files in its own folder.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ulid import ULID

from analyst import duckdb_files
from analyst.catalog import Column, Problem, Table
from analyst.contract.model import extract_key
from analyst.contract.views import view_columns
from analyst.errors import AnalystError, ContractError, InvalidInputError
from analyst.names import is_name
from analyst.rebuild.source_views import Found, Placed, Source, Taken, attached_as, check_columns
from analyst.store import ObjectMissingError, Store, in_parallel

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


SIZE = 32
SIZE_BYTES = 10 << 20
"""Sources and bytes of their extracts in a batch, about. Fewer sources take longer; more bytes, with many tables, more memory."""
SIDE_BY_SIDE = 2
DOWNLOADS_AT_ONCE = 16
MOST_BYTES = 1 << 30
"""The size in bytes of the largest extract.duckdb that is opened."""

MEMORY_LIMIT = "1GB"
LONGEST = 60.0
"""Seconds after which a batch is interrupted; 13 sources of 100 tables take 0.7."""


@dataclass(frozen=True, slots=True)
class Batching:
    """The dependencies of batches. `last` are the tables of the last snapshot by source and name, `sizes` the bytes of extracts."""

    store: Store
    last: Mapping[str, Mapping[str, Table]]
    folder: Path
    sizes: Mapping[str, int]

    def open(self, sources: Sequence[str], known: Collection[str]) -> "tuple[list[Outcome], list[Batch]]":
        """Download extracts, and read their contract tables.

        Batches whose table ids are all `known` are taken and closed at once, so that few are in memory at a time; the others
        stay open until `take`.
        """
        found = zip(sources, in_parallel(self._download, sources, DOWNLOADS_AT_ONCE), strict=True)
        paths: dict[str, Path] = {}
        refused: list[Problem] = []
        for name, one in found:
            if isinstance(one, Problem):
                refused.append(one)
            elif one is not None:
                paths[name] = one
        count = max(-(-len(paths) // SIZE), -(-sum(path.stat().st_size for path in paths.values()) // SIZE_BYTES))
        count = min(count, len(paths))
        parts = [dict(list(paths.items())[number::count]) for number in range(count)]
        opened = in_parallel(lambda part: list(self._opened(part, known)), parts, SIDE_BY_SIDE)
        outcomes = [one for some in opened for one in some if isinstance(one, Outcome)]
        batches = [one for some in opened for one in some if isinstance(one, Batch)]
        return [*outcomes, Outcome({}, tuple(refused))], batches

    def take(self, batches: Sequence["Batch"]) -> "list[Outcome]":
        """Take the tables of each batch."""
        taken = in_parallel(lambda batch: list(self._take(batch)), batches, SIDE_BY_SIDE)
        return [outcome for outcomes in taken for outcome in outcomes]

    def _opened(self, paths: Mapping[str, Path], known: Collection[str]) -> "Iterator[Outcome | Batch]":
        for batch in self._open(paths):
            if isinstance(batch, Outcome) or all(table in known for table in batch.tables()):
                yield from self._take(batch)
            else:
                yield batch

    def _download(self, source: str) -> Path | Problem | None:
        path = self.folder / f"{source.encode().hex()[:100]}-{ULID()}.duckdb"
        try:
            _require_size(source, self.sizes.get(source, 0))  # before any of it is read
            self.store.download(extract_key(source), path)
        except ObjectMissingError:
            return None
        except (ContractError, InvalidInputError) as error:
            return Problem(source=source, code=error.code, message=str(error))
        return path

    def _open(self, paths: Mapping[str, Path]) -> "list[Batch | Outcome]":
        import duckdb

        try:
            with ExitStack() as held:
                batch = held.enter_context(self._batch(paths))
                with duckdb_files.time_limit(batch.con, LONGEST):
                    batch.open(self.store, self.last)
                if duckdb_files.is_up(batch.con) or len(paths) == 1:
                    return [replace(batch, held=held.pop_all())]
        except duckdb.Error as error:
            if len(paths) == 1:
                return [Outcome({}, (_damage(next(iter(paths)), error),))]
        return [opened for half in _halves(paths) for opened in self._open(half)]

    @contextmanager
    def _batch(self, paths: Mapping[str, Path]) -> "Iterator[Batch]":
        """Provide a batch with a connection of its own."""
        if sum(path.stat().st_size for path in paths.values()) <= duckdb_files.SMALL:
            with duckdb_files.lent_confined() as (con, home):
                copies = {name: home / f"{number}.duckdb" for number, name in enumerate(paths)}
                for name, path in paths.items():
                    shutil.copyfile(path, copies[name])
                yield Batch(con, paths, home, copies)
        else:
            home = self.folder / f"batch-{ULID()}"
            home.mkdir()
            spill = self.folder / "spill"
            with duckdb_files.connect(threads=1, memory_limit=MEMORY_LIMIT, temp_dir=spill) as con:
                yield Batch(con, paths, home)

    def _take(self, batch: "Batch | Outcome") -> "Iterator[Outcome]":
        import duckdb

        if isinstance(batch, Outcome):
            yield batch
            return
        try:
            with batch.held, duckdb_files.time_limit(batch.con, LONGEST):
                yield batch.take()
        except duckdb.Error as error:
            if len(batch.paths) > 1:
                for half in _halves(batch.paths):
                    for opened in self._open(half):
                        yield from self._take(opened)
            else:
                yield batch.fallen(error)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a batch: what was taken of each source, and the columns of the tables by id."""

    taken: Mapping[str, Taken]
    problems: tuple[Problem, ...]
    columns: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """Sources whose extracts are open in one DuckDB instance, which can access only the folder `home`.

    `copies` are those of the extracts in `home`, if the instance was confined to it before; `held` closes it.
    """

    con: "DuckDBPyConnection"
    paths: Mapping[str, Path]
    home: Path
    copies: Mapping[str, Path] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)
    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _found: list[Found] = field(default_factory=list)

    def open(self, store: Store, last: Mapping[str, Mapping[str, Table]]) -> None:
        """Attach the extracts, confine the instance to them, and read their contract tables.

        Raises:
            duckdb.Error: one of the extracts made the instance fail, or it takes too long.
        """
        import duckdb

        are_plain = all(path in duckdb_files.PLAIN for path in self.paths.values())
        attached: dict[int, str] = {}
        for number, (name, path) in enumerate(self.paths.items()):
            with self._trouble_of(name):
                _require_openable(name, path)
                place = self.copies.get(name, path)
                duckdb_files.attach(self.con, place, attached_as(number), what=extract_key(name))
                attached[number] = name
        if not self.copies:
            duckdb_files.confine(self.con, self.home)
        found = Found.look(self.con, are_plain=are_plain)
        self._found.append(found)
        for number, name in attached.items():
            with self._trouble_of(name):
                try:
                    data = self.paths[name].read_bytes() if self.copies else None
                    source = Source.read(
                        self.con, name, number, found.tables, data, store=store, last=last.get(name, {})
                    )
                except duckdb.InterruptException:
                    raise
                except duckdb.Error as error:
                    self.problems.append(_damage(name, error))
                else:
                    self.sources.append(source)

    def tables(self) -> list[str]:
        """Return the ids of the tables that were found."""
        return [f"{source.name}.{table}" for source in self.sources for table in source.extract.meta]

    def take(self) -> Outcome:
        """Collect the tables."""
        if not self.sources:
            return Outcome({}, tuple(self.problems))
        (found,) = self._found
        stored = view_columns(self.con, [source.attached for source in self.sources])
        taken = {source.name: source.take(self.con, found, stored, self.home) for source in self.sources}
        written = view_columns(self.con, [source.alias for source in self.sources if not taken[source.name].is_copied])
        columns: dict[str, tuple[Column, ...]] = {}
        for source in self.sources:
            is_copied = taken[source.name].is_copied
            database, known = (source.attached, stored) if is_copied else (source.alias, written)
            one = taken[source.name] = _checked(source, taken[source.name], database, known)
            columns |= {
                f"{source.name}.{placed.meta.table}": known[database, placed.meta.table] for placed in one.tables
            }
        problems = (*self.problems, *(p for one in taken.values() for p in one.problems))
        return Outcome(taken, problems, columns)

    @contextmanager
    def _trouble_of(self, source: str) -> Iterator[None]:
        try:
            yield
        except AnalystError as error:
            self.problems.append(Problem(source=source, code=error.code, message=str(error)))

    def fallen(self, error: Exception) -> Outcome:
        """Return the outcome for the one source of this batch, which made its DuckDB instance fail."""
        (name,) = self.paths
        return Outcome({}, (_damage(name, error),))


def _checked(source: Source, taken: Taken, database: str, known: Mapping[tuple[str, str], tuple[Column, ...]]) -> Taken:
    """Leave out the tables with columns whose names or types can't be shown to readers."""
    good: list[Placed] = []
    problems = list(taken.problems)
    for placed in taken.tables:
        name = placed.meta.table
        try:
            check_columns(f"{source.name}.{name}", known[database, name])
        except ContractError as error:
            problems.append(Problem(source=source.name, table=name, code=error.code, message=str(error)))
        else:
            good.append(placed)
    return replace(taken, tables=tuple(good), problems=tuple(problems))


def _require_openable(source: str, path: Path) -> None:
    """Check whether an extract may be opened at all.

    Raises:
        ContractError: its folder is not a valid name of a source, or it is too large.
    """
    if not is_name(source):
        raise ContractError(
            f"the folder 'extracts/{source:.200}' is ignored: its name is not a valid name of a source (only a-z, 0-9 "
            "and _)"
        )
    _require_size(source, path.stat().st_size)


def _require_size(source: str, size: int) -> None:
    if size > MOST_BYTES:
        raise ContractError(
            f"{extract_key(source)!r} can't be read: it is larger than {MOST_BYTES >> 20} MB; write data to parquet "
            "files instead"
        )


def _damage(source: str, error: Exception) -> Problem:
    import duckdb

    reason = duckdb_files.reason_of(error)
    if isinstance(error, duckdb.InterruptException):
        reason = f"reading it took longer than {LONGEST:.0f} s"
    return Problem(
        source=source,
        code=ContractError.code,
        message=f"{extract_key(source)!r} is damaged: {reason}; run the source again to replace it",
    )


def _halves(paths: Mapping[str, Path]) -> Iterable[Mapping[str, Path]]:
    items = list(paths.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])
