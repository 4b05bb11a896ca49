"""Feedback is seen by its author, by owners and by administrators, and by nobody who may not read the table."""

from pathlib import Path
from typing import Any

from tests.integration.world import Begun, World


def person(world: World, name: str, *tables: str) -> str:
    world.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": "analyst"})
    for table in tables:
        world.ask("POST", "/api/admin/permissions", {"user": f"{name}@example.com", "table": table})
    return str(world.ask("POST", "/auth/tokens", {"name": "x", "user": f"{name}@example.com"})["token"])


def test_feedback_is_visible_to_its_author_owners_and_administrators(begun: Begun, tmp_path: Path) -> None:
    world = begun.world(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"sources/{name}.csv").write_text("id\n1\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    world.ask("PUT", "/api/admin/metrics/many", {"definition": {"table": "b", "expression": "count(*)"}})
    ann, bob, owner = (
        person(world, "ann", "shop.a"),
        person(world, "bob", "shop.a", "shop.b"),
        person(world, "eve", "shop.a"),
    )
    world.ask("PUT", "/api/admin/tables/shop.a/description", {"owners": ["eve@example.com"]})

    def say(kind: str, about: str, token: str) -> int:
        body = {"kind": kind, "about": about, "text": f"{about} is wrong"}
        return world.send("POST", "/api/feedback", body, token=token).status_code

    def seen(path: str, token: str = "") -> list[Any]:
        return [each["about"] for each in world.ask("GET", path, token=token)["feedback"]]

    assert (say("table", "shop.a", ann), say("table", "shop.b", bob), say("metric", "many", bob)) == (201, 201, 201)
    assert (say("table", "shop.b", ann), say("metric", "many", ann), say("table", "shop.x", ann)) == (404, 404, 404)
    assert say("receipt", "r-1", ann) == 201
    assert say("nothing", "x", ann) == 422
    assert seen("/api/feedback", ann) == ["r-1", "shop.a"]
    assert seen("/api/feedback", bob) == ["many", "shop.b"]
    assert seen("/api/feedback", owner) == ["shop.a"]
    assert seen("/api/admin/feedback") == ["r-1", "many", "shop.b", "shop.a"]
    assert world.send("GET", "/api/admin/feedback", token=owner).status_code == 403
