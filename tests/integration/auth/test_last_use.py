"""When an access token was used last."""

from datetime import timedelta

from werkzeug.test import Client

from analyst.auth.last_use import USES
from tests.integration.auth.installation import Installation


def last_used(installed: Installation) -> object:
    headers = {"Authorization": f"Bearer {installed.admin_token}"}
    answer = Client(installed.app).get("/auth/tokens", headers=headers)
    installed.settle()
    (token,) = answer.get_json()["tokens"]
    return token["last_used_on"]


def test_it_is_told_by_the_day() -> None:
    installed = Installation()
    installed.admin()
    last_used(installed)
    assert last_used(installed) == "2026-03-01"
    installed.now += timedelta(days=3)
    last_used(installed)
    assert last_used(installed) == "2026-03-04"
    assert len(list(installed.store.list(USES))) == 2


def test_who_may_not_has_used_it_all_the_same_and_a_stranger_has_not() -> None:
    installed = Installation()
    installed.admin()
    Client(installed.app).get("/api/me", headers={"Authorization": "Bearer da_stranger"})
    installed.settle()
    assert list(installed.store.list(USES)) == []
