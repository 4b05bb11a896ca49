"""The glossary: the company's terms with their definitions, synonyms, and links to tables, columns and metrics.

`catalog/glossary.json` has all terms with the history of their changes. Every user may read them; links to what a
caller may not see are omitted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from ulid import ULID

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.descriptions import Line, Lines, Text
from analyst.errors import InvalidInputError, NotFoundError, UnavailableError
from analyst.names import Name, did_you_mean
from analyst.snapshots import Snapshot
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap

KEY: Final = "catalog/glossary.json"
_MOST: Final = 5000
_KEPT: Final = 20
_RECENT: Final = 50

TermName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^/\n]+$")]


class Link(BaseModel):
    """A link of a term: to a table by id, to one of its columns, or to a metric by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["table", "metric"]
    id: Line
    column: Name | None = None


class Term(BaseModel):
    """A term. `related` are the names of other terms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: TermName
    definition: Text = ""
    synonyms: Lines = ()
    related: Lines = ()
    tags: Lines = ()
    owners: Lines = ()
    links: Annotated[tuple[Link, ...], Field(max_length=200)] = ()


class TermChange(BaseModel):
    """A change by a person: the replaced fields with their earlier values; `before` is null if the term was new."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    by: str | None
    before: dict[str, Any] | None


class Entry(BaseModel):
    """A term with its changes, newest first. They are kept when the term is removed."""

    model_config = ConfigDict(frozen=True)

    term: Term
    is_removed: bool = False
    history: tuple[TermChange, ...] = ()

    def has(self, text: str) -> bool:
        """Return whether its name, a synonym or the definition contains a string, in any case."""
        return text.lower() in "\n".join((self.term.name, *self.term.synonyms, self.term.definition)).lower()


class _All(BaseModel):
    model_config = ConfigDict(frozen=True)

    recent: tuple[str, ...] = ()
    terms: dict[str, Entry] = {}
    """By name in lowercase."""


def entries(store: Store) -> list[Entry]:
    """List the terms by name."""
    known = _all(store.read(KEY)).terms
    return [known[name] for name in sorted(known) if not known[name].is_removed]


def terms_of(data: bytes | None) -> Mapping[str, Term]:
    """Return the terms by name, from the content of the object `KEY`; none if it is damaged."""
    try:
        known = _All.model_validate_json(data).terms.values() if data else ()
    except ValidationError:
        return {}
    return {each.term.name: each.term for each in known if not each.is_removed}


def find(store: Store, name: str) -> Entry | None:
    """Return a term by its name, in any case."""
    return next((each for each in entries(store) if each.term.name.lower() == name.lower()), None)


def links_to(entries: Iterable[Entry], table_id: str) -> list[tuple[Term, list[str]]]:
    """Return the terms that stand for a table, each with the columns that it stands for."""
    linked = []
    for term in (each.term for each in entries):
        links = [link for link in term.links if link.kind == "table" and link.id == table_id]
        if links:
            linked.append((term, [link.column for link in links if link.column is not None]))
    return linked


def require(store: Store, name: str) -> Entry:
    """Return a term by its name or a synonym.

    Raises:
        NotFoundError: there is no such term.
    """
    known, wanted = entries(store), name.strip().lower()
    for each in known:
        if each.term.name.lower() == wanted:
            return each
    for each in known:
        if wanted in {synonym.lower() for synonym in each.term.synonyms}:
            return each
    near = did_you_mean(name, [each.term.name for each in known])
    raise NotFoundError(f"there is no term {name!r} in the glossary{near}")


def change(store: Store, name: str, fields: Mapping[str, Any], *, by: str | None, at: datetime) -> Entry:
    """Create a term, or replace the given fields of one.

    Raises:
        InvalidInputError: there are too many terms.
    """

    def edit(known: Mapping[str, Entry]) -> Entry:
        found = known.get(name.lower())
        if found is None and sum(not each.is_removed for each in known.values()) >= _MOST:
            raise InvalidInputError(f"the glossary has {_MOST:,} terms already; remove one first")
        old = found.term if found is not None and not found.is_removed else None
        new = (old or Term(name=name)).model_copy(update=dict(fields))
        if old == new and found is not None:
            return found
        before = None if old is None else old.model_dump(mode="json", include=set(fields))
        history = (TermChange(at=at, by=by, before=before), *(found.history if found is not None else ()))
        return Entry(term=new, history=history[:_KEPT])

    return _swapped(store, name, edit)


