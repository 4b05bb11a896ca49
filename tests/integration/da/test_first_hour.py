"""Mistakes of the first hour with `da`: each message says what failed, why, and what to do."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from da.config import Config
from da.main import execute
from da.mirror.workspace import Workspace
from tests.doubles.functions_api import TOKEN, FunctionsApi
from tests.doubles.loopback import http_server
from tests.integration.da.conftest import Da, Ran


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another web server, which knows nothing of ours."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"not found")

        do_POST = do_GET  # noqa: N815

    with http_server(Handler) as address:
        yield address


@pytest.mark.parametrize(
    ("role", "message"),
    [
        (
            "analyst",
            "You can't read any table yet; to request access, run: da request SOURCE.TABLE --reason WHY\nor have an administrator",
        ),
        ("admin", "There are no tables yet. To add a source, run: da admin sources add NAME --path FOLDER\n"),
    ],
)
def test_a_first_sync_without_tables_explains_how_to_get_some(
    api: FunctionsApi, logged_in: Da, role: str, message: str
) -> None:
    api.answers["GET", "/api/me"] = [(200, {"email": "ann@example.com", "role": role})]
    ran = logged_in("sync")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(message)
    assert "Already up to date" not in ran.out
    assert (
        logged_in("tables").out
        == "You can't read any table yet; to request access, run: da request SOURCE.TABLE --reason WHY\n"
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("from ordrs", "there is no table 'ordrs' in the mirror; did you mean 'orders' or 'shop.orders'?"),
        ("from shop.ordrs", "there is no table 'shop.ordrs' in the mirror; did you mean 'shop.orders' or "),
        ("from shp.orders", "there is no table 'shp.orders' in the mirror; did you mean 'shop.orders'"),
        ("from shop.main.orders", "there is no table 'shop.main.orders' in the mirror; did you mean 'shop.orders'"),
        (
            "from xyzzy",
            "in the mirror\nTo list all tables, run: da tables\nTo request access to one that you can't read yet, run: da request",
        ),
        ("from connection", "there is no table 'connection' in the mirror\n"),
        ("from clicks", "clicks (events.clicks) is not mirrored; it can only be queried on the server."),
        ("from events.clicks", "clicks (events.clicks) is not mirrored; it can only be queried on the server."),
        ("create table x as select 1", "da query only reads. For tables of your own, open '"),
    ],
)
def test_for_an_unknown_table_the_nearest_is_suggested(
    shop: FunctionsApi, logged_in: Da, sql: str, message: str
) -> None:
    shop.declare("events.clicks", query_mode="remote")
    assert logged_in("sync").code == 0
    ran = logged_in("query", sql, "--scope", "local")
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err
    assert "pg_" not in ran.err + ran.out
    assert "Python" not in ran.err


@pytest.mark.parametrize("command", [["tables", "ordrs"], ["sync", "--table", "ordrs"]])
def test_commands_suggest_the_nearest_table(shop: FunctionsApi, logged_in: Da, command: list[str]) -> None:
    assert shop.tables
    assert logged_in("sync").code == 0
    assert "did you mean 'orders'" in logged_in(*command).err


def test_another_web_server_is_not_mistaken_for_ours(da: Da, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message = f"da: '{elsewhere}' is a web server, but not an AI Data Analyst server; check the address and its port\n"
    assert da("login", "--server", elsewhere, "--token", "x") == Ran(1, "", message)
    monkeypatch.setenv("DA_SERVER", elsewhere)
    monkeypatch.setenv("DA_TOKEN", "x")
    assert "it may not be an AI Data Analyst server: check its address" in da("sync").err
    assert "not an AI Data Analyst server" in da("diagnose").out


def test_a_path_where_nothing_is_served_is_named(da: Da, elsewhere: str) -> None:
    ran = da("login", "--server", f"{elsewhere}/data", "--token", TOKEN)
    assert ran.code == 1
    assert f"nothing is served at '{elsewhere}/data'" in ran.err
    assert f"try '{elsewhere}'" in ran.err


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost:8000", "it has no http:// or https://; did you mean http://localhost:8000?"),
        ("data.example.com", "it has no http:// or https://; did you mean https://data.example.com?"),
        ("http://[::1", "is not a valid server URL"),
        ("http://x:port", "is not a valid server URL"),
        ("ftp://x", "is not a valid server URL"),
        ("", "no server is configured"),
    ],
)
def test_an_invalid_address_is_explained(da: Da, address: str, message: str) -> None:
    ran = da("login", "--server", address, "--token", "x")
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


@pytest.mark.parametrize("variable", ["DA_TOKEN", "DA_TOKEN_FILE"])
def test_a_revoked_token_in_the_environment_is_reported(
    logged_in: Da, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "token").write_text("da_revoked")
    monkeypatch.setenv(variable, str(tmp_path / "token") if variable == "DA_TOKEN_FILE" else "da_revoked")
    ran = logged_in("sync")
    assert ran.code == 1
    assert f"does not accept the access token in {variable} (" in ran.err
    assert f"set a new one, or unset {variable} to use the login of da login" in ran.err


def test_a_server_with_broken_settings_is_explained(logged_in: Da, api: FunctionsApi) -> None:
    problem = {"code": "settings", "detail": "config/instance.yaml:3 email: is a section"}
    api.answers["GET", "/api/sync/manifest"] = [(500, problem)]
    api.answers["GET", "/api/me"] = [(500, problem)]
    ran = logged_in("auth", "whoami")
    assert ran.code == 1
    assert "can't work: its settings are invalid (config/instance.yaml:3 email: is a section)" in ran.err
    assert "an administrator finds them in its log" in ran.err


@pytest.mark.parametrize("content", ["{bad", "[" * 100_000, "\x00"])
def test_a_damaged_configuration_file_is_named(da: Da, config_dir: Path, content: str) -> None:
    config_dir.mkdir()
    (config_dir / "config.json").write_text(content)
    ran = da("sync")
    assert ran.err == f"da: can't read '{config_dir / 'config.json'}': it is not JSON; delete it and log in again\n"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in, without a fixed workspace."""
    monkeypatch.delenv("DA_LOCAL_DIR", raising=False)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    return tmp_path


