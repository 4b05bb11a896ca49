"""`POST /mcp`: the protocol in both eras, the tools, and what they never show."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from da.agents.protocol import LEGACY
from da.agents.tools import BUDGET
from tests.integration.agents.mcp import META, call, refusal, result, send
from tests.integration.query.shop import Shop, open_shop, publish
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]

METRIC = {
    "display_name": "Total amount",
    "table": "shop.orders",
    "expression": "sum(orders.amount)",
    "description": "What customers ordered.",
    "time_column": "day",
    "dimensions": ["customer"],
    "questions": ["How much did each customer order?"],
}


@pytest.fixture(scope="module")
def shop(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, begun) as made:
        made.world.ask("PUT", "/api/admin/metrics/total_amount", {"definition": METRIC})
        pay = {"table": "vault.salaries", "expression": "count(*)", "description": "Hidden."}
        made.world.ask("PUT", "/api/admin/metrics/all_pay", {"definition": pay})
        wide = ",".join(f"c{n}" for n in range(300)) + "\n" + ",".join("x" * 50 for _ in range(300)) + "\n"
        publish(made.world, folder, "more", wide=wide, long="id,text\n" + f"1,{'y' * 9000}\n")
        for table in ("more.wide", "more.long"):
            made.world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": table})
        yield made


def test_a_modern_client_discovers_the_server_without_a_session(shop: Shop) -> None:
    found = result(shop.world, "server/discover", token=shop.analyst)
    assert found["supportedVersions"][0] == "2026-07-28"
    assert (found["capabilities"], found["cacheScope"]) == ({"tools": {}, "resources": {}, "prompts": {}}, "private")
    assert found["ttlMs"] > 0
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "ai-data-analyst"


@pytest.mark.parametrize("version", [*LEGACY, "1999-01-01"])
def test_an_older_client_initializes_and_calls_a_tool(shop: Shop, version: str) -> None:
    def ask(method: str, params: dict[str, Any], **headers: str) -> Any:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        sent = {"Authorization": f"Bearer {shop.analyst}", **headers}
        return shop.world.client.post("/mcp", json=body, headers=sent)

    begun = ask(
        "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    )
    agreed = begun.get_json()["result"]["protocolVersion"]
    assert agreed == (version if version in LEGACY else LEGACY[0])
    noted = shop.world.client.post(
        "/mcp",
        json={"jsonrpc": "2.0", "method": "notifications/initialized"},
        headers={"Authorization": f"Bearer {shop.analyst}"},
    )
    assert (noted.status_code, noted.data) == (202, b"")
    header = {"MCP-Protocol-Version": agreed}
    listed = ask("tools/list", {}, **header).get_json()["result"]
    assert "resultType" not in listed
    assert all(tool["outputSchema"]["type"] == "object" for tool in listed["tools"])
    answer = ask("tools/call", {"name": "query", "arguments": {"sql": "select count(*) n from orders"}}, **header)
    assert answer.get_json()["result"]["structuredContent"]["rows"] == [[100]]
    assert ask("ping", {}, **header).get_json()["result"] == {}


@pytest.mark.parametrize(
    ("method", "params", "headers", "status", "code"),
    [
        ("tools/nothing", {}, {}, 404, -32601),
        ("ping", {}, {}, 404, -32601),
        ("tools/list", {}, {"Mcp-Method": "tools/call"}, 400, -32020),
        ("tools/list", {}, {"Mcp-Method": None}, 400, -32020),
        ("tools/list", {}, {"MCP-Protocol-Version": "2025-11-25"}, 400, -32020),
        ("tools/call", {"name": "find"}, {"Mcp-Name": "query"}, 400, -32020),
        ("tools/call", {"name": "find"}, {"Mcp-Name": "=?base64?!?="}, 400, -32020),
        ("tools/call", {"name": "drop"}, {}, 400, -32602),
        ("tools/call", {}, {}, 400, -32602),
        ("tools/call", {"name": "find", "arguments": [1]}, {}, 400, -32602),
        ("resources/read", {"uri": "da://table/vault.salaries"}, {}, 400, -32602),
        ("resources/read", {"uri": "file:///etc/passwd"}, {}, 400, -32602),
        ("prompts/get", {"name": "nothing"}, {}, 400, -32602),
        ("prompts/get", {"name": "explore_table", "arguments": {"table": "vault.salaries"}}, {}, 400, -32602),
        ("prompts/get", {"name": "explore_table"}, {}, 400, -32602),
        ("tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": "2030-01-01", **{k: v for k, v in META.items()
                                  if "Version" not in k}}}, {}, 400, -32022),
        ("tools/list", {"_meta": {}}, {}, 400, -32602),
    ],
)  # fmt: skip
def test_messages_that_the_protocol_forbids_are_refused(  # noqa: PLR0917
    shop: Shop, method: str, params: dict[str, Any], headers: dict[str, str | None], status: int, code: int
) -> None:
    answer = send(shop.world, method, params, token=shop.analyst, headers=headers)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (status, code), answer.text
    assert answer.get_json()["id"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32700),
        (b"{", 400, -32700),
        (b"\xff", 400, -32700),
        (b"[" * 100_000, 400, -32700),
        (b"1", 400, -32600),
        (b"[]", 400, -32600),
        (b'{"jsonrpc":"2.0","id":1}', 400, -32600),
        (b'{"id":{},"method":"ping"}', 400, -32600),
        (b'{"id":1,"method":"ping","params":[]}', 400, -32602),
    ],
)
def test_a_body_that_is_not_a_message_is_refused(shop: Shop, body: bytes, status: int, code: int) -> None:
    answer = shop.world.client.post("/mcp", data=body, headers={"Authorization": f"Bearer {shop.analyst}"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (status, code)


def test_each_element_of_a_batch_is_answered_even_if_it_is_not_a_message(shop: Shop) -> None:
    def ask(batch: list[Any]) -> Any:
        return shop.world.client.post("/mcp", json=batch, headers={"Authorization": f"Bearer {shop.analyst}"})

    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    answer = ask([ping, [ping], 5])
    assert answer.status_code == 200
    assert [(each["id"], each.get("error", {}).get("code")) for each in answer.get_json()] == [
        (1, None), (None, -32600), (None, -32600),
    ]  # fmt: skip
    assert ask([[], [5]]).status_code == 400


def test_only_known_callers_from_our_origin_are_admitted(shop: Shop) -> None:
    assert send(shop.world, "tools/list", token=None).status_code == 401
    assert send(shop.world, "tools/list", token="da_wrong").status_code == 401
    assert shop.world.client.get("/mcp").status_code == 405
    assert shop.world.client.delete("/mcp").status_code == 405
    foreign = {"Origin": "https://evil.example"}
    assert send(shop.world, "tools/list", token=shop.analyst, headers=foreign).status_code == 403
    assert send(shop.world, "tools/list", token=shop.analyst, headers={"Origin": "http://localhost"}).status_code == 200


def test_only_tools_that_the_token_allows_are_offered(shop: Shop) -> None:
    made = shop.world.ask("POST", "/auth/tokens", {"name": "read", "user": "ann@example.com", "scopes": ["read"]})
    names = {tool["name"] for tool in result(shop.world, "tools/list", token=str(made["token"]))["tools"]}
    assert names == {"find", "describe_table", "describe_metric", "changes"}
    answer = send(
        shop.world, "tools/call", {"name": "query", "arguments": {"sql": "select 1"}}, token=str(made["token"])
    )
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="query"' in answer.headers["WWW-Authenticate"]


def test_every_tool_only_reads(shop: Shop) -> None:
    for tool in result(shop.world, "tools/list")["tools"]:
        assert tool["annotations"]["readOnlyHint"]
        assert not tool["annotations"]["destructiveHint"]
    for sql in (
        "drop table orders",
        "insert into orders values (1)",
        "copy orders to 'x'",
        "attach 'x'",
        "set threads=1",
    ):
        assert refusal(shop.world, "query", sql=sql)
    assert call(shop.world, "query", sql="select count(*) from orders")["rows"] == [[100]]


def test_find_lists_and_searches_readable_tables_and_metrics(shop: Shop) -> None:
    everything = call(shop.world, "find", token=shop.analyst)
    assert {hit["id"] for hit in everything["hits"]} == {"shop.orders", "more.wide", "more.long", "total_amount"}
    assert (everything["total"], everything["truncated"], everything["rest"]) == (4, False, None)
    found = call(shop.world, "find", text="amount", token=shop.analyst)
    assert [hit["id"] for hit in found["hits"]] == ["total_amount", "shop.orders"]
    assert found["hits"][1]["matched"] == ["amount"]
    first = call(shop.world, "find", limit=1, token=shop.analyst)
    assert (len(first["hits"]), first["truncated"], first["total"]) == (1, True, 4)
    assert "offset=1" in first["rest"]
    rest = call(shop.world, "find", limit=200, offset=1, token=shop.analyst)["hits"]
    assert [hit["id"] for hit in rest] == [hit["id"] for hit in everything["hits"][1:]]
    assert call(shop.world, "find", text="salaries", token=shop.analyst)["total"] == 0
    assert call(shop.world, "find", text="salaries")["total"] >= 1


def test_describe_table_returns_all_that_is_known_of_a_table(shop: Shop) -> None:
    columns = {"amount": {"description": "In crowns."}}
    shop.world.ask("PUT", "/api/admin/tables/shop.orders/description", {"grain": "An order", "columns": columns})
    shop.world.ask("POST", "/api/admin/tables/shop.orders/profile", {})
    answer = call(shop.world, "describe_table", table="orders", token=shop.analyst)
    about = answer["table"]
    assert (about["id"], about["sql_name"], about["rows"]) == ("shop.orders", '"shop"."orders"', 100)
    assert "An order" in about["grain"]
    assert about["updated"]
    named = {each["name"]: each for each in answer["columns"]}
    assert named["id"]["statistics"]["distinct"] == 100
    assert "In crowns." in named["amount"]["description"]
    assert (answer["total"], answer["truncated"]) == (4, False)


def test_describe_table_pages_through_many_columns(shop: Shop) -> None:
    shop.world.ask("POST", "/api/admin/tables/more.wide/profile", {})
    seen: list[str] = []
    while True:
        answer = call(shop.world, "describe_table", table="more.wide", column_offset=len(seen), token=shop.analyst)
        seen += [each["name"] for each in answer["columns"]]
        if not answer["truncated"]:
            break
        assert f"column_offset={len(seen)}" in answer["rest"]
        assert len(json.dumps(answer["columns"])) <= BUDGET * 1.2
    assert seen == [f"c{n}" for n in range(300)]


def test_a_query_returns_facts_and_a_valid_receipt(shop: Shop) -> None:
    answer = call(
        shop.world, "query", sql="select customer, sum(amount) as s from shop.orders group by 1 order by 1",
        token=shop.analyst,
    )  # fmt: skip
    assert [column["name"] for column in answer["columns"]] == ["customer", "s"]
    assert (len(answer["rows"]), answer["total"], answer["truncated"]) == (7, 7, False)
    assert answer["tables"] == ["shop.orders"]
    assert answer["as_of"]
    verified = call(shop.world, "verify_receipt", receipt=answer["receipt"], token=shop.analyst)
    assert (verified["verdict"], verified["verification"]["signed"]) == ("equal", True)
    forged = {**answer["receipt"], "row_count": 8}
    assert "changed after it was signed" in refusal(shop.world, "verify_receipt", receipt=forged, token=shop.analyst)
    assert "not a receipt" in refusal(shop.world, "verify_receipt", receipt={"a": 1}, token=shop.analyst)


@pytest.mark.parametrize(
    ("limit", "shown", "total", "truncated"), [(10, 10, 100, True), (100, 100, 100, False), (0, 0, 100, True)]
)
def test_a_truncated_query_reports_the_number_of_rows(
    shop: Shop, limit: int, shown: int, total: int, truncated: bool
) -> None:
    sql = "select id from orders order by id"
    answer = call(shop.world, "query", sql=sql, limit=limit, token=shop.analyst)
    assert (len(answer["rows"]), answer["total"], answer["truncated"]) == (shown, total, truncated)
    assert (answer["rest"] is not None) is truncated


def test_the_remaining_rows_are_read_by_offset(shop: Shop) -> None:
    sql = "select id from orders order by id"
    seen: list[int] = []
    while True:
        answer = call(shop.world, "query", sql=sql, limit=30, offset=len(seen), token=shop.analyst)
        seen += [row[0] for row in answer["rows"]]
        assert answer["total"] == 100
        if not answer["truncated"]:
            break
        assert f"offset={len(seen)}" in answer["rest"]
    assert seen == list(range(100))


def test_an_answer_fits_the_budget_and_lists_what_was_cut(shop: Shop) -> None:
    long = call(shop.world, "query", sql="select * from more.long", token=shop.analyst)
    assert long["rows"][0][1].endswith("… [+7000]")
    assert "1 values are cut" in " ".join(long["notes"])
    many = call(shop.world, "query", sql="select repeat('z', 90) as z from range(3000)", limit=3000, token=shop.analyst)
    assert len(json.dumps(many["rows"])) <= BUDGET * 1.1
    assert (many["truncated"], many["total"]) == (True, 3000)
    assert f"offset={len(many['rows'])}" in many["rest"]
    assert "the receipt covers all 3000 rows" in " ".join(many["notes"])
    wide = call(shop.world, "query", sql="select * from more.wide", token=shop.analyst)
    assert "of 300 columns are shown" in " ".join(wide["notes"])
    assert len(json.dumps(wide["rows"])) <= BUDGET * 1.1


def test_a_whole_result_is_a_file(shop: Shop) -> None:
    answer = call(shop.world, "query", sql="select * from orders", whole_result=True, token=shop.analyst)
    assert (answer["rows"], answer["total"], answer["truncated"]) == ([], 100, False)
    file = shop.world.client.get(answer["url"].removeprefix("http://localhost"), buffered=True)
    assert (file.status_code, file.data[:4]) == (200, b"PAR1")


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("query", {"sql": "select * from ordrs"}, "did you mean"),
        ("query", {"sql": "select amont from orders"}, "amount"),
        ("query", {"sql": "selec 1"}, "syntax"),
        ("query", {"sql": "select * from vault.salaries"}, "there is no table 'vault.salaries'"),
        ("query", {"sql": "select * from orders where id = $x", "parameters": {}}, "x"),
        ("query", {"sql": ""}, "'sql' must be a text that is not empty"),
        ("query", {}, "'sql' is missing"),
        ("query", {"sql": "select 1", "snapshot": 999}, "there is no snapshot 999"),
        ("query", {"sql": "select 1", "limit": 99_999_999}, "'limit' must be from 0 to 10000"),
        ("query", {"sql": "select 1", "rows": 5}, "'rows' is not an argument"),
        ("query", {"statement": "select 1"}, "'statement' is not an argument"),
        ("describe_table", {"table": "salaries"}, "there is no table 'salaries'"),
        ("describe_table", {"table": "order"}, "did you mean"),
        ("sample_table", {"table": "vault.salaries"}, "there is no table"),
        ("file_urls", {"tables": ["vault.salaries"]}, "there is no table"),
        ("file_urls", {"tables": ["shop.orders", None]}, "'tables[1]' must be a text"),
        ("describe_metric", {"name": "all_pay"}, "there is no metric"),
        ("run_metric", {"name": "total_amont"}, "did you mean 'total_amount'"),
        ("run_metric", {"name": "total_amount", "by": ["custmer"]}, "customer"),
        ("run_metric", {"name": "total_amount", "grain": "eon"}, "eon"),
        ("changes", {"since": "last tuesday"}, "is not a snapshot or time"),
        ("changes", {"since": "²"}, "is not a snapshot or time"),
        ("changes", {"since": "1999-01-01"}, "the oldest kept snapshot is"),
        ("find", {"kind": "people"}, "must be one of 'all', 'table', 'metric'"),
    ],
)
def test_an_error_explains_what_to_do(shop: Shop, tool: str, arguments: dict[str, Any], words: str) -> None:
    message = refusal(shop.world, tool, token=shop.analyst, **arguments)
    assert words in message
    assert "pay_of_tortoise" not in message
    assert "Traceback" not in message


def test_a_metric_is_computed_with_its_sql(shop: Shop) -> None:
    about = call(shop.world, "describe_metric", name="total_amount", token=shop.analyst)["metric"]
    assert (about["dimensions"], about["tables"]) == (["customer"], ["shop.orders"])
    assert "How much did each customer order?" in about["questions"][0]
    answer = call(shop.world, "run_metric", name="total_amount", by=["customer"], token=shop.analyst)
    assert len(answer["rows"]) == 7
    assert "sum(orders.amount)" in answer["sql"]
    assert call(shop.world, "verify_receipt", receipt=answer["receipt"], token=shop.analyst)["verdict"] == "equal"
    monthly = call(
        shop.world, "run_metric", name="total_amount", grain="month", where=["orders.id < 10"], token=shop.analyst
    )
    assert monthly["rows"][0][-1] == sum(number * 1.5 for number in range(10))


def test_files_are_signed_for_the_caller_alone(shop: Shop) -> None:
    answer = call(shop.world, "file_urls", tables=["orders"], token=shop.analyst)
    [file] = answer["files"]
    assert (file["table"], file["rows"], answer["total"]) == ("shop.orders", 100, 1)
    assert answer["expires_in"] > 0
    found = shop.world.client.get(file["url"].removeprefix("http://localhost"), buffered=True)
    assert found.data[:4] == b"PAR1"


def test_changes_since_a_snapshot_are_those_of_visible_tables(shop: Shop) -> None:
    answer = call(shop.world, "changes", since=1, token=shop.analyst)
    assert {each["table"]: each["change"] for each in answer["tables"]} == {"more.wide": "added", "more.long": "added"}
    assert answer["since"]["snapshot"] == 1
    whole = {each["table"] for each in call(shop.world, "changes", since="1")["tables"]}
    assert "vault.salaries" in whole
    assert call(shop.world, "changes", since=1, table="orders", token=shop.analyst)["total"] == 0


def test_resources_and_prompts_are_the_catalog_of_the_caller(shop: Shop) -> None:
    listed = {each["uri"] for each in result(shop.world, "resources/list", token=shop.analyst)["resources"]}
    assert listed == {
        "da://catalog",
        "da://metrics",
        "da://table/shop.orders",
        "da://table/more.wide",
        "da://table/more.long",
    }
    [template] = result(shop.world, "resources/templates/list", token=shop.analyst)["resourceTemplates"]
    assert template["uriTemplate"] == "da://table/{id}"
    texts = [
        result(shop.world, "resources/read", {"uri": uri}, token=shop.analyst)["contents"][0]["text"]
        for uri in sorted(listed)
    ]
    assert "shop.orders" in texts[0]
    assert not any(secret in text for secret in shop.secrets if secret != "plans" for text in texts)
    names = [each["name"] for each in result(shop.world, "prompts/list", token=shop.analyst)["prompts"]]
    assert names == ["sample_questions", "explore_table"]
    asked = result(shop.world, "prompts/get", {"name": "sample_questions"}, token=shop.analyst)
    assert "How much did each customer order?" in asked["messages"][0]["content"]["text"]
    explored = result(
        shop.world, "prompts/get", {"name": "explore_table", "arguments": {"table": "orders"}}, token=shop.analyst
    )
    assert "shop.orders" in explored["messages"][0]["content"]["text"]


def test_no_answer_mentions_hidden_tables(shop: Shop) -> None:
    for tool, arguments in (
        ("find", {}),
        ("find", {"text": "pay"}),
        ("describe_table", {"table": "orders"}),
        ("describe_metric", {"name": "total_amount"}),
        ("sample_table", {"table": "orders"}),
        ("query", {"sql": "show tables"}),
        ("query", {"sql": "describe orders"}),
        ("changes", {"since": 1}),
        ("file_urls", {"tables": ["orders"]}),
    ):
        found = send(shop.world, "tools/call", {"name": tool, "arguments": arguments}, token=shop.analyst).text
        assert [
            secret for secret in ("salaries", "tortoise", "hedgehog", "falcon", "nightjar", "vault") if secret in found
        ] == []


def test_calls_are_audited_with_their_tables(shop: Shop) -> None:
    call(shop.world, "query", sql="select count(*) from orders where id > 3", token=shop.analyst)
    events = shop.world.ask("GET", "/api/admin/audit?action=mcp&limit=5")["events"]
    assert any("table:shop.orders" in event["resources"] and event["params"].get("tool") == "query" for event in events)


def test_a_question_finds_matches_of_some_of_its_words_with_everything_sql_needs(shop: Shop) -> None:
    found = call(shop.world, "find", token=shop.analyst, text="How much did the customers order, in which amounts?")
    assert "nothing has all of these words; these have some of them, the best first" in found["notes"]
    hits = {hit["id"]: hit for hit in found["hits"]}
    assert hits["total_amount"]["dimensions"] == ["customer"]
    orders = hits["shop.orders"]
    assert orders["sql_name"] == '"shop"."orders"' or orders["sql_name"] == "shop.orders"
    assert {"id BIGINT", "customer VARCHAR"} <= set(orders["columns"])
    assert "vault.salaries" not in hits
    answer = call(shop.world, "query", token=shop.analyst, sql=f"select count(*) from {orders['sql_name']}")
    assert answer["rows"] == [[100]]


@pytest.mark.parametrize("text", ["which of the", "?", "xyzzy", "salaries", "How high are the salaries of all?"])
def test_a_question_about_unreadable_tables_finds_nothing(shop: Shop, text: str) -> None:
    found = call(shop.world, "find", token=shop.analyst, text=text)
    assert [hit["id"] for hit in found["hits"] if "salar" in json.dumps(hit)] == []
    if "salar" in text or text == "xyzzy":
        assert (found["hits"], found["total"]) == ([], 0)
        assert found["rest"].startswith("nothing has any of these words")


def test_columns_of_wide_tables_are_cut_and_counted_in_a_note(shop: Shop) -> None:
    (wide,) = [
        hit for hit in call(shop.world, "find", token=shop.analyst, text="wide")["hits"] if hit["id"] == "more.wide"
    ]
    assert len(wide["columns"]) == 40
    found = call(shop.world, "find", token=shop.analyst)
    assert all(hit["columns"] == [] for hit in found["hits"])
    assert any("describe_table has all" in note for note in found["notes"])
