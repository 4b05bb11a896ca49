"""Update the mirror: one request if nothing changed, otherwise download only the new files.

The order makes an interruption safe at any point: mark the mirror as out of date, write files under new names, replace
the database, delete unreferenced files, save the new state. The database always refers to existing files, and the next
run resumes where this one stopped, even if the server has returned to an earlier state.

Other programs may still read the previous state. Its files are therefore deleted one sync later, and those of a replaced
database that another process has open, once that process has closed it. Files of tables that the user can no longer
read are deleted immediately.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from da.errors import DaError
from da.mirror import snapshots
from da.mirror.ahead import Ahead, OlderServerError, listed_sources
from da.mirror.catalog_changes import SchemaChange, metric_lines, schema_changes, schema_lines
from da.mirror.early_views import EarlyViews
from da.mirror.manifest import Manifest, SourceList, Table, noticed, source_of
from da.mirror.pieces import assembly
from da.mirror.plan import Plan, Request, choose, plan
from da.mirror.state import Entry, State, Tables
from da.mirror.workspace import LAYOUT, Workspace, is_too_long
from da.progress import Bar, Progress
from da.server import Backoff, Server
from da.text import bytes_text, clean, count_text, seconds_text
from da.web import Web

if TYPE_CHECKING:
    from da.mirror.download import Outcome
    from da.mirror.views import Mirrored, Published

_NAMED = 5
"""Tables that are listed by name."""

_MOST_CHANGED = 500
_AT_ONCE = 100
"""Changed sources from which on the whole manifest is fetched, and sources in one request."""


@dataclass(slots=True)
class Report:
    """What a sync did, or in a dry run would do.

    `schema_changes` are those of tables that the mirror had, `broken_metrics` those that became broken, with the reasons.
    `files` and `size_bytes` count what was fetched; `not_mirrored` counts tables that can only be queried on the server,
    `left_out` those that the user does not want on laptops, `readable` all tables that the user can read.
    """

    workspace: str
    snapshot: int = 0
    dry_run: bool = False
    interrupted: bool = False
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_mirrored: int = 0
    left_out: int = 0
    readable: int = 0
    files: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    ended_at: str = ""
    notes: list[str] = field(default_factory=list)
    schema_changes: list[SchemaChange] = field(default_factory=list)
    broken_metrics: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The exit code of `da sync`."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        document = {name: getattr(self, name) for name in self.__slots__}
        failed = [{"table": table_id, "error": error} for table_id, error in self.failed.items()]
        news = {
            "schema_changes": [each.to_json() for each in self.schema_changes],
            "broken_metrics": [{"metric": name, "problem": why} for name, why in self.broken_metrics.items()],
        }
        return {**document, **news, "failed": failed, "seconds": round(self.seconds, 3)}

    def lines(self) -> Iterator[str]:
        """Return the lines of a summary, without failures and notes."""
        did = ("Would update", "would remove") if self.dry_run else ("Updated", "removed")
        parts: list[str] = []
        if self.updated:
            parts.append(f"{did[0]} {_tables(self.updated)}: {self._fetched()}")
        if self.removed:
            parts.append(f"{did[1]} {_tables(self.removed)}")
        if not parts and not self.failed and not self.interrupted and self.readable:
            parts.append("Already up to date")
        if self.unchanged:
            parts.append(f"{count_text(self.unchanged, 'table')} unchanged")
        if parts:
            text = "; ".join(parts)
            yield f"{text[0].upper()}{text[1:]}. Snapshot {self.snapshot}."
        if self.not_mirrored:
            yield f"{count_text(self.not_mirrored, 'table')} can only be queried on the server."
        if self.left_out:
            yield f"{count_text(self.left_out, 'table')} left out by your choice; to see it, run: da mirror"
        yield from schema_lines(self.schema_changes)
        yield from metric_lines(self.broken_metrics)
        if self.interrupted:
            yield "Interrupted. Downloaded data is kept; run da sync to resume."

    def failures(self) -> Iterator[str]:
        """Return the failures, one line per cause."""
        causes: dict[str, list[str]] = {}
        for table_id, error in self.failed.items():
            causes.setdefault(error, []).append(table_id)
        for error, names in causes.items():
            more = len(names) - _NAMED
            count = f"{len(names):,} tables ({', '.join(names[:_NAMED])}{f' and {more:,} more' if more > 0 else ''})"
            yield f"{names[0] if len(names) == 1 else count}: {error}"

    def _fetched(self) -> str:
        text = f"{count_text(self.files, 'file')}, {bytes_text(self.size_bytes)}"
        return text if self.dry_run else f"{text} in {seconds_text(self.seconds)}"


def _tables(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMED else count_text(len(names), "table")


CHECKPOINT = 30.0
"""Seconds of downloading after which complete tables get their views, before the others are complete."""

_QUICK_CHECKPOINT = 3.0
"""Seconds. A checkpoint compares and records all views so far; one that takes longer makes the next one wait as much longer."""


class Sync:
    """One run of `da sync`, in a workspace that is locked for it."""

    def __init__(
        self,
        workspace: Workspace,
        server: Server,
        web: Web,
        bar: Bar,
        backoff: Backoff | None = None,
        *,
        ahead: Ahead | None = None,
    ) -> None:
        self._workspace = workspace
        self._server = server
        self._web = web
        self._bar = bar
        self._backoff = backoff or Backoff()
        self._ahead = ahead
        self._before = State.of(ahead.saved if ahead else workspace.saved())
        self._scope: frozenset[str] | None = None
        """The sources that may differ from the mirror; `None` if all may. Everything below is limited to them."""
        self._known: Mapping[str, Table] = {}
        """Their tables in the mirror."""
        self._others: Mapping[str, Entry] = {}
        """The tables of the other sources."""
        self._shown: set[Path] = set()
        """The files of the views that this run has published already."""
        self._early: EarlyViews | None = None
        self._opening = ahead.opening if ahead else None
        self._leaving: Thread | None = None
        self._report = Report(str(workspace.root))

    def run(self, request: Request, *, is_last: bool = False) -> Report:
        """Run the sync. If it `is_last`, the process ends next, and need not wait until a large database is closed.

        Raises:
            DaError: the manifest can't be read (nothing was changed), or the database can't be replaced.
        """
        began = self._ahead.began if self._ahead else monotonic()
        self._report.dry_run = request.dry_run
        if self._before.server not in {"", self._server.address}:
            note = f"this workspace was a mirror of {self._before.server}; it is now a mirror of {self._server.address}"
            self._report.notes.append(note)
        try:
            found = self._manifest(request)
            if found is None:
                self._unchanged(request)
            else:
                self._take_over(*found, request)
        finally:  # a process that ends while a thread is in DuckDB's code crashes
            if self._early and (unused := self._early.finished()):
                unused.close()
            if self._opening:
                self._opening.close()
            if self._leaving and not is_last:
                self._leaving.join()
        self._report.seconds = monotonic() - began
        self._report.ended_at = datetime.now(UTC).isoformat(timespec="seconds")
        return self._report

    def _manifest(self, request: Request) -> tuple[Manifest, str | None] | None:
        """Return the manifest with its ETag, or `None` if the mirror matches it.

        If the mirror is intact, only the tables of sources that have changed are requested.
        """
        before = self._before
        etag = before.etag if (is_intact := self._is_intact(request)) else None
        if is_intact and before.sources:
            with suppress(OlderServerError):
                return self._changes(etag)
        if self._opening:
            self._opening.close()
            self._opening = None
        answer = self._server.manifest(etag)
        return None if answer is None else (Manifest.from_json(answer[1]), answer[0])

    def _changes(self, etag: str | None) -> tuple[Manifest, str | None] | None:
        before = self._before
        answer = self._ahead.listed(etag) if self._ahead else listed_sources(self._server, etag)
        if answer is None:
            return None
        listed = SourceList.from_json(answer[1])
        changed = sorted({s for s, known in listed.sources.items() if before.sources.get(s) != known})
        if len(changed) > _MOST_CHANGED:
            whole = self._server.manifest(None)
            return whole and (Manifest.from_json(whole[1]), whole[0])
        batches = [changed[start : start + _AT_ONCE] for start in range(0, len(changed), _AT_ONCE)]
        documents = [self._server.manifest_of(batch) for batch in batches]
        known = ((table_id, entry.view) for table_id, entry in before.tables.index())
        manifest = Manifest.of_changes(listed, documents, known, changed)
        # What is published between two requests makes them disagree: the next sync compares again.
        return manifest, answer[0] if manifest.sources == listed.sources else None

    def _is_intact(self, request: Request) -> bool:
        """Return whether the mirror has what the last sync left there, and it was one with this server."""
        state, workspace = self._before, self._workspace
        same = state.server == self._server.address and state.root == str(workspace.root) and not request.verify
        return same and state.layout == LAYOUT and workspace.holds_all(state.tables) and self._has_sound_database()

    def _has_sound_database(self) -> bool:
        """Check the database only if it changed since the last check, because DuckDB loads slowly."""
        stamp = self._workspace.database_stamp()
        if stamp is None or stamp == self._before.database:
            return stamp is not None
        from da.mirror.database import is_sound

        return is_sound(self._workspace.duckdb)

    def _unchanged(self, request: Request) -> None:
        self._report.snapshot = self._before.snapshot
        self._report.readable = len(self._before.tables)
        self._others = self._beyond(None if request.only else frozenset())
        self._count(choose(self._before.tables, request.only) if request.only else {})
        if request.dry_run:
            return
        stamp = self._workspace.database_stamp()
        if self._workspace.has_readers():
            read = self._workspace.read_elsewhere()
            self._workspace.prune(self._workspace.files(self._before.tables) | read)
        elif self._before.superseded:
            sources = self._before.superseded_in
            self._workspace.prune(self._workspace.files(self._before.tables, sources), sources)
        if self._before.superseded or stamp != self._before.database:
            self._workspace.save(replace(self._before, superseded=False, database=stamp))
        else:
            self._workspace.touch()

    def _take_over(self, manifest: Manifest, etag: str | None, request: Request) -> None:
        before, workspace = self._before, self._workspace
        if request.only or workspace.database_stamp() != before.database:  # somebody else may have changed any view
            manifest = manifest.whole(before.tables)
        self._scope = scope = manifest.changed
        self._others = self._beyond(scope)
        self._known = before.tables if scope is None else before.tables.of_sources(scope)
        todo = plan(manifest, self._known, workspace, request)
        self._report.snapshot = manifest.snapshot
        self._report.readable = len(manifest.tables) + len(manifest.refused) + len(self._others)
        self._report.removed = list(todo.removed)
        self._report.failed = {} if request.only else dict(manifest.refused)
        unfinished: set[str] = set()
        if request.dry_run:
            self._report.files, self._report.size_bytes = len(todo.wanted), todo.size_bytes
        else:
            workspace.doubt(before)
            # Files of the state before the last one, kept for readers until now. Deleted before the download, not after
            # it, because their space may be needed.
            if before.superseded:
                sources = None if scope is None else before.superseded_in
                files = self._without(todo.removed, workspace.files(before.tables, sources))
                workspace.prune(self._kept(todo) | files, sources)
            unfinished = self._fetch(todo)
            tables, broken = self._publish(todo, unfinished)
            unfinished |= broken
            # A query that began before the database was replaced may open its files only now. The files of the previous
            # state therefore stay until the next sync (`superseded`), except those of tables that the user may no
            # longer read.
            kept = self._kept(todo)
            workspace.prune(self._referred(tables) | kept, scope)
            superseded = self._sources_of(self._referred(self._known) & kept - self._referred(tables))
            # ETags are saved only if everything of this manifest is here; otherwise the next run plans again.
            is_complete = not (unfinished or self._report.failed or request.only)
            sources_etags = manifest.sources if is_complete else {}
            self._save(tables, etag if is_complete else None, sources_etags, superseded)
        self._report.updated = sorted(todo.updated - unfinished)
        done = {table_id: table for table_id, table in todo.chosen.items() if table_id not in unfinished}
        self._report.schema_changes = list(schema_changes(self._known, done))
        self._count(done)

    def _fetch(self, todo: Plan) -> set[str]:
        """Download the wanted files; return the tables that are still incomplete."""
        todo, unfitting = self._fitting(todo)
        missing = Counter(each.table_id for each in todo.wanted)
        early = self._early = EarlyViews(self._workspace.duckdb, todo, len(self._before.tables), self._opening)
        if self._opening:
            changed = [each for key, each in todo.chosen.items() if not missing[key] and self._known.get(key) != each]
            early.add(self._mirrored(changed))
        if +missing:
            self._check_space(todo)
            try:
                with self._bar(todo.size_bytes, len(todo.wanted)) as progress:
                    self._download(todo, progress, missing, early)
            except KeyboardInterrupt:
                self._report.interrupted = True
        elif self._opening:
            early.start()
        return unfitting | {
            each for each in +missing if each in self._report.failed or not self._workspace.holds(todo.chosen[each])
        }

    def _download(self, todo: Plan, progress: Progress, missing: Counter[str], early: EarlyViews) -> None:
        from da.mirror.download import Downloads, SignedUrls

        downloads = Downloads(self._web, SignedUrls(self._server, todo.wanted), progress, self._backoff)
        published_at, pause = monotonic(), CHECKPOINT
        for outcome in downloads.run(todo.wanted, meanwhile=early.start):
            self._note(outcome, missing)
            if outcome[1] is None and not missing[table_id := outcome[0].table_id]:
                early.add(self._mirrored([todo.chosen[table_id]]))
            if (began := monotonic()) - published_at > pause:
                self._checkpoint(todo, set(+missing))
                early = self._early = EarlyViews(self._workspace.duckdb, todo, len(self._before.tables), None)
                early.start()
                published_at = monotonic()
                pause = CHECKPOINT * max(1.0, (published_at - began) / _QUICK_CHECKPOINT)

    def _note(self, outcome: "Outcome", missing: Counter[str]) -> None:
        wanted, error = outcome
        if error is not None:
            self._report.failed.setdefault(wanted.table_id, str(error))
            return
        self._report.files += 1
        self._report.size_bytes += wanted.file.size_bytes
        missing[wanted.table_id] -= 1

    def _checkpoint(self, todo: Plan, unfinished: set[str]) -> None:
        """Publish the views of complete tables early; errors are reported at the end."""
        try:
            self._publish_views(todo.outcome(self._known, unfinished))
        except DaError:
            return

    def _publish(self, todo: Plan, unfinished: set[str]) -> tuple[dict[str, Table], set[str]]:
        """Replace the database; return its tables, and those whose new files are unreadable."""
        published = self._publish_views(todo.outcome(self._known, unfinished))
        broken = set(published.failed)
        if broken:
            again = self._publish_views(todo.outcome(self._known, unfinished | broken))
            self._report.failed |= {**again.failed, **published.failed}
        self._report.notes += published.notes
        tables = todo.outcome(self._known, unfinished | broken)
        return tables, broken

    def _publish_views(self, tables: Mapping[str, Table]) -> "Published":
        begun = self._early.finished() if self._early else None
        if self._opening:
            self._opening.close()  # unless it was begun with
        self._early = self._opening = None
        if self._leaving:
            self._leaving.join()
        # Only now: an import that Ctrl-C interrupts while a thread imports the same module can wait for it forever.
        from da.mirror.database import publish

        aside = self._workspace.aside_for_readers()
        shown = [each for each in self._mirrored(tables.values()) if self._workspace.holds(each.table)]
        shown += snapshots.Snapshots(self._workspace).views()
        scope = self._scope
        if scope is not None:
            scope |= {snapshots.SOURCE}
            if any(source_of(table_id) == snapshots.SOURCE for table_id in self._others):
                shown += [each for each in self._other_views() if source_of(each.table.id) == snapshots.SOURCE]
        published = publish(
            self._workspace.duckdb, shown, aside, scope, self._other_views, begun=begun, leave=self._leave
        )
        if aside.exists():  # somebody reads the replaced database: remember which files it needs
            self._workspace.note_read(aside, self._workspace.files(self._before.tables) | self._shown)
        self._shown = self._referred(tables)
        return published

    def _leave(self, close: Callable[[], None]) -> None:
        """Close the database while the mirror is tidied up. The process may end before: its changes are on the disk.

        It is no daemon, because Python would break it off in the middle of DuckDB's code, and crash.
        """
        self._leaving = Thread(target=close, name="closing")
        self._leaving.start()

    def _mirrored(self, tables: Iterable[Table]) -> "list[Mirrored]":
        from da.mirror.views import Mirrored

        path = self._workspace.path
        return [
            Mirrored(each, tuple(path(each.id, file) for file in each.files)) for each in tables if each.is_mirrored
        ]

    def _other_views(self) -> "list[Mirrored]":
        """Return what the views of the sources read that this run is not about."""
        others = self._others
        return self._mirrored(table for table in self._before.tables.values() if table.id in others)

    def _save(
        self, tables: Mapping[str, Table], etag: str | None, sources: Mapping[str, str], superseded: Collection[str]
    ) -> None:
        if self._scope is None:
            all_tables = Tables.of(tables)
        else:
            all_tables = self._before.tables.with_changes(tables.values(), self._scope)
        state = State(
            server=self._server.address,
            snapshot=self._report.snapshot,
            etag=etag,
            changed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            root=str(self._workspace.root),
            tables=all_tables,
            failed=self._report.failed,
            database=self._workspace.database_stamp(),
            layout=LAYOUT,
            superseded=bool(superseded),
            superseded_in=tuple(sorted(superseded)),
            sources=sources,
        )
        self._workspace.save(state)

    def _kept(self, todo: Plan) -> set[Path]:
        """List the files that are needed or may still be read, except those of removed tables."""
        still = {table_id: table for table_id, table in self._known.items() if table_id not in todo.removed}
        read = self._without(todo.removed, self._workspace.read_elsewhere())
        return self._referred(still) | self._referred(todo.chosen) | _partial(todo) | read

    def _without(self, tables: Iterable[str], files: set[Path]) -> set[Path]:
        """Exclude the files of some tables."""
        folders = {self._workspace.folder(table_id) for table_id in tables}
        return {path for path in files if path.parent not in folders}

    def _sources_of(self, files: Collection[Path]) -> set[str]:
        """Return the sources of files of the state before."""
        path = self._workspace.path
        return {
            source_of(each.id) for each in self._known.values() for file in each.files if path(each.id, file) in files
        }

    def _beyond(self, scope: Collection[str] | None) -> dict[str, Entry]:
        """Return the tables of the mirror that are not of these sources."""
        if scope is None:
            return {}
        return {table_id: each for table_id, each in self._before.tables.index() if source_of(table_id) not in scope}

    def _referred(self, tables: Mapping[str, Table]) -> set[Path]:
        return {self._workspace.path(each.id, file) for each in _mirrored(tables) for file in each.files}

    def _fitting(self, todo: Plan) -> tuple[Plan, set[str]]:
        """Exclude tables that alone exceed the free disk space, or whose paths are too long."""
        disk, sizes = shutil.disk_usage(self._workspace.root), Counter[str]()
        for each in todo.wanted:
            sizes[each.table_id] += each.file.size_bytes
        unfitting = {
            table_id
            for table_id, size in sizes.items()
            if size > disk.total or (size > disk.free and size > disk.free + _here(todo, table_id))
        }
        for each in todo.wanted:
            longest = max((str(piece.part) for piece in assembly(each).pieces), key=len)
            if is_too_long(Path(longest)):
                self._report.failed[each.table_id] = (
                    f"the path '{longest}' is longer than Windows allows; sync to a shorter folder, such as C:\\da"
                )
        for table_id in unfitting:
            needed, room = bytes_text(sizes[table_id]), bytes_text(disk.free)
            self._report.failed[table_id] = (
                f"not enough disk space: it needs {needed}, but '{self._workspace.root}' has {room} free; free some space"
            )
        unfitting |= {each.table_id for each in todo.wanted if each.table_id in self._report.failed}
        fitting = tuple(each for each in todo.wanted if each.table_id not in unfitting)
        return replace(todo, wanted=fitting), unfitting

    def _check_space(self, todo: Plan) -> None:
        here = _here(todo)
        free = shutil.disk_usage(self._workspace.root).free
        if todo.size_bytes - here > free:
            needed = bytes_text(todo.size_bytes - here)
            raise DaError(
                f"not enough disk space: the sync needs {needed}, but '{self._workspace.root}' has {bytes_text(free)}"
                " free; free some space, or sync fewer tables with --table"
            )

    def _count(self, tables: Mapping[str, Table]) -> None:
        others = self._others
        mirrored = len(list(_mirrored(tables))) + sum(entry.is_mirrored for entry in others.values())
        everywhere: list[Table | Entry] = [*tables.values(), *others.values()]
        self._report.left_out = sum(each.left_out for each in everywhere)
        self._report.not_mirrored = len(everywhere) - mirrored - self._report.left_out
        self._report.unchanged = mirrored - len(self._report.updated)
        noted = [clean(f"{table_id}: {entry.notice}") for table_id, entry in others.items() if entry.notice]
        self._report.notes += sorted([*noticed(tables.values()), *noted])


def _here(todo: Plan, table_id: str | None = None) -> int:
    """Count the wanted bytes that are already here, of one table or of all."""
    wanted = (each for each in todo.wanted if table_id in {None, each.table_id})
    return sum(piece.done for each in wanted for piece in assembly(each).pieces)


def _mirrored(tables: Mapping[str, Table]) -> Iterable[Table]:
    return (table for table in tables.values() if table.is_mirrored)


def _partial(todo: Plan) -> set[Path]:
    return {piece.part for each in todo.wanted for piece in assembly(each).pieces}
