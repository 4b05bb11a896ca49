"""The official Delta Sharing client against a running server: tables, both formats, limits, versions and changes."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, Host, host

PYTHON = ROOT / ".venv-sharing/bin/python"


@dataclass(frozen=True, slots=True)
class Shared:
    """A server with two versions of a table, and a profile of an analyst who may read it."""

    server: Host
    profile: Path

    def ask(self, table: str, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
        if not PYTHON.exists():
            pytest.skip(".venv-sharing is not there; make e2e makes it")
        script = Path(__file__).with_name("client.py")
        ran = subprocess.run(
            [PYTHON, script, self.profile, table],
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        answers: list[Any] = json.loads(ran.stdout.splitlines()[-1])
        return answers


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    files = folder / "files"
    files.mkdir()
    (files / "orders.csv").write_text("id,total,day\n1,1.5,2024-01-01\n2,2.5,2024-01-02\n")
    (files / "times.csv").write_text("id,at,name\n1,2024-01-01 10:00:00,č\n2,,\n")
    (files / "secrets.csv").write_text("id\n1\n")
    with host(folder, PROFILE_AFTER_SYNC="false") as server:
        admin = server.bootstrap()
        server.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(files)}}, token=admin)
        server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)
        (files / "orders.csv").write_text("id,total,day\n1,1.5,2024-01-01\n2,9.5,2024-01-02\n3,3.5,2024-01-03\n")
        server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)
        server.ask("POST", "/api/users", {"email": "partner@example.com", "role": "analyst"}, token=admin)
        for table in ("shop.orders", "shop.times"):
            server.ask("POST", "/api/admin/permissions", {"user": "partner@example.com", "table": table}, token=admin)
        new = {"name": "sharing", "user": "partner@example.com", "scopes": ["sync"], "expires_in_days": 7}
        status, token = server.ask("POST", "/auth/tokens", new, token=admin)
        assert status == 201, token
        document = {
            "shareCredentialsVersion": 1,
            "endpoint": f"{server.url}/delta-sharing/",
            "bearerToken": token["token"],
        }
        (folder / "profile.share").write_text(json.dumps(document))
        yield Shared(server, folder / "profile.share")


@pytest.mark.parametrize("delta", [False, True, None], ids=["parquet", "delta", "auto"])
def test_the_client_reads_what_is_shared(shared: Shared, delta: bool | None) -> None:
    more = {} if delta is None else {"use_delta_format": delta}
    tables, newest, schema, rows, limited, then, changes = shared.ask(
        "data.shop.orders",
        ("tables", {}),
        ("version", {}),
        ("metadata", {}),
        ("pandas", more),
        ("pandas", {"limit": 2, **more}),
        ("pandas", {"version": 1, **more}),
        ("changes", {"starting_version": 2}),
    )
    assert tables == ["data.shop.orders", "data.shop.times"]
    assert newest == 2
    assert [field["type"] for field in schema["fields"]] == ["long", "double", "date"]
    assert [(row["id"], row["total"]) for row in rows] == [(1, 1.5), (2, 9.5), (3, 3.5)]
    assert len(limited) == 2
    assert [(row["id"], row["total"]) for row in then] == [(1, 1.5), (2, 2.5)]
    assert sorted((row["id"], row["total"], row["_change_type"]) for row in changes) == [
        (1, 1.5, "delete"), (1, 1.5, "insert"), (2, 2.5, "delete"), (2, 9.5, "insert"), (3, 3.5, "insert"),
    ]  # fmt: skip


def test_times_without_a_zone_are_read_in_both_formats(shared: Shared) -> None:
    for more in ({}, {"use_delta_format": True}, {"use_delta_format": False}):
        [rows] = shared.ask("data.shop.times", ("pandas", more))
        assert rows[0]["at"].startswith("2024-01-01T10:00:00"), rows
        assert (rows[0]["name"], rows[1]["at"]) == ("č", None)


def test_tables_without_a_grant_do_not_exist(shared: Shared) -> None:
    for table in ("data.shop.secrets", "data.shop.nothing", "other.shop.orders"):
        [found] = shared.ask(table, ("pandas", {}))
        assert "404" in found["error"]
