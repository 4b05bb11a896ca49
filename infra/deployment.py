"""Generates what Terraform and Knative deploy, from `infra/services.yaml` and the functions themselves.

Usage: deployment.py writes `infra/terraform/services.json` and the manifests in `infra/knative/base`; with --check, it only
reports whether they are current.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field

from analyst.http.application import discover
from analyst.http.spec import FunctionSpec

ROOT: Final = Path(__file__).resolve().parent.parent
SERVICES: Final = ROOT / "infra/services.yaml"
TERRAFORM: Final = ROOT / "infra/terraform/services.json"
KNATIVE: Final = ROOT / "infra/knative/base"


_TMP: Final = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - in a container


_OF_THE_BUCKET: Final = ("aws_access_key_id", "aws_secret_access_key")
"""Secrets of a bucket on S3, for services whose account is not recognized there."""


class Access(BaseModel):
    """What a service may do below prefixes of the bucket."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


class Size(BaseModel):
    """What differs in a large installation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: int | None = None
    memory: str | None = None
    instances: tuple[int, int] | None = None


class Group(BaseModel):
    """A service; see the comment in `infra/services.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    modules: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    optional: bool = False
    cpu: int = Field(ge=1, le=8)
    memory: str = Field(pattern=r"^[0-9]+(Mi|Gi)$")
    concurrency: int = Field(ge=1, le=1000)
    timeout: int = Field(ge=1, le=3600)
    instances: tuple[int, int]
    large: Size = Size()
    public: bool
    variables: Mapping[str, str] = {}
    secrets: tuple[str, ...]
    bucket: Access
    enqueues: bool
    bigquery: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A group with its name, and the functions that it serves."""

    name: str
    group: Group
    functions: tuple[FunctionSpec, ...]

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of its functions."""
        return tuple(sorted({function.module for function in self.functions}))


def services() -> list[Service]:
    """Return the services in the order of the file.

    Raises:
        ValueError: a function belongs to no group, or a module to two.
    """
    document = yaml.safe_load(SERVICES.read_text(encoding="utf-8"))
    groups = {name: Group.model_validate(group) for name, group in document["groups"].items()}
    owner: dict[str, str] = {}
    for name, group in groups.items():
        for module in group.modules:
            if owner.setdefault(module, name) != name:
                raise ValueError(f"the module {module!r} belongs to the groups {owner[module]!r} and {name!r}")
    served: dict[str, list[FunctionSpec]] = {name: [] for name in groups}
    for found in discover(["functions"]):
        served[_owner(found.function.module, owner)].append(found.function)
    return [Service(name, group, tuple(_sorted(served[name]))) for name, group in groups.items()]


def _owner(module: str, owner: Mapping[str, str]) -> str:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (found := owner.get(".".join(parts[:length]))) is not None:
            return found
    raise ValueError(f"no group of infra/services.yaml serves {module!r}; name it, or the package that contains it")


def _sorted(functions: Iterable[FunctionSpec]) -> list[FunctionSpec]:
    return sorted(functions, key=lambda function: (function.path.text, function.method))


def routes(found: Sequence[Service], default: str = "api") -> list[tuple[str, str]]:
    """Return the rules of a URL map: patterns of paths with the service of each, the more specific first.

    A segment in braces matches one segment (`*`), a path to the end (`**`), as in the templates of Google's load balancers.
    All methods of one pattern have one service, so a pattern that two services share belongs to neither.

    Raises:
        ValueError: two services have functions at one path.
    """
    owner = {path: service.name for service in found for path in service.group.paths}
    for service in found:
        for function in service.functions:
            pattern = function.path.shape.replace("{*}", "**").replace("{}", "*")
            if owner.setdefault(pattern, service.name) != service.name:
                raise ValueError(f"{pattern!r} is served by {owner[pattern]!r} and by {service.name!r}")
    rules = [
        (pattern, name) for pattern, name in owner.items() if name != default or _is_shadowed(pattern, owner, name)
    ]
    return sorted(rules, key=lambda rule: (_freedom(rule[0]), rule[0]))


def _freedom(pattern: str) -> tuple[int, int]:
    """Order patterns: those with fewer wildcards first, then the longer ones."""
    return pattern.count("*"), -len(pattern)


def _is_shadowed(pattern: str, owner: Mapping[str, str], name: str) -> bool:
    """Return whether a wildcard of another service matches this path, so that it needs a rule of its own."""
    return any(other != name and "*" in wild and _matches(wild, pattern) for wild, other in owner.items())


def _matches(wild: str, pattern: str) -> bool:
    parts, others = wild.split("/"), pattern.split("/")
    for index, part in enumerate(parts):
        if part == "**":
            return len(others) > index
        if index >= len(others) or part not in ("*", others[index]):
            return False
    return len(parts) == len(others)


def terraform(found: Sequence[Service]) -> str:
    """Return `services.json`, which the configuration of Terraform reads."""
    groups = {
        service.name: {
            **service.group.model_dump(mode="json", exclude={"modules", "large"}),
            "functions": ",".join(service.modules),
            "large": service.group.large.model_dump(mode="json", exclude_none=True),
        }
        for service in found
    }
    rules = [{"path": path, "service": name} for path, name in routes(found)]
    return json.dumps({"groups": groups, "routes": rules}, indent=2) + "\n"


def knative(found: Sequence[Service]) -> dict[str, str]:
    """Return the manifests of Knative by file name."""
    files = {f"{service.name}.yaml": _manifest(service) for service in found}
    names = ["config.yaml", "schedule.yaml", "routes.yaml", *files]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(names),
        "images": [{"name": "ai-data-analyst", "newName": "ai-data-analyst", "newTag": "latest"}],
    }
    return {
        **files,
        "config.yaml": _yaml(_config()),
        "schedule.yaml": _yaml(_schedule()),
        "routes.yaml": _yaml(_route(found)),
        "kustomization.yaml": _yaml(kustomization),
    }


def _manifest(service: Service) -> str:
    group = service.group
    low, high = group.instances
    served = {"FUNCTIONS": ",".join(service.modules), "WORKERS": "1"} if service.modules else {}
    variables = {**served, **group.variables}
    container = {
        "name": "functions" if service.modules else service.name,
        "image": "ai-data-analyst",
        **({"command": list(group.command)} if group.command else {}),
        "ports": [{"name": "http1", "containerPort": 8080}],
        "env": [
            *({"name": name, "value": value} for name, value in variables.items()),
            *(
                {
                    "name": secret.upper(),
                    "valueFrom": {"secretKeyRef": {"name": "ai-data-analyst", "key": secret.upper(), "optional": True}},
                }
                for secret in (*group.secrets, *_OF_THE_BUCKET)
            ),
        ],
        "envFrom": [{"configMapRef": {"name": "ai-data-analyst"}}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"cpu": str(group.cpu), "memory": group.memory},
        },
        "readinessProbe": {"httpGet": {"path": "/healthz"}},
        "livenessProbe": {"httpGet": {"path": "/healthz"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [_TMP, {"name": "scratch", "mountPath": "/scratch"}],
    }
    labels = {"app.kubernetes.io/name": "ai-data-analyst", "app.kubernetes.io/component": service.name}
    if not group.public:
        labels["networking.knative.dev/visibility"] = "cluster-local"
    return _yaml(
        {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": service.name, "labels": labels},
            "spec": {
                "template": {
                    "metadata": {
                        "annotations": {
                            "autoscaling.knative.dev/min-scale": str(low),
                            "autoscaling.knative.dev/max-scale": str(high),
                        }
                    },
                    "spec": {
                        "serviceAccountName": f"analyst-{service.name}",
                        "automountServiceAccountToken": False,
                        "containerConcurrency": group.concurrency,
                        "timeoutSeconds": group.timeout,
                        "responseStartTimeoutSeconds": group.timeout,
                        "containers": [container],
                        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}],
                    },
                }
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": f"analyst-{service.name}", "labels": labels},
            "automountServiceAccountToken": False,
        },
    )


def _config() -> dict[str, Any]:
    """Return the settings that all services share; overlays replace the values."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "ai-data-analyst"},
        "data": {
            "DATA_URL": "s3://bucket",
            "BASE_URL": "https://data.example.com",
            "TASKS_URL": "http://ai-data-analyst.internal",
            "SCRATCH_DIR": "/scratch",
            "TMPDIR": "/scratch",
        },
    }


def _schedule() -> dict[str, Any]:
    """Return the job that calls the scheduler every minute."""
    secret = {"secretKeyRef": {"name": "ai-data-analyst", "key": "SERVICE_TOKEN"}}
    server = {"configMapKeyRef": {"name": "ai-data-analyst", "key": "TASKS_URL"}}
    container = {
        "name": "schedule",
        "image": "ai-data-analyst",
        "command": ["da", "admin", "schedule", "--start"],
        "env": [{"name": "DA_SERVER", "valueFrom": server}, {"name": "DA_TOKEN", "valueFrom": secret}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [_TMP],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "schedule"},
        "spec": {
            "schedule": "* * * * *",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 60,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 120, "template": {"spec": pod}},
            },
        },
    }


def _route(found: Sequence[Service]) -> dict[str, Any]:
    """Return the route of the Gateway API: each service's paths, and everything else to `api`."""
    by_service: dict[str, list[str]] = {}
    for path, name in routes(found):
        by_service.setdefault(name, []).append(path)
    rules = [_rule(name, [_match(path) for path in paths]) for name, paths in by_service.items()]
    rules.append(_rule("api", [{"path": {"type": "PathPrefix", "value": "/"}}]))
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "ai-data-analyst"},
        "spec": {
            "parentRefs": [{"name": "gateway"}],
            "hostnames": ["data.example.com", "ai-data-analyst.internal"],
            "rules": rules,
        },
    }


def _match(path: str) -> dict[str, Any]:
    if "*" not in path:
        return {"path": {"type": "Exact", "value": path}}
    expression = path.replace(".", r"\.").replace("**", "\0").replace("*", "[^/]+").replace("\0", ".+")
    return {"path": {"type": "RegularExpression", "value": expression}}


def _rule(name: str, matches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": f"{name}.default.svc.cluster.local"}}
    backend = {"kind": "Service", "name": "knative-local-gateway", "namespace": "istio-system", "port": 80}
    return {"matches": list(matches), "filters": [rewrite], "backendRefs": [backend]}


_HEAD: Final = "# Generated by infra/deployment.py from infra/services.yaml and the functions; run `make deployment`.\n"


def _yaml(*documents: Mapping[str, Any]) -> str:
    return _HEAD + "---\n".join(yaml.safe_dump(document, sort_keys=False, width=120) for document in documents)


def generated() -> dict[Path, str]:
    """Return the content of every generated file by its path."""
    found = services()
    return {TERRAFORM: terraform(found), **{KNATIVE / name: text for name, text in knative(found).items()}}


def outdated() -> list[Path]:
    """Return the generated files that are missing, outdated or left over."""
    files = generated()
    left = [path for path in KNATIVE.glob("*.yaml") if path not in files]
    return [*left, *(path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text)]


def main() -> int:
    """Write the files, or with --check report those that are not current."""
    parser = argparse.ArgumentParser(description="Generate what Terraform and Knative deploy.")
    parser.add_argument("--check", action="store_true", help="only report files that are not current")
    if parser.parse_args().check:
        old = [str(path.relative_to(ROOT)) for path in outdated()]
        if old:
            print(f"not current: {', '.join(old)}; run: make deployment", file=sys.stderr)
        return 1 if old else 0
    for path in outdated():
        path.unlink(missing_ok=True)
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
