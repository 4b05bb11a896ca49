"""The catalog as a page: tables and metrics by a search and filters, a page at a time, each with the reason why it is found."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict

from analyst.access import AccessList, Caller
from analyst.catalog import QueryMode, Table
from analyst.catalog_search import CatalogSearch, Hit, Kind, words_of
from analyst.descriptions import Description, Texts
from analyst.snapshots import Snapshot
from analyst.visible_tables import of_now, visible

PAGE: Final = 50
_MOST_HITS: Final = 1000
_MOST_CHOICES: Final = 300
_DAY: Final = timedelta(days=1)

Freshness = Literal["day", "week", "older", "notice"]


class Entry(BaseModel):
    """A table, metric or term of the catalog. `why` are the places where the words of the search were found."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    id: str
    title: str
    source: str | None = None
    description: str | None
    query_mode: QueryMode | None = None
    rows: int | None = None
    size_bytes: int | None = None
    updated: datetime | None = None
    notice: str | None = None
    is_public: bool = False
    server_only: bool = False
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tier: str | None = None
    why: tuple[str, ...] = ()


class CatalogPage(BaseModel):
    """One page of the entries that were found, best first or by id.

    `sources`, `tags` and `owners` count the tables that the caller can read by each. With `has_more`, there are more than
    `count` entries, which a narrower search finds.
    """

    model_config = ConfigDict(frozen=True)

    snapshot: int
    total: int
    count: int
    has_more: bool
    page: int
    pages: int
    entries: tuple[Entry, ...]
    sources: dict[str, int]
    tags: dict[str, int]
    owners: dict[str, int]


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted of the catalog. `owner` is the `owner_key` of one."""

    q: str = ""
    source: str | None = None
    tag: str | None = None
    owner: str | None = None
    fresh: Freshness | None = None
    mine: bool = False
    page: int = 1


@dataclass(frozen=True, slots=True)
class Browsing:
    """The catalog of a caller."""

    search: CatalogSearch
    snapshot: Snapshot
    access: AccessList
    caller: Caller
    now: datetime
    texts: Texts

    def page(self, wanted: Filter) -> CatalogPage:
        """Return one page of what is wanted."""
        readable = visible(self.snapshot, self.access, self.caller)
        words = tuple(words_of(wanted.q))
        found, has_more = self._found(wanted, readable) if words else (self._filtered(readable, wanted), False)
        pages = max(1, -(-len(found) // PAGE))
        number = min(wanted.page, pages)
        return CatalogPage(
            snapshot=self.snapshot.number,
            total=len(readable),
            count=len(found),
            has_more=has_more,
            page=number,
            pages=pages,
            entries=tuple(
                one if isinstance(one, Entry) else self._entry(one, words)
                for one in found[(number - 1) * PAGE : number * PAGE]
            ),
            **_choices(readable, self.texts),
        )

    def entries(self, tables: Iterable[Table]) -> list[Entry]:
        """Return tables that the caller can read as entries."""
        return [self._entry(table, ()) for table in tables]

    def _found(self, wanted: Filter, readable: Iterable[Table]) -> tuple[list[Table | Entry], bool]:
        answer = self.search.find(wanted.q, self.snapshot, self.access, self.caller, self.texts, limit=_MOST_HITS)
        kept = {table.id: table for table in self._filtered(readable, wanted)}
        is_narrowed = any((wanted.source, wanted.tag, wanted.owner, wanted.fresh, wanted.mine))
        found: list[Table | Entry] = []
        for hit in answer.hits:
            if hit.kind == "table" and hit.id in kept:
                found.append(kept[hit.id])
            elif hit.kind != "table" and not is_narrowed:
                found.append(_named(hit))
        return found, answer.has_more

    def _filtered(self, tables: Iterable[Table], wanted: Filter) -> list[Table | Entry]:
        return [table for table in tables if self._is_wanted(table, wanted)]

    def _is_wanted(self, table: Table, wanted: Filter) -> bool:
        if wanted.source is not None and table.source != wanted.source:
            return False
        if wanted.fresh is not None and wanted.fresh != self._freshness(table, wanted.fresh):
            return False
        if wanted.tag is None and wanted.owner is None and not wanted.mine:
            return True
        people = self.texts.of(table)
        return (
            (wanted.tag is None or wanted.tag in people.tags)
            and (wanted.owner is None or wanted.owner in map(owner_key, people.owners))
            and (not wanted.mine or (self.caller.email or "") in people.owners)
        )

    def _freshness(self, table: Table, wanted: Freshness) -> Freshness:
        if wanted == "notice":
            return "notice" if table.notice is not None else "day"
        if table.extracted_at is None:
            return "older"
        age = self.now - (table.extracted_at if table.extracted_at.tzinfo else table.extracted_at.replace(tzinfo=UTC))
        return "day" if age < _DAY else "week" if age < 7 * _DAY else "older"

    def _entry(self, table: Table, words: tuple[str, ...]) -> Entry:
        people, registration = self.texts.of(table), self.access.tables.get(table.id)
        description = self.texts.description(table, self.access)
        return Entry(
            kind="table",
            id=table.id,
            title=table.view,
            source=table.source,
            description=description,
            query_mode=table.query_mode,
            rows=table.rows,
            size_bytes=table.size_bytes,
            updated=table.extracted_at,
            notice=table.notice,
            is_public=registration is not None and registration.is_public,
            server_only=registration is not None and registration.server_only,
            tags=people.tags,
            owners=people.owners,
            tier=people.tier,
            why=tuple(_reasons(table, description, people, words)) if words else (),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """The tables of a snapshot in the orders in which the home page shows them, and the numbers of columns by id."""

    newest: tuple[tuple[str, datetime], ...]
    """Ids with the times of their registration."""
    freshest: tuple[Table, ...]
    noticed: tuple[Table, ...]
    columns: Mapping[str, int]

    @classmethod
    def of(cls, snapshot: Snapshot, access: AccessList) -> Self:
        """Return it for all tables, regardless of access; it is made once for each state."""
        return snapshot.derived.of(cls._made, snapshot, access)

    @classmethod
    def _made(cls, snapshot: Snapshot, access: AccessList) -> Self:
        tables = of_now(snapshot, access)
        registered = [(id_, access.tables[id_].registered_at) for id_ in tables if id_ in access.tables]
        read = [each for each in tables.values() if each.extracted_at]
        return cls(
            tuple(sorted(registered, key=itemgetter(1), reverse=True)),
            tuple(sorted(read, key=lambda each: str(each.extracted_at), reverse=True)),
            tuple(each for each in tables.values() if each.notice),
            {id_: len(each.columns) for id_, each in tables.items()},
        )


def owner_key(owner: str) -> str:
    """Return what stands for an owner in a URL: owners are often e-mail addresses, which are no part of one."""
    return hashlib.sha256(owner.encode()).hexdigest()[:12]


def _named(hit: Hit) -> Entry:
    return Entry(kind=hit.kind, id=hit.id, title=hit.title, description=hit.description, why=(hit.kind,))


def _reasons(table: Table, description: str | None, people: Description, words: tuple[str, ...]) -> Iterator[str]:
    """Yield where the words occur, in the order of their weights in the search."""

    def has(text: str | None) -> bool:
        return text is not None and any(each.startswith(word) for each in words_of(text) for word in words)

    if has(table.id) or has(table.view):
        yield "name"
    tags = [each for each in (*people.tags, *people.owners, people.tier or "") if has(each)]
    yield from (
        f"tag {each}" if each in people.tags else f"owner {each}" if each in people.owners else f"tier {each}"
        for each in tags[:3]
    )
    columns = [column.name for column in table.columns if has(column.name)]
    yield from (f"column {name}" for name in columns[:4])
    if len(columns) > 4:  # noqa: PLR2004 - as many are named
        yield f"{len(columns) - 4} more columns"
    if has(description):
        yield "description"
    if any(has(each) for each in (*people.notes, people.grain)):
        yield "notes"
    about = [
        column.name
        for column in table.columns
        if has(column.description) or (column.name in people.columns and has(people.columns[column.name].description))
    ]
    yield from (f"description of {name}" for name in about[:2] if name not in columns)


def _choices(readable: Iterable[Table], texts: Texts) -> dict[str, dict[str, int]]:
    sources: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    owners: Counter[str] = Counter()
    for table in readable:
        sources[table.source] += 1
        if table.id in texts.said or table.id in texts.imported:
            people = texts.of(table)
            tags.update(people.tags)
            owners.update(people.owners)
    return {
        name: dict(sorted(counted.most_common(_MOST_CHOICES)))
        for name, counted in (("sources", sources), ("tags", tags), ("owners", owners))
    }
