"""Keboola's own client lists, exports and downloads from the double: so the double is like Keboola where it matters.

The client pins cloud SDKs that conflict with ours, so it runs in an environment of its own, `.venv-kbcstorage`
(`make kbcstorage`).
"""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.keboola.project import Project, Provider
from tests.doubles.keboola.server import serving
from tests.processes import ROOT

PYTHON = ROOT / ".venv-kbcstorage/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="kbcstorage is not installed: make kbcstorage"),
]

_CODE = """
import json, sys
from kbcstorage.client import Client
results = []
for url, token, into, is_gzip in json.loads(sys.argv[1]):
    client = Client(url, token)
    file = client.tables.export_to_file("in.c-crm.contacts", into, is_gzip=is_gzip)
    results.append({
        "buckets": [bucket["id"] for bucket in client.buckets.list()],
        "tables": [table["id"] for table in client.tables.list(include=["columns", "buckets"])],
        "in bucket": [table["id"] for table in client.buckets.list_tables("in.c-crm")],
        "columns": client.tables.detail("in.c-crm.contacts")["columns"],
        "file": file,
    })
print(json.dumps(results))
"""
ROWS = [(str(number), f'"{number}", čau\n😀') for number in range(5)]


@pytest.mark.parametrize("provider", ["gcp", "aws", "azure"])
def test_keboolas_client_reads_the_double(tmp_path: Path, provider: Provider) -> None:
    project = Project(provider=provider, parquet=False)
    project.table("in.c-crm.contacts", ["id", "Name"], ROWS, key=["id"])
    with serving(project) as served:
        orders = []
        for name, packed in (("packed", True), ("plain", False)):
            (tmp_path / name).mkdir()
            orders.append((served.url, project.token, str(tmp_path / name), packed))
        results = run(served.url, orders, at=tmp_path)
    for found in results:
        assert found["buckets"] == ["in.c-crm"]
        assert found["tables"] == found["in bucket"] == ["in.c-crm.contacts"]
        assert found["columns"] == ["id", "Name"]
        with Path(found["file"]).open(encoding="utf-8", newline="") as file:
            header, *written = [tuple(row) for row in csv.reader(file)]
        assert header == ("id", "Name")
        assert sorted(written) == ROWS


def run(url: str, orders: list[tuple[str, str, str, bool]], *, at: Path) -> list[dict[str, Any]]:
    """Run the client against the double, which stands in for the clouds as well."""
    environ = {
        **os.environ,
        "AWS_ENDPOINT_URL_S3": url,
        "STORAGE_EMULATOR_HOST": url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [PYTHON, "-c", _CODE, json.dumps(orders)],
        cwd=at,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
