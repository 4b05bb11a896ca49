"""Compare a manifest with the mirror: what to fetch, what to remove."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from da.errors import DaError
from da.mirror.manifest import File, Manifest, Table
from da.mirror.pieces import Wanted
from da.mirror.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Request:
    """What a sync should do. `only` limits it to tables by ID or view.

    With `verify`, the content of files is checked, not only their name and size.
    """

    only: tuple[str, ...] = ()
    dry_run: bool = False
    verify: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that make a mirror match a manifest.

    `chosen` are the tables to update, `updated` those of them with new data, `removed` the tables whose files and view
    are deleted.
    """

    chosen: dict[str, Table]
    wanted: tuple[Wanted, ...]
    updated: frozenset[str]
    removed: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes to fetch, including parts that are already here."""
        return sum(each.file.size_bytes for each in self.wanted)

    def outcome(self, known: Mapping[str, Table], unfinished: Collection[str]) -> dict[str, Table]:
        """Return the tables of the mirror after the sync; unfinished tables stay as they are `known`."""
        older = {table_id: table for table_id, table in known.items() if table_id not in self.removed}
        newer = {table_id: table for table_id, table in self.chosen.items() if table_id not in unfinished}
        return dict(sorted({**older, **newer}.items()))


def plan(manifest: Manifest, known: Mapping[str, Table], workspace: Workspace, request: Request) -> Plan:
    """Plan the sync of a mirror, whose tables are `known`; of both, those that the manifest is about.

    Raises:
        DaError: `request.only` names an unknown table.
    """
    chosen = choose(manifest.tables, request.only, manifest.refused)
    here = _is_whole if request.verify else _has_size
    wanted = {
        each.path: each
        for table in chosen.values()
        for each in _files(workspace, table)
        if not here(each.path, each.file)
    }
    absent = {each.table_id for each in wanted.values()}
    updated = frozenset(table_id for table_id, table in chosen.items() if _is_new(known, table) or table_id in absent)
    return Plan(chosen, tuple(wanted.values()), updated, tuple(_removed(manifest, known, chosen, request)))


def choose(
    tables: Mapping[str, Table], only: Collection[str], refused: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Table]:
    """Find tables by ID or view; all if none are named.

    Raises:
        DaError: a table is unknown or refused.
    """
    views = {table.view: table for table in tables.values()}
    chosen = {}
    for name in only:
        if name in refused:
            raise DaError(f"{name}: {refused[name]}")
        table = tables.get(name) or views.get(name)
        if table is None:
            from difflib import get_close_matches

            near = get_close_matches(name.lower(), [*tables, *views], n=2, cutoff=0.6)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "to list your tables, run: da tables"
            raise DaError(f"there is no table '{name}', or you do not have access to it; {hint}")
        if table.left_out:
            raise DaError(f"{table.id} is left out of your mirrors; to see and change what is, run: da mirror")
        chosen[table.id] = table
    return chosen if only else dict(tables)


def _files(workspace: Workspace, table: Table) -> Iterable[Wanted]:
    if table.is_mirrored:
        for file in table.files:
            yield Wanted(table.id, file, workspace.path(table.id, file))


def _is_new(known: Mapping[str, Table], table: Table) -> bool:
    before = known.get(table.id)
    if not table.is_mirrored:
        return False
    return before is None or not before.is_mirrored or _content(before) != _content(table)


def _content(table: Table) -> list[str]:
    return [file.sha256 for file in table.files]


def _removed(
    manifest: Manifest, known: Mapping[str, Table], chosen: Collection[str], request: Request
) -> Iterable[str]:
    for table_id, table in known.items():
        now = manifest.tables.get(table_id)
        if now is None:
            if not request.only and table_id not in manifest.refused:
                yield table_id
        elif table.is_mirrored and not now.is_mirrored and table_id in chosen:
            yield table_id


def _has_size(path: Path, file: File) -> bool:
    try:
        return path.stat().st_size == file.size_bytes
    except OSError:
        return False


def _is_whole(path: Path, file: File) -> bool:
    if not _has_size(path, file):
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
