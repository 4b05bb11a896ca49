"""pyiceberg and DuckDB's Iceberg extension against a running server: lists, schemas, rows, versions, and what is hidden."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb
import pytest

from tests.clouds import cloud
from tests.processes import ROOT, Host, host

PYTHON = ROOT / ".venv-iceberg/bin/python"
KINDS = """
    select range::bigint as id, range::tinyint as i8, range::smallint as i16, range::integer as i32,
           range::utinyint as u8, range::usmallint as u16, range::uinteger as u32, range::ubigint as u64,
           (range * 10000000000)::hugeint::decimal(38, 0) as big, (range / 7)::decimal(18, 6) as exact,
           case range when 0 then 'nan' when 1 then 'infinity' when 2 then '-0.0' else range / 3 end::double as d,
           (range / 3)::float as f, range % 2 = 0 as flag,
           case range % 4 when 0 then null when 1 then '' when 2 then 'č ''" \\ ' || range else repeat('x', 100) end as text,
           ('\\x00\\xFF' || range)::blob as bytes, date '1969-12-30' + range::integer as day,
           timestamp '1969-12-31 23:59:59.999999' + interval (range) microsecond as at,
           timestamptz '2024-03-31 00:59:59.123456+00' + interval (range) hour as instant,
           time '23:59:59.999999' as clock, ('00000000-0000-0000-0000-00000000000' || range % 10)::uuid as uuid,
           case when range % 3 = 0 then null when range % 3 = 1 then [] else [range, null] end as list,
           case when range % 3 = 0 then null else {'a': range, 'b c': {'d': [range::varchar]}} end as struct,
           map {'k' || range: case when range % 2 = 0 then range end} as map, [{'z': range}] as structs,
           '{"a": 1}'::json as json, range as "sp ace", range as "quo""te", range as "Ünï"
    from range(50)
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A server with tables, an analyst who may read some of them, and the folder of the files."""

    server: Host
    admin: str
    token: str
    files: Path

    def ask(self, *calls: tuple[str, dict[str, Any]], token: str | None = None) -> list[Any]:
        if not PYTHON.exists():
            pytest.skip(".venv-iceberg is not there; make e2e makes it")
        script = Path(__file__).with_name("client.py")
        ran = subprocess.run(
            [PYTHON, script, self.server.url, token or self.token],
            input=json.dumps(calls), capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-3000:]
        answers: list[Any] = json.loads(ran.stdout.splitlines()[-1])
        return answers

    def made(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.server.ask(method, path, body, token=self.admin)
        assert status < 300, answer
        return answer


@pytest.fixture(scope="module", params=["file", "s3", "gs"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("iceberg")
    files = folder / "files"
    (files / "parts").mkdir(parents=True)
    (files / "orders.csv").write_text("id,total,day\n1,1.5,2024-01-01\n2,2.5,2024-01-02\n")
    (files / "empty.csv").write_text("id,total\n")
    (files / "secrets.csv").write_text("id\n1\n")
    duckdb.sql(f"copy ({KINDS}) to '{files / 'kinds.parquet'}'")
    with (
        cloud(request.param, folder) as bucket,
        host(
            folder, bucket, sources=files, PROFILE_AFTER_SYNC="false", SECRET_KEY="k" * 32, ACCESS_MAX_AGE="0"
        ) as server,
    ):
        made = Served(server, server.bootstrap(), "", files)
        made.made("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(files)}})
        made.made("POST", "/extract/csv", {"source": "shop"})
        (files / "orders.csv").write_text("id,day,note\n1,2024-01-01,a\n2,2024-01-02,\n3,2024-01-03,č\n")
        made.made("POST", "/extract/csv", {"source": "shop"})
        made.made("POST", "/api/users", {"email": "partner@example.com", "role": "analyst"})
        for table in ("shop.orders", "shop.kinds", "shop.empty"):
            made.made("POST", "/api/admin/permissions", {"user": "partner@example.com", "table": table})
        new = {"name": "iceberg", "user": "partner@example.com", "scopes": ["sync"], "expires_in_days": 7}
        yield Served(server, made.admin, made.made("POST", "/auth/tokens", new)["token"], files)


def published(served: Served, table: str) -> list[list[Any]]:
    """Read the published files of a table by plain DuckDB, with signed URLs."""
    con = duckdb.connect()
    found = served.made("POST", "/api/data/urls", {"files": {table: None}})
    paths = []
    for number, url in enumerate(found["urls"].values()):
        path = served.files.parent / f"{table}-{number}.parquet"
        with urlopen(url) as answer:
            path.write_bytes(answer.read())
        paths.append(str(path))
    con.execute("set timezone = 'UTC'")
    rows = con.execute("select cast(columns(*) as varchar) from read_parquet(?) order by all", [paths]).fetchall()
    return [list(row) for row in rows]


def test_every_kind_of_value_is_read_as_duckdb_reads_it(served: Served) -> None:
    tables, schema, scanned, attached = served.ask(
        ("tables", {}),
        ("schema", {"table": "shop.kinds"}),
        ("scan", {"table": "shop.kinds"}),
        ("duckdb", {"sql": "from data.shop.kinds"}),
    )
    assert tables == ["shop.empty", "shop.kinds", "shop.orders"]
    assert (schema["u64"], schema["big"], schema["at"], schema["instant"]) == (
        "decimal(20, 0)", "decimal(38, 0)", "timestamp", "timestamptz",
    )  # fmt: skip
    wanted = published(served, "shop.kinds")
    assert len(wanted) == 50
    assert attached == wanted
    assert scanned["rows"] == wanted


def test_rows_are_filtered_and_files_skipped(served: Served) -> None:
    some, none, nulls, one, limited, attached = served.ask(
        ("scan", {"table": "shop.kinds", "row_filter": "id >= 40 and id < 45", "selected_fields": ["id", "u16"]}),
        ("scan", {"table": "shop.kinds", "row_filter": "id > 1000", "selected_fields": ["id"]}),
        ("scan", {"table": "shop.kinds", "row_filter": "id is null", "selected_fields": ["id"]}),
        ("scan", {"table": "shop.kinds", "row_filter": "text = ''", "selected_fields": ["id"]}),
        ("scan", {"table": "shop.kinds", "limit": 3, "selected_fields": ["id"]}),
        ("duckdb", {"sql": "select id from data.shop.kinds where id >= 48"}),
    )
    assert some == {"files": 1, "rows": [[str(n), str(n)] for n in range(40, 45)]}
    assert none == {"files": 0, "rows": []}
    assert nulls == {"files": 0, "rows": []}
    assert len(one["rows"]) == 13
    assert len(limited["rows"]) == 3
    assert attached == [["48"], ["49"]]


def test_earlier_versions_are_read_with_their_own_columns(served: Served) -> None:
    versions, now, then, attached, empty = served.ask(
        ("versions", {"table": "shop.orders"}),
        ("scan", {"table": "shop.orders"}),
        ("scan", {"table": "shop.orders", "snapshot_id": 1}),
        ("duckdb", {"sql": "from data.shop.orders at (version => 1)"}),
        ("scan", {"table": "shop.empty"}),
    )
    assert versions == [1, 2]
    assert now["rows"] == [["1", "2024-01-01", "a"], ["2", "2024-01-02", None], ["3", "2024-01-03", "č"]]
    assert then["rows"] == attached == [["1", "1.5", "2024-01-01"], ["2", "2.5", "2024-01-02"]]
    assert empty["rows"] == []


def test_a_hidden_table_does_not_exist(served: Served) -> None:
    exists, hidden, absent, attached, gone = served.ask(
        ("exists", {"table": "shop.secrets"}),
        ("scan", {"table": "shop.secrets"}),
        ("scan", {"table": "shop.nothing"}),
        ("duckdb", {"sql": "from data.shop.secrets"}),
        ("duckdb", {"sql": "from data.shop.nothing"}),
    )
    assert exists is False
    assert "NoSuchTableError" in hidden["error"]
    assert hidden["error"].replace("secrets", "") == absent["error"].replace("nothing", "")
    for found in (attached, gone):
        assert "does not exist" in found["error"]
    assert "secrets" not in gone["error"]


def test_a_wrong_token_is_refused(served: Served) -> None:
    script = Path(__file__).with_name("client.py")
    if not PYTHON.exists():
        pytest.skip(".venv-iceberg is not there; make e2e makes it")
    ran = subprocess.run(
        [PYTHON, script, served.server.url, "da_wrong"],
        input="[]",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "UnauthorizedError" in ran.stderr
