"""Tables that are not granted do not exist in lists, manifests, URLs or on laptops."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from analyst.store import Store
from tests.integration.world import SERVICE_TOKEN, Begun, World
from tests.processes import Host, da, served


@pytest.fixture(scope="module")
def published(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Begun]:
    """A folder, and a bucket in which two files of it were published; tests work on copies of both."""
    folder = tmp_path_factory.mktemp("shop")
    world = begun.world(folder)
    (folder / "sources/open.csv").write_text("id,name\n1,a\n")
    (folder / "sources/secret.csv").write_text("id,name\n2,b\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(folder / "sources")}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    shutil.copytree(folder / "sources", folder / "files")
    return folder, Begun(world.cloud, world.admin, folder)


@pytest.fixture
def files(published: tuple[Path, Begun]) -> Path:
    """The folder of the source, in which what a test has changed is as it was; the rest is untouched."""
    folder, _ = published
    for file in (folder / "files").iterdir():
        if (folder / "sources" / file.name).read_bytes() != file.read_bytes():
            shutil.copy2(file, folder / "sources")
    return folder / "sources"


@pytest.fixture
def server(published: tuple[Path, Begun], files: Path, at_once: None) -> Iterator[Host]:  # noqa: ARG001
    def process(environ: Mapping[str, str], store: Store) -> Process:
        return Process({**environ, "ACCESS_MAX_AGE": "0"}, store=store)

    old = published[1]
    world = World(files.parent, old.cloud.copy(), admin=old.admin, process=process, base_url="")
    with served(world.app) as running:
        yield running


@pytest.fixture
def admin(published: tuple[Path, Begun]) -> str:
    return published[1].admin


def grant(server: Host, admin: str, email: str, table: str) -> str:
    status, answer = server.ask("POST", "/api/admin/permissions", {"user": email, "table": table}, token=admin)
    assert status == 201, answer
    return str(answer["id"])


def rebuild(server: Host, admin: str) -> None:
    """Rebuild, after whatever rebuild is running."""
    while server.ask("POST", "/rebuild", {}, token=admin)[0] == 202:
        pass


def files_of(server: Host, admin: str, table: str) -> list[str]:
    manifest = server.ask("GET", "/api/sync/manifest", token=admin)[1]
    return [file["path"] for file in manifest["tables"][table]["files"]]


def test_an_analyst_sees_and_signs_only_what_is_granted(server: Host, admin: str) -> None:
    _, analyst = server.user(admin, "ann@example.com")
    grant(server, admin, "ann@example.com", "shop.open")
    assert list(server.ask("GET", "/api/sync/manifest", token=analyst)[1]["tables"]) == ["shop.open"]
    listed = server.ask("GET", "/api/catalog/tables", token=analyst)[1]
    assert ([table["id"] for table in listed["tables"]], listed["count"]) == (["shop.open"], 1)
    assert server.ask("GET", "/api/data/shop.open/download", token=analyst)[0] == 307
    signed = server.ask("POST", "/api/data/urls", {"files": {"shop.open": None, "shop.secret": None}}, token=analyst)[1]
    assert list(signed["urls"]) == files_of(server, admin, "shop.open")
    assert signed["missing"] == ["shop.secret"]


REQUESTS: dict[str, tuple[str, str, Any]] = {
    "catalogue": ("GET", "/api/catalog/tables/{}", None),
    "download": ("GET", "/api/data/{}/download", None),
    "urls": ("POST", "/api/data/urls", {"files": {"{}": None}}),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_hidden_table_is_answered_like_a_missing_one(server: Host, admin: str, request_: str) -> None:
    _, analyst = server.user(admin, "ann@example.com")
    method, path, body = REQUESTS[request_]

    def ask(table: str) -> tuple[int, Any]:
        asked = None if body is None else json.loads(json.dumps(body).replace("{}", table))
        status, answer = server.ask(method, path.format(table), asked, token=analyst)
        return status, json.loads(json.dumps(answer).replace(table, "TABLE"))

    assert ask("shop.secret") == ask("shop.no_such")
    assert ask("shop.secret")[0] == 404


def test_a_file_of_another_table_is_not_signed_for_one_that_is_granted(server: Host, admin: str) -> None:
    _, analyst = server.user(admin, "ann@example.com")
    grant(server, admin, "ann@example.com", "shop.open")
    (secret,) = files_of(server, admin, "shop.secret")
    body = {"files": {"shop.open": [secret, "state/secret.key", "extracts/shop/data/open/../secret/x.parquet"]}}
    assert server.ask("POST", "/api/data/urls", body, token=analyst)[0] == 404


def test_a_revoked_grant_ends_at_once_and_the_next_sync_removes_the_files(
    server: Host, admin: str, tmp_path: Path
) -> None:
    _, analyst = server.user(admin, "ann@example.com")
    permission = grant(server, admin, "ann@example.com", "shop.secret")
    laptop = tmp_path / "laptop"
    da(laptop, "sync", server=server, token=analyst)
    assert list(laptop.rglob("*.parquet"))
    assert server.ask("DELETE", f"/api/admin/permissions/{permission}", token=admin)[0] == 204
    assert server.ask("GET", "/api/data/shop.secret/download", token=analyst)[0] == 404
    da(laptop, "sync", server=server, token=analyst)
    assert list(laptop.rglob("*.parquet")) == []
    assert da(laptop, "query", "from secret", server=server, token=analyst, check=False).returncode == 1


def test_a_server_only_table_is_listed_and_never_downloadable(server: Host, admin: str) -> None:
    assert server.ask("PUT", "/api/admin/tables/shop.secret", {"server_only": True}, token=admin)[0] == 200
    table = server.ask("GET", "/api/sync/manifest", token=admin)[1]["tables"]["shop.secret"]
    assert (table["server_only"], table["files"]) == (True, [])
    assert server.ask("GET", "/api/data/shop.secret/download", token=admin)[0] == 404


def test_a_deregistered_table_is_gone_and_does_not_come_back(server: Host, admin: str) -> None:
    assert server.ask("DELETE", "/api/admin/tables/shop.secret", token=admin)[0] == 204
    status, answer = server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)
    assert (status, [table["table"] for table in answer["tables"]]) == (200, ["open"])
    rebuild(server, admin)
    assert list(server.ask("GET", "/api/sync/manifest", token=admin)[1]["tables"]) == ["shop.open"]


def test_a_table_that_is_registered_again_inherits_no_grants(server: Host, admin: str) -> None:
    _, analyst = server.user(admin, "ann@example.com")
    grant(server, admin, "ann@example.com", "shop.secret")
    assert server.ask("DELETE", "/api/admin/tables/shop.secret", token=admin)[0] == 204
    assert server.ask("POST", "/api/admin/tables/shop.secret", {}, token=admin)[0] == 201
    assert server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)[0] == 200
    rebuild(server, admin)
    assert list(server.ask("GET", "/api/sync/manifest", token=admin)[1]["tables"]) == ["shop.open", "shop.secret"]
    assert server.ask("GET", "/api/sync/manifest", token=analyst)[1]["tables"] == {}


def test_a_service_extracts_and_reads_nothing(server: Host, admin: str) -> None:
    assert server.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)[0] == 200
    assert server.ask("GET", "/api/sync/manifest", token=SERVICE_TOKEN)[0] == 403
    _, analyst = server.user(admin, "ann@example.com")
    assert server.ask("POST", "/extract/csv", {"source": "shop"}, token=analyst)[0] == 403


def test_a_reader_whose_tables_are_unchanged_gets_304_whatever_else_changes(
    server: Host, admin: str, files: Path
) -> None:
    import urllib.request

    _, analyst = server.user(admin, "ann@example.com")
    grant(server, admin, "ann@example.com", "shop.open")
    request = urllib.request.Request(f"{server.url}/api/sync/manifest", headers={"Authorization": f"Bearer {analyst}"})
    with urllib.request.urlopen(request) as answer:
        etag = answer.headers["ETag"]
    (files / "secret.csv").write_text("id,name\n3,c\n")
    assert server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)[1]["status"] == "ok"
    headers = {"If-None-Match": etag}
    assert server.ask("GET", "/api/sync/manifest", token=analyst, headers=headers)[0] == 304
