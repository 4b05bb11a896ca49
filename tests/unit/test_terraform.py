"""The configuration of Terraform is well-formed, and what it grants follows from the groups of functions."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
import pytest

from infra.deployment import routes, services
from tests.doubles.terraform.schema import PROVIDER

FOLDER = Path(__file__).parents[2] / "infra/terraform"
TEXT = "\n".join(path.read_text() for path in sorted(FOLDER.glob("*.tf")))
GENERATED = json.loads((FOLDER / "services.json").read_text())
FOUND = services()


def plain(value: Any) -> Any:
    """Remove the quotes that versions of the parser leave around names and texts, and its own keys."""
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value[1:-1] if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"' else value


@cache
def parsed() -> dict[str, list[Any]]:
    """All files together, by kind of block."""
    found: dict[str, list[Any]] = {}
    for path in sorted(FOLDER.glob("*.tf")):
        with path.open() as file:
            document = plain(hcl2.load(file))
        for kind, blocks in document.items():
            found.setdefault(kind, []).extend(blocks if isinstance(blocks, list) else [blocks])
    return found


def resources() -> dict[tuple[str, str], Any]:
    return {
        (kind, name): body
        for block in parsed()["resource"]
        for kind, named in block.items()
        for name, body in named.items()
    }


def names(kind: str) -> set[str]:
    return {name for block in parsed()[kind] for name in block}


SCHEMAS = {
    path.stem: json.loads(path.read_text())["provider_schemas"][PROVIDER]["resource_schemas"]
    for path in sorted((FOLDER.parents[1] / "tests/doubles/terraform").glob("google-*.json"))
}
OWN = {"for_each", "count", "depends_on", "lifecycle", "provider"}
"""Arguments of every resource."""


def wrong(path: str, body: Mapping[str, Any], block: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a block its schema does not have, or requires and is missing."""
    attributes, blocks = block["attributes"], block.get("block_types", {})
    dynamic = {name: one["content"] for each in body.get("dynamic", []) for name, one in each.items()}
    given = {**{name: one for name, one in body.items() if name != "dynamic"}, **dynamic}
    for name, value in given.items():
        if name in blocks:
            for item in value if isinstance(value, list) else [value]:
                yield from wrong(f"{path}.{name}", item, blocks[name]["block"])
        elif name not in attributes:
            yield f"{path}.{name} does not exist"
        elif not {"required", "optional"} & {flag for flag, is_set in attributes[name].items() if is_set is True}:
            yield f"{path}.{name} can't be set"
    needed = {name for name, one in attributes.items() if one.get("required")}
    needed |= {name for name, one in blocks.items() if one.get("min_items")}
    yield from (f"{path}.{name} is missing" for name in sorted(needed - given.keys()))


@pytest.mark.parametrize("version", SCHEMAS)
def test_every_argument_exists_in_the_allowed_versions_of_the_provider(version: str) -> None:
    found = [
        problem
        for (kind, name), body in resources().items()
        for problem in wrong(
            f"{kind}.{name}", {key: one for key, one in body.items() if key not in OWN}, SCHEMAS[version][kind]["block"]
        )
    ]
    assert found == []


def test_the_checked_versions_of_the_provider_are_the_oldest_and_each_major_one() -> None:
    ((required,),) = [block["required_providers"] for block in parsed()["terraform"]]
    lowest, highest = re.findall(r"[\d.]+", required["google"]["version"])
    checked = [tuple(map(int, version.removeprefix("google-").split("."))) for version in SCHEMAS]
    assert f"{checked[0][0]}.{checked[0][1]}" == lowest
    assert [major for major, *_ in checked] == list(range(checked[0][0], int(highest.split(".")[0])))


def test_every_reference_has_a_target() -> None:
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == names("variable")
    assert set(re.findall(r"\blocal\.(\w+)", TEXT)) <= names("locals")
    known = {f"{kind}.{name}" for kind, name in resources()}
    used = set(re.findall(r"(?<![\w./\"-])(google_\w+\.\w+)", TEXT))
    assert used <= known
    assert used


def test_every_resource_waits_for_the_apis() -> None:
    """In a new project, an API answers only after it was enabled. What a resource refers to is created before it."""
    needs = {
        f"{kind}.{name}": set(re.findall(r"(?<![\w./\"-])(google_\w+\.\w+)", json.dumps(body)))
        for (kind, name), body in resources().items()
    }
    ready = {"google_project_service.apis"}
    while more := {name for name, others in needs.items() if name not in ready and others & ready}:
        ready |= more
    assert set(needs) - ready == set()


