"""A table without grants is revealed to nobody: checked by calling every function."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from werkzeug.test import TestResponse

from analyst.access import Scope
from analyst.context import Process, utc_now
from analyst.http import HttpFunction
from analyst.names import TABLE_ID_PATTERN
from analyst.store import Store
from analyst.store.folder.store import FileStore
from tests.all_functions import FUNCTIONS
from tests.clouds import Cloud, FileCloud
from tests.integration.world import World

HIDDEN, ABSENT = "shop.payroll", "shop.parlour"
ROLES = ("viewer", "analyst", "km_admin")
PLACES: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]+Z|\d{1,2} seconds", re.IGNORECASE
)
"""What differs from answer to answer: ids, times."""


class Hidden:
    """A bucket with two tables, of which one is granted, and people of each role."""

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self.world = World(folder, cloud)
        (folder / "sources/open.csv").write_text("id,name\n1,a\n")
        (folder / "sources/payroll.csv").write_text("id,salary_of_all\n1,1000\n")
        source = {"type": "csv", "config": {"path": str(folder / "sources")}}
        self.world.ask("POST", "/api/admin/sources/shop", source)
        self.world.ask("POST", "/extract/csv", {"source": "shop"})
        self.world.ask("PUT", f"/api/admin/tables/{HIDDEN}", {"description": "Who earns what at the payroll office"})
        self.people = {role: self._add(role, f"{role}@example.com") for role in ROLES}
        self.silent = {role: self._add(role, f"silent-{role}@example.com") for role in ROLES}
        """People who name no table themselves."""

    def _add(self, role: str, email: str) -> str:
        self.world.ask("POST", "/api/users", {"email": email, "role": role})
        self.world.ask("POST", "/api/admin/permissions", {"user": email, "table": "shop.open"})
        scopes = {"name": "all", "user": email, "scopes": list(Scope)}
        return str(self.world.ask("POST", "/auth/tokens", scopes)["token"])


@pytest.fixture(scope="module")
def hidden(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Hidden:
    return Hidden(tmp_path_factory.mktemp("hidden"), shared_cloud)


def input_about(table: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Make an input of a schema that names a table wherever it can; `None` where it can't."""
    if "$ref" in schema:
        return input_about(table, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if schema.get("pattern") == TABLE_ID_PATTERN:
        return table
    for branch in schema.get("anyOf", ()):
        if (found := input_about(table, branch, definitions)) is not None:
            return found
    if schema.get("type") == "array":
        found = input_about(table, schema.get("items", {}), definitions)
        return None if found is None else [found]
    if TABLE_ID_PATTERN in schema.get("patternProperties", ()):
        return {table: None}
    parts = {name: input_about(table, part, definitions) for name, part in schema.get("properties", {}).items()}
    about = {name: part for name, part in parts.items() if part is not None}
    required = {name: required_part(schema["properties"][name]) for name in schema.get("required", ())}
    return {**required, **about} or None if about else None


def required_part(schema: Mapping[str, Any]) -> Any:
    return {"integer": 1, "boolean": True, "object": {}, "array": []}.get(schema.get("type", ""), "whatever")


def about(function: HttpFunction, table: str) -> dict[str, Any] | None:
    model = function.function.input
    schema = {} if model is None else model.model_json_schema()
    found: dict[str, Any] | None = input_about(table, schema, schema.get("$defs", {}))
    return found


def send(world: World, function: HttpFunction, given: Mapping[str, Any], token: str | None) -> TestResponse:
    spec = function.function
    path = spec.path.text.format(**{name: given.get(name, "whatever") for name in spec.path.names})
    rest = {name: part for name, part in given.items() if name not in spec.path.names}
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    sent: dict[str, Any] = {"json": rest} if spec.takes_body else {"query_string": rest}
    return world.client.open(path, method=spec.method, headers=headers, buffered=True, **sent)


ABOUT_TABLES = [function for function in FUNCTIONS if about(function, HIDDEN)]


def test_the_list_of_functions_about_tables_contains_the_known_ones() -> None:
    paths = {function.function.path.text for function in ABOUT_TABLES}
    assert paths >= {
        "/api/catalog/tables/{id}",
        "/api/data/{table_id}/download",
        "/api/data/urls",
        "/api/access-requests",
        "/api/admin/access",
        "/api/admin/permissions",
        "/api/admin/tables/{id}",
        "/api/sync/trigger",
    }


@pytest.mark.parametrize("role", [*ROLES, None])
@pytest.mark.parametrize("function", ABOUT_TABLES, ids=lambda function: function.__name__)
def test_every_function_answers_alike_whether_a_hidden_table_exists(
    hidden: Hidden, function: HttpFunction, role: str | None
) -> None:
    token = None if role is None else hidden.people[role]

    def response(table: str) -> tuple[int, dict[str, str], str]:
        answer = send(hidden.world, function, about(function, table) or {}, token)
        headers = {name: text for name, text in answer.headers.items() if name != "X-Request-Id"}
        headers |= {name: headers[name].replace(table, "TABLE") for name in ("Location",) if name in headers}
        return answer.status_code, headers, PLACES.sub("…", answer.text.replace(table, "TABLE"))

    assert response(HIDDEN) == response(ABSENT)


@pytest.mark.parametrize("role", [*ROLES, None])
def test_no_answer_names_a_hidden_table(hidden: Hidden, role: str | None) -> None:
    token = None if role is None else hidden.silent[role]
    readable = [function.function.path.text for function in FUNCTIONS if function.function.method == "GET"]
    asked = [path for path in [*readable, "/openapi.json", "/docs"] if "{" not in path]
    asked += ["/api/catalog/tables/shop.open", "/api/catalog/tables?q=payroll", "/api/catalog/tables?q=earns"]
    for path in asked:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = hidden.world.client.get(path, headers=headers, buffered=True)
        for word in ("payroll", "salary_of_all"):
            assert word not in answer.text, path
            assert word not in str(answer.headers), path


def test_a_search_does_not_count_hidden_tables(hidden: Hidden) -> None:
    def count(text: str, token: str = "") -> Any:
        return hidden.world.ask("GET", f"/api/catalog/tables?q={text}", token=token)["count"]

    assert (count("payroll"), count("payroll", hidden.people["analyst"])) == (1, 0)
    assert count("shop", hidden.people["analyst"]) == 1


def test_files_of_a_hidden_table_are_not_signed_even_if_their_names_are_known(hidden: Hidden) -> None:
    manifest = hidden.world.ask("GET", "/api/sync/manifest")["tables"]
    (path,) = (file["path"] for file in manifest[HIDDEN]["files"])
    for table in (HIDDEN, "shop.open", ABSENT):
        answer = hidden.world.send("POST", "/api/data/urls", {"files": {table: [path]}}, token=hidden.people["analyst"])
        assert answer.status_code == 404
    assert hidden.world.send("GET", f"/files/{path}", token=hidden.people["analyst"]).status_code in (403, 404)


class Ticking:
    """A bucket served by two processes, by clocks of which the test is the master."""

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self.passed = 0.0
        self.began = utc_now()
        self.cloud = cloud
        self.first = World(folder, self.cloud, process=self._process)
        (folder / "sources/pay.csv").write_text("id\n1\n")
        source = {"type": "csv", "config": {"path": str(folder / "sources")}}
        self.first.ask("POST", "/api/admin/sources/shop", source)
        self.first.ask("POST", "/extract/csv", {"source": "shop"})
        self.first.ask("POST", "/api/users", {"email": "ann@example.com"})
        self.ann = str(self.first.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"])
        grant = {"user": "ann@example.com", "table": "shop.pay"}
        self.grant = str(self.first.ask("POST", "/api/admin/permissions", grant)["id"])
        self.second = World(folder, self.cloud, admin=self.first.admin, process=self._process)

    def _process(self, environ: Mapping[str, str], store: Store) -> Process:
        if isinstance(self.cloud, FileCloud):
            clock = lambda: self.began.timestamp() + self.passed  # noqa: E731
            store = FileStore(self.cloud.folder, lambda: b"s" * 32, clock=clock)
        now = lambda: self.began + timedelta(seconds=self.passed)  # noqa: E731
        return Process(environ, store=store, clock=now, monotonic=lambda: self.passed)

    def signed(self, world: World) -> TestResponse:
        return world.send("GET", "/api/data/shop.pay/download", token=self.ann)


@pytest.fixture
def ticking(tmp_path: Path, cloud: Cloud) -> Ticking:
    return Ticking(tmp_path, cloud)


def test_a_revoked_grant_ends_at_once_here_and_within_access_max_age_elsewhere(ticking: Ticking) -> None:
    assert (ticking.signed(ticking.first).status_code, ticking.signed(ticking.second).status_code) == (307, 307)
    assert ticking.first.send("DELETE", f"/api/admin/permissions/{ticking.grant}").status_code == 204
    assert ticking.signed(ticking.first).status_code == 404
    ticking.passed += 5
    assert ticking.signed(ticking.second).status_code == 404
    manifest = ticking.second.ask("GET", "/api/sync/manifest", token=ticking.ann)
    assert manifest["tables"] == {}


def test_a_url_signed_earlier_expires_after_15_minutes(ticking: Ticking) -> None:
    if not isinstance(ticking.cloud, FileCloud):
        pytest.skip("a cloud lets its URLs expire by itself")
    url = ticking.signed(ticking.first).headers["Location"]
    ticking.first.send("DELETE", f"/api/admin/permissions/{ticking.grant}")
    ticking.passed += 14 * 60
    assert ticking.second.client.get(url, buffered=True).status_code == 200
    ticking.passed += 60
    assert ticking.second.client.get(url, buffered=True).status_code == 403
    answer = ticking.second.send("POST", "/api/data/urls", {"files": {"shop.pay": None}}, token=ticking.ann)
    assert (answer.status_code, "pay.parquet" in json.dumps(answer.get_json())) == (404, False)
