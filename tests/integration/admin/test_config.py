"""The settings over HTTP: what is in force and why, what is wrong with a file, and the sources that it declares."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.memory_store import MemoryStore
from tests.integration.admin.conftest import BOOTSTRAP_SECRET, ENVIRON, SERVICE_TOKEN, Api, serving

SHOP = 'sources: {shop: {config: {path: "${SOURCE_ROOTS}/shop", nullstr: [NA, ""]}}, web: {type: external}}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "instance.yaml").write_text(f"auth:\n  allowed_domains: [example.com]\n  allowed: x\n{SHOP}")
    return tmp_path / "instance.yaml"


@pytest.fixture
def environ(file: Path) -> dict[str, str]:
    return {**ENVIRON, "SOURCE_ROOTS": "/srv", "CONFIG_FILE": str(file)}


def restarted(admin: Api, store: MemoryStore, environ: dict[str, str]) -> Api:
    return serving(store, environ).having(admin.token)


def setting(answer: Any, name: str) -> Any:
    return next(found for found in answer["settings"] if found["name"] == name)


def test_the_settings_are_listed_with_their_origins(admin: Api, file: Path) -> None:
    answer = admin.get("/api/admin/config")
    assert answer["file"] == str(file)
    assert setting(answer, "allowed_domains") == {
        "name": "allowed_domains",
        "variable": "ALLOWED_DOMAINS",
        "key": "auth.allowed_domains",
        "value": ["example.com"],
        "is_secret": False,
        "is_set": True,
        "origin": "file",
        "line": 2,
    }
    assert [setting(answer, name)["origin"] for name in ("data_url", "keep_hours")] == ["environment", "default"]
    assert setting(answer, "sources")["value"]["shop"]["config"]["path"] == "/srv/shop"
    assert [warning["path"] for warning in answer["warnings"]] == ["auth.allowed"]


def test_secrets_are_only_reported_as_set_or_not(admin: Api) -> None:
    answer = admin.get("/api/admin/config")
    assert BOOTSTRAP_SECRET not in str(answer)
    assert SERVICE_TOKEN not in str(answer)
    secrets = {found["name"]: (found["is_set"], found["value"]) for found in answer["settings"] if found["is_secret"]}
    assert secrets == {
        **dict.fromkeys(("bootstrap_secret", "service_token"), (True, None)),
        **dict.fromkeys(("secret_key", "secret_keys_old", "smtp_password", "google_client_secret"), (False, None)),
        **dict.fromkeys(("jira_api_token", "jira_sla_api_token", "jira_webhook_secret"), (False, None)),
        "keboola_storage_token": (False, None),
        **dict.fromkeys(("openmetadata_token", "telegram_bot_token", "memory_model_key"), (False, None)),
        "prometheus_token": (False, None),
    }


def test_a_file_is_checked_with_the_variables_of_the_process(admin: Api) -> None:
    text = "auth:\n  allowed_domains: ['ex ample']\n  allowed_domain: x\nsources:\n  a: {config: {path: '${NONE}', delimeter: ;}}"
    status, answer = admin.ask("POST", "/api/admin/config/check", {"text": text})
    assert status == 200
    assert [(found["path"], found["line"]) for found in answer["problems"]] == [
        ("auth.allowed_domains[0]", 2),
        ("sources.a.config.path", 5),
        ("sources.a.config.delimeter", 5),
    ]
    assert (
        answer["problems"][0]["message"]
        == '"ex ample" is not a valid domain name (expected something like example.com)'
    )
    assert answer["problems"][2]["message"] == "is not a known setting; did you mean delimiter?"
    (warning,) = answer["warnings"]
    assert (warning["path"], warning["line"]) == ("auth.allowed_domain", 3)


def test_a_check_reveals_no_values_of_variables(admin: Api) -> None:
    text = "auth: {allowed_domains: '${SERVICE_TOKEN}', seed_admin_email: '${BOOTSTRAP_SECRET}'}"
    status, answer = admin.ask("POST", "/api/admin/config/check", {"text": text})
    assert (status, len(answer["problems"])) == (200, 2)
    assert SERVICE_TOKEN not in str(answer)
    assert BOOTSTRAP_SECRET not in str(answer)


def test_declared_sources_are_applied_and_no_other_is_removed(
    admin: Api, store: MemoryStore, environ: dict[str, str], file: Path
) -> None:
    admin.make("/api/admin/sources/other", {"type": "external"})
    assert applied(admin) == {"shop": "created", "web": "created"}
    shop = admin.get("/api/admin/sources/shop")
    assert (shop["type"], shop["config"]) == ("csv", {"path": "/srv/shop", "nullstr": ["NA", ""]})
    assert applied(admin) == {"shop": "unchanged", "web": "unchanged"}
    file.write_text("sources: {shop: {config: {path: /srv/new}}}")
    assert applied(restarted(admin, store, environ)) == {"shop": "updated"}
    assert [source["name"] for source in admin.get("/api/admin/sources")["sources"]] == ["other", "shop", "web"]


def applied(admin: Api) -> dict[str, str]:
    status, answer = admin.ask("POST", "/api/admin/config/apply", {})
    assert status == 200, answer
    return {source["name"]: source["outcome"] for source in answer["sources"]}


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("sources: {shop: {type: csv}}", "422 sources.shop: .*path"),
        ("sources: {ok: {type: external}, shop: {type: jira}}", "409 sources.shop: .*deregister"),
    ],
)
def test_a_source_that_cannot_be_applied_is_named_and_nothing_is_applied(
    admin: Api, store: MemoryStore, environ: dict[str, str], text: str, refusal: str
) -> None:
    applied(admin)
    admin.make("/api/admin/tables/shop.orders", {})
    Path(environ["CONFIG_FILE"]).write_text(text)
    again = restarted(admin, store, environ)
    status, answer = again.ask("POST", "/api/admin/config/apply", {})
    assert re.match(refusal, f"{status} {answer['detail']}")
    assert len(again.get("/api/admin/sources")["sources"]) == 2


def test_the_configuration_is_for_administrators(admin: Api) -> None:
    _, manager = admin.user("km@example.com", "km_admin")
    for method, path in (("GET", ""), ("POST", "/check"), ("POST", "/apply")):
        body = {"text": ""} if path == "/check" else None
        assert manager.ask(method, f"/api/admin/config{path}", body)[0] == 403
