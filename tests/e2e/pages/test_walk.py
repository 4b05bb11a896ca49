"""A browser walks all pages as each kind of person, in three widths and both themes: nothing is broken, hidden or blocked."""

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest

from analyst.access import Role
from tests.all_functions import FUNCTIONS
from tests.e2e.pages.conftest import LONG, Served, Visit
from tests.integration.pages.conftest import PASSWORD
from tests.integration.pages.payloads import PAYLOADS

WIDTHS: Final = (390, 768, 1440)
THEMES: Final = ("light", "dark")
PEOPLE: Final = ("-", "vera", "ann", "admin")
ROLES: Final = {"vera": Role.VIEWER, "ann": Role.ANALYST, "admin": Role.ADMIN}
CHALLENGE: Final = "a" * 43
EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "/auth/desktop": (f"/auth/desktop?challenge={CHALLENGE}&machine=laptop",),
    "/auth/email/confirm": ("/auth/email/confirm?token={link}",),
    "/auth/google/callback": ("/auth/google/callback?state=x&code=y",),
    "/auth/password/set": ("/auth/password/set?token={invitation}",),
    "/account": ("/account", "/account?done=requested"),
    "/admin/access": ("/admin/access", "/admin/access?table=shop.orders"),
    "/admin/people/{id}": ("/admin/people/{person}",),
    "/admin/runs/{id}": ("/admin/runs/{run}",),
    "/admin/sources": (
        "/admin/sources",
        "/admin/sources?type=csv",
        "/admin/sources?type=bigquery",
        "/admin/sources?type=keboola",
        "/admin/sources?type=jira",
        "/admin/sources?type=materialized",
        "/admin/sources?type=external",
    ),
    "/admin/sources/{name}": (
        "/admin/sources/shop",
        "/admin/sources/shop?look=tables",
        "/admin/sources/shop?look=test",
        "/admin/sources/shop?look=removal",
        "/admin/sources/marts",
    ),
    "/admin/tables/{source}/{name}": ("/admin/tables/shop/orders", "/admin/tables/marts/daily"),
    "/catalog": ("/catalog", "/catalog?q=order", "/catalog?q=nothing+like+it", "/catalog?source=shop&fresh=older"),
    "/glossary": ("/glossary", "/glossary?q=none"),
    "/glossary/{name}": ("/glossary/Net%20sales", "/glossary/Term%203"),
    "/metrics/{name}": ("/metrics/revenue", "/metrics/revenue?plot=true", "/metrics/hostile"),
    "/query": ("/query", "/query?table=shop.orders"),
    "/query/shared/{id}": ("/query/shared/{shared}",),
    "/memory": ("/memory", "/memory?search=tax&sort=score", "/memory?search=none"),
    "/memory/admin": ("/memory/admin", "/memory/admin?status=mandatory", "/memory/admin?status=rejected"),
    "/scripts/{id}": ("/scripts/{script}",),
    "/tables/{source}/{name}": (
        "/tables/shop/orders",
        "/tables/shop/customers",
        "/tables/shop/hostile",
        "/tables/marts/daily",
        f"/tables/shop/{LONG}",
        "/tables/shop/none",
    ),
    "nowhere": ("/nowhere",),
}
"""Addresses of pages whose route has parts or a query; the others are their own."""

CHECK: Final = """
const done = arguments[arguments.length - 1], rules = arguments[0];
axe.run(document, {resultTypes: ["violations"], ...(rules.length ? {runOnly: rules} : {})}).then(found => done(found.violations
  .filter(each => ["serious", "critical", "moderate"].includes(each.impact))
  .map(each => each.id + ": " + each.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | "))));
"""
ALL_RULES: Final[tuple[str, ...]] = ()
COLOURS: Final = ("color-contrast", "link-in-text-block")
LAYOUT: Final = ("target-size", "scrollable-region-focusable", "hidden-content", "meta-viewport")
RULES: Final[Mapping[tuple[int, str], tuple[str, ...]]] = {
    (390, "light"): ALL_RULES,
    (390, "dark"): COLOURS,
    (768, "light"): (*COLOURS, *LAYOUT),
    (768, "dark"): COLOURS,
    (1440, "light"): (*COLOURS, *LAYOUT),
    (1440, "dark"): COLOURS,
}
"""The rules of axe for each width and theme: the document is the same in all of them, so most rules are needed once."""

