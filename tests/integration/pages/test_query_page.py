"""The query page: running, plots, downloads, links and history, all by forms."""

import html
import json
import re

import pytest

from tests.integration.pages.conftest import Browser
from tests.integration.world import World

SQL = "select day, amount, '<b>' as mark, null as nothing from shop.orders order by day"


def test_a_statement_is_run_and_its_result_shown(ann: Browser) -> None:
    page = ann.post("/query", sql=SQL).text
    assert "3 rows" in page
    assert "<td>2026-01-01</td>" in page
    assert '<td class="num">10</td>' in page
    assert "<td>&lt;b&gt;</td>" in page
    assert '<span class="null">NULL</span>' in page
    assert '<svg class="plot"' in page
    assert '<option value="line" selected>' in page
    receipt = re.search(r"<pre>(\{.*?\})</pre>", html.unescape(page), re.DOTALL)
    assert receipt is not None
    assert json.loads(receipt[1])["tables"][0]["id"] == "shop.orders"


@pytest.mark.parametrize(
    ("chart", "drawn"),
    [("bar", "<rect"), ("scatter", "<circle"), ("histogram", "<rect"), ("line", "<polyline"), ("none", None)],
)
def test_the_kind_of_plot_can_be_chosen(ann: Browser, chart: str, drawn: str | None) -> None:
    page = ann.post("/query", sql="select id, amount, day from shop.orders", chart=chart, x="id", y="amount").text
    assert (('<svg class="plot"' in page) and (drawn or "") in page) == (drawn is not None)


def test_a_truncated_result_is_marked(ann: Browser) -> None:
    page = ann.post("/query", sql="from shop.orders", limit="2").text
    assert "There are more than 2 rows" in page
    assert "cut off at the limit" in page


@pytest.mark.parametrize(
    ("sql", "status", "reason"),
    [
        ("select nothing from shop.orders", 422, "nothing"),
        ("selec 1", 422, "syntax"),
        ("from shop.salaries", 422, "there is no table 'shop.salaries'"),
        ("drop table shop.orders", 422, ""),
        ("select 1; select 2", 422, ""),
        ("", 422, ""),
    ],
)
def test_a_failing_statement_shows_the_reason_and_stays_in_the_editor(
    ann: Browser, sql: str, status: int, reason: str
) -> None:
    answer = ann.post("/query", sql=sql)
    assert answer.status_code == status
    page = html.unescape(answer.text)
    assert reason in page.lower()
    if sql:
        assert f"\n{sql}</textarea>" in page


def test_the_whole_result_can_be_downloaded(ann: Browser) -> None:
    answer = ann.post("/query/download", sql=SQL, format="csv")
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.text.splitlines()[1].startswith("2026-01-01,10,<b>")
    assert ann.post("/query/download", sql=SQL, format="parquet").data[:4] == b"PAR1"
    failed = ann.post("/query/download", sql="selec 1", format="csv")
    assert (failed.status_code, failed.mimetype) == (422, "text/html")


def test_a_shared_query_runs_with_the_rights_of_the_user_who_opens_it(ann: Browser, world: World) -> None:
    shared = ann.post("/query/share", sql="from shop.orders -- of ann")
    assert shared.status_code == 303
    path = shared.headers["Location"]
    assert re.fullmatch(r"/query/shared/[0-9a-z]{26}", path)
    bob = Browser(world).sign_in("bob@example.com")
    page = bob.get(path).text
    assert "ann@example.com shared this query" in page
    assert "from shop.orders -- of ann" in page
    assert bob.json(f"{path}.json")["sql"] == "from shop.orders -- of ann"
    assert "there is no table" in html.unescape(bob.post("/query", sql="from shop.orders -- of ann").text).lower()
    assert bob.get("/query/shared/" + 26 * "0").status_code == 404
    assert bob.get("/query/shared/x").status_code == 422


