"""config/.env.template explains every setting, and Compose passes each on."""

import re
from pathlib import Path

import pytest
import yaml

from analyst.settings.model import SECRETS, VARIABLES

ROOT = Path(__file__).parents[2]
TEMPLATE = (ROOT / "config/.env.template").read_text()
SETTINGS = sorted(VARIABLES)
CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_template_explains_every_setting(name: str) -> None:
    assert re.search(rf"^# .*\n(?:#?\w+=.*\n)*#?{name}=", TEMPLATE, re.MULTILINE)


def test_the_template_contains_only_variables_that_are_read() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", TEMPLATE, re.MULTILINE))
    read = set(re.findall(r"\$\{(\w+)", compose)) | {"LOCAL_ADDRESS"}
    assert named - set(SETTINGS) == read - set(SETTINGS)


def test_compose_passes_every_setting_to_the_functions() -> None:
    app = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["app"]
    files = {f"{name.upper()}_FILE" for name in SECRETS}
    others = {"DATA_DIR", "WORKERS", "LOCAL_ADDRESS", "TMPDIR", *CREDENTIALS}
    assert set(app["environment"]) - others - files == set(SETTINGS) - {"CONFIG_FILE"}


def test_compose_reads_every_secret_from_a_file() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    names = {name.lower() for name in SECRETS}
    assert set(compose["secrets"]) == names
    for service in ("app", "worker"):
        assert set(compose["services"][service]["secrets"]) == names
    for name in names:
        assert compose["secrets"][name]["file"] == f"${{{name.upper()}_FILE:-/dev/null}}"
        assert compose["services"]["app"]["environment"][f"{name.upper()}_FILE"] == f"/run/secrets/{name}"


@pytest.mark.parametrize("service", ["app", "worker", "scheduler", "extract", "s3", "gateway"])
def test_compose_confines_every_service(service: str) -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][service]
    assert document["read_only"]
    assert document["cap_drop"] == ["ALL"]
    assert document["security_opt"] == ["no-new-privileges:true"]
    assert document["mem_limit"]
    assert document["pids_limit"]
