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
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from da.errors import DaError
from da.manifest import Manifest, Table
from da.patience import Patience
from da.pieces import assembly
from da.plan import Plan, Request, choose, plan
from da.report import Report
from da.server import Server
from da.text import bytes_text, clean
from da.web import Web
from da.workspace import State, Workspace

if TYPE_CHECKING:
    from da.download import Outcome, Progress
    from da.views import Published

CHECKPOINT = 30.0
"""Seconds of downloading after which complete tables get their views, before the others are complete."""

Bar = Callable[[int, int], "AbstractContextManager[Progress]"]
"""Shows progress for a total of bytes and files."""


class Sync:
    """One run of `da sync`, in a workspace that is locked for it."""

    def __init__(
        self, workspace: Workspace, server: Server, web: Web, bar: Bar, patience: Patience | None = None
    ) -> None:
        self._workspace = workspace
        self._server = server
        self._web = web
        self._bar = bar
        self._patience = patience or Patience()
        self._before = workspace.state()
        self._shown: Mapping[str, Table] = self._before.tables
        self._report = Report(str(workspace.root))

    def run(self, request: Request) -> Report:
        """Run the sync.

        Raises:
            DaError: the manifest can't be read (nothing was changed), or the database can't be replaced.
        """
        began = monotonic()
        self._report.dry_run = request.dry_run
        if self._before.server not in {"", self._server.address}:
            note = f"this workspace was a mirror of {self._before.server}; it is now a mirror of {self._server.address}"
            self._report.notes.append(note)
        answer = self._server.manifest(self._etag(request))
        if answer is None:
            self._unchanged(request)
        else:
            self._take_over(Manifest.from_json(answer[1]), answer[0], request)
        self._report.seconds = monotonic() - began
        return self._report

    def _etag(self, request: Request) -> str | None:
        """Return the ETag of the manifest that the mirror matches, if any."""
        state, workspace = self._before, self._workspace
        same = state.server == self._server.address and state.root == str(workspace.root) and not request.verify
        whole = same and all(map(workspace.holds, _mirrored(state.tables))) and self._has_sound_database()
        return state.etag if whole else None

    def _has_sound_database(self) -> bool:
        """Check the database only if it changed since the last check, because DuckDB loads slowly."""
        stamp = self._workspace.database_stamp()
        if stamp is None or stamp == self._before.database:
            return stamp is not None
        from da.views import is_sound

        return is_sound(self._workspace.duckdb)

    def _unchanged(self, request: Request) -> None:
        self._report.snapshot = self._before.snapshot
        self._count(choose(self._before.tables, request.only))
        if request.dry_run:
            return
        stamp = self._workspace.database_stamp()
        if self._before.superseded or self._workspace.has_readers():
            self._workspace.prune(self._referred(self._before.tables) | self._workspace.read_elsewhere())
        if self._before.superseded or stamp != self._before.database:
            self._workspace.save(replace(self._before, superseded=False, database=stamp))
        else:
            self._workspace.touch()

    def _take_over(self, manifest: Manifest, etag: str, request: Request) -> None:
        todo = plan(manifest, self._before, self._workspace, request)
        self._report.snapshot = manifest.snapshot
        self._report.removed = list(todo.removed)
        self._report.failed = {} if request.only else dict(manifest.refused)
        unfinished: set[str] = set()
        if request.dry_run:
            self._report.files, self._report.size_bytes = len(todo.wanted), todo.size_bytes
        else:
            self._workspace.doubt(self._before)
            if self._before.superseded:
                self._workspace.prune(self._kept(todo))
            unfinished = self._fetch(todo)
            tables, broken = self._publish(todo, unfinished)
            unfinished |= broken
            kept = self._kept(todo)
            self._workspace.prune(self._referred(tables) | kept)
            superseded = bool(self._referred(self._before.tables) & kept - self._referred(tables))
            self._save(tables, None if unfinished or self._report.failed or request.only else etag, superseded)
        self._report.updated = sorted(todo.updated - unfinished)
        self._count({table_id: table for table_id, table in todo.chosen.items() if table_id not in unfinished})

    def _fetch(self, todo: Plan) -> set[str]:
        """Download the wanted files; return the tables that are still incomplete."""
        todo, unfitting = self._fitting(todo)
        missing = Counter(each.table_id for each in todo.wanted)
        if missing:
            self._check_space(todo)
            try:
                with self._bar(todo.size_bytes, len(todo.wanted)) as progress:
                    self._download(todo, progress, missing)
            except KeyboardInterrupt:
                self._report.interrupted = True
        return unfitting | {
            each for each in +missing if each in self._report.failed or not self._workspace.holds(todo.chosen[each])
        }

    def _download(self, todo: Plan, progress: "Progress", missing: Counter[str]) -> None:
        from da.download import Downloads
        from da.urls import SignedUrls

        Thread(target=import_module, args=("da.views",), daemon=True).start()  # DuckDB loads while the network is busy
        downloads = Downloads(self._web, SignedUrls(self._server, todo.wanted), progress, self._patience)
        published_at = monotonic()
        for outcome in downloads.run(todo.wanted):
            self._note(outcome, missing)
            if monotonic() - published_at > CHECKPOINT:
                self._checkpoint(todo, set(+missing))
                published_at = monotonic()

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
            self._publish_views(todo.outcome(self._before, unfinished))
        except DaError:
            return

    def _publish(self, todo: Plan, unfinished: set[str]) -> tuple[dict[str, Table], set[str]]:
        """Replace the database; return its tables, and those whose new files are unreadable."""
        published = self._publish_views(todo.outcome(self._before, unfinished))
        broken = set(published.failed)
        if broken:
            again = self._publish_views(todo.outcome(self._before, unfinished | broken))
            self._report.failed |= {**again.failed, **published.failed}
        self._report.notes += published.notes
        tables = todo.outcome(self._before, unfinished | broken)
        return tables, broken

    def _publish_views(self, tables: Mapping[str, Table]) -> "Published":
        from da.views import Mirrored, publish

        path = self._workspace.path
        mirrored = [Mirrored(each, tuple(path(each.id, file) for file in each.files)) for each in _mirrored(tables)]
        aside = self._workspace.aside_for_readers()
        shown = [each for each in mirrored if self._workspace.holds(each.table)]
        published = publish(self._workspace.duckdb, shown, aside)
        if aside.exists():
            self._workspace.note_read(aside, self._referred(self._shown))
        self._shown = tables
        return published

    def _save(self, tables: Mapping[str, Table], etag: str | None, superseded: bool) -> None:
        state = State(
            server=self._server.address,
            snapshot=self._report.snapshot,
            etag=etag,
            changed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            root=str(self._workspace.root),
            tables=tables,
            failed=self._report.failed,
            database=self._workspace.database_stamp(),
            superseded=superseded,
        )
        self._workspace.save(state)

    def _kept(self, todo: Plan) -> set[Path]:
        """List the files that are needed or may still be read, except those of removed tables."""
        still = {table_id: table for table_id, table in self._before.tables.items() if table_id not in todo.removed}
        removed = {self._workspace.folder(table_id) for table_id in todo.removed}
        read = {path for path in self._workspace.read_elsewhere() if path.parent not in removed}
        return self._referred(still) | self._referred(todo.chosen) | _partial(todo) | read

    def _referred(self, tables: Mapping[str, Table]) -> set[Path]:
        return {self._workspace.path(each.id, file) for each in _mirrored(tables) for file in each.files}

    def _fitting(self, todo: Plan) -> tuple[Plan, set[str]]:
        """Exclude tables that alone exceed the free disk space."""
        disk, sizes = shutil.disk_usage(self._workspace.root), Counter[str]()
        for each in todo.wanted:
            sizes[each.table_id] += each.file.size_bytes
        unfitting = {
            table_id
            for table_id, size in sizes.items()
            if size > disk.total or (size > disk.free and size > disk.free + _here(todo, table_id))
        }
        for table_id in unfitting:
            needed, room = bytes_text(sizes[table_id]), bytes_text(disk.free)
            self._report.failed[table_id] = (
                f"not enough disk space: it needs {needed}, but '{self._workspace.root}' has {room} free; free some space"
            )
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
        mirrored = len(list(_mirrored(tables)))
        self._report.not_mirrored = len(tables) - mirrored
        self._report.unchanged = mirrored - len(self._report.updated)
        self._report.notes += noticed(tables.values())


def noticed(tables: Iterable[Table]) -> list[str]:
    """List the server's notices about tables, such as that files are gone from the source."""
    return [clean(f"{table.id}: {table.notice}") for table in tables if table.notice]


def _here(todo: Plan, table_id: str | None = None) -> int:
    """Count the wanted bytes that are already here, of one table or of all."""
    wanted = (each for each in todo.wanted if table_id in {None, each.table_id})
    return sum(piece.done for each in wanted for piece in assembly(each).pieces)


def _mirrored(tables: Mapping[str, Table]) -> Iterable[Table]:
    return (table for table in tables.values() if table.is_mirrored)


def _partial(todo: Plan) -> set[Path]:
    return {piece.part for each in todo.wanted for piece in assembly(each).pieces}
