"""Building one snapshot from the current extracts."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyst.catalog import Column, File, HeldBack, Problem, SourceTables, Table
from analyst.contract.model import FileRow, extract_key
from analyst.errors import ContractError
from analyst.names import quote
from analyst.rebuild import view_names
from analyst.rebuild.batches import Batching
from analyst.rebuild.contents import Contents, tables_of
from analyst.rebuild.source_views import Placed, Taken
from analyst.store import Store


@dataclass(frozen=True, slots=True)
class Built:
    """What a build found: the sources that were read, and the problems and held back sources of the whole snapshot.

    `owners` are the owners of all view names if tables have got new ones, else `None`.
    """

    changes: Mapping[str, SourceTables]
    problems: tuple[Problem, ...]
    held_back: tuple[HeldBack, ...]
    owners: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Building:
    """Builds the snapshot after `last`.

    `seniority` returns table ids in the order of their registration: the earlier table has the better claim to a view name.
    """

    store: Store
    last: Contents
    seniority: Callable[[], Sequence[str]]
    folder: Path
    sizes: Mapping[str, int]
    """The sizes of the sources' extracts in bytes."""

    def build(self, sources: frozenset[str], changed: frozenset[str]) -> Built:
        """Read the `changed` ones of all `sources`, and nothing else.

        A source or table that can't be read keeps its entry from the last snapshot and is reported in the catalog, even
        if its extract is gone. Only a table that was deleted on purpose disappears (`publishing.drop`).

        Raises:
            DamagedError: a part of the last snapshot is missing or damaged.
        """
        last = tables_of(self.last.sources(changed & sources))
        batching = Batching(self.store, last, self.folder, self.sizes)
        views = {table.id: table.view for tables in last.values() for table in tables.values()}
        outcomes, batches = batching.open(sorted(changed & sources), views.keys())
        owners: Mapping[str, str] | None = None
        if batches:
            opened = [table for batch in batches for table in batch.tables()]
            owners = view_names.assign(self.last.owners(), self._by_seniority(opened))
            views = {table: view for view, table in owners.items()}
            outcomes += batching.take(batches)
        taken = {name: one for outcome in outcomes for name, one in outcome.taken.items()}
        columns = {table: listed for outcome in outcomes for table, listed in outcome.columns.items()}
        problems = [p for p in self.last.problems if p.source in sources - changed]
        problems += [p for outcome in outcomes for p in outcome.problems]
        problems += _gone({source for source, count in self.last.counts.items() if count} - sources)
        return Built(
            {name: _source_tables(name, one, last.get(name, {}), views, columns) for name, one in taken.items()},
            tuple(sorted(problems, key=lambda p: (p.source, p.table or "", p.message))),
            tuple(one for one in self.last.held_back if one.source in sources - taken.keys()),
            owners,
        )

    def _by_seniority(self, tables: Sequence[str]) -> list[str]:
        """Return ids of tables, the oldest first."""
        rank = {table: number for number, table in enumerate(self.seniority())}
        return sorted(tables, key=lambda table: (rank.get(table, len(rank)), table))


def _source_tables(
    source: str,
    taken: Taken,
    last: Mapping[str, Table],
    views: Mapping[str, str],
    columns: Mapping[str, tuple[Column, ...]],
) -> SourceTables:
    """Return the tables of a source that was read; those with a problem keep their entry."""
    failed = {problem.table for problem in taken.problems}
    kept = [table for name, table in last.items() if name in failed]
    fresh = [_table(source, placed, views, columns) for placed in taken.tables]
    return SourceTables(
        tables=tuple(sorted((*fresh, *kept), key=lambda table: table.name)),
        remote=tuple(sorted(taken.remote, key=lambda row: row.alias)),
    )


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
    meta, files, remote = placed.meta, placed.files, placed.remote
    table_id = f"{source}.{meta.table}"
    content = "\n".join(f.sha256 for f in files) if remote is None else f"select * from {'.'.join(map(quote, remote))}"
    return Table.model_validate(
        {
            "source": source,
            "name": meta.table,
            "view": views[table_id],
            "description": meta.description,
            "query_mode": meta.query_mode,
            "rows": sum(file.rows for file in files) if files else meta.rows,
            "size_bytes": sum(file.size_bytes for file in files) if files else meta.size_bytes,
            "extracted_at": meta.extracted_at,
            "version": placed.state.version,
            "registration": placed.state.registration,
            "hash": hashlib.sha256(content.encode()).hexdigest(),
            "columns": columns[table_id],
            "notice": placed.notice,
            "remote": remote,
            "inputs": placed.inputs,
            "files": tuple(map(_file, files)),
        }
    )


def _file(row: FileRow) -> File:
    return File.model_construct(
        path=row.path, sha256=row.sha256, size_bytes=row.size_bytes, rows=row.rows, partition=row.partition
    )
