"""What the double of OpenMetadata answers, what our client asks it, and our profiles fit the models that OpenMetadata publishes."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest

from analyst.http_client import HttpClient
from analyst.openmetadata.client import OpenMetadata
from analyst.openmetadata.exchange import Exchange
from analyst.snapshots import EMPTY
from da.profiles.files import profile_path
from tests.doubles.memory_store import MemoryStore
from tests.doubles.openmetadata import TOKEN, openmetadata
from tests.integration.catalog.test_openmetadata import MEASURED, METRIC, ORDERS
from tests.processes import ROOT

PYTHON = ROOT / ".venv-openmetadata/bin/python"
AT = datetime(2026, 1, 1, tzinfo=UTC)
TABLE, METRIC_MODEL = "entity.data.table.Table", "entity.data.metric.Metric"


def problems(*documents: tuple[str, Any]) -> list[str]:
    if not PYTHON.exists():
        pytest.skip(".venv-openmetadata is not there; make e2e makes it")
    script = Path(__file__).with_name("models.py")
    ran = subprocess.run(
        [PYTHON, script], input=json.dumps(documents), capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_answers_of_the_double_and_requests_of_our_client_match_the_schemas() -> None:
    with openmetadata() as double:
        double.tables, double.metrics = [ORDERS], [METRIC, MEASURED]
        client = OpenMetadata(double.url, TOKEN, HttpClient())
        exchange = Exchange(client, product="sales")
        exchange.import_tables(MemoryStore(), EMPTY, AT)
        assert exchange.export(AT).metrics == 1
        answers = [json.loads(double.answer(path, f"Bearer {TOKEN}")[1]) for path in list(double.asked)]
    checked: list[tuple[str, Any]] = []
    for path, answer in zip(double.asked, answers, strict=False):
        parts = urlsplit(path)
        name = TABLE if parts.path.endswith("tables") else METRIC_MODEL
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        checked += [(name, each) for each in answer["data"]]
        checked.append((name, query["fields"].split(",")))
        checked.append(("type.paging.Paging", answer["paging"]))
        assert (query["include"], 0 < int(query["limit"]) <= 1000) == ("non-deleted", True)
    assert len(checked) > 8
    assert problems(*checked) == []


def test_fields_of_our_profiles_have_the_types_of_openmetadata(tmp_path: Path) -> None:
    sql = """
        select i as id, i / 7 as amount, 'C' || i % 9 as name, date '2026-01-01' + i::int as day, i % 2 = 0 as flag,
            [i] as list, now()::timestamp as at, null::int as nothing, 'a' || i || '@example.com' as mail
        from range(500) r(i)
    """
    duckdb.sql(f"copy ({sql}) to '{tmp_path}/t.parquet'")
    profile = profile_path(tmp_path / "t.parquet", key=("id",))
    checked: list[tuple[str, Any]] = [("entity.data.table.TableProfile", profile["tableProfile"])]
    for each in profile["columnProfile"]:
        shared = {name: value for name, value in each.items() if name in SHARED}
        if "histogram" in shared:
            shared["histogram"] = {name: shared["histogram"][name] for name in ("boundaries", "frequencies")}
        checked.append((f"{PROFILE}", {**shared, "timestamp": profile["tableProfile"]["timestamp"]}))
    names = {name for each in profile["columnProfile"] for name in each}
    assert problems((PROFILE, sorted(SHARED)), *checked) == []
    assert names >= SHARED


PROFILE = "entity.data.table.ColumnProfile"
SHARED = {
    *("name", "valuesCount", "nullCount", "nullProportion", "distinctCount", "distinctProportion", "duplicateCount"),
    *("uniqueCount", "min", "max", "minLength", "maxLength", "mean", "sum", "stddev", "median"),
    *("firstQuartile", "thirdQuartile", "histogram"),
}
"""The figures of a column that OpenMetadata has too, under the same names."""


def test_the_check_finds_mismatches() -> None:
    strange = {**ORDERS, "owner": "eve", "columns": [{"name": "x", "dataType": "TEXTUAL"}]}
    found = problems((TABLE, strange), (TABLE, ["columns", "column"]))
    assert len(found) == 3, found
