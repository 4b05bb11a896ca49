"""`/iceberg/v1/…` and `/iceberg-files/…`: what each caller may read, as a client of Iceberg and one of S3 ask for it."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import fastavro
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.test import Client, TestResponse

from analyst.context import Process
from analyst.errors import RateLimitedError
from analyst.http import app
from analyst.iceberg.metadata import unneeded
from analyst.store import ABSENT
from tests.all_functions import FUNCTIONS
from tests.integration.sharing.world import Reader, open_reader
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]

Json = dict[str, Any]
EVENTS = "/iceberg/v1/namespaces/shop/tables/events"
ORDERS = "/iceberg/v1/namespaces/shop/tables/orders"
LEADS = "/iceberg/v1/namespaces/crm/tables/leads"


@pytest.fixture(scope="module")
def reader(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with open_reader(tmp_path_factory.mktemp("iceberg"), begun) as made:
        made.clock.ahead = timedelta(0)  # signatures of S3 are made at the time of this machine
        yield made


def loaded(reader: Reader, table: str = EVENTS) -> Json:
    answer = reader.answer("GET", table)
    assert answer.status_code == 200, answer.text
    found: Json = json.loads(answer.text)
    return found


def fetch(reader: Reader, config: Mapping[str, str], address: str, method: str = "GET", **headers: str) -> TestResponse:
    """Ask for a file as a reader of S3 does, with the credentials of a table."""
    path = "/" + quote(address.removeprefix("s3://"), safe="/~")
    request = AWSRequest(method, config["s3.endpoint"] + path, headers=headers)
    names = ("s3.access-key-id", "s3.secret-access-key", "s3.session-token")
    S3SigV4Auth(Credentials(*(config[name] for name in names)), "s3", config["s3.region"]).add_auth(request)
    return reader.world.client.open(path, method=method, headers=dict(request.headers.items()), buffered=True)


def code_of(answer: TestResponse) -> tuple[int, str]:
    found = ET.fromstring(answer.data).findtext("Code")
    return answer.status_code, str(found)


def records(answer: TestResponse) -> list[Json]:
    found: Any = fastavro.reader(io.BytesIO(answer.data))
    return list(found)


def manifest_of(reader: Reader, found: Json, snapshot: Json) -> list[Json]:
    listed = fetch(reader, found["config"], snapshot["manifest-list"])
    entries: list[Json] = []
    for each in records(listed):
        file = fetch(reader, found["config"], each["manifest_path"])
        assert len(file.data) == each["manifest_length"]
        entries += [entry["data_file"] for entry in records(file)]
    return entries


def test_sources_are_namespaces_and_only_readable_tables_are_listed(reader: Reader) -> None:
    config = json.loads(reader.answer("GET", "/iceberg/v1/config", warehouse="any").text)
    assert "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}" in config["endpoints"]
    assert not [each for each in config["endpoints"] if each.startswith(("PUT", "DELETE"))]
    assert json.loads(reader.answer("GET", "/iceberg/v1/namespaces").text)["namespaces"] == [["crm"], ["shop"]]
    assert json.loads(reader.answer("GET", "/iceberg/v1/namespaces/shop").text)["namespace"] == ["shop"]
    found = json.loads(reader.answer("GET", "/iceberg/v1/namespaces/shop/tables").text)
    assert [each["name"] for each in found["identifiers"]] == ["events", "orders"]
    assert json.loads(reader.answer("GET", "/iceberg/v1/namespaces", parent="shop").text)["namespaces"] == []
    assert reader.answer("HEAD", "/iceberg/v1/namespaces/shop").status_code == 200
    assert reader.answer("HEAD", EVENTS).status_code == 200


def test_lists_are_paged_on_request(reader: Reader) -> None:
    path = "/iceberg/v1/namespaces/shop/tables"
    assert json.loads(reader.answer("GET", path).text)["next-page-token"] is None
    names: list[str] = []
    token: str | None = ""
    while token is not None:
        page = json.loads(reader.answer("GET", path, pageSize=1, pageToken=token).text)
        names += [each["name"] for each in page["identifiers"]]
        token = page["next-page-token"]
    assert names == ["events", "orders"]
    for wrong in ({"pageSize": 0}, {"pageSize": "many"}, {"pageSize": 1, "pageToken": "none of ours"}):
        answer = reader.answer("GET", path, **wrong)
        assert (answer.status_code, json.loads(answer.text)["error"]["type"]) == (400, "BadRequestException")


def test_the_versions_of_a_table_are_snapshots_with_their_own_schemas(reader: Reader) -> None:
    found = loaded(reader)
    metadata = found["metadata"]
    assert (metadata["format-version"], metadata["current-snapshot-id"]) == (2, 4)
    assert [each["snapshot-id"] for each in metadata["snapshots"]] == [1, 2, 3, 4]
    assert [each.get("parent-snapshot-id") for each in metadata["snapshots"]] == [None, 1, 2, 3]
    assert [each["sequence-number"] for each in metadata["snapshots"]] == [1, 2, 3, 4]
    names = {schema["schema-id"]: [field["name"] for field in schema["fields"]] for schema in metadata["schemas"]}
    assert [names[each["schema-id"]] for each in metadata["snapshots"]] == [["id", "day"]] * 2 + [
        ["id", "day", "note"]
    ] * 2
    rows = [[file["record_count"] for file in manifest_of(reader, found, each)] for each in metadata["snapshots"]]
    assert rows == [[2], [2, 1], [2, 1, 1], [2, 1, 1, 1]]
    assert [each["summary"]["total-records"] for each in metadata["snapshots"]] == ["2", "3", "4", "5"]
    refs = json.loads(reader.answer("GET", EVENTS, snapshots="refs").text)["metadata"]
    assert [each["snapshot-id"] for each in refs["snapshots"]] == [4]
    assert reader.answer("GET", EVENTS, snapshots="some").status_code == 400


def test_files_have_exact_statistics(reader: Reader) -> None:
    found = loaded(reader)
    ids = {field["name"]: field["id"] for schema in found["metadata"]["schemas"] for field in schema["fields"]}
    first = manifest_of(reader, found, found["metadata"]["snapshots"][0])[0]
    known = {name: {each["key"]: each["value"] for each in first[name]} for name in ("lower_bounds", "upper_bounds")}
    assert [known[name][ids["id"]] for name in known] == [(n).to_bytes(8, "little") for n in (1, 2)]
    assert {each["key"]: each["value"] for each in first["null_value_counts"]} == {ids["id"]: 0, ids["day"]: 0}


def test_the_metadata_stays_the_same_in_every_process(reader: Reader) -> None:
    first = loaded(reader)
    written = {entry.key: entry.version for entry in reader.world.process.store.list("iceberg/")}
    other = Process({**reader.world.process.environ}, store=reader.world.cloud.open(), clock=reader.clock)
    answer = Client(app(other, FUNCTIONS)).get(
        EVENTS, headers={"Authorization": f"Bearer {reader.token}"}, buffered=True
    )
    second = json.loads(answer.text)
    other.close()
    assert (second["metadata"], second["metadata-location"]) == (first["metadata"], first["metadata-location"])
    assert {entry.key: entry.version for entry in reader.world.process.store.list("iceberg/")} == written
    document = fetch(reader, first["config"], first["metadata-location"])
    assert json.loads(document.data) == first["metadata"]


def test_files_are_served_whole_and_in_ranges(reader: Reader) -> None:
    found = loaded(reader)
    config = found["config"]
    [file, *_] = manifest_of(reader, found, found["metadata"]["snapshots"][-1])
    address, size = file["file_path"], file["file_size_in_bytes"]
    whole = fetch(reader, config, address)
    assert (whole.status_code, len(whole.data), whole.data[:4], whole.data[-4:]) == (200, size, b"PAR1", b"PAR1")
    head = fetch(reader, config, address, "HEAD")
    assert (head.status_code, head.data, head.content_length) == (200, b"", size)
    assert head.headers["ETag"] == whole.headers["ETag"]
    assert head.headers["Accept-Ranges"] == "bytes"
    for wanted, data in (
        ("bytes=0-3", whole.data[:4]),
        ("bytes=4-", whole.data[4:]),
        ("bytes=-8", whole.data[-8:]),
        (f"bytes=-{10 * size}", whole.data),
        (f"bytes=10-{10 * size}", whole.data[10:]),
    ):
        part = fetch(reader, config, address, Range=wanted)
        assert (part.status_code, part.data) == (206, data)
        start = size - len(data) if not wanted.startswith("bytes=0") else 0
        assert part.headers["Content-Range"] == f"bytes {start}-{start + len(data) - 1}/{size}"
    assert code_of(fetch(reader, config, address, Range=f"bytes={size}-")) == (416, "InvalidRange")
    etag = whole.headers["ETag"]
    assert fetch(reader, config, address, **{"If-None-Match": etag}).status_code == 304
    assert fetch(reader, config, address, **{"If-Match": etag}).status_code == 200
    assert fetch(reader, config, address, **{"If-Match": '"other"'}).status_code == 412


def test_credentials_open_one_table(reader: Reader) -> None:
    events, orders = loaded(reader), loaded(reader, ORDERS)
    [theirs, *_] = manifest_of(reader, orders, orders["metadata"]["snapshots"][-1])
    for address in (
        theirs["file_path"],
        orders["metadata"]["snapshots"][-1]["manifest-list"],
        orders["metadata-location"],
        orders["metadata"]["location"] + "/extracts/shop/data/salaries/x.parquet",
    ):
        assert code_of(fetch(reader, events["config"], address)) == (403, "AccessDenied"), address
    place = events["metadata"]["location"]
    for address in (
        theirs["file_path"].replace(orders["metadata"]["location"], place),
        f"{place}/metadata/table.json",
        f"{place}/metadata/{'0' * 32}-m0.avro",
        f"{place}/metadata/../../../state/current.json",
        f"{place}/state/current.json",
        f"{place}/x",
    ):
        assert code_of(fetch(reader, events["config"], address)) == (404, "NoSuchKey"), address


def test_requests_signed_with_other_credentials_are_refused(reader: Reader) -> None:
    found = loaded(reader)
    address, config = found["metadata"]["snapshots"][-1]["manifest-list"], found["config"]
    path = "/" + address.removeprefix("s3://")
    assert code_of(reader.world.client.get(path, buffered=True)) == (403, "AccessDenied")
    bearer = {"Authorization": f"Bearer {reader.token}"}
    assert code_of(reader.world.client.get(path, headers=bearer, buffered=True)) == (403, "AccessDenied")
    for changed, code in (
        ({"s3.secret-access-key": "0" * 40}, "SignatureDoesNotMatch"),
        ({"s3.access-key-id": "DA000000000000000000"}, "InvalidAccessKeyId"),
        ({"s3.session-token": config["s3.session-token"][:-4] + "AAAA"}, "InvalidAccessKeyId"),
        ({"s3.session-token": reader.token}, "InvalidAccessKeyId"),
    ):
        assert code_of(fetch(reader, {**config, **changed}, address)) == (403, code)
    for method in ("PUT", "POST", "DELETE"):
        assert code_of(fetch(reader, config, address, method)) == (405, "MethodNotAllowed")


def test_credentials_expire_and_are_renewed(reader: Reader) -> None:
    config = json.loads(reader.answer("GET", f"{EVENTS}/credentials").text)["storage-credentials"][0]["config"]
    address = loaded(reader)["metadata"]["snapshots"][-1]["manifest-list"]
    assert fetch(reader, config, address).status_code == 200
    reader.clock.ahead = timedelta(minutes=14)  # a signature holds for 15
    try:
        assert reader.world.process.settings.url_expires == 600
        assert code_of(fetch(reader, config, address)) == (403, "ExpiredToken")
        assert fetch(reader, loaded(reader)["config"], address).status_code == 200
    finally:
        reader.clock.ahead = timedelta(0)


def hidden(reader: Reader, place: str) -> None:
    for tail in ("", "/credentials"):
        answer, other = reader.answer("GET", place + tail), reader.answer("GET", f"{place}x{tail}")
        assert (answer.status_code, other.status_code) == (404, 404)
        assert json.loads(answer.text)["error"]["type"] == "NoSuchTableException"
        name = place.rpartition("/")[2]
        assert answer.text.replace(name, "") == other.text.replace(name + "x", "")
    assert reader.answer("HEAD", place).status_code == 404
    assert reader.answer("POST", f"{place}/metrics", {}).status_code == 404


def test_a_hidden_table_does_not_exist(reader: Reader) -> None:
    hidden(reader, "/iceberg/v1/namespaces/shop/tables/salaries")
    hidden(reader, "/iceberg/v1/namespaces/nowhere/tables/salaries")
    for namespace in ("nowhere", "shop\x1fx", "SHOP"):
        answer = reader.answer("GET", f"/iceberg/v1/namespaces/{quote(namespace)}/tables")
        assert (answer.status_code, json.loads(answer.text)["error"]["type"]) == (404, "NoSuchNamespaceException")
    uuid = json.loads(reader.answer("GET", EVENTS, token=reader.world.admin).text)["metadata"]["table-uuid"]
    assert uuid in loaded(reader)["metadata"]["location"]


def test_a_revoked_right_ends_its_credentials(reader: Reader) -> None:
    world = reader.world
    user = world.ask("POST", "/api/users", {"email": "bob@example.com", "role": "analyst"})
    grant = {"user": "bob@example.com", "table": "crm.leads"}
    grant_id = world.ask("POST", "/api/admin/permissions", grant)["id"]
    readers = []
    for name in ("first", "second"):
        token = world.ask("POST", "/auth/tokens", {"name": name, "user": "bob@example.com", "scopes": ["sync"]})
        bob = Reader(world, str(token["token"]), reader.clock)
        readers.append((bob, loaded(bob, LEADS), token["id"]))
    (bob, found, _first), (_other, second, second_id) = readers
    [file] = manifest_of(bob, found, found["metadata"]["snapshots"][-1])
    addresses = (found["metadata"]["snapshots"][-1]["manifest-list"], file["file_path"], found["metadata-location"])

    def opened(config: Mapping[str, str]) -> set[int]:
        return {fetch(reader, config, address).status_code for address in addresses}

    assert opened(found["config"]) == opened(second["config"]) == {200}
    world.ask("DELETE", f"/api/admin/permissions/{grant_id}")
    assert opened(found["config"]) == {403}
    hidden(bob, LEADS)
    events = world.ask("GET", "/api/admin/audit?outcome=denied&limit=20")["events"]
    denied = [each for each in events if each["action"].endswith("iceberg_file")]
    assert {each["email"] for each in denied} >= {"bob@example.com"}, denied
    world.ask("POST", "/api/admin/permissions", grant)
    assert opened(found["config"]) == {200}
    world.ask("PUT", "/api/admin/tables/crm.leads", {"server_only": True})
    assert opened(found["config"]) == {403}
    hidden(bob, LEADS)
    world.ask("PUT", "/api/admin/tables/crm.leads", {"server_only": False})
    world.ask("DELETE", f"/auth/tokens/{second_id}")
    assert (opened(found["config"]), opened(second["config"])) == ({200}, {403})
    world.ask("PUT", f"/api/users/{user['id']}", {"role": "viewer"})
    assert opened(found["config"]) == {403}
    world.ask("PUT", f"/api/users/{user['id']}", {"role": "analyst"})
    assert opened(found["config"]) == {200}
    world.ask("PUT", f"/api/users/{user['id']}", {"active": False})
    assert opened(found["config"]) == {403}


def test_requests_for_files_that_do_not_exist_are_counted_too(reader: Reader) -> None:
    user = reader.world.ask("POST", "/api/users", {"email": "fast@example.com", "role": "analyst"})
    reader.world.ask("POST", "/api/admin/permissions", {"user": "fast@example.com", "table": "crm.leads"})
    token = reader.world.ask("POST", "/auth/tokens", {"name": "t", "user": "fast@example.com", "scopes": ["sync"]})
    found = loaded(Reader(reader.world, str(token["token"]), reader.clock), LEADS)
    missing = found["metadata"]["location"] + "/extracts/crm/data/leads/none.parquet"
    assert code_of(fetch(reader, found["config"], missing)) == (404, "NoSuchKey")
    pace, soon = reader.world.process.iceberg.pace, reader.world.process.monotonic() + 60
    with suppress(RateLimitedError):
        while True:
            pace.take(user["id"], soon)
    assert code_of(fetch(reader, found["config"], missing)) == (429, "SlowDown")


def test_a_table_that_is_registered_again_is_another_one(reader: Reader) -> None:
    admin = Reader(reader.world, reader.world.admin, reader.clock)
    salaries = "/iceberg/v1/namespaces/shop/tables/salaries"
    before = loaded(admin, salaries)
    address = before["metadata"]["snapshots"][-1]["manifest-list"]
    assert fetch(reader, before["config"], address).status_code == 200
    reader.world.ask("DELETE", "/api/admin/tables/shop.salaries")
    reader.world.ask("POST", "/api/admin/tables/shop.salaries", {"source_table": "salaries.csv"})
    assert code_of(fetch(reader, before["config"], address)) == (403, "AccessDenied")
    reader.world.ask("POST", "/extract/csv", {"source": "shop"})
    after = loaded(admin, salaries)
    assert after["metadata"]["table-uuid"] != before["metadata"]["table-uuid"]
    assert code_of(fetch(reader, before["config"], address)) == (403, "AccessDenied")
    assert code_of(fetch(reader, after["config"], address)) == (403, "AccessDenied")


def test_the_sweep_deletes_the_metadata_of_tables_that_are_gone(reader: Reader) -> None:
    store, found = reader.world.process.store, loaded(reader)
    tables = [table for table in reader.world.process.snapshots.current().catalog.tables if table.id == "shop.events"]
    store.put("iceberg/" + found["metadata"]["table-uuid"] + "/" + "0" * 32 + "-m0.avro", b"", if_version=ABSENT)
    theirs = {entry.key for entry in store.list(f"iceberg/{found['metadata']['table-uuid']}/")}
    every = {entry.key for entry in store.list("iceberg/")}
    left = every - {entry.key for entry in unneeded(store, tables)}
    assert {key.rpartition("/")[2] for key in theirs - left} == {"0" * 32 + "-m0.avro"}
    assert left < theirs
    assert every - {entry.key for entry in unneeded(store, [])} == set()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/iceberg/v1/namespaces"),
        ("DELETE", "/iceberg/v1/namespaces/shop"),
        ("POST", "/iceberg/v1/namespaces/shop/tables"),
        ("POST", EVENTS),
        ("DELETE", EVENTS),
        ("PUT", EVENTS),
    ],
)
def test_nothing_can_be_written(reader: Reader, method: str, path: str) -> None:
    answer = reader.answer(method, path, {})
    error = json.loads(answer.text)["error"]
    assert (answer.status_code, error["code"], error["type"]) == (405, 405, "MethodNotAllowedException")
    assert "can only be read" in error["message"]


def test_clients_that_request_oauth_tokens_are_referred_to_access_tokens(reader: Reader) -> None:
    answer = reader.answer("POST", "/iceberg/v1/oauth/tokens", b"grant_type=client_credentials", token=None)
    error = json.loads(answer.text)
    assert (answer.status_code, error["error"]) == (400, "unsupported_grant_type")
    assert "access token" in error["error_description"]


@pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*"])
def test_errors_have_the_format_of_the_protocol(reader: Reader, accept: str) -> None:
    def ask(method: str, path: str, token: str | None) -> TestResponse:
        headers = {"Accept": accept} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        return reader.world.client.open(path, method=method, headers=headers, buffered=True)

    for method, tail, token, status, kind, code in (
        ("GET", "", None, 401, "NotAuthorizedException", "UNAUTHENTICATED"),
        ("GET", "", "da_wrong", 401, "NotAuthorizedException", "UNAUTHENTICATED"),
        ("PATCH", "", reader.token, 405, "MethodNotAllowedException", "METHOD_NOT_ALLOWED"),
        ("GET", "/no/such/path/at/all", reader.token, 404, "NotFoundException", "RESOURCE_DOES_NOT_EXIST"),
    ):
        answer = ask(method, f"/iceberg/v1/namespaces{tail}", token)
        assert answer.status_code == status
        assert json.loads(answer.text).keys() == {"error"}
        error = json.loads(answer.text)["error"]
        assert (error["code"], error["type"]) == (status, kind)
        assert error["message"]
        answer = ask(method, f"/delta-sharing/shares{tail}", token)
        assert (answer.status_code, json.loads(answer.text)["errorCode"]) == (status, code)
        assert json.loads(answer.text)["message"]
    assert ask("GET", "/icebergs", None).content_type != "application/json"


def test_metrics_of_a_scan_are_accepted(reader: Reader) -> None:
    answer = reader.answer("POST", f"{EVENTS}/metrics", {"report-type": "scan-report"})
    assert (answer.status_code, answer.data) == (204, b"")
