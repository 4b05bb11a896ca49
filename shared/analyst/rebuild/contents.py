"""The contents of a snapshot by source, of which a rebuild reads and writes only what has changed.

A snapshot of few tables is one `Catalog`, which is embedded in its pointer; that of more tables is a list of parts. A part
holds sources with neighbouring names, so a bucket of many small sources has few parts. A change writes the parts of its
sources again, and splits them when they are large.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from analyst.catalog import Catalog, CatalogList, HeldBack, PartRef, Problem, SourceTables, Table
from analyst.snapshots import parts, read_listed
from analyst.snapshots.parts import DamagedError, Part
from analyst.store import Entry, Store

EMBEDDED = 65_536
"""Bytes of JSON up to which a catalog is one object, which its pointer contains."""

_FEW = 200
"""Tables up to which a catalog may be that small."""

_COMPRESSED = 8
"""A part is joined with a small neighbour if together they have at most an eighth of the largest size, compressed."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a snapshot.

    `refs` are its parts, `read` those that were read, by key; a part that is not in the bucket has the key `""`. The owners
    of view names are in the object `owners_key`, or `known_owners` if they are in memory.
    """

    store: Store
    snapshot: int
    built_at: datetime
    refs: tuple[PartRef, ...] = ()
    problems: tuple[Problem, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    owners_key: str = ""
    known_owners: Mapping[str, str] | None = None
    read: dict[str, Part] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, listed: Catalog | CatalogList) -> Self:
        """Return the contents that a catalog or a list of parts describes."""
        if isinstance(listed, CatalogList):
            contents = cls(store, listed.snapshot, listed.built_at, listed.parts, listed.problems, listed.held_back)
            return replace(contents, owners_key=listed.owners)
        part = parts.by_source(listed)
        counts = {source: len(found.tables) for source, found in part.items()}
        refs = (PartRef(key="", size=0, sources=counts),) if counts else ()
        contents = cls(store, listed.snapshot, listed.built_at, refs, listed.problems, listed.held_back)
        return replace(contents, known_owners=listed.owners, read={"": part})

    @property
    def counts(self) -> dict[str, int]:
        """The number of tables of each source."""
        return {source: count for ref in self.refs for source, count in ref.sources.items()}

    def is_among(self, listed: Mapping[str, Entry]) -> bool:
        """Return whether its parts are among the objects of a listing, and of the right size."""
        found = [(listed.get(ref.key), ref.size) for ref in self.refs if ref.key]
        are_whole = all(entry is not None and entry.size == size for entry, size in found)
        return are_whole and (not self.owners_key or self.owners_key in listed)

    def owners(self) -> Mapping[str, str]:
        """Return the table that owns each view name.

        Raises:
            DamagedError: the object is missing or damaged.
        """
        return parts.read_owners(self.store, self.owners_key) if self.known_owners is None else self.known_owners

    def sources(self, names: Iterable[str]) -> dict[str, SourceTables]:
        """Return what the snapshot contains of some sources.

        Raises:
            DamagedError: a part is missing or damaged.
        """
        wanted = set(names)
        refs = [ref for ref in self.refs if not wanted.isdisjoint(ref.sources)]
        self._load(refs)
        return {source: self.read[ref.key][source] for ref in refs for source in ref.sources if source in wanted}

    def catalog(self) -> Catalog:
        """Return all of it as one catalog.

        Raises:
            DamagedError: a part is missing or damaged.
        """
        self._load(self.refs)
        return parts.compose(self._list(None), self.read, self.owners())

    def changed(
        self,
        changes: Mapping[str, SourceTables],
        *,
        owners: Mapping[str, str] | None,
        embedded: int = EMBEDDED,
        largest: int = parts.LARGEST,
    ) -> "Contents":
        """Return the contents after changes of sources, with new `owners` of view names unless they are the same.

        Writes the changed parts, of at most `largest` bytes unless one source alone is larger; but if everything fits into
        one catalog of at most `embedded` bytes, it writes nothing. A source without tables is removed.

        Raises:
            DamagedError: a part is missing or damaged.
        """
        changed = replace(self, known_owners=self.known_owners if owners is None else owners)
        counts = {**self.counts, **{name: len(found.tables) for name, found in changes.items()}}
        if embedded and sum(counts.values()) <= _FEW:
            read = {**self.sources(self.counts), **changes}
            found = {name: read[name] for name in sorted(read) if read[name].tables or read[name].remote}
            ref = PartRef(key="", size=0, sources={name: len(each.tables) for name, each in found.items()})
            whole = replace(changed, refs=(ref,), owners_key="", known_owners=changed.owners(), read={"": found})
            if len(whole.text(None)) <= embedded:
                return whole
        refs = tuple(self._rewritten(changes, largest))
        key = self.owners_key
        if owners is not None or not key:
            key = parts.write_owners(self.store, changed.owners())
        return replace(changed, refs=refs, owners_key=key)

    @property
    def is_listed(self) -> bool:
        """Whether its tables are in parts."""
        return bool(self.owners_key)

    def text(self, previous: str | None) -> bytes:
        """Return the object that describes the snapshot: a catalog, or a list of parts."""
        described = self._list(previous) if self.is_listed else self.catalog().model_copy(update={"previous": previous})
        return described.model_dump_json(exclude_defaults=True).encode()

    def _list(self, previous: str | None) -> CatalogList:
        return CatalogList.model_construct(
            snapshot=self.snapshot,
            built_at=self.built_at,
            tables=sum(self.counts.values()),
            parts=self.refs,
            owners=self.owners_key,
            problems=self.problems,
            held_back=self.held_back,
            previous=previous,
        )

    def _load(self, refs: Iterable[PartRef]) -> None:
        self.read.update(parts.read_parts(self.store, refs, self.read))

    def _rewritten(self, changes: Mapping[str, SourceTables], largest: int) -> Iterator[PartRef]:
        """Write the parts with changes, and yield all parts."""
        groups = list(self._grouped(changes, largest))
        is_kept = [not changed and all(ref.key for ref in group) for group, changed in groups]
        to_write = [self._with(*group) for group, kept in zip(groups, is_kept, strict=True) if not kept]
        written = iter(parts.write_parts(self.store, to_write, largest))
        for (group, _), kept in zip(groups, is_kept, strict=True):
            yield from group if kept else next(written)

    def _with(self, group: Sequence[PartRef], changed: Mapping[str, SourceTables]) -> Mapping[str, SourceTables]:
        names = (source for ref in group for source in ref.sources if source not in changed)
        found = {**self.sources(names), **changed}
        return {source: found[source] for source in sorted(found) if found[source].tables or found[source].remote}

    def _grouped(
        self, changes: Mapping[str, SourceTables], largest: int
    ) -> Iterator[tuple[Sequence[PartRef], Mapping[str, SourceTables]]]:
        """Yield groups of parts to write together, with the changes in the range of their sources.

        A part that changes is joined with the one before it if both are small.
        """
        ends = [next(iter(ref.sources)) for ref in self.refs[1:]]
        left = sorted(changes)
        group: list[PartRef] = []
        held: dict[str, SourceTables] = {}
        for ref, end in zip(self.refs, [*ends, None], strict=False):
            mine = [name for name in left if end is None or name < end]
            left = left[len(mine) :]
            are_small = sum(each.size for each in (*group, ref)) <= largest // _COMPRESSED
            if group and not (mine and are_small):
                yield group, held
                group, held = [], {}
            group.append(ref)
            held |= {name: changes[name] for name in mine}
        if group or left:
            yield group, held | {name: changes[name] for name in left}


def salvaged(store: Store, catalogs: Iterable[str]) -> Contents | None:
    """Return what can be read of the newest of these catalogs; `None` if none can be read.

    The tables of a source whose part is damaged are those of the newest catalog in which they can be read.
    """
    newest: Contents | None = None
    found: dict[str, SourceTables] = {}
    owners: dict[str, str] = {}
    for key in catalogs:
        with suppress(DamagedError):
            contents = Contents.of(store, read_listed(store, key))
            newest = newest or contents
            for ref in contents.refs:
                with suppress(DamagedError):
                    read = contents.sources(ref.sources)
                    found |= {name: read[name] for name in read if name in newest.counts and name not in found}
            with suppress(DamagedError):
                owners = {**contents.owners(), **owners}
        if newest is not None and found.keys() >= newest.counts.keys() and owners:
            break
    if newest is None:
        return None
    shown: dict[str, str] = {table.view: table.id for each in found.values() for table in each.tables}
    ref = PartRef(key="", size=0, sources={name: len(found[name].tables) for name in sorted(found)})
    refs = (ref,) if found else ()
    return replace(newest, refs=refs, owners_key="", known_owners={**shown, **owners}, read={"": found})


def tables_of(contents: Mapping[str, SourceTables]) -> dict[str, dict[str, Table]]:
    """Return tables by source and name."""
    return {source: {table.name: table for table in found.tables} for source, found in contents.items()}
