"""Which callers a function admits and refuses, over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client

from analyst.access import Role
from analyst.context import Process
from analyst.errors import UnavailableError
from analyst.http import Allow, app
from tests.doubles.memory_store import MemoryStore
from tests.unit.http.served import allowing, hello

Serving = Callable[..., Client]
Bearer = Callable[[str], dict[str, Any]]
SERVICE_TOKEN = "service-" + "0" * 32


@pytest.mark.parametrize("allow", [*Role, Allow.SERVICE])
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic YTpi", "da_admin", "Bearer da_stranger", "Bearer ů", "Bearer " + "x" * 40],
)
def test_callers_without_credentials_are_refused(
    serving: Serving, allow: Role | Allow, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = serving(allowing(allow)).get("/who", headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("least", list(Role))
@pytest.mark.parametrize("role", list(Role))
def test_a_role_admits_callers_with_that_role_or_a_higher_one(
    serving: Serving, bearer: Bearer, least: Role, role: Role
) -> None:
    answer = serving(allowing(least)).get("/who", headers=bearer(f"da_{role}"))
    assert answer.status_code == (200 if role.includes(least) else 403)
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize(("token", "status"), [(SERVICE_TOKEN, 200), ("da_admin", 200), ("da_km_admin", 403)])
def test_a_service_function_is_for_services_and_admins(
    serving: Serving, bearer: Bearer, token: str, status: int
) -> None:
    assert serving(allowing(Allow.SERVICE)).get("/who", headers=bearer(token)).status_code == status


def test_the_service_token_does_not_make_an_admin(serving: Serving, bearer: Bearer) -> None:
    assert serving(allowing(Role.ADMIN)).get("/who", headers=bearer(SERVICE_TOKEN)).status_code == 403


def test_callers_are_refused_before_their_input_is_read(serving: Serving) -> None:
    assert serving(allowing(Role.VIEWER)).get("/who?no=such").status_code == 401


def test_public_functions_ignore_a_wrong_token(serving: Serving, bearer: Bearer) -> None:
    assert serving(hello).get("/hello/you", headers=bearer("nonsense")).status_code == 200


def test_a_public_function_has_no_caller(serving: Serving) -> None:
    assert serving(allowing(Allow.ANYBODY)).get("/who").status_code == 401


def test_without_an_access_list_the_answer_is_503(bearer: Bearer, environ: dict[str, str]) -> None:
    class Down(MemoryStore):
        def read(self, key: str, **_: object) -> None:
            raise UnavailableError(f"{key} can't be read")

    client = Client(app(Process(environ, store=Down()), [allowing(Role.VIEWER)]))
    assert client.get("/who", headers=bearer("da_viewer")).status_code == 503
