"""Files larger than what the server buffers of an answer, in buckets of clouds: whole, in ranges, and read by engines."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from urllib.request import Request, urlopen

import duckdb
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.clouds import Cloud, cloud
from tests.e2e.iceberg.test_clients import Served
from tests.processes import host

ROWS: Final = 3_000_000
BUFFERED: Final = 16 << 20
"""Bytes of an answer that the server takes from a thread at once."""
BLOCK: Final = 1 << 20
SUMS: Final = "select count(*), sum(id), sum(hash(value) % 1000) from "


@dataclass(frozen=True, slots=True)
class Large:
    """A server with a large table, its bucket, and the key of its largest file."""

    served: Served
    cloud: Cloud
    key: str

    @property
    def data(self) -> bytes:
        found = self.cloud.open().read(self.key)
        assert found is not None
        return found.data

    def get(self, **headers: str) -> Any:
        """Open the file as a reader of S3 does."""
        loaded = self.served.made("GET", "/iceberg/v1/namespaces/shop/tables/large")
        config, uuid = loaded["config"], loaded["metadata"]["table-uuid"]
        url = f"{config['s3.endpoint']}/iceberg-files/{uuid}/{quote(self.key, safe='/~')}"
        request = AWSRequest("GET", url, headers=headers)
        names = ("s3.access-key-id", "s3.secret-access-key", "s3.session-token")
        S3SigV4Auth(Credentials(*(config[name] for name in names)), "s3", config["s3.region"]).add_auth(request)
        return urlopen(Request(url, headers=dict(request.headers.items())), timeout=300)


@pytest.fixture(scope="module", params=["s3", "gs"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    folder = tmp_path_factory.mktemp("large")
    (folder / "files").mkdir()
    rows = f"select range as id, random() as value, random() as other from range({ROWS})"
    duckdb.sql(f"copy ({rows}) to '{folder}/files/large.parquet' (compression uncompressed)")
    with (
        cloud(request.param, folder) as bucket,
        host(
            folder,
            bucket,
            sources=folder / "files",
            PROFILE_AFTER_SYNC="false",
            SECRET_KEY="k" * 32,
            ACCESS_MAX_AGE="0",
        ) as server,
    ):
        made = Served(server, server.bootstrap(), "", folder / "files")
        made.made("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(folder / "files")}})
        made.made("POST", "/extract/csv", {"source": "shop"})
        made.made("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
        made.made("POST", "/api/admin/permissions", {"user": "ann@example.com", "source": "shop"})
        token = made.made("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com", "scopes": ["sync"]})["token"]
        manifest = made.made("GET", "/api/sync/manifest")
        files = manifest["tables"]["shop.large"]["files"]
        largest = max(files, key=lambda each: each["size_bytes"])
        assert largest["size_bytes"] > 2 * BUFFERED, files
        yield Large(Served(server, made.admin, token, folder / "files"), bucket, largest["path"])


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process and those below it have."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        parents[int(fields["Pid"])] = (int(fields["PPid"]), int(fields.get("VmRSS", "0 kB").split()[0]) << 10)
    mine, found = {pid}, set[int]()
    while mine != found:
        found = set(mine)
        mine |= {child for child, (parent, _) in parents.items() if parent in found}
    return sum(parents[each][1] for each in mine if each in parents)


@contextmanager
def watched(pid: int) -> Iterator[Callable[[], int]]:
    """Watch the memory of a process until the block ends; yield a function that returns the most that it had."""
    most, ended = [memory_of(pid)], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            most.append(memory_of(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(most)
    finally:
        ended.set()
        thread.join()


def test_a_whole_file_takes_little_memory_however_slowly_it_is_read(large: Large) -> None:
    assert large.served.server.pid is not None
    expected = hashlib.sha256(large.data).hexdigest()
    with large.get() as first:  # the modules and buffers that the first answer needs are there from now on
        first.read(BLOCK)
    before = memory_of(large.served.server.pid)
    with watched(large.served.server.pid) as most:
        answers = [large.get() for _ in range(3)]
        digests = [hashlib.sha256() for _ in answers]
        while any(blocks := [answer.read(BLOCK) for answer in answers]):
            for digest, block in zip(digests, blocks, strict=True):
                digest.update(block)
        for each in answers:
            each.close()
        grown = most() - before
    assert [each.hexdigest() for each in digests] == [expected] * 3
    assert grown < len(answers) * (BUFFERED + 8 * BLOCK), grown


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        (f"bytes=1000000-{1_000_000 + BUFFERED + 99}", slice(1_000_000, 1_000_000 + BUFFERED + 100)),
        (f"bytes={BUFFERED - 5}-{BUFFERED + 4}", slice(BUFFERED - 5, BUFFERED + 5)),
        ("bytes=-8", slice(-8, None)),
        (f"bytes=-{BUFFERED * 2}", slice(-BUFFERED * 2, None)),
        ("bytes=30000000-", slice(30_000_000, None)),
    ],
)
def test_ranges_of_a_large_file_are_served(large: Large, wanted: str, part: slice) -> None:
    data = large.data
    start, stop, _ = part.indices(len(data))
    with large.get(Range=wanted) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(data)}"
        assert answer.read() == data[part]


def test_engines_read_a_large_file_completely(large: Large) -> None:
    local = large.served.files / "large.parquet"
    expected = [str(each) for each in duckdb.sql(f"{SUMS} '{local}'").fetchall()[0]]
    scanned, by_duckdb, by_polars = large.served.ask(
        ("sums", {"table": "shop.large", "sql": SUMS}),
        ("duckdb", {"sql": f"{SUMS} data.shop.large"}),
        ("polars", {"table": "shop.large", "sql": SUMS}),
    )
    assert [scanned, by_duckdb[0], by_polars] == [expected] * 3


def test_engines_find_the_rows_that_are_requested(large: Large) -> None:
    by_duckdb, by_polars = large.served.ask(
        ("duckdb", {"sql": "select id from data.shop.large where id >= 2999998"}),
        ("polars", {"table": "shop.large", "sql": "select count(*) from ", "least": ROWS - 2}),
    )
    assert by_duckdb == [[str(ROWS - 2)], [str(ROWS - 1)]]
    assert by_polars == ["2"]
