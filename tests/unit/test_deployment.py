"""What is deployed follows from the functions: each is served once, everywhere, by a service that may do what it needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from analyst.http.application import discover
from analyst.http.spec import Allow
from infra.deployment import Service, outdated, routes, services
from tests.all_functions import FUNCTIONS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
FOUND = services()
BY_NAME = {service.name: service for service in FOUND}


def served(service: Service) -> set[tuple[str, str]]:
    return {(function.method, function.path.text) for function in service.functions}


def all_functions() -> set[tuple[str, str]]:
    return {(found.function.method, found.function.path.text) for found in FUNCTIONS}


def test_every_function_belongs_to_exactly_one_group() -> None:
    everywhere = [function for service in FOUND for function in served(service)]
    assert sorted(everywhere) == sorted(all_functions())


@pytest.mark.parametrize("service", FOUND, ids=lambda service: service.name)
def test_a_service_started_with_its_modules_serves_its_functions_and_no_other(service: Service) -> None:
    found = {(each.function.method, each.function.path.text) for each in discover(service.modules)}
    assert found == served(service)


@pytest.mark.parametrize("name", ["app", "worker"])
def test_compose_serves_every_function(name: str) -> None:
    """By default, both serve all of them: neither is limited to some modules unless the user says so."""
    service = COMPOSE["services"][name]
    assert service["environment"].get("FUNCTIONS", "") in ("", "${FUNCTIONS:-}")
    assert "profiles" not in service
    assert "command" not in service


def test_the_generated_files_are_current() -> None:
    assert outdated() == []


def answers(rules: list[tuple[str, str]], path: str) -> str:
    """Return the service that a load balancer picks: the first of the rules that matches, else `api`."""
    for pattern, name in rules:
        expression = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
        if re.fullmatch(expression, path):
            return name
    return "api"


@pytest.mark.parametrize("service", FOUND, ids=lambda service: service.name)
def test_the_routes_lead_to_the_service_of_each_function(service: Service) -> None:
    rules = routes(FOUND)
    for function in service.functions:
        parts = {name: "a/b.c" if name in function.path.spanning else "x" for name in function.path.names}
        assert answers(rules, function.path.text.format(**parts)) == service.name


def test_functions_for_services_are_not_public() -> None:
    for service in FOUND:
        if not service.group.public:
            continue
        inner = [each.path.text for each in service.functions if each.allow is Allow.SERVICE and each.accepts is None]
        assert {path for path in inner if not path.startswith(("/api/sync/", "/webhooks/"))} == set()


def test_the_read_path_cannot_change_the_state() -> None:
    bucket = BY_NAME["read"].group.bucket
    assert bucket.write == ()
    assert set(bucket.create) == {"state/audit/", "state/token-uses/"}


def test_the_webhook_can_only_create_events_and_tasks() -> None:
    bucket = BY_NAME["webhook"].group.bucket
    assert bucket.write == ("state/tasks/",)
    assert set(bucket.create) == {"extracts/", "state/audit/"}


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / f"infra/knative/base/{name}.yaml").read_text()))


@pytest.mark.parametrize("service", FOUND, ids=lambda service: service.name)
def test_a_knative_service_is_confined_and_as_large_as_its_group(service: Service) -> None:
    knative, account = manifests(service.name)
    spec = knative["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert variables.get("FUNCTIONS", "") == ",".join(service.modules)
    assert container.get("command", []) == list(service.group.command)
    assert service.modules or container["command"]
    assert (spec["containerConcurrency"], spec["timeoutSeconds"]) == (service.group.concurrency, service.group.timeout)
    assert container["resources"]["limits"] == {"cpu": str(service.group.cpu), "memory": service.group.memory}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    assert {name.upper() for name in service.group.secrets} <= variables.keys()
    is_inner = knative["metadata"]["labels"].get("networking.knative.dev/visibility") == "cluster-local"
    assert is_inner is not service.group.public


def test_kustomize_lists_every_manifest() -> None:
    (kustomization,) = manifests("kustomization")
    files = {path.name for path in (ROOT / "infra/knative/base").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / f"infra/knative/base/{name}.yaml").read_text()))


def test_the_route_is_no_larger_than_the_gateway_api_allows() -> None:
    """At most 16 rules, 64 matches in each, and fewer than 128 together."""
    (route,) = documents("routes")
    matches = [len(rule["matches"]) for rule in route["spec"]["rules"]]
    assert len(matches) <= 16
    assert max(matches) <= 64
    assert sum(matches) < 128


@pytest.mark.parametrize("service", FOUND, ids=lambda service: service.name)
def test_every_service_on_kubernetes_can_be_given_the_credentials_of_a_bucket(service: Service) -> None:
    (container,) = documents(service.name)[0]["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("valueFrom", {}).get("secretKeyRef") for one in container["env"]}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert given[name] == {"name": "ai-data-analyst", "key": name, "optional": True}
