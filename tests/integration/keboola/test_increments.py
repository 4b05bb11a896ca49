"""Incremental tables of a Keboola project: changes, deletes, filters and schemas."""

import re
from datetime import timedelta
from typing import Any

import pytest

from tests.doubles.keboola.project import Column, Project
from tests.doubles.keboola.server import serving
from tests.integration.keboola.conftest import Keboola, Opened


def orders(project: Project, rows: int = 3) -> Any:
    made = [(str(number), f"v{number}") for number in range(rows)]
    table = project.table("in.c-shop.orders", ["id", "value"], made, key=["id"], types={"id": {"basetype": "INTEGER"}})
    project.tick(days=40)
    return table


def incremental(opened: Opened, project: Project, **options: Any) -> Keboola:
    keboola = opened(project)
    settings = {"overlap": "1h", **options}
    keboola.register("in.c-shop.orders", sync_strategy="incremental", primary_key=["id"], options=settings)
    return keboola


def content(keboola: Keboola) -> list[Any]:
    return keboola.rows("select id::int, value from kbc.orders order by id")


def test_unchanged_tables_are_not_exported(opened: Opened) -> None:
    project = Project()
    orders(project)
    keboola = incremental(opened, project)
    assert keboola.sync()["orders"]["status"] == "ok"
    project.requests.clear()
    assert keboola.sync()["orders"]["status"] == "unchanged"
    assert [path.partition("?")[0] for _, path in project.requests] == ["/v2/storage/tables"]


def test_changes_are_merged_by_the_key(opened: Opened) -> None:
    project = Project()
    table = orders(project)
    keboola = incremental(opened, project)
    keboola.sync()
    project.insert(table, [("1", "changed"), ("7", "new")])
    assert keboola.sync()["orders"]["rows"] == 4
    assert content(keboola) == [(0, "v0"), (1, "changed"), (2, "v2"), (7, "new")]
    first, second = project.exports
    assert "changedSince" not in first
    assert second["changedSince"] == int((table.created - timedelta(hours=1)).timestamp())


def test_a_key_that_does_not_fit_its_type_is_reported_with_the_option_that_helps(opened: Opened) -> None:
    project = Project()
    table = orders(project)
    keboola = incremental(opened, project)
    keboola.sync()
    project.insert(table, [("x7", "new")])
    error = keboola.sync(status=422)["orders"]["error"]
    assert "the primary key is not known: 1 values of the column 'id' are not DECIMAL(38,0)" in error
    assert "such as 'x7'" in error
    assert "types = {id: VARCHAR}" in error
    assert len(content(keboola)) == 3


def test_deletions_are_noticed_by_the_number_of_rows(opened: Opened) -> None:
    project = Project()
    table = orders(project, 5)
    keboola = incremental(opened, project)
    keboola.sync()
    project.delete(table, lambda row: row["id"] in ("1", "3"))
    project.insert(table, [("9", "new")])
    result = keboola.sync()["orders"]
    assert result["rows"] == 4
    assert "rows were deleted in Keboola" in result["notes"][0]
    assert [row[0] for row in content(keboola)] == [0, 2, 4, 9]
    assert ["changedSince" in order for order in project.exports] == [False, True, False]


def test_a_number_of_rows_that_cannot_be_verified_is_reported_as_unsure(opened: Opened) -> None:
    project = Project()
    table = orders(project, 5)
    keboola = incremental(opened, project, where_filters=[{"column": "value", "operator": "ne", "values": ["v0"]}])
    keboola.sync()
    assert [row[0] for row in content(keboola)] == [1, 2, 3, 4]
    project.delete(table, lambda row: row["id"] == "1")
    keboola.sync()
    assert [row[0] for row in content(keboola)] == [1, 2, 3, 4]
    [(description,)] = keboola.extract("select description from _meta")
    assert re.fullmatch(
        "Rows that were deleted at the source since [-0-9]+ [:0-9]+ UTC may still be here.", description
    )


def test_a_reload_that_is_due_removes_what_was_deleted(opened: Opened) -> None:
    project = Project()
    table = orders(project, 3)
    keboola = incremental(opened, project, where_filters=[{"column": "value", "operator": "ne", "values": ["v0"]}])
    keboola.sync()
    project.delete(table, lambda row: row["id"] == "1")
    keboola.change(
        "orders",
        options={"where_filters": [{"column": "value", "operator": "ne", "values": ["v0"]}], "full_reload": "0s"},
    )
    result = keboola.sync()["orders"]
    assert "last read as a whole" in result["notes"][0]
    assert content(keboola) == [(2, "v2")]


