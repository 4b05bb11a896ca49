"""What holds for every function, found by walking `functions/`."""

import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from werkzeug.test import Client, TestResponse

from analyst.context import Process
from analyst.http import Allow, HttpFunction, app
from tests.all_functions import FUNCTIONS, description
from tests.clouds import Cloud
from tests.doubles.memory_store import MemoryStore
from tests.integration.world import JIRA_SECRET, SERVICE_TOKEN, World
from tests.processes import ROOT

Json = Mapping[str, Any]
PROBLEM = "application/problem+json"
API = [item for item in FUNCTIONS if not item.function.is_page and not item.function.hidden]
PAGES = [item for item in FUNCTIONS if item.function.is_page]
HEAVY = ["duckdb", "fsspec", "httpx", "authlib", "cryptography", "rich", "urllib3"]
READ_PATH = [f"functions.api.{name}" for name in ("catalog", "data", "files", "health", "manifest", "me")]

each = pytest.mark.parametrize("function", API, ids=lambda function: function.__name__)
each_page = pytest.mark.parametrize("function", PAGES, ids=lambda function: function.__name__)
each_with_body = pytest.mark.parametrize(
    "function",
    [item for item in API if item.function.takes_body and item.function.input is not None],
    ids=lambda function: function.__name__,
)


@pytest.fixture(scope="module")
def world(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), shared_cloud)


def problem(function: HttpFunction) -> str:
    """Return the media type of its failures: a protocol may have its own."""
    shape = function.function.errors
    return PROBLEM if shape is None else shape.media_type


def path_of(function: HttpFunction) -> str:
    """Return a path of the function, whether there is something or not."""
    template = function.function.path
    return template.text.format(**dict.fromkeys(template.names, "a.b"))


def send(world: World, function: HttpFunction, suffix: str = "", **sent: Any) -> TestResponse:
    """Call a function as somebody who may."""
    headers = {"Authorization": f"Bearer {world.admin}", **sent.pop("headers", {})}
    return world.client.open(
        path_of(function) + suffix, method=function.function.method, headers=headers, buffered=True, **sent
    )


@each
def test_every_function_is_healthy_without_configuration(function: HttpFunction) -> None:
    answer = Client(app(Process({}), [function])).get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


@each
def test_every_function_refuses_strangers(world: World, function: HttpFunction) -> None:
    if function.function.allow is Allow.ANYBODY:
        pytest.skip("anybody may")
    for headers in ({}, {"Authorization": "Bearer da_stranger"}, {"Authorization": "Basic YTpi"}):
        answer = world.client.open(path_of(function), method=function.function.method, headers=headers)
        assert (answer.status_code, answer.content_type) == (401, problem(function))
        assert answer.headers["WWW-Authenticate"].split()[0] == "Bearer"


@each_page
def test_a_page_is_a_page_even_when_it_fails(world: World, function: HttpFunction) -> None:
    method = function.function.method
    for suffix, headers in (("", {}), ("?no_such_parameter=1", {}), ("", {"Cookie": "da_session=wrong"})):
        answer = world.client.open(path_of(function) + suffix, method=method, headers=headers, buffered=True)
        assert answer.status_code < 500
        if answer.status_code == 303:
            continue
        assert answer.content_type == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert (answer.headers["Referrer-Policy"], answer.headers["Cache-Control"]) == ("same-origin", "no-store")
        assert "http" not in answer.text.replace("http://localhost", "")  # our own address, in commands to copy
        assert answer.text.replace('<script src="/static/pages-', "").count("<script") == 0


@each_page
def test_a_page_accepts_no_form_of_another_site(world: World, function: HttpFunction) -> None:
    if function.function.method == "GET":
        pytest.skip("it changes nothing")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = world.client.open(path_of(function), method="POST", headers=headers, data={}, buffered=True)
        assert (answer.status_code, "another site" in answer.text) == (403, True)


INVALID = {
    "Accept": "text/html;q=x, */*;q=nan",
    "Accept-Encoding": "gzip;q=nan, br;q=",
    "Content-Type": "multipart/form-data; boundary=",
    "Cookie": "da_session=\xff; da_view_as=:",
    "If-Modified-Since": "Thu, 99 Foo 99999 00:00:00 GMT",
    "If-None-Match": "W/x, *",
    "Last-Event-ID": "\xff",
    "Origin": "http://[::1",
    "Range": "bytes=9-1, -0",
    "Referer": "http://[::1",
    "X-Forwarded-For": "[::1, unknown",
    "X-Request-Id": "\x7f" * 300,
    "traceparent": "00-x",
}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_no_function_fails_because_of_an_invalid_header(world: World, function: HttpFunction) -> None:
    suffix = "?wait=0" if function.function.path.text.endswith("/stream") else ""
    without_origin = {name: value for name, value in INVALID.items() if name != "Origin"}
    for headers in (INVALID, without_origin):
        assert send(world, function, suffix, headers=headers).status_code != 500


@each
def test_every_function_refuses_the_wrong_method(world: World, function: HttpFunction) -> None:
    for method in ("PATCH", "OPTIONS", "TRACE", "BREW"):
        answer = world.client.open(path_of(function), method=method)
        assert (answer.status_code, answer.content_type) == (405, problem(function))
        assert function.function.method in answer.headers["Allow"].split(", ")


@each
def test_every_function_refuses_an_invalid_query(world: World, function: HttpFunction) -> None:
    if function.function.foreign:
        pytest.skip("another system says what the query has")
    answer = send(world, function, "?no_such_parameter=1", json={} if function.function.takes_body else None)
    assert (answer.status_code, answer.content_type) == (422, problem(function))
    wrong = [error["loc"] for error in answer.get_json(force=True)["errors"]]
    assert ["query", "no_such_parameter"] in wrong


