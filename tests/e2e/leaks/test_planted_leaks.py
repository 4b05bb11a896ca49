"""Leaks that are planted in a copy of the code, a line each: `da admin leak-check` finds every one of them."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from da.leak_check import Report
from tests.clouds import FileCloud
from tests.integration.test_leak_check import Company, check
from tests.integration.world import BOOTSTRAP_SECRET, SERVICE_TOKEN
from tests.planted_leaks import PATCHES, Patch
from tests.processes import ROOT, host

METRIC = {"display_name": "Rows", "table": "erp.t000", "expression": "count(*)", "description": "All rows."}


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


def test_a_copy_without_planted_leaks_passes(company: Company, copy: Path, tmp_path: Path) -> None:
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


def test_a_check_of_twenty_people_and_a_hundred_tables_takes_a_minute_at_most(tmp_path: Path) -> None:
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
