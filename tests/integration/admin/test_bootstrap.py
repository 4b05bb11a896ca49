"""The first administrator: by secret, once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from analyst.store import ABSENT, Store
from tests.integration.admin.conftest import BOOTSTRAP_SECRET, ENVIRON, Api
from tests.unit.state import legacy

REQUEST = {"email": " Root@Example.com ", "secret": BOOTSTRAP_SECRET}


def test_a_bootstrap_creates_an_administrator_with_a_session(anybody: Api) -> None:
    made = anybody.make("/auth/bootstrap", REQUEST)
    assert (made["user"]["email"], made["user"]["role"], made["user"]["active"]) == ("root@example.com", "admin", True)
    me = anybody.having(made["token"]).get("/api/me")
    assert me["user_id"] == made["user"]["id"]
    assert me["token"]["id"] == made["token_id"]


def test_a_bootstrap_works_once(anybody: Api) -> None:
    anybody.make("/auth/bootstrap", REQUEST)
    assert anybody.ask("POST", "/auth/bootstrap", REQUEST)[0] == 409
    assert anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "email": "eve@example.com"})[0] == 409


def test_a_lost_answer_is_repeated_with_the_same_token(anybody: Api) -> None:
    token = "da_" + "t" * 43
    made = anybody.make("/auth/bootstrap", {**REQUEST, "token": token})
    assert made["token"] == token
    assert anybody.make("/auth/bootstrap", {**REQUEST, "token": token}) == made
    assert len(anybody.audited("auth.bootstrap")) == 1
    for other in (None, "da_" + "u" * 43):
        assert anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "token": other})[0] == 409
    assert anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "token": token, "secret": "wrong"})[0] == 403
    anybody.having(token).remove(f"/auth/tokens/{made['token_id']}")
    assert anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "token": token})[0] == 409


def test_of_simultaneous_calls_one_succeeds(anybody: Api) -> None:
    def attempt(number: int) -> int:
        return anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "email": f"root{number}@example.com"})[0]

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [201, 409, 409, 409]


@pytest.mark.parametrize("secret", ["", "wrong", BOOTSTRAP_SECRET[:-1], BOOTSTRAP_SECRET + "x", "é"])
def test_a_wrong_secret_is_refused_and_changes_nothing(anybody: Api, store: Store, secret: str) -> None:
    status, answer = anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "secret": secret})
    assert status == 403
    assert BOOTSTRAP_SECRET not in str(answer)
    assert [entry.key for entry in store.list("") if not entry.key.startswith(("state/audit/", "state/limits/"))] == []


def test_a_wrong_secret_does_not_reveal_an_earlier_bootstrap(anybody: Api, admin: Api) -> None:
    assert admin.token
    assert anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "secret": "wrong"})[0] == 403


class TestWithoutASecret:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"DATA_URL": "file:///nowhere"}

    @pytest.mark.parametrize("secret", ["", "None", "null"])
    def test_without_a_secret_there_is_no_bootstrap(self, anybody: Api, secret: str) -> None:
        assert anybody.ask("POST", "/auth/bootstrap", {**REQUEST, "secret": secret})[0] == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "no address"},
        {"email": "a@b c"},
        {"email": ""},
        {"email": None},
        {"name": ""},
        {"name": "two\nlines"},
        {"role": "admin"},
        {"secret": 1},
        {"secret": "x" * 1001},
        {"token": "da_short"},
        {"token": "x" * 46},
    ],
)
def test_bad_input_is_named(anybody: Api, wrong: dict[str, Any]) -> None:
    status, answer = anybody.ask("POST", "/auth/bootstrap", {**REQUEST, **wrong})
    assert status == 422
    assert next(iter(wrong)) in answer["detail"]
    assert BOOTSTRAP_SECRET not in str(answer)


def test_a_bootstrap_is_audited_without_secrets(anybody: Api) -> None:
    made = anybody.make("/auth/bootstrap", REQUEST)
    ((_, resource, params),) = anybody.audited("auth.bootstrap")
    assert (resource, params) == (f"user:{made['user']['id']}", {"email": "root@example.com"})
    with anybody.process.state.read() as db:
        log = str(db.execute("from audit_log").fetchall())
    assert made["token"] not in log
    assert BOOTSTRAP_SECRET not in log


def test_in_a_migrated_state_a_bootstrap_promotes_the_user_it_names(anybody: Api, store: Store, tmp_path: Any) -> None:
    old = legacy.make(tmp_path / "system.duckdb", legacy.V2, legacy.PEOPLE)
    store.put("state/system.duckdb", old.read_bytes(), if_version=ABSENT)
    made = anybody.make("/auth/bootstrap", {**REQUEST, "email": "EVE@example.com"})
    assert (made["user"]["id"], made["user"]["role"]) == ("u-eve", "admin")
    assert len(anybody.having(made["token"]).get("/api/users")["users"]) == 4


class TestWithASeed:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {**ENVIRON, "SEED_ADMIN_EMAIL": " Seed@Example.com"}

    def test_users_named_in_the_settings_become_administrators(self, anybody: Api) -> None:
        admin = anybody.having(anybody.make("/auth/bootstrap", REQUEST)["token"])
        roles = {user["email"]: user["role"] for user in admin.get("/api/users")["users"]}
        assert roles == {"root@example.com": "admin", "seed@example.com": "admin"}

    def test_a_user_named_in_the_settings_may_be_the_first_administrator(self, anybody: Api) -> None:
        made = anybody.make("/auth/bootstrap", {**REQUEST, "email": "seed@example.com"})
        assert len(anybody.having(made["token"]).get("/api/users")["users"]) == 1
