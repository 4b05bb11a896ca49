"""The registry of an older system, merged from all the places that describe its tables.

Its table registry comes first. A `data_description.md` (YAML blocks in text) fills the gaps, and replaces a missing
registry. Tables that have Parquet files but were never registered become private.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from analyst.errors import InvalidInputError
from analyst.imports.old_system import FoundTable, OldTable
from analyst.imports.report import Gathered
from analyst.names import normalise

NAME: Final = "data_description.md"

_BLOCK: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*ya?ml\b[^\n]*\n(?P<text>.*?)^ {0,3}(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_TAKEN: Final = frozenset(
    {"id", "name", "description", "primary_key", "sync_strategy", "query_mode", "sync_schedule", "profile_after_sync"}
)
_PLACED: Final = frozenset({"source_type", "folder"})
_KEBOOLA: Final = re.compile(r"(in|out|sys)\.c-")


@dataclass(frozen=True, slots=True)
class Description:
    """The tables in a description, and the folders of its buckets: `{bucket: folder}`."""

    tables: tuple[OldTable, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)


def read_description(text: str | None, report: Gathered) -> Description:
    """Read the tables of all YAML blocks. The report lists unreadable blocks and tables."""
    tables: dict[str, OldTable] = {}
    folders: dict[str, str] = {}
    for block in _blocks((text or "").replace("\r\n", "\n"), report):
        entries, mapping = _parts(block)
        folders |= {str(bucket): str(folder) for bucket, folder in mapping.items()}
        for entry in entries:
            table = _table(entry, report)
            if table is not None and table.id in tables:
                report.leave("description", table.id, "it is described twice; the first description is used")
            elif table is not None:
                tables[table.id] = table
    return Description(tuple(tables.values()), folders)


def _blocks(text: str, report: Gathered) -> Iterator[Any]:
    import yaml

    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        try:
            yield yaml.safe_load(found["text"])
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = str(error).split("\n")[0]
            report.leave("description", f"{NAME}, line {line}", f"the block is not valid YAML: {reason}")


def _parts(block: Any) -> tuple[list[Any], Mapping[Any, Any]]:
    """Find the tables and the folders in a block; a block about something else has neither."""
    if isinstance(block, Mapping):
        tables, folders = block.get("tables"), block.get("folder_mapping")
        entries = tables if isinstance(tables, list) else [block] if "id" in block else []
        return entries, folders if isinstance(folders, Mapping) else {}
    if isinstance(block, list) and all(isinstance(entry, Mapping) and "id" in entry for entry in block):
        return block, {}
    return [], {}


def _table(entry: Any, report: Gathered) -> OldTable | None:
    id_ = _text(entry.get("id")) if isinstance(entry, Mapping) else None
    if id_ is None:
        report.leave("description", NAME, f"the table has no id: {str(entry)[:80]}")
        return None
    rest = sorted(str(name) for name, value in entry.items() if name not in _TAKEN | _PLACED and value is not None)
    if rest:
        report.alter("description", id_, f"not imported: {', '.join(rest)}; set what you still need by hand")
    bucket, _, source_table = id_.rpartition(".")
    profiled = entry.get("profile_after_sync")
    return OldTable(
        id=id_,
        name=_text(entry.get("name")) or source_table,
        source_type=_source_type(entry, bucket),
        bucket=bucket or None,
        source_table=source_table,
        sync_strategy=_text(entry.get("sync_strategy")),
        query_mode=_text(entry.get("query_mode")),
        sync_schedule=_text(entry.get("sync_schedule")),
        profile_after_sync=profiled if isinstance(profiled, bool) else None,
        primary_key=_primary_key(entry.get("primary_key")),
        folder=_text(entry.get("folder")),
        description=_text(entry.get("description")),
        is_public=False,
    )


def _source_type(entry: Mapping[Any, Any], bucket: str) -> str | None:
    if named := _text(entry.get("source_type")):
        return named
    if "bq_entity_type" in entry:
        return "bigquery"
    return "keboola" if _KEBOOLA.match(bucket) else None


def _primary_key(value: Any) -> str | None:
    return json.dumps([str(part) for part in value]) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str | None:
    """Return a scalar as text, without characters that YAML allows and we do not."""
    if value is None or isinstance(value, Mapping | list | bool):
        return None
    return re.sub(r"[\x00\ud800-\udfff]", "", str(value)).strip() or None


_GAPS = ("description", "primary_key", "folder", "source_type", "sync_schedule")

_AMBIGUOUS = "several registered tables have this name, so the owner of the files is ambiguous: {}"
_TWICE = "the table {} has other files, which are used"
_REMOTE = "the table {} is remote, so it has no files"


def _plain(text: str) -> str:
    try:
        return normalise(text)
    except InvalidInputError:
        return text


_WAYS: Sequence[tuple[Callable[[OldTable], str], Callable[[str], str]]] = (
    (lambda table: table.name, str),
    (lambda table: table.id, str),
    (lambda table: _plain(table.name), _plain),
    (lambda table: _plain(table.id), _plain),
)
"""The ways to match the name of files with a table, the most certain first."""


@dataclass(frozen=True, slots=True)
class Place:
    """The table id that files belong to, or the reason why they can't be imported."""

    id: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Combined:
    """One registry, and the assignments of the found tables, in order."""

    tables: tuple[OldTable, ...]
    places: tuple[Place, ...]


