"""Leaks that are planted in a copy of the code, a line each: `da admin leak-check` finds every one of them."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from da.leak_check import Report
from tests.clouds import FileCloud
from tests.integration.test_leak_check import Company, check
from tests.integration.world import BOOTSTRAP_SECRET, SERVICE_TOKEN
from tests.processes import ROOT, host

METRIC = {"display_name": "Rows", "table": "erp.t000", "expression": "count(*)", "description": "All rows."}


@dataclass(frozen=True, slots=True)
class Patch:
    """A line of a file that occurs once, and what is put in its place."""

    path: str
    old: str
    new: str


_EVERY = "snapshot.catalog.tables"
PATCHES = (
    Patch(
        "shared/analyst/access/rules.py",
        "for id_, table in access.tables.items() if table.is_public)",
        "for id_ in access.tables)",
    ),
    Patch("shared/analyst/access/rules.py", "    for group in caller.groups:", "    for group in ():"),
    Patch("shared/analyst/manifest.py", "tables = visible(snapshot, access, caller)", f"tables = list({_EVERY})"),
    Patch("shared/analyst/catalog_view.py", "for table in visible(snapshot, access, caller)", f"for table in {_EVERY}"),
    Patch(
        "shared/analyst/catalog_view.py",
        "table = require(snapshot, access, caller, table_id)",
        "table = snapshot.by_id[table_id]",
    ),
    Patch("shared/analyst/catalog_search.py", "find(snapshot, access, caller, id_)", "snapshot.by_id.get(id_)"),
    Patch(
        "functions/api/table_data.py",
        "table = require(snapshot, access, ctx.caller, request.id)",
        "table = snapshot.by_id[request.id]",
    ),
    Patch(
        "functions/api/lineage.py", "require(snapshot, access, ctx.caller, query.table)", "snapshot.by_id[query.table]"
    ),
    Patch(
        "functions/api/descriptions.py",
        "    table = require(snapshot, access, ctx.caller, table_id)",
        "    table = snapshot.by_id[table_id]",
    ),
    Patch(
        "functions/api/expectations.py",
        "table = require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, table_id)",
        "table = ctx.snapshots.current().by_id[table_id]",
    ),
    Patch("functions/api/query.py", "    allow=Role.ANALYST,", "    allow=Role.VIEWER,"),
    Patch(
        "shared/analyst/query/engine.py",
        'return visible_tables.find(self.snapshot, self.access, self.caller, f"{schema}.{table}")',
        'return self.snapshot.by_id.get(f"{schema}.{table}")',
    ),
    Patch(
        "shared/analyst/query/engine.py",
        "return visible_tables.find(self.snapshot, self.access, self.caller, each.id)",
        "return each",
    ),
    Patch(
        "shared/analyst/signed_urls.py",
        "return table if self.access.may_download(self.caller, table_id) else None",
        "return table",
    ),
    Patch(
        "shared/analyst/signed_urls.py",
        "table = visible_tables.find(snapshot, self.access, self.caller, table_id)\n        return table if self.access.may_download(self.caller, table_id) else None",
        "return snapshot.by_id.get(table_id)",
    ),
    Patch(
        "shared/analyst/sharing/shares.py",
        'return table.query_mode != "remote" and self.access.may_download(self.caller, table.id)',
        'return table.query_mode != "remote"',
    ),
    Patch(
        "shared/analyst/sharing/shares.py",
        "for table in visible_tables.visible(self.snapshot, self.access, self.caller)\n            if self.is_shared(table)",
        "for table in self.snapshot.catalog.tables",
    ),
    Patch(
        "shared/analyst/store/signing.py",
        '    if not hmac.compare_digest(wanted.encode(), parameters.get("signature", "").encode(errors="replace")):',
        "    if not wanted:",
    ),
    Patch(
        "shared/analyst/agents/server_warehouse.py",
        'return visible_tables.require(self._current, self.access, self.caller, wanted.replace(\'"\', ""))',
        'return self._current.by_id[wanted.replace(\'"\', "")]',
    ),
    Patch(
        "shared/analyst/agents/server_warehouse.py",
        "tables = [self._hit(table) for table in visible_tables.visible(self._current, self.access, self.caller)]",
        "tables = [self._hit(table) for table in self._current.catalog.tables]",
    ),
    Patch(
        "shared/analyst/agents/server_warehouse.py",
        "tables = visible_tables.visible(found, self.access, self.caller)",
        "tables = found.catalog.tables",
    ),
    Patch(
        "shared/analyst/metrics/checked_metrics.py",
        "readable = {table.id for table in visible(snapshot, access, caller)}",
        f"readable = {{table.id for table in {_EVERY}}}",
    ),
    Patch(
        "shared/analyst/pages/catalog.py",
        "readable = visible(self.snapshot, self.access, self.caller)",
        "readable = list(self.snapshot.catalog.tables)",
    ),
    Patch(
        "functions/pages/table.py",
        "table = require(snapshot, access, ctx.caller, query.id)",
        "table = snapshot.by_id[query.id]",
    ),
    Patch(
        "functions/pages/query_page.py",
        "tables = visible(ctx.snapshots.current(), ctx.access.current(), ctx.caller)",
        "tables = list(ctx.snapshots.current().catalog.tables)",
    ),
)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    folder = tmp_path_factory.mktemp("company")
    world = Company(folder, FileCloud(folder / "bucket"))
    world.fill(folder, people=4, tables=6)
    world.ask("PUT", "/api/admin/metrics/rows", {"definition": METRIC})
    world.process.close()
    return world


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code."""
    folder = tmp_path_factory.mktemp("code")
    for part in ("functions", "shared"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.path)
