"""Whatever is only a query is answered, and equals what plain DuckDB answers over the same files."""

import importlib.resources
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from analyst.errors import AnalystError
from tests.examples import sample
from tests.integration.query.lake import Lake, open_lake
from tests.integration.query.varied import STATEMENTS, TABLES

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.duckdb]

SCALE = 0.01


def generated(folder: Path, extension: str, call: str) -> dict[str, Path]:
    """Generate the tables of a benchmark by an extension of DuckDB, and write them as parquet."""
    files: dict[str, Path] = {}
    home = importlib.resources.files(f"duckdb_extension_{extension}")
    with duckdb.connect(config={"allow_unsigned_extensions": False}) as con:
        con.execute(f"load '{home}/extensions/v{duckdb.__version__}/{extension}.duckdb_extension'")
        con.execute(call)
        for (name,) in con.execute("select table_name from duckdb_tables()").fetchall():
            files[f"{extension}.{name}"] = folder / f"{name}.parquet"
            con.execute(f"copy {name} to '{folder / name}.parquet'")
    return files


def queries(extension: str) -> list[tuple[int, str]]:
    home = importlib.resources.files(f"duckdb_extension_{extension}")
    with duckdb.connect() as con:
        con.execute(f"load '{home}/extensions/v{duckdb.__version__}/{extension}.duckdb_extension'")
        return con.execute(f"select query_nr, query from {extension}_queries()").fetchall()


def rounded(value: Any) -> Any:
    """Make sums of floating-point numbers, whose order differs between runs, comparable."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.9g}")
    if isinstance(value, Decimal):
        return value.normalize()
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def difference(lake: Lake, sql: str, parameters: Any = None) -> str | None:
    """Return how the engine's answer differs from plain DuckDB's, if it does."""
    try:
        asked = lake.ask(sql, **({} if parameters is None else {"parameters": parameters}))
    except AnalystError as error:
        return str(error)
    plain = lake.plain.execute(sql, parameters).to_arrow_table()
    if asked.schema.types != plain.schema.types:
        return f"{asked.schema.types} instead of {plain.schema.types}"
    got, want = rows_of(asked), rows_of(plain)
    if "order by" not in sql.lower():
        got, want = sorted(got, key=repr), sorted(want, key=repr)
    return None if repr(got) == repr(want) else f"{got[:3]} instead of {want[:3]}"


def rows_of(table: pa.Table) -> list[Any]:
    plain = table.rename_columns([str(number) for number in range(table.num_columns)])
    return [rounded(list(row.values())) for row in plain.to_pylist()]


@pytest.fixture(scope="module")
def tpch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("tpch")
    with open_lake(folder, generated(folder, "tpch", f"call dbgen(sf = {SCALE})")) as each:
        yield each


@pytest.fixture(scope="module")
def tpcds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("tpcds")
    with open_lake(folder, generated(folder, "tpcds", f"call dsdgen(sf = {SCALE})")) as each:
        yield each


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("varied")
    files = {}
    with duckdb.connect() as con:
        for name, sql in TABLES.items():
            files[f"shop.{name}"] = folder / f"{name}.parquet"
            con.execute(f"copy ({sql}) to '{folder / name}.parquet'")
    with open_lake(folder, files) as each:
        yield each


@pytest.mark.many
def test_every_query_of_tpch_returns_what_plain_duckdb_returns(tpch: Lake) -> None:
    assert {number: found for number, sql in sample(queries("tpch"), 11) if (found := difference(tpch, sql))} == {}


@pytest.mark.many
def test_every_query_of_tpcds_returns_what_plain_duckdb_returns(tpcds: Lake) -> None:
    assert {number: found for number, sql in sample(queries("tpcds"), 25) if (found := difference(tpcds, sql))} == {}


def test_a_small_result_never_exceeds_the_memory_of_a_worker(tpcds: Lake) -> None:
    sql = dict(queries("tpcds"))[98]
    for repeat in range(30):  # with limits of their own, so that no result is a kept one
        assert tpcds.ask(sql, limit=1_000_000 + repeat).num_rows


def test_there_are_enough_statements_and_they_vary() -> None:
    assert len(set(STATEMENTS)) >= 200


@pytest.mark.many
def test_varied_statements_return_what_plain_duckdb_returns(varied: Lake) -> None:
    differ = [f"{sql} -> {found}" for sql in sample(STATEMENTS, 70) if (found := difference(varied, sql))]
    assert not differ, "\n".join(differ)


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("select $a + $b as x, $text as t", {"a": 1, "b": 2.5, "text": "it's; -- $a"}),
        ("select ? + ? as x", [1, 2]),
        ("select $2 as b, $1 as a", ["first", None]),
        ("from orders where id = $id", {"id": 7}),
        ("from orders where customer in ($a, $b) order by id", {"a": "c1", "b": "c2"}),
        ("select count(*) from orders limit $n", {"n": 3}),
        ("select * from orders where $flag order by id limit 2", {"flag": True}),
    ],
)
def test_parameters_are_passed_as_values(varied: Lake, sql: str, parameters: Any) -> None:
    assert difference(varied, sql, parameters) is None
