"""What the last sync left in a mirror.

`.da/state.json` holds all of it for a small mirror. For a large one, its tables are in `.da/tables/`, in at most 64 parts
by the name of their source, each immutable and named by its content; `state.json` lists the parts. A part has two lines:
the index, which is all that a sync without news reads, and the tables as the manifest describes them. What changes in one
source is therefore written, and read, in one part.
"""

import hashlib
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from zlib import crc32

from da.atomic import write_atomically
from da.errors import DaError
from da.mirror.manifest import Table, source_of

_WHOLE, _IN_PARTS = 1, 2
"""Versions of `state.json`. An older `da` takes one in parts for none, and finds the files again."""

_PARTS = 64
_MOST_IN_ONE = 200
"""Tables up to which `state.json` holds them itself."""

_STILL_READ = 60.0
"""Age in seconds at which parts that are not listed any more are deleted."""


class Entry(NamedTuple):
    """A table in the index of a part. `files` are `[sha256[:32], bytes]`, none of a table that is not mirrored."""

    view: str
    is_mirrored: bool
    notice: str | None
    files: list[tuple[str, int]]
    left_out: bool = False


class Part:
    """Some of the tables, which are read from their file when one of them is asked for."""

    def __init__(self, index: dict[str, Entry], tables: dict[str, Table] | None, path: Path | None = None) -> None:
        self.index = index
        self.path = path
        self._tables = tables

    @classmethod
    def of(cls, tables: dict[str, Table]) -> Self:
        """Make a part of tables."""
        return cls({table_id: _entry(table) for table_id, table in tables.items()}, tables)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the index of a part.

        Raises:
            ValueError, TypeError, OSError: the file is damaged, or not there.
        """
        with path.open("rb") as file:
            line = file.readline()
            document = json.loads(line)
            if path.stat().st_size != len(line) + document["size"]:  # as a loss of power may leave it
                raise ValueError("the part is not whole")
        return cls({row[0]: Entry(*row[1:]) for row in document["index"]}, None, path)

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by ID.

        Raises:
            DaError: the file is damaged.
        """
        if self._tables is None and self.path is not None:
            try:
                lines = self.path.read_bytes().split(b"\n", 1)
                self._tables = {key: Table.from_json(key, entry) for key, entry in json.loads(lines[1]).items()}
            except (OSError, ValueError, AttributeError, IndexError, RecursionError):
                # Without one of its parts, a state counts as none, and the next sync compares everything.
                self.path.unlink(missing_ok=True)
                raise DaError(f"'{self.path}' was damaged and has been removed; run da sync again") from None
        return self._tables or {}

    def save(self, folder: Path, number: int) -> str:
        """Write the part, unless it is there already; return the name of its file."""
        if self.path is None:
            body = json.dumps({key: table.to_json() for key, table in self.tables.items()}, separators=(",", ":"))
            index = [[key, *entry] for key, entry in self.index.items()]
            line = json.dumps({"size": len(body.encode()), "index": index}, separators=(",", ":"))
            content = f"{line}\n{body}"
            digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
            path = folder / f"{number:02}-{digest}.json"
            try:
                path.write_text(content, encoding="utf-8", newline="")
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
            self.path = path
        return self.path.name


def _entry(table: Table) -> Entry:
    files = [(file.sha256[:32], file.size_bytes) for file in table.files] if table.is_mirrored else []
    return Entry(table.view, table.is_mirrored, table.notice, files, table.left_out)


class Tables(Mapping[str, Table]):
    """The tables of a mirror by ID, in order, of which only those are read that are asked for."""

    def __init__(self, parts: Mapping[int, Part]) -> None:
        self._parts = parts

    @classmethod
    def of(cls, tables: Mapping[str, Table]) -> Self:
        """Hold these tables."""
        return cls({}).with_changes(tables.values(), ())

    def with_changes(self, tables: Iterable[Table], sources: Collection[str]) -> Self:
        """Replace the tables of some sources; no other source may have one among the new tables, or all must."""
        changed: dict[int, dict[str, Table]] = {}
        for source in sources:
            if part := self._parts.get(_number(source)):
                kept = {key: table for key, table in part.tables.items() if source_of(key) not in sources}
                changed[_number(source)] = kept
        for table in tables:
            changed.setdefault(_number(source_of(table.id)), {})[table.id] = table
        made = {number: Part.of(dict(sorted(each.items()))) for number, each in changed.items() if each}
        same = {number: part for number, part in self._parts.items() if number not in changed}
        return type(self)({**same, **made})

    def __getitem__(self, table_id: str) -> Table:
        part = self._parts.get(_number(source_of(table_id)))
        if part is None or table_id not in part.index:
            raise KeyError(table_id)
        return part.tables[table_id]

    def __contains__(self, table_id: object) -> bool:
        part = self._parts.get(_number(source_of(str(table_id))))
        return part is not None and table_id in part.index

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(table_id for part in self._parts.values() for table_id in part.index))

    def __len__(self) -> int:
        return sum(len(part.index) for part in self._parts.values())

    @property
    def parts(self) -> Mapping[int, Part]:
        """The parts by number."""
        return self._parts

    def index(self) -> Iterator[tuple[str, Entry]]:
        """Return what the index has of each table, in no particular order."""
        for part in self._parts.values():
            yield from part.index.items()

    def of_sources(self, sources: Collection[str]) -> dict[str, Table]:
        """Read the tables of some sources."""
        numbers = sorted({_number(source) for source in sources} & self._parts.keys())
        found = {
            table_id: self._parts[number].tables[table_id]
            for number in numbers
            for table_id in self._parts[number].index
            if source_of(table_id) in sources
        }
        return dict(sorted(found.items()))


