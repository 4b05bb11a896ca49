"""The life of sources and tables: real files, a real server, and the real `da`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.da.test_with_the_server import Laptop
from tests.processes import BOOTSTRAP_SECRET, Host, host

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that sources may be in, with four sources in it."""
    folder = tmp_path_factory.mktemp("world") / "files"
    for name in ("shop", "empty", "odd", "moved"):
        (folder / name).mkdir(parents=True)
    (folder / "shop/orders.csv").write_text("Order ID,total\n1,1.50\n2,NA\n")
    (folder / "shop/customers.csv").write_text("id,name\n1,Ann\n")
    (folder / "moved/orders.csv").write_text("Order ID,total\n1,1.50\n")
    (folder / "odd/broken.csv").write_text("a,b\n1,2,3\n")
    (folder / "odd/report.xlsx").write_bytes(b"PK\x03\x04")
    (folder / "odd/_draft.csv").write_text("a\n1\n")
    (folder / "odd/fine.csv").write_text("a\n1\n")
    return folder


@pytest.fixture(scope="module")
def server(files: Path, shared_cloud: "Cloud") -> Iterator[Host]:
    with host(files.parent, shared_cloud, ACCESS_MAX_AGE="0", fork=True) as running:
        yield running


@pytest.fixture(scope="module")
def eve(server: Host, files: Path) -> Laptop:
    laptop = Laptop(files.parent / "eve")
    laptop.da("login", "--server", server.url, "--bootstrap", "eve@example.com", BOOTSTRAP_SECRET=BOOTSTRAP_SECRET)
    return laptop