@pytest.mark.parametrize(
    "kind",
    [
        "google_artifact_registry_repository",
        "google_billing_budget",
        "google_cloud_run_v2_service",
        "google_cloud_scheduler_job",
        "google_cloud_tasks_queue",
        "google_compute_url_map",
        "google_monitoring_alert_policy",
        "google_monitoring_uptime_check_config",
        "google_secret_manager_secret",
        "google_service_account",
        "google_storage_bucket",
    ],
)
def test_the_configuration_has_each_kind_of_resource(kind: str) -> None:
    assert kind in {found for found, _ in resources()}


def test_the_bucket_is_private_and_bills_no_overwritten_objects() -> None:
    bucket = resources()["google_storage_bucket", "data"]
    assert bucket["uniform_bucket_level_access"] is True
    assert bucket["public_access_prevention"] == "enforced"
    assert bucket["soft_delete_policy"][0]["retention_duration_seconds"] == 0
    assert bucket["versioning"][0]["enabled"] is False
    assert bucket["cors"][0]["method"] == ["GET", "HEAD"]


def test_processors_are_billed_by_request() -> None:
    """This is why tasks exist: with instances that are billed all the time, a small installation would cost much more."""
    service = resources()["google_cloud_run_v2_service", "groups"]
    assert service["template"][0]["containers"][0]["resources"][0]["cpu_idle"] is True
    assert service["ingress"] == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"


def test_the_only_project_role_is_to_read_bigquery_if_a_variable_enables_it() -> None:
    assert [key for key in resources() if key[0].startswith("google_project_iam")] == [
        ("google_project_iam_member", "bigquery")
    ]
    (roles,) = [block["bigquery_roles"] for block in parsed()["locals"] if "bigquery_roles" in block]
    assert set(plain(roles)) == {f"roles/bigquery.{role}" for role in ("dataViewer", "jobUser", "readSessionUser")}
    (variable,) = [block["bigquery_projects"] for block in parsed()["variable"] if "bigquery_projects" in block]
    assert variable["default"] == []


def test_the_right_to_read_bigquery_is_limited_to_the_services_that_read_it() -> None:
    """Extracts and discovery, and queries over remote tables; an engine of a materialized table is an extract, too."""
    reading = {"functions.extract.bigquery", "functions.extract.materialized", "functions.api.query"}
    expected = {service.name for service in FOUND if reading & {*service.modules}}
    assert {service.name for service in FOUND if service.group.bigquery} == expected == {"extract", "query"}


def test_the_gateway_is_deployed_only_if_it_is_requested() -> None:
    assert [name for name, group in GENERATED["groups"].items() if group["optional"]] == ["gateway"]
    assert "if var.gateway || !group.optional" in TEXT
    assert "if contains(keys(local.groups), route.service)" in TEXT
    assert {"path": "/ws/notifications", "service": "gateway"} in GENERATED["routes"]
    assert "roles/owner" not in TEXT
    assert "roles/editor" not in TEXT
    assert "roles/storage.admin" not in TEXT


def test_only_groups_that_add_tasks_may_create_them() -> None:
    for name in ("google_cloud_tasks_queue_iam_member", "google_service_account_iam_member"):
        (body,) = [
            block for (kind, of), block in resources().items() if kind == name and of in ("enqueuers", "act_as_tasks")
        ]
        assert "group.enqueues" in body["for_each"]
    assert {group for group, settings in GENERATED["groups"].items() if settings["enqueues"]} == {
        service.name for service in FOUND if service.group.enqueues
    }


def test_the_routes_are_valid_templates_of_the_functions() -> None:
    assert [(route["path"], route["service"]) for route in GENERATED["routes"]] == routes(FOUND)
    for route in GENERATED["routes"]:
        assert re.fullmatch(r"(/[A-Za-z0-9._~-]+|/\*)+(/\*\*)?", route["path"]), route
    assert len(GENERATED["routes"]) <= 200  # the rules that a path matcher may have


def test_timeouts_leave_time_to_cut_an_extract() -> None:
    extract = GENERATED["groups"]["extract"]
    assert int(extract["variables"]["TASK_SECONDS"]) < 1800 < extract["timeout"] <= 3600
