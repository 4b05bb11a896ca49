"""Clients of Iceberg, run by the tests in an environment of their own: print what they read as JSON.

Usage: client.py URL TOKEN. What to read comes from stdin: a list of calls with their arguments.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from pyiceberg.catalog import load_catalog

url, token = sys.argv[1], sys.argv[2]
catalog = load_catalog("data", type="rest", uri=f"{url}/iceberg", token=token)


def duck() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for name in ("avro", "httpfs", "iceberg"):
        package = importlib.util.find_spec(f"duckdb_extension_{name}")
        assert package is not None
        assert package.submodule_search_locations is not None
        [path] = Path(package.submodule_search_locations[0]).rglob("*.duckdb_extension")
        con.execute(f"load '{path}'")
    con.execute(f"attach 'data' as data (type iceberg, endpoint '{url}/iceberg', token '{token}')")
    return con


held: dict[str, Any] = {}


def run(what: str, given: dict[str, Any]) -> Any:  # noqa: C901, PLR0911 - one per call
    match what:
        case "tables":
            return [".".join(name) for space in catalog.list_namespaces() for name in catalog.list_tables(space)]
        case "exists":
            return catalog.table_exists(given["table"])
        case "schema":
            return {field.name: str(field.field_type) for field in catalog.load_table(given["table"]).schema().fields}
        case "versions":
            return [each.snapshot_id for each in catalog.load_table(given["table"]).metadata.snapshots]
        case "hold":  # a table whose credentials are used later
            held["table"] = catalog.load_table(given["table"])
            return None
        case "scan":
            table = held["table"] if given.get("held") else catalog.load_table(given["table"])
            options = {
                name: given[name] for name in ("row_filter", "snapshot_id", "selected_fields", "limit") if name in given
            }
            scan = table.scan(**options)
            con = duckdb.connect()
            con.register("found", scan.to_arrow())
            rows = con.execute("select cast(columns(*) as varchar) from found order by all").fetchall()
            return {"files": len(list(scan.plan_files())), "rows": rows}
        case "sums":
            found = catalog.load_table(given["table"]).scan().to_arrow()
            return [str(each) for each in duckdb.sql(f"{given['sql']} found").fetchall()[0]]
        case "polars":
            table = catalog.load_table(given["table"])
            # Polars opens files only with what it is given, and plain HTTP, as the servers of tests have, only on demand
            frame = pl.scan_iceberg(table, storage_options={**table.io.properties, "aws_allow_http": "true"})
            if "least" in given:
                frame = frame.filter(pl.col("id") >= given["least"])
            found = frame.collect().to_arrow()  # noqa: F841 - DuckDB finds it by its name
            return [str(each) for each in duckdb.sql(f"{given['sql']} found").fetchall()[0]]
        case "duckdb":
            return duck().execute(f"select cast(columns(*) as varchar) from ({given['sql']}) order by all").fetchall()
    raise ValueError(what)


answers = []
for name, arguments in json.load(sys.stdin):
    try:
        answers.append(run(name, arguments))
    except Exception as error:  # noqa: BLE001 - it is what the test asks for
        answers.append({"error": f"{type(error).__name__}: {error}"})
print(json.dumps(answers))
