"""The process that sends SQL to a Spark Connect server; it needs only the package pyspark-client.

It is run as a file, by the Python that has the package, which may be another one than the server's. It reads one JSON
object from standard input (`remote`, `sql`, `inputs`, `into`) and writes one to standard output: `{}` or `{"error"}`. With
`first`, the path of a local file, it writes the first row there, if there is one, and no result.
"""

import importlib
import json
import sys
from typing import Any

_MISSING = "missing"


def run(order: dict[str, Any]) -> None:
    """Run SQL over Delta tables, each as it was at a version, and write its result as parquet."""
    spark = importlib.import_module("pyspark.sql").SparkSession.builder.remote(order["remote"]).create()
    try:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        for each in order["inputs"]:
            reading = spark.read.format("delta").option("versionAsOf", str(each["version"]))
            reading.load(each["path"]).createOrReplaceTempView(each["name"])
        result = spark.sql(order["sql"])
        if "first" in order:
            importlib.import_module("pyarrow.parquet").write_table(result.limit(1).toArrow(), order["first"])
        else:
            result.write.mode("overwrite").parquet(order["into"])
    finally:
        spark.stop()


def main() -> None:
    """Carry out one order."""
    order = json.load(sys.stdin)
    try:
        run(order)
        answer = {}
    except ImportError as error:
        answer = {"error": str(error), "kind": _MISSING}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process raises it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        answer = {"error": lines[0][:1000] if lines else type(error).__name__}
    print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
