"""A browser walks all pages as each kind of person, in three widths and both themes: nothing is broken, hidden or blocked.

It needs Debian's chromium and chromium-driver, Selenium, and axe-core, which `npm pack` fetches.
"""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from werkzeug.serving import make_server

from tests.clouds import Cloud
from tests.integration.pages.conftest import Browser
from tests.integration.pages.payloads import PAYLOADS
from tests.integration.world import World

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
waiting = pytest.importorskip("selenium.webdriver.support.wait", reason="selenium is not installed")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE: Final = "axe-core@4.14.1"
WIDTHS: Final = (390, 768, 1440)
PAGES: Final = {
    "-": ["/login", "/cli", "/nowhere", "/auth/password"],
    "vera": ["/", "/catalog", "/catalog?q=order", "/tables/shop/orders", "/tables/shop/none", "/metrics", "/account"],
    "ann": ["/", "/tables/shop/orders", "/query", "/query?table=shop.orders", "/account"],
    "admin": [
        *(
            "/",
            "/tables/shop/orders",
            "/query",
            "/admin",
            "/admin/sources",
            "/admin/sources?type=csv",
            "/admin/sources/shop",
        ),
        *(
            "/admin/sources/shop?look=tables",
            "/admin/tables",
            "/admin/tables/shop/orders",
            "/admin/runs",
            "/admin/schedule",
        ),
        *("/admin/people", "/admin/access", "/admin/access?table=shop.orders", "/admin/requests", "/admin/audit"),
        *("/admin/snapshots", "/admin/settings", "/metrics/revenue?plot=true"),
    ],
}
CHECK: Final = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(found => done(found.violations
  .filter(each => ["serious", "critical"].includes(each.impact))
  .map(each => each.id + ": " + each.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | "))));
"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="chromium and chromium-driver are not installed"
)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which fetches axe-core")
    done = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"axe-core could not be fetched: {done.stderr[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        found = archive.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()


@pytest.fixture(scope="module")
def world(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A shop with everything that a page can show, on a port of this machine; its address is that of `base`."""
    made = World(tmp_path_factory.mktemp("walk"), shared_cloud, base_url="http://localhost:8399", profiles=True)
    shop = Path(str(made.process.settings.source_roots[0]), "shop")
    shop.mkdir()
    rows = "".join(f"{n},{n % 7 * 3.5},2026-01-{n % 28 + 1:02},{'new' if n % 3 else 'paid'}\n" for n in range(400))
    (shop / "orders.csv").write_text(f"id,amount,day,status\n{rows}")
    (shop / "hostile.csv").write_text(
        "id,text\n" + "".join(f'{n},"{each.replace(chr(34), chr(34) * 2)}"\n' for n, each in enumerate(PAYLOADS))
    )
    made.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(shop)}})
    made.ask("POST", "/extract/csv", {"source": "shop"})
    for name, role in (("vera", "viewer"), ("ann", "analyst"), ("bob", "analyst")):
        made.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": role})
    for name in ("vera", "ann"):
        made.ask("POST", "/api/admin/permissions", {"user": f"{name}@example.com", "source": "shop"})
    metric = {
        "table": "shop.orders",
        "expression": "sum(amount)",
        "time_column": "day",
        "grain": "month",
        "category": "sales",
    }
    made.ask("PUT", "/api/admin/metrics/revenue", {"definition": {**metric, "dimensions": [{"name": "status"}]}})
    said = {"description": "What customers bought.", "tags": ["core"], "owners": ["ann@example.com"], "tier": "gold"}
    made.ask("PUT", "/api/admin/tables/shop.orders/description", said)
    made.ask(
        "PUT",
        "/api/admin/tables/shop.hostile/description",
        {"description": "\n".join(PAYLOADS)[:10_000], "tags": [each[:500] for each in PAYLOADS[:30]]},
    )
    made.ask(
        "POST", "/api/access-requests", {"table": "shop.orders", "reason": "For the report"}, token=_token(made, "bob")
    )
    server = make_server("localhost", 8399, made.app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    made.process.close()


def _token(world: World, name: str) -> str:
    return str(world.ask("POST", "/auth/tokens", {"name": "x", "user": f"{name}@example.com"})["token"])


class Visit:
    """A browser of one person."""

    def __init__(self, world: World, who: str, *, scripts: bool = True) -> None:
        options = selenium.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        self.driver: Any = selenium.Chrome(options=options, service=selenium.ChromeService(str(DRIVER)))
        self.base = "http://localhost:8399"
        self.driver.get(f"{self.base}/healthz")
        if who != "-":
            cookie = Browser(world).sign_in(f"{who}@example.com").client.get_cookie("da_session")
            assert cookie is not None
            self.driver.add_cookie({"name": "da_session", "value": cookie.value, "path": "/"})

    def show(self, width: int, theme: str) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def get(self, path: str) -> None:
        self.driver.get(self.base + path)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def complaints(self, *, besides: str = "\0") -> list[str]:
        """Return the errors in the console: of scripts, of requests, and of the policy."""
        return [
            each["message"]
            for each in self.driver.get_log("browser")
            if each["level"] == "SEVERE" and besides not in each["message"]
        ]


@pytest.mark.parametrize("who", PAGES)
def test_pages_have_no_faults(world: World, axe: str, who: str) -> None:
    visit, wrong = Visit(world, who), dict[str, Any]()
    try:
        for path in PAGES[who]:
            for width in WIDTHS:
                for theme in ("light", "dark") if width == WIDTHS[-1] or path in {"/", "/catalog"} else ("light",):
                    visit.show(width, theme)
                    visit.get(path)
                    here = f"{path} {width} {theme}"
                    if (wide := visit.driver.execute_script("return document.documentElement.scrollWidth")) > width:
                        wrong[f"{here} scrolls"] = wide
                    if width != 768:
                        visit.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
                        if found := visit.driver.execute_async_script(CHECK):
                            wrong[f"{here} axe"] = found
                    if found := visit.complaints(besides="404"):
                        wrong[f"{here} console"] = found
    finally:
        visit.driver.quit()
    assert wrong == {}, json.dumps(wrong, indent=1)


def test_nothing_runs_that_data_say(world: World) -> None:
    """The payloads are in descriptions, tags, cells, statements and errors; the policy would report what tries to run."""
    visit = Visit(world, "admin")
    try:
        for path in ("/", "/catalog?q=alert", "/tables/shop/hostile", "/query?table=shop.hostile", "/admin/audit"):
            visit.get(path)
            assert visit.complaints() == []
        visit.get("/query")
        area = visit.find("#sql")
        visit.driver.execute_script(
            "arguments[0].value = arguments[1]", area, "select text, id from shop.hostile order by id limit 500"
        )
        visit.find("[data-run]").click()
        assert len(visit.driver.find_elements("css selector", "#result tbody tr")) == 100
        assert visit.complaints() == []
        for payload in PAYLOADS[:30]:
            visit.driver.execute_script("arguments[0].value = arguments[1]", visit.find("#sql"), f"selec {payload}")
            visit.find("[data-run]").click()
            assert visit.complaints(besides="422") == []
    finally:
        visit.driver.quit()


def test_the_script_helps(world: World) -> None:
    visit = Visit(world, "ann")
    try:
        visit.show(1440, "light")
        visit.get("/catalog")
        visit.find("form[data-live] input[name=q]").send_keys("hostile")
        wait = waiting.WebDriverWait(visit.driver, 10)
        wait.until(lambda driver: "1 result for" in driver.find_element("id", "results").text)
        assert visit.driver.current_url.endswith("/catalog?q=hostile")
        visit.get("/query")
        area = visit.find("#sql")
        area.click()
        area.send_keys("select 1 from shop.ord")
        wait.until(lambda _: visit.find("#suggest").is_displayed() or area.send_keys("e"))
        area.send_keys("\ue004")  # Tab
        assert area.get_attribute("value").startswith("select 1 from shop.orders")
        visit.driver.execute_script(
            "arguments[0].value = 'select id, status from shop.orders order by id limit 5'", area
        )
        area.send_keys("\ue009\ue007")  # Ctrl+Enter
        wait.until(lambda driver: driver.find_elements("css selector", "#result"))
        heads = visit.driver.find_elements("css selector", "#result th button.sort")
        heads[0].click()
        heads[0].click()
        assert visit.find("#result tbody td").text == "4"
        assert visit.complaints() == []
    finally:
        visit.driver.quit()


def test_everything_works_without_a_script(world: World) -> None:
    """Searching, opening a table, running a query, asking for access, approving it."""
    visit, admin = Visit(world, "vera", scripts=False), Visit(world, "admin", scripts=False)
    try:
        visit.get("/catalog")
        visit.find("form.filters input[name=q]").send_keys("orders\n")
        visit.find("#results a[href='/tables/shop/orders']").click()
        assert "What customers bought." in visit.find("main").text
        visit.get("/tables/shop/salaries")
        visit.find("textarea[name=reason]").send_keys("For the report")
        visit.find("main form button").click()
        assert "The request is sent" in visit.find("main").text
        admin.get("/admin/requests")
        assert "vera@example.com asks for shop.salaries" in admin.find("main").text
        bobs = admin.driver.find_element("xpath", "//section[contains(., 'bob@example.com')]//button[@value='approve']")
        bobs.click()
        assert "bob@example.com" not in admin.find("main").text
        admin.get("/query")
        admin.find("#sql").send_keys("select count(*) as n from shop.orders")
        admin.find("[data-run]").click()
        assert admin.find("#result tbody td").text == "400"
    finally:
        visit.driver.quit()
        admin.driver.quit()
