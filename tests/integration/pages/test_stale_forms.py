"""A form replaces all that its page showed, so it is refused if somebody changed that after the page was opened."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.integration.pages.conftest import Browser
from tests.integration.world import World


class Edit(NamedTuple):
    """A page with the form that it sends, its fields, and how somebody else changes and reads what it replaces."""

    page: str
    action: str
    form: dict[str, str]
    change: tuple[str, str, dict[str, Any]]
    read: tuple[str, Callable[[Any], Any]]
    theirs: Any


def person(world: World) -> Edit:
    made = world.ask("POST", "/api/users", {"email": "eve@example.com"})
    page = f"/admin/people/{made['id']}"
    read = ("/api/users?email=eve@example.com", lambda answer: answer["users"][0]["active"])
    form = {"name": "Eve", "role": "analyst", "active": "true"}
    return Edit(page, page, form, ("PUT", f"/api/users/{made['id']}", {"active": False}), read, theirs=False)


def description(_: World) -> Edit:
    change = ("PUT", "/api/admin/tables/shop.orders/description", {"description": "Paid orders."})
    read = ("/api/tables/shop.orders/description", lambda answer: answer["said"]["description"])
    return Edit(
        "/tables/shop/orders", "/tables/shop/orders/description", {"tags": "gold"}, change, read, "Paid orders."
    )


def column(_: World) -> Edit:
    said = {"columns": {"amount": {"description": "Without VAT."}}}
    change = ("PUT", "/api/admin/tables/shop.orders/description", said)
    read = ("/api/tables/shop.orders/description", lambda answer: answer["said"]["columns"]["amount"]["description"])
    form = {"column": "amount", "tags": "money"}
    return Edit("/tables/shop/orders", "/tables/shop/orders/columns", form, change, read, "Without VAT.")


def term(world: World) -> Edit:
    world.ask("PUT", "/api/admin/glossary/Churn", {"definition": "Who left."})
    change = ("PUT", "/api/admin/glossary/Churn", {"synonyms": ["attrition"]})
    read = ("/api/glossary/Churn", lambda answer: answer["term"]["synonyms"])
    return Edit("/glossary/Churn", "/glossary/Churn", {"definition": "Who left us."}, change, read, ["attrition"])


def table(_: World) -> Edit:
    page = "/admin/tables/shop/orders"
    read = ("/api/admin/tables/shop.orders", lambda answer: answer["sync_schedule"])
    change = ("PUT", "/api/admin/tables/shop.orders", {"sync_schedule": "every 6h"})
    return Edit(page, page, {"description": "Orders"}, change, read, "every 6h")


def options(_: World) -> Edit:
    page = "/admin/tables/shop/orders"
    read = ("/api/admin/tables/shop.orders", lambda answer: answer["options"])
    change = ("PUT", "/api/admin/tables/shop.orders", {"options": {"nullstr": ["NA"]}})
    return Edit(page, f"{page}/options", {"option": "comment", "text": "#"}, change, read, {"nullstr": ["NA"]})


def source(world: World) -> Edit:
    path = world.ask("GET", "/api/admin/sources/shop")["config"]["path"]
    read = ("/api/admin/sources/shop", lambda answer: answer["sync_schedule"])
    change = ("PUT", "/api/admin/sources/shop", {"sync_schedule": "every 2h"})
    return Edit(
        "/admin/sources/shop", "/admin/sources/shop", {"option": "path", "text": path}, change, read, "every 2h"
    )


def item(world: World) -> Edit:
    new = {"title": "Orders are net", "content": "Without VAT.", "category": "workflow"}
    made = world.ask("POST", "/api/memory", new)
    change = ("PUT", f"/api/memory/admin/items/{made['id']}", {"content": "Without VAT and shipping."})
    read = (f"/api/memory/items/{made['id']}", lambda answer: answer["content"])
    form = {"id": made["id"], "title": "Net orders", "content": "Without VAT.", "status": "pending"}
    return Edit("/memory/admin", "/memory/admin/edit", form, change, read, "Without VAT and shipping.")


def sql(world: World) -> Edit:
    """Of a materialized table, whose options have more than its form."""
    world.ask("POST", "/api/admin/sources/marts", {"type": "materialized"})
    world.ask("POST", "/api/admin/tables/marts.count", {"options": {"sql": "select 1 as n"}})
    page = "/admin/tables/marts/count"
    read = ("/api/admin/tables/marts.count", lambda answer: answer["options"]["sql"])
    change = ("PUT", "/api/admin/tables/marts.count", {"options": {"sql": "select 2 as n"}})
    return Edit(page, f"{page}/options", {"option": "sql", "text": "select 3 as n"}, change, read, "select 2 as n")


def seen(page: str, edit: Edit) -> str:
    """Return the fingerprint that the form sends; fields of a form may stand outside of it."""
    if "column" in edit.form:
        beside = rf'name="column" value="{edit.form["column"]}">'
    elif "id" in edit.form:
        beside = rf'name="id" value="{edit.form["id"]}">'
    else:
        beside = rf'method="post" action="{edit.action}">'
    found = re.search(rf'{beside}<input type="hidden"[^>]* name="seen" value="([0-9a-f]+)">', page)
    assert found
    return found[1]


def entered(edit: Edit) -> list[str]:
    """Return the texts that were entered; `option` is the name of one."""
    return [value for name, value in edit.form.items() if name != "option"]


@pytest.mark.parametrize("kind", [person, description, column, term, table, options, sql, source, item])
def test_a_form_whose_page_is_out_of_date_undoes_nothing_and_loses_nothing(
    world: World, kind: Callable[[World], Edit]
) -> None:
    edit = kind(world)
    admin = Browser(world).sign_in("admin@example.com")
    stale = seen(admin.get(edit.page).text, edit)
    world.ask(*edit.change)
    answer = admin.post(edit.action, **edit.form, seen=stale)
    assert answer.status_code == 409
    assert "after you opened the page" in answer.text
    where, value = edit.read
    assert value(world.ask("GET", where)) == edit.theirs
    assert all(f"{each}</textarea>" in answer.text or f'value="{each}"' in answer.text for each in entered(edit))
    fresh = seen(admin.get(edit.page).text, edit)
    assert fresh not in answer.text, "the page that says so may show the form, which undoes nothing either"
    twice = [admin.post(edit.action, **edit.form, seen=fresh).status_code for _ in range(2)]
    assert twice == [303, 303], "a double click sends it twice"
