"""The catalog as Markdown: for resources, `/llms.txt` and pages that agents read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from da.agents.marks import Marks
from da.agents.tools import column_json, metric_json, table_json
from da.agents.warehouse import Hit, Json, TableFacts, ToolError, Warehouse

CATALOG: Final = "da://catalog"
METRICS: Final = "da://metrics"
_TABLE: Final = "da://table/"
_LONGEST: Final = 100_000
_QUESTIONS: Final = 50


def table_markdown(table: TableFacts) -> str:
    """Return a table in full."""
    marks = Marks()
    about = table_json(table, marks)
    facts = {
        "Name in SQL": f"`{table.sql_name}`",
        "Rows": table.rows,
        "Size": table.size_bytes and f"{table.size_bytes:,} bytes",
        "Updated": table.updated,
        "Schedule": table.schedule,
        "Key": ", ".join(table.primary_key),
        "One row is": about["grain"],
        "Owners": ", ".join(about["owners"]),
        "Tags": ", ".join(about["tags"]),
        "Notice": about["notice"],
        "Written by outsiders": ", ".join(table.outside),
    }
    lines = [f"# {table.id}", "", *([str(about["description"]), ""] if about["description"] else [])]
    lines += [f"- {name}: {value}" for name, value in facts.items() if value not in (None, "")]
    lines += ["", "| column | type | description |", "|---|---|---|"]
    for column in table.columns:
        made = column_json(column, marks)
        lines.append(f"| {column.name} | {_cell(made['type'])} | {_cell(made.get('description', ''))} |")
    if table.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in about["notes"])]
    if table.relations:
        lines += ["", "## Joined with", ""]
        lines += [f"- {each.table} on `{each.on}` ({each.via})" for each in table.relations]
    return _finished(lines, marks)


def catalog_markdown(hits: Sequence[Hit], links: Mapping[str, str] | None = None, title: str = "Catalog") -> str:
    """Return the list of tables and metrics; with `links`, tables link to their pages."""
    marks = Marks()
    lines = [f"# {title}", ""]
    for kind, heading in (("table", "Tables"), ("metric", "Metrics")):
        found = [hit for hit in hits if hit.kind == kind]
        lines += [f"## {heading}", ""]
        for hit in found:
            name = f"[{hit.id}]({links[hit.id]})" if links and hit.id in links else f"`{hit.id}`"
            rows = "" if hit.rows is None else f" ({hit.rows:,} rows)"
            description = f": {_line(marks.text(hit.description))}" if hit.description else ""
            lines.append(f"- {name}{rows}{description}")
        lines += ["None that you can read.", ""] if not found else [""]
    return _finished(lines, marks)


def metric_markdown(metrics: Sequence[Json]) -> str:
    """Return the metrics in full."""
    marks = Marks()
    lines = ["# Metrics", ""]
    for each in metrics:
        made = metric_json(each, marks)
        lines += [f"## {made['name']}", ""]
        lines += [
            f"- {name.replace('_', ' ')}: {_shown(value)}" for name, value in made.items() if value and name != "name"
        ]
        lines.append("")
    return _finished(lines, marks)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _finished(lines: Sequence[str], marks: Marks) -> str:
    """Put the note about marks first: a reader must know it before the marked text comes."""
    note = [f"> {marks.note}", ""] if marks.note else []
    whole = "\n".join([lines[0], "", *note, *lines[2:]]).rstrip() + "\n"
    if len(whole) <= _LONGEST:
        return whole
    kept = whole[:_LONGEST].rpartition("\n")[0]
    return (
        f"{kept}\n\n{len(whole) - len(kept):,} characters more are not shown; use the tools find and describe_table.\n"
    )


@dataclass(frozen=True, slots=True)
class CatalogTexts:
    """Resources and prompts over the data of one caller."""

    warehouse: Warehouse

    def resources(self) -> list[Json]:
        """List the catalog, the metrics, and each table."""
        made = [
            _resource(CATALOG, "catalog", "Catalog", "All tables and metrics that the user can read."),
            _resource(METRICS, "metrics", "Metrics", "All metrics that the user can read, in full."),
        ]
        tables = self.warehouse.find("", "table")
        about = "A table: columns, freshness and notes."
        return [*made, *(_resource(f"{_TABLE}{hit.id}", hit.id, hit.id, about) for hit in tables)]

    def read(self, uri: str) -> str | None:
        """Return the Markdown of a resource; `None` if there is none."""
        if uri == CATALOG:
            return catalog_markdown(self.warehouse.find("", "all"))
        if uri == METRICS:
            return metric_markdown([self.warehouse.metric(hit.id) for hit in self.warehouse.find("", "metric")])
        if not uri.startswith(_TABLE):
            return None
        try:
            return table_markdown(self.warehouse.table(uri.removeprefix(_TABLE)))
        except Exception as error:
            if self.warehouse.explain(error) is None:
                raise
            return None

    def prompts(self) -> list[Json]:
        """List the prompts."""
        return [
            {
                "name": "sample_questions",
                "title": "Questions that the data answers",
                "description": "Show questions that the company's metrics answer, and let the user choose one.",
            },
            {
                "name": "explore_table",
                "title": "Explore a table",
                "description": "Describe a table, look at a sample, and suggest questions.",
                "arguments": [{"name": "table", "description": "A table, by id or view name.", "required": True}],
            },
        ]

    def prompt(self, name: str, arguments: Mapping[str, str]) -> str | None:
        """Return the text of a prompt; `None` if there is none.

        Raises:
            ToolError: an argument is missing, or names nothing.
        """
        if name == "explore_table":
            return self._explore(arguments)
        if name != "sample_questions":
            return None
        marks = Marks()
        questions = [
            f"- {marks.text(question)} (metric {hit.id})"
            for hit in self.warehouse.find("", "metric")
            for question in self.warehouse.metric(hit.id).get("questions") or ()
        ]
        if not questions:
            return "List the metrics and tables that I can read, and suggest five questions that they can answer."
        listed = "\n".join(questions[:_QUESTIONS])
        return f"Show me these questions that our metrics answer, and compute the one that I choose.\n\n{marks.note}\n\n{listed}"

    def _explore(self, arguments: Mapping[str, str]) -> str:
        wanted = arguments.get("table")
        if not wanted:
            raise ToolError("the argument 'table' is missing")
        try:
            table = self.warehouse.table(wanted)
        except Exception as error:
            explained = self.warehouse.explain(error)
            if explained is None:
                raise
            raise explained from None
        return f"Describe the table {table.id}, look at a sample of it, and suggest five questions that it can answer."


def _resource(uri: str, name: str, title: str, description: str) -> Json:
    return {"uri": uri, "name": name, "title": title, "description": description, "mimeType": "text/markdown"}
