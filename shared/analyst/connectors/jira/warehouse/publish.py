"""The warehouse of a Jira source: the state of every issue, and the tables derived from it, published together.

`raw_issues` contains the states. The rows of the other tables are derived from them and the options of the transform,
whose fingerprint is in the tables' `_state`. If it differs, a table is rebuilt from `raw_issues`, month by month.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from ulid import ULID

from analyst import duckdb_files, logs, runs
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.issue.rows import is_foreign, raw, rows
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.issue.tables import Row
from analyst.connectors.jira.issue.values import Report
from analyst.connectors.jira.warehouse import parts
from analyst.connectors.jira.warehouse.parts import RAW, Rewriting, Writers
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.contract import publishing
from analyst.contract.connector import Cursor
from analyst.contract.extract_edit import read_extract
from analyst.contract.model import Extract, FileRow
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import MovedError, NewTable, TableRun, Uploads
from analyst.contract.verdicts import Checker, with_warning
from analyst.errors import UnavailableError
from analyst.runs import TableResult
from analyst.store import Store
from da.absence import believable

Change = Callable[[IssueState], IssueState]
"""Returns the new state of an issue for its present one. It may be called again when others publish in the meantime."""

_RAW_MADE: Final = "raw"
_LOG = logging.getLogger(f"{logs.ROOT}.jira")


@dataclass(frozen=True, slots=True)
class Absorbed:
    """The result of absorbing changes.

    `version` is that of the source's extract; `changed` are the issues whose state changed; `tables` were published;
    `misshapen` counts values that became NULL, by field. `withheld` are issues that stay as they were because too many
    seem to be deleted; `doubt` says why, and what to do. `note` is about imported tables that stay.
    """

    version: str | None
    changed: frozenset[str] = frozenset()
    tables: tuple[TableResult, ...] = ()
    misshapen: Mapping[str, int] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()
    doubt: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """The state of an issue before and after a change."""

    before: IssueState
    after: IssueState


@dataclass(slots=True)
class _Part:
    """The changes of a part: issues whose rows are removed, and rows that are added."""

    without: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)


NewFiles = dict[str, Sequence[ParquetFile]]
"""The files of rewritten parts, by part."""


@dataclass(frozen=True, slots=True)
class Absorbing:
    """One attempt, based on one version of the extract; local files are in `folder`. See `Warehouse`."""

    store: Store
    source: str
    options: TransformOptions
    now: Callable[[], datetime]
    memory_limit: str
    excluded: Collection[str]
    folder: Path
    base: Extract
    version: str | None
    registrations: Mapping[str, str] = field(default_factory=dict)
    believed: int | None = None
    check: Checker | None = None

    def states_of(self, issue_ids: Collection[str]) -> dict[str, IssueState]:
        """Return the states of issues, from the parts with their blocks of ids."""
        with self._writers() as writers:
            return self._known(issue_ids, writers)

    def all_states(self) -> Iterator[IssueState]:
        """Yield the states of all issues, part by part."""
        raw = parts.by_part(self.base.files.get(RAW, ()))
        with self._writers() as writers:
            for part in parts.in_order(raw):
                yield from writers.states(raw[part])

    def deleted_before(self, time: datetime) -> list[str]:
        """Return the issues that were deleted before a time, from files whose statistics allow it."""
        files = [file for file in self.base.files.get(RAW, ()) if parts.may_be_deleted(file, time)]
        with self._writers() as writers:
            return writers.deleted(files, time)

    def absorb(self, change: Mapping[str, Change], cursor: Cursor) -> Absorbed:
        """Apply changes, and publish the tables derived from them.

        Raises:
            MovedError: others published in the meantime.
            UnmetError: an expectation blocks one of the tables.
        """
        began, report = self.now(), Report()
        known = self.base.state(RAW).cursor
        cursor = known if cursor is None else _with_gone_of(cursor, known)
        with self._writers() as writers:
            changed = self._changed(change, writers)
            is_empty = not changed and not any(file.rows for file in self.base.files.get(RAW, ()))
            derived = self._derived(cursor, is_empty=is_empty)
            stale = {name for name in derived if self._is_stale(name)}
            kept = {RAW, *derived} - stale
            gone = {one.after.issue_id for one in changed if _is_taken_out(one)}
            doubt = self._doubt(len(gone), known)
            if doubt is not None:
                changed = [one for one in changed if one.after.issue_id not in gone]
            elif gone and self.believed is None:
                cursor = _with_gone(cursor, len(gone), _millis(began))
            withheld = frozenset(gone if doubt is not None else ())
            note = self._note_on_imports() if is_empty and _is_whole(cursor) else None
            if not changed and not stale and cursor == known:
                return Absorbed(self.version, withheld=withheld, doubt=doubt, note=note)
            new = writers.rewritten(self._rewritings(changed, kept, report))
            files = {name: self._files(name, new.get(name, {}), writers) for name in kept}
            files |= self._remade(files[RAW], stale, writers, report)
            published, version = self._publish(files, writers.uploads, cursor, began)
        ids = frozenset(one.after.issue_id for one in changed)
        return Absorbed(version, ids, published, dict(report.misshapen), withheld, doubt, note)

    def _doubt(self, gone: int, cursor: Cursor) -> str | None:
        """Return why disappearances are not believed because of their number; `None` if they are."""
        live = self.base.files.get("issues") or self.base.files.get(RAW, ())
        total = sum(file.rows for file in live)
        progress = Progress.read(cursor)
        earlier = 0 if progress is None else progress.gone_since_yesterday(_millis(self.now()))
        most = believable(total) if self.believed is None else self.believed
        if not gone or gone + (earlier if self.believed is None else 0) <= most:
            return None
        before = f", after {earlier} others within a day" if earlier and self.believed is None else ""
        return (
            f"Jira no longer shows {gone} of {total:,} issues{before}; at most {most} are deleted without "
            "confirmation, so none was deleted. If the account of JIRA_API_TOKEN lost the permission to browse a "
            f"project, restore it; if the issues were deleted, run: da admin jira check --deletions {gone}"
        )

    def _is_stale(self, name: str) -> bool:
        """Return whether a table was derived with other options, or from documents that were removed since."""
        return RAW not in self.base.meta or self.base.state(name).fingerprint != self.options.fingerprint

    def _derived(self, cursor: Cursor, *, is_empty: bool) -> list[str]:
        """Return the tables to derive.

        Imported ones stay until all of Jira was read, because they may contain more. If Jira then has no issue at all,
        it is probably the wrong instance or account, and they stay as well: they may be the only copy of the data.
        """
        is_replaced = _is_whole(cursor) and not is_empty
        wanted = [name for name in self.options.tables if name != RAW and name not in self.excluded]
        return [name for name in wanted if is_replaced or not self.base.state(name).is_imported]

    def _note_on_imports(self) -> str | None:
        """Return the note on imported tables that stay because Jira has no issue to replace them with."""
        imported = [name for name in self.options.tables if self.base.state(name).is_imported]
        rows = sum(self.base.meta[name].rows or 0 for name in imported if name in self.base.meta)
        if not rows:
            return None
        return (
            f"Jira shows no issue, so the {rows:,} imported rows stay; check JIRA_DOMAIN and what the account of "
            f"JIRA_API_TOKEN may browse, or delete the tables: da admin tables remove {self.source}.{imported[0]}"
        )

    def _writers(self) -> Writers:
        uploads = Uploads(self.store, self.source, lambda: str(ULID()))
        listed = {(table, file.partition, file.sha256) for table, files in self.base.files.items() for file in files}
        return Writers(self.store, uploads, listed, self.folder, self.memory_limit)

    def _known(self, issue_ids: Collection[str], writers: Writers) -> dict[str, IssueState]:
        blocks = {int(issue_id) // parts.BLOCK for issue_id in issue_ids}
        raw = parts.by_part(self.base.files.get(RAW, ()))
        files = [
            file
            for part, listed in raw.items()
            if parts.block_of(part) in blocks and parts.may_hold(part, issue_ids)
            for file in listed
        ]
        return {state.issue_id: state for state in writers.states(files, issue_ids)}

    def _changed(self, change: Mapping[str, Change], writers: Writers) -> list[Changed]:
        known = self._known(change.keys(), writers)
        before = {issue_id: known.get(issue_id) or IssueState(issue_id) for issue_id in change}
        made = [Changed(before[issue_id], make(before[issue_id])) for issue_id, make in change.items()]
        return [one for one in made if one.before != one.after and not self._is_foreign(one)]

    def _is_foreign(self, one: Changed) -> bool:
        """Return whether an issue never belonged to the source; one that moved to another project keeps its state."""
        return one.before.is_empty and is_foreign(one.after, self.options.projects)

    def _rewritings(self, changed: Sequence[Changed], names: Collection[str], report: Report) -> list[Rewriting]:
        """Return the parts of tables that change, and how."""
        found: dict[tuple[str, str], _Part] = {}
        listed = {name: parts.by_part(self.base.files.get(name, ())) for name in names}
        for one in changed:
            before, after = self._rows(one.before, Report()), self._rows(one.after, report)
            was_large, is_large = parts.is_large(one.before), parts.is_large(one.after)
            for name in names:
                old_part = parts.part_of(name, one.before, is_own=was_large)
                new_part = parts.part_of(name, one.after, is_own=is_large)
                if was_large and before[name] and old_part not in listed[name]:  # older versions wrote no such part
                    old_part = parts.part_of(name, one.before, is_own=False)
                if (old_part, before[name]) != (new_part, after[name]):
                    found.setdefault((name, old_part), _Part()).without.add(one.before.issue_id)
                    found.setdefault((name, new_part), _Part()).rows += after[name]
        return [
            Rewriting(
                self.options.tables[name], part, listed[name].get(part, ()), frozenset(change.without), change.rows
            )
            for (name, part), change in found.items()
            if part in listed[name] or change.rows
        ]

    def _rows(self, state: IssueState, report: Report) -> Mapping[str, list[Row]]:
        """Return the rows of an issue; if that fails, only its state is kept, for a later version of the transform."""
        try:
            return rows(state, self.options, report)
        except Exception:  # noqa: BLE001 - whatever it is, the other issues continue
            report.count("issue")
            fields = {"source": self.source, "issue": state.issue_id}
            _LOG.exception("an issue could not be transformed to rows", extra={"fields": fields})
            return {name: [raw(state)] if name == RAW else [] for name in self.options.tables}

    def _files(self, name: str, new: NewFiles, writers: Writers) -> list[ParquetFile | FileRow]:
        """Return the files of a table, with some parts rewritten."""
        listed = self.base.files.get(name, ())
        empty: list[ParquetFile | FileRow] = [file for file in listed if file.partition is None]
        empty = empty or [writers.empty(self.options.tables[name])]
        all_parts: dict[str, Sequence[ParquetFile | FileRow]] = {**parts.by_part(listed), **new}
        return [*empty, *(file for part in parts.in_order(all_parts) for file in all_parts[part])]

    def _remade(
        self, raw: Iterable[ParquetFile | FileRow], stale: Collection[str], writers: Writers, report: Report
    ) -> dict[str, list[ParquetFile | FileRow]]:
        """Rebuild tables from `raw_issues`, month by month."""
        if not stale:
            return {}
        tables = [self.options.tables[name] for name in sorted(stale)]
        months = [
            (month, list(found))
            for month, found in groupby(
                (file for file in raw if file.partition is not None),
                key=lambda file: parts.month_of(file.partition or ""),
            )
        ]
        made = writers.made(tables, months, lambda state: self._rows(state, report))
        return {
            table.name: [writers.empty(table), *(file for month in made for file in month[table.name])]
            for table in tables
        }

    def _publish(
        self,
        files: Mapping[str, Sequence[ParquetFile | FileRow]],
        uploads: Uploads,
        cursor: Cursor,
        began: datetime,
    ) -> tuple[tuple[TableResult, ...], str | None]:
        """Publish `raw_issues`, and together with it the tables whose files or options differ."""
        moved = [name for name in files if name == RAW or self._is_other(name, files[name])]
        tables = [self._table(name, files[name], cursor if name == RAW else None, began) for name in sorted(moved)]
        results = tuple(_result(table) for table in tables)
        published = publishing.publish(
            self.store,
            self.source,
            tables,
            [TableRun(one.table, one.status, one.rows, one.size_bytes) for one in results],
            run_id=runs.new_run_id(),
            uploads=uploads,
            now=self.now,
            folder=self.folder,
            check=self.check,
            together=True,
        )
        return tuple(
            one.model_copy(update={"note": with_warning(one.note, published.warned.get(one.table))}) for one in results
        ), published.version

    def _is_other(self, name: str, files: Sequence[ParquetFile | FileRow]) -> bool:
        listed = self.base.files.get(name, ())
        same = [(one.sha256, one.partition) for one in files] == [(one.sha256, one.partition) for one in listed]
        return not same or self._is_stale(name)

    def _table(self, name: str, files: Sequence[ParquetFile | FileRow], cursor: Cursor, began: datetime) -> NewTable:
        return NewTable(
            name=name,
            description=None,
            columns=(),
            files=tuple(files),
            fingerprint=_RAW_MADE if name == RAW else self.options.fingerprint,
            cursor=cursor,
            base=self.base.state(name),
            read_at=began,
            rebase=lambda *_: None,
            registration=self.registrations.get(name),
        )


def _is_whole(cursor: Cursor) -> bool:
    """Return whether all of Jira was read once."""
    progress = Progress.read(cursor)
    return progress is not None and progress.created is None


def _is_taken_out(one: Changed) -> bool:
    """Return whether an issue loses its rows only because Jira does not show it, and not by an event of its deletion."""
    return one.after.is_gone and not (one.before.is_gone or one.before.is_tombstone or one.before.is_empty)


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _with_gone_of(cursor: Cursor, known: Cursor) -> Cursor:
    """Copy the record of issues that are gone from the known cursor."""
    new, old = Progress.read(cursor), Progress.read(known)
    return cursor if new is None or old is None else replace(new, gone=old.gone).cursor()


def _with_gone(cursor: Cursor, count: int, now: int) -> Cursor:
    progress = Progress.read(cursor)
    return cursor if progress is None else progress.with_gone(count, now).cursor()


def _result(table: NewTable) -> TableResult:
    return TableResult(
        table=table.name,
        status="ok",
        rows=sum(file.rows for file in table.files),
        size_bytes=sum(file.size_bytes for file in table.files),
    )


_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The published tables of one source, without `excluded` ones. `memory_limit` is per connection."""

    store: Store
    source: str
    options: TransformOptions
    now: Callable[[], datetime]
    memory_limit: str = "300MB"
    scratch: Path | None = None
    excluded: Collection[str] = field(default=frozenset())
    registrations: Mapping[str, str] = field(default_factory=dict)
    """The uuids of the registered tables by name."""
    check: Checker | None = None
    """Checks the tables before they are published. They belong together, so one that is blocked blocks all."""

    def find(self, issue_ids: Collection[str]) -> dict[str, IssueState]:
        """Return the states of issues, without unknown ones.

        Raises:
            ContractError: the published tables can't be read.
            UnavailableError: the store does not respond.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            return self._open(folder).states_of(issue_ids)

    def states(self) -> Iterator[IssueState]:
        """Yield the states of all issues, month by month, in bounded memory.

        Raises:
            ContractError: the published tables can't be read.
            UnavailableError: the store does not respond.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            yield from self._open(folder).all_states()

    def cursor(self) -> Cursor:
        """Return the progress of the source, as the last `absorb` with a cursor recorded it."""
        with duckdb_files.scratch(self.scratch) as folder:
            return self._open(folder).base.state(RAW).cursor

    def absorb(self, change: Mapping[str, Change], *, cursor: Cursor = None, believed: int | None = None) -> Absorbed:
        """Change the states of issues by id, and publish the tables derived from them: all together, or nothing.

        Tables derived with other options are rebuilt. `cursor` replaces the recorded one if given. If Jira no longer
        shows more issues than are `believed` to be deleted (see `believable`), these stay as they are.

        No lease is needed: the tables are published by one swap on the base that was read, and if others published in
        the meantime, the changes are computed again from what they published. Changes must therefore be repeatable.

        Raises:
            ContractError: the published tables can't be read.
            UnavailableError: the store does not respond, or others publish all the time.
        """
        for _ in range(_ATTEMPTS):
            with suppress(MovedError), duckdb_files.scratch(self.scratch) as folder:
                return self._open(folder, believed).absorb(change, cursor)
        raise UnavailableError(
            f"{self.source!r} can't be published: other processes publish it all the time; try again later"
        )

    def forget(self, before: datetime) -> Absorbed:
        """Forget the issues that were deleted before a time. A later event about one would bring it back.

        Raises:
            ContractError: the published tables can't be read.
            UnavailableError: the store does not respond, or others publish all the time.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            gone = self._open(folder).deleted_before(before)
        return self.absorb(dict.fromkeys(gone, lambda state: IssueState(state.issue_id)))

    def _open(self, folder: Path, believed: int | None = None) -> Absorbing:
        base, version = read_extract(self.store, self.source, folder)
        base = base.require_whole().without_predecessors(self.registrations)
        return Absorbing(
            store=self.store,
            source=self.source,
            options=self.options,
            now=self.now,
            memory_limit=self.memory_limit,
            excluded=self.excluded,
            folder=folder,
            base=base,
            version=version,
            believed=believed,
            registrations=self.registrations,
            check=self.check,
        )
