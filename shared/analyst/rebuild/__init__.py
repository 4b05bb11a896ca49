"""The rebuild: publishes the tables of all sources as the newest snapshot, one builder at a time.

A lease avoids the work of two builders; correctness rests on the swap of `analytics/current.json`. Triggers are not
queued: a snapshot records the versions that it was built from, and a builder continues until those are the current ones.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from analyst import duckdb_files, lease
from analyst.catalog import CURRENT, Catalog, Pointer, Problem, Table
from analyst.lease import Lease
from analyst.rebuild.publishing import COPY, Last, copy_newest, point, published_epoch, read_last, upload
from analyst.rebuild.snapshot_build import Building, LastSnapshotError
from analyst.runs import Run, TableResult
from analyst.snapshots import PREFIX, DamagedError, current_catalog, read_pointer
from analyst.store import Entry, Store, look_into_folders

LEASE = "rebuild"


class RebuildAnswer(BaseModel):
    """The result of a rebuild. `running` means that another builder is active and will include the changes."""

    model_config = ConfigDict(frozen=True)

    status: Literal["published", "unchanged", "running"]
    snapshot: int | None = None
    tables: int | None = None
    problems: tuple[Problem, ...] = ()
    held_back: tuple[str, ...] = ()
    """Sources that show the tables of an earlier snapshot since a rollback."""

    @property
    def http_status(self) -> int:
        """202 if another builder does the work, else 200."""
        return HTTPStatus.ACCEPTED if self.status == "running" else HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The dependencies of a rebuild. `seniority` returns the ids of the registered tables, the oldest first."""

    store: Store
    now: Callable[[], datetime]
    seniority: Callable[[], Sequence[str]]
    scratch: Path | None = None
    of_now: Callable[[], Callable[[Table, datetime], bool]] = field(default=lambda: _always)
    """Returns the rule that decides whether a table of a snapshot built at some time belongs to its present registration."""
    _known: dict[str, Catalog] = field(default_factory=dict)

    def run(self) -> RebuildAnswer:
        """Publish snapshots until the newest is built from the current extracts, and record the run."""
        run = Run.begin(self.store, self.now, "rebuild", None)
        answer = self._run(run.run_id)
        if answer.status == "published":
            run.snapshot, run.has_effect = answer.snapshot, True
            run.add(*_failed(answer.problems))
            run.end()
        return answer

    def is_current(self) -> bool:
        """Return whether the newest snapshot is built from the current extracts."""
        found = self.store.read(CURRENT)
        return self._versions() == (read_pointer(found).built_from if found else {})

    def unbuilt(self) -> frozenset[str]:
        """Return the sources that have published since the newest snapshot was built."""
        found = self.store.read(CURRENT)
        built_from = read_pointer(found).built_from if found else {}
        return frozenset(source for source, version in self._versions().items() if built_from.get(source) != version)

    def _run(self, run_id: str) -> RebuildAnswer:
        published = 0
        if (current := self._current()) is not None:
            return current
        while True:
            held = lease.acquire(self.store, LEASE, published_epoch=published_epoch(self.store), run_id=run_id)
            if held is None:
                return RebuildAnswer(status="running")
            with held:
                published += self._until_current(held)
            # A trigger that found the lease held was told "running" and is gone. If its source published after our last
            # listing and before the release above, nobody else will build it: so the versions are compared once more,
            # after the release. A trigger from now on finds the lease free.
            last = self._last()
            if self._versions() == last.built_from:
                return self._result(last, changed=published > 0)

    def _current(self) -> RebuildAnswer | None:
        """Answer without the lease if there is nothing to do: three requests, where taking the lease costs a dozen.

        Nothing to do means that the newest snapshot is built from the current extracts, that its two objects are there,
        and that its copy is. This needs no lease: whoever publishes an extract afterwards requests a rebuild of its own.
        """
        found = self.store.read(CURRENT)
        if found is None:
            return None
        pointer = read_pointer(found)
        entries = {entry.key: entry for entry in self.store.list(PREFIX)}
        duckdb, catalog, copy = (entries.get(key) for key in (pointer.duckdb, pointer.catalog, COPY))
        is_copied = duckdb is not None and copy is not None and copy.age < duckdb.age
        if not is_copied or catalog is None or self._versions() != pointer.built_from:
            return None
        text = pointer.catalog_text
        if text is not None and catalog.size != len(text.encode()):
            return None  # the catalog that others read is damaged
        with suppress(DamagedError):
            shown = current_catalog(self.store, pointer)
            return self._result(Last(pointer, shown, pointer.duckdb, is_whole=True), changed=False)
        return None

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
                    copy_newest(self.store, last.pointer, force=published > 0)
                return published
            with duckdb_files.scratch(self.scratch) as folder:
                published += self._publish(last, found, held, folder)

    def _publish(self, last: Last, found: Mapping[str, Entry], held: Lease, folder: Path) -> bool:
        """Build a snapshot and make it current. If it equals the last one, only record the versions it was built from.

        The lease may be lost while DuckDB builds, for longer than its ttl. `check` finds most cases before the upload;
        the swap in `point` finds the rest, because it replaces only the pointer that this build started from. Objects
        of a build that lost the race are referenced by nothing, and the sweep deletes them.
        """
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
        """Build from the changed sources, or from all of them if the last snapshot can't be built on."""
        changed = frozenset(name for name, version in versions.items() if last.built_from.get(name) != version)
        building = Building(self.store, last.catalog, last.duckdb, self.seniority(), folder, sizes)
        try:
            return building.build(frozenset(versions), changed, self.now())
        except LastSnapshotError:
            fresh = folder / "fresh"
            fresh.mkdir()
            building = replace(building, last_duckdb=None, folder=fresh)
            return building.build(frozenset(versions), frozenset(versions), self.now())

    def _versions(self) -> dict[str, str]:
        """Return the version of each source's extract."""
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
    """Return whether two snapshots look the same to readers."""
    shown, known = ((c.tables, c.problems, c.remote, c.held_back) for c in (one, other))
    return shown == known
