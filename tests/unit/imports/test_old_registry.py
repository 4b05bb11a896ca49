"""The registry says which files belong to which table; nothing is guessed."""

from typing import Any

import pytest

from analyst.imports.old_registry import Description, combine, read_description
from analyst.imports.old_system import FoundTable, OldTable
from analyst.imports.report import Gathered


def table(id_: str, source_type: str | None = "keboola", **more: Any) -> OldTable:
    return OldTable(id=id_, source_type=source_type, **{"name": id_, **more})


def found(path: str) -> FoundTable:
    """A table of a source, as `keboola/orders`, or of a folder of the old layout, as `:crm/orders`."""
    home, _, name = path.rpartition("/")
    if home.startswith(":"):
        return FoundTable(table=name, folder=home[1:] or None)
    return FoundTable(source=home, table=name)


PLACES: dict[str, tuple[list[OldTable], dict[str, str | None]]] = {
    "by name": ([table("t1", name="Orders")], {"keboola/Orders": "t1"}),
    "by id": ([table("orders", name="All orders")], {"keboola/orders": "orders"}),
    "by name, whatever its case": ([table("t1", name="All Orders")], {"keboola/all_orders": "t1"}),
    "by name before id": (
        [table("orders", name="visits"), table("visits", name="orders")],
        {"keboola/orders": "visits", "keboola/visits": "orders"},
    ),
    "the exact name first": ([table("t1", name="Orders")], {"keboola/orders": "orders", "keboola/Orders": "t1"}),
    "in its own source first": (
        [table("a"), table("a2", "jira", name="a")],
        {"jira/a": "a2", "keboola/a": "a", "other/a": "other/a"},
    ),
    "in a source of another name": ([table("a")], {"kbc/a": "a"}),
    "without a source": ([table("a", None)], {"keboola/a": "a"}),
    "without a source, in several": ([table("a", None)], {"keboola/a": "a", "jira/a": "jira/a"}),
    "nobody registered it": ([], {"jira/issues": "issues", "kbc/issues": "kbc/issues"}),
    "several of one name": ([table("a"), table("a2", name="a")], {"keboola/a": None}),
    "remote": ([table("a", query_mode="remote")], {"keboola/a": None}),
    "the old layout": ([table("a")], {":crm/a": "a", ":/b": "b"}),
    "the old layout, by folder": (
        [table("a", folder="crm"), table("a2", name="a", folder="web")],
        {":web/a": "a2", ":crm/a": "a", ":old/a": None},
    ),
    "the old layout, left behind": ([table("a")], {":crm/a": None, "keboola/a": "a"}),
}


@pytest.mark.parametrize("case", PLACES)
def test_each_file_is_assigned_to_a_table_or_reported(case: str) -> None:
    registry, expected = PLACES[case]
    combined = combine(registry, Description(), [found(path) for path in expected], Gathered())
    assert dict(zip(expected, (place.id for place in combined.places), strict=True)) == expected
    assert all(place.reason for place in combined.places if place.id is None)
    assert {place.id for place in combined.places} - {None} <= {each.id for each in combined.tables}


def test_unregistered_tables_are_private_and_belong_to_the_source_of_their_folder() -> None:
    (added,) = combine([], Description(), [found("jira/issues")], Gathered()).tables
    assert (added.name, added.source_type, added.is_public) == ("issues", "jira", False)


def test_a_table_without_a_source_belongs_to_the_source_of_its_folder() -> None:
    (placed,) = combine([table("a", None)], Description(), [found("keboola/a")], Gathered()).tables
    assert placed.source_type == "keboola"


DESCRIPTION = """
# Data description

```yaml
folder_mapping:
  in.c-crm: crm
```

Some words, and a block that is about something else:

```python
tables = []
```

~~~ YAML
tables:
  - id: in.c-crm.company
    name: company
    description: Companies
    primary_key: [id, "part 2"]
    sync_strategy: incremental
    columns: [{name: id}]
  - id: in.c-crm.gone
  - name: without an id
  - id: in.c-crm.company
  - {id: project.web.visits, query_mode: remote, bq_entity_type: view}
~~~

```yml
- {id: plain, primary_key: "id, day", sync_schedule: daily 05:00, profile_after_sync: false, description: 7}
```

```yaml
tables: [
```

```yaml
id: alone
name: Alone
```
""".replace("\n", "\r\n")


def test_a_description_is_read_from_its_blocks() -> None:
    report = Gathered()
    read = read_description(DESCRIPTION, report)
    assert [(each.id, each.name, each.source_type, each.bucket, each.source_table) for each in read.tables] == [
        ("in.c-crm.company", "company", "keboola", "in.c-crm", "company"),
        ("in.c-crm.gone", "gone", "keboola", "in.c-crm", "gone"),
        ("project.web.visits", "visits", "bigquery", "project.web", "visits"),
        ("plain", "plain", None, None, "plain"),
        ("alone", "Alone", None, None, "alone"),
    ]
    company, _, visits, plain, _ = read.tables
    assert (company.primary_key, company.sync_strategy, company.is_public) == ('["id", "part 2"]', "incremental", False)
    assert (visits.query_mode, plain.primary_key, plain.sync_schedule) == ("remote", "id, day", "daily 05:00")
    assert (plain.profile_after_sync, plain.description) == (False, "7")
    assert read.folders == {"in.c-crm": "crm"}
    assert [(each.name, each.reason) for each in report.left] == [
        ("data_description.md", "the table has no id: {'name': 'without an id'}"),
        ("in.c-crm.company", "it is described twice; the first description is used"),
        ("data_description.md, line 34", "the block is not valid YAML: while parsing a flow node"),
    ]
    assert [(each.name, each.reason.partition(";")[0]) for each in report.altered] == [
        ("in.c-crm.company", "not imported: columns"),
        ("project.web.visits", "not imported: bq_entity_type"),
    ]


@pytest.mark.parametrize(
    "text", [None, "", "# Nothing", "```yaml\n```", "```yaml\n- 1\n- a\n```", "```yaml\n&a [*a]\n```"]
)
def test_a_description_without_tables_has_none(text: str | None) -> None:
    assert read_description(text, Gathered()).tables == ()


def test_a_description_only_fills_gaps_of_the_registry() -> None:
    described = read_description(DESCRIPTION, Gathered())
    registry = [
        table("company", None, bucket="in.c-crm", source_table="company", sync_strategy="full_refresh"),
        table("plain", description="Ours", primary_key="key"),
    ]
    company, plain, *more = combine(registry, described, [], Gathered()).tables
    assert (company.id, company.description, company.folder) == ("company", "Companies", "crm")
    assert (company.source_type, company.sync_strategy) == ("keboola", "full_refresh")
    assert (plain.description, plain.primary_key) == ("Ours", "key")
    assert [each.id for each in more] == ["project.web.visits"]


def test_a_described_table_is_imported_if_it_has_parquet_files() -> None:
    report = Gathered()
    described = read_description(DESCRIPTION, Gathered())
    combined = combine([], described, [found(":crm/company"), found("files/plain")], report)
    assert [place.id for place in combined.places] == ["in.c-crm.company", "plain"]
    assert {each.id: each.source_type for each in combined.tables}["plain"] == "files"
    nowhere = "it is neither in the registry nor in any folder"
    assert [(each.name, each.reason) for each in report.left] == [("alone", nowhere), ("in.c-crm.gone", nowhere)]
