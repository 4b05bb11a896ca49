"""`da profile`: the statistics of a table, or of local files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from da.atomic import write_atomically
from da.errors import DaError, RefusedError, UsageError
from da.mirror.workspace import Workspace
from da.options import Json, complete_tables
from da.output import json_text, print_json, print_table, say, say_fact
from da.profiles.report import compact
from da.server import segment
from da.session import session
from da.text import bytes_text

Names = Annotated[
    list[str], typer.Argument(metavar="TABLE|FILE...", help="A table, or local files.", autocompletion=complete_tables)
]
Html = Annotated[bool, typer.Option("--html", help="Write a report that a browser can open.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="PATH", help="File of the report; profile.html by default.")
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Have the server profile the table now (administrators only).")
]
Key = Annotated[str | None, typer.Option("--key", metavar="COLUMN,…", help="Columns that identify a row of the files.")]


def profile(  # noqa: PLR0917 - the parser passes options by name
    names: Names,
    html: Html = False,
    output: Output = None,
    refresh: Refresh = False,
    key: Key = None,
    json: Json = False,
) -> None:
    """Show statistics of a table's columns, and what stands out.

    A table is profiled on the server after each sync. Local files (Parquet, CSV, JSON, or a folder of them) are profiled
    here, without a server. Columns that look sensitive (email addresses, phone numbers, cards, tokens) show no values.

    Examples:
      da profile orders
      da profile shop.orders --html -o orders.html
      da profile sales.csv items.parquet --html
      da profile sales.csv --key order_id --json
    """
    is_local = [_is_file(name) for name in names]
    if any(is_local) and not all(is_local):
        missing = next(name for name, local in zip(names, is_local, strict=True) if not local)
        raise UsageError(f"there is no file or folder '{missing}'; name tables or files, not both")
    if all(is_local):
        if refresh:
            raise UsageError("--refresh is for tables; files are always profiled now")
        profiles = _of_files(names, key)
        reports: list[dict[str, Any]] = [{"profile": each, "changes": [], "is_stale": False} for each in profiles]
    else:
        if key:
            raise UsageError("--key is for files; the key of a table is in the registry: da admin tables update")
        reports = [_of_table(name, refresh=refresh) for name in names]
        profiles = [each["profile"] for each in reports]
    if html:
        _write(profiles, output or Path("profile.html"))
    elif output is not None:
        write_atomically(output, json_text(profiles[0] if len(profiles) == 1 else profiles) + "\n")
        say(f"Wrote {output}")
    elif json:
        print_json(profiles[0] if len(profiles) == 1 else profiles)
    else:
        for number, each in enumerate(reports):
            say() if number else None
            _show(each)


def _is_file(name: str) -> bool:
    """Return whether a name is that of a file: it exists, or looks like nothing else."""
    looks_like = "/" in name or "\\" in name or name.lower().endswith((".parquet", ".csv", ".json", ".jsonl", ".gz"))
    return looks_like or Path(name).exists()


def _of_files(names: Sequence[str], key: str | None) -> list[dict[str, Any]]:
    from da.profiles.files import profile_path

    columns = [each.strip() for each in key.split(",") if each.strip()] if key else []
    return [profile_path(Path(name), key=columns) for name in names]


def _of_table(name: str, *, refresh: bool) -> dict[str, Any]:
    table_id = _id_of(name)
    with session(timeout=600.0 if refresh else 30.0) as server:
        try:
            if refresh:
                return server.post(f"/api/admin/tables/{segment(table_id)}/profile", {}, again=True)
            return server.get(f"/api/tables/{segment(table_id)}/profile")
        except RefusedError as error:
            raise DaError(f"can't show the profile of '{name}': {error}") from None


def _id_of(name: str) -> str:
    """Return the ID of a table that may be named by its view."""
    known = Workspace.find().state().tables.values()
    found = next((table.id for table in known if name.lower() in {table.view, table.id}), None)
    if found is None and "." not in name:
        raise DaError(f"there is no table '{name}' in the last sync; use its ID, such as shop.{name}, or run: da sync")
    return found or name.lower()


def _write(profiles: Sequence[dict[str, Any]], output: Path) -> None:
    from da.profiles.html import page

    write_atomically(output, page(profiles))
    say(f"Wrote {output}; open it in a browser.")


def _show(report: dict[str, Any]) -> None:
    profile = report["profile"]
    figures = profile["tableProfile"]
    size = bytes_text(figures["sizeInByte"])
    say(f"{profile['table']}: {figures['rowCount']:,} rows, {figures['columnCount']} columns, {size}")
    if profile.get("description"):
        say(profile["description"])
    if report["is_stale"]:
        say("Note: the table has changed since this profile was made.")
    facts = {
        "complete": None if profile["completeness"] is None else f"{profile['completeness']:g} %",
        "key": ", ".join(profile["primaryKey"]),
        "unique": ", ".join("+".join(each) for each in profile["keyCandidates"]),
        "repeated": f"{profile['duplicateCount']:,} rows" if profile["duplicateCount"] else "",
        "dates": profile["dateRange"] and f"{profile['dateRange']['min']} to {profile['dateRange']['max']}",
    }
    for name, value in facts.items():
        if value:
            say_fact(name, str(value))
    say()
    columns = ("column", "type", "complete", "distinct", "least", "median", "greatest", "often")
    rows = [_row(each) for each in profile["columnProfile"]]
    print_table(
        columns,
        rows,
        right=("complete", "distinct"),
        optional=("median", "type"),
        empty="There are no columns; to list those of a table, run: da tables TABLE",
    )
    if profile["alerts"]:
        say()
        listed = [(each["column"] or "", each["type"], each["message"]) for each in profile["alerts"]]
        print_table(("column", "alert", "what"), listed)
    if report["changes"]:
        say()
        changed = [
            (each["column"] or "", each["figure"], _short(each["before"]), _short(each["after"]))
            for each in report["changes"]
        ]
        print_table(("column", "figure", "before", "now"), changed)


def _row(column: dict[str, Any]) -> tuple[str, ...]:
    about = "~" if "distinctCount" in column["estimated"] else ""
    shown = "sensitive" if column["isSensitive"] else _often(column)
    complete = "" if column["completeness"] is None else f"{column['completeness']:g} %"
    bounds = [_short(column.get(name)) for name in ("min", "median", "max")]
    return column["name"], column["dataType"][:30], complete, f"{about}{column['distinctCount']:,}", *bounds, shown


def _often(column: dict[str, Any]) -> str:
    top = column.get("topValues", ())
    if top and top[0]["count"] > 1:
        return ", ".join(f"{_short(each['value'])} {100 * each['proportion']:.0f} %" for each in top[:2])
    if "trueCount" in column:
        return f"true {100 * column['trueProportion']:.0f} %"
    return ", ".join(_short(each) for each in column.get("sampleValues", ())[:2])


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else compact(value)  # noqa: PLR2004 - shorter in full
    text = str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"  # noqa: PLR2004 - the width of a cell
