"""The sweep: deletes what nothing references any more, compacts small files, and archives records.

Nothing here is urgent, and a sweep may end anywhere: the next one continues. All ages are those of the store.

A data file is deleted when neither its source's extract nor a snapshot in the bucket has referenced it for `delta_keep`,
so every Delta version of that time stays readable. That time is counted from sweep to sweep, and restarts when a file is
referenced again. A file younger than a day is never deleted: a publish in progress may be about to reference it.

Two orders make this safe against everything that runs at the same time:
- Objects are listed first and references are read afterwards. A file that is published in between is not in the listing;
  a file of the listing that is used again in between is found among the references.
- Expired snapshots are deleted before the references are read, catalogs first. So every snapshot that can be listed is
  complete and may be rolled back to, and a rollback that published one of them in between is found as a new snapshot.

Delta logs get checkpoints (`checkpoints`), tables of many small files are compacted (`compaction_rule`, `compaction`), and records
of past days are archived (`archive_records`, `analyst.audit.archives`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from pydantic import BaseModel, ConfigDict

from analyst import duckdb_files, lease, runs
from analyst.audit.archives import Archiving
from analyst.audit.writer import PREFIX as AUDIT_PREFIX
from analyst.backup.archive import left_over
from analyst.catalog import Table
from analyst.contract.delta import DeltaLog
from analyst.contract.extract_edit import read_extract
from analyst.contract.publishing import Restated, restate
from analyst.errors import AnalystError
from analyst.extract_run import Caller, RebuildOutcome, ask_for_rebuild
from analyst.imports.parts import abandoned
from analyst.profiles.stored_profiles import of_gone_tables
from analyst.rebuild import LEASE
from analyst.rebuild.publishing import carry_over, published_epoch
from analyst.snapshots import CATALOG_SUFFIX, Snapshots
from analyst.store import Entry, Store, delete_all, in_parallel
from analyst.sweep import replaced_snapshots
from analyst.sweep.archive_records import Records
from analyst.sweep.checkpoints import Log, Named
from analyst.sweep.compaction import Rewriting, Rewritten
from analyst.sweep.compaction_rule import Rule, Scattered, choose, is_set_back
from analyst.sweep.data_files import SourceSweep
from analyst.sweep.expired_objects import expired, is_older

_DAY: Final = timedelta(days=1)


class SweepProblem(BaseModel):
    """A source or folder of records for which something failed, and why; it stays as it is."""

    model_config = ConfigDict(frozen=True)

    source: str
    message: str


class Compacted(BaseModel):
    """A compacted table: the number and total size of its small files."""

    model_config = ConfigDict(frozen=True)

    source: str
    table: str
    files: int
    size_bytes: int


class SweepAnswer(BaseModel):
    """What a sweep did, or would do. `waiting` counts unreferenced files that are not old enough to be deleted.

    `gathered` counts archived records. `rebuild` is null if nothing was compacted.
    """

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    deleted: int
    deleted_bytes: int
    waiting: int
    checkpoints: int
    compacted: tuple[Compacted, ...]
    gathered: int
    rebuild: RebuildOutcome | None
    problems: tuple[SweepProblem, ...]


__all__ = ["KEPT_BY_DAY", "Rule", "Sweep", "SweepAnswer"]

_GONE = "{count} files of {table} are missing from the bucket; they were deleted by another program, such as a VACUUM of its Delta table; run a full refresh of the table to restore its rows"
_IMPOSSIBLE = (
    "another writer has put commits into a Delta log whose numbers none can follow, so they are deleted: {names}"
)
_MISLEADING = (
    "{key} named no checkpoint that is there, so it is deleted; readers of the Delta table list its log instead"
)
KEPT_BY_DAY: Mapping[str, timedelta | None] = {runs.PREFIX: timedelta(days=90)}
"""The prefixes of records that are stored by day, and how long each is kept (`None`: permanently)."""


class _Gathering(Protocol):
    """Archives the records of past days."""

    def due(self) -> Mapping[str, Sequence[Entry]]:
        """Return the records to archive, by the folders of their days."""

    def gather(self, due: Mapping[str, Sequence[Entry]]) -> None:
        """Write the archives, then delete the records."""


@dataclass(slots=True)
class _Found:
    """The findings of a sweep so far."""

    unneeded: list[Entry] = field(default_factory=list)
    waiting: int = 0
    checkpoints: int = 0
    gathered: int = 0
    scattered: list[Scattered] = field(default_factory=list)
    problems: list[SweepProblem] = field(default_factory=list)

    @contextmanager
    def trouble(self, where: str, what: str = "") -> Iterator[None]:
        """Record an error of the block as a problem; the sweep continues."""
        try:
            yield
        except AnalystError as error:
            self.problems.append(SweepProblem(source=where, message=f"{what}{error}"))


@dataclass(frozen=True, slots=True)
class Sweep:
    """The dependencies of a sweep.

    `keep` is how long replaced snapshots are kept, `delta_keep` how long Delta versions are. `rule` selects the tables to
    compact, `memory_limit` bounds that work. `call` reaches the rebuild function (`None`: no rebuild is requested).
    """

    store: Store
    keep: timedelta
    delta_keep: timedelta = timedelta(days=7)
    scratch: Path | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    memory_limit: str = "300MB"
    rule: Rule = field(default_factory=Rule)
    call: Caller | None = None
    unneeded_by: Callable[[Sequence[Table]], Iterable[Entry]] = lambda _tables: ()
    """Lists what is computed from the tables of the newest snapshot by code that the sweep does not know."""

    def run(self, *, dry_run: bool = False) -> SweepAnswer:
        """Delete, write checkpoints, compact and archive; with `dry_run` only report.

        Raises:
            UnavailableError: the store does not respond, or the newest snapshot can't be read.
        """
        snapshots, found = Snapshots(self.store), _Found()
        records = [Records.of(self.store, prefix, kept) for prefix, kept in KEPT_BY_DAY.items()]
        old = replaced_snapshots.snapshots(self.store, self.keep)
        if not dry_run:
            for is_catalog in (True, False):
                delete_all(self.store, (entry.key for entry in old if entry.key.endswith(CATALOG_SUFFIX) == is_catalog))
        found.unneeded += replaced_snapshots.catalog_parts(self.store, frozenset(entry.key for entry in old))
        found.unneeded += replaced_snapshots.states(self.store)
        found.unneeded += [*expired(self.store), *abandoned(self.store), *left_over(self.store)]
        tables = snapshots.current().catalog.tables
        gone = of_gone_tables(self.store, [table.id for table in tables])
        found.unneeded += [entry for entry in (*gone, *self.unneeded_by(tables)) if is_older(entry, _DAY)]
        found.unneeded += [entry for kind in records for entry in kind.old()]
        self._look_at_sources(snapshots, found, frozenset(entry.key for entry in old), dry_run=dry_run)
        if not dry_run:
            delete_all(self.store, (entry.key for entry in found.unneeded))
        compacted = self._compact(snapshots, found, dry_run=dry_run)
        for kind in records:
            _gather(kind.prefix, kind, found, dry_run=dry_run)
        _gather(AUDIT_PREFIX, Archiving(self.store, self.memory_limit, self.scratch), found, dry_run=dry_run)
        return SweepAnswer(
            dry_run=dry_run,
            deleted=len(old) + len(found.unneeded),
            deleted_bytes=sum(entry.size for entry in (*old, *found.unneeded)),
            waiting=found.waiting,
            checkpoints=found.checkpoints,
            compacted=tuple(
                Compacted(source=t.source, table=t.meta.table, files=t.count, size_bytes=t.size_bytes)
                for t in compacted
            ),
            gathered=found.gathered,
            rebuild=ask_for_rebuild(self.call) if self.call and compacted and not dry_run else None,
            problems=tuple(found.problems),
        )

    def _look_at_sources(self, snapshots: Snapshots, found: _Found, old: frozenset[str], *, dry_run: bool) -> None:
        """Find what can be deleted of each source and which tables to compact; write checkpoints.

        Snapshots whose objects are in `old` are deleted, or would be.
        """
        sources = sorted(self.store.list_folders("extracts/"))
        listed = {source: [*self.store.list(f"extracts/{source}/data/")] for source in sources}
        # only now, after every listing: a rollback or a publish in between may reference a listed file again
        referred = self._referred(snapshots, old)
        for source in sources:
            with found.trouble(source), duckdb_files.scratch(self.scratch) as folder:
                sweep = SourceSweep.read(self.store, source, listed[source], referred, folder=folder, rule=self.rule)
                found.problems += [
                    SweepProblem(source=source, message=f"none of its files are deleted: {reason}")
                    for reason in sweep.extract.refused.values()
                ]
                due = sweep.due(self.delta_keep, dry_run=dry_run)
                found.unneeded += due
                foreign = frozenset() if dry_run else self._restate(sweep, snapshots, found, folder)
                self._look_at_logs(sweep, foreign, found, dry_run=dry_run)
                for table, count in sweep.gone().items():
                    found.problems.append(SweepProblem(source=source, message=_GONE.format(table=table, count=count)))
                found.waiting += len(sweep.unreferenced) - len(due)
                if sweep.scattered and not is_set_back(snapshots.current(), source, sweep.extract, sweep.version):
                    found.scattered += sweep.scattered

    def _look_at_logs(self, sweep: SourceSweep, foreign: frozenset[str], found: _Found, *, dry_run: bool) -> None:
        """Write due checkpoints and find what older ones cover, except for logs that were just restated."""
        logs = {table: log for table, log in sweep.logs.items() if table not in foreign}
        named = in_parallel(_named, logs.values())
        for (table, log), checkpoint in zip(logs.items(), named, strict=True):
            with found.trouble(sweep.source, f"{table}: "):
                if log.impossible:
                    names = ", ".join(entry.key for entry in log.impossible[:3])
                    found.unneeded += log.impossible
                    found.problems.append(SweepProblem(source=sweep.source, message=_IMPOSSIBLE.format(names=names)))
                if isinstance(checkpoint, AnalystError):
                    raise checkpoint
                written = 0 if dry_run else log.checkpoint()
                if checkpoint is Named.OLDER and not written and not dry_run:
                    log.name_newest()
                if checkpoint is Named.NONE and not written and log.last_checkpoint is not None:
                    found.unneeded.append(log.last_checkpoint)
                    message = _MISLEADING.format(key=log.last_checkpoint.key)
                    found.problems.append(SweepProblem(source=sweep.source, message=message))
                found.checkpoints += written
                found.unneeded += log.covered(self.delta_keep)

    def _restate(self, sweep: SourceSweep, snapshots: Snapshots, found: _Found, folder: Path) -> frozenset[str]:
        """Restate the Delta logs that another writer has changed; return their tables."""
        foreign = sweep.catch_up()
        if not foreign:
            return foreign
        with found.trouble(sweep.source, "Delta logs that another writer has changed can't be restated: "):
            is_held = is_set_back(snapshots.current(), sweep.source, sweep.extract, sweep.version)
            notes = (self._restate_held if is_held else self._restated)(sweep, foreign, folder)
            found.problems += [SweepProblem(source=sweep.source, message=note) for note in notes.values()]
        return foreign

    def _restated(self, sweep: SourceSweep, tables: frozenset[str], folder: Path) -> Mapping[str, str]:
        return self._restate_all(sweep, tables, folder).notes

    def _restate_all(self, sweep: SourceSweep, tables: frozenset[str], folder: Path) -> Restated:
        restated = restate(self.store, sweep.source, tables, now=self.now, folder=folder)
        log = DeltaLog(self.store, sweep.source)
        for commit in restated.unread:
            known = sweep.logs.get(commit.table) or Log.of(self.store, commit.table, (), folder)
            known.start_at(log.folder_of(commit.table), commit.version, commit.text)
        return restated

    def _restate_held(self, sweep: SourceSweep, tables: frozenset[str], folder: Path) -> Mapping[str, str]:
        """Restate logs of a source that a rollback holds back. It stays held back, although its extract gets a new version."""
        held = lease.acquire(self.store, LEASE, published_epoch=published_epoch(self.store))
        if held is None:
            return {
                table: f"another writer has changed the Delta log of {table}; the next sweep restates it"
                for table in tables
            }
        with held:
            restated = self._restate_all(sweep, tables, folder)
            version, notes = restated.version, restated.notes
            extract, now = read_extract(self.store, sweep.source, folder)
            if now == version and extract.states == sweep.extract.states:  # nothing was published in between
                carry_over(self.store, sweep.source, sweep.version, version, held.epoch)
        return notes

    def _referred(self, snapshots: Snapshots, old: frozenset[str]) -> frozenset[str]:
        """Return the files of all snapshots that stay.

        The newest one must be readable: it may be the only one that references a file.
        """
        kept = [snapshots.current(), *snapshots.all(besides=old)]
        return frozenset(file.path for one in kept for table in one.catalog.tables for file in table.files)

    def _compact(self, snapshots: Snapshots, found: _Found, *, dry_run: bool) -> list[Scattered]:
        """Compact the chosen tables; return those that were compacted.

        All tables are rewritten before the first is published, so that the rebuild follows soon: it would undo a rollback
        that somebody makes in between.
        """
        chosen = choose(found.scattered, self.rule)
        if dry_run:
            return chosen
        rewriting = Rewriting(self.store, snapshots, self.now, self.memory_limit, self.scratch)
        rewritten: list[Rewritten] = []
        for table in chosen:
            with found.trouble(table.source, f"{table.meta.table} can't be compacted: "):
                rewritten.append(rewriting.rewrite(table))
        done: list[Scattered] = []
        for one in rewritten:
            with found.trouble(one.table.source, f"{one.table.meta.table} can't be compacted: "):
                done += [one.table] if rewriting.publish(one) else []
        return done


def _named(log: Log) -> Named | AnalystError:
    try:
        return log.named()
    except AnalystError as error:
        return error


def _gather(prefix: str, kind: _Gathering, found: _Found, *, dry_run: bool) -> None:
    """Archive the records that are due, and count them."""
    with found.trouble(prefix.rstrip("/")):
        due = kind.due()
        if not dry_run:
            kind.gather(due)
        found.gathered += sum(map(len, due.values()))
