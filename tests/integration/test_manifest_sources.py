"""The manifest by source: each has an ETag of its own, and all of them have one."""

from pathlib import Path

import pytest

from tests.clouds import Cloud
from tests.integration.world import World


@pytest.fixture(scope="module")
def two(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """Two sources of one table each."""
    folder = tmp_path_factory.mktemp("two")
    world = World(folder, shared_cloud)
    for source in ("crm", "shop"):
        publish(world, folder, source, "n\n1\n")
    return world, folder


def publish(world: World, home: Path, source: str, text: str) -> None:
    folder = home / "sources" / source
    if not folder.exists():
        folder.mkdir(parents=True)
        world.ask("POST", f"/api/admin/sources/{source}", {"type": "csv", "config": {"path": str(folder)}})
    (folder / f"{source}_orders.csv").write_text(text)
    world.ask("POST", "/extract/csv", {"source": source})


def test_a_change_changes_the_etag_of_its_source_and_of_the_whole(two: tuple[World, Path]) -> None:
    world, folder = two
    before = world.ask("GET", "/api/sync/sources")
    whole = world.send("GET", "/api/sync/manifest")
    assert whole.headers["ETag"] == world.send("GET", "/api/sync/sources").headers["ETag"]
    assert whole.get_json()["sources"] == before["sources"]
    publish(world, folder, "shop", "n\n1\n2\n")
    after = world.ask("GET", "/api/sync/sources")
    assert after["snapshot"] == before["snapshot"] + 1
    assert after["sources"]["crm"] == before["sources"]["crm"]
    assert after["sources"]["shop"] != before["sources"]["shop"]
    part = world.ask("GET", "/api/sync/manifest?sources=shop")
    assert part["tables"].keys() == {"shop.shop_orders"}
    assert part["tables"]["shop.shop_orders"]["rows"] == 2
    assert part["sources"] == {"shop": after["sources"]["shop"]}
    both = world.ask("GET", "/api/sync/manifest?sources=shop,crm,missing")
    assert both == world.ask("GET", "/api/sync/manifest")
    etag = world.send("GET", "/api/sync/sources").headers["ETag"]
    for path in ("/api/sync/sources", "/api/sync/manifest"):
        assert conditional(world, path, etag) == 304
        assert conditional(world, path, whole.headers["ETag"]) == 200


def conditional(world: World, path: str, etag: str) -> int:
    headers = {"Authorization": f"Bearer {world.admin}", "If-None-Match": etag}
    return world.client.get(path, headers=headers).status_code


@pytest.mark.parametrize("sources", ["", "a,", "../x", "a b", "a," * 5000 + "a"])
def test_invalid_names_of_sources_are_refused(two: tuple[World, Path], sources: str) -> None:
    assert two[0].send("GET", f"/api/sync/manifest?sources={sources}").status_code == 422


def test_a_source_without_readable_tables_is_not_revealed(two: tuple[World, Path]) -> None:
    world, _ = two
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    token = world.ask("POST", "/auth/tokens", {"name": "t", "user": "ann@example.com"})["token"]
    assert world.ask("GET", "/api/sync/sources", token=token)["sources"] == {}
    world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "source": "crm"})
    assert world.ask("GET", "/api/sync/sources", token=token)["sources"].keys() == {"crm"}
    answer = world.ask("GET", "/api/sync/manifest?sources=crm,shop", token=token)
    assert (answer["tables"].keys(), answer["sources"].keys()) == ({"crm.crm_orders"}, {"crm"})
