"""Reading and writing the files of a Jira source's tables, two at a time."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from queue import LifoQueue
from typing import Final, Self

from analyst import duckdb_files
from analyst.contract.model import FileRow
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import Uploads
from analyst.store import Store
from analyst.store.copying import local_copy
from functions.extract.jira import parts
from functions.extract.jira.parts import Rewriting, Writer
from functions.extract.jira.rows import Row
from functions.extract.jira.state import IssueState
from functions.extract.jira.tables import Table

DOWNLOADS: Final = 8
SIDE_BY_SIDE: Final = 2
"""Files that are written at the same time; each keeps one processor busy."""

Rows = Callable[[IssueState], Mapping[str, Sequence[Row]]]
"""Gives the rows of an issue by table."""


@dataclass(slots=True)
class Writers:
    """Writers that share a local folder. `listed` are files, by table, part and hash, that are in the bucket already."""

    store: Store
    uploads: Uploads
    listed: Collection[tuple[str, str | None, str]]
    folder: Path
    memory_limit: str
    _free: "LifoQueue[Writer]" = field(default_factory=LifoQueue)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        for number in range(SIDE_BY_SIDE):
            home = self.folder / f"writer-{number}"
            con = duckdb_files.connect(memory_limit=self.memory_limit, threads=1, temp_dir=home / "spill")
            self._free.put(Writer(self._open.enter_context(con), home, self._local))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def states(self, files: Iterable[ParquetFile | FileRow], ids: Collection[str] | None = None) -> list[IssueState]:
        """Read what files of `raw_issues` tell of issues: of some, or of all."""
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            paths = list(pool.map(self._path, files))
        if not paths:
            return []
        with self._writer() as writer:
            return [IssueState.from_json(text) for _, text in parts.documents(writer.con, paths, ids)]

    def deleted(self, files: Iterable[FileRow], before: datetime) -> list[str]:
        """Read which issues in files of `raw_issues` were deleted before a time."""
        paths = [self._path(file) for file in files]
        if not paths:
            return []
        with self._writer() as writer:
            return parts.deleted(writer.con, paths, before)

    def empty(self, table: Table) -> ParquetFile:
        """Write the file that carries the columns of a table."""
        with self._writer() as writer:
            return self._placed(table, [writer.empty(table)])[0]

    def rewritten(self, rewritings: Sequence[Rewriting]) -> dict[str, dict[str, Sequence[ParquetFile]]]:
        """Write parts anew, the largest first; give their files by table and part. Beside a large document, one at a time."""
        found: dict[str, dict[str, Sequence[ParquetFile]]] = {}
        by_size = sorted(rewritings, key=lambda one: -sum(file.size_bytes for file in one.files))
        is_large = any(parts.is_own(one.table.name, one.part) for one in rewritings)
        with ThreadPoolExecutor(1 if is_large else SIDE_BY_SIDE) as pool:
            for one, files in zip(by_size, pool.map(self._rewrite, by_size), strict=True):
                found.setdefault(one.table.name, {})[one.part] = files
        return found

    def made(
        self, tables: Sequence[Table], months: Sequence[tuple[str, Sequence[ParquetFile | FileRow]]], rows: Rows
    ) -> list[dict[str, list[ParquetFile]]]:
        """Make months of tables of what their files of `raw_issues` tell; give the files of each by table."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(pool.map(lambda month: self._make(tables, month[0], month[1], rows), months))

    def _rewrite(self, rewriting: Rewriting) -> list[ParquetFile]:
        with self._writer() as writer:
            return self._placed(rewriting.table, writer.rewrite(rewriting))

    def _make(
        self, tables: Sequence[Table], month: str, raw: Sequence[ParquetFile | FileRow], rows: Rows
    ) -> dict[str, list[ParquetFile]]:
        with self._writer() as writer:
            writer.begin(tables)
            made: dict[str, dict[str, list[ParquetFile]]] = {table.name: {} for table in tables}
            for file in raw:
                small, large = list[Mapping[str, Sequence[Row]]](), list[IssueState]()
                for _, text in parts.documents(writer.con, [self._path(file)]):
                    state = IssueState.from_json(text)
                    if parts.is_large(state):
                        large.append(state)
                    else:
                        small.append(rows(state))
                for table in tables:
                    writer.add(table, [row for one in small for row in one[table.name]])
                for state in large:
                    own = rows(state)
                    for table in tables:
                        part = parts.part_of(table.name, state, is_own=True)
                        made[table.name][part] = writer.rewrite(Rewriting(table, part, rows=own[table.name]))
            for table in tables:
                made[table.name][month] = writer.end(table, month)
            return {
                table.name: self._placed(table, [file for part in parts.in_order(found) for file in found[part]])
                for table, found in zip(tables, made.values(), strict=True)
            }

    def _placed(self, table: Table, files: list[ParquetFile]) -> list[ParquetFile]:
        """Upload what is not in the bucket; here it is needed no more, but for what tables are made of."""
        for file in files:
            if (table.name, file.partition, file.sha256) not in self.listed:
                self.uploads.key_of(table.name, file)
                if table.name != parts.RAW:
                    file.path.unlink()
        return files

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        writer = self._free.get()
        try:
            yield writer
        finally:
            self._free.put(writer)

    def _path(self, file: ParquetFile | FileRow) -> Path:
        return self._local(file) if isinstance(file, FileRow) else file.path

    def _local(self, file: FileRow) -> Path:
        return local_copy(self.store, file.path, self.folder / "base" / file.path.replace("/", "-"))
