"""`da catalog`, `da glossary` and `da lineage`: what there is, what the words of the company mean, and where data comes from."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import typer

from da.errors import DaError, RefusedError, UsageError
from da.help import Commands
from da.mirror.manifest import NO_TABLES
from da.options import Json, complete_tables
from da.output import print_json, print_table, respond, say, say_fact, say_text
from da.server import Server, segment
from da.session import session
from da.text import local_time

_NOT_FOUND = 404

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[WORDS]...", help="Words to search for; without them, all tables are listed."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Maximum number of results.")]


def catalog(words: Words = None, limit: Limit = 50, json: Json = False) -> None:
    """Search tables, columns, metrics and the glossary, or list all tables with their descriptions.

    Examples:
      da catalog
      da catalog revenue by channel
      da catalog customer --json
    """
    with session() as server:
        if words:
            found = server.get("/api/catalog/search", q=" ".join(words), limit=limit)
        else:
            found = server.get("/api/catalog/tables", limit=limit)
    if json:
        print_json(found["hits"] if words else found["tables"])
        return
    if not words:
        rows = [
            (
                each["id"],
                each.get("tier") or "",
                ", ".join(each.get("owners") or ()),
                ", ".join(each.get("tags") or ()),
                each["description"],
            )
            for each in found["tables"]
        ]
        columns = ("table", "tier", "owners", "tags", "description")
        print_table(columns, rows, optional=("tier", "tags", "owners"), empty=NO_TABLES)
        return
    hits = [(each["kind"], each["id"], ", ".join(each["matched"]), each["description"]) for each in found["hits"]]
    empty = f"There are no matches of '{' '.join(words)}'; to list all tables, run: da catalog"
    print_table(("kind", "name", "columns", "description"), hits, optional=("columns",), empty=empty)
    if found["has_more"]:
        say("There are more; name more words, or raise --limit.")


Term = Annotated[str | None, typer.Argument(metavar="[TERM]", help="A term or a synonym; without it, all are listed.")]


def glossary(term: Term = None, json: Json = False) -> None:
    """Explain a business term: its meaning, synonyms, and the tables and metrics it stands for.

    Examples:
      da glossary
      da glossary "net revenue"
    """
    with session() as server:
        found: Any = (
            server.get("/api/glossary")["terms"] if term is None else server.get(f"/api/glossary/{segment(term)}")
        )
    if json:
        print_json(found)
    elif term is None:
        rows = [
            (each["term"]["name"], ", ".join(each["term"]["synonyms"]), each["term"]["definition"]) for each in found
        ]
        empty = "There are no terms in the glossary; to add one, run: da admin glossary set TERM"
        print_table(("term", "synonyms", "meaning"), rows, optional=("synonyms",), empty=empty)
    else:
        _explain(found)


def _explain(entry: Mapping[str, Any]) -> None:
    term = entry["term"]
    say(term["name"])
    if term["definition"]:
        say(term["definition"])
    links = [f"{each['id']}.{each['column']}" if each["column"] else each["id"] for each in term["links"]]
    for label, values in (
        ("synonyms", term["synonyms"]),
        ("stands for", links),
        ("related", term["related"]),
        ("tags", term["tags"]),
        ("owners", term["owners"]),
    ):
        if values:
            say_fact(label, ", ".join(values))
    for each in entry["history"][:5]:
        say_fact("changed", f"{local_time(each['at'])} by {each['by'] or 'unknown'}")


terms_app = Commands("Edit the glossary: create, change and remove terms.")

TermName = Annotated[str, typer.Argument(metavar="TERM", help="The term.")]
Definition = Annotated[str | None, typer.Option("--definition", help="What it means.")]
Synonyms = Annotated[list[str] | None, typer.Option("--synonym", help="Another word for it. Repeatable; replaces all.")]
Links = Annotated[
    list[str] | None,
    typer.Option("--link", metavar="TABLE[.COLUMN]|metric:NAME", help="What it stands for. Repeatable; replaces all."),
]
Owners = Annotated[list[str] | None, typer.Option("--owner", help="Who is responsible. Repeatable; replaces all.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag. Repeatable; replaces all.")]


@terms_app.command("set")
def set_term(  # noqa: PLR0917 - the parser passes options by name
    term: TermName,
    definition: Definition = None,
    synonym: Synonyms = None,
    link: Links = None,
    owner: Owners = None,
    tag: Tags = None,
    json: Json = False,
) -> None:
    """Create a term, or change the given fields of one; the others keep their values.

    Examples:
      da admin glossary set "net revenue" --definition "Revenue without VAT and returns" --synonym turnover
      da admin glossary set customer --link shop.customers --link shop.orders.customer_id --link metric:customers
    """
    given = {"definition": definition, "synonyms": synonym, "owners": owner, "tags": tag}
    document: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if link is not None:
        document["links"] = [_link(each) for each in link]
    if not document:
        raise UsageError("nothing to change; name at least one of --definition, --synonym, --link, --owner, --tag")
    with session() as server:
        made = server.put(f"/api/admin/glossary/{segment(term)}", document)
    respond(made, f"The glossary now explains '{made['term']['name']}'.", json=json)


@terms_app.command("remove")
def remove_term(term: TermName, json: Json = False) -> None:
    """Remove a term from the glossary.

    Examples:
      da admin glossary remove "net revenue"
    """
    with session() as server:
        server.delete(f"/api/admin/glossary/{segment(term)}")
    respond({"name": term}, f"Removed '{term}' from the glossary.", json=json)


def _link(text: str) -> dict[str, str]:
    if text.startswith("metric:"):
        return {"kind": "metric", "id": text.removeprefix("metric:")}
    parts = text.split(".", 2)
    if len(parts) < 2:  # noqa: PLR2004 - source and name
        raise UsageError(
            f"'{text}' is not a link (expected something like shop.orders, shop.orders.total, metric:revenue)"
        )
    made = {"kind": "table", "id": ".".join(parts[:2])}
    return {**made, "column": parts[2]} if len(parts) > 2 else made  # noqa: PLR2004 - and a column


Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[TABLE|METRIC]", help="A table by view name or ID, or a metric.", autocompletion=complete_tables
    ),
]
Direction = Annotated[
    Literal["up", "down", "both"],
    typer.Option("--direction", help="Where it comes from (up), or what is derived from it (down)."),
]
Depth = Annotated[int, typer.Option("--depth", min=1, max=100, help="Maximum number of steps.")]
Mermaid = Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")]


def lineage(
    name: Name = None, direction: Direction = "both", depth: Depth = 100, mermaid: Mermaid = False, json: Json = False
) -> None:
    """Show where the data of a table or metric comes from, and what is derived from it.

    Examples:
      da lineage orders
      da lineage shop.orders --direction down
      da lineage total_revenue --mermaid
    """
    with session() as server:
        start, found = _graph(server, name, direction, depth)
    if json:
        print_json(found)
    elif mermaid:
        say_text(flowchart(found))
    elif start is None:
        rows = [(_label(found, each["source"]), _label(found, each["target"])) for each in found["edges"]]
        print_table(("from", "to"), rows, empty=NO_TABLES)
    else:
        for line in tree(found, start):
            say(line)


def _graph(server: Server, name: str | None, direction: str, depth: int) -> tuple[str | None, dict[str, Any]]:
    """Return the id of the first node, and the graph around a table or a metric."""
    if name is None:
        return None, server.get("/api/catalog/lineage")
    if "." not in name:
        tables = server.get("/api/catalog/tables", q=name)["tables"]
        table = next((str(each["id"]) for each in tables if each["view"] == name.lower()), None)
        if table is None:
            try:
                found = server.get("/api/catalog/lineage", metric=name, direction=direction, depth=depth)
            except RefusedError as error:
                if error.status == _NOT_FOUND:
                    raise DaError(f"there is no table or metric '{name}'; to search for one, run: da catalog") from None
                raise
            return f"metric:{name}", found
        name = table
    name = name.lower()
    return f"table:{name}", server.get("/api/catalog/lineage", table=name, direction=direction, depth=depth)


def flowchart(graph: Mapping[str, Any]) -> str:
    """Return a graph as a Mermaid flowchart."""
    numbers = {node["id"]: f"n{number}" for number, node in enumerate(graph["nodes"])}
    shapes = {"source": '[("{}")]', "table": '["{}"]', "materialized": '[["{}"]]', "metric": '(["{}"])'}
    lines = ["flowchart LR"]
    for node in graph["nodes"]:
        label = re.sub(r'["<>&\r\n]', " ", node["name"])
        lines.append(f"  {numbers[node['id']]}{shapes.get(node['kind'], shapes['table']).format(label)}")
    lines += [f"  {numbers[each['source']]} --> {numbers[each['target']]}" for each in graph["edges"]]
    return "\n".join(lines)


def tree(graph: Mapping[str, Any], start: str) -> list[str]:
    """Return the lines of a graph around a node: what it comes from, and what is made of it."""
    up: dict[str, list[str]] = {}
    down: dict[str, list[str]] = {}
    for each in graph["edges"]:
        up.setdefault(each["target"], []).append(each["source"])
        down.setdefault(each["source"], []).append(each["target"])
    lines = [_label(graph, start)]
    for title, following in (("comes from", up), ("goes into", down)):
        if start in following:
            lines.append(f"  {title}")
            lines += _branches(graph, following, start, ("    ",), {start})
    return lines if len(lines) > 1 else [*lines, "  no lineage is known"]


def _branches(
    graph: Mapping[str, Any], following: Mapping[str, Sequence[str]], node: str, indent: tuple[str, ...], seen: set[str]
) -> list[str]:
    lines: list[str] = []
    for each in following.get(node, ()):
        is_known = each in seen
        lines.append(f"{''.join(indent)}{_label(graph, each)}{' …' if is_known and following.get(each) else ''}")
        if not is_known:
            seen.add(each)
            lines += _branches(graph, following, each, (*indent, "  "), seen)
    return lines


def _label(graph: Mapping[str, Any], id_: str) -> str:
    node = next((each for each in graph["nodes"] if each["id"] == id_), None)
    if node is None:
        return id_.partition(":")[2]
    kind = "" if node["kind"] == "table" else f" ({node['kind']}{', out of date' if node['is_stale'] else ''})"
    return f"{node['name']}{kind}"
