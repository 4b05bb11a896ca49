"""The connector of files: every table of a folder of CSV, TSV, JSON lines and parquet files, plain, gz or zst."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.connectors.files import table_files
from analyst.connectors.files.columns.enforcement import Reading, Rejected
from analyst.connectors.files.columns.table import Format, Known, Opened, Part, Read, Table
from analyst.connectors.files.columns.text_types import SideBySide
from analyst.connectors.files.formats import csv_files, json_lines, parquet
from analyst.connectors.files.formats.compression import kind_of
from analyst.connectors.files.increments import Increment
from analyst.connectors.files.parts import Census, FilePart, Overlaps, parts_of
from analyst.connectors.files.places import open_place
from analyst.connectors.files.places.local import Place, SourceFile
from analyst.connectors.files.table_files import DataFile, Planned, Wanted
from analyst.contract import connector as contract
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.errors import SourceError
from analyst.names import name_of

ATTEMPTS = 3
"""The maximum number of times that a table is read if its files keep changing."""

_SKIPPED_LISTED = 20


_FORMATS: Mapping[str, Format] = {
    "csv": csv_files.FORMAT,
    "tsv": csv_files.FORMAT,
    "json": json_lines.FORMAT,
    "parquet": parquet.FORMAT,
}


@dataclass(frozen=True, slots=True)
class CsvConnector:
    """The files of one source.

    `roots` is SOURCE_ROOTS, `memory_limit` is per table, `place` opens the source's path.
    """

    wanted: Wanted
    roots: Sequence[str]
    memory_limit: str = "300MB"
    scratch: Path | None = None
    place: Callable[[str, Sequence[str]], Place] = open_place
    side_by_side: SideBySide | None = None
    """How ranges of large files are read at the same time; by default in the usual way, with `memory_limit`."""
    _planned: dict[str, Planned] = field(default_factory=dict, init=False)
    _files: list[SourceFile] = field(default_factory=list, init=False)

    def tables(self) -> Iterable[SourceTable]:
        """List the tables in the order of their names, without reading the content of files.

        Raises:
            SourceError: the path may not be read, or leads nowhere.
        """
        return [
            replace(
                _source_table(table),
                basis=_hash([table.reading[1], *self._place_of(table)]),
                # rows that are read in another way replace those with their keys; without a key, they would be others
                origin=_hash([self._place_of(table), table.reading[1] if table.options.primary_key else None]),
            )
            for table in self.plan()
        ]

    def plan(self) -> list[Planned]:
        """Assign the files to tables. They are listed once.

        Raises:
            SourceError: the path may not be read, or leads nowhere.
        """
        if not self._planned:
            files = self._place().files()
            self._planned.update({table.name: table for table in table_files.plan(self.wanted, files)})
            self._files[:] = files
        return list(self._planned.values())

    def _place_of(self, planned: Planned) -> tuple[str | None, ...]:
        """Return all that decides which files belong to a table."""
        registered = self.wanted.registered.get(planned.name)
        return self.wanted.source.path, planned.original, registered.files if registered else None

    def notes(self) -> tuple[str, ...]:
        """Report files whose names match no format, and that there is nothing to read."""
        skipped = table_files.skipped(self._files)
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
        """List the files that become no table, each with the reason."""
        return table_files.ignored(self.wanted, self._files)

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
        """Read the files of one table into parquet files; if they change while they are read, read them again.

        Raises:
            SourceError: a file can't be read as it is configured; the message has file, line and reason.
        """
        planned = _with_published_names(self._planned[table.name], table)
        if planned.problem:
            raise SourceError(planned.problem)
        increment = Increment(table, since, frozenset(planned.options.types), planned.options.cursor_lag)
        for attempt in range(ATTEMPTS):
            place = _Watched(self._place())
            home = into / str(attempt)
            home.mkdir()
            try:
                extracted = self.read(planned, increment, place, home)
            except SourceError:
                if not place.has_changed():
                    raise
            else:
                if not place.has_changed():
                    return extracted
            shutil.rmtree(home)
        raise SourceError(
            f"'{planned.original}' can't be read: it changed during each of {ATTEMPTS} attempts; write it elsewhere and move it here"
        )

    def _place(self) -> Place:
        return self.place(self.wanted.source.path, self.roots)

    def read(self, planned: Planned, increment: Increment, place: Place, into: Path) -> Extracted:
        """Read the files of a table from a place into parquet files in an empty folder.

        Parts that are published (`increment.table.parts`) and unchanged are read only if they must be.

        Raises:
            SourceError: a file can't be read as it is configured.
        """
        with (
            duckdb_files.scratch(self.scratch) as scratch,
            duckdb_files.lent(memory_limit=self.memory_limit, temp_dir=scratch) as con,
        ):
            side_by_side = self.side_by_side or SideBySide(memory_limit=self.memory_limit)
            reading = Reading(con, planned.options, planned.required, increment, scratch, side_by_side)
            parts = parts_of(planned, increment.table.registration)
            census = Census.of(parts, *self._place_of(planned))
            if not planned.options.allow_fewer and increment.table.sync_strategy == "full_refresh":
                census.check(increment.table.parts)  # an increment keeps the rows of files that are gone
            return _Extract(reading, place, parts, census, into).run()


@dataclass(slots=True)
class _Watched:
    """A place that notices whether a file changed while it was read."""

    place: Place
    _marks: dict[str, tuple[SourceFile, str]] = field(default_factory=dict)

    def files(self) -> list[SourceFile]:
        return self.place.files()

    def mark(self, file: SourceFile) -> str:
        return self.place.mark(file)

    def local(self, file: SourceFile, scratch: Path) -> Path:
        self._marks.setdefault(file.name, (file, self.place.mark(file)))
        return self.place.local(file, scratch)

    def has_changed(self) -> bool:
        return any(self.place.mark(file) != mark for file, mark in self._marks.values())


@dataclass(frozen=True, slots=True)
class _Extract:
    """One reading of the parts of a table."""

    reading: Reading
    place: Place
    parts: Sequence[FilePart]
    census: Census
    into: Path

    def run(self) -> Extracted:
        increment, con = self.reading.increment, self.reading.con
        published = {part.name: part for part in increment.table.parts}
        known = {name: _known(part.about) for name, part in published.items()}
        unchanged = {one.name for one in self.parts if one.name in published and published[one.name].mark == one.mark}
        parts = [
            Part(one.name, partial(self._opened, one), known[one.name] if one.name in unchanged else None)
            for one in self.parts
        ]
        table = Table(self.reading, _FORMATS[self.parts[0].files[0].format], parts, self.into)
        lost = [found or _UNKNOWN for name, found in known.items() if name not in unchanged]
        overlaps = Overlaps(con, increment, lost)
        read = table.read()
        while needed := overlaps.needed(self._marked(overlaps, read).parts):
            for part in parts:
                if part.name in needed:
                    part.ensure_open()
            read = table.read()
        return self._extracted(self._marked(overlaps, read), overlaps)

    def _opened(self, part: FilePart) -> Opened:
        files = [(item, self.place.local(item.file, self.reading.scratch)) for item in part.files]
        for item, path in files:
            _check(item, path)
        return _FORMATS[part.files[0].format].open(self.reading, files)

    def _record_of(self, part: FilePart, known: Known) -> str:
        return json.dumps(known.to_json() | self.census.about(part), ensure_ascii=False)

    @staticmethod
    def _marked(overlaps: Overlaps, read: Read) -> Read:
        parts = (part if part.files is None else replace(part, known=overlaps.marks(part)) for part in read.parts)
        return replace(read, parts=tuple(parts))

    def _extracted(self, read: Read, overlaps: Overlaps) -> Extracted:
        increment, table = self.reading.increment, self.reading.increment.table
        files = [file for part in read.parts for file in part.files or ()]
        unread = [part for part in read.parts if part.files is None]
        is_incremental = table.sync_strategy == "incremental"
        parts = (
            contract.Part(one.name, one.mark, self._record_of(one, part.known), part.files)
            for one, part in zip(self.parts, read.parts, strict=True)
            if one.name
        )
        return Extracted(
            files=tuple(files),
            columns=tuple(_column(name, column.type, column.original) for name, column in read.columns.items()),
            cursor=increment.reached(self.reading.con, files, read.types),
            rejected=read.rejected.count,
            rejects=read.rejected.first,
            notes=(*read.notes, *_folders_with_values(self.parts, read)),
            is_whole=not unread and increment.is_whole(read.types),
            passed_over=sum(p.known.rows if p.files is None else p.passed_over for p in read.parts)
            if increment.column is not None
            else 0,
            parts=tuple(parts),
            may_repeat=is_incremental and not table.primary_key and any(overlaps.may_matter(p.known) for p in unread),
        )


def _folders_with_values(parts: Sequence[FilePart], read: Read) -> list[str]:
    """Report folders like `year=2024`: whoever writes them often leaves their column out of the files."""
    known = {name.lower() for column, found in read.columns.items() for name in (column, found.original)}
    folders = (folder for part in parts for item in part.files for folder in item.name.split("/")[:-1])
    named = {folder.partition("=")[0]: folder for folder in folders if "=" in folder.strip("=")}
    missing = [folder for name, folder in named.items() if name.lower() not in known]
    if not missing:
        return []
    return [
        f"names of folders, such as {missing[0]!r}, are not read as columns; write these columns into the files as well"
    ]


_UNKNOWN = Known((), (), {}, Rejected(), 0)
"""A part of which only the fact that it was read is known."""


def _known(record: str) -> Known | None:
    try:
        document = json.loads(record)
    except (ValueError, RecursionError):
        return None
    return Known.from_json(document) if isinstance(document, dict) else None


def _with_published_names(planned: Planned, table: SourceTable) -> Planned:
    """Return a table whose options use the published names of columns instead of their originals."""
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
        allow_fewer=planned.options.allow_fewer,
        problem=planned.problem,
    )


def _check(item: DataFile, path: Path) -> None:
    """Check that the content of a file matches its name."""
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
    if path.stat().st_size == 0:
        raise SourceError(f"{item.name} is empty: it has 0 bytes; write it again, or remove it")
    holds, remedy = _HOLDS.get(kind or "text", (kind, "rename it"))
    raise SourceError(
        f"the content of {item.name} does not match its name: it is {holds}; {remedy.format(name=item.name)}"
    )


_HOLDS = {
    "text": ("in another format", "rename it"),
    "gzip": ("gzip data", "rename it to end in .gz"),
    "zstd": ("zstd data", "rename it to end in .zst"),
    "parquet": ("parquet", "rename it to end in .parquet"),
    "json": ("JSON", "rename it to end in .json or .jsonl"),
    "zip": ("a zip archive", "unpack it, or compress the file with gzip and name it .csv.gz"),
    "xlsx": ("an Excel workbook", "save its sheets as CSV"),
    "xls": ("an old Office file, such as an Excel workbook", "save its sheets as CSV"),
    "pdf": ("a PDF document", "export the data as CSV"),
    "html": ("an HTML page", "the download may be an error or login page; download the data itself"),
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


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _column(name: str, kind: str, original: str) -> Column:
    return Column(name=name, type=kind, description=original if original != name else None)
