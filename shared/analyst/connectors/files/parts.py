"""The parts of a table: its source files, each with a mark of its own, and which of them an increment must read.

Each file is a part, so only the new file of a folder is read. A folder of more than `OWN_PARTS` files would be too
many parquet files; then small files next to each other share a part. A hash of the name decides where such a part ends,
so that the others stay as they are when a file is added.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst.connectors.files.columns.table import Known, Written
from analyst.connectors.files.increments import Increment
from analyst.connectors.files.table_files import DataFile, Planned
from analyst.contract import cursors
from analyst.contract.connector import Part
from analyst.contract.parquet_input import scan
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import checked_type
from da.absence import believable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OWN_PARTS = 64
"""The maximum number of files of a folder in which each file is a part."""

_SMALL_BYTES, _SHARED_BYTES = 2 << 20, 8 << 20
_SHARED = 32
"""The usual number of small files in a shared part, which has at most four times as many and about 8 MB."""

_LONGEST_BOUND = 500

_Range = tuple[int, int]
_EMPTY: _Range = (1, 0)


@dataclass(frozen=True, slots=True)
class FilePart:
    """Files of a table, next to each other in the order of their names, that are read together."""

    name: str
    mark: str
    files: tuple[DataFile, ...]


def parts_of(planned: Planned, registration: str | None) -> list[FilePart]:
    """Divide the files of a table into parts.

    A table that is one file by its definition has one. It is recorded, under a name, only if the next read must know how
    rows were read that stay.
    """
    if not planned.is_folder and planned.options.sync_strategy == "full_refresh":
        return [FilePart("", "", planned.files)]
    basis = [planned.reading, sorted(planned.required), registration]
    return [_part(basis, files) for files in _grouped(planned.files)]


def _part(basis: Sequence[object], files: tuple[DataFile, ...]) -> FilePart:
    marks = [[item.name, item.file.mark] for item in files]
    return FilePart(_hash(files[0].name)[:16], _hash(json.dumps([basis, marks], sort_keys=True)), files)


@dataclass(frozen=True, slots=True)
class Census:
    """The number of files that a folder had when its table was read, which each part records together with the `place`.

    A share that is not mounted, or a listing that breaks off, looks like a folder whose files were deleted.
    """

    place: str
    parts: Sequence[FilePart]

    @classmethod
    def of(cls, parts: Sequence[FilePart], *place: str | None) -> "Census":
        """Make the census of the present parts; `place` is all that decides which files belong to the table."""
        return cls(_hash(json.dumps(place))[:16], parts)

    def about(self, part: FilePart) -> dict[str, object]:
        """Return what a part records."""
        return {"files": len(part.files), "place": self.place}

    def check(self, published: Sequence[Part]) -> None:
        """Check that the folder has not lost more files than is believable since these parts were published.

        Raises:
            SourceError: it has.
        """
        earlier = [_recorded(part.about) for part in published]
        if any(place != self.place for place, _files in earlier):
            return  # another folder or pattern, or parts of an earlier version, which did not count files
        before, now = sum(files for _place, files in earlier), sum(len(part.files) for part in self.parts)
        if before - now > believable(before):
            raise SourceError(
                f"{before - now} of the {before} files that were read last are gone, so the published rows stay; make the "
                "files readable again, or, if they were deleted, set the table's option allow_fewer to true"
            )


def _recorded(record: str) -> tuple[str | None, int]:
    try:
        document = json.loads(record)
        return str(document["place"]), int(document["files"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, 0


def _grouped(files: Sequence[DataFile]) -> Iterator[tuple[DataFile, ...]]:
    shared: list[DataFile] = []
    for item in files:
        size = item.file.size
        if len(files) <= OWN_PARTS or size is None or size > _SMALL_BYTES:
            if shared:
                yield tuple(shared)
            yield (item,)
            shared = []
            continue
        shared.append(item)
        total = sum(one.file.size or 0 for one in shared)
        if int(_hash(item.name)[:8], 16) % _SHARED == 0 or len(shared) == 4 * _SHARED or total > _SHARED_BYTES:
            yield tuple(shared)
            shared = []
    if shared:
        yield tuple(shared)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Which parts an increment must read although they have not changed.

    The result of an increment is that of reading all files: of rows with one key, the one with the greatest cursor
    counts, else the last in the order of the files. So if a file with such a row is read, those after it that may have
    the same key, and may have a row that is not before the cursor, must be read too; if a row may be gone from a file,
    all such files. `lost` are the parts that have changed or are gone, as they were read last.
    """

    con: "DuckDBPyConnection"
    increment: Increment
    lost: Sequence[Known]

    def marks(self, part: Written) -> Known:
        """Return what is known of a part with the ranges of its keys and cursors."""
        table, files = self.increment.table, part.files or ()
        columns = part.known.columns
        if table.sync_strategy != "incremental":
            return part.known
        marks: dict[str, Any] = {}
        if table.primary_key and (key := table.primary_key[0]) in columns:
            marks["key"] = self._range(files, quote(key))
        if self.increment.column is None:
            marks["cursor"] = [None, True]
        elif (cursor := self.increment.column) in columns:
            on_line = cursors.on_line(quote(cursor), checked_type(columns[cursor].type))
            query = f"""
                select cast(max({quote(cursor)}) filter ({on_line}) as varchar), coalesce(bool_or(not {on_line}), false)
                from ({scan(files)})
            """
            marks["cursor"] = list(self.con.execute(query).fetchall()[0])
        return replace(part.known, marks=marks)

    def _range(self, files: Collection[Path], column: str) -> list[str] | None:
        """Return the least and greatest value of a column as texts: `[]` without rows, `None` if NULL or too long."""
        found = self.con.execute(
            f"select count(*), cast(min({column}) as varchar), cast(max({column}) as varchar) from ({scan(files)})"
        ).fetchall()
        rows, least, greatest = found[0]
        if not rows:
            return []
        if least is None or max(len(least), len(greatest)) > _LONGEST_BOUND:
            return None
        return [least, greatest]

    def needed(self, parts: Sequence[Written]) -> set[str]:
        """Return the names of unread parts that must be read because of those that were."""
        table = self.increment.table
        if table.sync_strategy != "incremental" or not table.primary_key:
            return set()
        unread = [part for part in parts if part.files is None and self.may_matter(part.known)]
        if not unread:
            return set()
        ranges = self._ranked([*(part.known for part in parts), *self.lost])
        found, read, lost = set[str](), list[_Range | None](), ranges[len(parts) :]
        for part, own in zip(parts, ranges, strict=False):
            if part in unread and any(_overlap(own, other) for other in (*lost, *read)):
                found.add(part.name)
            if part.files is not None or part.name in found:
                read.append(own)
        return found

    def may_matter(self, known: Known) -> bool:
        """Return whether a part may have rows that are not before the cursor."""
        bounds, column = known.marks.get("cursor"), self.increment.column
        kind = self.increment.published.get(column or "")
        if column is None or kind is None or not isinstance(bounds, list) or len(bounds) != 2 or bounds[1] is not False:  # noqa: PLR2004
            return True
        if bounds[0] is None:
            return False
        wanted = cursors.not_before("c", kind, self.increment.since, self.increment.lag)
        if wanted is None:
            return True
        query = f"select {wanted} from (select try_cast({quote_text(str(bounds[0]))} as {checked_type(kind)}) as c)"
        return bool(self.con.execute(query).fetchall()[0][0] is not False)

    def _ranked(self, parts: Sequence[Known]) -> list[_Range | None]:
        """Return the ranges of the keys of parts as numbers that compare as the keys do; `None` if a range is unknown."""
        kind = self.increment.published.get(self.increment.table.primary_key[0])
        bounds = [part.marks.get("key") for part in parts]
        known = [(n, bound) for n, bound in enumerate(bounds) if isinstance(bound, list) and len(bound) == 2]  # noqa: PLR2004
        ranges: list[_Range | None] = [_EMPTY if bound == [] else None for bound in bounds]
        if kind is None or not known:
            return ranges
        values = ", ".join(f"({n}, {i}, {quote_text(str(text))})" for n, bound in known for i, text in enumerate(bound))
        rows = self.con.execute(f"""
            select n, i, dense_rank() over (order by value), value is null
            from (select n, i, try_cast(bound as {checked_type(kind)}) as value from (values {values}) b(n, i, bound))
            order by n, i
        """).fetchall()
        for (n, _i, least, no_least), (_n, _j, greatest, no_greatest) in zip(rows[::2], rows[1::2], strict=True):
            ranges[n] = None if no_least or no_greatest else (least, greatest)
        return ranges


def _overlap(one: _Range | None, other: _Range | None) -> bool:
    if _EMPTY in (one, other):
        return False
    return one is None or other is None or (one[0] <= other[1] and other[0] <= one[1])
