"""`da admin describe`: change what is said of a table."""

from typing import Annotated, Any

import typer

from da.errors import UsageError
from da.mirror.workspace import Workspace
from da.options import Json, complete_tables
from da.output import respond
from da.server import segment
from da.session import session

Table = Annotated[
    str, typer.Argument(metavar="TABLE", help="A table by view name or ID.", autocompletion=complete_tables)
]
Description = Annotated[str | None, typer.Option("--description", help="What it contains; '' removes the text.")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="A tag, such as PII, which hides values. Repeatable; replaces all.")
]
Owners = Annotated[list[str] | None, typer.Option("--owner", help="Who is responsible. Repeatable; replaces all.")]
Tier = Annotated[str | None, typer.Option("--tier", help="How important it is, for example gold.")]
Grain = Annotated[str | None, typer.Option("--grain", help="What one row stands for.")]
Notes = Annotated[list[str] | None, typer.Option("--note", help="A thing to know. Repeatable; replaces all.")]
Columns = Annotated[
    list[str] | None, typer.Option("--column", metavar="NAME=TEXT", help="The description of a column. Repeatable.")
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--foreign-key",
        metavar="COLUMN[,…]=TABLE.COLUMN[,…]",
        help="Columns whose values are those of another table. Repeatable; replaces all.",
    ),
]


def describe(  # noqa: PLR0917 - the parser passes options by name
    table: Table,
    description: Description = None,
    tag: Tags = None,
    owner: Owners = None,
    tier: Tier = None,
    grain: Grain = None,
    note: Notes = None,
    column: Columns = None,
    foreign_key: Keys = None,
    json: Json = False,
) -> None:
    """Change the description of a table, its columns, tags and owners.

    These values override those of the source, and stay when the table is synced again.

    Examples:
      da admin describe shop.orders --description "Orders of the web shop" --grain "one order" --owner ann@example.com
      da admin describe shop.orders --column "total=Amount with VAT, in EUR" --tag finance
      da admin describe shop.orders --foreign-key customer_id=shop.customers.id
    """
    given = {"description": description, "tags": tag, "owners": owner, "tier": tier, "grain": grain, "notes": note}
    document: dict[str, Any] = {name: value or None for name, value in given.items() if value is not None}
    if column is not None:
        document["columns"] = dict(map(_column, column))
    if foreign_key is not None:
        document["foreign_keys"] = [_key(each) for each in foreign_key]
    if not document:
        raise UsageError("nothing to change; name at least one option, for example --description")
    known = Workspace.find().state().tables.values()
    table_id = next((each.id for each in known if table.lower() in {each.view, each.id}), table.lower())
    with session() as server:
        if "columns" in document:
            current = server.get(f"/api/tables/{segment(table_id)}/description")["said"]["columns"]
            document["columns"] = {
                name: {**current.get(name, {}), "description": text} for name, text in document["columns"].items()
            }
        made = server.put(f"/api/admin/tables/{segment(table_id)}/description", document)
    respond(made, f"Changed what is said of {table_id}.", json=json)


def _column(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"'{text}' is not the text of a column (expected something like 'total=Amount with VAT')")
    return name.strip(), value.strip() or None


def _key(text: str) -> dict[str, Any]:
    columns, equals, target = text.partition("=")
    source, _, rest = target.partition(".")
    table, dot, references = rest.partition(".")
    if not (equals and dot and source and table):
        raise UsageError(f"'{text}' is not a foreign key (expected something like customer_id=shop.customers.id)")
    split = [each.strip() for each in columns.split(",")]
    return {
        "columns": split,
        "table": f"{source}.{table}",
        "references": [each.strip() for each in references.split(",")],
    }
