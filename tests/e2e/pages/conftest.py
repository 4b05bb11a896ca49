"""A shop with everything that a page can show, served on loopback, and browsers of its people.

It needs Debian's chromium and chromium-driver, Selenium, and axe-core, which `npm pack` fetches: `make e2e-pages`.
"""

import json
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from ulid import ULID
from werkzeug.serving import make_server

from analyst.auth import links
from analyst.auth.keys import Purpose
from tests.clouds import Cloud, NewCloud
from tests.doubles.mailbox import Mailbox, mailbox
from tests.integration.pages.conftest import Browser
from tests.integration.pages.payloads import PAYLOADS
from tests.integration.world import SERVICE_TOKEN, World

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE: Final = "axe-core@4.14.1"
PATIENCE: Final = 120
"""Seconds for which a test waits for what should come at once: a machine may have much else to do."""
LONG: Final = "a_table_with_a_name_that_is_as_long_as_one_that_a_data_warehouse"[:63]


@dataclass(frozen=True)
class Served:
    """A world at an address of this machine, the ids of what pages name by an id, and the mails that it sent."""

    world: World
    base: str
    ids: Mapping[str, str]
    box: Mailbox


def token_of(world: World, name: str) -> str:
    """Return an access token of a person."""
    return str(world.ask("POST", "/auth/tokens", {"name": "x", "user": f"{name}@example.com"})["token"])