SHAPE: Final = """
return document.querySelector("main").outerHTML
  .replace(/[\\w.+&';]+@example\\.com|\\d+|[0-9a-hjkmnp-z]{26}/gi, "");
"""
"""What a page has in its middle, without what differs between people and moments."""

FIRST_LOAD: Final = 120_000
WEIGHT: Final = """
const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
return loaded.map(each => each.encodedBodySize).reduce((one, other) => one + other, 0);
"""
"""Bytes of everything that a page loads, as they are sent, also of what the browser has kept."""

WATCH: Final = """
window.ran = []; window.violations = [];
for (const name of ["alert", "prompt", "confirm"]) window[name] = () => { window.ran.push(name); return true; };
document.addEventListener("securitypolicyviolation", each => window.violations.push(each.violatedDirective + " " + each.blockedURI));
"""


def pages() -> list[str]:
    """Return an address of every page that answers GET, from the routes."""
    found = [each.function.path.text for each in FUNCTIONS if each.function.method == "GET" and each.function.is_page]
    return [address for path in (*found, "nowhere") for address in EXAMPLES.get(path, (path,))]


REFUSED: Final = {
    "/tables/shop/none": {404},
    "/scripts/{script}": {200, 404},
    "/auth/google/callback?state=x&code=y": {400, 404},
    "/auth/email/confirm?token={link}": {200, 401},
    "/auth/password/set?token={invitation}": {200, 401},
}
"""Addresses of pages about a failure: what does not exist, links that may have been used before, and what is another's."""


def statuses(who: str, address: str) -> set[int]:
    """Return the statuses that the page at an address may have for somebody; a stranger ends at the page to sign in."""
    if address == "/nowhere":
        return {404}
    specs = [each.function for each in FUNCTIONS if each.function.method == "GET" and each.function.is_page]
    spec = next(each for each in specs if each.path.match(address.partition("?")[0]) is not None)
    if isinstance(spec.allow, Role) and who != "-" and not ROLES[who].includes(spec.allow):
        return {403}
    is_login = isinstance(spec.allow, Role) and who == "-"
    return {200} if is_login else REFUSED.get(address, {200})


def test_the_walk_knows_an_address_of_every_page() -> None:
    assert [
        address for address in pages() if "{" in re.sub(r"\{(link|invitation|person|run|shared|script)\}", "", address)
    ] == []
    assert len(pages()) > 60


@pytest.fixture(scope="session")
def shapes() -> set[str]:
    """Keep which pages were looked at, for people who see the same."""
    return set()


@pytest.mark.parametrize("who", PEOPLE)
def test_pages_have_no_faults(shop: Served, axe: str, visit: Callable[..., Visit], shapes: set[str], who: str) -> None:
    """Every page is opened by everybody; those who may not see it get a page that says so.

    A page whose middle was looked at before, as somebody else sees it, is opened in each width, without axe: what is
    around it is the same on all pages of a person, so it is looked at with the first one.
    """
    browser, wrong = visit(who), dict[str, Any]()
    seen = set[str]()
    for address in pages():
        path = address.format(**shop.ids)
        if path in {"/auth/google", "/oauth/authorize"}:
            continue  # they lead elsewhere, or need a client: consent is walked below
        browser.show(WIDTHS[0], "light")
        browser.get(path)
        status, allowed = browser.status(), statuses(who, address)
        if status not in allowed:
            wrong[f"{path} status"] = [status, sorted(allowed)]
        # the console reports the status of the document too; of anything else that a page loads, 400 or above is a fault
        if complaints := browser.complaints(besides=f"{browser.driver.current_url} - Failed to load resource"):
            wrong[f"{path} console"] = complaints
        if (weight := browser.driver.execute_script(WEIGHT)) > FIRST_LOAD:
            wrong[f"{path} weight"] = weight
        shape = browser.driver.execute_script(SHAPE)
        if shape in shapes and seen:
            wrong |= _faults(browser, axe, path, rules={})
            continue
        shapes.add(shape)
        seen.add(path)
        wrong |= _faults(browser, axe, path)
    assert wrong == {}, json.dumps(wrong, indent=1)


