"""The glossary: the company's terms, their definitions and links."""

from typing import Annotated

from pydantic import Field, StringConstraints

from analyst import glossary
from analyst.access import Role
from analyst.context import Context
from analyst.descriptions import Lines, Text
from analyst.glossary import Entry, Link, TermName
from analyst.http import function
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import visible_metrics
from analyst.state.fields import Input, Output

_NONE = "The term does not exist."


class GlossaryQuery(Input):
    """Filter for terms: `q` is searched for in their names, synonyms and definitions, without regard to case."""

    q: Annotated[str, StringConstraints(max_length=200)] | None = None


class NewTerm(Input):
    """The fields to change; others keep their values. A term that does not exist is created."""

    name: TermName
    definition: Text | None = None
    synonyms: Lines | None = None
    related: Lines | None = None
    tags: Lines | None = None
    owners: Lines | None = None
    links: Annotated[tuple[Link, ...], Field(max_length=200)] | None = None


class Glossary(Output):
    """The terms by name, with links to what the caller may see."""

    terms: tuple[Entry, ...]


class Removed(Output):
    """The name of the removed term."""

    name: str


@function("GET", "/api/glossary", allow=Role.VIEWER)
def list_terms(query: GlossaryQuery, ctx: Context) -> Glossary:
    """List the terms of the glossary."""
    found = [each for each in glossary.entries(ctx.store) if each.has(query.q or "")]
    seen = _metrics(ctx)
    return Glossary(terms=tuple(_shown(ctx, each, seen) for each in found))


@function("GET", "/api/glossary/{name}", allow=Role.VIEWER, answers={404: _NONE})
def get_term(name: TermName, ctx: Context) -> Entry:
    """Return a term by its name or a synonym. Those who may edit it see the history of its changes."""
    return _shown(ctx, glossary.require(ctx.store, name), _metrics(ctx))


@function(
    "PUT",
    "/api/admin/glossary/{name}",
    allow=Role.KM_ADMIN,
    body_limit=8 << 20,
    answers={404: "A linked table does not exist.", 422: "A linked column or metric does not exist."},
    audit="glossary.change",
)
def change_term(new: NewTerm, ctx: Context) -> Entry:
    """Create or change a term: its definition, its synonyms, and its links to tables, columns and metrics.

    New links replace those that the caller can see; the others stay.
    """
    given = {name: getattr(new, name) for name in new.model_fields_set if name != "name"}
    empty = glossary.Term(name=new.name)
    fields = {name: getattr(empty, name) if value is None else value for name, value in given.items()}
    ctx.audited(f"term:{new.name}", fields=sorted(fields))
    seen = _metrics(ctx)
    for link in fields.get("links", ()):
        glossary.require_target(link, ctx.snapshots.current(), ctx.access.current(), ctx.caller, seen)
    if "links" in fields and (known := glossary.find(ctx.store, new.name)):
        shown = _shown(ctx, known, seen).term.links
        fields["links"] = (*fields["links"], *(each for each in known.term.links if each not in shown))
    changed = glossary.change(ctx.store, new.name, fields, by=ctx.caller.email, at=ctx.now)
    return _shown(ctx, changed, seen)


@function("DELETE", "/api/admin/glossary/{name}", allow=Role.KM_ADMIN, answers={404: _NONE}, audit="glossary.remove")
def remove_term(name: TermName, ctx: Context) -> Removed:
    """Remove a term from the glossary."""
    ctx.audited(f"term:{name}")
    glossary.remove(ctx.store, name, by=ctx.caller.email, at=ctx.now)
    return Removed(name=name)


def _metrics(ctx: Context) -> frozenset[str]:
    known = checked_metrics.read(ctx.store).metrics
    found = visible_metrics(known, ctx.snapshots.current(), ctx.access.current(), ctx.caller) if known else ()
    return frozenset(metric.name for metric in found)


def _shown(ctx: Context, entry: Entry, metrics: frozenset[str]) -> Entry:
    is_editor = ctx.caller.includes(Role.KM_ADMIN)
    return glossary.shown(
        entry, ctx.snapshots.current(), ctx.access.current(), ctx.caller, metrics, is_editor=is_editor
    )
