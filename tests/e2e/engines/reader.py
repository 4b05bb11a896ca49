"""A process that reads Delta tables with one engine: a question per line of its input, an answer per line of its output.

A question is `{"table", "version", "query"}` in JSON; the query is over `t`. The answer is `{"rows"}`, each value as
text in a form that is the same for all engines, or `{"error"}`.
"""

import atexit
import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

Ask = Callable[[str, int | None, str], pa.Table]


def view() -> Ask:
    """DuckDB with the view of an extract.duckdb, whose path stands for the table's: what the others must agree with."""
    import duckdb

    def ask(table: str, _version: int | None, query: str) -> pa.Table:
        with duckdb.connect(config={"threads": 1}) as con:
            con.execute(f"set TimeZone = 'UTC'; attach '{table}' as extract (read_only)")
            con.execute(f"create temp view t as from extract.{Path(table).stem}")
            return con.execute(query).to_arrow_table()

    return ask


def duckdb_delta() -> Ask:
    import duckdb
    import duckdb_extension_delta

    (extension,) = Path(duckdb_extension_delta.__path__[0]).glob("extensions/*/delta.duckdb_extension")
    con = duckdb.connect()
    con.execute(f"set TimeZone = 'UTC'; set autoinstall_known_extensions = false; load '{extension}'")

    def ask(table: str, version: int | None, query: str) -> pa.Table:
        wanted = "" if version is None else f", version => {version}"
        return con.execute(f"with t as (from delta_scan('{table}'{wanted})) {query}").to_arrow_table()

    return ask


def deltalake() -> Ask:
    from deltalake import DeltaTable, QueryBuilder

    def ask(table: str, version: int | None, query: str) -> pa.Table:
        builder = QueryBuilder().register("t", DeltaTable(table, version=version))
        return pa.table(builder.execute(query).read_all())

    return ask


def polars() -> Ask:
    import polars as pl

    def ask(table: str, version: int | None, query: str) -> pa.Table:
        query = query.replace("timestamp '", "timestamptz '")  # its own word for an instant
        return pl.SQLContext(t=pl.scan_delta(table, version=version)).execute(query).collect().to_arrow()

    return ask


def daft() -> Ask:
    import daft

    def ask(table: str, version: int | None, query: str) -> pa.Table:
        return daft.sql(query, t=daft.read_deltalake(table, version=version)).to_arrow()

    return ask


def sail() -> Ask:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    atexit.register(server.stop)
    _, port = server.listening_address
    spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")

    def ask(table: str, version: int | None, query: str) -> pa.Table:
        reading = spark.read.format("delta")
        if version is not None:
            reading = reading.option("versionAsOf", str(version))
        reading.load(table).createOrReplaceTempView("t")
        return spark.sql(query).toArrow()

    return ask


ENGINES = {start.__name__: start for start in (view, duckdb_delta, deltalake, polars, daft, sail)}


def text(value: Any) -> str:
    """Write a value: times without a zone as they are, instants in UTC, numbers without what their type adds."""
    match value:
        case float() | Decimal():
            digits = str(value)
            return digits.rstrip("0").removesuffix(".") if "." in digits and "e" not in digits.lower() else digits
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        case date():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(map(text, value))}]"
        case dict():
            return f"{{{', '.join(f'{name}: {text(member)}' for name, member in value.items())}}}"
    return json.dumps(value, ensure_ascii=False, default=bytes.hex)


def answer(ask: Ask, question: dict[str, Any]) -> dict[str, Any]:
    try:
        found = ask(question["table"], question["version"], question["query"])
        return {"rows": sorted([text(value) for value in row.values()] for row in found.to_pylist())}
    except Exception as error:  # noqa: BLE001 - the test says which are expected
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    ask = ENGINES[sys.argv[1]]()
    for line in sys.stdin:
        print(json.dumps(answer(ask, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
