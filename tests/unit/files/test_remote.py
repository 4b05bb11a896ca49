"""Files that lie elsewhere: on a filesystem of fsspec, or on a web server."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.options import CsvSource
from analyst.connectors.files.places import open_place
from analyst.connectors.files.places.fsspec_place import RemotePlace
from analyst.connectors.files.places.web import WebPlace
from analyst.connectors.files.table_files import Wanted
from analyst.errors import SourceError, UnavailableError
from analyst.public_addresses import is_public
from analyst.store import ABSENT
from tests.clouds import cloud
from tests.doubles import sftp
from tests.doubles.loopback import http_server
from tests.unit.files.folder import rows_of


@pytest.fixture
def memory() -> Iterator[Any]:
    """The filesystem in memory, which all of a process share."""
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe({"/shop/a.csv": b"a\n1\n", "/shop/o/2.csv": b"a\n2\n", "/shop/o/1.csv": b"a\n1\n", "/x/s.csv": b""})
    yield filesystem
    filesystem.rm("/shop", recursive=True)
    filesystem.rm("/x", recursive=True)


def connector(path: str, *roots: str) -> CsvConnector:
    return CsvConnector(Wanted(CsvSource(path=path), {}), roots)


def test_remote_files_are_listed_and_read_like_local_ones(memory: Any, tmp_path: Path) -> None:
    made = connector("memory://shop", "memory://shop")
    tables = {table.name: table for table in made.tables()}
    assert set(tables) == {"a", "o"}
    assert rows_of(made.extract(tables["o"], None, tmp_path)) == [(1,), (2,)]
    assert connector("memory://shop/o/1.csv", "memory://shop/").plan()[0].name == "_1"
    assert [file.name for file in open_place("memory://shop/*/2.csv", ["memory://shop"]).files()] == ["o/2.csv"]
    assert memory.exists("/shop/a.csv")


def test_a_changed_remote_file_has_another_mark(memory: Any) -> None:
    place = open_place("memory://shop", ["memory://shop"])
    file = place.files()[0]
    before = place.mark(file)
    assert (place.files()[0], place.mark(file)) == (file, before)
    memory.pipe("/shop/a.csv", b"a\n2\n")
    assert place.mark(file) != before
    assert place.files()[0].mark != file.mark
    memory.rm("/shop/a.csv")
    assert place.mark(file) == ""


@pytest.mark.parametrize(
    "path", ["memory://x", "memory://shop/../x", "memory://shopping", "memory://", "s3://shop/a.csv", "gs://shop"]
)
def test_paths_outside_of_the_roots_are_refused(memory: Any, path: str) -> None:
    assert memory.exists("/shop/a.csv")
    with pytest.raises(SourceError, match="SOURCE_ROOTS"):
        open_place(path, ["memory://shop", "/data", "https://example.com"]).files()


class Shares(AbstractFileSystem):  # type: ignore[misc]
    """Has no flat listing; one of its folders may not be read."""

    protocol = "shares"

    def ls(self, path: str, **_: Any) -> list[Any]:
        tree = {"shares/a": ["open/", "closed/", "a.csv"], "shares/a/open": ["b.csv"]}
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        if path not in tree:
            raise FileNotFoundError(path)
        kinds = {True: "directory", False: "file"}
        return [
            {"name": f"{path}/{name.rstrip('/')}", "type": kinds[name.endswith("/")], "size": 1, "mtime": 1}
            for name in tree[path]
        ]


def test_a_folder_that_cannot_be_listed_is_reported_and_not_taken_for_an_empty_one() -> None:
    assert [file.name for file in RemotePlace(Shares(), "shares/a/open", None, "shares://a").files()] == ["b.csv"]
    with pytest.raises(SourceError, match="access denied"):
        RemotePlace(Shares(), "shares/a", None, "shares://a").files()


def test_a_missing_or_unknown_place_is_reported(memory: Any) -> None:
    assert memory.exists("/shop/a.csv")
    with pytest.raises(SourceError, match="no such file or folder"):
        open_place("memory://shop/nothing", ["memory://shop"]).files()
    with pytest.raises(SourceError, match="nothing://x"):
        open_place("nothing://x", ["nothing://x"]).files()


@pytest.fixture(params=["s3", "gs"])
def cloud_folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder of two files in a bucket of a cloud, by the credentials and addresses of the environment."""
    with cloud(request.param, tmp_path) as made:
        settings = dict(made.settings)
        server = settings.get("S3_ENDPOINT") or settings["GCS_ENDPOINT"]
        settings |= {"AWS_ENDPOINT_URL": server, "STORAGE_EMULATOR_HOST": server}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        store = made.open()
        store.put("shop/a.csv", b"a\n1\n", if_version=ABSENT)
        store.put("shop/o/1.csv", b"a\n1\n2\n", if_version=ABSENT)
        yield f"{settings['DATA_URL']}/shop"


def test_a_bucket_of_a_cloud_is_read_with_the_installed_packages(cloud_folder: str, tmp_path: Path) -> None:
    made = connector(cloud_folder, cloud_folder)
    tables = {table.name: table for table in made.tables()}
    assert set(tables) == {"a", "o"}
    assert rows_of(made.extract(tables["o"], None, tmp_path)) == [(1,), (2,)]
    place = open_place(cloud_folder, [cloud_folder])
    assert place.mark(place.files()[0]) == place.files()[0].mark
    with pytest.raises(SourceError, match="no such file or folder"):
        open_place(f"{cloud_folder}/nothing", [cloud_folder]).files()


