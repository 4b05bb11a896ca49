"""Texts of people, sources and URLs are shown as texts: no page has an element or attribute that comes from one."""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from ulid import ULID

from analyst import pages as pages_room
from analyst.http import HttpFunction
from analyst.pages import script
from tests.all_functions import FUNCTIONS
from tests.integration.pages.conftest import Browser
from tests.integration.pages.payloads import PAYLOADS
from tests.integration.world import World

ROOM: Final = Path(pages_room.__file__).parent
SOURCES: Final = (*ROOM.glob("*.py"), *ROOM.glob("templates/*.html"))
TAGS: Final = frozenset(tag for each in SOURCES for tag in re.findall(r"<([a-z][a-z0-9]*)", each.read_text()))
"""What our templates and drawings use."""


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


def test_there_are_at_least_a_hundred_payloads_and_most_would_be_noticed() -> None:
    assert {"iframe", "object", "embed", "base", "b", "i"} & TAGS == set()
    assert len(PAYLOADS) >= 100
    assert sum(bool(strange(f"<p>{each}</p>")) for each in PAYLOADS) >= 80


@pytest.fixture(scope="module", autouse=True)
def _describe(world: World) -> None:
    """Everything that people can say of a table is hostile."""
    lines = [each[:500] for each in PAYLOADS]
    description = {
        "description": "\n".join(PAYLOADS)[:10_000],
        "tags": lines,
        "owners": lines,
        "notes": lines,
        "tier": lines[2],
        "grain": lines[3],
    }
    description["columns"] = {"amount": {"description": "\n".join(PAYLOADS)[:10_000], "tags": lines}}  # type: ignore[assignment]
    world.ask("PUT", "/api/admin/tables/shop.orders/description", description)
    world.ask("POST", "/api/admin/tables/shop.orders/profile")
    for text in lines[:8]:
        world.ask("POST", "/api/feedback", {"kind": "table", "about": "shop.orders", "text": text})
    names = [each for each in lines if each.isprintable()]
    for number, name in enumerate(names[:4]):
        world.ask("POST", "/api/users", {"email": f"hostile{number}@example.com", "name": name[:200]})
        world.ask("POST", "/api/admin/groups", {"name": name[:200]})
    _define_and_remember(world)
    _notify(world)
    _sync_odd_files(world)


def _define_and_remember(world: World) -> None:
    links = [{"kind": "table", "id": "shop.orders", "column": "amount"}]
    texts = [each[:200] for each in PAYLOADS[:20]]
    term = {
        "definition": "\n".join(PAYLOADS)[:10_000],
        "synonyms": texts,
        "tags": texts,
        "owners": texts,
        "links": links,
    }
    world.ask("PUT", "/api/admin/glossary/Odd", term)
    named = {"display_name": PAYLOADS[2], "description": "\n".join(PAYLOADS)[:10_000], "category": "odd"}
    metric = {"table": "shop.orders", "expression": "count(*)", "synonyms": texts, "owners": texts, **named}
    world.ask("PUT", "/api/admin/metrics/odd", {"definition": metric})
    made = []
    for begin in range(0, len(PAYLOADS), 8):
        content = "\n".join(PAYLOADS[begin : begin + 8])[:1000]
        item = {"title": PAYLOADS[begin][:60], "content": content, "category": "workflow", "tags": [texts[1][:50]]}
        made.append(world.ask("POST", "/api/memory", item)["id"])
    decide = "/api/memory/admin/decide"
    world.ask("POST", decide, {"ids": made[:3], "action": "mandate", "reason": PAYLOADS[3], "audience": "all"})
    world.ask("POST", "/api/memory/admin/merge", {"id": made[3], "into": made[4], "content": PAYLOADS[5]})