def test_the_history_is_private_and_can_be_deleted(kim: Browser, world: World) -> None:
    kim.post("/query", sql="select 41")
    kim.post("/query", sql="selec 42")
    kim.post("/query", sql="select 41")
    past = kim.json("/query.json")["history"]
    assert [(each["sql"], each.get("rows")) for each in past] == [
        ("select 41", 1),
        ("selec 42", None),
    ]
    again = kim.get(f"/query?past={past[0]['id']}").text
    assert "\nselect 41</textarea>" in again
    bob = Browser(world).sign_in("bob@example.com")
    assert bob.get(f"/query?past={past[0]['id']}").status_code == 404
    assert "select 41" not in bob.get("/query").text
    assert kim.post("/query/history/clear").status_code == 303
    assert kim.json("/query.json")["history"] == []


def test_opened_from_a_table_the_editor_begins_with_it(ann: Browser) -> None:
    assert "\nfrom shop.orders\nlimit 100</textarea>" in ann.get("/query?table=shop.orders").text
    assert (
        "salaries"
        not in ann.get("/query?table=shop.salaries").text.partition("<textarea")[2].partition("</textarea>")[0]
    )


def test_only_names_of_readable_tables_are_suggested(ann: Browser) -> None:
    names = ann.json("/api/query/names")["names"]
    assert ["shop.orders", "table", "orders"] in names
    assert ["amount", "BIGINT", "orders"] in names
    assert "salaries" not in str(names)


def test_a_query_is_audited_like_one_of_the_api(ann: Browser, world: World) -> None:
    ann.post("/query", sql="select count(*) as audited from shop.orders")
    world.process.audit.close()
    (event, *_) = world.ask("GET", "/api/admin/audit?action=query&user=ann%40example.com")["events"]
    assert (event["action"], event["resources"], event["status"]) == ("query", ["table:shop.orders"], 200)


def test_a_viewer_has_no_query_page(vera: Browser) -> None:
    assert vera.get("/query").status_code == 403
    assert vera.post("/query", sql="select 1").status_code == 403


def test_parameters_become_fields_and_their_values_are_kept(kim: Browser, world: World) -> None:
    sql = "select $least::bigint as least, $day::date as day, $text as text, '$none' as n -- $no"
    asked = kim.post("/query", sql=sql)
    assert (asked.status_code, "Fill in the parameters" in asked.text) == (200, True)
    assert re.findall(r'name="parameter" value="(\w+)"', asked.text) == ["least", "day", "text"]
    values = {"parameter": ["least", "day", "text"], "value": ["7", "2026-01-02", "'007'"]}
    page = kim.post("/query", sql=sql, **values).text
    assert '<td class="num">7</td><td>2026-01-02</td><td>007</td>' in page
    assert page.count('name="value" value="2026-01-02"') == 2  # in the editor, and in the form of the plot
    past = kim.json("/query.json")["history"][0]
    assert past["parameters"] == {"least": "7", "day": "2026-01-02", "text": "'007'"}
    assert 'name="value" value="2026-01-02"' in kim.get(f"/query?past={past['id']}").text
    shared = kim.post("/query/share", sql=sql, **values).headers["Location"]
    assert 'name="value" value="2026-01-02"' in Browser(world).sign_in("ann@example.com").get(shared).text
    saved = kim.post("/query/download", sql=sql, format="csv", **values)
    assert saved.text.splitlines()[1].startswith("7,2026-01-02,007")
    kim.post("/query/history/clear")


@pytest.mark.parametrize(
    ("parameter", "value", "status", "reason"),
    [("n", "", 200, "NULL"), ("n", "x", 422, "x"), ("other", "1", 200, "Fill in the parameters")],
)
def test_a_parameter_may_be_empty_wrong_or_missing(
    ann: Browser, parameter: str, value: str, status: int, reason: str
) -> None:
    answer = ann.post("/query", sql="select $n::integer as n", parameter=parameter, value=value)
    assert (answer.status_code, reason in answer.text) == (status, True)
