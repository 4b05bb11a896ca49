"""Search over the catalog."""

from typing import Annotated

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.catalog_search import SearchAnswer
from analyst.context import Context
from analyst.http import function
from analyst.state.fields import Input


class SearchQuery(Input):
    """Words, all of which must occur, or begin a word, in the names, columns, descriptions or tags of what is found."""

    q: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    limit: Annotated[int, Field(ge=1, le=1000)] = 50


@function("GET", "/api/catalog/search", allow=Role.VIEWER)
def search_catalog(query: SearchQuery, ctx: Context) -> SearchAnswer:
    """Search the tables and metrics that the caller can read, and the glossary, best first."""
    search, texts = ctx.process.catalog_search, ctx.texts.current()
    return search.find(query.q, ctx.snapshots.current(), ctx.access.current(), ctx.caller, texts, limit=query.limit)
