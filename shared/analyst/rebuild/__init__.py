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
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from analyst import duckdb_files, lease
from analyst.catalog import CURRENT, Catalog, Pointer, Problem, SourceTables, Table
from analyst.errors import ContractError, UnavailableError
from analyst.lease import Lease
from analyst.rebuild import snapshot_file
from analyst.rebuild.contents import EMBEDDED, Contents
from analyst.rebuild.frozen_lakes import FrozenLakes, lake_key
from analyst.rebuild.newest_file import NewestFile
from analyst.rebuild.publishing import (
    COPY,
    Last,
    copy_newest,
    has_own_file,
    point,
    read_damaged,
    read_last,
    upload,
)
from analyst.rebuild.snapshot_build import Building, Built
from analyst.runs import Run, TableResult
from analyst.snapshots import PREFIX, DamagedError, current_listed, read_pointer
from analyst.snapshots.parts import LARGEST
from analyst.store import Entry, Object, ObjectMissingError, Store, look_into_folders

LEASE = "rebuild"

FILE_AT_ONCE = 300
"""Tables up to which analytics.duckdb is written during the rebuild; 300 take about 0.3 s."""


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


LAKE_IS_LATE: Final = 300.0
"""Seconds since a snapshot was published, after which a missing lake is requested again."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The dependencies of a rebuild. `seniority` returns the ids of the registered tables, the oldest first.

    `later` requests `refresh_file` in the background; it is called after a rebuild of a snapshot with more tables than
    `file_at_once`. Without it, nobody writes the file of such a snapshot. Of fewer tables, it is written at once.
    `lake_later` requests `write_lakes` in the background.
    """

    store: Store
    now: Callable[[], datetime]
    seniority: Callable[[], Sequence[str]]
    scratch: Path | None = None
    of_now: Callable[[], Callable[[Table, datetime], bool]] = field(default=lambda: _always)
    """Returns the rule that decides whether a table of a snapshot built at some time belongs to its present registration."""
    later: Callable[[], object] | None = None
    lake_later: Callable[[], object] | None = None
    embedded: int = EMBEDDED
    """Bytes of a catalog up to which it is one object, and the snapshot has a file of its own."""
    part: int = LARGEST
    """Bytes from which on a part of a catalog is not extended by further sources."""
    file_at_once: int = FILE_AT_ONCE
    _known: dict[str, Contents] = field(default_factory=dict)

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

    def refresh_file(self) -> RebuildAnswer:
        """Bring analytics.duckdb up to date with the newest snapshot."""
        NewestFile(self.store, self.scratch, self._known).refresh()
        return self._result(read_last(self.store, self._known), changed=False)

    def write_lakes(self) -> RebuildAnswer:
        """Write the frozen lakes of the newest snapshots that have none."""
        FrozenLakes(self.store, self.scratch, self._known).write()
        return self._result(read_last(self.store, self._known), changed=False)

    def _run(self, run_id: str) -> RebuildAnswer:
        newest = self.store.read(CURRENT)
        if newest is not None and (current := self._current(newest)) is not None:
            return current
        # Whoever publishes from now on takes the lease, which has a greater epoch then; if it was deleted, the swap rejects
        # what is built with too low an epoch.
        epoch = read_pointer(newest).epoch if newest is not None else 0
        published: Pointer | None = None
        while True:
            held = lease.acquire(self.store, LEASE, published_epoch=epoch, run_id=run_id)
            if held is None:
                return RebuildAnswer(status="running")
            with held:
                published = self._until_current(held) or published
            # A trigger that found the lease held was told "running" and is gone. If its source published after our last
            # listing and before the release above, nobody else will build it: so the versions are compared once more,
            # after the release. A trigger from now on finds the lease free.
            last = self._newest(published)
            if self._versions() == last.built_from:
                self.write_file(last.pointer)
                return self._result(last, changed=published is not None)
            epoch = last.pointer.epoch if last.pointer is not None else epoch

    def _newest(self, published: Pointer | None) -> Last:
        """Read the newest snapshot; if it is the one that this run has `published`, its objects are known to be there."""
        if published is not None and (found := self.store.read(CURRENT)) is not None:
            pointer = read_pointer(found)
            if pointer.catalog == published.catalog and (contents := self._known.get(pointer.catalog)) is not None:
                return Last(pointer, contents, is_whole=True)
        return read_last(self.store, self._known)

    def _current(self, found: Object) -> RebuildAnswer | None:
        """Answer without the lease if there is nothing to do: three requests, where taking the lease costs a dozen.

        Nothing to do means that the newest snapshot is built from the current extracts, that its objects are there, and
        that its copy is. This needs no lease: a run that publishes an extract afterwards requests a rebuild of its own.
        """
        pointer = read_pointer(found)
        if self._versions() != pointer.built_from:
            return None
        with suppress(DamagedError):
            contents = Contents.of(self.store, current_listed(self.store, pointer))
            entries = {entry.key: entry for entry in self.store.list(PREFIX)}
            if not _is_there(pointer, contents, entries):
                return None
            if found.age > LAKE_IS_LATE and lake_key(pointer.catalog) not in entries:
                self._request_lake()
            duckdb, copy = entries.get(pointer.duckdb), entries.get(COPY)
            if has_own_file(pointer):
                if duckdb is None or copy is None or copy.age >= duckdb.age:
                    return None
            elif copy is None or copy.age >= found.age:
                self._write_file(contents)
            return self._result(Last(pointer, contents, is_whole=True), changed=False)
        return None

    def write_file(self, pointer: Pointer | None) -> None:
        """Have the frozen lake of a snapshot that was just published written, and its file if it has parts."""
        if pointer is not None:
            self._request_lake()
        if pointer is not None and not has_own_file(pointer):
            self._write_file(read_last(self.store, self._known).contents)

    def _write_file(self, contents: Contents) -> None:
        if sum(contents.counts.values()) <= self.file_at_once:
            NewestFile(self.store, self.scratch, self._known).refresh()
        elif self.later is not None:
            with suppress(UnavailableError):  # too many tasks are waiting: the next rebuild requests it
                self.later()

    def _request_lake(self) -> None:
        if self.lake_later is not None:
            with suppress(UnavailableError):  # too many tasks are waiting: the next rebuild requests it
                self.lake_later()

    def _know(self, pointer: Pointer, contents: Contents) -> None:
        self._known.clear()
        self._known[pointer.catalog] = contents

    def _until_current(self, held: Lease) -> Pointer | None:
        """Publish a snapshot if there is anything new; return its pointer. What comes meanwhile is seen after the release."""
        while True:
            last, found = read_last(self.store, self._known), self._look()
            versions = {source: entry.version for source, entry in found.items()}
            if versions == last.built_from and not self._is_complete(last):
                last = read_damaged(self.store, last.pointer)
            if versions == last.built_from and (last.is_whole or last.pointer is None):
                if last.pointer is not None and has_own_file(last.pointer):
                    copy_newest(self.store, last.pointer, force=False)
                return None
            with duckdb_files.scratch(self.scratch) as folder:
                if (published := self._publish(last, found, held, folder)) is not None:
                    return published

    def _is_complete(self, last: Last) -> bool:
        """Return whether all objects of a snapshot are there, if its sources have not changed."""
        if last.pointer is None or not last.is_whole:
            return True  # nothing is there, or it is known to be damaged
        return _is_there(last.pointer, last.contents, {entry.key: entry for entry in self.store.list(PREFIX)})

    def _publish(self, last: Last, found: Mapping[str, Entry], held: Lease, folder: Path) -> Pointer | None:
        """Build a snapshot, make it current, and return its pointer.

        If it equals the last one, only the versions are recorded that it was built from, and there is no pointer.

        The lease may be lost while DuckDB builds, for longer than its ttl. `check` finds most cases before the upload;
        the swap in `point` finds the rest, because it replaces only the pointer that this build started from. Objects
        of a build that lost the race are referenced by nothing, and the sweep deletes them.
        """
        versions = {source: entry.version for source, entry in found.items()}
        sizes = {source: entry.size for source, entry in found.items()}
        try:
            last = self._with_remote(last, folder)
            built = self._build(last, versions, sizes, folder)
            is_same = last.is_whole and _is_same(built, last.contents)
        except DamagedError:
            last = read_damaged(self.store, last.pointer)
            built, is_same = self._build(last, versions, sizes, folder), False
        held.check()
        if last.pointer is not None and is_same:
            now = {"built_from": versions, "epoch": held.epoch}
            point(self.store, last.pointer, last.pointer.model_copy(update=now))
            return None
        contents = replace(
            last.contents,
            snapshot=last.contents.snapshot + 1,
            built_at=self.now(),
            problems=built.problems,
            held_back=built.held_back,
        ).changed(built.changes, owners=built.owners, embedded=self.embedded, largest=self.part)
        path = None if contents.is_listed else self._own_file(last, contents, folder)
        pointer = upload(self.store, contents, path, after=last.pointer, built_from=versions, epoch=held.epoch)
        point(self.store, last.pointer, pointer)
        self._know(pointer, contents)
        if path is not None:
            copy_newest(self.store, pointer, path.read_bytes())
        return pointer

    def _build(self, last: Last, versions: dict[str, str], sizes: Mapping[str, int], folder: Path) -> Built:
        """Read the changed sources, or all of them if the last snapshot can't be built on."""
        changed = frozenset(name for name, version in versions.items() if last.built_from.get(name) != version)
        building = Building(self.store, last.contents, self.seniority, folder, sizes)
        return building.build(frozenset(versions), changed)

    def _own_file(self, last: Last, contents: Contents, folder: Path) -> Path:
        """Write the file of a small snapshot, from that of the last one."""
        path = folder / "analytics.duckdb"
        if last.duckdb is not None:
            with suppress(ObjectMissingError):
                self.store.download(last.duckdb, path)
        snapshot_file.update(path, contents.catalog(), self.store.url)
        return path

    def _with_remote(self, last: Last, folder: Path) -> Last:
        """Complete a snapshot of an earlier version, whose remote views are only in its file.

        Raises:
            DamagedError: the file can't be read.
        """
        if last.pointer is None or last.contents.is_listed or not last.is_whole:
            return last
        catalog = last.contents.catalog()
        if not any(map(_lacks_remote, catalog.tables)):
            return last
        path = folder / "remote.duckdb"
        try:
            self.store.download(last.pointer.duckdb, path)
            remote = snapshot_file.remote_tables(path)
        except (ObjectMissingError, ContractError) as error:
            raise DamagedError(str(error)) from error
        contents = Contents.of(self.store, with_remote(catalog, remote))
        return replace(last, contents=contents)

    def _versions(self) -> dict[str, str]:
        """Return the version of each source's extract."""
        return {source: entry.version for source, entry in self._look().items()}

    def _look(self) -> dict[str, Entry]:
        found = look_into_folders(self.store, "extracts/", "extract.duckdb")
        return {entry.key.split("/")[1]: entry for entry in found}

    def _result(self, last: Last, *, changed: bool) -> RebuildAnswer:
        contents = last.contents
        return RebuildAnswer(
            status="published" if changed else "unchanged",
            snapshot=contents.snapshot,
            tables=sum(contents.counts.values()),
            problems=contents.problems,
            held_back=tuple(one.source for one in contents.held_back),
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


def with_remote(catalog: Catalog, remote: Mapping[str, tuple[str, str, str]]) -> Catalog:
    """Add what the remote views of a snapshot of an earlier version select from, by view."""
    tables = tuple(
        table.model_copy(update={"remote": remote.get(table.view)}) if _lacks_remote(table) else table
        for table in catalog.tables
    )
    return catalog.model_copy(update={"tables": tables})


def _lacks_remote(table: Table) -> bool:
    return table.query_mode == "remote" and table.remote is None


def _is_same(built: Built, last: Contents) -> bool:
    """Return whether a build looks to readers as the last snapshot does."""
    if (built.problems, built.held_back) != (last.problems, last.held_back):
        return False
    known = last.sources(built.changes)
    return all(found == known.get(source, SourceTables()) for source, found in built.changes.items())


def _is_there(pointer: Pointer, contents: Contents, entries: Mapping[str, Entry]) -> bool:
    """Return whether the objects of a snapshot are among those listed, and of the right size where it is known."""
    catalog = entries.get(pointer.catalog)
    text = pointer.catalog_text
    is_intact = catalog is not None and (text is None or catalog.size == len(text.encode()))
    return is_intact and contents.is_among(entries)