def test_a_second_mirror_is_not_made_by_accident(
    shop: FunctionsApi, logged_in: Da, free: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.tables
    assert logged_in("sync").code == 0
    monkeypatch.chdir(free / "second")
    ran = logged_in("sync")
    assert ran.code == 1
    assert f"there is no mirror in '{free / 'second'}', but there is one in '{free / 'first'}'" in ran.err
    assert "run: da sync --here" in ran.err
    assert list((free / "second").iterdir()) == []
    for command in (["tables"], ["query", "from orders"]):
        assert f"yours is in '{free / 'first'}': change to that folder first" in logged_in(*command).err
    assert f"never synced: yours is in '{free / 'first'}': change to that folder first" in logged_in("status").out
    assert logged_in("sync", "--here").code == 0
    assert (free / "second/.da").is_dir()
    (free / "second/deep").mkdir()
    monkeypatch.chdir(free / "second/deep")
    assert logged_in("sync").code == 0
    assert list((free / "second/deep").iterdir()) == []


def test_a_configured_workspace_is_found_from_anywhere(
    shop: FunctionsApi, logged_in: Da, free: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.tables
    assert logged_in("config", "set", "workspace", str(free / "mirror")).code == 0
    assert logged_in("sync").code == 0
    assert (free / "mirror/.da").is_dir()
    monkeypatch.chdir(free / "second")
    assert "orders" in logged_in("tables").out
    shown = {each["name"]: each for each in json.loads(logged_in("config", "show", "--json").out)}
    assert shown["workspace"] == {"name": "workspace", "value": str(free / "mirror"), "origin": "config.json"}
    assert logged_in("config", "set", "workspace").out == "Removed the setting workspace.\n"
    assert Workspace.find().root == free / "second"


def test_settings_survive_a_login_and_a_login_survives_settings(logged_in: Da, api: FunctionsApi) -> None:
    assert logged_in("config", "set", "workspace", "/x").code == 0
    assert logged_in("login", "--server", api.address, "--token", TOKEN).code == 0
    assert Config.read().workspace == "/x"
    assert Config.read().login().token == TOKEN


def test_logging_out_mentions_a_token_that_is_still_set(logged_in: Da, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DA_TOKEN", "x")
    assert logged_in("logout").out == "Logged out. DA_TOKEN is still set, and da uses the token in it.\n"
    assert json.loads(logged_in("logout", "--json").out) == {"was_logged_in": False}


def test_a_page_is_opened_or_its_address_is_shown(logged_in: Da, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opens(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", opens)
    server = Config.read().server
    assert logged_in("open").out == f"Opened {server}/ in your browser.\n"
    assert opened == [f"{server}/"]
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    assert f"  {server}/" in logged_in("open").out


def run_of(*tables: dict[str, Any], **more: Any) -> tuple[int, dict[str, Any]]:
    started = {"started_at": "2026-03-27T12:00:00Z", "finished_at": None}
    return 200, {"runs": [{"run_id": "r1", "kind": "extract", "source": "shop", "tables": tables, **started, **more}]}


def test_tables_are_printed_while_a_sync_of_the_server_runs(api: FunctionsApi, logged_in: Da) -> None:
    orders = {"table": "orders", "status": "ok", "rows": 2, "size_bytes": 300, "ms": 1500}
    broken = {"table": "broken", "status": "failed", "error": "no such column"}
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    api.answers["GET", "/api/sync/status"] = [
        run_of(status="pending"),
        run_of(orders, status="pending", reading=["broken"], total=2),
        run_of(broken, orders, status="partial"),
    ]
    api.answers["POST", "/rebuild"] = [(200, {"status": "published", "snapshot": 2, "tables": 1, "problems": []})]
    ran = logged_in("admin", "sync")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "shop.orders: ok, 2 rows, 300 B, 1.5 s",
        "shop.broken: failed: no such column",
        "Snapshot 2: 1 table.",
    ]


@pytest.mark.slow
def test_ctrl_c_reports_what_continues_on_the_server(api: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    assert logged_in("tables").code == 1
    runs = [{"source": "shop", "run_id": "r1"}, {"source": "crm", "run_id": "r2"}]
    orders = {"table": "orders", "status": "ok", "rows": 2, "size_bytes": 300}
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": runs})]
    api.answers["GET", "/api/sync/status"] = [run_of(orders, status="pending")]
    with started(workspace, "admin", "sync") as syncing:
        assert syncing.stdout is not None
        assert syncing.stdout.readline() == "shop.orders: ok, 2 rows, 300 B\n"
        syncing.send_signal(signal.SIGINT)
        _, err = syncing.communicate(timeout=60)
        assert err == (
            "\nThe server continues to sync shop, crm and then publishes the data."
            " To see how it ended, run: da admin runs\nda: interrupted\n"
        )
        assert syncing.returncode == 130


def test_runs_are_listed_with_their_results(api: FunctionsApi, logged_in: Da) -> None:
    base = {"kind": "extract", "source": "shop", "started_at": "2026-03-27T12:00:00Z"}
    ended = {"finished_at": "2026-03-27T12:01:30Z"}
    api.answers["GET", "/api/sync/status"] = [
        (
            200,
            {
                "runs": [
                    {**base, "status": "pending", "tables": [], "reading": ["orders"], "total": 3},
                    {**base, **ended, "status": "failed", "error": "the folder is gone"},
                    {**base, **ended, "status": "partial", "tables": [{"table": "a", "error": "bad"}, {"table": "b"}]},
                    {**base, **ended, "status": "ok", "kind": "rebuild", "source": None, "snapshot": 7},
                    {**base, **ended, "status": "ok", "kind": "job", "job": "fold", "counts": {"events": 3}},
                ]
            },
        )
    ]
    _, _, *lines = logged_in("admin", "runs").out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "2026-03-27 13:00 CET shop sync pending 0 of 3 tables, reading orders",
        "2026-03-27 13:00 CET shop sync failed 1 min 30 s the folder is gone",
        "2026-03-27 13:00 CET shop sync partial 1 min 30 s a: bad",
        "2026-03-27 13:00 CET all rebuild ok 1 min 30 s snapshot 7",
        "2026-03-27 13:00 CET shop fold ok 1 min 30 s 3 events",
    ]


def test_the_audit_is_read_page_by_page(api: FunctionsApi, logged_in: Da) -> None:
    event = {"id": "e", "at": "2026-03-27T12:00:00Z", "action": "grant.add", "outcome": "ok", "email": "eve@x.com"}
    api.answers["GET", "/api/admin/audit"] = [
        (200, {"events": [{**event, "resources": ["table:shop.orders"]}], "next": "1:a"}),
        (200, {"events": [], "next": "2:b"}),
        (200, {"events": [{**event, "count": 3}], "next": None}),
    ]
    ran = logged_in("admin", "audit", "--since", "2h")
    assert [" ".join(line.split()) for line in ran.out.splitlines()[2:]] == [
        "2026-03-27 13:00 CET eve@x.com grant.add ok table:shop.orders",
        "2026-03-27 13:00 CET eve@x.com grant.add ok (3 times)",
    ]
    assert ran.err == ""


def started(workspace: Workspace, *arguments: str) -> "subprocess.Popen[str]":
    environ = {**os.environ, "DA_LOCAL_DIR": str(workspace.root), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "da", *arguments]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_watching_prints_each_change_and_outlasts_failures(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    assert logged_in("tables").code == 1
    with started(workspace, "sync", "--watch", "--every", "1") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "Updated shop.customers, shop.orders: " in watching.stdout.readline()
        assert watching.stderr.readline().startswith("Watching http://127.0.0.1:")
        tokens = dict(shop.tokens)
        shop.tokens.clear()
        assert "da: the token is not known" in watching.stderr.readline()
        shop.tokens.update(tokens)
        shop.put("shop.orders", "select 7 as id")
        assert "Updated shop.orders: 1 file, " in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.stderr.read() == "da: interrupted\n"
        assert watching.wait(60) == 130


@pytest.mark.slow
def test_watching_with_json_prints_a_line_per_sync(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    assert shop.tables
    assert logged_in("tables").code == 1
    with started(workspace, "sync", "--watch", "--every", "1", "--json") as watching:
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        assert (len(first["updated"]), first["readable"], second["updated"]) == (2, 2, [])
        watching.send_signal(signal.SIGINT)
        watching.communicate()
        assert watching.returncode == 130


def test_python_m_da_is_da() -> None:
    assert execute(["--version"]) == 0
