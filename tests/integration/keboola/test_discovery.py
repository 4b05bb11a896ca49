"""The tables of a project are found, named and registered; a project that can't be read is explained."""

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.keboola.project import Column, Project
from tests.integration.keboola.conftest import Opened
from tests.processes import da, served


def project() -> Project:
    made = Project()
    contacts = made.table("in.c-crm.contacts", ["id", "Name"], [("1", "a")], key=["id"])
    made.describe(contacts, None, "KBC.description", "People we know")
    made.describe(contacts, "Name", "KBC.description", "How they are called")
    made.table("out.c-crm.contacts", ["id"], [("1",)])
    made.table("in.c-erp.Contacts", ["id"], [("1",)])
    made.table("in.c-erp.orders", ["id"], [("1",), ("2",)])
    made.alias("in.c-linked.orders_alias", made.tables["in.c-erp.orders"])
    return made


def names(answer: Any) -> dict[str, str]:
    return {table["source_table"]: table["name"] for table in answer["tables"]}


def test_equal_names_in_different_buckets_get_names_of_their_own(opened: Opened) -> None:
    keboola = opened(project())
    found = keboola.world.ask("GET", "/api/admin/discover-tables?source=kbc")
    assert names(found) == {
        "in.c-crm.contacts": "in_crm_contacts",
        "out.c-crm.contacts": "out_crm_contacts",
        "in.c-erp.Contacts": "erp_contacts",
        "in.c-erp.orders": "orders",
        "in.c-linked.orders_alias": "orders_alias",
    }
    described = {table["name"]: table["description"] for table in found["tables"]}
    assert described["in_crm_contacts"] == "People we know"
    assert not any(table["is_registered"] for table in found["tables"])


def test_registered_tables_keep_their_names_and_get_descriptions(opened: Opened) -> None:
    keboola = opened(project())
    keboola.register("in.c-crm.contacts", "people")
    body = {"source": "kbc"}
    would = keboola.world.ask("POST", "/api/admin/discover-tables", {**body, "dry_run": True})
    assert would["registered"] == ["kbc.crm_contacts", "kbc.erp_contacts", "kbc.orders", "kbc.orders_alias"]
    assert len(keboola.world.ask("GET", "/api/admin/tables")["tables"]) == 1
    made = keboola.world.ask("POST", "/api/admin/discover-tables", body)
    assert made["registered"] == would["registered"]
    assert len(keboola.world.ask("GET", "/api/admin/tables")["tables"]) == 5
    assert keboola.world.ask("POST", "/api/admin/discover-tables", body)["registered"] == []
    assert {result["status"] for result in keboola.sync().values()} == {"ok"}
    catalog = keboola.world.ask("GET", "/api/catalog/tables/kbc.people")
    assert catalog["description"] == "People we know"
    assert {column["name"]: column["description"] for column in catalog["columns"]} == {
        "id": None,
        "name": "How they are called",
    }


def test_a_removed_table_is_registered_again_only_by_name(opened: Opened) -> None:
    keboola = opened(project())
    keboola.world.ask("POST", "/api/admin/discover-tables", {"tables": ["orders"]})
    keboola.world.ask("DELETE", "/api/admin/tables/kbc.orders")
    assert "kbc.orders" not in keboola.world.ask("POST", "/api/admin/discover-tables", {})["registered"]
    made = keboola.world.ask("POST", "/api/admin/discover-tables", {"tables": ["orders"]})
    assert made["registered"] == ["kbc.orders"]


def test_a_source_with_discovery_registers_new_tables_at_each_sync(opened: Opened) -> None:
    keboola = opened(project(), discover=True, buckets=["in.c-erp"])
    assert set(keboola.sync()) == {"contacts", "orders"}
    keboola.project.table("in.c-erp.more", ["id"], [("1",)])
    assert set(keboola.sync()) == {"contacts", "orders", "more"}
    keboola.world.ask("DELETE", "/api/admin/tables/kbc.orders")
    assert set(keboola.sync()) == {"contacts", "more"}


def test_files_and_jira_can_be_discovered_too(opened: Opened, tmp_path: Path) -> None:
    keboola = opened(project())
    (tmp_path / "sources/orders.csv").write_text("id\n1\n")
    keboola.world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    keboola.world.ask("POST", "/api/admin/sources/jira", {"type": "jira"})
    keboola.world.ask("POST", "/api/admin/sources/other", {"type": "external"})
    found = keboola.world.ask("GET", "/api/admin/discover-tables")
    assert {"shop.orders", "jira.issues", "kbc.erp_contacts"} <= {table["id"] for table in found["tables"]}
    assert keboola.world.ask("POST", "/api/admin/discover-tables", {"source": "shop"})["registered"] == ["shop.orders"]
    assert keboola.world.send("GET", "/api/admin/discover-tables?source=other").status_code == 422


def test_a_source_that_cannot_be_listed_does_not_hide_the_others(opened: Opened, tmp_path: Path) -> None:
    keboola = opened(project())
    (tmp_path / "sources/orders.csv").write_text("id\n1\n")
    keboola.world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    keboola.project.token = "another"
    found = keboola.world.ask("GET", "/api/admin/discover-tables")
    assert [table["id"] for table in found["tables"]] == ["shop.orders"]
    assert found["problems"][0]["source"] == "kbc"
    assert "set KEBOOLA_STORAGE_TOKEN to a valid token" in found["problems"][0]["error"]


@pytest.mark.slow
def test_da_discovers_registers_and_mirrors_tables(opened: Opened, tmp_path: Path) -> None:
    keboola = opened(project(), base_url="")
    with served(keboola.world.app) as host:

        def run(*arguments: str) -> str:
            return da(tmp_path / "analysis", *arguments, server=host, token=keboola.world.admin).stdout

        assert "in.c-erp.orders" in run("admin", "discover", "kbc")
        assert "Would register 5 tables" in run("admin", "discover", "kbc", "--register", "--dry-run")
        assert "Registered 5 tables" in run("admin", "discover", "kbc", "--register", "--yes")
        run("admin", "sync", "kbc")
        run("sync")
        assert "2" in run("query", "select count(*) from kbc.orders", "--format", "csv")


def test_a_preview_checks_the_token_and_shows_the_columns(opened: Opened) -> None:
    made = project()
    made.table(
        "in.c-erp.typed",
        [Column("id", "NUMBER", "38,0")],
        typed=True,
        types={"id": {"basetype": "NUMERIC", "length": "38,0"}},
    )
    keboola = opened(made)
    found = keboola.world.ask("POST", "/api/admin/sources/kbc/preview", {})
    assert found["checks"][0]["message"] == "works for the project 'Shop' (345)"
    typed = next(table for table in found["tables"] if table["name"] == "typed")
    assert typed["columns"][0]["type"] == "DECIMAL(38,0)"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"project_id": "999"}, "the token is for the project 345"),
        ({"branch": "main"}, "is not the id of a development branch"),
        ({"token_env": "PATH"}, "is not a variable for a token"),
        ({"token_env": "KEBOOLA_OTHER_TOKEN"}, "set KEBOOLA_OTHER_TOKEN"),
        ({"stack_url": "not a url"}, "stack_url"),
        ({"bucket": "in.c-x"}, "did you mean 'buckets'"),
    ],
)
def test_a_config_that_cannot_be_used_is_explained(opened: Opened, config: dict[str, str], reason: str) -> None:
    keboola = opened(project())
    order = {"type": "keboola", "config": {**keboola.served.config, **config}}
    answer = keboola.world.send("POST", "/api/admin/sources/new/preview", order)
    assert reason in answer.text
