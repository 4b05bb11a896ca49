"""`da sync` reports expectations that are not met, columns that have changed, and metrics that became broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.processes import da, host

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_sync_reports_what_changed_in_the_catalog_once(tmp_path: Path) -> None:  # noqa: PLR0915 - one story
    files = tmp_path / "files"
    for folder in (files, tmp_path / "metrics"):
        folder.mkdir()
    orders = files / "orders.csv"
    orders.write_text("id,total,channel\n1,1.5,web\n2,2.5,app\n")
    (files / "pay.csv").write_text("id,salary\n1,1000\n")
    metrics = [
        {"name": "revenue", "table": "orders", "expression": "sum(total)"},
        {"name": "share", "numerator": "revenue", "denominator": {"metric": "revenue", "alias": "whole"}},
        {"name": "payroll", "table": "pay", "expression": "sum(salary)"},
    ]
    (tmp_path / "metrics/a.yml").write_text(json.dumps(metrics))
    metrics_dir = str(tmp_path / "metrics")
    with host(tmp_path, METRICS_DIR=metrics_dir, PROFILE_AFTER_SYNC="false", ACCESS_MAX_AGE="0", fork=True) as server:
        admin = server.bootstrap()
        server.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(files)}}, token=admin)
        server.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"}, token=admin)

        def extract() -> None:
            server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)
            server.ask("POST", "/check-metrics", {}, token=admin)

        extract()
        server.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"}, token=admin)
        wanted = [
            {"kind": "unique", "columns": ["channel"]},
            {"kind": "range", "columns": ["id"], "min": 1, "max": 2, "severity": "warn"},
        ]
        server.ask("PUT", "/api/admin/tables/shop.orders/expectations", {"expectations": wanted}, token=admin)
        _, made = server.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"}, token=admin)
        token, laptop = made["token"], tmp_path / "laptop"

        def sync(*arguments: str) -> Any:
            ran = da(laptop, "sync", *arguments, server=server, token=token)
            return json.loads(ran.stdout) if "--json" in arguments else ran.stdout + ran.stderr

        first = sync("--json")
        assert (first["schema_changes"], first["broken_metrics"], first["notes"]) == ([], [], [])

        orders.write_text("id,amount,channel\none,1.5,web\n2,2.5,web\n")
        (files / "pay.csv").write_text("id,wage\n1,1000\n")
        extract()
        planned = sync("--json", "--dry-run")
        text = sync()
        changes = "Columns of shop.orders: amount (DOUBLE) added, total removed, id changed from BIGINT to VARCHAR."
        assert changes in text
        assert [each["table"] for each in planned["schema_changes"]] == ["shop.orders"]
        assert "The metric revenue is broken: its expression fails: " in text
        assert "The metric share is broken: its input 'revenue' fails: " in text
        assert ("payroll" in text, "wage" in text) == (False, False)
        assert "Note: shop.orders: " in text
        assert "unique channel" in text

        again = sync("--json")
        assert (again["schema_changes"], again["broken_metrics"]) == ([], [])
        assert any("unique channel" in each for each in again["notes"])  # a notice stays while it is true

        orders.write_text("id,total,channel\n1,1.5,web\n2,2.5,app\n")
        extract()
        assert sync("--json")["broken_metrics"] == []
        orders.write_text("id,totals,channel\n1,1.5,web\n2,2.5,app\n")
        extract()
        found = sync("--json")
        assert [each["metric"] for each in found["broken_metrics"]] == ["revenue", "share"]
        assert found["schema_changes"] == [
            {
                "table": "shop.orders",
                "added": [{"name": "totals", "type": "DOUBLE"}],
                "removed": [{"name": "total", "type": "DOUBLE"}],
                "retyped": [],
            }
        ]
        log = tmp_path / "host.log"
        asked = log.read_text().count("/api/metrics")
        sync()
        assert log.read_text().count("/api/metrics") == asked