@pytest.fixture(scope="session")
def shop(new_cloud: NewCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the shop. All tests share it, so none may take away what another one needs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://localhost:{port}"
    with mailbox() as box, new_cloud(tmp_path_factory.mktemp("bucket")) as cloud:
        yield from _served(base, port, box, cloud, tmp_path_factory)


def _served(
    base: str, port: int, box: Mailbox, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(box.port), "SMTP_SECURITY": "none"}
    slow = {"QUERY_TIMEOUT": str(PATIENCE), "SCRIPT_TIMEOUT": str(PATIENCE)}
    variables = {"ENVIRONMENT": "development", **mail, "SMTP_FROM": "data@example.com", **slow}
    world = World(tmp_path_factory.mktemp("shop"), cloud, base_url=base, profiles=True, variables=variables)
    server = make_server("localhost", port, world.app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()  # first, since scripts query it
    fill(world)
    ids = ids_of(world)
    yield Served(world, base, ids, box)
    server.shutdown()
    thread.join()
    world.process.close()


def fill(world: World) -> None:
    """Publish tables, some of them hostile or broken, and say and ask things about them."""
    folder = Path(str(world.process.settings.source_roots[0]), "shop")
    folder.mkdir()
    rows = "".join(
        f"{n},{n % 40 + 1},{n % 7 * 3.5},2026-01-{n % 28 + 1:02},{'new' if n % 3 else 'paid'}\n" for n in range(400)
    )
    (folder / "orders.csv").write_text(f"id,customer_id,amount,day,status\n{rows}")
    people = "".join(f"{n},Customer {n},c{n}@example.org,{n % 2 == 0}\n" for n in range(1, 41))
    (folder / "customers.csv").write_text(f"id,name,email,is_company\n{people}")
    (folder / "hostile.csv").write_text(
        "id,text\n" + "".join(f'{n},"{each.replace(chr(34), chr(34) * 2)}"\n' for n, each in enumerate(PAYLOADS))
    )
    (folder / f"{LONG}.csv").write_text("a_column_with_quite_a_long_name_too,b\n1,2\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(folder)}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    world.ask("POST", "/api/admin/sources/marts", {"type": "materialized", "config": {}})
    daily = {"sql": "select day, sum(amount) as total\nfrom shop.orders\ngroup by day"}
    world.ask("POST", "/api/admin/tables/marts.daily", {"options": daily, "sync_schedule": "daily 05:00"})
    monthly = {"sql": "select date_trunc('month', day) as month, sum(total) as total from marts.daily group by all"}
    world.ask("POST", "/api/admin/tables/marts.monthly", {"options": monthly})
    world.ask("POST", "/extract/materialized", {"source": "marts"})
    for source in ("shop", "marts"):
        world.ask("POST", "/rebuild", {"source": source})
    for name, role in (("vera", "viewer"), ("ann", "analyst"), ("bob", "analyst"), ("kim", "km_admin")):
        world.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": role})
    for name in ("vera", "ann", "kim"):
        for source in ("shop", "marts"):
            world.ask("POST", "/api/admin/permissions", {"user": f"{name}@example.com", "source": source})
    world.ask("POST", "/api/admin/tables/shop.orders/profile")
    description = {
        "description": "What customers bought, one order per row, since the shop opened.",
        "tags": ["core", "sales"],
        "owners": ["ann@example.com"],
        "tier": "gold",
        "grain": "one order",
        "notes": ["Amounts are in euros, with tax."],
        "foreign_keys": [{"columns": ["customer_id"], "table": "shop.customers", "references": ["id"]}],
    }
    world.ask("PUT", "/api/admin/tables/shop.orders/description", description)
    expected = [
        {"kind": "not_null", "columns": ["id"]},
        {"kind": "row_count", "min": 1000, "severity": "warn"},
    ]
    world.ask("PUT", "/api/admin/tables/shop.orders/expectations", {"expectations": expected})
    metric = {"table": "shop.orders", "expression": "sum(amount)", "time_column": "day", "grain": "day"}
    known = {**metric, "category": "sales", "description": "What was sold.", "dimensions": [{"name": "status"}]}
    world.ask("PUT", "/api/admin/metrics/revenue", {"definition": known})
    term = {
        "definition": "What customers paid, without what they sent back.",
        "synonyms": ["turnover"],
        "links": [{"kind": "table", "id": "shop.orders", "column": "amount"}, {"kind": "metric", "id": "revenue"}],
    }
    world.ask("PUT", "/api/admin/glossary/Net sales", term)
    _say_hostile_things(world)
    asked = {"table": "shop.orders", "reason": "For the report"}
    world.ask("POST", "/api/access-requests", asked, token=token_of(world, "bob"))
    (folder / "orders.csv").write_text(f"id,customer_id,amount,day,status\n{rows}400,1,9,2026-02-01,new\n")
    (folder / "broken.csv").write_bytes(b'id,name\n1,\xff\xfe\n"')
    world.send("POST", "/extract/csv", {"source": "shop"})
    world.ask("POST", "/rebuild", {"source": "shop"})
    world.ask("POST", "/api/admin/tables/shop.orders/profile")
    _remember_and_script(world)


def _remember_and_script(world: World) -> None:
    """Propose items of the memory, of which one is in force and one is a rule, and run a script that works and one that fails."""
    ann = token_of(world, "ann")
    items = [
        ("Amounts have the tax", "Divide by 1.21 for what finance calls net.", ["shop.orders"]),
        (
            "Orders of c1 are tests",
            "Leave out customer_id = 1 when you count orders.",
            ["shop.orders", "shop.customers"],
        ),
        (PAYLOADS[1][:60], PAYLOADS[2], []),
    ]
    made = []
    for title, content, tables in items:
        body = {"title": title, "content": content, "category": "data_analysis", "tags": ["money"], "tables": tables}
        made.append(world.ask("POST", "/api/memory", body, token=ann)["id"])
    decide = "/api/memory/admin/decide"
    world.ask("POST", decide, {"ids": made[:1], "action": "mandate", "reason": "Finance asked", "audience": "all"})
    world.ask("POST", decide, {"ids": made[1:2], "action": "approve"})
    world.ask("POST", f"/api/memory/{made[1]}/vote", {"vote": 1}, token=ann)
    begin = "from da_script import notify, query\n"
    notice = {"notify": True, "title": PAYLOADS[2], "message": "\n".join(PAYLOADS)[:4000]}
    for name, source in (
        ("odd", f"print({json.dumps(notice)!r})\n"),
        (
            "many-orders",
            f'{begin}rows = query("select count(*) as n from shop.orders")\nnotify(f"{{rows[0]}} orders")\n',
        ),
        ("broken", f'{begin}print("begins")\nquery("select nothing from shop.orders")\n'),
    ):
        body = {"name": name, "source": source, "schedule": "daily 07:00"}
        script = world.ask("POST", "/api/scripts/deploy", body, token=ann)["id"]
        run = {"script": script, "run_id": str(ULID()), "trigger": "demand"}
        world.ask("POST", "/run-script", run, token=SERVICE_TOKEN)


def _say_hostile_things(world: World) -> None:
    texts = {"description": "\n".join(PAYLOADS)[:10_000], "tags": [each[:500] for each in PAYLOADS[:30]]}
    columns = {"text": {"description": PAYLOADS[3], "tags": [PAYLOADS[4][:100]]}}
    description = {**texts, "columns": columns, "notes": list(PAYLOADS[:20]), "grain": PAYLOADS[5], "tier": PAYLOADS[6]}
    world.ask("PUT", "/api/admin/tables/shop.hostile/description", description)
    for number, each in enumerate(PAYLOADS):
        link = [{"kind": "table", "id": "shop.hostile", "column": "text"}]
        body = {"definition": each, "synonyms": [each], "tags": [each], "owners": [each], "links": link}
        world.ask("PUT", f"/api/admin/glossary/Term {number}", body)
    named = {"display_name": PAYLOADS[2], "description": "\n".join(PAYLOADS[:40]), "category": "hostile"}
    metric = {"table": "shop.hostile", "expression": "count(*)", "synonyms": list(PAYLOADS[:20]), **named}
    world.send("PUT", "/api/admin/metrics/hostile", {"definition": metric})
    for begin in range(0, len(PAYLOADS), 8):
        content = "\n".join(PAYLOADS[begin : begin + 8])[:1000]
        item = {"title": PAYLOADS[begin][:60], "content": content, "category": "workflow", "tags": [PAYLOADS[1][:50]]}
        world.ask("POST", "/api/memory", item)
    for each in PAYLOADS[:10]:
        world.send("POST", "/api/feedback", {"kind": "table", "about": "shop.hostile", "text": each})
    for number, each in enumerate(PAYLOADS[:20]):
        world.ask("POST", "/api/users", {"email": f"o'neil+{number}&x@example.com", "name": each})
    world.send("POST", "/api/admin/groups", {"name": PAYLOADS[2][:60]})


def ids_of(world: World) -> dict[str, str]:
    """Return the ids of what pages name by an id, by the names that addresses have for them."""
    people = world.ask("GET", "/api/users")["users"]
    vera = next(each for each in people if each["email"] == "vera@example.com")
    runs = world.ask("GET", "/api/sync/status")["runs"]
    failed = next((each for each in runs if each["status"] != "ok"), runs[0])
    ann = Browser(world).sign_in("ann@example.com")
    shared = ann.post("/query/share", sql="from shop.orders where amount > $least", parameter="least", value="3")
    eve = world.ask("POST", "/api/users", {"email": "eve@example.com"})
    invitation = world.ask("POST", f"/api/users/{eve['id']}/invite", {"mail": False})
    about = {"client_name": "Helper <b>", "redirect_uris": ["http://127.0.0.1:5555/callback"]}
    client = world.client.post("/oauth/register", json=about).get_json()
    process = world.process
    link = links.make(process.keys, Purpose.MAGIC_LINK, links.Link("vera@example.com", {"next": "/"}), process.clock())
    script = next(each for each in world.ask("GET", "/api/scripts")["scripts"] if each["name"] == "broken")
    return {
        "person": vera["id"],
        "run": failed["run_id"],
        "shared": shared.headers["Location"].rpartition("/")[2],
        "invitation": str(invitation["url"]).partition("token=")[2],
        "link": link,
        "client": client["client_id"],
        "script": script["id"],
    }


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the script of axe-core."""
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


class Browsers:
    """Browsers, which take seconds of processor time to start: one that a test has left is cleared for the next one."""

    def __init__(self) -> None:
        """Start none yet."""
        self._left: dict[bool, list[Any]] = {True: [], False: []}

    def take(self, *, scripts: bool) -> Any:
        """Return a browser that runs scripts or none."""
        if CHROMIUM is None or DRIVER is None:
            pytest.skip("chromium and chromium-driver are not installed: apt-get install chromium chromium-driver")
        return self._left[scripts].pop() if self._left[scripts] else self._started(scripts=scripts)

    def leave(self, driver: Any, *, scripts: bool) -> None:
        """Close all windows but one, and forget who was signed in and what was logged and emulated."""
        for each in driver.window_handles[1:]:
            driver.switch_to.window(each)
            driver.close()
        driver.switch_to.window(driver.window_handles[0])
        driver.get("about:blank")
        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        driver.get_log("browser")
        self._left[scripts].append(driver)

    def quit(self) -> None:
        """End the browsers that were left."""
        for each in (*self._left[True], *self._left[False]):
            each.quit()

    def _started(self, *, scripts: bool) -> Any:
        selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: make e2e-pages")
        options = selenium.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        return selenium.Chrome(options=options, service=selenium.ChromeService(str(DRIVER)))


class Visit:
    """A browser of one person; `-` is a stranger."""

    def __init__(self, shop: Served, driver: Any, who: str, *, before: str = "") -> None:
        """Sign a person in. `before` is a script that runs in every page before any other, until they leave."""
        self.driver = driver
        self.base, self.who = shop.base, who
        self.driver.get(f"{self.base}/healthz")
        self._before: dict[str, Any] | None = None
        if before:
            self._before = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": before})
        if who != "-":
            cookie = Browser(shop.world).sign_in(f"{who}@example.com").client.get_cookie("da_session")
            assert cookie is not None
            self.driver.add_cookie({"name": "da_session", "value": cookie.value, "path": "/"})

    def end(self) -> None:
        """Take back what would run in the pages of the next one."""
        if self._before is not None:
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", self._before)

    def show(self, width: int, theme: str) -> None:
        """Set the width of the window and the theme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def get(self, path: str) -> None:
        """Open a page."""
        self.driver.get(self.base + path)

    def find(self, selector: str, text: str = "") -> Any:
        """Find an element that has a text; it may be on a page that is still loading."""
        found: list[Any] = []

        def is_there(_driver: Any) -> bool:
            found[:] = [each for each in self.all(selector) if not text or text in each.text]
            return bool(found)

        self.until(is_there)
        return found[0]

    def reads(self, selector: str, text: str) -> None:
        """Wait until an element reads so, and not otherwise; after a click, the page before may still be there."""
        self.until(lambda _driver: [each for each in self.all(selector) if each.text == text])

    def shows(self, selector: str, text: str) -> None:
        """Wait until an element has a text."""
        self.find(selector, text)

    def all(self, selector: str) -> list[Any]:
        """Return the elements that are on the page now."""
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def fill(self, form: str, **texts: str) -> None:
        """Type texts into the fields of a form."""
        for name, text in texts.items():
            field = self.find(f"{form} [name={name}]:not([type=hidden])")
            field.clear()
            field.send_keys(text)

    def write_sql(self, statement: str) -> None:
        """Put a statement into the editor."""
        self.driver.execute_script("document.querySelector('#sql').value = arguments[0]", statement)

    def active(self) -> Any:
        """Return the element that has the focus."""
        return self.driver.switch_to.active_element

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        self.active().send_keys(key)

    def until(self, condition: Callable[[Any], Any]) -> None:
        """Wait for something that a script or the server does; however slow the machine is, it takes no longer."""
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.wait import WebDriverWait

        stale = [StaleElementReferenceException]  # the script has just replaced the region
        try:
            WebDriverWait(self.driver, PATIENCE, poll_frequency=0.1, ignored_exceptions=stale).until(condition)
        except TimeoutException as error:
            shown = "\n".join(each.text for each in self.all("main"))
            raise AssertionError(f"nothing came on {self.driver.current_url}, which shows:\n{shown[:3000]}") from error

    def status(self) -> int:
        """Return the status of the open page."""
        return int(self.driver.execute_script("return performance.getEntriesByType('navigation')[0].responseStatus"))

    def complaints(self, *, besides: str = "\0") -> list[str]:
        """Return the errors in the console: of scripts, of requests, and of the policy."""
        return [
            each["message"]
            for each in self.driver.get_log("browser")
            if each["level"] == "SEVERE" and besides not in each["message"]
        ]


@pytest.fixture(scope="session")
def browsers() -> Iterator[Browsers]:
    """Keep the browsers that tests have left."""
    made = Browsers()
    yield made
    made.quit()


@pytest.fixture
def visit(shop: Served, browsers: Browsers) -> Iterator[Callable[..., Visit]]:
    """Open browsers, which are left to the next test."""
    opened: list[tuple[Visit, bool]] = []

    def open_(who: str, *, scripts: bool = True, before: str = "") -> Visit:
        made = Visit(shop, browsers.take(scripts=scripts), who, before=before)
        opened.append((made, scripts))
        return made

    yield open_
    for each, scripts in opened:
        each.end()
        browsers.leave(each.driver, scripts=scripts)
