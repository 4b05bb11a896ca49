"""The catalog: tables and metrics by a search and filters."""

from typing import Annotated
from urllib.parse import urlencode

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.catalog_search import words_of
from analyst.context import Context
from analyst.http import View, function
from analyst.http.pages import Form
from analyst.names import Name
from analyst.pages.catalog import Browsing, Filter, Freshness, owner_key

_Short = Annotated[str, StringConstraints(max_length=500)]


class CatalogQuery(Form):
    """Words of a search, filters, and the number of a page."""

    q: Annotated[str, StringConstraints(max_length=200)] = ""
    source: Name | None = None
    tag: _Short | None = None
    owner: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")] | None = None
    fresh: Freshness | None = None
    mine: bool = False
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1


@function("GET", "/catalog", allow=Role.VIEWER)
def catalog_page(query: CatalogQuery, ctx: Context) -> View:
    """Show the tables and metrics that the caller can read, by a search and filters."""
    snapshot, access, texts = ctx.snapshots.current(), ctx.access.current(), ctx.texts.current()
    browsing = Browsing(ctx.process.catalog_search, snapshot, access, ctx.caller, ctx.now, texts)
    found = browsing.page(Filter(**query.model_dump()))
    kept = query.model_dump(mode="json", exclude={"page"}, exclude_defaults=True)
    if kept.get("mine"):
        kept["mine"] = "true"
    extras = {
        "wanted": query,
        "words": tuple(words_of(query.q)),
        "owner_keys": {owner_key(owner): owner for owner in found.owners},
        "url": f"/catalog?{urlencode(kept)}{'&' if kept else ''}",
    }
    return View("catalog.html", "Catalog", found.__dict__, extras, "/catalog")
