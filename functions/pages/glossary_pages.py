"""The glossary: the list of terms, and the page of each, which those who may describe tables can edit."""

from typing import Annotated, Any
from urllib.parse import quote

from pydantic import StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.descriptions import Text
from analyst.glossary import TermName, link_text, parse_link
from analyst.http import Redirect, View, function
from analyst.http.pages import EditForm, Form, ask, found, items_of
from functions.api import glossary

_Lines = Annotated[str, StringConstraints(max_length=20_000)]


class GlossaryPageQuery(Form):
    """A search in the glossary."""

    q: Annotated[str, StringConstraints(max_length=200)] = ""


class TermPath(Form):
    """The name of a term, or a synonym of it."""

    name: TermName


class TermPageQuery(TermPath):
    """A term, and the change that led to its page."""

    done: Annotated[str, StringConstraints(max_length=20)] | None = None


class NewTermForm(TermPath):
    """The name and the meaning of a new term."""

    definition: Text | None = None


class TermForm(TermPath, EditForm):
    """A term: lists are separated by commas; links have one line each: `shop.orders`, `shop.orders#amount`, `metric:revenue`."""

    definition: Text | None = None
    synonyms: _Lines = ""
    related: _Lines = ""
    tags: _Lines = ""
    owners: _Lines = ""
    links: _Lines = ""


@function("GET", "/glossary", allow=Role.VIEWER)
def glossary_page(query: GlossaryPageQuery, ctx: Context) -> View:
    """Show the terms of the glossary."""
    terms = [each.term for each in ask(ctx, glossary.list_terms, q=query.q or None).terms]
    extras = {"q": query.q, "can_edit": ctx.caller.includes(Role.KM_ADMIN)}
    return View("glossary.html", "Glossary", {"terms": terms}, extras, "/glossary")


@function("GET", "/glossary/{name}", allow=Role.VIEWER)
def term_page(query: TermPageQuery, ctx: Context) -> View:
    """Show a term: what it means, and the tables, columns and metrics that it stands for."""
    entry = ask(ctx, glossary.get_term, name=query.name)
    known = {each.term.name.lower() for each in ask(ctx, glossary.list_terms).terms}
    extras = {
        "known": known,
        "can_edit": ctx.caller.includes(Role.KM_ADMIN),
        "links_text": "\n".join(map(link_text, entry.term.links)),
        "url": _url(entry.term.name),
        "seen": TermForm.fingerprint(entry.term),
        "done": "The term was saved." if query.done else None,
    }
    return View("term.html", entry.term.name, {"term": entry.term, "history": entry.history}, extras, "/glossary")


@function("POST", "/glossary", allow=Role.KM_ADMIN, audit="glossary.change")
def new_term_form(form: NewTermForm, ctx: Context) -> View | Redirect:
    """Add a term, and go to its page."""
    ask(ctx, glossary.change_term, name=form.name, definition=form.definition)
    return Redirect(f"{_url(form.name)}?done=saved", 303)


@function("POST", "/glossary/{name}", allow=Role.KM_ADMIN, audit="glossary.change")
def change_term_form(form: TermForm, ctx: Context) -> View | Redirect:
    """Change a term, and go back to its page."""
    changed: dict[str, Any] = {
        each: items_of(getattr(form, each)) for each in ("synonyms", "related", "tags", "owners")
    }
    changed |= {"definition": form.definition, "links": [parse_link(line) for line in items_of(form.links, "\n")]}
    if entry := found(ctx, glossary.get_term, name=form.name):
        form.require_unchanged(entry.term, changed)
    ask(ctx, glossary.change_term, name=form.name, **changed)
    return Redirect(f"{_url(form.name)}?done=saved", 303)


@function("POST", "/glossary/{name}/remove", allow=Role.KM_ADMIN, audit="glossary.remove")
def remove_term_form(form: TermPath, ctx: Context) -> View | Redirect:
    """Remove a term, and go to the list."""
    ask(ctx, glossary.remove_term, name=form.name)
    return Redirect("/glossary", 303)


def _url(name: str) -> str:
    return f"/glossary/{quote(name, safe='')}"
