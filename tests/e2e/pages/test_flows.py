"""What people do with the pages, in a real browser, from the first click to its effect."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from tests.e2e.pages.conftest import Served, Visit, token_of
from tests.integration.pages.conftest import PASSWORD

VISIT = Callable[..., Visit]
STOP = """
const button = document.querySelector("[data-stop]");
setTimeout(() => { const was = !button.hidden; button.click(); window.stopped = [was, !button.hidden]; }, 200);
setTimeout(() => document.querySelector("[data-run]").click(), 0);
"""
TAB, ENTER, ESCAPE, CTRL = "\ue004", "\ue007", "\ue00c", "\ue009"


def test_an_invited_user_chooses_a_password(shop: Served, visit: VISIT) -> None:
    """A person is added and invited by mail, sets a password, signs out and in, and comes back to where they were."""
    admin, iris = visit("admin"), visit("-")
    admin.get("/admin/people")
    admin.find("#add + form input[name=email]").send_keys("iris@example.com" + ENTER)
    admin.reads("h1", "iris@example.com")
    admin.find("form[action$='/invite'] button").click()
    admin.shows("section[aria-labelledby=invited]", "on its way to iris@example.com")
    iris.driver.get(_mailed_link(shop, admin, "iris@example.com"))
    code = re.search(r"code\D*(\d{6})\b", shop.box.last())
    assert code is not None
    iris.fill("main", code=code[1], password=PASSWORD)
    iris.find("main form button").click()
    iris.find("a[href='/account']").click()
    iris.find("form[action='/auth/logout'] button").click()
    iris.get("/account")  # the session is over: sign in, and come back
    iris.find("main a[href^='/auth/password']").click()
    iris.fill("main", email="iris@example.com", password="wrong " + PASSWORD)
    iris.find("main form button").click()
    assert iris.find("[role=alert]").text
    iris.fill("main", email="iris@example.com", password=PASSWORD)
    iris.find("main form button").click()
    iris.reads("h1", "Your account")


def test_a_password_is_reset_by_mail(shop: Served, visit: VISIT) -> None:
    """The link works without a code where it was requested, and elsewhere with the code of that page; it works once."""
    shop.world.ask("POST", "/api/users", {"email": "rita@example.com", "role": "analyst"})
    here, phone = visit("-"), visit("-")

    def request_link() -> str:
        here.get("/login")
        here.find("main a[href^='/auth/password']").click()
        here.find("main a[href^='/auth/password/forgot']").click()
        here.fill("main", email="rita@example.com")
        here.find("main form button").click()
        assert here.find("#code").text
        return _mailed_link(shop, here, "rita@example.com")

    link = request_link()
    here.driver.get(link)
    assert not here.all("main input[name=code]")
    here.fill("main", password="short")
    here.find("main form button").click()  # the browser refuses it
    here.fill("main", password=PASSWORD)
    here.find("main form button").click()
    here.find("a[href='/account']").click()
    here.find("form[action='/auth/logout'] button").click()
    phone.driver.get(link)
    assert phone.status() == 401  # it was used
    assert phone.find("main a[href^='/login']")

    shop.box.mails.clear()
    link = request_link()
    code = here.find("#code").text
    phone.driver.get(link)
    phone.fill("main", code="x", password=PASSWORD)
    phone.find("main form button").click()
    phone.shows("[role=alert]", "code")
    phone.fill("main", code=code, password=PASSWORD)
    phone.find("main form button").click()
    assert phone.find("a[href='/account']")


def _mailed_link(shop: Served, browser: Visit, to: str) -> str:
    """Return the link to set a password in the last mail to somebody, as soon as it has come."""
    found: list[str] = []

    def has_come(_driver: object) -> bool:
        mails = [str(each.get_content()) for each in shop.box.mails if each["To"] == to]
        found[:] = [link for mail in mails for link in re.findall(r"http://\S+/auth/password/set\S+", mail)]
        return bool(found)

    browser.until(has_come)
    return found[-1]


def test_a_session_ends_in_the_middle_of_a_form(visit: VISIT) -> None:
    """What was typed is sent again after signing in in another tab."""
    kim = visit("kim")
    kim.get("/tables/marts/daily")
    kim.find("summary", "Describe this table").click()
    text = "Amounts of each day.\n\nThe day is that of the order; it is the day in UTC."
    kim.fill("form[action$='/description']", description=text)
    session = kim.driver.get_cookie("da_session")
    kim.driver.delete_cookie("da_session")
    kim.find("form[action$='/description'] button").click()
    kim.reads("h1", "Your session has ended")
    assert kim.find("textarea[name=description]").get_attribute("value") == text
    assert kim.find("main a").get_attribute("href").endswith("/login?next=%2Ftables%2Fmarts%2Fdaily")
    kim.find("main button").click()
    kim.reads("h1", "Your session has ended")  # not signed in yet: still kept
    assert kim.find("main a").get_attribute("href").endswith("/login")
    kim.driver.add_cookie({"name": "da_session", "value": session["value"], "path": "/"})
    kim.find("main button").click()
    kim.reads("[role=status].notice", "The description was saved.")
    kim.shows("section[aria-labelledby=about]", "it is the day in UTC")


def test_each_tab_keeps_its_statement_when_one_goes_back_or_reloads(visit: VISIT) -> None:
    """The statement is there again when one comes back from a table or reloads, and each tab keeps its own."""
    ann = visit("ann")
    ann.get("/query")
    ann.write_sql("select count(*) as n from shop.orders")
    ann.find("[data-run]").click()
    ann.reads("#result tbody td", "401")
    first = ann.driver.current_window_handle
    ann.driver.switch_to.new_window("tab")
    ann.get("/query")
    ann.write_sql("select 7 as n")
    ann.find("[data-run]").click()
    ann.reads("#result tbody td", "7")
    ann.driver.switch_to.window(first)
    ann.find("#result a[href='/tables/shop/orders']").click()
    ann.reads("h1", "shop.orders")
    ann.driver.back()  # what a form led to can't be opened again, so the entry became that of the query in the history
    assert ann.find("#sql").get_attribute("value") == "select count(*) as n from shop.orders"
    ann.find("[data-run]").click()
    ann.reads("#result tbody td", "401")
    ann.driver.refresh()
    assert ann.find("#sql").get_attribute("value") == "select count(*) as n from shop.orders"


def test_a_description_is_edited_in_place(visit: VISIT) -> None:
    kim = visit("kim")
    kim.get("/tables/shop/customers")
    kim.find("summary", "Describe this table").click()
    kim.fill("form[action$='/description']", description="Who buys from us.", tags="people, core")
    kim.find("form[action$='/description'] button").click()
    kim.reads("[role=status].notice", "The description was saved.")
    kim.shows("section[aria-labelledby=about]", "Who buys from us.")
    kim.find("#column-email summary").click()
    kim.fill("#column-email form", description="Where to write to.")
    kim.find("#column-email form button").click()
    kim.shows("#column-email", "Where to write to.")


def test_a_query_is_stopped(shop: Served, visit: VISIT) -> None:
    """The page stays as it was; that the server ends a query whose client is gone is tested with the real server.

    This one does not end it, so it is that of somebody whose further queries no other test needs.
    """
    shop.world.ask("POST", "/api/users", {"email": "sue@example.com", "role": "analyst"})
    sue = visit("sue")
    sue.get("/query")
    sue.write_sql("select count(*) from range(1500000000) a where a.range % 7 = 3")
    sue.driver.execute_script(STOP)  # a driver can't look at a page that waits for the next one
    sue.until(lambda driver: driver.execute_script("return window.stopped"))
    assert sue.driver.execute_script("return window.stopped") == [True, False]
    assert sue.find("#sql").get_attribute("value").startswith("select count(*)")
    assert sue.find("[data-run]").is_enabled()


def test_a_result_is_downloaded_and_a_query_shared(visit: VISIT, tmp_path: Path) -> None:
    kim, bob = visit("kim"), visit("bob")
    kim.driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    kim.get("/query")
    kim.write_sql("select id, amount from shop.orders order by id limit 3")
    kim.find("button[value=csv]").click()
    kim.until(lambda _: [each for each in tmp_path.iterdir() if each.suffix == ".csv"])
    (file,) = tmp_path.glob("*.csv")
    assert file.read_text().splitlines()[:2] == ["id,amount", "0,0.0"]
    kim.find("button[formaction='/query/share']").click()
    kim.until(lambda driver: "/query/shared/" in driver.current_url)
    bob.driver.get(kim.driver.current_url)
    bob.shows("main", "kim@example.com shared this query")
    bob.find("[data-run]").click()
    bob.shows(".notice.bad", "no table 'shop.orders'")  # it runs with his rights
    assert bob.complaints(besides="status of 4") == []


def test_items_of_the_memory_are_selected_and_corrected_together(shop: Served, visit: VISIT) -> None:
    for number in range(2):
        item = {"title": f"Chosen {number}", "content": "Amounts are net.", "category": "debugging", "tags": []}
        shop.world.ask("POST", "/api/memory", item)
    kim = visit("kim")
    kim.get("/memory/admin?category=debugging&search=net")
    everything, boxes = kim.find("[data-check-all]"), kim.all("tbody input[type=checkbox]")
    assert len(boxes) == 2
    everything.click()
    assert [each.is_selected() for each in boxes] == [True, True]
    boxes[0].click()
    assert (everything.is_selected(), everything.get_property("indeterminate")) == (False, True)
    boxes[0].click()
    assert everything.is_selected()
    kim.find("button[value=approve]").click()
    kim.reads("[role=status].notice", "The decision was saved.")
    kim.get("/memory/admin?status=approved&search=Chosen%201")
    kim.find("summary", "Correct").click()
    kim.fill("td", content="Amounts are net of tax.")
    kim.find("td button").click()
    kim.reads("[role=status].notice", "The item was saved.")
    kim.get("/memory")
    kim.shows("main", "Amounts are net of tax.")


def test_the_review_can_be_navigated_with_keys_which_decide_nothing_by_themselves(shop: Served, visit: VISIT) -> None:
    from selenium.webdriver import ActionChains

    for number in range(3):
        item = {"title": f"Key {number}", "content": "Keyed.", "category": "performance", "tags": []}
        shop.world.ask("POST", "/api/memory", item)
    kim = visit("kim")
    kim.get("/memory/admin?category=performance&search=Keyed")
    rows = "return [...document.querySelectorAll('tbody tr')].findIndex((row) => row.contains(document.activeElement))"

    def press(*keys: str) -> int:
        for key in keys:  # to the page: WebDriver types nothing into a checkbox
            ActionChains(kim.driver).send_keys(key).perform()
        return int(kim.driver.execute_script(rows))

    kim.find("[data-keys]")
    assert [press(key) for key in ("j", "j", "k", "k", "j", "j", "j")] == [0, 1, 0, 0, 1, 2, 2]
    press("?")
    assert kim.find("#review-keys").is_displayed()
    press(ESCAPE)
    press("k", "x", "x")
    boxes = kim.all("tbody input[type=checkbox]")
    assert [each.is_selected() for each in boxes] == [False] * 3
    press("a")
    assert [each.is_selected() for each in boxes] == [False, True, False]
    assert (kim.active().text, kim.active().get_attribute("value")) == ("Approve", "approve")
    kim.find("#said")
    assert kim.driver.execute_script("return document.getElementById('said').textContent") == "Enter: approve 1 item"
    press("r")
    assert kim.active().text == "Reject"
    search = kim.find("input[name=search]")
    search.send_keys("jka?")
    assert (search.get_property("value"), kim.find("#review-keys").is_displayed()) == ("Keyedjka?", False)
    kim.get("/memory/admin?category=performance&search=Keyed")
    press("j", "a", ENTER)
    kim.reads("[role=status].notice", "The decision was saved.")
    found = shop.world.ask("GET", "/api/memory?category=performance&search=Keyed")["items"]
    assert sorted(each["status"] for each in found) == ["approved", "pending", "pending"]
    kim.get("/memory/admin?category=performance&search=Keyed")
    kim.find("[data-keys]").click()
    kim.find("#review-keys [name=keys]").click()
    kim.find("#review-keys [data-close]").click()
    kim.get("/memory/admin?category=performance&search=Keyed")
    kim.find("[data-keys]")
    assert press("j") == -1


COPIED = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(`${error}`));"


def test_rows_are_copied_as_a_spreadsheet_reads_them(shop: Served, visit: VISIT) -> None:
    """NULL is empty, a number has all its digits, and a cell with tabs, quotes and line ends stays one cell."""
    ann = visit("ann")
    allowed = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": shop.base}
    ann.driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
    ann.get("/query")
    ann.write_sql(
        'select 1 as n, 0.1::double + 0.2::double as "a sum", null as nothing, '
        "'a \"word\"' || chr(9) || 'and' || chr(10) || 'a line' as text union all select 2, 1.5, 'x', '=1+1' order by n"
    )
    ann.find("[data-run]").click()
    ann.find("[data-copy-rows]").click()
    ann.find("[data-copy-rows]", "Copied")
    text = ann.driver.execute_async_script(COPIED).replace("\r\n", "\n")
    assert list(csv.reader(io.StringIO(text, newline=""), dialect="excel-tab")) == [
        ["n", "a sum", "nothing", "text"],
        ["1", "0.30000000000000004", "", 'a "word"\tand\na line'],
        ["2", "1.5", "x", "=1+1"],
    ]
    ann.find("[data-copy-rows]", "Copy rows")
    ann.until(lambda driver: driver.find_element("id", "said").get_attribute("textContent") == "Copied")


def test_access_is_requested_granted_explained_and_seen_as(visit: VISIT) -> None:
    bob, admin = visit("bob"), visit("admin")
    bob.get("/tables/shop/customers")
    bob.reads("h1", "No such table")
    bob.find("textarea[name=reason]").send_keys("For the newsletter")
    bob.find("main form button").click()
    bob.shows("main", "The request was sent")
    admin.get("/")
    admin.find("a[href='/admin/requests']").click()
    asked = next(each for each in admin.all("main section") if "For the newsletter" in each.text)
    asked.find_element("css selector", "button[value=approve]").click()
    admin.get("/admin/access")
    admin.fill("form[action='/admin/access/explain']", user="bob@example.com", table="shop.customers")
    admin.find("form[action='/admin/access/explain'] button").click()
    admin.shows("main", "granted to bob@example.com on shop.customers")
    assert "bob" not in admin.driver.current_url
    admin.find("td a[href^='/admin/people/'], td a[href^='/tables/']")
    admin.fill("form[action='/admin/access']", to="bob@example.com", source="marts")
    admin.find("form[action='/admin/access'] button").click()
    admin.shows("main", "marts.*")
    admin.get("/admin/people")
    admin.find("a", "bob@example.com").click()
    admin.find("form[action$='/view-as'] button").click()
    admin.shows(".viewing", "You are viewing pages as bob@example.com")
    admin.get("/tables/shop/customers")
    admin.reads("h1", "shop.customers")
    admin.find("summary", "Tell its owners").click()
    admin.fill("form[action$='/feedback']", text="nothing")
    admin.find("form[action$='/feedback'] button").click()
    admin.shows("main", "viewing pages as bob@example.com, so you can change nothing")
    admin.find(".viewing button").click()  # the page of the error has the banner too
    admin.reads("h1", "People")


def test_a_source_is_added_tested_registered_and_synced(shop: Served, visit: VISIT) -> None:
    """The run is followed to its end without reloading the page; a broken table is named with what is wrong."""
    folder = Path(str(shop.world.process.settings.source_roots[0]), "hr")
    folder.mkdir()
    (folder / "people.csv").write_text("id,name\n1,Ann\n2,Bob\n")
    admin = visit("admin")
    admin.get("/admin/sources")
    admin.find("button[value=csv]").click()
    admin.fill("form[action='/admin/sources'][method=post]", name="hr")
    path = "label:has(input[value=path]) input[name=text]"
    admin.find(path).send_keys(str(folder))
    admin.find("summary", "Options").click()
    types = "label:has(input[value=types]) textarea"
    admin.find(types).send_keys("no json")
    admin.find("form[action='/admin/sources'][method=post] > button").click()
    admin.shows("[role=alert]", "types")  # refused, and the form keeps what was typed
    assert admin.find(path).get_attribute("value") == str(folder)
    admin.find(types).clear()
    admin.find("form[action='/admin/sources'][method=post] > button").click()
    admin.reads("h1", "hr")
    admin.find("a.button", "Test").click()
    admin.shows("#test-title", "passed")
    (folder / "teams.csv").write_bytes(b'id,name\n1,\xff\xfe\n"')
    admin.find("a.button", "Find tables").click()
    admin.find("form[action$='/register'] button").click()
    admin.shows("main", "2 registered tables")
    admin.driver.execute_script("window.same = true")
    admin.find("form[action$='/sync'] button").click()
    admin.driver.execute_script("window.same = true")
    admin.until(lambda driver: "partial" in driver.find_element("css selector", "#run h2").text)
    assert admin.driver.execute_script("return window.same")
    admin.reads("h1", "Extract of hr")
    run = admin.find("#run").text
    assert "teams" in run
    assert "people" in run
    admin.until(lambda driver: "The run has ended" in driver.find_element("id", "said").get_attribute("textContent"))


def test_a_rollback_is_previewed_and_the_audit_searched(visit: VISIT) -> None:
    admin = visit("admin")
    admin.get("/admin/snapshots")
    admin.all("button[aria-label^='Preview rollback']")[-1].click()
    admin.shows("#preview", "would change")
    assert admin.all("section[aria-labelledby=preview] tbody tr")
    admin.get("/admin/audit")
    admin.fill("form[action='/admin/audit']", user="admin@example.com", action="snapshot")
    admin.find("form[action='/admin/audit'] button").click()
    assert "admin@example.com" not in admin.driver.current_url
    admin.get("/admin/audit?outcome=failed")
    assert {each.text for each in admin.all("td[data-label=Action] .badge")} <= {"failed"}


def test_pages_and_the_editor_can_be_used_with_the_keyboard(visit: VISIT) -> None:
    """The skip link leads to the content, the focus is visible, and the editor is left with Tab and Escape."""
    ann = visit("ann")
    ann.show(1440, "light")
    ann.get("/catalog")
    ann.press(TAB)
    assert ann.active().text == "Skip to content"
    ann.press(ENTER)
    ann.press(TAB)
    assert ann.driver.execute_script("return document.activeElement.closest('main') !== null")
    for _ in range(6):
        outline = ann.driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", ann.active().get_attribute("outerHTML")
        ann.press(TAB)
    ann.get("/query")
    area = ann.find("#sql")
    area.click()
    area.send_keys("select 1 from shop.ord")
    ann.until(lambda _: ann.find("#suggest").is_displayed() or area.send_keys("e\ue003"))
    assert ann.driver.execute_script("return document.activeElement.getAttribute('aria-activedescendant')")
    ann.press(ESCAPE)
    assert not ann.driver.find_element("id", "suggest").is_displayed()
    ann.press(TAB)
    assert ann.driver.execute_script("return document.activeElement.matches('[data-run]')")


def test_the_number_of_hits_is_announced(visit: VISIT) -> None:
    ann = visit("ann")
    ann.get("/catalog")
    ann.find("form[data-live] input[name=q]").send_keys("orders")
    ann.until(lambda driver: "for “orders”" in driver.find_element("id", "said").get_attribute("textContent"))
    assert ann.driver.execute_script("return document.activeElement.name") == "q"


def test_every_error_page_has_a_way_on(visit: VISIT) -> None:
    """Each page about an error has a navigation and a way on, for a stranger too."""
    stranger, ann = visit("-"), visit("ann")
    for browser, path, title in (
        (stranger, "/nowhere", "Not found"),
        (stranger, "/auth/email/confirm?token=old", None),
        (stranger, "/auth/password/set?token=old", None),
        (stranger, "/static/none.js", "Not found"),
        (ann, "/nowhere", "Not found"),
        (ann, "/admin", "Access denied"),
        (ann, "/tables/shop/none", "No such table"),
        (ann, "/query/shared/01m8kywawxt7r0skr7mdfjn1ms", "Not found"),
        (ann, "/catalog?page=x", "That did not work"),
        (ann, "/catalog?color=red", "That did not work"),
    ):
        browser.get(path)
        assert browser.all("header nav a"), path
        assert browser.all("main a, main form"), path
        if title is not None:
            browser.reads("h1", title)
    ann.get("/account")
    ann.driver.execute_script("fetch('/auth/logout', {method: 'POST'})")
    ann.until(lambda _: not [each for each in ann.driver.get_cookies() if each["name"] == "da_session"])
    ann.find("form[action='/auth/logout'] button").click()
    assert ann.find("main a, main form")


COUNTED = "return document.querySelector('nav a[href=\"/notifications\"] .badge').firstChild.data"
STREAMS = """
const made = window.EventSource;
window.streams = [];
window.isReady = false;
window.EventSource = class extends made {
  constructor(...all) { super(...all); window.streams.push(this); }
  addEventListener(name, listener) {
    super.addEventListener(name, (event) => { listener(event); if (name === "ready") window.isReady = true; });
  }
};
"""
HIDE = """
Object.defineProperty(document, "hidden", { value: arguments[0], configurable: true });
document.dispatchEvent(new Event("visibilitychange"));
return window.streams.map((each) => each.readyState !== EventSource.CLOSED);
"""


def test_the_bell_counts_what_is_unread_and_is_quiet_in_hidden_tabs(shop: Served, visit: VISIT) -> None:
    ann = visit("ann", before=STREAMS)
    ann.get("/catalog")
    ann.until(lambda driver: driver.execute_script("return window.isReady"))  # the badge has the number from now on
    assert len(ann.driver.execute_script("return window.streams")) == 1
    before = int(ann.driver.execute_script(COUNTED) or 0)
    shop.world.ask("POST", "/api/notifications/test", {"channel": "page"}, token=token_of(shop.world, "ann"))
    ann.until(lambda driver: driver.execute_script(COUNTED) == str(before + 1))
    assert ann.driver.execute_script("return document.getElementById('said').textContent").startswith(
        "New notification"
    )
    assert ann.find("nav a[href='/notifications']").accessible_name == f"Notifications {before + 1} unread"
    assert ann.driver.execute_script(HIDE, True) == [False]
    assert ann.driver.execute_script(HIDE, False) == [False, True]
    ann.get("/notifications")
    ann.find("main form[action='/notifications/read'] button").click()
    ann.until(lambda driver: driver.execute_script("return window.isReady"))
    assert ann.driver.execute_script(COUNTED) == "0"