def test_every_patch_changes_one_place(patch: Patch) -> None:
    assert (ROOT / patch.path).read_text(encoding="utf-8").count(patch.old) == 1


def checked(company: Company, code: Path, home: Path) -> Report:
    """Start the functions of a copy of the code on a copy of the bucket, and check them."""
    home.mkdir(exist_ok=True)
    cloud = company.cloud.copy(home)
    settings: dict[str, Any] = {
        "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "PYTHONPATH": f"{code / 'shared'}{os.pathsep}{code}",
        "FUNCTION_SOURCE": str(code / "functions/host.py"),
        "PROFILE_AFTER_SYNC": "false",
    }
    with host(home, cloud, **settings) as running:
        return check(running, company.admin)


def test_nothing_is_planted_in_a_plain_copy(company: Company, copy: Path, tmp_path: Path) -> None:
    assert [each.to_json() for each in checked(company, copy, tmp_path / "plain").findings] == []


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: f"{patch.path}: {patch.old[:40].strip()}")
def test_a_planted_leak_is_found(patch: Patch, company: Company, copy: Path, tmp_path: Path) -> None:
    path = copy / patch.path
    whole = path.read_text(encoding="utf-8")
    assert whole.count(patch.old) == 1
    path.write_text(whole.replace(patch.old, patch.new), encoding="utf-8")
    try:
        report = checked(company, copy, tmp_path / "patched")
    finally:
        path.write_text(whole, encoding="utf-8")
    assert report.findings


def test_twenty_people_and_a_hundred_tables_take_a_minute_at_most(tmp_path: Path) -> None:
    world = Company(tmp_path, FileCloud(tmp_path / "bucket"))
    world.fill(tmp_path, people=20, tables=100)
    world.process.close()
    with host(
        tmp_path, world.cloud, BOOTSTRAP_SECRET=BOOTSTRAP_SECRET, SERVICE_TOKEN=SERVICE_TOKEN, WORKERS="2"
    ) as running:
        began = time.monotonic()
        report = check(running, world.admin)
        seconds = time.monotonic() - began
    assert report.findings == []
    assert (report.people, report.tables) == (20, 100)
    assert seconds < 60, f"{seconds:.0f} s for {report.requests} requests"
