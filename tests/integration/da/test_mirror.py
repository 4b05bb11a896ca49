"""`da mirror`: a choice of tables that follows a person from one laptop to the next."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import da as package
from tests.integration.da.conftest import Da
from tests.processes import Host, host

jsonschema = pytest.importorskip("jsonschema")

pytestmark = pytest.mark.server
SCHEMAS = Path(package.__file__).parent / "schemas"


@pytest.fixture(scope="module")
def running(shared_cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, str]]:
    """A server with two tables, and the token of Eve, who administers it."""
    home: Path = tmp_path_factory.mktemp("mirror")
    files = home / "files"
    files.mkdir()
    for name in ("orders", "events"):
        (files / f"{name}.csv").write_text("id\n1\n")
    with host(home, shared_cloud, ACCESS_MAX_AGE="0", fork=True) as served:
        token = served.bootstrap("eve@example.com")
        source = {"type": "csv", "config": {"path": str(files)}}
        assert served.ask("POST", "/api/admin/sources/shop", source, token=token)[0] == 201
        assert served.ask("POST", "/extract/csv", {"source": "shop"}, token=token)[0] == 200
        yield served, token


def test_a_choice_follows_a_person_to_another_laptop(
    da: Da, running: tuple[Host, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: str, code: int = 0) -> str:
        ran = da(*arguments)
        assert ran.code == code, (ran.out, ran.err)
        return ran.out + ran.err

    def parquet() -> list[str]:
        return sorted({path.parent.name for path in (laptop / "server/parquet").rglob("*.parquet")})

    laptop = tmp_path / "first"
    monkeypatch.setenv("DA_LOCAL_DIR", str(laptop))
    ask("login", "--server", running[0].url, "--token", running[1])
    assert "2 files" in ask("sync")
    assert "All tables that you can read: 2 tables mirrored, 0 left out." in ask("mirror")
    output = ask("mirror", "--without", "shop.events")
    assert "without shop.events: 1 table mirrored, 1 left out. To apply it on this machine, run: da sync" in output
    synced = ask("sync")
    assert "emoved shop.events" in synced
    assert "1 table left out by your choice; to see it, run: da mirror" in synced
    assert len(parquet()) == 1
    assert "can only be queried on the server" not in synced
    assert "left out of your mirrors" in ask("sync", "--table", "shop.events", code=1)
    assert "41" in ask("query", "select count(*) + 40 as n from events")  # the server answers it
    laptop = tmp_path / "second"
    monkeypatch.setenv("DA_LOCAL_DIR", str(laptop))
    assert "Updated shop.orders: 1 file" in ask("sync")
    assert len(parquet()) == 1
    shown = json.loads(ask("mirror", "--json"))
    jsonschema.validate(shown, json.loads((SCHEMAS / "mirror.json").read_text()))
    assert shown["choice"] == {"table_mode": "all", "tables": {"shop.events": False}}
    report = json.loads(ask("sync", "--json"))
    jsonschema.validate(report, json.loads((SCHEMAS / "sync.json").read_text()))
    assert (report["left_out"], report["not_mirrored"], report["unchanged"]) == (1, 0, 1)
    output = ask("mirror", "--only", "shop.*", "--only", "erp.x", "--without", "shop.orders")
    assert "'erp.x' is no table that you can read now" in output
    assert "Only erp.x, shop.*, without shop.orders: 1 table mirrored, 1 left out." in output
    assert "Updated shop.events" in ask("sync")
    assert "2 tables mirrored, 0 left out" in ask("mirror", "--all")
    assert "Updated shop.orders" in ask("sync")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--all", "--only", "shop.*"), 2, "--all can't be combined"),
        (("--only", "shop.*", "--without", "shop.*"), 2, "named by both"),
        (("--only", "shop"), 1, "the id of a table such as shop.orders"),
    ],
)
def test_an_invalid_choice_is_refused(
    da: Da, running: tuple[Host, str], arguments: tuple[str, ...], code: int, text: str
) -> None:
    assert da("login", "--server", running[0].url, "--token", running[1]).code == 0
    ran = da("mirror", *arguments)
    assert (ran.code, text in ran.err) == (code, True), ran
