"""`da` and the functions together: they agree on every request and answer."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from tests.processes import BOOTSTRAP_SECRET, Host, host, run_da

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud

pytestmark = [pytest.mark.server, pytest.mark.slow]


@dataclass(frozen=True)
class Laptop:
    """A machine with `da` on it, whose user logs in as it is told."""

    home: Path

    def da(self, *arguments: str, code: int = 0, stdin: str = "", **environ: str) -> str:
        """Run a command that is to end with this code; return what it printed, errors included."""
        self.home.mkdir(exist_ok=True)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DA_")}
        ours = {"DA_CONFIG_DIR": str(self.home / "config"), "DA_LOCAL_DIR": str(self.home / "work"), **environ}
        ran = run_da(*arguments, environ=plain | ours, cwd=Path.cwd(), stdin=stdin)
        assert ran.returncode == code, (ran.stdout, ran.stderr)
        return ran.stdout + ran.stderr

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Query the mirror with DuckDB itself."""
        with duckdb.connect(self.home / "work/user/duckdb/analytics.duckdb", read_only=True) as connection:
            return connection.execute(sql).fetchall()


@dataclass(frozen=True)
class Begun:
    """A bucket in which the first administrator has published two tables, their files, and the administrator's token."""

    cloud: "Cloud"
    files: Path
    token: str


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, shared_cloud: "Cloud") -> Begun:
    home = tmp_path_factory.mktemp("begun")
    files = home / "files"
    files.mkdir()
    (files / "orders.csv").write_text("Order ID,total\n1,1.50\n2,2.50\n")
    (files / "customers.csv").write_text("id,name\n1,Ann\n")
    laptop = Laptop(home / "admin")
    with host(home, shared_cloud, ACCESS_MAX_AGE="0", fork=True) as running:
        options = ("--server", running.url, "--bootstrap", "eve@example.com")
        laptop.da("auth", "login", *options, BOOTSTRAP_SECRET=BOOTSTRAP_SECRET)
        laptop.da("admin", "add-source", "shop", "--path", "files")
        laptop.da("admin", "sync")
    return Begun(shared_cloud, files, json.loads((laptop.home / "config/token.json").read_text())["token"])


@pytest.fixture
def server(tmp_path: Path, begun: Begun, at_once: None) -> Iterator[Host]:  # noqa: ARG001
    shutil.copytree(begun.files, tmp_path / "files")
    with host(tmp_path, begun.cloud.copy(tmp_path), ACCESS_MAX_AGE="0", fork=True) as running:
        yield running


@pytest.fixture
def admin(server: Host, begun: Begun, tmp_path: Path) -> Laptop:
    """The first administrator, who has published two tables."""
    laptop = Laptop(tmp_path / "admin")
    laptop.da("login", "--server", server.url, stdin=begun.token)
    return laptop


@pytest.fixture
def ann(server: Host, admin: Laptop, tmp_path: Path) -> Laptop:
    """An analyst to whom nothing is granted yet."""
    made = json.loads(admin.da("admin", "add-user", "ann@example.com", "--name", "Ann", "--json"))
    laptop = Laptop(tmp_path / "ann")
    laptop.da("login", "--server", server.url, stdin=made["token"]["token"])
    return laptop


def test_the_first_administrator_mirrors_everything(admin: Laptop, server: Host) -> None:
    assert f"eve@example.com (admin) at {server.url}" in admin.da("auth", "whoami")
    assert stat.S_IMODE((admin.home / "config/token.json").stat().st_mode) == 0o600
    assert admin.da("sync").startswith("Updated shop.customers, shop.orders: 2 files, ")
    assert admin.da("sync").startswith("Already up to date; 2 tables unchanged.")
    assert admin.da("query", "select sum(total) as t from orders", "-f", "csv") == "t\n4.0\n"
    assert admin.rows(
        "select comment from duckdb_columns() where schema_name = 'main' and column_name = 'order_id'"
    ) == [("Order ID",)]
    assert "up to date" in admin.da("status")
    assert [table["view"] for table in json.loads(admin.da("tables", "--json"))] == ["customers", "orders"]


def test_bootstrap_works_once_and_with_the_secret_only(admin: Laptop, server: Host, tmp_path: Path) -> None:
    assert admin
    arguments = ("auth", "login", "--server", server.url, "--bootstrap", "mallory@example.com")
    for secret in (BOOTSTRAP_SECRET, "x" * 32):
        Laptop(tmp_path / "other").da(*arguments, code=1, BOOTSTRAP_SECRET=secret)
    assert not (tmp_path / "other/config").exists()


def test_an_analyst_mirrors_granted_tables_and_loses_revoked_ones(admin: Laptop, ann: Laptop) -> None:
    assert ann.da("sync").startswith(
        "You can't read any table yet; to request access, run: da request SOURCE.TABLE --reason WHY\n"
    )
    admin.da("admin", "grant", "ann@example.com", "shop.orders")
    assert "already" in admin.da("admin", "grant", "ann@example.com", "shop.orders")
    assert ann.da("sync").startswith("Updated shop.orders: 1 file, ")
    assert "there is no table 'customers'" in ann.da("query", "from customers", code=1)
    admin.da("admin", "grant", "ann@example.com", "shop.*")
    assert ann.da("sync").startswith("Updated shop.customers: 1 file, ")
    admin.da("admin", "revoke", "ann@example.com", "shop.*")
    assert ann.da("sync").startswith("Removed shop.customers; 1 table unchanged.")
    admin.da("admin", "revoke", "ann@example.com", "shop.orders")
    ann.da("sync")
    assert list((ann.home / "work/server/parquet").rglob("*.parquet")) == []
    assert "there is no such grant" in admin.da("admin", "revoke", "ann@example.com", "shop.orders", code=1)


