"""The file of Compose: what starts by default and with each profile, and that old and new programs accept it."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROGRAMS = [program for program in (["docker-compose"], ["docker", "compose"]) if shutil.which(program[0])]


def started(profile: str | None = None) -> set[str]:
    return {name for name, service in SERVICES.items() if not service.get("profiles") or profile in service["profiles"]}


@pytest.mark.parametrize(
    ("profile", "more"), [(None, set()), ("extract", {"extract"}), ("s3", {"s3"}), ("full", {"s3", "gateway"})]
)
def test_a_profile_adds_its_services(profile: str | None, more: set[str]) -> None:
    assert started(profile) == {"app", "worker", "scheduler"} | more


def test_only_the_app_and_the_gateway_are_published_and_by_default_on_this_host_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "app": ["${LISTEN:-127.0.0.1}:${PORT:-8000}:8080"],
        "gateway": ["${LISTEN:-127.0.0.1}:${WS_GATEWAY_PORT:-8765}:8765"],
    }


def test_services_are_watched_restarted_and_limited() -> None:
    for name, service in SERVICES.items():
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        if name == "extract":
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped"
        assert "test" in service["healthcheck"], name


def test_services_start_when_those_they_need_are_healthy() -> None:
    needed = {name: service["depends_on"] for name, service in SERVICES.items() if "depends_on" in service}
    assert {name: list(conditions) for name, conditions in needed.items()} == {
        "app": ["worker"],
        "scheduler": ["app"],
        "extract": ["app"],
    }
    assert {one["condition"] for conditions in needed.values() for one in conditions.values()} == {"service_healthy"}


@pytest.mark.skipif(not PROGRAMS, reason="neither docker-compose nor docker is installed")
@pytest.mark.parametrize("profile", ["extract", "s3", "full"])
def test_the_installed_versions_of_compose_accept_the_file(profile: str) -> None:
    environ = {**os.environ, "SERVICE_TOKEN": "s" * 32, "BOOTSTRAP_SECRET": "b" * 32, "COMPOSE_PROFILES": profile}
    for program in PROGRAMS:
        command = [*program, "-f", str(ROOT / "docker-compose.yml"), "config", "-q"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=ROOT)
        if "is not a docker command" not in done.stderr and "unknown shorthand" not in done.stderr:
            assert done.returncode == 0, done.stderr
