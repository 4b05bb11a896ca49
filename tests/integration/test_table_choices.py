"""Which tables people want on their laptops: what the manifest then has of the others, for whom, and what it never changes."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.clouds import Cloud
from tests.integration.memory.test_pages import page
from tests.integration.test_manifest_sources import conditional, publish
from tests.integration.world import World

PATH = "/api/sync/table-subscriptions"
BOTH = ["crm.crm_orders", "shop.shop_orders"]


@pytest.fixture(scope="module")
def world(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two sources of one table each."""
    folder = tmp_path_factory.mktemp("choices")
    world = World(folder, shared_cloud, variables={"ACCESS_MAX_AGE": "0"})
    for source in ("crm", "shop"):
        publish(world, folder, source, "n\n1\n")
    yield world
    world.process.close()


@pytest.fixture
def ann(world: World) -> Iterator[str]:
    """The token of an analyst who may read one of the two tables."""
    user = world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": BOTH[1]})
    yield str(world.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"])
    world.ask("DELETE", f"/api/users/{user['id']}")


def choose(world: World, token: str = "", mode: str = "all", **tables: bool) -> Mapping[str, Any]:
    chosen = {name.replace("__", "."): is_wanted for name, is_wanted in tables.items()}
    return world.ask("POST", PATH, {"table_mode": mode, "tables": chosen}, token=token)


def left_out(world: World, token: str = "") -> dict[str, bool]:
    """Return the tables of somebody's manifest, and whether each is left out.

    Such a one has no files, and is server-only, because a `da` that knows no choices would show it as an empty table.
    """
    tables = world.ask("GET", "/api/sync/manifest", token=token)["tables"]
    assert all(bool(table["files"]) is not table.get("left_out", False) for table in tables.values())
    assert all(table["server_only"] is table.get("left_out", False) for table in tables.values())
    return {id_: table.get("left_out", False) for id_, table in tables.items()}


@pytest.mark.parametrize(
    ("mode", "tables", "expected"),
    [
        ("all", {}, [False, False]),
        ("all", {"shop.shop_orders": False}, [False, True]),
        ("all", {"shop.*": False, "shop.shop_orders": True}, [False, False]),
        ("all", {"crm.*": False, "shop.other": False}, [True, False]),
        ("explicit", {}, [True, True]),
        ("explicit", {"crm.*": True}, [False, True]),
        ("explicit", {"crm.*": True, "crm.crm_orders": False, "shop.shop_orders": True}, [True, False]),
    ],
)
def test_a_choice_leaves_tables_out_of_the_manifest(
    world: World, mode: str, tables: dict[str, bool], expected: list[bool]
) -> None:
    before = world.send("GET", "/api/sync/sources").headers["ETag"]
    made = world.ask("POST", PATH, {"table_mode": mode, "tables": tables})
    try:
        assert made == world.ask("GET", PATH)
        assert (made["mirrored"], made["left_out"]) == (expected.count(False), expected.count(True))
        assert left_out(world) == dict(zip(BOTH, expected, strict=True))
        for path in ("/api/sync/sources", "/api/sync/manifest"):
            assert conditional(world, path, before) == (200 if any(expected) else 304)
    finally:
        choose(world)
    assert left_out(world) == dict.fromkeys(BOTH, False)
    assert world.send("GET", "/api/sync/sources").headers["ETag"] == before


def test_a_choice_is_private_to_its_owner_and_grants_no_right(world: World, ann: str) -> None:
    made = choose(world, ann, "explicit", **{"crm__*": True})
    assert (made["mirrored"], made["left_out"], made["unused"]) == (0, 1, ["crm.*"])
    assert left_out(world, ann) == {BOTH[1]: True}
    assert left_out(world) == dict.fromkeys(BOTH, False)
    assert world.ask("GET", PATH)["choice"] == {"table_mode": "all", "tables": {}}
    choose(world, ann, "all", **{"crm__crm_orders": True, "shop__*": False})
    files = world.ask("GET", "/api/sync/manifest")["tables"][BOTH[0]]["files"]
    asked = {"files": {BOTH[0]: [files[0]["path"]]}}
    assert world.send("POST", "/api/data/urls", asked, token=ann).status_code in {403, 404}
    rows = world.ask("POST", "/api/query", {"sql": "select count(*) as n from shop.shop_orders"}, token=ann)["rows"]
    assert rows == [[1]]  # what is left out can be queried at the server


@pytest.mark.parametrize(
    "body",
    [
        {"table_mode": "some"},
        {"tables": {"*": True}},
        {"tables": {"shop": True}},
        {"tables": {"../x.y": True}},
        {"tables": {"shop.orders": "perhaps"}},
        {"tables": {f"shop.t{number}": False for number in range(201)}},
        {"user": "eve@example.com"},
    ],
)
def test_an_invalid_choice_is_refused(world: World, body: dict[str, Any]) -> None:
    assert world.send("POST", PATH, body).status_code == 422


def test_people_who_choose_at_the_same_time_lose_nothing(world: World, ann: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def choose_table(number: int) -> None:
        choose(world, ann if number % 2 else "", "all", **{f"shop__t{number}": False})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(choose_table, range(12)))
    kept = [world.ask("GET", PATH, token=token)["choice"]["tables"] for token in ("", ann)]
    choose(world)
    assert [len(each) for each in kept] == [1, 1]
    assert {name for each in kept for name in each} <= {f"shop.t{number}" for number in range(12)}


def test_a_choice_can_be_made_on_the_account_page(world: World, ann: str) -> None:
    form = {"table_mode": "explicit", "only": "shop.* \n shop.gone", "without": "shop.shop_orders"}
    assert page(world, "/account/tables", ann, form) == (303, "/account?done=chosen")
    status, text = page(world, "/account?done=chosen", ann)
    assert (status, "Your choice was saved" in text, "mirrors 0 tables" in text) == (200, True, True)
    assert 'value="explicit" checked' in text
    assert world.ask("GET", PATH, token=ann)["choice"]["tables"] == {
        "shop.*": True,
        "shop.gone": True,
        "shop.shop_orders": False,
    }
    status, text = page(world, "/account/tables", ann, {"table_mode": "all", "only": "x", "without": "<b>"})
    assert (status, "the id of a table such as shop.orders" in text) == (422, True)
    assert page(world, "/account/tables", ann, {"table_mode": "all"})[0] == 303
    assert left_out(world, ann) == {BOTH[1]: False}