def test_a_file_server_is_read_over_sftp(tmp_path: Path) -> None:
    (tmp_path / "served" / "shop").mkdir(parents=True)
    (tmp_path / "served" / "shop" / "orders.csv").write_text("id\n1\n2\n")
    with sftp.serving(tmp_path / "served") as port:
        root = f"sftp://{sftp.USER}:{sftp.PASSWORD}@127.0.0.1:{port}/shop"
        made = connector(root, root)
        (table,) = made.tables()
        assert rows_of(made.extract(table, None, tmp_path)) == [(1,), (2,)]
        (file,) = open_place(root, [root]).files()
        assert open_place(root, [root]).mark(file) == file.mark


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("gs://shop/data", "gcsfs"),
        ("s3://shop/data", "s3fs"),
        ("az://shop/data", "adlfs"),
        ("abfs://shop/data", "adlfs"),
        ("sftp://shop.example/data", "paramiko"),
    ],
)
def test_a_missing_package_is_named_with_the_way_to_install_it(url: str, package: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None  # as if it were not installed
from analyst.connectors.files.places import open_place
from analyst.errors import SourceError
try:
    open_place({url!r}, [{url!r}])
except SourceError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert f"'{url}' can't be read: the package '{package}' is not installed" in found.stdout
    assert f"pip install {package}" in found.stdout


@dataclass
class Web:
    """A web server with one file. `answers` are statuses to give instead, one after the other."""

    content: bytes = b"a,b\n1,x\n"
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    statuses: list[int] = field(default_factory=list)
    claimed: int | None = None
    has_length: bool = True
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on loopback."""
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.command, self.path, self.headers["Host"]))
            self.send_response(served.statuses.pop(0) if served.statuses else 200)
            if served.has_length or self.command == "HEAD":
                self.send_header("Content-Length", str(served.claimed or len(served.content)))
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(served.content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as address:
        served.url = f"{address.replace('127.0.0.1', 'localhost')}/files/Orders%202024.csv?version=1"
        yield served


def reading(web: Web) -> CsvConnector:
    """A connector that may read from loopback."""
    return replace(connector(web.url, web.url), place=lambda url, _roots: WebPlace(url, allowed=lambda _address: True))


def test_a_file_on_the_web_is_read(web: Web, tmp_path: Path) -> None:
    made = reading(web)
    (table,) = made.tables()
    assert table.name == "orders_2024"
    assert rows_of(made.extract(table, None, tmp_path)) == [(1, "x")]
    assert {path for _method, path, _host in web.asked} == {"/files/Orders%202024.csv?version=1"}
    assert {host.split(":")[0] for _method, _path, host in web.asked} == {"localhost"}


def test_the_etag_of_a_file_on_the_web_shows_whether_it_changed(web: Web) -> None:
    before = reading(web).plan()[0].fingerprint
    assert reading(web).plan()[0].fingerprint == before
    web.headers = {"ETag": '"2"'}
    assert reading(web).plan()[0].fingerprint != before
    web.headers = {}
    with pytest.raises(SourceError, match="neither an ETag nor a Last-Modified"):
        reading(web).plan()


@pytest.mark.parametrize("has_length", [True, False])
def test_a_response_that_ends_early_is_not_taken_for_a_file(web: Web, tmp_path: Path, *, has_length: bool) -> None:
    web.claimed, web.has_length = 100, has_length
    made = reading(web)
    (table,) = made.tables()
    with pytest.raises(UnavailableError, match="92 bytes too early"):
        made.extract(table, None, tmp_path)


def test_a_response_need_not_state_its_length(web: Web, tmp_path: Path) -> None:
    web.has_length = False
    made = reading(web)
    (table,) = made.tables()
    assert rows_of(made.extract(table, None, tmp_path)) == [(1, "x")]


@pytest.mark.parametrize(
    ("status", "error"), [(404, SourceError), (301, SourceError), (429, UnavailableError), (503, UnavailableError)]
)
def test_the_error_of_the_server_is_shown(web: Web, status: int, error: type[Exception]) -> None:
    web.statuses = [status]
    web.headers["Location"] = "http://169.254.169.254/"
    with pytest.raises(error, match=f"the server answered {status}"):
        reading(web).plan()


def test_a_private_address_is_never_connected_to(web: Web) -> None:
    for url in (web.url, web.url.replace("localhost", "127.0.0.1"), web.url.replace("localhost", "[::ffff:127.0.0.1]")):
        with pytest.raises(SourceError, match="has a private address"):
            open_place(url, [url]).files()
    assert web.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses_are_distinguished_from_private_ones(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com.evil.org/x.csv",
        "https://example.com/x.csv",
        "http://example.com/data/../secret.csv",
        "http://example.com/data/%2e%2e/secret.csv",
        "http://user:password@example.com/data/x.csv",
        "http:///data/x.csv",
        "http://[::1/data/x.csv",
        "http://\N{ACCOUNT OF}/data/x.csv",
    ],
)
def test_a_url_outside_the_roots_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match=r"SOURCE_ROOTS|no address of a file"):
        open_place(url, ["http://example.com/data"])


def test_an_unreachable_server_is_a_temporary_error() -> None:
    place = WebPlace("http://localhost:1/x.csv", allowed=lambda _address: True)
    with pytest.raises(UnavailableError, match="can't be read now"):
        place.files()