def _notify(world: World) -> None:
    """Run a script that says hostile things in all ways that a script has, and one that fails with them."""
    lines = "\n".join(PAYLOADS)
    notice = {"notify": True, "title": PAYLOADS[2], "message": lines[:4000]}
    for name, source in (
        ("odd", f"import sys\nprint({json.dumps(notice)!r})\nprint({lines!r}, file=sys.stderr)\n"),
        ("odd-failed", f"raise ValueError({''.join(PAYLOADS[:9])!r})\n"),
    ):
        script = world.ask("POST", "/api/scripts/deploy", {"name": name, "source": source})["id"]
        world.ask("POST", "/run-script", {"script": script, "run_id": str(ULID()), "trigger": "demand"})


def _sync_odd_files(world: World) -> None:
    """Sync a source whose columns, cells and failures are hostile; runs and tables show them."""
    folder = Path(str(world.process.settings.source_roots[0]), "odd")
    folder.mkdir()
    names = [each for each in PAYLOADS[:40] if each.isprintable()]
    cells = (names, *([f"{mark}{each}" for each in names] for mark in "xy"))
    rows = "\n".join(",".join('"' + each.replace('"', '""') + '"' for each in row) for row in cells)
    (folder / "columns.csv").write_text(rows + "\n")
    (folder / "numbers.csv").write_text("n\n1\n<script>alert(1)</script>\n")
    (folder / "<img src=x onerror=alert(1)>.csv").write_text("n\n1\n")
    options = {"path": str(folder), "types": {"n": "INTEGER"}, "rename_duplicates": True}
    world.ask("POST", "/api/admin/sources/odd", {"type": "csv", "config": options})
    assert world.send("POST", "/extract/csv", {"source": "odd"}).status_code < 500
    world.ask("POST", "/api/admin/tables/odd.columns/profile")


EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "/auth/desktop": ("/auth/desktop?challenge=" + "a" * 43,),
    "/auth/email/confirm": ("/auth/email/confirm?token=x",),
    "/auth/google/callback": (),
    "/auth/password/set": ("/auth/password/set?token=x",),
    "/admin/people/{id}": ("/admin/people/{person}",),
    "/admin/runs/{id}": ("/admin/runs/{run}",),
    "/admin/sources": ("/admin/sources", "/admin/sources?type=csv"),
    "/admin/sources/{name}": ("/admin/sources/odd", "/admin/sources/odd?look=tables", "/admin/sources/odd?look=test"),
    "/admin/tables/{source}/{name}": ("/admin/tables/shop/orders", "/admin/tables/odd/columns"),
    "/catalog": ("/catalog", "/catalog?q=alert", "/catalog?source=odd"),
    "/glossary/{name}": ("/glossary/Odd",),
    "/metrics/{name}": ("/metrics/odd?plot=true",),
    "/oauth/authorize": (),
    "/query/shared/{id}": ("/query/shared/{shared}",),
    "/memory/admin": tuple(f"/memory/admin?status={each}" for each in ("pending", "mandatory", "rejected")),
    "/scripts/{id}": ("/scripts/{script}", "/scripts/{failed}"),
    "/tables/{source}/{name}": ("/tables/shop/orders", "/tables/odd/columns", "/tables/odd/none"),
}
"""Addresses of pages whose route has parts or a query; the others are their own."""


def pages() -> list[str]:
    """Return an address of every page that answers GET, from the routes."""
    found = [each.function.path.text for each in FUNCTIONS if each.function.method == "GET" and each.function.is_page]
    return [address for path in found for address in EXAMPLES.get(path, (path,))]


@pytest.fixture(scope="module")
def ids(world: World) -> dict[str, str]:
    """Return the ids of what pages name by an id, by the names that addresses have for them."""
    people = {each["email"]: each["id"] for each in world.ask("GET", "/api/users")["users"]}
    runs = world.ask("GET", "/api/sync/status")["runs"]
    scripts = {each["name"]: each["id"] for each in world.ask("GET", "/api/scripts")["scripts"]}
    sql = "select '" + PAYLOADS[2].replace("'", "''") + "'"
    shared = Browser(world).sign_in("admin@example.com").post("/query/share", sql=sql).headers["Location"]
    return {
        "person": people["hostile2@example.com"],
        "run": next(each["run_id"] for each in runs if each["status"] != "ok"),
        "script": scripts["odd"],
        "failed": scripts["odd-failed"],
        "shared": shared.rpartition("/")[2],
    }


