"""The catalog as text, for agents that read pages: `/llms.txt`, and each table as Markdown and as JSON."""

from typing import Any

from pydantic import RootModel

from analyst.access import Role
from analyst.caller_warehouse import warehouse_of
from analyst.context import Context
from analyst.http import Answer, Text, function
from analyst.names import TableId
from da.agents.markdown import catalog_markdown, table_markdown
from da.agents.marks import Marks
from da.agents.tools import column_json, table_json

_MARKDOWN = "text/markdown; charset=utf-8"


class TableDocument(RootModel[Any]):
    """A table as agents see it. Texts written by people are marked, and `notes` say how."""


@function("GET", "/llms.txt", allow=Role.VIEWER)
def llms_txt(ctx: Context) -> Text:
    """List the tables and metrics that the caller can read, with links to their pages, in the form of llms.txt."""
    hits = warehouse_of(ctx).find("", "all")
    links = {hit.id: ctx.absolute(f"/catalog/{hit.id}.md") for hit in hits if hit.kind == "table"}
    return Text(catalog_markdown(hits, links, "AI Data Analyst"), "text/plain; charset=utf-8")


@function("GET", "/catalog/{table}.md", allow=Role.VIEWER, answers={404: "The table does not exist."})
def table_as_markdown(table: TableId, ctx: Context) -> Text:
    """Return a table as Markdown: columns, freshness, notes, and what it is joined with."""
    return Text(table_markdown(warehouse_of(ctx).table(table)), _MARKDOWN)


@function("GET", "/catalog/{table}.json", allow=Role.VIEWER, answers={404: "The table does not exist."})
def table_as_json(table: TableId, ctx: Context) -> Answer[TableDocument]:
    """Return a table as JSON, as the tool `describe_table` describes it, with all columns."""
    warehouse, marks = warehouse_of(ctx), Marks()
    found, edition = warehouse.table(table), warehouse.edition()
    columns = [column_json(column, marks) for column in found.columns]
    made = {"snapshot": edition.snapshot, "as_of": edition.as_of, "table": table_json(found, marks), "columns": columns}
    return Answer(TableDocument({**made, "notes": [marks.note] if marks.note else []}))
