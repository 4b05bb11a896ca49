"""`da admin config`: the settings in force, what is wrong with a file, and the sources that it declares."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

PROBLEM = {"path": "auth.allowed_domains[0]", "line": 3, "message": '"ex ample" is no domain'}
WARNING = {"path": "auth.allowed", "line": 4, "message": "is not known"}


def setting(key: str | None, value: Any, origin: str, **more: Any) -> dict[str, Any]:
    name = {"name": "it", "key": key, "variable": "IT", "value": value, "origin": origin, "line": None}
    return {**name, "is_set": value is not None, "is_secret": False, **more}


def answering(api: FunctionsApi, *problems: Any, warnings: tuple[Any, ...] = ()) -> dict[str, Any]:
    document = {"problems": list(problems), "warnings": list(warnings)}
    api.answers["POST", "/api/admin/config/check"] = [(200, document)]
    return document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "instance.yaml").write_text("instance: {name: Čapek}\n")
    return tmp_path / "instance.yaml"


def test_problems_of_a_file_are_reported_with_their_line(api: FunctionsApi, logged_in: Da, file: Path) -> None:
    answering(api, PROBLEM, {"path": "", "line": None, "message": "this is no YAML"}, warnings=(WARNING,))
    ran = logged_in("admin", "config", "check", str(file))
    assert (ran.code, ran.out) == (1, f"{file}: 2 problems, 1 warning.\n")
    assert ran.err.splitlines() == [
        f'{file}:3: auth.allowed_domains[0]: "ex ample" is no domain',
        f"{file}: this is no YAML",
        f"{file}:4: auth.allowed: warning: is not known",
    ]
    assert api.bodies == [{"text": "instance: {name: Čapek}\n"}]


def test_warnings_alone_are_not_a_failure(api: FunctionsApi, logged_in: Da, file: Path) -> None:
    answering(api, warnings=(WARNING,))
    assert logged_in("admin", "config", "check", str(file)).code == 0
    answering(api)
    ran = logged_in("admin", "config", "check", str(file))
    assert (ran.code, ran.out, ran.err) == (0, f"{file}: no problems found.\n", "")


def test_the_result_of_a_check_can_be_printed_as_json(api: FunctionsApi, logged_in: Da, file: Path) -> None:
    document = answering(api, PROBLEM)
    ran = logged_in("admin", "config", "check", str(file), "--json")
    assert (ran.code, json.loads(ran.out), ran.err) == (1, document, "")


def test_the_file_can_be_read_from_stdin(api: FunctionsApi, logged_in: Da, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(api)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: b")))
    assert logged_in("admin", "config", "check", "-").out == "stdin: no problems found.\n"
    assert api.bodies[-1] == {"text": "a: b"}


def test_a_file_that_cannot_be_read_is_reported(api: FunctionsApi, logged_in: Da, file: Path) -> None:
    assert "no such file" in logged_in("admin", "config", "check", str(file.parent / "no.yaml")).err
    file.write_bytes(b"\xff")
    ran = logged_in("admin", "config", "check", str(file))
    assert (ran.code, ran.err) == (1, f"da: can't read '{file}': it is not UTF-8 text; save it as UTF-8\n")
    assert api.requests == []


def test_the_settings_are_listed_with_their_origins(api: FunctionsApi, logged_in: Da) -> None:
    settings = [
        setting("auth.allowed_domains", ["example.com", "example.org"], "file", line=3),
        setting("server.secret_key", None, "environment", is_secret=True, is_set=True),
        setting("tables.public", False, "default"),
        setting(None, None, "default"),
    ]
    document = {"file": "config/instance.yaml", "settings": settings, "warnings": [WARNING]}
    api.answers["GET", "/api/admin/config"] = [(200, document)]
    ran = logged_in("admin", "config", "check")
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()[2:]] == [
        ["auth.allowed_domains", "example.com,", "example.org", "config/instance.yaml:3"],
        ["server.secret_key", "(set)", "IT"],
        ["tables.public", "false", "default"],
        ["IT", "default"],
    ]
    assert ran.err == "config/instance.yaml:4: auth.allowed: warning: is not known\n"
    assert json.loads(logged_in("admin", "config", "check", "--json").out) == document


def test_declared_sources_are_applied(api: FunctionsApi, logged_in: Da) -> None:
    sources = [{"name": "shop", "type": "csv", "outcome": "created"}]
    api.answers["POST", "/api/admin/config/apply"] = [(200, {"sources": sources}), (200, {"sources": []})]
    assert logged_in("admin", "config", "apply").out == "shop (csv): created\n"
    assert logged_in("admin", "config", "apply").out == (
        "There were no sources in config/instance.yaml when the server started; add some and restart it, or run: da admin sources add NAME\n"
    )
