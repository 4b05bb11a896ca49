"""Groups and permissions over HTTP, and what they let people see."""

import pytest

from tests.integration.admin.conftest import Api, Prepare


def open_shop(admin: Api) -> None:
    """Two tables in two buckets of a source, and one of another."""
    for source in ("shop", "crm"):
        admin.make(f"/api/admin/sources/{source}", {"type": "external"})
    admin.make("/api/admin/tables/shop.orders", {"bucket": "in.c-main"})
    admin.make("/api/admin/tables/shop.visits", {"bucket": "web"})
    admin.make("/api/admin/tables/crm.people", {"bucket": "web"})


@pytest.fixture
def shop(prepare: Prepare) -> Api:
    return prepare(open_shop)[0]


def readable(somebody: Api) -> set[str]:
    me = somebody.get("/api/me")
    access = somebody.process.access
    who = access.caller_of(somebody.token or "", somebody.process.clock())
    assert who.user_id == me["user_id"]
    return set(access.current().readable(who))


GRANTS = [
    pytest.param({"table": "shop.orders"}, {"shop.orders"}, id="table"),
    pytest.param({"source": "shop"}, {"shop.orders", "shop.visits"}, id="source"),
    pytest.param({"source": "shop", "bucket": "web"}, {"shop.visits"}, id="bucket"),
]


@pytest.mark.parametrize(("target", "seen"), GRANTS)
def test_a_user_sees_granted_tables_until_the_grant_is_revoked(
    shop: Api, target: dict[str, str], seen: set[str]
) -> None:
    id_, ann = shop.user("ann@example.com")
    assert readable(ann) == set()
    made = shop.make("/api/admin/permissions", {"user": "Ann@example.com", **target})
    assert made["principal"] == {"type": "user", "id": id_, "name": "ann@example.com"}
    assert {name: made[name] for name in ("table", "source", "bucket") if made[name]} == target
    assert readable(ann) == seen
    shop.remove(f"/api/admin/permissions/{made['id']}")
    assert readable(ann) == set()
    assert shop.ask("DELETE", f"/api/admin/permissions/{made['id']}")[0] == 404


@pytest.mark.parametrize(("target", "seen"), GRANTS)
def test_members_of_a_group_have_its_grants(shop: Api, target: dict[str, str], seen: set[str]) -> None:
    id_, ann = shop.user("ann@example.com")
    group = shop.make("/api/admin/groups", {"name": "Sales"})
    shop.make("/api/admin/permissions", {"group": "Sales", **target})
    member = f"/api/admin/groups/{group['id']}/members/{id_}"
    for _ in range(2):
        assert shop.ask("PUT", member)[0] == 204
        assert readable(ann) == seen
    assert [listed["members"] for listed in shop.get("/api/admin/groups")["groups"]] == [
        [{"id": id_, "email": "ann@example.com"}]
    ]
    for _ in range(2):
        shop.remove(member)
        assert readable(ann) == set()


def test_removing_a_group_removes_its_grants(shop: Api) -> None:
    id_, ann = shop.user("ann@example.com")
    group = shop.make("/api/admin/groups", {"name": "Sales"})
    shop.make("/api/admin/permissions", {"group": group["id"], "source": "shop"})
    assert shop.ask("PUT", f"/api/admin/groups/{group['id']}/members/{id_}")[0] == 204
    shop.remove(f"/api/admin/groups/{group['id']}")
    assert readable(ann) == set()
    assert shop.get("/api/admin/permissions")["permissions"] == []
    again = shop.make("/api/admin/groups", {"name": "Sales"})
    assert (again["id"] != group["id"], again["members"]) == (True, [])


def test_removing_a_table_removes_its_grants(shop: Api) -> None:
    _, ann = shop.user("ann@example.com")
    shop.make("/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"})
    shop.remove("/api/admin/tables/shop.orders")
    shop.make("/api/admin/tables/shop.orders", {})
    assert readable(ann) == set()
    assert shop.get("/api/admin/permissions")["permissions"] == []


def test_a_grant_on_a_source_covers_tables_registered_later(shop: Api) -> None:
    _, ann = shop.user("ann@example.com")
    shop.make("/api/admin/permissions", {"user": "ann@example.com", "source": "crm"})
    shop.make("/api/admin/tables/crm.deals", {})
    assert readable(ann) == {"crm.people", "crm.deals"}


def test_a_grant_is_not_repeated(shop: Api) -> None:
    shop.user("ann@example.com")
    for target in ({"table": "shop.orders"}, {"source": "shop"}, {"source": "shop", "bucket": "web"}):
        grant = {"user": "ann@example.com", **target}
        shop.make("/api/admin/permissions", grant)
        assert shop.ask("POST", "/api/admin/permissions", grant)[0] == 409


