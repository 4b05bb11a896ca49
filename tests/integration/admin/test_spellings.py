"""KELVIN SIGN is not `k`: an address that equals another one only when it is lowercased is a different one."""

from typing import Any

import pytest

from analyst.errors import SettingsError
from tests.integration.admin.conftest import BOOTSTRAP_SECRET, Api, Prepare
from tests.integration.auth.installation import Installation

KATE, LIKE_KATE = "kate@example.com", "\u212aate@example.com"


def add_kate(admin: Api) -> str | None:
    admin.make("/api/admin/sources/shop", {"type": "external"})
    admin.make("/api/admin/tables/shop.orders", {})
    return admin.user(KATE)[1].token


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (("POST", "/api/users", {"email": LIKE_KATE}), 422),
        (("GET", f"/api/users?email={LIKE_KATE}", None), 422),
        (("POST", "/api/admin/permissions", {"user": LIKE_KATE, "table": "shop.orders"}), 404),
        (("GET", f"/api/admin/permissions?user={LIKE_KATE}", None), 404),
        (("GET", f"/api/admin/access?user={LIKE_KATE}", None), 404),
        (("POST", "/auth/tokens", {"name": "x", "user": LIKE_KATE}), 422),
        (("GET", f"/auth/tokens?user={LIKE_KATE}", None), 404),
        (("POST", "/auth/bootstrap", {"email": LIKE_KATE, "secret": BOOTSTRAP_SECRET}), 422),
        (("POST", "/auth/password", {"email": LIKE_KATE, "password": "x"}), 422),
        (("POST", "/auth/password/forgot", {"email": LIKE_KATE}), 422),
    ],
)
def test_a_lookalike_address_belongs_to_nobody(prepare: Prepare, asked: tuple[str, str, Any], status: int) -> None:
    admin, token = prepare(add_kate)
    kate = admin.having(token)
    assert admin.ask(*asked)[0] == status
    assert kate.get("/api/me")["email"] == KATE
    assert admin.get(f"/api/users?email={KATE.upper()}")["users"][0]["email"] == KATE


@pytest.mark.parametrize(
    "environ",
    [{"ALLOWED_DOMAINS": "e\u212aample.com"}, {"SEED_ADMIN_EMAIL": LIKE_KATE}, {"SERVICE_ACCOUNT_EMAILS": LIKE_KATE}],
)
def test_lookalike_addresses_in_settings_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        _ = Installation(**environ).process.settings


def test_an_older_state_with_both_spellings_keeps_them_apart(anybody: Api, store: Any, tmp_path: Any) -> None:
    from analyst.store import ABSENT
    from tests.unit.state import legacy

    rows = f"insert into users (id, email, role) values ('u-1', '{LIKE_KATE}', 'admin'), ('u-2', '{KATE.upper()}', 'analyst')"
    old = legacy.make(tmp_path / "system.duckdb", legacy.V2, legacy.V3, rows)
    store.put("state/system.duckdb", old.read_bytes(), if_version=ABSENT)
    made = anybody.make("/auth/bootstrap", {"email": "root@example.com", "secret": BOOTSTRAP_SECRET})
    (found,) = anybody.having(made["token"]).get(f"/api/users?email={KATE}")["users"]
    assert (found["id"], found["role"]) == ("u-2", "analyst")