@pytest.mark.parametrize("path", pages())
def test_texts_of_people_are_shown_as_text(admin: Browser, ids: dict[str, str], path: str) -> None:
    answer = admin.get(path.format(**ids))
    assert answer.status_code in {200, 303, 401, 404}
    assert strange(answer.text) == []


SHOWN: Final = {
    "/glossary/Odd": 400,
    "/metrics/odd": 400,
    "/memory": 400,
    "/notifications": 20,
    "/scripts/{script}": 90,
    "/scripts/{failed}": 9,
    "/tables/odd/columns": 30,
    "/admin/runs/{run}": 1,
}
"""How many payloads, at least, a page shows: otherwise it would prove nothing that none runs there."""


@pytest.mark.parametrize(("path", "least"), SHOWN.items())
def test_pages_show_texts_of_people_in_full(admin: Browser, ids: dict[str, str], path: str, least: int) -> None:
    assert shown(admin.get(path.format(**ids)).text).count("alert(1)") >= min(least, len(PAYLOADS))


ENDS_THE_SESSION: Final = {"/auth/logout", "/auth/logout/everywhere", "/account/sessions/everywhere"}


def forms() -> list[HttpFunction]:
    """Return the functions to which forms of pages are sent."""
    found = (each for each in FUNCTIONS if each.function.method == "POST" and each.function.is_page)
    return [each for each in found if each.function.path.text not in ENDS_THE_SESSION and each.function.input]


@pytest.mark.parametrize("form", forms(), ids=lambda each: each.function.path.text)
def test_no_form_field_is_returned_as_markup(admin: Browser, ids: dict[str, str], form: HttpFunction) -> None:
    """Each field alone, with the others as a browser sends them empty, and all at once."""
    spec = form.function
    assert spec.input is not None
    fields = spec.input.model_fields.items()
    names = [field.alias or name for name, field in fields if name not in spec.path.names]
    path = re.sub(r"\{(\w+)\}", lambda part: ids.get(part[1], "odd"), spec.path.text)
    text = "".join(PAYLOADS[9:12])[:150]
    for chosen in [[name] for name in names] + [names]:
        answer = admin.post(path, **{name: text if name in chosen else "" for name in names})
        assert answer.status_code < 500, answer.text
        assert strange(answer.text) == []


def test_every_payload_in_a_table_is_shown(admin: Browser) -> None:
    text = shown(admin.get("/tables/shop/orders").text)
    assert [each for each in PAYLOADS if each[:500] not in text] == []


def test_cells_columns_and_statements_are_shown_as_text(admin: Browser) -> None:
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
def test_errors_of_statements_are_shown_as_text(admin: Browser, sql: str) -> None:
    for each in (" ".join(PAYLOADS[begin : begin + 20]) for begin in range(0, len(PAYLOADS), 20)):
        assert strange(admin.post("/query", sql=sql.replace("{}", each.replace('"', '""'))).text) == []


def test_the_history_is_shown_as_text(admin: Browser) -> None:
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
def test_urls_are_shown_as_text(admin: Browser, path: str) -> None:
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
def test_input_of_forms_is_shown_as_text(admin: Browser, path: str, field: str) -> None:
    rest = {
        "/account/tokens": {"scopes": "read", "expires_in_days": "7"},
        "/account/requests": {"reason": "x"},
        "/admin/sources": {"type": "csv"},
    }
    for each in ("".join(PAYLOADS[9:14])[:190], PAYLOADS[3]):
        answer = admin.post(path, **{field: each, **rest.get(path, {})})
        assert answer.status_code < 500
        assert strange(answer.text) == []
