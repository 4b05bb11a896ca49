"""An older system is imported with `da`: once and completely, and an interrupted import is resumed."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from da.config import Login
from da.imports.folder import read_folder
from da.imports.report import Report
from da.imports.transfer import Importing
from da.main import execute
from da.progress import bar
from da.server import Backoff, Server
from da.web import Web
from tests.processes import Host, da, served
from tests.unit.state import legacy

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from analyst.store import Store
    from tests.integration.world import Begun, World

pytestmark = [pytest.mark.server, pytest.mark.slow]

REGISTRY = """
insert into table_registry (id, name, source_type, bucket, description, primary_key, sync_strategy, is_public, registered_at)
values
    ('orders', 'Orders', 'keboola', 'in.c-main', 'All orders', 'id', 'incremental', false, '2025-01-01'),
    ('salaries', 'salaries', 'keboola', 'in.c-hr', null, null, 'full_refresh', false, '2025-01-02'),
    ('files', 'files', 'local', null, null, null, 'full_refresh', false, '2025-01-03');
insert into dataset_permissions values ('u-bob', 'orders', 'read'), ('u-bob', 'issues', 'read');
"""
V3 = (legacy.V2, legacy.V3, legacy.PEOPLE, REGISTRY)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of an older system, as a killed process left it."""
    root = tmp_path / "old"
    (root / "state").mkdir(parents=True)
    legacy.make_unclosed(root / "state/system.duckdb", *V3)
    put(root / "extracts/keboola/data/Orders.parquet", 'select range as id, range * 1.5 as "Total" from range(1000)')
    put(root / "extracts/keboola/data/salaries.parquet", "select 'Ann' as name, 1000 as salary")
    put(root / "extracts/jira/data/issues/2025-01.parquet", "select 1 as id")
    put(root / "extracts/jira/data/issues/2025-02.parquet", "select 2 as id, 'x' as title")
    put(root / "src_data/parquet/misc/files.parquet", "select 'old' as t")
    return root