def remove(store: Store, name: str, *, by: str | None, at: datetime) -> None:
    """Remove a term; its history stays.

    Raises:
        NotFoundError: there is no such term.
    """

    def edit(known: Mapping[str, Entry]) -> Entry:
        found = known.get(name.lower())
        if found is None or found.is_removed:
            raise NotFoundError(f"there is no term {name!r} in the glossary")
        change_ = TermChange(at=at, by=by, before=found.term.model_dump(mode="json", exclude={"name"}))
        return Entry(term=Term(name=found.term.name), is_removed=True, history=(change_, *found.history)[:_KEPT])

    _swapped(store, name, edit)


def require_target(
    link: Link, snapshot: Snapshot, access: AccessList, caller: Caller, metrics: Collection[str]
) -> None:
    """Check that a link leads to something that the caller may see; `metrics` are the names of those.

    Raises:
        NotFoundError: the table does not exist.
        InvalidInputError: the metric or the column does not exist.
    """
    if link.kind == "metric":
        if link.column is not None:
            raise InvalidInputError(f"the link to the metric {link.id!r} names a column; metrics have none")
        if link.id not in metrics:
            raise InvalidInputError(f"there is no metric {link.id!r}; to list them, run: da metrics")
        return
    table = visible_tables.require(snapshot, access, caller, link.id)
    if link.column is not None and all(link.column != column.name for column in table.columns):
        raise InvalidInputError(f"the table {link.id!r} has no column {link.column!r}")


def shown(
    entry: Entry, snapshot: Snapshot, access: AccessList, caller: Caller, metrics: Iterable[str], *, is_editor: bool
) -> Entry:
    """Return a term as the caller may see it: with links to what they can read, and the history for editors.

    `metrics` are the names of those that the caller may see.
    """
    seen = frozenset(metrics)

    def is_seen(link: Link) -> bool:
        if link.kind == "metric":
            return link.id in seen
        table = visible_tables.find(snapshot, access, caller, link.id)
        return table is not None and (link.column is None or any(link.column == each.name for each in table.columns))

    def filtered(before: dict[str, Any] | None) -> dict[str, Any] | None:
        if not before or "links" not in before:
            return before
        return {**before, "links": [each for each in before["links"] if is_seen(Link.model_validate(each))]}

    history = tuple(each.model_copy(update={"before": filtered(each.before)}) for each in entry.history)
    links = tuple(filter(is_seen, entry.term.links))
    return entry.model_copy(
        update={
            "term": entry.term.model_copy(update={"links": links}),
            "history": history if is_editor else (),
        }
    )


def link_text(link: Link) -> str:
    """Return a link as people write it: `shop.orders`, `shop.orders#amount` or `metric:revenue`."""
    return f"metric:{link.id}" if link.kind == "metric" else f"{link.id}#{link.column}" if link.column else link.id


def parse_link(text: str) -> dict[str, str]:
    """Return the fields of a link as people write it.

    Raises:
        InvalidInputError: it is not a link.
    """
    if text.startswith("metric:"):
        return {"kind": "metric", "id": text.removeprefix("metric:").strip()}
    table, _, column = text.partition("#")
    if "." not in table:
        raise InvalidInputError(f"{text!r} is not a link; write shop.orders, shop.orders#amount or metric:revenue")
    return {"kind": "table", "id": table.strip(), **({"column": column.strip()} if column else {})}


def _swapped(store: Store, name: str, edit: Callable[[Mapping[str, Entry]], Entry]) -> Entry:
    id_, made = str(ULID()), list[Entry]()

    def write(current: Object | None) -> bytes:
        known = _all(current)
        made.append(edit(known.terms))
        terms = {**known.terms, name.lower(): made[-1]}
        new = _All(recent=(*known.recent, id_)[-_RECENT:], terms=terms)
        return new.model_dump_json(exclude_defaults=True).encode()

    swap(store, KEY, write, done=lambda current: id_ in _all(current).recent)
    return made[-1]


def _all(found: Object | None) -> _All:
    try:
        return _All() if found is None else _All.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{KEY!r} is damaged or of a newer version; restore it from a backup") from error
