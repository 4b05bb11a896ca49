"""`da admin leak-check`: it knows every surface, finds nothing where nothing is wrong, and what was planted where it was."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyst.access import Role
from analyst.http import Allow
from analyst.http.spec import FunctionSpec
from da.agents.schemas import TOOLS as EVERY_TOOL
from da.config import Login
from da.leak_check import LeakCheck, Report, mentioned
from da.leak_surfaces import NOT_ASKED, TOOLS, routes
from da.server import Server
from da.web import Web
from tests.all_functions import FUNCTIONS
from tests.clouds import FileCloud
from tests.integration.world import World
from tests.processes import Host, free_port, served

MISTAKES = ("order", "shop", "orders")


def specs() -> Iterator[FunctionSpec]:
    for function in FUNCTIONS:
        spec = function.function
        yield from (each for each in (spec, spec.twin) if each is not None)


def for_people(spec: FunctionSpec) -> bool:
    return spec.allow is Allow.CALLER or (
        isinstance(spec.allow, Role) and spec.allow not in (Role.ADMIN, Role.KM_ADMIN)
    )


def test_every_route_for_people_is_checked_or_excepted_with_a_reason() -> None:
    known = {f"{spec.method} {spec.path.text}" for spec in specs()}
    wanted = {f"{spec.method} {spec.path.text}" for spec in specs() if for_people(spec)}
    assert wanted - routes() - NOT_ASKED.keys() == set(), (
        "add it to SURFACES, LISTINGS or NOT_ASKED of da.leak_surfaces"
    )
    assert (routes() | NOT_ASKED.keys()) - known == set(), "there is no such route"
    assert routes() & NOT_ASKED.keys() == set()
    assert {tool.name for tool in EVERY_TOOL} == TOOLS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("shop.orders", {"shop.orders"}),
        ('"shop"."orders"', {"shop.orders"}),
        ("a/tables/shop/orders?x", {"shop.orders"}),
        ("extracts/shop/data/orders/1.parquet", {"shop.orders"}),
        ("the table &#39;shop.orders&#39;", {"shop.orders"}),
        ('{"name":"orders","schema":"shop"}', {"shop.orders"}),
        ("<td>shop.<wbr>orders</td>", {"shop.orders"}),
        ("shop.orders2 xshop.orders shop orders", set()),
        ("erp.orders", set()),
    ],
)
def test_mentions_of_tables_in_a_text_are_found(text: str, found: set[str]) -> None:
    assert mentioned(text, frozenset({"shop.orders", "shop.items"})) == found


class Company(World):
    """People and tables: public, granted to a person or a group, of a source, only on the server, and of nobody."""

    def fill(self, folder: Path, *, people: int, tables: int) -> None:
        for source in ("shop", "erp"):
            home = folder / "sources" / source
            home.mkdir()
            for number in range(tables // 2):
                (home / f"t{number:03}.csv").write_text(f"id,{source}\n{number},1\n")
            self.ask("POST", f"/api/admin/sources/{source}", {"type": "csv", "config": {"path": source}})
            self.ask("POST", "/extract/csv", {"source": source})
        while self.ask("POST", "/rebuild", {})["status"] == "running":
            pass
        self.ask("PUT", "/api/admin/tables/shop.t000", {"is_public": True})
        self.ask("PUT", "/api/admin/tables/shop.t001", {"server_only": True})
        group = self.ask("POST", "/api/admin/groups", {"name": "Sales"})["id"]
        self.ask("POST", "/api/admin/permissions", {"group": "Sales", "table": "erp.t001"})
        for number in range(people - 1):
            email, role = f"p{number}@example.com", "viewer" if number == 2 else "analyst"
            user = self.ask("POST", "/api/users", {"email": email, "role": role})["id"]
            if number % 3 == 0:
                self.ask("PUT", f"/api/admin/groups/{group}/members/{user}")
            if number % 3 == 1:
                self.ask("POST", "/api/admin/permissions", {"user": email, "source": "erp"})
            self.ask("POST", "/api/admin/permissions", {"user": email, "table": f"shop.t{number % (tables // 2):03}"})
        self.ask("POST", "/api/admin/permissions", {"user": "p0@example.com", "table": "shop.t001"})


def check(host: Host, token: str, each: int = 2) -> Report:
    with Web() as web:
        return LeakCheck(Server(Login(host.url, token), web), web, each).run()


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Company]]:
    folder, port = tmp_path_factory.mktemp("company"), free_port()
    world = Company(folder, FileCloud(folder / "bucket"), base_url=f"http://127.0.0.1:{port}")
    world.fill(folder, people=4, tables=6)
    with served(world.app, port) as host:
        yield host, world
    world.process.close()


@pytest.mark.slow
def test_nothing_is_found_in_a_system_without_leaks(company: tuple[Host, Company]) -> None:
    host, world = company
    report = check(host, world.admin)
    assert "\n".join(json.dumps(each.to_json()) for each in report.findings) == ""
    assert (report.people, report.tables) == (4, 6)
    assert report.requests > 300
    tokens = world.ask("GET", "/auth/tokens?user=p0@example.com")["tokens"]
    assert [(t["name"], t["scopes"], t["revoked_at"] is not None) for t in tokens] == [
        ("leak-check", ["query", "read", "sync"], True)
    ]
