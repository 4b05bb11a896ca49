"""Every command's `--json` has the shape that its schema in shared/da/schemas documents."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

import da
from da.app import app
from tests.processes import BOOTSTRAP_SECRET, host

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud
    from tests.integration.da.conftest import Da

jsonschema = pytest.importorskip("jsonschema")

SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (Path(da.__file__).parent / "schemas").glob("*.json")}
FORMER = {"auth.login", "auth.logout", "admin.add-user", "admin.list-users", "admin.grant", "admin.revoke"}
FORMER |= {"admin.add-source", "admin.list-sources", "admin.register-table", "admin.list-tables"}
OPENMETADATA = {"admin.openmetadata.import", "admin.openmetadata.export"}
"""Commands that need OpenMetadata."""
TASKS = {"admin.tasks.drop", "admin.tasks.retry"}
"""In test_admin_tasks.py."""
CHATS = {"admin.telegram", "notifications.test", "push"}
"""In test_notifications.py and test_push.py."""
SCRIPTS = {f"scripts.{name}" for name in ("push", "list", "show", "run", "logs", "pause", "resume", "delete")}
"""In test_scripts.py."""
MEMORY = {"memory.list", "memory.show", "memory.propose", "memory.vote"}
MEMORY |= {"admin.memory.review", "admin.memory.merge", "admin.memory.collect"}
"""In test_memory.py."""
BACKUPS = {"admin.backup", "admin.restore", "admin.leak-check"}
"""In test_admin_backup.py and test_leak_check.py."""
JIRA = {"admin.jira.backfill", "admin.jira.check", "admin.jira.refresh", "admin.jira.replay", "admin.jira.status"}
"""Commands that need Jira."""


def commands(command: Any, context: Any, *path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield ".".join(path), command
        return
    for name in command.list_commands(context):
        yield from commands(command.get_command(context, name), context, *path, name)


ROOT = typer.main.get_command(app)
ALL = dict(commands(ROOT, ROOT.make_context("da", [], resilient_parsing=True)))


def test_every_command_with_json_has_a_schema_and_no_schema_is_unused() -> None:
    speaking = {name for name, command in ALL.items() if any("--json" in each.opts for each in command.params)}
    assert set(ALL) - speaking == {"help"}
    assert speaking - FORMER == set(SCHEMAS)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_is_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["title"] == f"da {name.replace('.', ' ')} --json"
    assert set(SCHEMAS[name]) & {"type", "$ref", "anyOf", "oneOf", "allOf"}


class Checked:
    """Runs commands with `--json` and holds what they print against their schemas."""

    def __init__(self, run: "Da") -> None:
        self.run = run
        self.checked = set[str]()

    def __call__(self, name: str, *arguments: str, code: int = 0) -> Any:
        ran = self.run(*name.split("."), *arguments, "--json")
        assert ran.code == code, (name, arguments, ran)
        document = json.loads(ran.out)
        jsonschema.Draft202012Validator(SCHEMAS[name]).validate(document)
        self.checked.add(name)
        return document


@pytest.mark.long
@pytest.mark.server
@pytest.mark.slow
def test_the_output_of_commands_matches_their_schemas(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "orders.csv").write_text("id,total\n1,1.5\n2,2.5\n")
    (files / "customers.csv").write_text("id,name\n1,Ann\n")
    old = tmp_path / "old"
    (old / "src_data/parquet").mkdir(parents=True)
    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    monkeypatch.chdir(tmp_path)
    with host(tmp_path, cloud, ACCESS_MAX_AGE="0", fork=True) as server:
        eve = Checked(da)
        eve("login", "--server", server.url, "--bootstrap", "eve@example.com")
        _sources(eve, files)
        (tmp_path / "expected.json").write_text('[{"kind": "unique", "columns": ["id"]}]')
        _own_data(eve, tmp_path / "expected.json")
        _people(eve)
        _notifications(eve)
        eve("mcp")
        (tmp_path / "questions").mkdir()
        (tmp_path / "questions/a.yml").write_text("- question: One?\n  sql: select 1\n  expected: 1\n")
        eve("test", str(tmp_path / "questions"))
        eve("diff", "--since", "1")
        eve("mirror")
        eve("scripts.new")
        eve("share.list")
        eve("init", str(tmp_path / "agents"))
        eve("update")
        eve("skills.list")
        eve("skills.show", "explore-data")
        eve("skills.install", "explore-data")
        eve("share.profile", "-o", str(tmp_path / "x.share"))
        requester = eve("admin.tokens.create", "ann@example.com", "agent")
        with monkeypatch.context() as ann:
            ann.setenv("DA_TOKEN", requester["token"])
            eve("request", "shop.orders", "--reason", "why")
            eve("request", "shop.customers", "--reason", "why")
            eve("requests")
        eve("admin.tokens.revoke", requester["id"])
        first, second = eve("admin.requests.list")
        eve("admin.requests.approve", first["id"])
        eve("admin.requests.deny", second["id"])
        _server(eve, tmp_path)
        _materialized(eve)
        eve("admin.tables.remove", "shop.extra", "--yes")
        eve("admin.sources.remove", "shop", "--dry-run")
        eve("admin.sources.remove", "shop", "--yes")
        eve("admin.import", "--from", str(old), "--dry-run")
        eve("logout")
        eve("logout")
        eve("diagnose", code=1)
    assert set(SCHEMAS) - eve.checked == JIRA | OPENMETADATA | TASKS | CHATS | MEMORY | SCRIPTS | BACKUPS | {"setup"}


@pytest.mark.server
@pytest.mark.slow
def test_the_output_of_jira_commands_matches_their_schemas(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.doubles.jira.server import serving
    from tests.doubles.jira.service import TOKEN
    from tests.integration.jira.conftest import settings_for

    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    with serving() as service:
        settings: dict[str, Any] = settings_for(service, tmp_path)
        with host(tmp_path, cloud, **settings, fork=True) as server:
            eve = Checked(da)
            eve("login", "--server", server.url, "--bootstrap", "eve@example.com")
            assert da("admin", "jira", "status", "--json").err == (
                "da: there is no source 'jira'; to add it, run: da admin sources add jira --type jira\n"
            )
            key = service.instance.create().key
            eve("admin.sources.add", "jira", "--type", "jira")
            eve("admin.jira.status")
            assert eve("admin.jira.backfill", "--dry-run")["found"] == 1
            assert eve("admin.jira.backfill")["counts"]["fetched"] == 1
            eve("admin.jira.backfill", "--since", "2h")
            service.instance.clock += 3_600_000
            assert eve("admin.jira.check")["jira"] == 1
            eve("admin.jira.check", "--no-repair")
            assert eve("admin.jira.refresh", key)["counts"]["fetched"] == 1
            eve("admin.jira.refresh", "--all")
            eve("admin.jira.replay", "--since", "1d")
            assert eve("admin.jira.status")["check"]["jira"] == 1
            service.accounts.pop(TOKEN)
            refused = da("admin", "jira", "refresh", key, "--json")
            assert (refused.code, refused.out) == (1, "")
            assert "JIRA_API_TOKEN" in refused.err
    assert eve.checked & JIRA == JIRA


def _sources(eve: Checked, files: Path) -> None:
    eve("admin.sources.add", "shop", "--path", str(files), "--sync-schedule", "every 6h", "-o", "delimiter=,")
    eve("admin.sources.list")
    eve("admin.sources.preview", "shop")
    eve("admin.sources.test", "shop")
    eve("admin.discover", "shop")
    eve("admin.discover", "shop", "--register", "--dry-run")
    eve("admin.sources.update", "shop", "-o", "nullstr=NA", "--dry-run")
    eve("admin.sources.update", "shop", "-o", "nullstr=NA")
    assert eve("admin.sync")["runs"][0]["tables"][0]["rows"] in (1, 2)
    eve("admin.sync", "shop.orders", "--no-wait")
    eve("admin.runs")
    eve("admin.rebuild")
    eve("admin.sources.show", "shop")
    eve("admin.tables.list")
    eve("admin.tables.show", "shop.orders")
    eve("admin.tables.update", "shop.orders", "--description", "One row per order")
    eve("admin.tables.add", "shop.extra", "--description", "x", "--primary-key", "id")
    eve("admin.set-schedule", "shop", "every", "12h")
    eve("admin.set-schedule", "shop.orders", "never")
    eve("admin.schedule")
    eve("admin.tasks.list")
    eve("admin.schedule", "--start")


def _materialized(eve: Checked) -> None:
    eve("admin.materialized.add", "marts.total", "select sum(total) as total from shop.orders", "--no-run")
    eve("admin.materialized.update", "marts.total", "--description", "All orders")
    assert eve("admin.materialized.list")[0]["options"]["inputs"] == ["shop.orders"]
    eve("admin.materialized.show", "marts.total")
    assert eve("admin.materialized.run")["runs"][0]["tables"][0]["rows"] == 1
    eve("admin.materialized.run", "marts.total", "--no-wait")
    eve("admin.materialized.remove", "marts.total", "--dry-run")
    eve("admin.materialized.remove", "marts.total", "--yes")


def _own_data(eve: Checked, expected: Path) -> None:
    eve("status", code=3)
    eve("sync", "--dry-run")
    assert eve("sync")["updated"] == ["shop.customers", "shop.orders"]
    eve("sync")
    eve("status")
    eve("tables")
    eve("tables", "shop.orders")
    eve("explore", "shop.orders")
    eve("query", "from orders", "--receipt", "receipt.json")
    assert eve("verify", "receipt.json")["verdict"] == "equal"
    assert eve("verify", "receipt.json", "--offline")["verdict"] == "equal"
    eve("tables", "--snapshots")
    eve("snapshot.create", "large", "--sql", "from shop.orders where total > 2")
    assert [each["rows"] for each in eve("snapshot.list")] == [1]
    assert eve("tables")[-1]["where"] == "snapshot"
    eve("tables", "large")
    eve("snapshot.refresh", "large")
    eve("snapshot.drop", "large", "--yes")
    assert eve("query", "from shop.orders") == [{"id": 1, "total": 1.5}, {"id": 2, "total": 2.5}]
    eve("metrics")
    eve("admin.openmetadata.status")
    eve("admin.expect", "shop.orders", str(expected))
    eve("expectations", "shop.orders")
    eve("catalog")
    eve("catalog", "orders")
    eve("lineage", "orders")
    eve("lineage")
    eve("admin.glossary.set", "turnover", "--definition", "What is sold", "--link", "shop.orders.total")
    eve("glossary")
    eve("glossary", "turnover")
    eve("admin.glossary.remove", "turnover")
    eve("admin.describe", "shop.orders", "--tier", "gold", "--column", "total=With VAT")
    eve("feedback", "shop.orders", "The total is wrong")
    eve("feedback")
    eve("profile", "shop.orders")
    eve("profile", "shop.orders", "--refresh")
    eve("diagnose")
    eve("open")
    eve("config.show")
    eve("config.set", "workspace", "x")
    eve("config.set", "workspace")
    eve("auth.whoami")
    made = eve("auth.tokens.create", "laptop")
    eve("auth.tokens.list")
    eve("auth.tokens.revoke", made["id"])
    eve("sample-data", "--size", "xs")


def _notifications(eve: Checked) -> None:
    eve("notifications.list")
    eve("notifications.read")
    eve("notifications.settings")
    eve("notifications.settings", "table_failed", "page")
    eve("notifications.watch", "shop.orders")
    eve("notifications.link", "slack", "https://hooks.slack.com/services/T000/B000/XXXX")
    eve("notifications.unlink", "slack")
    eve("notifications.unlink", "telegram")


def _people(eve: Checked) -> None:
    eve("admin.users.add", "ann@example.com")
    eve("admin.users.add", "bob@example.com", "--invite")
    eve("admin.users.list")
    eve("admin.users.invite", "bob@example.com", "--no-mail")
    eve("admin.users.set-role", "bob@example.com", "viewer")
    eve("admin.users.rename", "bob@example.com", "Bob")
    eve("admin.users.deactivate", "bob@example.com")
    eve("admin.users.activate", "bob@example.com")
    eve("admin.users.sign-out", "bob@example.com")
    eve("admin.users.release", "bob@example.com", "--yes")
    eve("admin.groups.add", "sales")
    eve("admin.groups.join", "sales", "bob@example.com")
    eve("admin.groups.list")
    eve("admin.grants.add", "sales", "shop.*", "--group")
    eve("admin.grants.add", "bob@example.com", "shop.orders")
    eve("admin.grants.list")
    eve("admin.access")
    eve("admin.access", "--user", "bob@example.com", "--table", "shop.orders")
    eve("admin.grants.remove", "bob@example.com", "shop.orders")
    eve("admin.groups.leave", "sales", "bob@example.com")
    eve("admin.groups.remove", "sales", "--yes")
    eve("admin.users.remove", "bob@example.com", "--yes")
    eve("admin.tokens.list")


def _server(eve: Checked, folder: Path) -> None:
    (folder / "instance.yaml").write_text("instance:\n  name: x\nnope: 1\n")
    eve("admin.config.check")
    eve("admin.config.check", str(folder / "instance.yaml"))
    eve("admin.config.apply")
    eve("admin.rollback", "1", "--dry-run")
    eve("admin.rollback", "1")
    eve("admin.release")
    eve("admin.sweep", "--dry-run")
    eve("admin.sweep")
    assert eve("admin.audit", "--limit", "5", "--since", "1h")
