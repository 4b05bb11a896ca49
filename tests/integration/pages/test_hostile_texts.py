"""Texts of people, sources and URLs are shown as texts: no page has an element or attribute that comes from one."""

import re
from html.parser import HTMLParser
from typing import Final
from urllib.parse import quote

import pytest

from analyst.pages import script
from tests.integration.pages.conftest import Browser
from tests.integration.pages.payloads import PAYLOADS
from tests.integration.world import World

TAGS: Final = frozenset(
    re.findall(
        r"\w+",
        """html head meta title link style script body a div form button header img span small nav input main footer h1 h2 h3 p
        section ul ol li code pre table thead tbody tr th td details summary label select option textarea dl dt dd strong mark
        svg rect polyline circle line path text time aside fieldset legend""",
    )
)
"""What our templates use. Neither `iframe` nor `object` is among them."""


class Elements(HTMLParser):
    """Collects what a browser would make of a page, and complains about what our templates never make."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in TAGS:
            self.found.append(tag)
        if tag == "script" and values.get("src") != script().path:
            self.found.append(f"script {values}")
        if tag == "base" or (tag == "meta" and "http-equiv" in values):
            self.found.append(f"{tag} {values}")
        for name, value in attrs:
            if name.startswith("on") or name in {"style", "srcdoc"}:
                self.found.append(f"{tag} {name}")
            if name in {"href", "src", "action", "formaction"} and not (value or "").startswith(
                ("/", "#", "data:image/", "?")
            ):
                self.found.append(f"{tag} {name}={value}")
        self.texts += [value for _, value in attrs if value]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def strange(page: str) -> list[str]:
    return Elements(page).found


def shown(page: str) -> str:
    return "\n".join(Elements(page).texts)


def test_there_are_a_hundred_and_they_would_be_noticed() -> None:
    assert len(PAYLOADS) >= 100
    assert sum(bool(strange(f"<p>{each}</p>")) for each in PAYLOADS) >= 80


@pytest.fixture(scope="module", autouse=True)
def _said(world: World) -> None:
    """Everything that people can say of a table is hostile."""
    lines = [each[:500] for each in PAYLOADS]
    said = {
        "description": "\n".join(PAYLOADS)[:10_000],
        "tags": lines,
        "owners": lines,
        "notes": lines,
        "tier": lines[2],
        "grain": lines[3],
    }
    said["columns"] = {"amount": {"description": "\n".join(PAYLOADS)[:10_000], "tags": lines}}  # type: ignore[assignment]
    world.ask("PUT", "/api/admin/tables/shop.orders/description", said)
    world.ask("POST", "/api/admin/tables/shop.orders/profile")
    for text in lines[:8]:
        world.ask("POST", "/api/feedback", {"kind": "table", "about": "shop.orders", "text": text})
    names = [each for each in lines if each.isprintable()]
    for number, name in enumerate(names[:4]):
        world.ask("POST", "/api/users", {"email": f"hostile{number}@example.com", "name": name[:200]})
        world.ask("POST", "/api/admin/groups", {"name": name[:200]})


PAGES: Final = (
    *("/", "/catalog", "/catalog?q=alert", "/tables/shop/orders", "/account", "/query", "/metrics"),
    *("/admin", "/admin/people", "/admin/access", "/admin/tables/shop/orders", "/admin/audit", "/admin/requests"),
)


@pytest.mark.parametrize("path", PAGES)
def test_what_people_say_is_shown_as_text(admin: Browser, path: str) -> None:
    answer = admin.get(path)
    assert answer.status_code == 200
    assert strange(answer.text) == []


def test_all_of_it_is_shown(admin: Browser) -> None:
    text = shown(admin.get("/tables/shop/orders").text)
    assert [each for each in PAYLOADS if each[:500] not in text] == []


def test_cells_columns_and_statements_are_texts(admin: Browser) -> None:
    for begin in range(0, len(PAYLOADS), 25):
        some = PAYLOADS[begin : begin + 25]
        quoted = ["'" + each.replace("'", "''") + "'" for each in some]
        sql = (
            "select "
            + ", ".join(
                f'{cell} as "{number} {each.replace(chr(34), chr(34) * 2)}"'
                for number, (cell, each) in enumerate(zip(quoted, some, strict=True))
            )
            + ", 1 as n union all by name select 2 as n"
        )
        page = admin.post("/query", sql=sql, chart="bar", x=f"0 {some[0]}", y="n")
        assert page.status_code == 200, page.text.partition("<main")[2][:3000]
        assert strange(page.text) == []
        text = shown(page.text)
        assert [each for each in some if text.count(each) < 3] == []


@pytest.mark.parametrize("sql", ['select "{}" from shop.orders', 'from "{}"', "selec {}"])
def test_errors_of_statements_are_texts(admin: Browser, sql: str) -> None:
    for each in (" ".join(PAYLOADS[begin : begin + 20]) for begin in range(0, len(PAYLOADS), 20)):
        assert strange(admin.post("/query", sql=sql.replace("{}", each.replace('"', '""'))).text) == []


def test_the_history_is_text(admin: Browser) -> None:
    assert strange(admin.get("/query").text) == []
    assert strange(admin.get("/").text) == []


@pytest.mark.parametrize(
    "path",
    [
        "/catalog?q={}",
        "/catalog?tag={}",
        "/{}",
        "/tables/shop/{}",
        "/tables/{}/orders",
        "/metrics?q={}",
        "/login?next={}",
        "/admin/tables?q={}",
        "/admin/audit?action={}",
        "/query?past={}",
        "/static/{}",
        "/cli/{}",
        "/auth/password/set?token={}",
    ],
)
def test_urls_are_texts(admin: Browser, path: str) -> None:
    for each in PAYLOADS[::3]:
        answer = admin.get(path.replace("{}", quote(each, safe="")))
        assert answer.status_code < 500
        assert strange(answer.text) == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/account/tokens", "name"),
        ("/account/requests", "table"),
        ("/tables/shop/none/request", "reason"),
        ("/admin/people", "email"),
        ("/admin/sources", "name"),
        ("/admin/people/search", "q"),
        ("/admin/access/explain", "table"),
        ("/admin/settings", "text"),
        ("/auth/password", "email"),
    ],
)
def test_what_forms_send_is_text(admin: Browser, path: str, field: str) -> None:
    rest = {
        "/account/tokens": {"scopes": "read", "expires_in_days": "7"},
        "/account/requests": {"reason": "x"},
        "/admin/sources": {"type": "csv"},
    }
    for each in ("".join(PAYLOADS[9:14])[:190], PAYLOADS[3]):
        answer = admin.post(path, **{field: each, **rest.get(path, {})})
        assert answer.status_code < 500
        assert strange(answer.text) == []
