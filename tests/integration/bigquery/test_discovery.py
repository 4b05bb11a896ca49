"""The tables of a BigQuery project are found, named, registered and mirrored."""

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.bigquery.project import Project, column
from tests.integration.bigquery.conftest import Opened
from tests.processes import da, served


def project() -> Project:
    made = Project(page=2)
    described = column("Name", description="How they are called")
    made.table("crm.contacts", [column("id", "INTEGER"), described], [{"id": 1, "Name": "a"}], description="People")
    made.table("erp.Contacts", [column("id", "INTEGER")], [{"id": 1}])
    made.table("erp.orders", [column("id", "INTEGER")], [{"id": 1}, {"id": 2}])
    made.view("erp.paid", f"SELECT id FROM `{made.id}.erp.orders`")
    made.table("_hidden.t", [column("id", "INTEGER")])
    return made


def test_equal_names_in_different_datasets_get_names_of_their_own(opened: Opened) -> None:
    bigquery = opened(project())
    found = bigquery.world.ask("GET", "/api/admin/discover-tables?source=bq")
    assert {table["source_table"]: table["name"] for table in found["tables"]} == {
        "crm.contacts": "crm_contacts",
        "erp.Contacts": "erp_contacts",
        "erp.orders": "orders",
        "erp.paid": "paid",
    }
    orders = next(table for table in found["tables"] if table["name"] == "orders")
    assert (orders["rows"], orders["columns"], orders["bucket"]) == (2, ["id"], "erp")


def test_registered_tables_keep_their_names_and_get_descriptions(opened: Opened) -> None:
    bigquery = opened(project())
    bigquery.register("crm.contacts", "people")
    made = bigquery.world.ask("POST", "/api/admin/discover-tables", {"source": "bq"})
    assert made["registered"] == ["bq.contacts", "bq.orders", "bq.paid"]
    assert {name: result["rows"] for name, result in bigquery.sync().items()} == {
        "people": 1,
        "contacts": 1,
        "orders": 2,
        "paid": 2,
    }
    catalog = bigquery.world.ask("GET", "/api/catalog/tables/bq.people")
    assert catalog["description"] == "People"
    assert {one["name"]: one["description"] for one in catalog["columns"]} == {
        "id": None,
        "name": "How they are called",
    }


def test_a_source_with_discovery_registers_new_tables_at_each_sync(opened: Opened) -> None:
    bigquery = opened(project(), discover=True, datasets=["crm"])
    assert set(bigquery.sync()) == {"contacts"}
    bigquery.project.table("crm.more", [column("id", "INTEGER")], [{"id": 1}])
    assert set(bigquery.sync()) == {"contacts", "more"}


def test_a_preview_checks_the_credentials_and_shows_the_columns(opened: Opened) -> None:
    made = project()
    made.table("erp.odd", [column("id", "INTEGER"), column("vector", "HOLOGRAM")][:1])
    made.tables["erp.odd"].fields.append(column("vector", "HOLOGRAM"))
    bigquery = opened(made)
    found: Any = bigquery.world.ask("POST", "/api/admin/sources/bq/preview", {})
    assert found["checks"][0]["message"] == "work for the project 'shop-123456'"
    tables = {table["source_table"]: table for table in found["tables"]}
    assert tables["crm.contacts"]["columns"] == [
        {"name": "id", "type": "BIGINT", "original": None},
        {"name": "name", "type": "VARCHAR", "original": "How they are called"},
    ]
    assert "the column 'vector' has the type HOLOGRAM, which this version does not read" in tables["erp.odd"]["problem"]


@pytest.mark.slow
def test_da_adds_a_source_discovers_its_tables_and_mirrors_them(opened: Opened, tmp_path: Path) -> None:
    bigquery = opened(project(), base_url="")
    with served(bigquery.world.app) as host:

        def run(*arguments: str) -> str:
            return da(tmp_path / "analysis", *arguments, server=host, token=bigquery.world.admin).stdout

        options = [f"{name}={value}" for name, value in bigquery.served.config.items()]
        run("admin", "sources", "add", "more", "--type", "bigquery", *(x for one in options for x in ("--option", one)))
        assert "erp.orders" in run("admin", "discover", "more")
        assert "Registered 4 tables" in run("admin", "discover", "more", "--register", "--yes")
        run("admin", "sync", "more")
        run("sync")
        assert "2" in run("query", "select count(*) from more.orders", "--format", "csv")
