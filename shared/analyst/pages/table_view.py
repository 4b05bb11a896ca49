"""What the page of a table shows besides the answers of the API: a page of its columns, drawings, and hints for its use."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from analyst.access import Caller, Role
from analyst.catalog import Problem, Table
from analyst.cli_wheel import NO_ADDRESS
from analyst.pages import graphs
from analyst.pages.html import day
from analyst.pages.results import is_number
from analyst.pages.uses import uses
from analyst.settings import Settings
from analyst.snapshots import Snapshot

_COLUMNS: Final = 100
_FILES: Final = 100


def extras(data: Mapping[str, Any], page: int, caller: Caller, settings: Settings) -> dict[str, Any]:
    """Return what the template needs besides the data of the page, for one page of the columns."""
    table, profile = data["table"], data["profile"]
    pages = max(1, -(-len(table.columns) // _COLUMNS))
    number = min(page, pages)
    graph = graphs.lineage_drawing(data["lineage"], f"table:{table.id}")
    return {
        "columns": table.columns[(number - 1) * _COLUMNS : number * _COLUMNS],
        "page": number,
        "pages": pages,
        "profiled": {} if profile is None else {each["name"]: each for each in profile.profile["columnProfile"]},
        "keys": frozenset(data["schema"].primary_key),
        "numeric": frozenset(column.name for column in table.columns if is_number(column.type)),
        "alerts": [] if profile is None else [each for each in profile.profile["alerts"] if each["type"] != "unique"],
        "rows_over_time": []
        if profile is None
        else _rows_over_time([*reversed(profile.history), profile.profile["tableProfile"]]),
        "graph": graph if len(data["lineage"].nodes) > 1 else None,
        "related": graphs.relations_drawing(table.id, data["relations"]) if data["relations"] else None,
        "column_terms": {term.name: columns for term, columns in data["terms"]},
        "uses": uses(table, caller, settings.base_url or NO_ADDRESS, settings.data_url),
        "query_url": f"/query?{urlencode({'table': table.id})}",
        "can_describe": caller.includes(Role.KM_ADMIN),
        "can_query": caller.includes(Role.ANALYST),
    }


def listed_files(table: Table) -> list[dict[str, Any]]:
    """Return the first files of a table, as its page lists them."""
    return [
        {"size_bytes": file.size_bytes, "rows": file.rows, "partition": file.partition} for file in table.files[:_FILES]
    ]


def problems_of(snapshot: Snapshot, table: Table) -> list[Problem]:
    """Return what the rebuild reports of a table, or of its source as a whole."""
    return [
        problem
        for problem in snapshot.catalog.problems
        if problem.source == table.source and problem.table in (None, table.name)
    ]


def _rows_over_time(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Return the rows of each profile by its day, or by its time if there are several a day."""
    times = [datetime.fromtimestamp(each["timestamp"] / 1000, UTC) for each in history]
    days = [day(each) for each in times]
    labels = days if len(set(days)) == len(days) else [f"{each:%m-%d %H:%M}" for each in times]
    return [(label, each["rowCount"]) for label, each in zip(labels, history, strict=True)]
