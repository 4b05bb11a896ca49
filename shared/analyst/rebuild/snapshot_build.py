"""Building one snapshot from the current extracts."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analyst import duckdb_files
from analyst.catalog import Catalog, Column, File, Problem, Table
from analyst.contract.model import FileRow, extract_key
from analyst.errors import AnalystError, ContractError
from analyst.rebuild import snapshot_file, view_names
from analyst.rebuild.batches import Batch, Batching, Outcome
from analyst.rebuild.source_views import Placed, Taken
from analyst.store import ObjectMissingError, Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class LastSnapshotError(AnalystError):
    """The last snapshot's analytics.duckdb is missing or damaged; every source must be read again."""


@dataclass(frozen=True, slots=True)
class Building:
    """Builds the snapshot after `last`, whose views are in the object `last_duckdb` (`None` if it is missing).

    `seniority` are table ids in the order of their registration: the earlier table has the better claim to a view name.
    """

    store: Store
    last: Catalog
    last_duckdb: str | None
    seniority: Sequence[str]
    folder: Path
    sizes: Mapping[str, int]
    """The sizes of the sources' extracts in bytes."""

    def build(self, sources: frozenset[str], changed: frozenset[str], now: datetime) -> tuple[Catalog, Path]:
        """Build from all `sources`, reading those in `changed` again; return the catalog and the local file.

        A source or table that can't be read keeps its entry from the last snapshot and is reported in the catalog, even
        if its extract is gone. Only a table that was deleted on purpose disappears (`publishing.drop`).

        Raises:
            LastSnapshotError: views of the last snapshot are needed and not available.
        """
        last = _by_source(self.last)
        with duckdb_files.connect(threads=1, temp_dir=self.folder / "spill") as con:
            path = self.folder / "analytics.duckdb"
            snapshot_file.begin(con, path)
            batching = Batching(self.store, last, self.folder, self.sizes)
            batches = batching.open(sorted(changed & sources))
            owners = view_names.assign(self.last.owners, self._fresh(batches))
            views = {table: view for view, table in owners.items()}
            outcomes = batching.take(batches, views)
            taken = _gathered(con, outcomes)
            kept, lost = self._keep(con, _kept(last, changed & sources, taken))
            problems = [p for p in self.last.problems if p.source in sources - changed]
            problems += [p for outcome in outcomes for p in outcome.problems]
            problems += [*_gone(last.keys() - sources), *lost]
            remote = [row for row in self.last.remote if row.source not in taken]
            remote += [row for found in taken.values() for row in found.remote]
            columns = {view: listed for outcome in outcomes for view, listed in outcome.columns.items()}
            fresh = [_table(name, p, views, columns) for name, found in taken.items() for p in found.tables]
            catalog = Catalog(
                snapshot=self.last.snapshot + 1,
                built_at=now,
                tables=tuple(sorted((*fresh, *kept), key=lambda table: table.id)),
                problems=tuple(sorted(problems, key=lambda p: (p.source, p.table or "", p.message))),
                remote=tuple(sorted(remote, key=lambda row: (row.source, row.alias))),
                held_back=tuple(one for one in self.last.held_back if one.source in sources - taken.keys()),
                owners=owners,
            )
            snapshot_file.finish(con, catalog)
        return catalog, path

    def _fresh(self, batches: Sequence[Batch]) -> list[str]:
        """List the tables of the opened sources, the oldest first."""
        rank = {table: number for number, table in enumerate(self.seniority)}
        opened = [source for batch in batches for source in batch.sources]
        ids = [f"{source.name}.{table}" for source in opened for table in source.extract.meta]
        return sorted(ids, key=lambda table: (rank.get(table, len(rank)), table))

    def _keep(self, con: "DuckDBPyConnection", kept: Sequence[Table]) -> tuple[list[Table], list[Problem]]:
        """Copy the views of these tables of the last snapshot into `merged`; return the tables that are there, and problems.

        A view that differs from the one we would write, or is lost with that snapshot, is written again. That is
        impossible for remote tables, whose SQL is stored nowhere else.
        """
        there: frozenset[str] = frozenset()
        if kept and self.last_duckdb is not None:
            path = self.folder / "last.duckdb"
            try:
                self.store.download(self.last_duckdb, path)
                there = snapshot_file.keep_views(con, path, kept, self._aliases(), self.store.url)
            except (ObjectMissingError, ContractError) as error:
                raise LastSnapshotError(str(error)) from error
        found, lost = [table for table in kept if table.view in there], list[Problem]()
        for table in kept:
            if table.view not in there:
                try:
                    snapshot_file.make_view(con, table, self.store.url)
                except ContractError as error:
                    lost.append(Problem(source=table.source, table=table.name, code=error.code, message=str(error)))
                else:
                    found.append(table)
        return found, lost

    def _aliases(self) -> Mapping[str, frozenset[str]]:
        """Return the databases that the sources of the last snapshot may attach."""
        found: dict[str, set[str]] = {}
        for row in self.last.remote:
            found.setdefault(row.source, set()).add(row.alias)
        return {source: frozenset(aliases) for source, aliases in found.items()}


def _gathered(con: "DuckDBPyConnection", outcomes: Sequence[Outcome]) -> dict[str, Taken]:
    """Copy the views of all batches into `merged`; return what was taken of each source."""
    snapshot_file.add_views(con, [outcome.views for outcome in outcomes if outcome.views is not None])
    return {name: taken for outcome in outcomes for name, taken in outcome.taken.items()}


def _by_source(catalog: Catalog) -> dict[str, dict[str, Table]]:
    found: dict[str, dict[str, Table]] = {}
    for table in catalog.tables:
        found.setdefault(table.source, {})[table.name] = table
    return found


def _kept(last: Mapping[str, Mapping[str, Table]], changed: frozenset[str], taken: Mapping[str, Taken]) -> list[Table]:
    """List the tables that keep their entry: those of unchanged sources, and those that could not be read."""
    kept: list[Table] = []
    for source in sorted(last):
        if source not in changed or source not in taken:
            kept += last[source].values()
        else:
            failed = {problem.table for problem in taken[source].problems}
            kept += [table for name, table in last[source].items() if name in failed]
    return kept


def _gone(sources: Iterable[str]) -> list[Problem]:
    """Return a problem for each source whose extract no longer exists."""
    return [
        Problem(
            source=source,
            code=ContractError.code,
            message=f"the tables of {source!r} are not updated: {extract_key(source)!r} is gone; "
            "restore it, run the source again, or delete its tables",
        )
        for source in sorted(sources)
    ]


def _table(source: str, placed: Placed, views: Mapping[str, str], columns: Mapping[str, tuple[Column, ...]]) -> Table:
    meta, files = placed.meta, placed.files
    view = views[f"{source}.{meta.table}"]
    content = "\n".join(file.sha256 for file in files) if placed.remote_sql is None else placed.remote_sql
    return Table.model_validate(
        {
            "source": source,
            "name": meta.table,
            "view": view,
            "description": meta.description,
            "query_mode": meta.query_mode,
            "rows": sum(file.rows for file in files) if files else meta.rows,
            "size_bytes": sum(file.size_bytes for file in files) if files else meta.size_bytes,
            "extracted_at": meta.extracted_at,
            "version": placed.state.version,
            "registration": placed.state.registration,
            "hash": hashlib.sha256(content.encode()).hexdigest(),
            "columns": columns.get(view, ()),
            "notice": placed.notice,
            "files": [_file(file) for file in files],
        }
    )


def _file(row: FileRow) -> File:
    return File(path=row.path, sha256=row.sha256, size_bytes=row.size_bytes, rows=row.rows, partition=row.partition)
