"""Every form of every page sends what the function behind it takes: no more names, none missing, by each of its buttons."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import pytest

from analyst.http.routing import Router
from analyst.http.spec import FunctionSpec
from tests.all_functions import FUNCTIONS
from tests.integration.pages.conftest import Browser
from tests.integration.world import World

ROUTER = Router(each.function for each in FUNCTIONS)


@dataclass
class Form:
    """A form: its address, its method, the names of its fields, and the name and the address of each button."""

    action: str
    method: str
    names: set[str] = field(default_factory=set)
    buttons: list[tuple[str | None, str]] = field(default_factory=list)


class Forms(HTMLParser):
    """The forms of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._open: Form | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form":
            self._open = Form(attributes.get("action") or "", (attributes.get("method") or "get").upper())
            self.found.append(self._open)
        elif self._open is None:
            assert tag not in {"input", "select", "textarea"} or "form" in attributes, "a field outside of a form"
        elif tag == "button" and attributes.get("type") != "button":
            self._open.buttons.append((attributes.get("name"), attributes.get("formaction") or self._open.action))
        elif tag in {"input", "select", "textarea"} and attributes.get("name"):
            self._open.names.add(attributes["name"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


def sent(form: Form) -> Iterator[tuple[str, set[str]]]:
    """Yield the address and the names that each button of a form sends; a form without one is sent by Enter."""
    for name, action in form.buttons or [(None, form.action)]:
        yield action, form.names | ({name} if name else set())


def taken(spec: FunctionSpec) -> set[str]:
    """Return the names that a function takes."""
    fields = {} if spec.input is None else spec.input.model_fields
    return {each.alias or name for name, each in fields.items()} - set(spec.path.names)


def needed(spec: FunctionSpec) -> set[str]:
    """Return the names that a function can't do without."""
    fields = {} if spec.input is None else spec.input.model_fields
    return {each.alias or name for name, each in fields.items() if each.is_required()} - set(spec.path.names)


def addresses(world: World) -> list[str]:
    people = world.ask("GET", "/api/users")["users"]
    run = world.ask("GET", "/api/sync/status")["runs"][0]["run_id"]
    return [
        *("/", "/catalog", "/catalog?q=order", "/tables/shop/orders", "/tables/shop/none", "/metrics", "/glossary"),
        *("/glossary/Net%20sales", "/query", "/query?table=shop.orders", "/account", "/memory", "/memory/admin"),
        *("/notifications", "/admin", "/admin/sources", "/admin/sources?type=csv", "/admin/sources?type=materialized"),
        *("/admin/sources/shop", "/admin/sources/shop?look=tables", "/admin/sources/shop?look=removal"),
        *("/admin/tables", "/admin/tables/shop/orders", "/admin/runs", f"/admin/runs/{run}", "/admin/schedule"),
        *("/admin/people", f"/admin/people/{people[0]['id']}", "/admin/access", "/admin/requests", "/admin/audit"),
        *("/admin/usage", "/admin/snapshots", "/admin/settings", "/login", "/auth/password", "/auth/email", "/cli"),
    ]


@pytest.fixture(scope="module")
def pages(world: World) -> dict[str, str]:
    """Return the pages of an administrator, with something in each list, and the result of a query."""
    world.ask("PUT", "/api/admin/glossary/Net sales", {"definition": "What customers paid."})
    world.ask("POST", "/api/admin/groups", {"name": "Sales"})
    bob = world.ask("POST", "/auth/tokens", {"name": "x", "user": "bob@example.com"})["token"]
    world.ask("POST", "/api/access-requests", {"table": "shop.orders", "reason": "For the report"}, token=str(bob))
    admin = Browser(world).sign_in("admin@example.com")
    found = {address: admin.get(address).text for address in addresses(world)}
    found["result"] = admin.post("/query", sql="select id, amount from shop.orders where id > $least").text
    found["values"] = admin.post(
        "/query", sql="select id, amount from shop.orders where id > $least", parameter="least", value="0"
    ).text
    found["preview"] = admin.post("/admin/snapshots", number="1", preview="true").text
    world.process.queries.pool.close()
    return found


def test_forms_send_what_functions_accept(pages: dict[str, str]) -> None:
    wrong: list[tuple[str, str, str]] = []
    seen = set()
    for address, page in pages.items():
        for form in Forms(page).found:
            for action, names in sent(form):
                url = urlsplit(action or address)
                spec, _ = ROUTER.match(form.method, url.path)
                seen.add((spec.method, spec.path.text))
                given = names | ({name for name, _ in parse_qsl(url.query)} if form.method == "POST" else set())
                wrong += [(address, action, f"unknown: {each}") for each in given - taken(spec)]
                wrong += [(address, action, f"missing: {each}") for each in needed(spec) - given]
    assert wrong == []
    assert {("POST", "/query/download"), ("POST", "/query/share"), ("POST", "/admin/sources")} <= seen
    assert len(seen) > 45, sorted(seen)
