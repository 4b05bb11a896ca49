"""The rebuild: what the sources have becomes the newest snapshot, one builder at a time.

A lease saves the work of two builders; the swap of `analytics/current.json` keeps it right. Triggers are not queued:
a snapshot records what it was built from, and a builder goes on until that is what there is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from analyst import duckdb_files, lease
from analyst.catalog import CURRENT, Catalog, Pointer, Problem, Table
from analyst.lease import Lease
from analyst.rebuild.publishing import Last, copy_newest, point, published_epoch, read_last, upload
from analyst.rebuild.snapshot_build import Building, LastSnapshotError
from analyst.runs import Run, TableResult
from analyst.snapshots import read_pointer
from analyst.store import Entry, Store, look_into_folders

LEASE = "rebuild"


class RebuildAnswer(BaseModel):
    """How a rebuild ended. `running` means that another builder is at it and sees to what this one came for."""

    model_config = ConfigDict(frozen=True)

    status: Literal["published", "unchanged", "running"]
    snapshot: int | None = None
    tables: int | None = None
    problems: tuple[Problem, ...] = ()
    held_back: tuple[str, ...] = ()
    """Sources that show the tables of an earlier snapshot, since a rollback."""

    @property
    def http_status(self) -> int:
        """Work that another sees to is accepted, not done."""
        return HTTPStatus.ACCEPTED if self.status == "running" else HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What a rebuild works with. `seniority` tells the ids of the registered tables, first registered first."""

    store: Store
    now: Callable[[], datetime]
    seniority: Callable[[], Sequence[str]]
    scratch: Path | None = None
    of_now: Callable[[], Callable[[Table, datetime], bool]] = field(default=lambda: _always)
    """Gives the rule that says whether a table of a snapshot built at a time can be shown for its present registration."""
    _known: dict[str, Catalog] = field(default_factory=dict)

    def run(self) -> RebuildAnswer:
        """Publish snapshots until the newest is built from what the sources have, and keep a record of it."""
        run = Run.begin(self.store, self.now, "rebuild", None)
        answer = self._run(run.run_id)
        if answer.status == "published":
            run.snapshot, run.has_effect = answer.snapshot, True
            run.add(*_failed(answer.problems))
            run.end()
        return answer

    def is_current(self) -> bool:
        """Tell whether the newest snapshot is built from what the sources have now."""
        found = self.store.read(CURRENT)
        return self._versions() == (read_pointer(found).built_from if found else {})

    def unbuilt(self) -> frozenset[str]:
        """Return the sources that have published since the newest snapshot was built."""
        found = self.store.read(CURRENT)
        built_from = read_pointer(found).built_from if found else {}
        return frozenset(source for source, version in self._versions().items() if built_from.get(source) != version)

    def _run(self, run_id: str) -> RebuildAnswer:
        published = 0
        while True:
            held = lease.acquire(self.store, LEASE, published_epoch=published_epoch(self.store), run_id=run_id)
            if held is None:
                return RebuildAnswer(status="running")
            with held:
                published += self._until_current(held)
            # a trigger that found the lease held has gone away: what it came for is looked for once more
            last = self._last()
            if self._versions() == last.built_from:
                return self._result(last, changed=published > 0)

    def _last(self) -> Last:
        last = read_last(self.store, self._known)
        if last.pointer is not None and last.is_whole:
            self._know(last.pointer, last.catalog)
        return last

    def _know(self, pointer: Pointer, catalog: Catalog) -> None:
        self._known.clear()
        self._known[pointer.catalog] = catalog

    def _until_current(self, held: Lease) -> int:
        published = 0
        while True:
            last, found = self._last(), self._look()
            versions = {source: entry.version for source, entry in found.items()}
            if versions == last.built_from and (last.is_whole or last.pointer is None):
                if last.pointer is not None:
                    copy_newest(self.store, last.pointer, anew=published > 0)
                return published
            with duckdb_files.scratch(self.scratch) as folder:
                published += self._publish(last, found, held, folder)

    def _publish(self, last: Last, found: Mapping[str, Entry], held: Lease, folder: Path) -> bool:
        """Build a snapshot and make it the current one; nothing but the record of it if it equals the last."""
        versions = {source: entry.version for source, entry in found.items()}
        sizes = {source: entry.size for source, entry in found.items()}
        catalog, path = self._build(last, versions, sizes, folder)
        held.check()
        if last.pointer is not None and last.is_whole and _same(catalog, last.catalog):
            point(
                self.store, last.pointer, last.pointer.model_copy(update={"built_from": versions, "epoch": held.epoch})
            )
            return False
        pointer = upload(self.store, catalog, path, after=last.pointer, built_from=versions, epoch=held.epoch)
        point(self.store, last.pointer, pointer)
        self._know(pointer, catalog)
        return True

    def _build(
        self, last: Last, versions: dict[str, str], sizes: Mapping[str, int], folder: Path
    ) -> tuple[Catalog, Path]:
        """Build from what has changed, and from all of it if what was published last can't be built on."""
        changed = frozenset(name for name, version in versions.items() if last.built_from.get(name) != version)
        building = Building(self.store, last.catalog, last.duckdb, self.seniority(), folder, sizes)
        try:
            return building.build(frozenset(versions), changed, self.now())
        except LastSnapshotError:
            anew = folder / "anew"
            anew.mkdir()
            building = replace(building, last_duckdb=None, folder=anew)
            return building.build(frozenset(versions), frozenset(versions), self.now())

    def _versions(self) -> dict[str, str]:
        """Tell the version of each source's extract."""
        return {source: entry.version for source, entry in self._look().items()}

    def _look(self) -> dict[str, Entry]:
        found = look_into_folders(self.store, "extracts/", "extract.duckdb")
        return {entry.key.split("/")[1]: entry for entry in found}

    def _result(self, last: Last, *, changed: bool) -> RebuildAnswer:
        return RebuildAnswer(
            status="published" if changed else "unchanged",
            snapshot=last.catalog.snapshot,
            tables=len(last.catalog.tables),
            problems=last.catalog.problems,
            held_back=tuple(one.source for one in last.catalog.held_back),
        )


def _failed(problems: Sequence[Problem]) -> Iterator[TableResult]:
    messages: dict[str, list[str]] = {}
    for problem in problems:
        name = f"{problem.source}.{problem.table}" if problem.table else problem.source
        messages.setdefault(name, []).append(problem.message)
    for name, texts in messages.items():
        yield TableResult(table=name, status="failed", error="; ".join(texts))


def _always(_table: Table, _built_at: datetime) -> bool:
    return True


def _same(one: Catalog, other: Catalog) -> bool:
    """Tell whether two snapshots look the same to whoever reads them."""
    shown, known = ((c.tables, c.problems, c.remote, c.held_back) for c in (one, other))
    return shown == known