@pytest.mark.parametrize(
    "unknown",
    [
        {"user": "nobody@example.com", "table": "shop.orders"},
        {"group": "nobodies", "table": "shop.orders"},
        {"user": "root@example.com", "table": "shop.none"},
        {"user": "root@example.com", "source": "none"},
        {"user": "root@example.com", "source": "shop", "bucket": "none"},
    ],
)
def test_unknown_tables_are_not_granted(shop: Api, unknown: dict[str, str]) -> None:
    assert shop.ask("POST", "/api/admin/permissions", unknown)[0] == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"user": "root@example.com"},
        {"table": "shop.orders"},
        {"user": "root@example.com", "group": "Sales", "table": "shop.orders"},
        {"user": "root@example.com", "table": "shop.orders", "source": "shop"},
        {"user": "root@example.com", "bucket": "web"},
        {"user": "root@example.com", "table": "shop.orders", "bucket": "web"},
        {"user": "root@example.com", "table": "orders"},
        {"user": "root@example.com", "table": "shop.orders", "access": "none"},
    ],
)
def test_a_grant_names_exactly_one_principal_and_one_object(shop: Api, wrong: dict[str, str]) -> None:
    assert shop.ask("POST", "/api/admin/permissions", wrong)[0] == 422


def test_permissions_can_be_filtered_by_user_and_by_table(shop: Api) -> None:
    ann, _ = shop.user("ann@example.com")
    shop.user("bob@example.com")
    group = shop.make("/api/admin/groups", {"name": "Sales"})
    assert shop.ask("PUT", f"/api/admin/groups/{group['id']}/members/{ann}")[0] == 204
    own = shop.make("/api/admin/permissions", {"user": ann, "table": "shop.orders"})["id"]
    team = shop.make("/api/admin/permissions", {"group": "Sales", "source": "shop"})["id"]
    web = shop.make("/api/admin/permissions", {"user": "bob@example.com", "source": "shop", "bucket": "web"})["id"]

    def listed(query: str) -> list[str]:
        return [found["id"] for found in shop.get(f"/api/admin/permissions{query}")["permissions"]]

    assert sorted(listed("")) == sorted([own, team, web])
    assert sorted(listed("?user=ann@example.com")) == sorted([own, team])
    assert listed("?group=Sales") == [team]
    assert sorted(listed("?table=shop.orders")) == sorted([own, team])
    assert sorted(listed("?table=shop.visits")) == sorted([team, web])
    assert listed("?table=shop.visits&user=bob@example.com") == [web]
    assert listed("?table=crm.people") == []
    assert shop.ask("GET", "/api/admin/permissions?user=nobody@example.com")[0] == 404


def test_group_names_are_unique(shop: Api) -> None:
    shop.make("/api/admin/groups", {"name": "Sales"})
    assert shop.ask("POST", "/api/admin/groups", {"name": "Sales"})[0] == 409
    assert shop.ask("DELETE", "/api/admin/groups/Sales")[0] == 404
    assert shop.ask("PUT", "/api/admin/groups/none/members/none")[0] == 404


@pytest.mark.parametrize(
    ("name", "same"), [("sales", "SALES"), ("Caf\u00e9", "Cafe\u0301"), ("stra\u00dfe", "STRASSE")]
)
def test_two_groups_can_not_have_names_that_look_the_same(shop: Api, name: str, same: str) -> None:
    made = shop.make("/api/admin/groups", {"name": name})
    status, problem = shop.ask("POST", "/api/admin/groups", {"name": same})
    assert (status, problem["detail"]) == (409, f"a group {name!r} already exists")
    granted = shop.make("/api/admin/permissions", {"group": same, "source": "shop"})
    assert granted["principal"] == {"type": "group", "id": made["id"], "name": name}


@pytest.mark.parametrize("name", ["\u202eselas", "sales\u200b", "\ufeffsales", "\u2066"])
def test_the_name_of_a_group_has_no_invisible_characters(shop: Api, name: str) -> None:
    status, problem = shop.ask("POST", "/api/admin/groups", {"name": name})
    assert (status, problem["detail"]) == (422, "'name' must be a name without invisible characters")


def test_permissions_and_groups_are_audited(shop: Api) -> None:
    ann, _ = shop.user("ann@example.com")
    group = shop.make("/api/admin/groups", {"name": "Sales"})
    shop.ask("PUT", f"/api/admin/groups/{group['id']}/members/{ann}")
    made = shop.make("/api/admin/permissions", {"group": "Sales", "source": "shop"})
    shop.remove(f"/api/admin/permissions/{made['id']}")
    shop.remove(f"/api/admin/groups/{group['id']}")
    for action in ("group.create", "group.add_member", "grant.create", "grant.delete", "group.delete"):
        assert len(shop.audited(action)) == 1