def test_pages_behind_forms_have_no_faults(shop: Served, axe: str, visit: Callable[..., Visit]) -> None:
    """Results of queries, their errors, an access token that is shown once, and the consent for an agent."""
    browser, wrong = visit("ann"), dict[str, Any]()
    run = "document.querySelector('#sql').value = arguments[0]; document.querySelector('[data-run]').click()"
    day = "select day, sum(amount) as total, any_value(status) as status, null as nothing from shop.orders group by day order by day"
    for name, statement, shown in (
        ("result", day, "svg.plot"),
        ("wide", "select *, repeat('long ', 200) as text, id::varchar || '%' from shop.orders", "#result"),
        ("none", "from shop.orders where false", "#result"),
        ("error", "select nothing from shop.orders", ".notice.bad"),
        ("parameters", "from shop.orders where id > $least and status = $status", "fieldset.parameters"),
    ):
        browser.get("/query")
        browser.driver.execute_script(run, statement)
        browser.until(partial(_is_shown, shown))
        wrong |= _faults(browser, axe, f"/query/{name}")
    browser.show(WIDTHS[2], "light")
    browser.get("/account")
    browser.find("summary", "Create an access token").click()  # she has one, so the form is folded
    browser.find("form[action='/account/tokens'] input[name=name]").send_keys("notebook")
    browser.find("form[action='/account/tokens'] > button").click()
    browser.until(lambda driver: driver.current_url.endswith("/account/tokens"))
    wrong |= _faults(browser, axe, "/account/created")
    asked = {"response_type": "code", "client_id": shop.ids["client"], "redirect_uri": "http://127.0.0.1:5555/callback"}
    asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256", "resource": f"{shop.base}/mcp"}
    browser.get(f"/oauth/authorize?{urlencode(asked)}")
    browser.shows("main", "Helper")
    wrong |= _faults(browser, axe, "/oauth/consent")
    assert browser.complaints(besides="status of 422") == []  # the answer to the statement that fails
    assert wrong == {}, json.dumps(wrong, indent=1)


def _is_shown(selector: str, driver: Any) -> bool:
    return bool(driver.find_elements("css selector", selector))


def _faults(
    browser: Visit, axe: str, path: str, *, rules: Mapping[tuple[int, str], tuple[str, ...]] = RULES
) -> dict[str, Any]:
    """Return what is wrong with the open page in each width and theme; pictures go to the folder SCREENSHOTS."""
    wrong, pictures = dict[str, Any](), os.environ.get("SCREENSHOTS")
    if rules:
        browser.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    for width, theme in product(WIDTHS, THEMES):
        browser.show(width, theme)
        here = f"{path} {width} {theme}"
        if (wide := browser.driver.execute_script("return document.documentElement.scrollWidth")) > width:
            wrong[f"{here} scrolls"] = wide
        asked = rules.get((width, theme))
        if asked is not None and (found := browser.driver.execute_async_script(CHECK, list(asked))):
            wrong[f"{here} axe"] = found
        if pictures:
            _picture(browser, Path(pictures), f"{browser.who}{path}", width, theme)
    return wrong


def _picture(browser: Visit, folder: Path, name: str, width: int, theme: str) -> None:
    height = min(browser.driver.execute_script("return document.documentElement.scrollHeight"), 4000)
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    file = re.sub(r"[^\w-]+", "_", name)[:80]
    browser.driver.save_screenshot(str(folder / f"{file}-{width}-{theme}.png"))


def test_no_text_in_the_data_runs_as_a_script(shop: Served, visit: Callable[..., Visit]) -> None:
    """Payloads are in names, descriptions, cells, statements, errors and addresses: none runs, and the policy blocks none."""
    browser = visit("admin", before=WATCH)

    def check(where: str) -> None:
        found = browser.driver.execute_script("return [window.ran, window.violations, location.origin]")
        assert found == [[], [], shop.base], where

    for address in pages():
        if not address.startswith(("/auth", "/oauth")):
            browser.get(address.format(**shop.ids))
            check(address)
    kinds = (
        *("/catalog?q={}", "/glossary?q={}", "/tables/shop/{}", "/glossary/{}", "/metrics/{}", "/nowhere/{}"),
        *("/query?table={}", "/login?next={}"),
    )
    for number, payload in enumerate(PAYLOADS):
        address = kinds[number % len(kinds)]
        browser.get(address.format(quote(payload, safe="")))
        check(f"{address} {payload}")
    browser.get("/query")
    run = "document.querySelector('#sql').value = arguments[0]; document.querySelector('[data-run]').click()"
    cells = (
        'select text, text as "<img src=x onerror=alert(1)>", [text] as list from shop.hostile order by id limit 500'
    )
    for statement in (cells, *PAYLOADS):
        browser.driver.execute_script(f"window.old = true; {run}", statement)
        browser.until(lambda driver: driver.execute_script("return !window.old && document.readyState === 'complete'"))
        check(statement)
    assert browser.find("section[aria-labelledby=past]").text.count("alert(1)") > 10


