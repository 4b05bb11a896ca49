"""Every flight that left New York in 2013, from its CSV files to the answer on a laptop."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.clouds import KINDS, Cloud, cloud, listed
from tests.examples import partly
from tests.processes import ROOT, Host, da, host

DATA = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared/data")).resolve() / "nycflights13"
FILES = {
    "airlines": "airlines.csv",
    "airports": "airports.csv",
    "flights": "flights.csv.gz",
    "planes": "planes.csv",
    "weather": "weather.csv",
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the flights are not in {DATA}; set SHARED_DATA")


@pytest.fixture(scope="module", params=partly(KINDS, 1))
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(request.param, tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture(scope="module")
def served(bucket: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, str]]:
    home = tmp_path_factory.mktemp("flights")
    with host(home, bucket, sources=DATA.parent, fork=True) as server:
        token = server.bootstrap()
        config = {"type": "csv", "config": {"path": str(DATA), "nullstr": "NA"}}
        assert server.ask("POST", "/api/admin/sources/nyc", config, token=token)[0] == 201
        status, answer = server.ask("POST", "/extract/csv", {"source": "nyc"}, token=token)
        assert (status, answer["status"]) == (200, "ok"), answer
        yield server, token


@pytest.fixture(scope="module")
def mirror(served: tuple[Host, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("laptop")
    da(workspace, "sync", "--quiet", server=served[0], token=served[1])
    return workspace / "user/duckdb/analytics.duckdb"


def figures(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, Any]:
    """Return count, number of nulls and sum (of the length, for texts and times) of every column."""
    columns = [(row[0], row[1]) for row in con.execute(f"describe from {relation}").fetchall()]
    found: dict[str, Any] = {"rows": con.execute(f"select count(*) from {relation}").fetchall()}
    for name, kind in columns:
        value = f'"{name}"' if kind in ("BIGINT", "DOUBLE", "INTEGER") else f'length("{name}"::varchar)'
        found[name] = con.execute(
            f'select count("{name}"), sum({value})::decimal(38,6), count(distinct "{name}"), '
            f'min("{name}")::varchar, max("{name}")::varchar from {relation}'
        ).fetchall()
    return found


@pytest.fixture(scope="session")
def sources() -> dict[str, dict[str, Any]]:
    """The figures of each file."""
    found: dict[str, dict[str, Any]] = {}
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        for table, file in FILES.items():
            con.execute(f"create table {table} as from read_csv('{DATA / file}', nullstr = 'NA')")
            found[table] = figures(con, table)
    return found


@pytest.mark.parametrize("table", FILES)
def test_the_mirror_has_the_content_of_the_file(mirror: Path, table: str, sources: dict[str, dict[str, Any]]) -> None:
    source = sources[table]
    with duckdb.connect(mirror, read_only=True) as con:
        con.execute("set TimeZone = 'UTC'")
        assert figures(con, table) == source


def test_unchanged_files_are_neither_read_nor_published_again(bucket: Cloud, served: tuple[Host, str]) -> None:
    server, token = served
    before = published(bucket)
    status, answer = server.ask("POST", "/extract/csv", {"source": "nyc"}, token=token)
    assert (status, answer["status"], answer["rebuild"]) == (200, "unchanged", None)
    assert published(bucket) == before


def published(bucket: Cloud) -> dict[str, str]:
    """Return what is in a bucket, with its versions, but for the uses of tokens, which are recorded seconds later."""
    return {key: version for key, version in listed(bucket).items() if not key.startswith("state/token-uses/")}


def test_a_query_of_the_mirror_needs_no_server(mirror: Path) -> None:
    with duckdb.connect(mirror, read_only=True) as con:
        (carrier, flights), *_ = con.execute(
            """
            select name, count(*) from flights join airlines using (carrier) group by all order by 2 desc limit 1
            """
        ).fetchall()
    assert (carrier, flights) == ("United Air Lines Inc.", 58665)