def combine(
    registry: Iterable[OldTable], description: Description, found: Sequence[FoundTable], report: Gathered
) -> Combined:
    """Merge the registries. The report lists described tables that do not exist anywhere."""
    tables: dict[str, OldTable] = {}
    for table in registry:
        tables.setdefault(table.id, table)
    described = _describe(tables, description)
    placing = _Placing(tables, found)
    places = placing.places()
    for id_ in sorted(described - placing.taken):
        if tables[id_].query_mode != "remote":
            del tables[id_]
            report.leave("description", id_, "it is neither in the registry nor in any folder")
    return Combined(tuple(tables.values()), tuple(places))


def _describe(tables: dict[str, OldTable], description: Description) -> set[str]:
    """Fill the gaps of the registry and add missing tables; return the ids of these."""
    by_place = {_place(table): table.id for table in tables.values() if table.bucket}
    by_name = {table.name: table.id for table in tables.values() if not table.bucket}
    added = set[str]()
    for described in description.tables:
        table = described.model_copy(
            update={"folder": described.folder or description.folders.get(described.bucket or "")}
        )
        known = {table.id: table.id} if table.id in tables else {}
        id_ = known.get(table.id) or by_place.get(_place(table)) or by_name.get(table.name)
        if id_ is None:
            tables[table.id] = table
            added.add(table.id)
        else:
            here = tables[id_]
            filled = {name: getattr(table, name) for name in _GAPS if not getattr(here, name)}
            tables[id_] = here.model_copy(update=filled)
    return added


def _place(table: OldTable) -> tuple[str | None, str | None]:
    return table.bucket, table.source_table


@dataclass(slots=True)
class _Placing:
    """Matches files with tables: in their own source first, by name and then by id."""

    tables: dict[str, OldTable]
    found: Sequence[FoundTable]
    taken: set[str] = field(default_factory=set)
    _index: list[dict[str, list[str]]] = field(default_factory=list)

    def places(self) -> list[Place]:
        """Assign all tables; unregistered ones are added."""
        self._index = [_by(self.tables.values(), key) for key, _ in _WAYS]
        placed: dict[int, Place] = {}
        # the last of several sources counts if the registry names none: its view replaced the others
        ordered = sorted(enumerate(self.found), key=lambda item: item[1].source or "", reverse=True)
        for candidates in (self._own, self._sourceless, self._elsewhere, self._old_layout):
            for way in range(len(_WAYS)):
                for number, found in ordered:
                    if number not in placed and (several := candidates(found, way)):
                        placed[number] = self._place(several, found)
        return [placed.get(number) or self._add(found) for number, found in enumerate(self.found)]

    def _own(self, found: FoundTable, way: int) -> list[OldTable]:
        home = _plain(found.source or "")
        return [table for table in self._free(found, way) if table.source_type and _plain(table.source_type) == home]

    def _sourceless(self, found: FoundTable, way: int) -> list[OldTable]:
        return [table for table in self._free(found, way) if not table.source_type]

    def _elsewhere(self, found: FoundTable, way: int) -> list[OldTable]:
        return self._free(found, way)

    def _old_layout(self, found: FoundTable, way: int) -> list[OldTable]:
        several = self._like(found, way) if found.source is None else []
        return [table for table in several if table.folder == found.folder] or several

    def _free(self, found: FoundTable, way: int) -> list[OldTable]:
        several = self._like(found, way) if found.source is not None else []
        return [table for table in several if table.id not in self.taken]

    def _like(self, found: FoundTable, way: int) -> list[OldTable]:
        """List the tables whose name matches that of the files, in one of the ways."""
        name = _WAYS[way][1](found.table)
        return [self.tables[id_] for id_ in self._index[way].get(name, ())]

    def _place(self, several: Sequence[OldTable], found: FoundTable) -> Place:
        table = several[0]
        if len(several) > 1:
            return Place(None, _AMBIGUOUS.format(", ".join(sorted(table.id for table in several))))
        if table.id in self.taken:
            return Place(None, _TWICE.format(table.id))
        if table.query_mode == "remote":
            return Place(None, _REMOTE.format(table.id))
        self.taken.add(table.id)
        known = {
            "source_type": table.source_type or found.source,
            "description": table.description or found.description,
        }
        self.tables[table.id] = table.model_copy(update=known)
        return Place(table.id)

    def _add(self, found: FoundTable) -> Place:
        """Add an unregistered table."""
        home = f"{found.source or found.folder or 'found'}/{found.table}"
        names = (found.table, home, *(f"{home}_{number}" for number in range(2, len(self.tables) + 3)))
        id_ = next(name for name in names if name not in self.tables)
        self.tables[id_] = OldTable(
            id=id_,
            name=found.table,
            source_type=found.source,
            bucket=found.folder,
            description=found.description,
            is_public=False,
        )
        self.taken.add(id_)
        return Place(id_)


def _by(tables: Iterable[OldTable], key: Callable[[OldTable], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table in tables:
        found.setdefault(key(table), []).append(table.id)
    return found