def _number(source: str) -> int:
    return crc32(source.encode()) % _PARTS


@dataclass(frozen=True, slots=True)
class State:
    """The state of a mirror. `etag` is that of the last manifest that was applied completely, otherwise `None`.

    `root` is where the workspace was then: views name files by absolute paths. `changed_at` is an ISO 8601 time, UTC.
    """

    server: str = ""
    snapshot: int = 0
    etag: str | None = None
    changed_at: str | None = None
    root: str = ""
    tables: Tables = field(default_factory=lambda: Tables({}))
    failed: Mapping[str, str] = field(default_factory=dict)
    """Tables that could not be updated, with the reason; `tables` may have an older state of them."""
    database: tuple[int, ...] | None = None
    """Size and modification time (ns) of the database, and of its log, when it was last known to be valid."""
    layout: int = 1
    """Version of the views in the database; those of an older one are created again by the next sync."""
    superseded: bool = False
    """Whether files of the previous state are still kept; the next sync deletes them."""
    superseded_in: tuple[str, ...] | None = None
    """The sources that have such files; `None` if any may."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The ETags of the manifests of sources that were applied completely."""

    @classmethod
    def of(cls, saved: "Saved") -> Self:
        """Read the rest of a saved state; one that can't be read counts as empty."""
        document = saved.document
        try:
            match document["version"]:
                case 1:
                    entries = document["tables"].items()
                    tables = Tables.of({table_id: Table.from_json(table_id, entry) for table_id, entry in entries})
                case 2:
                    tables = Tables({number: Part.read(file) for number, file in saved.parts().items()})
                case _:
                    return cls()
            return cls._from_json(document, tables)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()

    @classmethod
    def _from_json(cls, document: Mapping[str, Any], tables: Tables) -> Self:
        # Older versions of da did not write these.
        newer: dict[str, Any] = {
            "database": None,
            "superseded": False,
            "superseded_in": None,
            "layout": 1,
            "sources": {},
        }
        names = [name for name in cls.__slots__ if name != "tables"]
        values = {name: document.get(name, newer[name]) if name in newer else document[name] for name in names}
        for name in ("database", "superseded_in"):
            values[name] = None if values[name] is None else tuple(values[name])
        values["sources"] = dict(values["sources"])
        return cls(**values, tables=tables)

    def save(self, path: Path) -> None:
        """Write the state: first the parts that are new, then the list of them, which makes them valid."""
        document = {name: getattr(self, name) for name in self.__slots__ if name != "tables"}
        folder, names = _folder(path), set[str]()
        if len(self.tables) <= _MOST_IN_ONE:
            document |= {"version": _WHOLE, "tables": {key: table.to_json() for key, table in self.tables.items()}}
        else:
            folder.mkdir(parents=True, exist_ok=True)
            names = {part.save(folder, number) for number, part in self.tables.parts.items()}
            document |= {"version": _IN_PARTS, "parts": sorted(names), "count": len(self.tables)}
        write_atomically(path, json.dumps(document, separators=(",", ":")))
        if folder.is_dir():
            for each in os.scandir(folder):
                # Another `da` may have read the list before it changed, and need a part of it in a moment.
                if each.name not in names and each.stat().st_mtime < time.time() - _STILL_READ:
                    Path(each.path).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()


class Saved:
    """What `state.json` says, before the tables of a large mirror are read; nothing if it is not there or can't be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.document: Mapping[str, Any] = {}
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(path.read_text(encoding="utf-8"))
            self.document = found if isinstance(found, dict) else {}

    def parts(self) -> dict[int, Path]:
        """Return the files of the parts by number."""
        return {int(name[:2]): _folder(self._path) / name for name in self.document["parts"]}

    def count(self, sources: Collection[str]) -> int:
        """Count the tables of some sources, by the parts that they are in."""
        parts = self.parts()
        indexes = [Part.read(parts[number]).index for number in {*map(_number, sources)} & parts.keys()]
        return sum(source_of(table_id) in sources for index in indexes for table_id in index)


def _folder(path: Path) -> Path:
    return path.parent / "tables"