def test_an_analyst_may_not_use_administration_commands(ann: Laptop) -> None:
    for arguments in (["list-users"], ["list-tables"], ["sync"], ["rebuild"], ["grant", "ann@example.com", "shop.*"]):
        ann.da("admin", *arguments, code=1)


def test_only_the_changed_table_is_fetched_again(admin: Laptop, tmp_path: Path) -> None:
    admin.da("sync")
    (tmp_path / "files/orders.csv").write_text("Order ID,total\n1,1.50\n2,2.50\n3,3.00\n")
    printed = admin.da("admin", "sync", "shop")
    assert "shop.orders: ok, 3 rows" in printed
    assert "Profiles of the changed tables follow in the background" in printed
    assert "Profiles" not in admin.da("admin", "sync", "shop")
    assert "behind: 1 table to fetch" in admin.da("status", code=3)
    assert admin.da("sync").startswith("Updated shop.orders: 1 file, ")
    assert admin.rows("select count(*) from orders") == [(3,)]


def test_unmet_expectations_are_shown_by_a_sync(admin: Laptop, tmp_path: Path) -> None:
    admin.da("sync")
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps([{"kind": "row_count", "max": 2}]))
    admin.da("admin", "expect", "shop.orders", str(expected))
    (tmp_path / "files/orders.csv").write_text("Order ID,total\n1,1.50\n2,2.50\n3,3.00\n")
    notice = "expectations are not met: row_count: there are 3 rows, and at most 2 are expected"
    assert notice in admin.da("admin", "sync", "shop")
    assert f"shop.orders: {notice}" in admin.da("sync")
    assert f"shop.orders: {notice}" in json.loads(admin.da("sync", "--json"))["notes"]
    (tmp_path / "files/orders.csv").write_text("Order ID,total\n1,1.50\n")
    admin.da("admin", "sync", "shop")
    assert "expectations" not in admin.da("sync")


def test_a_broken_file_fails_only_its_table(admin: Laptop, tmp_path: Path) -> None:
    admin.da("sync")
    (tmp_path / "files/orders.csv").write_text('Order ID,total\n1,"1.50\n')
    (tmp_path / "files/customers.csv").write_text("id,name\n1,Ann\n2,Bob\n")
    printed = admin.da("admin", "sync", "shop", code=1)
    assert "shop.customers: ok, 2 rows" in printed
    assert "shop.orders: failed: " in printed
    assert admin.da("sync").startswith("Updated shop.customers: 1 file, ")
    assert admin.rows("select count(*) from orders") == [(2,)]


def test_server_only_tables_are_listed(admin: Laptop, tmp_path: Path) -> None:
    (tmp_path / "files/salaries.csv").write_text("id,salary\n1,1000\n")
    admin.da("admin", "register-table", "shop.salaries", "--server-only")
    admin.da("admin", "sync", "shop")
    assert "1 table can only be queried on the server." in admin.da("sync")
    assert "salaries (shop.salaries) is not mirrored" in admin.da("query", "from salaries", "--scope", "local", code=1)
    assert "1000" in admin.da("query", "from salaries")
    assert "salaries (shop.salaries): server only, 1 row, " in admin.da("tables", "salaries")
    assert not (admin.home / "work/server/parquet/shop/salaries").exists()


def test_the_registry_and_the_users_are_listed(admin: Laptop, ann: Laptop) -> None:
    assert ann
    assert [line.split()[0] for line in admin.da("admin", "list-users").splitlines()[2:]] == [
        "ann@example.com",
        "eve@example.com",
    ]
    assert [line.split()[:3] for line in admin.da("admin", "list-tables").splitlines()[2:]] == [
        ["shop.customers", "local", "granted"],
        ["shop.orders", "local", "granted"],
    ]
    admin.da("admin", "set-schedule", "shop", "never")
    assert "shop    csv   never     path=" in admin.da("admin", "list-sources")
    assert admin.da("admin", "schedule", "--start") == "Started the job 'freshness'.\nStarted a sweep.\n"
    assert [line.split()[:2] for line in admin.da("admin", "schedule").splitlines()[2:]] == [
        ["shop", "never"],
        ["shop.customers", "never"],
        ["shop.orders", "never"],
        ["(freshness)", "every"],
        ["(sweep)", "daily"],
    ]
    assert "Snapshot" in admin.da("admin", "rebuild")


OBJECTIONS = {
    "there is no user": ["grant", "nobody@example.com", "shop.orders"],
    "shop.nothing": ["grant", "eve@example.com", "shop.nothing"],
    "shop": ["add-source", "shop", "--path", "/tmp"],
    "name": ["add-source", "Odd Name", "--path", "/tmp"],
    "delimiter": ["add-source", "other", "--path", "/tmp", "--option", "delimiter=abcde"],
    "email": ["add-user", "no-address"],
    "eve@example.com": ["add-user", "eve@example.com"],
    "nothing": ["sync", "nothing"],
    "source": ["register-table", "nothing.orders"],
    "write every 15m": ["set-schedule", "shop", "hourly"],
    "no time zone 'Prague'": ["set-schedule", "shop.orders", "daily", "05:00", "Prague"],
}


def test_errors_of_the_server_are_printed_as_a_sentence(admin: Laptop) -> None:
    for message, arguments in OBJECTIONS.items():
        printed = admin.da("admin", *arguments, code=1)
        assert printed.startswith("da: ")
        assert message in printed
        assert "internal" not in printed
        assert len(printed.splitlines()) == 1