def put(path: Path, query: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.execute(f"copy ({query}) to '{path}' (format parquet)")


@pytest.fixture
def world(begun: "Begun", tmp_path: Path, at_once: None) -> "World":  # noqa: ARG001
    return begun.world(tmp_path, base_url="")


@pytest.fixture
def server(world: "World") -> Iterator[Host]:
    """All functions behind a server on loopback."""
    with served(world.app) as running:
        yield running
    world.process.background.close()


@pytest.fixture
def admin(world: "World") -> str:
    return world.admin


Move = Callable[..., dict[str, Any]]


@pytest.fixture
def move(
    server: Host, admin: str, old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Move:
    """Run `da admin import`, which is to end with this code; return its report."""
    monkeypatch.setenv("DA_SERVER", server.url)
    monkeypatch.setenv("DA_CONFIG_DIR", str(old.parent / "config"))

    def run(*arguments: str, code: int = 0, token: str = admin) -> dict[str, Any]:
        monkeypatch.setenv("DA_TOKEN", token)
        capsys.readouterr()
        ended = execute(["admin", "import", "--from", str(old), "--json", *arguments])
        printed = capsys.readouterr()
        assert ended == code, printed
        return dict(json.loads(printed.out)) if printed.out else {"error": printed.err}

    return run


def token_of(server: Host, admin: str, email: str) -> str:
    status, made = server.ask("POST", "/auth/tokens", {"name": "laptop", "user": email}, token=admin)
    assert status == 201, made
    return str(made["token"])


def versions(store: "Store") -> dict[str, str]:
    """Return all that is in the bucket, but for records of what was asked for."""
    passing = ("state/runs", "state/audit", "state/token-uses", "locks")
    return {entry.key: entry.version for entry in store.list("") if not entry.key.startswith(passing)}


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {table["id"]: table["status"] for table in report["tables"]}


TABLES = ("jira.issues", "keboola.orders", "keboola.salaries", "local.files")


def test_an_older_system_is_imported_with_its_rights_and_data(
    server: Host, admin: str, move: Move, old: Path, store: "Store"
) -> None:
    lying = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    _, zoe = server.user(admin, "zoe@example.com")
    before = versions(store)
    assert "requires the role admin" in move(code=1, token=zoe)["error"]
    dry = move("--dry-run")
    assert versions(store) == before
    report = move()
    assert (dry["dry_run"], dry["taken"], dry["left"]) == (True, report["taken"], report["left"])
    assert statuses(dry) == dict.fromkeys(TABLES, "wanted")
    assert statuses(report) == dict.fromkeys(TABLES, "published")
    assert (report["version"], report["taken"]["user"], report["taken"]["grant"]) == (3, 3, 2)

    bob, token = old.parent / "bob", token_of(server, admin, "bob@example.com")
    assert da(bob, "sync", server=server, token=token).stdout.startswith("Updated jira.issues, keboola.orders: ")
    asked = "select count(*) as orders, sum(total) as total, (select max(title) from issues) as issue from orders"
    assert da(bob, "query", asked, "-f", "csv", server=server, token=token).stdout == (
        "orders,total,issue\n1000,749250.0,x\n"
    )
    assert da(bob, "query", "from salaries", server=server, token=token, check=False).returncode == 1
    assert server.ask("GET", "/api/sync/manifest", token=zoe)[1]["tables"] == {}
    assert server.ask("GET", "/api/catalog/tables/keboola.orders", token=zoe)[0] == 404

    moved = versions(store)
    assert not any(name.startswith("uploads/") for name in moved)
    lines = da(bob, "admin", "import", "--from", str(old), server=server, token=admin).stdout.splitlines()
    assert versions(store) == moved
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == lying
    assert lines[0] == "Imported nothing new."
    assert lines[2].startswith("Already published: the files of 4 tables: 1,004 rows, ")
    assert "  user BOB@example.com: it is a different spelling of bob@example.com, which is imported" in lines
    assert lines[-1] == "Published in snapshot 1."


def test_a_system_of_files_alone_is_imported(move: Move, old: Path) -> None:
    for path in (old / "state").iterdir():
        path.unlink()
    text = "```yaml\n- {id: in.c-main.orders, name: Orders, description: Described}\n- {id: in.c-main.gone}\n```\n"
    (old / "data_description.md").write_text(text)
    report = move()
    expected = sorted({*TABLES, "external.files"} - {"local.files"})
    assert statuses(report) == dict.fromkeys(expected, "published")
    reasons = {left["name"]: left["reason"] for left in report["left"]}
    assert reasons == {"in.c-main.gone": "it is neither in the registry nor in any folder"}
    assert (report["version"], report["public_tables"]) == (0, [])


def test_damaged_files_are_reported(move: Move, old: Path, store: "Store") -> None:
    state, salaries = old / "state/system.duckdb", old / "extracts/keboola/data/salaries.parquet"
    whole, before = state.read_bytes(), versions(store)
    state.write_bytes(b"no database")
    assert "as a DuckDB database" in move(code=1)["error"]
    assert versions(store) == before

    state.write_bytes(whole)
    salaries.write_bytes(b"PAR1 and no more")
    report = move()
    assert statuses(report) == dict.fromkeys((name for name in TABLES if "salaries" not in name), "published")
    reasons = {left["name"]: left["reason"] for left in report["left"]}
    assert reasons["extracts/keboola/data/salaries.parquet"].startswith("can't be read as parquet")

    put(salaries, 'select 1 as "a b", 2 as "a-b"')
    report = move(code=1)
    assert statuses(report) == {**dict.fromkeys(TABLES, "there"), "keboola.salaries": "failed"}
    (error,) = [table["error"] for table in report["tables"] if table["error"]]
    assert "would both be called 'a_b'" in error


def test_imported_files_are_replaced_by_newer_ones_and_by_an_extract(
    server: Host, admin: str, move: Move, old: Path, tmp_path: Path
) -> None:
    move()
    put(old / "extracts/jira/data/issues/2025-03.parquet", "select 3 as id, 'y' as title")
    assert statuses(move()) == {**dict.fromkeys(TABLES, "there"), "jira.issues": "published"}

    (tmp_path / "sources/files.csv").write_text("t\nnew\n")
    config = {"config": {"path": str(tmp_path / "sources")}}
    assert server.ask("PUT", "/api/admin/sources/local", config, token=admin)[0] == 200
    mirror = tmp_path / "mirror"
    da(mirror, "admin", "sync", "local", server=server, token=admin)
    put(old / "src_data/parquet/misc/files.parquet", "select 'newer, and late' as t")
    assert statuses(move())["local.files"] == "extracted"
    da(mirror, "sync", server=server, token=admin)
    asked = "select count(*) as n, (select max(t) from files) as t from issues"
    assert da(mirror, "query", asked, "-f", "csv", server=server, token=admin).stdout == "n,t\n3,new\n"


class Failing(Server):
    """A server whose line breaks for good after so many parts; `sent` counts them."""

    def __init__(self, login: Login, web: Web, parts: int) -> None:
        super().__init__(login, web, Backoff(attempts=1))
        self.parts = parts
        self.sent = 0
        self.turn = threading.Lock()

    def put_bytes(self, path: str, data: bytes) -> None:
        with self.turn:
            if self.sent == self.parts:
                raise KeyboardInterrupt
            self.sent += 1
        super().put_bytes(path, data)


def test_an_interrupted_import_resumes(server: Host, admin: str, old: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(parts: int) -> tuple[int, Report | None]:
        with Web() as web:
            line = Failing(Login(server.url, admin), web, parts)
            importing = Importing(line, bar(wanted=False), part_bytes=1000)
            try:
                report = importing.run(read_folder(old, scratch))
            except KeyboardInterrupt:
                report = None
            return line.sent, report

    sent = []
    for parts in (1, 3, 1):
        done, report = run(parts)
        sent.append(done)
        assert report is None
        assert server.ask("GET", "/api/sync/manifest", token=admin)[1]["tables"] == {}
    last, report = run(1000)
    assert report is not None
    found = {table.id: table.status for table in report.tables}
    assert (found, report.exit_code) == ({**dict.fromkeys(TABLES, "published"), "jira.issues": "there"}, 0)
    total = sum(-(-path.stat().st_size // 1000) for path in old.rglob("*.parquet"))
    assert sum(sent) + last == total
