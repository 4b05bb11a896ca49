"""`/delta-sharing/…`: what each caller is shared, in the lines of the protocol."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from werkzeug.test import TestResponse

from tests.integration.query.shop import Shop, open_shop, publish
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]

TABLE = "/delta-sharing/shares/data/schemas/shop/tables/orders"


@pytest.fixture(scope="module")
def shop(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, begun) as made:
        world = made.world
        group = world.ask("POST", "/api/admin/groups", {"name": "Sales EU/2"})
        user = next(each for each in world.ask("GET", "/api/users")["users"] if each["email"] == "ann@example.com")
        world.ask("PUT", f"/api/admin/groups/{group['id']}/members/{user['id']}", {})
        publish(world, folder, "crm", leads="id,at,name\n1,2026-01-02 03:04:05,x\n")
        world.ask("POST", "/api/admin/permissions", {"group": "Sales EU/2", "table": "crm.leads"})
        orders = folder / "sources/shop/orders.csv"
        orders.write_text(orders.read_text() + "100,c9,1.0,2026-04-01\n")
        world.ask("POST", "/extract/csv", {"source": "shop"})
        yield made


def get(shop: Shop, path: str, *, token: str = "", capabilities: str | None = None, **query: Any) -> TestResponse:
    headers = {"Authorization": f"Bearer {token or shop.analyst}"}
    if capabilities:
        headers["delta-sharing-capabilities"] = capabilities
    return shop.world.client.get(f"{path}?{urlencode(query)}" if query else path, headers=headers, buffered=True)


def post(shop: Shop, body: Any = None, *, token: str = "", capabilities: str = "", path: str = TABLE) -> TestResponse:
    headers = {"Authorization": f"Bearer {token or shop.analyst}"}
    if capabilities:
        headers["delta-sharing-capabilities"] = capabilities
    return shop.world.client.post(f"{path}/query", json=body or {}, headers=headers, buffered=True)


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def lines(answer: TestResponse) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_shares_are_the_instance_and_the_groups_of_the_caller(shop: Shop) -> None:
    answer = get(shop, "/delta-sharing/shares")
    assert answer.text.count("\n") == 0
    assert [each["name"] for each in answer.get_json()["items"]] == ["Sales_EU_2", "data"]
    assert get(shop, "/delta-sharing/shares/DATA").get_json()["share"]["name"] == "data"
    schemas = get(shop, "/delta-sharing/shares/sales_eu_2/schemas").get_json()["items"]
    assert schemas == [{"name": "crm", "share": "Sales_EU_2"}]
    everything = get(shop, "/delta-sharing/shares/data/all-tables").get_json()["items"]
    assert [(each["schema"], each["name"]) for each in everything] == [("crm", "leads"), ("shop", "orders")]
    [table] = get(shop, "/delta-sharing/shares/data/schemas/SHOP/tables").get_json()["items"]
    assert (table["name"], table["share"], table["accessModes"]) == ("orders", "data", ["url"])
    assert {
        each["name"] for each in get(shop, "/delta-sharing/shares", token=shop.world.admin).get_json()["items"]
    } == {"data"}


@pytest.mark.parametrize(
    "path",
    [
        "/delta-sharing/shares/nothing",
        "/delta-sharing/shares/nothing/schemas",
        "/delta-sharing/shares/nothing/all-tables",
        "/delta-sharing/shares/data/schemas/vault/tables",
        "/delta-sharing/shares/data/schemas/shop/tables/plans",
        "/delta-sharing/shares/data/schemas/vault/tables/salaries",
        "/delta-sharing/shares/data/schemas/vault/tables/salaries/version",
        "/delta-sharing/shares/data/schemas/vault/tables/salaries/metadata",
        "/delta-sharing/shares/data/schemas/vault/tables/salaries/changes?startingVersion=0",
        "/delta-sharing/shares/Sales_EU_2/schemas/shop/tables/orders/metadata",
    ],
)
def test_unreadable_tables_do_not_exist(shop: Shop, path: str) -> None:
    answer = get(shop, path)
    assert (answer.status_code, answer.get_json(force=True)["errorCode"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    for word in ("tortoise", "falcon", "hedgehog"):
        assert word not in answer.text
    missing = get(shop, path.replace("salaries", "nothing").replace("plans", "nothing"))
    assert missing.status_code == 404


def test_a_hidden_table_cannot_be_queried(shop: Shop) -> None:
    for path in ("vault/tables/salaries", "shop/tables/plans"):
        answer = post(shop, path=f"/delta-sharing/shares/data/schemas/{path}")
        assert answer.status_code == 404
        assert "parquet" not in answer.text


def test_server_only_tables_are_not_shared(shop: Shop) -> None:
    shop.world.ask("PUT", "/api/admin/tables/crm.leads", {"server_only": True})
    try:
        assert [each["name"] for each in get(shop, "/delta-sharing/shares").get_json()["items"]] == ["data"]
        assert post(shop, path="/delta-sharing/shares/data/schemas/crm/tables/leads").status_code == 404
    finally:
        shop.world.ask("PUT", "/api/admin/tables/crm.leads", {"server_only": False})


def test_a_token_needs_the_scope_sync(shop: Shop) -> None:
    made = shop.world.ask("POST", "/auth/tokens", {"name": "q", "user": "ann@example.com", "scopes": ["query", "read"]})
    assert get(shop, "/delta-sharing/shares", token=str(made["token"])).status_code == 403
    made = shop.world.ask("POST", "/auth/tokens", {"name": "s", "user": "ann@example.com", "scopes": ["sync"]})
    assert get(shop, "/delta-sharing/shares", token=str(made["token"])).status_code == 200
    assert shop.world.client.get("/delta-sharing/shares").status_code == 401


def test_metadata_names_the_columns_with_their_types(shop: Shop) -> None:
    answer = get(shop, f"{TABLE}/metadata")
    protocol, metadata = lines(answer)
    assert protocol == {"protocol": {"minReaderVersion": 1}}
    fields = json.loads(metadata["metaData"]["schemaString"])["fields"]
    assert [(each["name"], each["type"]) for each in fields] == [
        ("id", "long"), ("customer", "string"), ("amount", "double"), ("day", "date"),
    ]  # fmt: skip
    assert metadata["metaData"]["format"] == {"provider": "parquet", "options": {}}
    assert int(answer.headers["Delta-Table-Version"]) == metadata["metaData"]["version"]
    assert answer.headers["delta-sharing-capabilities"] == "responseformat=parquet"


@pytest.mark.parametrize(
    ("capabilities", "table", "form"),
    [
        (None, "orders", "parquet"),
        ("responseformat=parquet", "orders", "parquet"),
        ("ResponseFormat=DELTA", "orders", "delta"),
        ("responseformat=delta,parquet", "orders", "parquet"),
        ("responseformat=delta,parquet", "leads", "delta"),
        ("responseformat=parquet;readerfeatures=x", "leads", "parquet"),
    ],
)
def test_the_format_is_what_the_reader_accepts(shop: Shop, capabilities: str | None, table: str, form: str) -> None:
    source = "shop" if table == "orders" else "crm"
    path = f"/delta-sharing/shares/data/schemas/{source}/tables/{table}/metadata"
    answer = get(shop, path, capabilities=capabilities)
    protocol, metadata = lines(answer)
    assert answer.headers["delta-sharing-capabilities"] == f"responseformat={form}"
    assert ("deltaProtocol" in protocol["protocol"], "deltaMetadata" in metadata["metaData"]) == (form == "delta",) * 2
    if table == "leads":
        kind = "timestamp_ntz" if form == "delta" else "timestamp"
        assert kind in metadata["metaData"].get("deltaMetadata", metadata["metaData"])["schemaString"]
        assert form == "parquet" or protocol["protocol"]["deltaProtocol"]["readerFeatures"] == ["timestampNtz"]


def test_a_query_returns_urls_of_files_that_can_be_fetched(shop: Shop) -> None:
    answer = post(shop)
    _protocol, metadata, *files = lines(answer)
    assert metadata["metaData"]["numFiles"] == len(files)
    for line in files:
        file = line["file"]
        assert json.loads(file["stats"])["numRecords"] > 0
        assert "X-Goog-Credential=da" in file["url"]
        fetched = shop.world.client.get(file["url"].removeprefix("http://localhost"), buffered=True)
        assert (fetched.data[:4], len(fetched.data)) == (b"PAR1", file["size"])
    again = [line["file"]["id"] for line in lines(post(shop))[2:]]
    assert again == [line["file"]["id"] for line in files]
    _protocol, _metadata, first, *_ = lines(post(shop, capabilities="responseformat=delta"))
    assert first["file"]["deltaSingleAction"]["add"]["path"].startswith("http://localhost/files/")


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ({"predicateHints": ["id >= 1000"]}, 0),
        ({"predicateHints": ["id < 5", "customer = 'c1'"]}, 1),
        ({"predicateHints": ["day > '2030-01-01'"]}, 0),
        ({"predicateHints": ["lower(customer) = 'x'", "nonsense ((("]}, 1),
        ({"predicateHints": ["id is null"]}, 0),
        ({"jsonPredicateHints": json.dumps({"op": "equal", "children": [{"op": "column", "name": "id", "valueType": "long"}, {"op": "literal", "value": "5000", "valueType": "long"}]})}, 0),
        ({"jsonPredicateHints": "{broken"}, 1),
        ({"limitHint": 1}, 1),
        ({"unknownMember": 1}, 1),
    ],
)  # fmt: skip
def test_hints_leave_out_files_without_matching_rows(shop: Shop, body: dict[str, Any], files: int) -> None:
    assert len(lines(post(shop, body))) - 2 == files


def test_an_earlier_version_has_its_earlier_files(shop: Shop) -> None:
    newest = int(get(shop, f"{TABLE}/version").headers["Delta-Table-Version"])
    now = lines(post(shop))
    then = lines(post(shop, {"version": newest - 1}))
    assert (now[1]["metaData"]["version"], then[1]["metaData"]["version"]) == (newest, newest - 1)
    assert sum(json.loads(each["file"]["stats"])["numRecords"] for each in then[2:]) == 100
    assert sum(json.loads(each["file"]["stats"])["numRecords"] for each in now[2:]) == 101
    first = get(shop, f"{TABLE}/version", startingTimestamp="2020-01-01T00:00:00Z").headers["Delta-Table-Version"]
    assert int(first) == newest - 1
    late = lines(post(shop, {"timestamp": now_text()}))
    assert late[1]["metaData"]["version"] == newest
    headed = shop.world.client.head(TABLE, headers={"Authorization": f"Bearer {shop.analyst}"})
    assert int(headed.headers["Delta-Table-Version"]) == newest


def test_changes_list_added_and_removed_files(shop: Shop) -> None:
    newest = int(get(shop, f"{TABLE}/version").headers["Delta-Table-Version"])
    answer = get(shop, f"{TABLE}/changes", startingVersion=newest, endingVersion=newest)
    kinds = [next(iter(line)) for line in lines(answer)]
    assert kinds == ["protocol", "metaData", "add", "remove"]
    added = lines(answer)[2]["add"]
    assert (added["version"], answer.headers["Delta-Table-Version"]) == (newest, str(newest))
    whole = lines(get(shop, f"{TABLE}/changes", startingVersion=newest - 1))
    assert [next(iter(line)) for line in whole[2:]] == ["add", "add", "remove"]
    streamed = lines(post(shop, {"startingVersion": newest}))
    assert [next(iter(line)) for line in streamed[2:]] == ["add", "remove"]
    by_time = lines(get(shop, f"{TABLE}/changes", startingTimestamp="2020-01-01T00:00:00Z"))
    assert len(by_time) == len(whole)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("version", {"startingTimestamp": "2099-01-01T00:00:00Z"}),
        ("version", {"startingTimestamp": "yesterday"}),
        ("changes", {}),
        ("changes", {"startingVersion": "-1"}),
        ("changes", {"startingVersion": "x"}),
        ("changes", {"startingVersion": "99999"}),
        ("changes", {"startingVersion": "5", "endingVersion": "1"}),
        ("changes", {"startingVersion": "1", "startingTimestamp": "2026-01-01T00:00:00Z"}),
    ],
)
def test_an_invalid_request_about_a_table_is_refused(shop: Shop, path: str, query: dict[str, str]) -> None:
    answer = get(shop, f"{TABLE}/{path}", **query)
    assert (answer.status_code, answer.get_json(force=True)["errorCode"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "body",
    [
        {"version": 1, "timestamp": "2026-01-01T00:00:00Z"},
        {"version": 99999},
        {"version": -1},
        {"version": "x"},
        {"version": True},
        {"timestamp": "2001-01-01T00:00:00Z"},
        {"timestamp": "nonsense"},
        {"limitHint": "many"},
        {"maxFiles": 0},
        {"maxFiles": -1},
        {"pageToken": "nonsense"},
        {"refreshToken": "bm9uc2Vuc2U"},
        {"predicateHints": "id = 1"},
        {"startingVersion": 1, "version": 1},
        [1],
    ],
)
def test_an_invalid_query_is_refused(shop: Shop, body: Any) -> None:
    answer = post(shop, body)
    assert answer.status_code == 400
    malformed = body == [1] or body.get("predicateHints")
    assert answer.get_json(force=True)["errorCode"] == ("MALFORMED_REQUEST" if malformed else "INVALID_PARAMETER_VALUE")
    wrong = post(shop, capabilities="responseformat=avro")
    assert wrong.status_code == 400


def test_lists_and_files_are_paged(shop: Shop) -> None:
    seen: list[str] = []
    token = None
    while True:
        query: dict[str, Any] = {"maxResults": 1, **({"pageToken": token} if token else {})}
        answer = get(shop, "/delta-sharing/shares/data/all-tables", **query).get_json()
        seen += [each["name"] for each in answer["items"]]
        token = answer.get("nextPageToken")
        if token is None:
            break
    assert seen == ["leads", "orders"]
    assert get(shop, "/delta-sharing/shares", maxResults="-1").status_code == 400
    assert get(shop, "/delta-sharing/shares", pageToken="x").status_code == 400
    ended = lines(post(shop, {"maxFiles": 1, "includeRefreshToken": True}, capabilities="includeendstreamaction=true"))
    end = ended[-1]["endStreamAction"]
    assert end["minUrlExpirationTimestamp"] > 0
    refreshed = lines(post(shop, {"refreshToken": end["refreshToken"]}, capabilities="includeendstreamaction=true"))
    assert [each["file"]["id"] for each in refreshed[2:-1]] == [each["file"]["id"] for each in ended[2:-1]]


def test_a_table_that_is_registered_again_has_no_history(shop: Shop) -> None:
    world = shop.world
    folder = Path(shop.process.settings.source_roots[0]).parent
    publish(world, folder, "again", things="id,secret\n1,old_secret\n")
    place = "/delta-sharing/shares/data/schemas/again/tables/things"
    before = int(get(shop, f"{place}/version", token=world.admin).headers["Delta-Table-Version"])
    world.ask("DELETE", "/api/admin/tables/again.things")
    world.ask("POST", "/api/admin/tables/again.things", {})
    (folder / "sources/again/things.csv").write_text("id,open\n1,new\n")
    world.ask("POST", "/extract/csv", {"source": "again"})
    after = int(get(shop, f"{place}/version", token=world.admin).headers["Delta-Table-Version"])
    assert after > before
    answer = post(shop, {"version": before}, path=place, token=world.admin)
    assert answer.status_code == 400
    assert "secret" not in get(shop, f"{place}/changes", token=world.admin, startingVersion=0).text


def test_metadata_of_an_earlier_version_has_its_columns(shop: Shop) -> None:
    newest = int(get(shop, f"{TABLE}/version").headers["Delta-Table-Version"])
    older = get(shop, f"{TABLE}/metadata", version=newest - 1)
    assert (older.headers["Delta-Table-Version"], lines(older)[1]["metaData"]["version"]) == (
        str(newest - 1),
        newest - 1,
    )
    late = get(shop, f"{TABLE}/metadata", timestamp=now_text())
    assert late.headers["Delta-Table-Version"] == str(newest)
    for wrong in ({"version": "x"}, {"version": 99999}, {"version": 1, "timestamp": "2099-01-01T00:00:00Z"}):
        assert get(shop, f"{TABLE}/metadata", **wrong).status_code == 400


def test_a_page_token_is_valid_for_its_list_and_query_alone(shop: Shop) -> None:
    place = "/delta-sharing/shares/data"
    assert get(shop, f"{place}/all-tables", maxResults=0).get_json()["items"] == []
    token = get(shop, f"{place}/all-tables", maxResults=1).get_json()["nextPageToken"]
    assert get(shop, f"{place.upper().replace('/DELTA-SHARING/SHARES', '/delta-sharing/shares')}/all-tables",
               pageToken=token).get_json()["items"][0]["name"] == "orders"  # fmt: skip
    for other in (f"{place}/schemas", "/delta-sharing/shares", f"{place}/schemas/shop/tables"):
        assert get(shop, other, pageToken=token).status_code == 400
    assert post(shop, {"pageToken": token}).status_code == 400
    ended = lines(post(shop, {"includeRefreshToken": True}, capabilities="includeendstreamaction=true"))
    refresh = ended[-1]["endStreamAction"]["refreshToken"]
    assert post(shop, {"refreshToken": refresh}).status_code == 200
    other_table = "/delta-sharing/shares/data/schemas/crm/tables/leads"
    assert post(shop, {"refreshToken": refresh}, path=other_table).status_code == 400