@each_with_body
def test_every_function_refuses_an_invalid_body(world: World, function: HttpFunction) -> None:
    answer = send(world, function, json={"no_such_field": 1})
    assert (answer.status_code, answer.content_type) == (422, problem(function))
    assert ["body", "no_such_field"] in [error["loc"] for error in answer.get_json(force=True)["errors"]]


@each_with_body
def test_every_function_refuses_a_body_that_is_not_an_object(world: World, function: HttpFunction) -> None:
    for data, content_type, status in (
        (b"{", "application/json", 400),
        (b'{"a": 1, "a": 2}', "application/json", 400),
        (b'{"a": NaN}', "application/json", 400),
        (b'{"a": "\\ud800"}', "application/json", 400),
        (b'{"a": "\\u0000"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
    ):
        answer = send(world, function, data=data, content_type=content_type)
        assert (answer.status_code, answer.content_type) == (status, problem(function)), data[:20]


@each
def test_every_function_refuses_a_body_over_its_limit(world: World, function: HttpFunction) -> None:
    answer = send(world, function, data=b" " * (function.function.body_limit + 1), content_type="application/json")
    assert (answer.status_code, answer.content_type) == (413, problem(function))


class Broken(MemoryStore):
    """A store with a bug."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyError(f"hunter2 {name}")


@each
def test_a_bug_does_not_leak_and_is_logged(function: HttpFunction, caplog: pytest.LogCaptureFixture) -> None:
    environ = {
        "DATA_URL": "file:///nowhere",
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "JIRA_WEBHOOK_SECRET": JIRA_SECRET,
        "BASE_URL": "http://localhost",
    }
    process = Process(environ, store=Broken())
    client = Client(app(process, [function]))
    with caplog.at_level(logging.ERROR, "analyst"):
        answer = client.open(
            path_of(function), method=function.function.method, headers={"Authorization": "Bearer da_somebody"}
        )
    storeless = {
        "cli_wheel",
        "protected_resource",
        "protected_resource_of_host",
        "protected_tools",
        "authorization_server_of_host",
        "authorization_server",
        "register_client",
        "revoke_grant",
        "receive_telegram_update",
        "iceberg_oauth_tokens",
    }
    if answer.status_code in {200, 403, 422} or function.function.name in storeless:
        pytest.skip("asks the store for nothing before it has looked at its input")
    assert (answer.status_code, answer.content_type) == (500, problem(function))
    assert "hunter2" not in answer.text
    assert "KeyError" not in answer.text
    assert "hunter2" in caplog.text


def test_every_function_is_documented_and_in_the_description_of_the_api() -> None:
    for spec in (each.function for each in API):
        summary = spec.description.partition("\n")[0]
        assert summary.endswith((".", "?")), spec.name
        assert (sys.modules[spec.module].__doc__ or "").strip(), spec.module
        assert description()["paths"][spec.path.text][spec.method.lower()]["summary"] == summary.rstrip("."), spec.name


def test_the_description_of_the_api_is_openapi() -> None:
    document = json.loads(json.dumps(description()))
    validate(document)
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(API)


def test_inputs_are_described_exactly() -> None:
    for spec in (each.function for each in API):
        for schema in _inputs(description()["paths"][spec.path.text][spec.method.lower()]):
            for part in _parts(schema):
                if part.get("type") == "integer" and "enum" not in part:
                    assert {"minimum", "maximum"} <= part.keys(), f"{spec.name}: an integer without bounds: {part}"
                if part.get("type") == "object" and "properties" in part:
                    assert part.get("additionalProperties") is False, f"{spec.name}: takes any property: {part}"


def _inputs(operation: Json) -> Iterable[Json]:
    yield from (parameter["schema"] for parameter in operation.get("parameters", ()))
    if "requestBody" in operation:
        yield from (content["schema"] for content in operation["requestBody"]["content"].values())


def _parts(schema: Any, seen: frozenset[str] = frozenset()) -> Iterator[Json]:
    if isinstance(schema, list):
        for value in schema:
            yield from _parts(value, seen)
    elif isinstance(schema, dict):
        yield schema
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        if name and name not in seen:
            yield from _parts(description()["components"]["schemas"][name], seen | {name})
        for value in schema.values():
            yield from _parts(value, seen)


def test_no_module_hides_another_one_when_it_is_deployed_alone() -> None:
    """The framework registers a source file under its bare stem."""
    for stem in {path.stem for path in _sources()}:
        assert stem not in sys.stdlib_module_names
        assert importlib.util.find_spec(stem) is None, f"{stem} is the name of a package"


def _sources() -> list[Path]:
    files = {sys.modules[function.function.module].__file__ for function in FUNCTIONS}
    return [*(Path(str(file)) for file in files), ROOT / "functions" / "host.py"]


DEPLOY = """
import sys
from functions_framework import create_app
for target in sys.argv[1:]:
    source, name = target.split(":")
    answer = create_app(name, source).test_client().get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"}), (target, answer.status_code)
"""


def test_functions_can_be_deployed_one_by_one_and_all_together() -> None:
    targets = [f"{sys.modules[item.function.module].__file__}:{item.__name__}" for item in FUNCTIONS]
    host = f"{ROOT / 'functions' / 'host.py'}:host"
    done = subprocess.run(
        [sys.executable, "-c", DEPLOY, *targets, host], env={}, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_read_path_imports_nothing_heavy() -> None:
    code = f"""
import importlib, sys
for module in {READ_PATH!r}:
    importlib.import_module(module)
    print(module, *sorted({set(HEAVY)!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == READ_PATH
