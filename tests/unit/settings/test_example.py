"""config/instance.yaml.example has every key, correctly; the code keeps the table of keys complete."""

import re
from pathlib import Path

import pytest
import yaml

from analyst.connectors.source_types import SOURCE_TYPES
from analyst.settings import Settings
from analyst.settings.configuration import check
from analyst.settings.model import FILE_ONLY, KEYS

EXAMPLE = (Path(__file__).parents[3] / "config/instance.yaml.example").read_text()
WHOLE = re.sub(r"^( *)#(\w[\w ]*:)", r"\1\2", EXAMPLE, flags=re.MULTILINE)
PLAIN = {"DATA_URL": "file:///data"}
SECRETS = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", EXAMPLE), "x" * 40)
CONFIGS = {kind: found.config for kind, found in SOURCE_TYPES.items()}


@pytest.mark.parametrize(("text", "environ"), [(EXAMPLE, PLAIN), (WHOLE, SECRETS)], ids=["as it is", "all of it"])
def test_the_example_is_valid(text: str, environ: dict[str, str]) -> None:
    found = check(text, environ, CONFIGS)
    assert (found.problems, found.warnings) == ((), ())


def test_the_example_has_every_key_and_no_other() -> None:
    document = yaml.safe_load(WHOLE)
    shown = {f"{section}.{key}" for section, keys in document.items() for key in keys}
    assert {key for key in shown if not key.startswith("sources.")} | {"sources"} == set(KEYS)


def test_every_setting_has_a_key_or_is_for_the_environment_only() -> None:
    assert set(Settings.model_fields) - set(KEYS.values()) == {
        "config_file",
        "functions",
        "task_seconds",
        "tasks",
        "tasks_account",
        "tasks_endpoint",
        "tasks_queue",
        "tasks_url",
    }
    assert len(set(KEYS.values())) == len(KEYS)
    assert set(KEYS.values()) >= FILE_ONLY
