"""The connector of files: every table of a folder of CSV, TSV, JSON lines and parquet files, plain, gz or zst."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.connectors.files import listing
from analyst.connectors.files.columns.enforcement import Read, Reading
from analyst.connectors.files.formats import delimited, json_lines, parquet
from analyst.connectors.files.formats.compression import kind_of
from analyst.connectors.files.increments import Increment, passed_over
from analyst.connectors.files.listing import DataFile, Format, Planned, Wanted
from analyst.connectors.files.places import open_place
from analyst.connectors.files.places.local import Place, SourceFile
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.errors import SourceError
from analyst.names import name_of, quote_text

ATTEMPTS = 3
"""How often a table is read whose files change meanwhile."""

_SKIPPED_LISTED = 20


Reader = Callable[[Reading, Sequence[tuple[DataFile, Path]], Path], Read]

_READERS: dict[Format, Reader] = {
    "csv": delimited.read,
    "tsv": delimited.read,
    "json": json_lines.read,
    "parquet": parquet.read,
}


@dataclass(frozen=True, slots=True)
class CsvConnector:
    """The files of one source.

    `roots` is SOURCE_ROOTS, `memory_limit` what reading one table may use, `place` opens the source's path.
    """

    wanted: Wanted
    roots: Sequence[str]
    memory_limit: str = "300MB"
    scratch: Path | None = None
    place: Callable[[str, Sequence[str]], Place] = open_place
    _planned: dict[str, Planned] = field(default_factory=dict, init=False)
    _files: list[SourceFile] = field(default_factory=list, init=False)

    def tables(self) -> Iterable[SourceTable]:
        """List the tables that the files make, in order of their names; reads no content.

        Raises:
            SourceError: the path may not be read, or leads nowhere.
        """
        return [_source_table(table) for table in self.plan()]

    def plan(self) -> list[Planned]:
        """Find out which files make which tables, once.

        Raises:
            SourceError: the path may not be read, or leads nowhere.
        """
        if not self._planned:
            files = self._place().files()
            self._planned.update({table.name: table for table in listing.plan(self.wanted, files)})
            self._files[:] = files
        return list(self._planned.values())

    def notes(self) -> tuple[str, ...]:
        """Report files whose names match no format, and that there is nothing to read."""
        skipped = listing.skipped(self._files)
        more = ", …" if len(skipped) > _SKIPPED_LISTED else ""
        notes = [f"skipped {len(skipped)}: {', '.join(skipped[:_SKIPPED_LISTED])}{more}"] if skipped else []
        if not self._planned:
            notes.append(self.nothing())
        return tuple(notes)

    def nothing(self) -> str:
        """Explain why no file makes a table."""
        path = self.wanted.source.path
        if not self._files:
            return f"'{path}' has no files; put CSV, TSV, JSON Lines or Parquet files there, or change the path"
        return (
            f"'{path}' has no files that make a table; their names must end in .csv, .tsv, .jsonl, .ndjson, .json or "
            ".parquet, plain or with .gz or .zst"
        )

    def ignored(self) -> list[tuple[str, str]]:
        """List the files that `plan` makes no table of, each with the reason."""
        return listing.ignored(self.wanted, self._files)

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
        """Read the files of one table into parquet files; again if they change meanwhile.

        Raises:
            SourceError: a file can't be read as it is configured; the message has file, line and reason.
        """
        planned = _with_published_names(self._planned[table.name], table)
        if planned.problem:
            raise SourceError(planned.problem)
        place = self._place()
        increment = Increment(table, since, frozenset(planned.options.types), planned.options.cursor_lag)
        for attempt in range(ATTEMPTS):
            before = _marks(place, planned)
            home = into / str(attempt)
            home.mkdir()
            try:
                extracted = self.read(planned, increment, place, home)
            except SourceError:
                if before == _marks(place, planned):
                    raise
            else:
                if before == _marks(place, planned):
                    return extracted
            shutil.rmtree(home)
        raise SourceError(
            f"{planned.original} changed while it was read, {ATTEMPTS} times; write it elsewhere and move it here"
        )

    def _place(self) -> Place:
        return self.place(self.wanted.source.path, self.roots)

    def read(self, planned: Planned, increment: Increment, place: Place, into: Path) -> Extracted:
        """Read the files of a table from a place into parquet files in an empty folder.

        Raises:
            SourceError: a file can't be read as it is configured.
        """
        with duckdb_files.scratch(self.scratch) as scratch:
            files = [(item, place.local(item.file, scratch)) for item in planned.files]
            for item, path in files:
                _check(item, path)
            con = duckdb_files.connect(memory_limit=self.memory_limit, threads=1, temp_dir=scratch)
            with con:
                reading = Reading(con, planned.options, planned.required, increment, scratch)
                read = _READERS[planned.files[0].format](reading, files, into)
                described = con.execute(f"describe from read_parquet({quote_text(str(read.files[0]))})").fetchall()
                kinds = {str(name): str(kind) for name, kind, *_ in described}
                return Extracted(
                    files=tuple(read.files),
                    columns=_columns(described, read),
                    cursor=increment.reached(con, read.files, kinds),
                    rejected=read.rejected.count,
                    rejects=read.rejected.first,
                    notes=read.notes,
                    is_whole=increment.is_whole(kinds),
                    passed_over=passed_over(con),
                )


def _with_published_names(planned: Planned, table: SourceTable) -> Planned:
    """Give a table whose options name the columns as they were published, where they name them by their originals."""
    published = {name_of(original): name for name, original in table.originals.items() if original.strip()}
    names = {column: published.get(column, column) for column in planned.options.types if column not in table.originals}
    if all(column == name for column, name in names.items()):
        return planned
    types = {names.get(column, column): kind for column, kind in planned.options.types.items()}
    return replace(
        planned,
        options=planned.options.model_copy(update={"types": types}),
        required=frozenset(names.get(column, column) for column in planned.required),
    )


def _marks(place: Place, planned: Planned) -> list[str]:
    return [place.mark(item.file) for item in planned.files]


def _source_table(planned: Planned) -> SourceTable:
    return SourceTable(
        name=planned.name,
        original=planned.original,
        fingerprint=planned.fingerprint,
        primary_key=planned.options.primary_key,
        sync_strategy=planned.options.sync_strategy,
        cursor_column=planned.options.cursor_column,
        clustered_by=planned.options.cluster_by,
        stable_files=planned.options.stable_files,
        problem=planned.problem,
    )


def _check(item: DataFile, path: Path) -> None:
    """Check that a file is what its name says."""
    expected = (
        {"parquet": "parquet", "json": "json"}.get(item.format) if item.compression == "none" else item.compression
    )
    outside = kind_of(path, "none", item.name)
    kind = outside
    if item.compression != "none" and outside == item.compression:
        expected = {"parquet": "parquet", "json": "json"}.get(item.format)
        kind = kind_of(path, item.compression, item.name)
    if kind == expected or (expected == "json" and kind is None):
        return
    holds, remedy = _HOLDS.get(kind or "text", (kind, "rename it"))
    raise SourceError(f"{item.name} is not what its name says: it holds {holds}; {remedy.format(name=item.name)}")


_HOLDS = {
    "text": ("something else", "rename it"),
    "gzip": ("gzip data", "rename it, with .gz at the end"),
    "zstd": ("zstd data", "rename it, with .zst at the end"),
    "parquet": ("parquet", "rename it, with .parquet at the end"),
    "json": ("JSON", "rename it, with .json or .jsonl at the end"),
    "zip": ("a zip archive", "unpack it, or compress the file with gzip and name it .csv.gz"),
    "xlsx": ("an Excel workbook", "save its sheets as CSV"),
    "xls": ("an old Office file, such as an Excel workbook", "save its sheets as CSV"),
    "pdf": ("a PDF document", "export the data as CSV"),
    "html": ("an HTML page", "what was downloaded may be an error or a login page; download the data itself"),
    "xml": ("XML", "export the data as CSV or JSON"),
    "rtf": ("an RTF document", "save it as plain text"),
    "bzip2": ("bzip2 data", "unpack it, or compress it with gzip instead"),
    "xz": ("xz data", "unpack it, or compress it with gzip instead"),
    "7z": ("a 7z archive", "unpack it, or compress the file with gzip instead"),
    "rar": ("a RAR archive", "unpack it, or compress the file with gzip instead"),
    "sqlite": ("an SQLite database", "export its tables as CSV"),
    "arrow": ("an Arrow file", "write it as parquet"),
    "avro": ("an Avro file", "write it as parquet"),
}


def _columns(described: Iterable[tuple[str, str]], read: Read) -> tuple[Column, ...]:
    return tuple(_column(name, kind, read.originals.get(name, name)) for name, kind, *_ in described)


def _column(name: str, kind: str, original: str) -> Column:
    return Column(name=name, type=kind, description=original if original != name else None)
