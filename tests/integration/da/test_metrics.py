"""`da metrics`: listed, compiled, shown and run on the mirror of a real server."""

import json
from pathlib import Path

import pytest

from tests.processes import da, host

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_metric_is_compiled_shown_and_run_on_the_mirror(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "metrics").mkdir()
    (tmp_path / "files/orders.csv").write_text("id,total,channel,at\n1,1.5,web,2024-01-01\n2,2.5,app,2024-02-01\n")
    metric = {"name": "revenue", "table": "orders", "expression": "total", "type": "sum", "time_column": "at"}
    more = {"dimensions": ["channel"], "description": "What we sold"}
    (tmp_path / "metrics/a.yml").write_text(
        json.dumps([{**metric, **more}, {**metric, "name": "lost", "table": "nothing"}])
    )
    with host(tmp_path, METRICS_DIR=str(tmp_path / "metrics"), PROFILE_AFTER_SYNC="false", fork=True) as server:
        token = server.bootstrap()
        config = {"type": "csv", "config": {"path": str(tmp_path / "files")}}
        server.ask("POST", "/api/admin/sources/shop", config, token=token)
        server.ask("POST", "/extract/csv", {"source": "shop"}, token=token)
        laptop = tmp_path / "laptop"
        da(laptop, "sync", server=server, token=token)
        listed = da(laptop, "metrics", server=server, token=token).stdout
        assert "What we sold" in listed
        assert "broken: the table 'nothing' does not exist" in listed
        found = da(
            laptop, "metrics", "revenue", "--by", "channel", "--grain", "month", "--json", server=server, token=token
        )
        document = json.loads(found.stdout)
        assert [(each["channel"], each["revenue"]) for each in document["rows"]] == [("web", 1.5), ("app", 2.5)]
        assert document["sql"].startswith("select\n")
        shown = da(laptop, "metrics", "revenue", "--where", "total > 2", server=server, token=token).stdout
        assert "where (total > 2)" in shown
        assert "2.5" in shown
        exported = da(laptop, "metrics", "--export", "ossie", server=server, token=token).stdout
        assert exported.startswith("version: 0.2.0.dev0")
        for arguments, message in (
            (["revnue"], "did you mean 'revenue'?"),
            (["lost"], "the metric 'lost' is broken: the table 'nothing' does not exist"),
            (["revenue", "--by", "x"], "has no dimension 'x'; it has channel"),
            (["revenue", "--grain", "x"], "there is no grain 'x'"),
            (["revenue", "--where", "nope"], "can't compute the metric 'revenue' on the mirror"),
            (["--by", "x"], "need the name of a metric"),
        ):
            ran = da(laptop, "metrics", *arguments, server=server, token=token, check=False)
            assert (ran.returncode > 0, message in ran.stderr) == (True, True), ran.stderr
    offline = da(laptop, "metrics", "revenue", "--json", server=server, token=token)
    assert json.loads(offline.stdout)["rows"] == [{"revenue": 4.0}]
    assert "can't be reached" in offline.stderr