@pytest.mark.parametrize("name", ["allow_fewer", "allow_empty"])
def test_a_run_without_rows_never_empties_a_table(opened: Opened, name: str) -> None:
    project = Project()
    table = orders(project, 3)
    keboola = opened(project)
    keboola.register("in.c-shop.orders")
    keboola.sync()
    project.delete(table, lambda _: True)
    result = keboola.sync(status=422)["orders"]
    assert result["status"] == "failed"
    assert "3 of the 3 published rows would be gone" in result["error"]
    assert "allow_fewer" in result["error"]
    assert len(content(keboola)) == 3
    keboola.change("orders", options={name: True})
    keboola.sync()
    assert content(keboola) == []


def test_a_full_read_that_loses_most_rows_keeps_them_unless_the_selection_changed(opened: Opened) -> None:
    project = Project()
    table = orders(project, 40)
    keboola = opened(project)
    keboola.register("in.c-shop.orders")
    keboola.sync()
    project.delete(table, lambda row: int(row["id"] or 0) > 10)
    result = keboola.sync(status=422)["orders"]
    assert result["status"] == "failed"
    assert "of the 40 published rows would be gone" in result["error"]
    assert len(content(keboola)) == 40
    filters = [{"column": "value", "operator": "eq", "values": ["v3"]}]
    keboola.change("orders", options={"where_filters": filters})
    assert keboola.sync()["orders"]["status"] == "ok"
    assert content(keboola) == [(3, "v3")]


def test_a_new_column_of_an_incremental_table_has_its_values_in_all_rows(opened: Opened) -> None:
    project = Project()
    table = orders(project)
    keboola = incremental(opened, project)
    keboola.sync()
    table.columns.append(Column("Extra One"))
    for row in table.rows:
        row.values["Extra One"] = "x"
    table.changed = project.tick()
    result = keboola.sync()["orders"]
    assert "columns changed" in result["notes"][0]
    assert keboola.rows("select distinct extra_one from kbc.orders") == [("x",)]


def test_a_frozen_schema_keeps_the_published_rows(opened: Opened) -> None:
    project = Project()
    table = orders(project)
    keboola = incremental(opened, project, schema_changes="freeze")
    keboola.sync()
    table.columns.append(Column("extra"))
    for row in table.rows:
        row.values["extra"] = "x"
    project.tick()
    project.insert(table, [("8", "new", "y")])
    answer = keboola.send()
    assert answer.status_code == 422
    assert "new: extra" in answer.get_json()["tables"][0]["error"]
    assert len(content(keboola)) == 3
    keboola.change("orders", options={"schema_changes": "discard"})
    keboola.sync()
    assert [name for name, *_ in keboola.rows("describe kbc.orders")] == ["id", "value"]
    assert len(content(keboola)) == 4


def test_a_type_that_changed_is_read_again(opened: Opened) -> None:
    project = Project()
    table = orders(project)
    keboola = incremental(opened, project)
    keboola.sync()
    project.tick()
    project.describe(table, "id", "KBC.datatype.basetype", "STRING")
    project.insert(table, [("007", "agent")])
    keboola.sync()
    assert keboola.rows("select id from kbc.orders order by id") == [("0",), ("007",), ("1",), ("2",)]


@pytest.mark.parametrize("strategy", ["incremental", "full_refresh"])
def test_columns_and_filters_limit_what_is_read(opened: Opened, strategy: str) -> None:
    project = Project()
    rows = [(str(number), f"2026-0{1 + number % 4}-01", "x") for number in range(8)]
    project.table("in.c-shop.orders", ["id", "Day", "other"], rows, key=["id"])
    keboola = opened(project)
    filters = [{"column": "Day", "operator": "ge", "values": ["{{last_month}}"]}]
    options = {"columns": ["day"], "where_filters": filters, "sync_strategy": strategy}
    keboola.register("in.c-shop.orders", options=options, primary_key=["id"])
    keboola.sync()
    order = project.exports[0]
    assert order["columns"] == ("id,Day" if strategy == "incremental" else "Day")
    assert order["whereFilters"][0]["values"] != ["{{last_month}}"]


