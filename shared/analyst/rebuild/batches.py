"""Taking sources in batches, each in a DuckDB of its own.

DuckDB slows down with every database that is attached, and some damage to a file brings a whole DuckDB down, with all
that is attached to it. A batch that falls is taken again in halves, until the one source is found that fells it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ulid import ULID

from analyst import duckdb_files
from analyst.catalog import Problem, Table
from analyst.contract.model import extract_key
from analyst.errors import AnalystError, ContractError
from analyst.rebuild import assembling
from analyst.rebuild.taking import Found, Source, Taken
from analyst.store import ObjectMissingError, Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")
U = TypeVar("U")

SIZE = 32
SIDE_BY_SIDE = 2
DOWNLOADS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Batching:
    """What batches work with. `last` has the tables of the last snapshot by source and name."""

    store: Store
    last: Mapping[str, Mapping[str, Table]]
    folder: Path

    def open(self, sources: Sequence[str]) -> "list[Batch]":
        """Download extracts, and read what they say."""
        paths = _side_by_side(self._download, sources, DOWNLOADS_AT_ONCE)
        there = {name: path for name, path in zip(sources, paths, strict=True) if path is not None}
        count = -(-len(there) // SIZE)
        parts = [dict(list(there.items())[number::count]) for number in range(count)]
        return [batch for opened in _side_by_side(self._open, parts, SIDE_BY_SIDE) for batch in opened]

    def take(self, batches: Sequence["Batch"], views: Mapping[str, str]) -> "list[Outcome]":
        """Take what belongs from each batch, views under the names that they own: `{table id: view}`."""
        taken = _side_by_side(lambda batch: list(self._take(batch, views)), batches, SIDE_BY_SIDE)
        return [outcome for outcomes in taken for outcome in outcomes]

    def _download(self, source: str) -> Path | None:
        path = self.folder / f"{source.encode().hex()[:100]}-{ULID()}.duckdb"
        try:
            self.store.download(extract_key(source), path)
        except ObjectMissingError:
            return None
        return path

    def _open(self, paths: Mapping[str, Path]) -> "list[Batch]":
        import duckdb

        con = duckdb_files.connect(threads=1, temp_dir=self.folder / "spill")
        batch = Batch(con, dict(paths))
        for number, (name, path) in enumerate(paths.items()):
            try:
                last = self.last.get(name, {})
                batch.sources.append(Source.open(con, self.store, name, path, alias=f"taken_{number}", last=last))
            except AnalystError as error:
                batch.problems.append(Problem(source=name, code=error.code, message=str(error)))
            except duckdb.Error as error:
                batch.problems.append(_damage(name, error))
        if batch.is_up() or len(paths) == 1:
            return [batch]
        con.close()
        return [opened for half in _halves(paths) for opened in self._open(half)]

    def _take(self, batch: "Batch", views: Mapping[str, str]) -> "Iterator[Outcome]":
        import duckdb

        try:
            with batch.con:
                yield batch.take(views, self.folder)
        except duckdb.Error as error:
            if len(batch.paths) > 1:
                for half in _halves(batch.paths):
                    for opened in self._open(half):
                        yield from self._take(opened, views)
            else:
                yield batch.fallen(error)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a batch: what each source gives, and a database of the views (`None` if there are none)."""

    taken: Mapping[str, Taken]
    problems: tuple[Problem, ...]
    views: Path | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Some sources whose extracts are open in a DuckDB of their own."""

    con: "DuckDBPyConnection"
    paths: Mapping[str, Path]
    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def is_up(self) -> bool:
        """Tell whether the DuckDB still works."""
        import duckdb

        with suppress(duckdb.Error):
            self.con.execute("select 1")
            return True
        return False

    def take(self, views: Mapping[str, str], folder: Path) -> Outcome:
        """Bring the views together under the names that they own, and write them to a file."""
        if not self.sources:
            return Outcome({}, tuple(self.problems), None)
        found, taken = Found.look(self.con), dict[str, Taken]()
        for source in self.sources:
            one = taken[source.name] = source.take(self.con, found, folder)
            names = {placed.meta.table: views[f"{source.name}.{placed.meta.table}"] for placed in one.tables}
            assembling.rename(self.con, source.alias, names)
        path = folder / f"{ULID()}.views"
        assembling.begin_views(self.con, path)
        assembling.gather(self.con, [source.alias for source in self.sources])
        duckdb_files.detach(self.con, "merged")
        return Outcome(taken, (*self.problems, *(p for one in taken.values() for p in one.problems)), path)

    def fallen(self, error: Exception) -> Outcome:
        """Tell that the one source of this batch has brought its DuckDB down."""
        (name,) = self.paths
        return Outcome({}, (_damage(name, error),), None)


def _damage(source: str, error: Exception) -> Problem:
    reason = str(error).split("\n")[0]
    return Problem(source=source, code=ContractError.code, message=f"{extract_key(source)} is damaged: {reason}")


def _halves(paths: Mapping[str, Path]) -> Iterable[Mapping[str, Path]]:
    items = list(paths.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


def _side_by_side(work: Callable[[T], U], items: Sequence[T], at_once: int) -> list[U]:
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, items))
