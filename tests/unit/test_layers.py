"""Imports point down: from functions to the library, and in the library from its roof to its ground."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.source_code import nodes

ROOT = Path(__file__).resolve().parents[2]

LAYERS = (
    ("counters", "errors", "logs", "backoff", "http_client", "validation"),
    ("addresses", "clients", "json_values", "names", "public_addresses", "schedule", "type_names", "types"),
    ("settings",),
    ("store", "catalog"),
    ("automation", "days", "duckdb_files", "lease", "runs", "spans"),
    ("access", "contract", "snapshots"),
    ("audit",),
    ("rebuild", "state", "manifest", "visible_tables", "descriptions", "table_choices"),
    ("query",),
    (
        "audit_search",
        "auth",
        "backup",
        "catalog_view",
        "glossary",
        "lineage",
        "openmetadata",
        "profiles",
        "feedback",
        "query_answer",
        "query_request",
        "receipts",
        "metrics",
        "health",
        "quality",
        "cli_wheel",
        "saved_queries",
        "signed_urls",
        "extract_run",
        "imports",
        "mail",
        "memory",
        "notifications",
        "scripts",
        "usage",
        "sweep",
        "tasks",
        "sync_runs",
    ),
    ("scheduling", "catalog_search"),
    ("agents", "iceberg", "sharing"),
    ("context", "pages"),
    ("gateway", "http"),
    ("connectors",),
    ("caller_warehouse",),
)
"""Modules and packages of `analyst` from the ground up; those of one layer may import each other but for circles."""

SHARED = ("da.profiles.", "da.metrics.", "da.agents.", "da.sql.", "da.types", "da.errors.", "da.absence.")
"""What the library uses of `da`: profiles, the compilation of metrics, the tools of agents, and the grammar of types."""

HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def modules(folder: str) -> Iterator[Path]:
    yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def imports(path: Path) -> list[str]:
    """Return the full names of what a module imports, also inside functions."""
    found: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def package(path: Path) -> str:
    """Return the module or package right below `analyst` that a file belongs to."""
    return path.relative_to(ROOT / "shared/analyst").parts[0].removesuffix(".py")


def arrows() -> set[tuple[str, str]]:
    return {
        (package(path), name.split(".")[1])
        for path in modules("shared/analyst")
        for name in imports(path)
        if name.startswith("analyst.") and package(path) not in ("__init__", name.split(".")[1])
    }


def test_every_module_has_its_layer() -> None:
    assert {package(path) for path in modules("shared/analyst")} - {"__init__"} == HEIGHT.keys()


def test_no_import_points_up() -> None:
    assert [f"{here} → {there}" for here, there in sorted(arrows()) if HEIGHT[there] > HEIGHT[here]] == []


def test_no_imports_go_in_circles() -> None:
    after: dict[str, set[str]] = {}
    for here, there in arrows():
        after.setdefault(here, set()).add(there)
    left = dict(after)
    while free := {name for name in left if not left[name] & left.keys()}:
        left = {name: there for name, there in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize(
    ("folder", "strangers"), [("shared/analyst", ("functions", "da")), ("shared/da", ("analyst", "functions"))]
)
def test_the_library_and_the_command_line_are_independent(folder: str, strangers: tuple[str, ...]) -> None:
    found = [(path.name, name) for path in modules(folder) for name in imports(path) if name.split(".")[0] in strangers]
    assert [(path, name) for path, name in found if not name.startswith(SHARED)] == []


@pytest.mark.parametrize("folder", ["profiles", "metrics", "agents"])
def test_code_shared_with_the_command_line_is_independent(folder: str) -> None:
    """The server imports it, and must not load the command line with it."""
    found = {name for path in modules(f"shared/da/{folder}") for name in imports(path) if name.startswith("da.")}
    assert {name for name in found if not name.startswith(SHARED)} == set()


def test_the_command_line_imports_only_what_its_package_requires() -> None:
    """Its commands import lazily, so a package of the server alone would be missed only when a command runs."""
    project = tomllib.loads((ROOT / "shared/da/pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [name for names in project["optional-dependencies"].values() for name in names]
    required = {re.split(r"[^a-z0-9-]", name)[0] for name in (*project["dependencies"], *optional)}
    modules_of = {"pyyaml": "yaml"}
    known = {"da", "_duckdb", *(modules_of.get(name, name) for name in required), *sys.stdlib_module_names}
    found = {name.split(".")[0] for path in modules("shared/da") for name in imports(path)} - known
    assert found == set()


def test_no_file_is_longer_than_600_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("functions", "shared", "infra")
        for path in modules(folder)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}


def test_functions_are_thin() -> None:
    """A function is a model, a call into the library and an answer; it opens no object of the bucket itself."""
    long, open_objects = {}, []
    for path in modules("functions"):
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                statements = sum(isinstance(child, ast.stmt) for child in ast.walk(node)) - 1
                if statements > 20:
                    long[f"{path.relative_to(ROOT)}: {node.name}"] = statements
            elif isinstance(node, ast.Call) and re.search(r"\.store\.(?!sign$)\w+$", ast.unparse(node.func)):
                open_objects.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert (long, open_objects) == ({}, [])
