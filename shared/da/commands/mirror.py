"""`da mirror`: which tables reach one's laptops."""

from typing import Annotated, Any

import typer

from da.errors import UsageError
from da.options import Json
from da.output import respond, say_warning
from da.session import doing
from da.text import count_text

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="TABLE", help="Only this table, or all of a source, such as 'shop.*'. Repeatable."),
]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="TABLE", help="Not this table, or none of a source. Repeatable."),
]
Everything = Annotated[bool, typer.Option("--all", help="All tables that you can read.")]


def mirror(*, only: Only = None, without: Without = None, everything: Everything = False, json: Json = False) -> None:
    """Choose which of your tables are mirrored; without options, show the choice.

    The choice is kept on the server, and applies to every machine on which you run da sync. Tables that are left out
    can still be queried on the server. Options replace the previous choice; the ID of a table takes precedence over its
    source.

    Examples:
      da mirror
      da mirror --only 'shop.*' --only erp.items
      da mirror --without shop.events
      da mirror --all
    """
    if everything and (only or without):
        raise UsageError("--all can't be combined with other options")
    both = sorted(set(only or ()) & set(without or ()))
    if both:
        raise UsageError(f"'{both[0]}' is named by both --only and --without")
    is_change = bool(only or without or everything)
    tables = {**dict.fromkeys(only or (), True), **dict.fromkeys(without or (), False)}
    with doing("choose what is mirrored" if is_change else "show what is mirrored") as server:
        if is_change:
            new = {"table_mode": "explicit" if only else "all", "tables": tables}
            found = server.post("/api/sync/table-subscriptions", new, again=True)
        else:
            found = server.get("/api/sync/table-subscriptions")
    for each in [] if json else found["unused"]:
        say_warning(f"'{each}' is no table that you can read now")
    after = " To apply it on this machine, run: da sync" if is_change else ""
    respond(found, f"{_sentence(found)}{after}", json=json)


def _sentence(found: dict[str, Any]) -> str:
    """Say in words which tables are mirrored."""
    choice = found["choice"]
    chosen = sorted(name for name, is_wanted in choice["tables"].items() if is_wanted)
    others = sorted(name for name, is_wanted in choice["tables"].items() if not is_wanted)
    is_all = choice["table_mode"] == "all"
    what = "All tables that you can read" if is_all else f"Only {', '.join(chosen) or 'nothing'}"
    if others:
        what += f", without {', '.join(others)}"
    if is_all and others and chosen:
        what += f", but with {', '.join(chosen)}"
    return f"{what}: {count_text(found['mirrored'], 'table')} mirrored, {found['left_out']:,} left out."