def test_a_first_load_in_windows_continues_where_it_stopped(opened: Opened) -> None:
    project = Project()
    table = project.table("in.c-shop.orders", ["id", "value"], [("0", "a")], key=["id"])
    for number in range(1, 7):
        project.tick(days=20)
        project.insert(table, [(str(number), "a"), ("0", f"a{number}")])
    keboola = incremental(opened, project, initial_load_chunk_days=30)
    keboola.sync()
    assert len([order for order in project.exports if "changedSince" in order]) == 5
    assert content(keboola) == [(0, "a6"), *((number, "a") for number in range(1, 7))]
    assert keboola.sync()["orders"]["status"] == "unchanged"


def test_a_row_cap_limits_a_full_refresh(opened: Opened) -> None:
    project = Project()
    orders(project, 9)
    keboola = opened(project)
    keboola.register("in.c-shop.orders", options={"row_limit": 4})
    assert keboola.sync()["orders"]["rows"] == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"row_limit": 5, "sync_strategy": "incremental"}, "row_limit needs the sync_strategy full_refresh"),
        ({"sync_strategy": "partitioned"}, "needs partition_by"),
        ({"where_filters": [{"column": "a", "values": ["{{tomorrow}}"]}]}, "unknown placeholder {{tomorrow}}"),
        ({"where_filters": [{"column": "a", "operator": "like", "values": ["x"]}]}, "'eq', 'ne'"),
        ({"overlap": "5"}, "no unit"),
        ({"types": {"a": "SPATIAL"}}, "is not a type"),
        ({"colums": ["a"]}, "did you mean 'columns'"),
        ({"schema_changes": "ignore"}, "'evolve', 'freeze' or 'discard'"),
    ],
)
def test_options_that_cannot_be_used_are_rejected(opened: Opened, options: dict[str, Any], reason: str) -> None:
    keboola = opened(Project())
    answer = keboola.world.send("POST", "/api/admin/tables/kbc.t", {"source_table": "in.c-a.t", "options": options})
    assert answer.status_code == 422
    assert reason in answer.get_json(force=True)["detail"]


@pytest.mark.parametrize(("granularity", "periods"), [("day", 6), ("month", 3), ("year", 2)])
def test_only_the_partitions_that_changed_are_written_again(opened: Opened, granularity: str, periods: int) -> None:
    project = Project()
    days = ["2025-12-30", "2025-12-31", "2026-01-01", "2026-01-02", "2026-02-01", "2026-02-02"]
    rows = [(str(number), day, "a") for number, day in enumerate(days)]
    table = project.table("in.c-shop.orders", ["id", "Day", "value"], rows, key=["id"])
    project.tick(days=2)
    keboola = opened(project)
    options = {"sync_strategy": "partitioned", "partition_by": "day", "partition_granularity": granularity}
    keboola.register("in.c-shop.orders", options=options)
    keboola.sync()
    before = dict(keboola.extract("select partition, path from _files"))
    assert len(before) == periods
    project.insert(table, [("5", "2026-02-02", "b"), ("6", "2025-12-31", "new")])
    keboola.sync()
    after = dict(keboola.extract("select partition, path from _files"))
    changed = {partition for partition in after if before[partition] != after[partition]}
    assert {next(one for one in changed if one.startswith(year)) for year in ("2025", "2026")} == changed
    project.tick()
    project.insert(table, [("0", "2026-02-02", "moved")])
    keboola.sync()
    assert keboola.rows('select id, "day", value from kbc.orders order by id') == [
        ("0", "2026-02-02", "moved"),
        *[row for row in rows if row[0] in "1234"],
        ("5", "2026-02-02", "b"),
        ("6", "2025-12-31", "new"),
    ]


def test_rows_of_two_projects_are_never_mixed(opened: Opened) -> None:
    """Projects have equal ids, such as a copy for tests; a source that is led to another one reads its tables again."""
    project, other = Project(), Project()
    orders(project)
    keboola = incremental(opened, project)
    keboola.sync()
    rows = [("0", "theirs"), ("1", "theirs"), ("9", "theirs")]
    theirs = other.table("in.c-shop.orders", ["id", "value"], rows, key=["id"], types={"id": {"basetype": "INTEGER"}})
    other.now = project.now
    other.tick(days=1)
    other.insert(theirs, [("9", "theirs")])
    with serving(other) as served:
        keboola.world.ask("PUT", "/api/admin/sources/kbc", {"config": {**served.config, "stack_url": served.url}})
        result = keboola.sync()["orders"]
    assert content(keboola) == [(0, "theirs"), (1, "theirs"), (9, "theirs")]
    assert "another project or branch" in str(result["notes"])
