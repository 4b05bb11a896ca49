"""`da metrics`: the metrics of the company, compiled to SQL and run on the mirror."""

import json as json_module
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from da.atomic import write_atomically
from da.errors import BrokenError, DaError, UnreachableError, UsageError
from da.metrics.compilation import Metric, compile_metric
from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, print_table, say, say_fact, say_text
from da.session import session
from da.text import layout, terminal_width

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A metric; without it, all are listed.")]
By = Annotated[list[str] | None, typer.Option("--by", metavar="DIMENSION", help="Dimension to group by. Repeatable.")]
Where = Annotated[list[str] | None, typer.Option("--where", metavar="SQL", help="Condition on the rows. Repeatable.")]
Grain = Annotated[
    str | None, typer.Option("--grain", help="Unit of time to group by: day, week, month, quarter, year.")
]
SqlOnly = Annotated[bool, typer.Option("--sql", help="Print the SQL without running it.")]
Export = Annotated[
    Literal["ossie", "dbt"] | None, typer.Option("--export", help="Print all metrics in the format of another tool.")
]

_CACHE = ".da/metrics.json"
_MOST = 10_000
"""Rows that are printed."""


def metrics(
    name: Name = None,
    *,
    by: By = None,
    where: Where = None,
    grain: Grain = None,
    sql: SqlOnly = False,
    export: Export = None,
    json: Json = False,
) -> None:
    """List metrics, or compute one on the mirror.

    The metric is compiled to SQL, which is printed and run. Without a connection to the server, the metrics of the last
    call are used.

    Examples:
      da metrics
      da metrics total_revenue
      da metrics total_revenue --by channel --grain month
      da metrics total_revenue --where "orders.channel = 'web'" --sql
      da metrics --export ossie > metrics.yml
    """
    if export is not None:
        _export(export, json=json)
        return
    if name is None:
        if by or where or grain or sql:
            raise UsageError(
                "--by, --where, --grain and --sql need the name of a metric; to list them, run: da metrics"
            )
        _list(_known(), json=json)
        return
    found = _named(name, _known())
    is_plain = not (by or where or grain or sql)
    if found["compiled"] is None or found["status"] == "broken":
        raise DaError(f"the metric '{name}' is broken: {found['problem']}")
    text = compile_metric(Metric.from_json(found["compiled"]), by=_split(by), where=where or (), grain=grain)
    if is_plain and not json:
        _describe(found)
    if sql:
        print_json({"name": found["name"], "sql": text, "rows": None}) if json else say_text(text)
        return
    _run(found["name"], text, json=json)


def _split(by: list[str] | None) -> list[str]:
    return [part.strip() for each in by or () for part in each.split(",") if part.strip()]


def _export(form: str, *, json: bool) -> None:
    with session() as server:
        found = server.get("/api/catalog/metrics", format=form)
    print_json(found) if json else say_text(str(found["text"]).rstrip("\n"))


def _known() -> list[dict[str, Any]]:
    """Return the metrics of the server; those of the last call if it can't be reached."""
    cache = Workspace.find().root / _CACHE
    try:
        with session() as server:
            found: list[dict[str, Any]] = server.get("/api/metrics")["metrics"]
    except (UnreachableError, BrokenError):
        kept = _cached(cache)
        if kept is None:
            raise
        say("The server can't be reached; using the metrics of the last call.", err=True)
        return kept
    if cache.parent.is_dir():
        write_atomically(cache, json_module.dumps(found))
    return found


def _cached(cache: Path) -> list[dict[str, Any]] | None:
    try:
        found = json_module.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, list) else None


def _named(name: str, known: list[dict[str, Any]]) -> dict[str, Any]:
    from difflib import get_close_matches

    wanted = name.lower()
    for each in known:
        if wanted in {each["name"], each["display_name"].lower()}:
            return each
    near = get_close_matches(wanted, [each["name"] for each in known], n=1)
    raise DaError(
        f"there is no metric '{name}'{f'; did you mean {near[0]!r}?' if near else '; to list them, run: da metrics'}"
    )


def _list(known: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        print_json(known)
        return
    rows = [
        (
            each["name"],
            each["category"],
            each["table"],
            each["grain"] or "",
            ", ".join(each["dimensions"]),
            each["description"] or "" if each["status"] == "ok" else f"broken: {each['problem']}",
        )
        for each in known
    ]
    columns = ("metric", "category", "table", "grain", "dimensions", "description")
    empty = "There are no metrics on tables that you can read; to list those tables, run: da catalog"
    print_table(columns, rows, optional=("grain", "category", "table"), empty=empty)


def _describe(found: dict[str, Any]) -> None:
    say(f"{found['display_name']} ({found['name']})")
    if found["description"]:
        say(found["description"])
    facts = {
        "unit": found["unit"],
        "table": found["table"],
        "by": ", ".join(found["dimensions"]),
        "grain": found["grain"],
    }
    for label, value in facts.items():
        if value:
            say_fact(label, value)
    say()


def _run(name: str, sql: str, *, json: bool) -> None:
    from da.query.results import as_json, as_text, opened, run

    with opened(Workspace.find().duckdb) as connection:
        try:
            result = run(connection, sql, as_json if json else as_text)
            if json:
                rows = [json_module.loads(row[0] or "{}") for row in result.rows]
                print_json({"name": name, "sql": sql, "rows": rows})
                return
            say_text(sql)
            say()
            names, right = [each.name for each in result.columns], [each.is_number for each in result.columns]
            for line in layout(names, list(islice(result.rows, _MOST)), right=right, width=terminal_width()).lines:
                say(line)
        except DaError as error:
            raise DaError(
                f"can't compute the metric '{name}' on the mirror: {error}; its tables may not be mirrored, run: da sync"
            ) from None
