"""config/.env.template explains every setting, and Compose passes each on."""

import re
from pathlib import Path

import pytest
import yaml

from analyst.settings.keys import VARIABLES

ROOT = Path(__file__).parents[2]
TEMPLATE = (ROOT / "config/.env.template").read_text()
SETTINGS = sorted(VARIABLES)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_template_explains_every_setting(name: str) -> None:
    assert re.search(rf"^# .*\n(?:\w+=\n)*#?{name}=", TEMPLATE, re.MULTILINE)


def test_the_template_names_nothing_that_is_not_read() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", TEMPLATE, re.MULTILINE))
    assert named - set(SETTINGS) == set(re.findall(r"\$\{(\w+)", compose)) - set(SETTINGS)


def test_compose_passes_every_setting_to_the_functions() -> None:
    app = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["app"]
    of_other_buckets = {"DATA_URL", "GCS_ENDPOINT", "S3_ENDPOINT", "S3_PUBLIC_ENDPOINT"}
    assert set(app["environment"]) - {"DATA_DIR", "WORKERS"} == set(SETTINGS) - of_other_buckets - {
        "CONFIG_FILE",
        "SCRATCH_DIR",
    }
