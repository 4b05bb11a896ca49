"""`da diff`: what changed in the tables since an earlier snapshot."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from da.errors import DaError
from da.mirror.workspace import Workspace
from da.options import Json, complete_tables
from da.output import print_json, print_table, say
from da.text import count_text

Table = Annotated[
    str | None,
    typer.Argument(
        metavar="[TABLE]", help="A table, by view name or ID; all if omitted.", autocompletion=complete_tables
    ),
]
Since = Annotated[
    str, typer.Option("--since", metavar="SNAPSHOT", help="A snapshot, 'yesterday', or a time such as 2026-03-01.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, max=10_000, help="Maximum number of rows to print.")]


def diff(table: Table = None, *, since: Since = "yesterday", limit: Limit = 20, json: Json = False) -> None:
    """Show what changed since an earlier snapshot: in which tables, or in the rows of one table.

    Rows are matched by the table's key; without a key, a changed row counts as removed and added. Only files that changed
    are read, and those that the mirror no longer has are downloaded.

    Examples:
      da diff
      da diff --since 41
      da diff orders --since 2026-03-01
    """
    from da.agents.tools import Tools
    from da.agents.warehouse import ToolError
    from da.mirror_warehouse import MirrorWarehouse

    tools = Tools(MirrorWarehouse(Workspace.find()), datetime.now(UTC), marking=False)
    name, asked = ("changes", {}) if table is None else ("diff_table", {"table": table, "limit": limit})
    try:
        found = tools.call(name, {"since": since, **asked})
    except ToolError as error:
        raise DaError(str(error)) from None
    if json:
        print_json({key: found[key] for key in found if key not in {"notes", "receipt"}})
    elif table is None:
        _show_tables(found)
    else:
        _show_rows(found)


def _show_tables(found: dict[str, Any]) -> None:
    rows = [
        (
            each["table"],
            each["change"],
            each["rows_before"],
            each["rows_after"],
            ", ".join(
                [
                    *(f"+{n}" for n in each["columns_added"]),
                    *(f"-{n}" for n in each["columns_removed"]),
                    *each["columns_retyped"],
                ]
            ),
        )
        for each in found["tables"]
    ]
    empty = f"There are no changes since the snapshot {found['since']['snapshot']}; to list snapshots, run: da tables --snapshots"
    print_table(
        ("table", "change", "rows before", "rows now", "columns"), rows, right=("rows before", "rows now"), empty=empty
    )


def _show_rows(found: dict[str, Any]) -> None:
    counts = found["counts"]
    summary = ", ".join(f"{count_text(counts[kind], 'row')} {kind}" for kind in ("added", "changed", "removed"))
    say(f"Since the snapshot {found['since']['snapshot']}: {summary}.")
    for kind, names in found["schema_changes"].items():
        say(f"{kind.replace('_', ' ')}: {', '.join(names)}")
    names = tuple(column["name"] for column in found["columns"])
    rows = [tuple(", ".join(cell) if isinstance(cell, list) else cell for cell in row) for row in found["rows"]]
    if rows:
        print_table(names, rows, optional=("columns",))
    if found["truncated"]:
        say(f"Showing {len(rows):,} of {found['total']:,} rows; use --limit for more.", err=True)
