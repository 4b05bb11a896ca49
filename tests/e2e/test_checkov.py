"""checkov finds nothing in what is deployed but for what infra/checkov.yaml and the resources themselves give reasons for."""

import json
import subprocess

import pytest

from tests.processes import ROOT

CHECKOV = ROOT / ".venv-checkov/bin/checkov"

pytestmark = pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed: make .venv-checkov/installed")


def test_checkov_finds_nothing() -> None:
    command = [str(CHECKOV), "--config-file", "infra/checkov.yaml", "-d", "infra", "-o", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    reports = json.loads(done.stdout)
    found = {report["check_type"]: report for report in (reports if isinstance(reports, list) else [reports])}
    assert set(found) == {"terraform", "kubernetes", "dockerfile"}
    failed = [
        (check["check_id"], check["resource"])
        for report in found.values()
        for check in report["results"].get("failed_checks", [])
    ]
    assert failed == []
    assert all(report["summary"]["passed"] > 0 for report in found.values())
    assert all(report["summary"]["parsing_errors"] == 0 for report in found.values())