REFUSED = {
    "no path": ([], 2, "a csv source needs '--path'"),
    "a typo in the path": (["--path", "{files}/shp"], 1, "did you mean '{files}/shop'?"),
    "nothing like it": (["--path", "{files}/warehouse"], 1, "'{files}' contains empty, moved, odd, shop; create it"),
    "outside of the roots": (["--path", "/etc"], 1, "it is outside of SOURCE_ROOTS ('"),
    "an empty folder": (
        ["--path", "{files}/empty"],
        1,
        "has no files; put CSV, TSV, JSON Lines or Parquet files there",
    ),
    "no data files": (["--path", "{files}/odd/report.xlsx"], 1, "has no files that make a table; their names must end"),
    "another protocol": (["--path", "ftp://x/y"], 1, "it is outside of SOURCE_ROOTS"),
    "a misspelt option": (["--path", "{files}/shop", "-o", "nullstring=NA"], 1, "did you mean 'nullstr'?"),
    "a wrong value": (["--path", "{files}/shop", "-o", "header=maybe"], 1, "'header' should be true or false"),
    "a misspelt type": (["--path", "{files}/shop", "--type", "cvs"], 1, "did you mean 'csv'?"),
    "a type that is not there": (
        ["--path", "x", "--type", "salesforce"],
        1,
        "this version has no connector for sources of",
    ),
    "an extract that is not there": (["--type", "external"], 1, "'extracts/new/extract.duckdb' does not exist"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_source_that_cannot_work_is_not_added(eve: Laptop, files: Path, wrong: str) -> None:
    arguments, code, message = REFUSED[wrong]
    printed = eve.da("admin", "sources", "add", "new", *(one.format(files=files) for one in arguments), code=code)
    assert message.format(files=files) in printed
    assert not any(word in printed for word in ("Traceback", "pydantic", "Input should", "^["))
    assert all(source["name"] != "new" for source in json.loads(eve.da("admin", "sources", "list", "--json")))


def test_adding_a_source_shows_tables_types_and_ignored_files(eve: Laptop, files: Path) -> None:
    printed = eve.da("admin", "sources", "add", "odd", "--path", f"{files}/odd")
    assert "failed: broken.csv:2: has 3 values where the header has 2" in printed
    assert "a BIGINT" in printed
    assert "_draft.csv: its name or that of its folder starts with _" in printed
    assert "report.xlsx: its name ends in none of .csv, .tsv" in printed
    assert printed.endswith("Added the source odd. To sync it, run: da admin sync odd\n")
    assert "there is a source 'odd' already" in eve.da(
        "admin", "sources", "add", "odd", "--path", f"{files}/odd", code=1
    )
    tested = eve.da("admin", "sources", "test", "odd", code=1)
    assert "tables     failed: 1 of 2 can't be read: broken: broken.csv:2" in tested
    eve.da("admin", "sources", "remove", "odd", "--yes")


def test_a_source_is_added_previewed_changed_and_removed(eve: Laptop, files: Path) -> None:
    sources = ("admin", "sources")
    eve.da(*sources, "add", "shop", "--path", f"{files}/shop", "-o", "nullstr=NA")
    eve.da("admin", "sync", "shop")
    shown = json.loads(eve.da(*sources, "show", "shop", "--json"))
    assert [table["id"] for table in shown["tables"]] == ["shop.customers", "shop.orders"]
    assert [run["status"] for run in shown["runs"]] == ["ok"]
    found = json.loads(eve.da(*sources, "preview", "shop", "orders", "--json"))
    orders = next(table for table in found["tables"] if table["name"] == "orders")
    assert (orders["rows"], orders["is_registered"], orders["is_sampled"]) == (2, True, False)
    assert [(one["name"], one["type"], one["original"]) for one in orders["columns"]] == [
        ("order_id", "BIGINT", "Order ID"),
        ("total", "DOUBLE", None),
    ]
    # elsewhere: what would no longer be read is listed first, and nothing changes without a yes
    before = json.loads(eve.da(*sources, "list", "--json"))
    there = ("update", "shop", "--path", f"{files}/moved")
    assert "Registered, but not found: shop.customers." in eve.da(*sources, *there, "--dry-run")
    assert "1 table will no longer be read: shop.customers." in eve.da(*sources, *there, code=2)
    assert "has no files" in eve.da(*sources, "update", "shop", "--path", f"{files}/empty", "--yes", code=1)
    assert json.loads(eve.da(*sources, "list", "--json")) == before
    eve.da(*sources, *there, "--yes")
    config = json.loads(eve.da(*sources, "show", "shop", "--json"))["config"]
    assert config == {"path": f"{files}/moved", "nullstr": "NA"}
    assert "da admin tables remove shop.customers" in eve.da("admin", "sync", "shop")
    eve.da(*sources, "update", "shop", "--unset", "nullstr")
    assert "it has path" in eve.da(*sources, "update", "shop", "--unset", "delimitr", code=1)
    # what goes is listed first, and what is computed from it
    materialized = ("admin", "materialized")
    assert "no table" in eve.da(*materialized, "add", "marts.lost", "select * from shop.nothing", code=1)
    assert [each["name"] for each in json.loads(eve.da(*sources, "list", "--json"))] == ["shop"]
    eve.da(*materialized, "add", "marts.paid", "select sum(total) as total from shop.orders")
    would = eve.da(*sources, "remove", "shop", "--dry-run")
    assert "Can't be computed any more: marts.paid" in would
    eve.da(*sources, "remove", "marts", "--yes")
    assert "Goes: 2 tables with their data: shop.customers, shop.orders" in would
    assert "Stays: the files at the source; the audit log" in would
    assert "use --yes" in eve.da(*sources, "remove", "shop", code=2)
    eve.da(*sources, "remove", "shop", "--yes")
    assert json.loads(eve.da(*sources, "list", "--json")) == []
    assert json.loads(eve.da("admin", "tables", "list", "--json")) == []
    actions = [event["action"] for event in json.loads(eve.da("admin", "audit", "--limit", "50", "--json"))]
    assert {"source.create", "source.update", "source.delete", "table.deregister"} <= set(actions)
    assert "did you mean" not in eve.da(*sources, "preview", "shop", code=1)


def test_a_table_is_registered_changed_and_removed(eve: Laptop, files: Path) -> None:
    eve.da("admin", "sources", "add", "till", "--path", f"{files}/shop")
    eve.da("admin", "sync", "till")
    tables = ("admin", "tables")
    assert "did you mean 'till.orders'?" in eve.da(*tables, "show", "till.ordres", code=1)
    assert "did you mean 'nullstr'?" in eve.da(*tables, "update", "till.orders", "-o", "nulstr=NA", code=1)
    eve.da(*tables, "update", "till.orders", "--description", "One row per order", "-o", "nullstr=NA")
    shown = json.loads(eve.da(*tables, "show", "till.orders", "--json"))
    assert (shown["description"], shown["options"]) == ("One row per order", {"nullstr": "NA"})
    eve.da(*tables, "update", "till.orders", "--unset", "nullstr")
    assert json.loads(eve.da(*tables, "show", "till.orders", "--json"))["options"] == {}
    named = ("description", "primary_key", "cursor_column", "bucket")
    options = ("--primary-key", "order_id", "--cursor-column", "order_id", "--bucket", "a")
    eve.da(*tables, "update", "till.orders", *options)
    eve.da(*tables, "update", "till.orders", *(word for name in named for word in ("--unset", name)))
    shown = json.loads(eve.da(*tables, "show", "till.orders", "--json"))
    assert [shown[name] for name in named] == [None, [], None, None]
    assert "Stays: 'customers.csv' at the source" in eve.da(*tables, "remove", "till.customers", "--yes")
    found = json.loads(eve.da("admin", "sources", "preview", "till", "--json"))
    reason = "the table 'customers' was removed by an administrator; register it to read it again"
    assert found["ignored"] == [{"name": "customers.csv", "reason": reason}]
    eve.da(*tables, "add", "till.customers")
    assert "till.customers: ok, 1 row" in eve.da("admin", "sync", "till")
    eve.da("admin", "sources", "remove", "till", "--yes")


def test_the_former_names_still_work(eve: Laptop, files: Path) -> None:
    eve.da("admin", "add-source", "old", "--path", f"{files}/shop")
    assert "old" in eve.da("admin", "list-sources")
    eve.da("admin", "register-table", "old.orders")
    assert "old.orders" in eve.da("admin", "list-tables")
    eve.da("admin", "sources", "remove", "old", "--yes")