def test_the_script_makes_pages_interactive(visit: Callable[..., Visit]) -> None:
    browser = visit("ann")
    browser.show(1440, "light")
    browser.get("/catalog")
    browser.find("form[data-live] input[name=q]").send_keys("hostile")
    browser.until(lambda driver: "result" in driver.find_element("id", "results").text)
    browser.until(lambda driver: driver.current_url.endswith("/catalog?q=hostile"))
    browser.get("/query")
    area = browser.find("#sql")
    area.click()
    area.send_keys("select 1 from shop.ord")
    browser.until(lambda _: browser.find("#suggest").is_displayed() or area.send_keys("e\ue003"))
    area.send_keys("\ue004")  # Tab
    assert area.get_attribute("value").startswith("select 1 from shop.orders")
    browser.driver.execute_script("arguments[0].value = 'select id, status from shop.orders order by id limit 5'", area)
    area.send_keys("\ue009\ue007")  # Ctrl+Enter
    browser.until(lambda driver: driver.find_elements("css selector", "#result"))
    heads = browser.driver.find_elements("css selector", "#result th button.sort")
    heads[0].click()
    heads[0].click()
    browser.reads("#result tbody td", "4")
    chart = browser.find("select[name=chart]")
    assert chart.get_attribute("value") == "bar"
    browser.driver.execute_script(
        "arguments[0].value = 'scatter'; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))", chart
    )
    browser.until(lambda driver: driver.find_elements("css selector", "svg.plot circle"))
    assert browser.complaints() == []


def test_everything_works_without_a_script(shop: Served, visit: Callable[..., Visit]) -> None:
    """Signing in, searching, opening a table, running a query, asking for access, approving it."""
    user = shop.world.ask("POST", "/api/users", {"email": "nora@example.com", "role": "analyst"})
    shop.world.ask("POST", "/api/admin/permissions", {"user": "nora@example.com", "table": "shop.orders"})
    invitation = shop.world.ask("POST", f"/api/users/{user['id']}/invite", {"mail": False})
    nora, admin = visit("-", scripts=False), visit("admin", scripts=False)
    nora.get(f"/auth/password/set?token={str(invitation['url']).partition('token=')[2]}")
    for name, text in (("code", invitation["code"]), ("password", PASSWORD)):
        nora.find(f"main input[name={name}]").send_keys(text)
    nora.find("main form button").click()
    nora.find("a[href='/account']").click()
    nora.find("form[action='/auth/logout'] button").click()
    nora.find("main a[href^='/auth/password']").click()
    nora.find("input[name=email]").send_keys("nora@example.com")
    nora.find("input[name=password]").send_keys(PASSWORD)
    nora.find("main form button").click()

    nora.get("/catalog")
    nora.find("form.filters input[name=q]").send_keys("bought\n")
    nora.find("#results a[href='/tables/shop/orders']").click()
    nora.shows("main", "What customers bought")
    nora.find("a.button[href^='/query']").click()
    nora.driver.execute_script  # noqa: B018 - scripts of the page are off; those of the driver are not used
    nora.find("#sql").clear()
    nora.find("#sql").send_keys("select count(*) as n from shop.orders where amount >= $least")
    nora.find("[data-run]").click()
    nora.find("input[name=value]").send_keys("0")
    nora.find("[data-run]").click()
    nora.reads("#result tbody td", "401")

    nora.get("/tables/shop/customers")
    nora.find("textarea[name=reason]").send_keys("For the report")
    nora.find("main form button").click()
    nora.shows("main", "The request was sent")
    admin.get("/admin/requests")
    asked = admin.driver.find_element("xpath", "//section[contains(., 'nora@example.com')]//button[@value='approve']")
    asked.click()
    admin.until(lambda _driver: [main for main in admin.all("main") if "nora@example.com" not in main.text])
    nora.get("/tables/shop/customers")
    nora.reads("h1", "shop.customers")
